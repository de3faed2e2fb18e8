"""Messages as Protobuf and back; whatever comes in is checked before it is believed."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, EncodeError

from fedcohort.errors import MessageTooLargeError, WireError
from fedcohort.wire import fedcohort_pb2 as pb
from fedcohort.wire.fields import (
    MAX_CODE,
    MAX_RULES,
    check_sizes,
    hash_of,
    name_of,
    parcels_of,
    sites_of,
    text_of,
)
from fedcohort.wire.messages import (
    MOST_RELEASE_SECONDS,
    Approval,
    Array,
    Card,
    Contribution,
    Countersignature,
    Event,
    HeadCheck,
    Heads,
    Help,
    LedgerHead,
    Message,
    OpenRequest,
    Proposal,
    Roster,
    Setup,
    Task,
)
from fedcohort.wire.payload import LONG_BYTES, Buffer, only, opening, take_out
from fedcohort.wire.signing import little, state_digest

M = TypeVar("M", pb.Envelope, pb.Chunk, pb.Task, pb.Array, pb.Contribution)

MAX_MESSAGE_BYTES = 2**30
MAX_ARRAYS, MAX_SHAPE = 4096, 8
CHUNK_TAG = b"\x7a"
"""First byte of an Envelope that holds a chunk: field 15, length-delimited."""
MAX_SEQUENCE = 2**53
DIGEST_BYTES, KEY_BYTES, NONCE_BYTES, SIGNATURE_BYTES = 32, 32, 32, 64

_TASK, _CONTRIBUTION = pb.Envelope.TASK_FIELD_NUMBER, pb.Envelope.CONTRIBUTION_FIELD_NUMBER
_CHUNK = pb.Envelope.CHUNK_FIELD_NUMBER
_ARRAYS, _DATA = pb.Task.ARRAYS_FIELD_NUMBER, pb.Array.DATA_FIELD_NUMBER
_BODY, _CHUNK_DATA = pb.Contribution.BODY_FIELD_NUMBER, pb.Chunk.DATA_FIELD_NUMBER

HEARTBEAT = pb.Envelope(heartbeat={}).SerializeToString()
"""All that a heartbeat is."""

_DTYPES: dict[pb.DType, np.dtype[Any]] = {
    pb.FLOAT32: np.dtype("<f4"),
    pb.FLOAT64: np.dtype("<f8"),
    pb.INT32: np.dtype("<i4"),
    pb.INT64: np.dtype("<i8"),
    pb.UINT32: np.dtype("<u4"),
    pb.UINT64: np.dtype("<u8"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_KINDS: dict[type[Message], str] = {
    Proposal: "proposal",
    Approval: "approval",
    Setup: "setup",
    Task: "task",
    Contribution: "contribution",
    OpenRequest: "open_request",
    Help: "help",
    Card: "card",
    Roster: "roster",
    Heads: "heads",
    HeadCheck: "head_check",
    Countersignature: "countersignature",
    Event: "event",
}


def encode(message: Message) -> bytes:
    """Write a message down, once for all who get it.

    Raises:
        WireError: it holds what the wire cannot carry.
    """
    if isinstance(message, Task) and sum(array.nbytes for array in message.arrays.values()) >= LONG_BYTES:
        return _encode_long_task(message)
    if isinstance(message, Contribution) and len(message.body) >= LONG_BYTES:
        return _encode_long_contribution(message)
    fields = _fields(message)
    if isinstance(message, Roster):
        fields["cards"] = [vars(card) for card in message.cards]
    if isinstance(message, Heads):
        fields["heads"] = [vars(head) for head in message.heads]
    if isinstance(message, HeadCheck | Countersignature):
        fields["head"] = vars(message.head)
    if isinstance(message, Task):
        fields["arrays"] = [
            {**_array_head(name, array), "data": little(array).tobytes()}
            for name, array in message.arrays.items()
        ]
    try:
        return pb.Envelope(**{_KINDS[type(message)]: fields}).SerializeToString()
    except (TypeError, ValueError, EncodeError) as error:
        raise _unencodable(message, error) from None


def _fields(message: Message, but: str = "") -> dict[str, Any]:
    """Not `vars`: a task also remembers what it has derived from its fields."""
    names = message.__dataclass_fields__
    return {name: getattr(message, name) for name in names if name != but}


def _unencodable(message: Message, error: Exception) -> WireError:
    return WireError(f"a {type(message).__name__} that the wire cannot carry: {error}")


def _encode_long_task(task: Task) -> bytes:
    parts: list[Buffer] = []
    try:
        for name, array in task.arrays.items():
            head = pb.Array(**_array_head(name, array)).SerializeToString()
            data = little(array).data.cast("B") if array.size else b""
            before = head + opening(_DATA, len(data))
            parts += [opening(_ARRAYS, len(before) + len(data)), before, data]
        parts.append(pb.Task(**_fields(task, but="arrays")).SerializeToString())
    except (TypeError, ValueError, EncodeError) as error:
        raise _unencodable(task, error) from None
    return b"".join([opening(_TASK, sum(map(len, parts))), *parts])


def _encode_long_contribution(contribution: Contribution) -> bytes:
    try:
        rest = pb.Contribution(**_fields(contribution, but="body")).SerializeToString()
    except (TypeError, ValueError, EncodeError) as error:
        raise _unencodable(contribution, error) from None
    before = rest + opening(_BODY, len(contribution.body))
    size = len(before) + len(contribution.body)
    return b"".join([opening(_CONTRIBUTION, size), before, contribution.body])


def _array_head(name: str, array: Array) -> dict[str, Any]:
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _CODES:
        raise WireError(f"array {name}: the wire does not carry {array.dtype}; use float64 or int64")
    return {"name": name, "dtype": _CODES[dtype], "shape": array.shape}


@dataclass(frozen=True)
class Chunk:
    """A part of an encoded message of `total` bytes."""

    total: int
    offset: int
    data: memoryview


def encode_chunk(total: int, offset: int, data: Buffer) -> bytes:
    """Write down one part of an encoded message of `total` bytes."""
    before = pb.Chunk(total=total, offset=offset).SerializeToString() + opening(_CHUNK_DATA, len(data))
    return b"".join([opening(_CHUNK, len(before) + len(data)), before, data])


def encode_record(number: int, attempt: int, total: bytes, contributions: Iterable[Contribution]) -> bytes:
    """Write down what a coordinator keeps of a round that it has asked to open."""
    parts = [dict(vars(contribution)) for contribution in contributions]
    return pb.OpeningRecord(
        round=number, attempt=attempt, total=total, contributions=parts
    ).SerializeToString()


def decode_record(data: bytes) -> tuple[int, int, bytes, list[Contribution]]:
    """Read round, attempt, total and contributions of `encode_record`."""
    record = pb.OpeningRecord.FromString(data)
    return record.round, record.attempt, record.total, [_contribution(part) for part in record.contributions]


def decode_chunk(frame: bytes) -> Chunk | None:
    """Read one part of a message, where it is; None when `frame` is a whole message.

    Raises:
        WireError: it cannot be read.
    """
    if frame[:1] != CHUNK_TAG:
        return None
    inside = only(memoryview(frame), _CHUNK)
    if inside is None:
        raise WireError("not a message of this protocol")
    rest, data = take_out(inside, _CHUNK_DATA)
    head = _parsed(pb.Chunk, rest)
    return Chunk(head.total, head.offset, data[-1] if data else memoryview(b""))


def decode(data: bytes) -> Message:
    """Read a message.

    Raises:
        MessageTooLargeError, WireError: it is not one; says which field is wrong, never its content.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageTooLargeError(f"a message of {len(data)} bytes; the limit is {MAX_MESSAGE_BYTES}")
    if len(data) >= LONG_BYTES:
        view = memoryview(data)
        if (inside := only(view, _TASK)) is not None:
            return _long_task(inside)
        if (inside := only(view, _CONTRIBUTION)) is not None:
            rest, bodies = take_out(inside, _BODY)
            return _contribution(_parsed(pb.Contribution, rest), bytes(bodies[-1]) if bodies else b"")
    envelope = _parsed(pb.Envelope, data)
    kind = envelope.WhichOneof("message")
    if kind not in _READERS:
        raise WireError("a message of an unknown kind")
    return _READERS[kind](getattr(envelope, kind))


