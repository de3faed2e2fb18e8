"""Named arrays as bytes for a process's own database: a JSON header, then raw little-endian numbers."""

import json
import math
from collections.abc import Mapping

import numpy as np

from fedcohort.errors import StoreError
from fedcohort.vector import Array

_DTYPES = frozenset({"<f4", "<f8", "<i8", "<i4", "<u4", "<u8", "|b1"})


def arrays_to_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Write arrays down; nothing becomes nothing."""
    if not arrays:
        return b""
    ready = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    little = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in ready.items()}
    header = json.dumps([[name, array.dtype.str, array.shape] for name, array in little.items()]).encode()
    contents = (array.data.cast("B") for array in little.values() if array.size)
    return b"".join([len(header).to_bytes(4, "little"), header, *contents])


def arrays_from_bytes(data: bytes) -> dict[str, Array]:
    """Read what `arrays_to_bytes` wrote.

    Raises:
        StoreError: the bytes are damaged.
    """
    if not data:
        return {}
    start = 4 + int.from_bytes(data[:4], "little")
    arrays: dict[str, Array] = {}
    try:
        for name, dtype, shape in json.loads(data[4:start]):
            if dtype not in _DTYPES:
                raise ValueError(f"type {dtype}")
            if not all(isinstance(length, int) and 0 <= length <= len(data) for length in shape):
                raise ValueError("shape")
            size = math.prod(shape)
            arrays[name] = np.frombuffer(data, np.dtype(dtype), size, start).reshape(shape)
            start += arrays[name].nbytes
        if start != len(data):
            raise ValueError("bytes after the last array")
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreError("a stored state is damaged; restore the database from a backup") from error
    return arrays
