"""Images of a cohort: one byte a pixel and channel, stored apart from the rows, and read as they are needed.

Up to `MEMORY_BYTES` they stay in memory; more go to a file that only this process can open and that
has no name (on Windows: that the system deletes when it is closed), so that a killed node leaves no
picture behind. Nobody holds all of them: a model reads the rows of a piece.
"""

import hashlib
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MEMORY_BYTES = 32 * 2**20

Bytes = NDArray[np.uint8]
Rows = NDArray[np.integer] | slice


class PixelStore:
    """Images of one shape, in the order in which they came; they can be read and not be changed.

    Args:
        shape: (height, width, channels).
        folder: where the file lies when they are many; None is the system's folder for temporary files.
    """

    def __init__(self, shape: tuple[int, int, int], folder: Path | None = None) -> None:
        self.shape = shape
        self._size = prod(shape)
        self._lock = threading.Lock()
        self._keys: list[int] = []
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES, dir=None if folder is None else str(folder))  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._keys)

    def append(self, pixels: Bytes) -> int:
        """Keep one more.

        Args:
            pixels: uint8 of the store's shape.
        Returns:
            its place.
        """
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            raise ValueError(f"pixels: {pixels.dtype} {pixels.shape} where uint8 {self.shape} is needed")
        data = pixels.tobytes()
        key = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        with self._lock:
            place = len(self._keys)
            self._file.seek(place * self._size)
            self._file.write(data)
            self._keys.append(key)
        return place

    def read(self, places: NDArray[np.int64]) -> Bytes:
        """(n, height, width, channels): those at these places."""
        images = np.empty((len(places), *self.shape), np.uint8)
        with self._lock:
            for row, place in zip(images, places.tolist(), strict=True):
                self._file.seek(place * self._size)
                self._file.readinto(row.reshape(-1).data)
        return images

    def keys(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """(n,): a digest of each (BLAKE2b, RFC 7693), the same whenever and in whatever order it came."""
        return np.array(self._keys, np.uint64)[places]


@dataclass(frozen=True, repr=False, eq=False)
class Pixels:
    """One image a row: places in a store, which rows are chosen and ordered without reading an image.

    Attributes:
        places: (n,) int64.
    """

    store: PixelStore
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return f"Pixels({len(self)} of {self.store.shape})"

    def __getitem__(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> "Pixels":
        return Pixels(self.store, self.places[rows])

    @property
    def keys(self) -> NDArray[np.uint64]:
        """(n,): a digest of each row's image."""
        return self.store.keys(self.places)

    def take(self, rows: Rows = slice(None)) -> Bytes:
        """(n, height, width, channels): read these rows, and no others, into memory."""
        return self.store.read(self.places[rows])


def stored(pictures: Sequence[Bytes], shape: tuple[int, int, int], store: PixelStore | None = None) -> Pixels:
    """Pictures as a column, in a store of their own if none is given."""
    store = PixelStore(shape) if store is None else store
    return Pixels(store, np.array([store.append(picture) for picture in pictures], np.int64))