def _long_task(data: memoryview) -> Task:
    """A task whose arrays are looked at where they are."""
    rest, encoded = take_out(data, _ARRAYS)
    if len(encoded) > MAX_ARRAYS:
        raise _too_many(len(encoded))
    arrays: list[tuple[pb.Array, Buffer]] = []
    for part in encoded:
        head, values = take_out(part, _DATA)
        arrays.append((_parsed(pb.Array, head), values[-1] if values else b""))
    return _task(_parsed(pb.Task, rest), arrays)


def _parsed(kind: type[M], data: bytes) -> M:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise WireError("not a message of this protocol") from None


def _proposal(m: pb.Proposal) -> Proposal:
    check_sizes(
        "proposal", researcher_key=(m.researcher_key, KEY_BYTES), signature=(m.signature, SIGNATURE_BYTES)
    )
    researcher = text_of("researcher", m.researcher)
    return Proposal(m.study, researcher, m.researcher_key, m.signature, m.rules or 1)


def _approval(m: pb.Approval) -> Approval:
    check_sizes("approval", signature=(m.signature, SIGNATURE_BYTES))
    site, code = name_of("site", m.site), text_of("code", m.code, MAX_CODE)
    limits = (m.max_rounds, m.expires_at, m.signature, m.rules or 1)
    disclosure = text_of("disclosure", m.disclosure, MAX_RULES)
    if m.release_seconds > MOST_RELEASE_SECONDS:
        raise WireError(f"an approval whose answers wait longer than {MOST_RELEASE_SECONDS} s for a person")
    return Approval(hash_of(m.study_hash), site, m.approved, code, *limits, disclosure, m.release_seconds)


