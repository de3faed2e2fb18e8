"""Messages survive the wire exactly; anything else is refused as a WireError."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedcohort.errors import MessageTooLargeError, WireError
from fedcohort.wire import codec
from fedcohort.wire import fedcohort_pb2 as pb
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.identity import new_identity, verify
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
from fedcohort.wire.signing import contribution_signing_bytes, state_digest

from .support import HASH

SIGNATURE, KEY = bytes(range(64)), bytes(range(32))
WEIGHTS: dict[str, Array] = {
    "w": np.array([[1.5, -2.0], [0.0, np.nan]], np.float32),
    "n": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.uint32),
}
DIGEST = state_digest("train", 3, WEIGHTS)
MESSAGES: list[Message] = [
    Proposal(b'{"name":"x"}', "dr. müller", bytes(32), SIGNATURE),
    Approval(HASH, "hospital_a", approved=True, max_rounds=50, expires_at=2_000_000_000, signature=SIGNATURE),
    Approval(HASH, "hospital_a", approved=False, code="policy-refused", signature=SIGNATURE),
    Setup(HASH, 1, 2, {"hospital_b": b"sealed"}, b"public", ("hospital_a", "hospital_b")),
    Task(HASH, 3, 1, "train", WEIGHTS, DIGEST, ("hospital_a", "hospital_b")),
    Contribution(HASH, 3, 1, "hospital_a", DIGEST, b"ring", {"hospital_b": b"extra"}, SIGNATURE),
    OpenRequest(
        HASH, 3, 1, ("hospital_a",), b"total", {"hospital_a": b"extra"}, ("hospital_a", "hospital_b")
    ),
    Help(HASH, 3, 1, "hospital_a", b"share", SIGNATURE, DIGEST),
    Card("hospital_a", KEY, KEY, SIGNATURE),
    Roster((Card("hospital_a", KEY, KEY, SIGNATURE), Card("hospital_b", KEY, KEY, SIGNATURE))),
    Heads((LedgerHead("hospital_a", 0, 7, KEY, SIGNATURE), LedgerHead("hospital_b", 1, 2, KEY, SIGNATURE))),
    Heads(()),
    HeadCheck(LedgerHead("hospital_a", 0, 7, KEY, SIGNATURE), bytes(range(32))),
    Countersignature("hospital_b", LedgerHead("hospital_a", 1, 2, KEY, SIGNATURE), KEY, SIGNATURE),
    Event("refusal", HASH, 3, 1, "not-approved"),
    Event("catalogue", detail=b"{}"),
    Approval(HASH, "hospital_a", approved=True, signature=SIGNATURE, release_seconds=MOST_RELEASE_SECONDS),
]
KINDS = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)


def same(left: object, right: object) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    return bool(left == right)


def equal(left: Message, right: Message) -> bool:
    return type(left) is type(right) and all(
        same(getattr(left, part.name), getattr(right, part.name)) for part in fields(left)
    )


@KINDS
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert equal(decode(encode(message)), message)


NUMBERS = hnp.arrays(
    st.sampled_from(["f4", "f8", "i4", "i8", "u4", "u8", ">f4", ">i8"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
NAMES = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    arrays=st.dictionaries(NAMES, NUMBERS, max_size=4),
    phase=NAMES,
    number=st.integers(0, 2**32 - 1),
    roster=st.lists(NAMES, unique=True, max_size=5),
)
def test_any_task_comes_back_bit_by_bit(
    arrays: dict[str, Array], phase: str, number: int, roster: list[str]
) -> None:
    digest = state_digest(phase, number, arrays)
    found = decode(encode(Task(HASH, number, 0, phase, arrays, digest, tuple(roster))))
    assert isinstance(found, Task)
    assert (found.phase, found.round, found.roster) == (phase, number, tuple(roster))
    for name, array in arrays.items():
        little = array.astype(array.dtype.newbyteorder("<"))
        assert same(found.arrays[name], little)


def test_decoded_arrays_are_views_that_nobody_can_change() -> None:
    task = decode(encode(MESSAGES[4]))
    assert isinstance(task, Task)
    assert not task.arrays["w"].flags.owndata
    assert not task.arrays["w"].flags.writeable


@KINDS
def test_a_truncated_message_is_refused_wherever_it_is_cut(message: Message) -> None:
    data = encode(message)
    for length in range(len(data)):
        with pytest.raises(WireError):
            decode(data[:length])


@KINDS
def test_a_flipped_bit_is_refused_as_a_wire_error_or_leaves_a_valid_message(message: Message) -> None:
    data = encode(message)
    for position in range(8 * len(data)):
        try:
            found = decode(flipped(data, position))
        except WireError:
            continue
        assert equal(decode(encode(found)), found)


def flipped(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def test_no_flipped_bit_of_a_signed_contribution_goes_unnoticed() -> None:
    site = new_identity("hospital_a")
    unsigned = Contribution(HASH, 3, 1, "hospital_a", DIGEST, b"ring", {"hospital_b": b"extra"})
    signed = replace(unsigned, signature=site.sign(contribution_signing_bytes(unsigned)))
    data = encode(signed)
    for position in range(8 * len(data)):
        try:
            found = decode(flipped(data, position))
        except WireError:
            continue
        assert not isinstance(found, Contribution) or not verify(
            site.public_key, found.signature, contribution_signing_bytes(found)
        )


def test_no_flipped_bit_of_a_state_goes_unnoticed() -> None:
    data = encode(MESSAGES[4])
    start = data.index(WEIGHTS["w"].tobytes())
    for position in range(8 * start, 8 * (start + WEIGHTS["w"].nbytes)):
        with pytest.raises(WireError, match="digest"):
            decode(flipped(data, position))


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused_as_a_wire_error_or_is_a_message(noise: bytes) -> None:
    try:
        found = decode(noise)
    except WireError:
        return
    assert equal(decode(encode(found)), found)


def test_a_message_beyond_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_MESSAGE_BYTES", 10)
    with pytest.raises(MessageTooLargeError, match="limit is 10"):
        decode(encode(MESSAGES[0]))


def envelope(**parts: Any) -> bytes:
    return pb.Envelope(**parts).SerializeToString()


def task_parts(**changes: Any) -> bytes:
    array = {"name": "w", "dtype": pb.FLOAT32, "shape": [1], "data": bytes(4)}
    parts = {"study_hash": HASH, "phase": "train", "arrays": [array | changes.pop("array", {})]}
    return envelope(task=parts | changes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "unknown kind"),
        (envelope(chunk={"total": 1, "data": b"x"}), "unknown kind"),
        (pb.Hello(id="hospital_a").SerializeToString(), "message"),
        (task_parts(array={"dtype": 0}), "unknown type"),
        (task_parts(array={"dtype": 99}), "unknown type"),
        (task_parts(array={"shape": [2]}), "do not fit its shape"),
        (task_parts(array={"shape": [2**63, 0], "data": b""}), "beyond this machine"),
        (task_parts(array={"shape": [1] * 9}), "too many axes"),
        (task_parts(array={"name": ""}), "name"),
        (task_parts(array={"name": "x" * 300}), "name"),
        (task_parts(), "digest"),
        (task_parts(arrays=[{"name": "w", "dtype": 1, "shape": [0]}] * 2), "twice"),
        (task_parts(arrays=[{}] * 5000), "limit is 4096"),
        (envelope(event={"kind": "x\n"}), "kind"),
        (envelope(event={"kind": "x", "study_hash": "zz"}), "study_hash"),
        (envelope(help={"study_hash": HASH, "site": "a", "signature": b"short"}), "signature"),
        (envelope(help={"study_hash": HASH, "site": "", "signature": SIGNATURE, "request": DIGEST}), "site"),
        (envelope(help={"study_hash": HASH, "site": "a", "signature": SIGNATURE}), "request"),
        (envelope(card={"site": "a", "identity_key": b"short"}), "identity_key"),
        (envelope(roster={"cards": [{"site": "a"}, {"site": "a"}]}), "twice"),
        (envelope(open_request={"study_hash": HASH, "survivors": ["a", "a"]}), "twice"),
        (envelope(open_request={"study_hash": HASH, "survivors": map(str, range(10_001))}), "too long"),
        (
            envelope(
                approval={
                    "study_hash": HASH,
                    "site": "a",
                    "signature": SIGNATURE,
                    "release_seconds": MOST_RELEASE_SECONDS + 1,
                }
            ),
            "longer than 2592000 s",
        ),
    ],
)
def test_a_message_that_breaks_a_rule_is_refused_with_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(data)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (MESSAGES[4], {"arrays": {"w": np.array(["text"])}}),
        (MESSAGES[4], {"arrays": {"w": np.array([True])}}),
        (MESSAGES[4], {"round": -1}),
        (MESSAGES[4], {"round": 2**32}),
        (MESSAGES[5], {"body": "text"}),
        (MESSAGES[-2], {"kind": b"\xff"}),
    ],
)
def test_what_the_wire_cannot_carry_is_refused_before_it_is_sent(
    message: Message, change: dict[str, Any]
) -> None:
    with pytest.raises(WireError, match="carry"):
        encode(replace(message, **change))
