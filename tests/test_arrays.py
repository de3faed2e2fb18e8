"""Arrays come back from their bytes as they were, and damaged bytes are told."""

import json

import numpy as np
import pytest

from fedcohort.arrays import arrays_from_bytes, arrays_to_bytes
from fedcohort.errors import StoreError

ARRAYS = {
    "weights": np.array([[0.5, -1.0], [2.0, np.nan]], np.float32),
    "mean": np.array([1e300, -0.0]),
    "step": np.array([-3]),
    "trainable": np.array([True, False]),
    "nothing": np.zeros((0, 4)),
    "one": np.array(7.0),
}


def test_arrays_come_back_as_they_were() -> None:
    back = arrays_from_bytes(arrays_to_bytes(ARRAYS))
    assert list(back) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert back[name].dtype == array.dtype
        assert back[name].size == array.size
        assert back[name].tobytes() == array.tobytes()
    assert back["weights"].shape == (2, 2)
    assert back["nothing"].shape == (0, 4)


def test_nothing_is_no_bytes() -> None:
    assert arrays_to_bytes({}) == b""
    assert arrays_from_bytes(b"") == {}


def test_big_endian_and_strided_arrays_are_written_alike() -> None:
    plain = np.arange(4.0)
    assert arrays_to_bytes({"x": plain.astype(">f8")}) == arrays_to_bytes({"x": plain})
    assert arrays_to_bytes({"x": np.arange(8.0)[::2] / 2}) == arrays_to_bytes({"x": plain})


def with_header(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "little") + text + body


@pytest.mark.parametrize(
    "data",
    [
        arrays_to_bytes(ARRAYS)[:-1],
        arrays_to_bytes(ARRAYS) + b"\0",
        arrays_to_bytes(ARRAYS)[:3],
        arrays_to_bytes(ARRAYS)[:20],
        b"\xff" * 40,
        with_header(7),
        with_header([["x", "|O8", [1]]], bytes(8)),
        with_header([["x", ["<f8"], [1]]], bytes(8)),
        with_header([["x", "<f8", [-1]]], bytes(8)),
        with_header([["x", "<f8", [10**30]]], bytes(8)),
        with_header([["x", "<f8", [0.5]]], bytes(8)),
        with_header([["x", "<f8", "1"]], bytes(8)),
        with_header([["x", "<f8"]], bytes(8)),
    ],
)
def test_damaged_bytes_are_told(data: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        arrays_from_bytes(data)