def _setup(m: pb.Setup) -> Setup:
    parcels, roster = parcels_of(m.parcels), sites_of(m.roster)
    return Setup(hash_of(m.study_hash), m.round, m.attempt, parcels, m.public, roster)


def _too_many(n_arrays: int) -> WireError:
    return WireError(f"a task with {n_arrays} arrays; the limit is {MAX_ARRAYS}")


def _short_task(m: pb.Task) -> Task:
    if len(m.arrays) > MAX_ARRAYS:
        raise _too_many(len(m.arrays))
    return _task(m, [(array, array.data) for array in m.arrays])


def _task(m: pb.Task, encoded: Sequence[tuple[pb.Array, Buffer]]) -> Task:
    arrays = {name_of("name", array.name): _array(array, data) for array, data in encoded}
    if len(arrays) != len(encoded):
        raise WireError("a task names an array twice")
    phase = name_of("phase", m.phase)
    if state_digest(phase, m.round, arrays) != m.state_digest:
        raise WireError("a task whose state does not fit its digest")
    return Task(hash_of(m.study_hash), m.round, m.attempt, phase, arrays, m.state_digest, sites_of(m.roster))


def _array(m: pb.Array, data: Buffer) -> Array:
    dtype = _DTYPES.get(m.dtype)
    if dtype is None or len(m.shape) > MAX_SHAPE:
        raise WireError("an array of an unknown type or with too many axes")
    if math.prod(m.shape) * dtype.itemsize != len(data):
        raise WireError("an array whose bytes do not fit its shape")
    try:
        array: Array = np.frombuffer(data, dtype).reshape(tuple(m.shape))
    except ValueError:
        raise WireError("an array whose shape is beyond this machine") from None
    return array


