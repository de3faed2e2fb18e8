"""Long payloads by hand: Protobuf reads what is written, and what it would refuse is refused."""

from dataclasses import replace

import numpy as np
import pytest

from fedcohort.errors import WireError
from fedcohort.wire import fedcohort_pb2 as pb
from fedcohort.wire.codec import Chunk, decode, decode_chunk, encode, encode_chunk
from fedcohort.wire.messages import Array, Contribution, Task
from fedcohort.wire.payload import LONG_BYTES, fields, only, opening, take_out
from fedcohort.wire.signing import state_digest

STUDY = "ab" * 32


def task(arrays: dict[str, Array]) -> Task:
    return Task(STUDY, 3, 1, "train", arrays, state_digest("train", 3, arrays), ("a", "b"))


def contribution(body: bytes) -> Contribution:
    return Contribution(STUDY, 3, 0, "a", bytes(32), body, {"b": b"share"}, bytes(64), 5, 6)


@pytest.mark.parametrize("size", [LONG_BYTES - 1, LONG_BYTES, 2**21 + 7])
def test_protobuf_reads_a_long_contribution_as_it_was_written(size: int) -> None:
    message = contribution(bytes(range(256)) * (size // 256) + bytes(size % 256))
    data = encode(message)
    read = pb.Envelope.FromString(data).contribution
    assert (read.body, read.site, dict(read.extras)) == (message.body, "a", {"b": b"share"})
    assert decode(data) == message
    assert decode(pb.Envelope.FromString(data).SerializeToString()) == message, "in Protobuf's own order"


def test_protobuf_reads_a_long_task_as_it_was_written() -> None:
    arrays: dict[str, Array] = {
        "weights": np.arange(30_000, dtype=np.float32).reshape(100, 300)[:, ::2],
        "big-endian": np.arange(20_000, dtype=">i8"),
        "number": np.array(2.5),
        "nothing": np.zeros((0, 4)),
    }
    data = encode(task(arrays))
    assert len(data) > LONG_BYTES
    read = pb.Envelope.FromString(data).task
    assert [(array.name, list(array.shape)) for array in read.arrays] == [
        ("weights", [100, 150]), ("big-endian", [20_000]), ("number", []), ("nothing", [0, 4])
    ]  # fmt: skip
    for encoded in (data, pb.Envelope.FromString(data).SerializeToString()):
        found = decode(encoded)
        assert isinstance(found, Task)
        assert (found.state_digest, found.roster) == (task(arrays).state_digest, ("a", "b"))
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array)


def test_a_long_task_is_held_to_its_digest_shape_and_names() -> None:
    arrays = {"weights": np.ones(LONG_BYTES, np.float32)}
    data = bytearray(encode(task(arrays)))
    data[LONG_BYTES] ^= 1
    with pytest.raises(WireError, match="does not fit its digest"):
        decode(bytes(data))
    envelope = pb.Envelope.FromString(encode(task(arrays)))
    envelope.task.arrays[0].shape[0] -= 1
    with pytest.raises(WireError, match="do not fit its shape"):
        decode(envelope.SerializeToString())
    envelope.task.arrays[0].shape[0] += 1
    envelope.task.arrays.append(envelope.task.arrays[0])
    with pytest.raises(WireError, match="names an array twice"):
        decode(envelope.SerializeToString())


def test_a_long_message_that_is_cut_or_goes_on_is_refused() -> None:
    data = encode(contribution(bytes(LONG_BYTES)))
    for broken in (data[:-1], data[:-40], data + b"\x2a", data[:1] + b"\xff" * 11 + data[1:]):
        with pytest.raises(WireError):
            decode(broken)
    with pytest.raises(WireError, match=r"contribution\.signature: 0 bytes"):
        decode(encode(replace(contribution(bytes(LONG_BYTES)), signature=b"")))


def test_of_a_body_that_is_there_twice_the_last_one_counts_as_in_protobuf() -> None:
    body = opening(6, 3) + b"one" + opening(6, LONG_BYTES) + bytes(LONG_BYTES)
    rest = pb.Contribution(study_hash=STUDY, site="a", state_digest=bytes(32), signature=bytes(64))
    inside = rest.SerializeToString() + body
    found = decode(opening(5, len(inside)) + inside)
    assert isinstance(found, Contribution)
    assert found.body == bytes(LONG_BYTES) == pb.Contribution.FromString(inside).body


def test_a_chunk_is_read_where_it_is() -> None:
    for data in (b"", b"x", bytes(LONG_BYTES)):
        frame = encode_chunk(2**40, 2**30, data)
        assert pb.Envelope.FromString(frame).chunk.data == data
        assert decode_chunk(frame) == Chunk(2**40, 2**30, memoryview(data))
    for broken in (frame[:-1], frame + b"x", b"\x7a", b"\x7a\x02\x1b\x1c"):
        with pytest.raises(WireError):
            decode_chunk(broken)
    assert decode_chunk(b"\x22\x00") is None


def test_every_kind_of_field_is_passed_over_to_the_one_that_is_wanted() -> None:
    kept = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1d" + bytes(4) + opening(300, 2) + b"ab"
    rest, values = take_out(memoryview(kept + opening(5, 1) + b"x" + opening(5, 0)), 5)
    assert (rest, [bytes(value) for value in values]) == (kept, [b"x", b""])
    assert only(memoryview(opening(300, 2) + b"ab"), 300) == memoryview(b"ab")
    assert only(memoryview(kept), 300) is None
    for broken in (b"\x0b", b"\x08", b"\x11\x00", opening(1, 5) + b"1234", b"\x80" * 11):
        with pytest.raises(WireError):
            list(fields(memoryview(broken)))