def _contribution(m: pb.Contribution, body: bytes | None = None) -> Contribution:
    check_sizes(
        "contribution", signature=(m.signature, SIGNATURE_BYTES), state_digest=(m.state_digest, DIGEST_BYTES)
    )
    return Contribution(
        hash_of(m.study_hash),
        m.round,
        m.attempt,
        name_of("site", m.site),
        m.state_digest,
        m.body if body is None else body,
        parcels_of(m.extras),
        m.signature,
        m.compute_us,
        m.seal_us,
    )


def _open_request(m: pb.OpenRequest) -> OpenRequest:
    survivors, roster = sites_of(m.survivors), sites_of(m.roster)
    extras = parcels_of(m.extras)
    return OpenRequest(hash_of(m.study_hash), m.round, m.attempt, survivors, m.total, extras, roster)


def _help(m: pb.Help) -> Help:
    check_sizes("help", signature=(m.signature, SIGNATURE_BYTES), request=(m.request, DIGEST_BYTES))
    site = name_of("site", m.site)
    return Help(hash_of(m.study_hash), m.round, m.attempt, site, m.body, m.signature, m.request)


def _card(m: pb.Card) -> Card:
    check_sizes(
        "card",
        identity_key=(m.identity_key, KEY_BYTES),
        agreement_key=(m.agreement_key, KEY_BYTES),
        signature=(m.signature, SIGNATURE_BYTES),
    )
    return Card(name_of("site", m.site), m.identity_key, m.agreement_key, m.signature)


def _roster(m: pb.Roster) -> Roster:
    sites_of(card.site for card in m.cards)
    return Roster(tuple(_card(card) for card in m.cards))


def _head(m: pb.Head) -> LedgerHead:
    check_sizes("head", hash=(m.hash, DIGEST_BYTES), signature=(m.signature, SIGNATURE_BYTES))
    if m.sequence > MAX_SEQUENCE:
        raise WireError("head.sequence: beyond any event log")
    return LedgerHead(name_of("site", m.site), m.epoch, m.sequence, m.hash, m.signature)


def _heads(m: pb.Heads) -> Heads:
    sites_of(head.site for head in m.heads)
    return Heads(tuple(_head(head) for head in m.heads))


def _head_check(m: pb.HeadCheck) -> HeadCheck:
    check_sizes("head_check", nonce=(m.nonce, NONCE_BYTES))
    return HeadCheck(_head(m.head), m.nonce)


def _countersignature(m: pb.Countersignature) -> Countersignature:
    check_sizes("countersignature", nonce=(m.nonce, NONCE_BYTES), signature=(m.signature, SIGNATURE_BYTES))
    return Countersignature(name_of("site", m.site), _head(m.head), m.nonce, m.signature)


def decode_head(data: bytes) -> LedgerHead:
    """Read back one head that was kept as a message of its own.

    Raises:
        WireError: it is none.
    """
    message = decode(data)
    if not isinstance(message, Heads) or len(message.heads) != 1:
        raise WireError("a stored ledger head that cannot be read; restore the database from a backup")
    return message.heads[0]


def _event(m: pb.Event) -> Event:
    study_hash = hash_of(m.study_hash) if m.study_hash else ""
    return Event(
        name_of("kind", m.kind), study_hash, m.round, m.attempt, text_of("code", m.code, MAX_CODE), m.detail
    )


_READERS: dict[str, Callable[[Any], Message]] = {
    "proposal": _proposal,
    "approval": _approval,
    "setup": _setup,
    "task": _short_task,
    "contribution": _contribution,
    "open_request": _open_request,
    "help": _help,
    "card": _card,
    "roster": _roster,
    "heads": _heads,
    "head_check": _head_check,
    "countersignature": _countersignature,
    "event": _event,
}
