"""All chunks of a cohort as one Table in one order, and never held twice."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import EmptyCohortError
from fedcohort.pixels import Pixels, PixelStore
from fedcohort.table import Table

Array = NDArray[Any]
THREADS = 2
"""Columns that are sorted at once: each is held twice meanwhile."""
Part = tuple[str, str]
"""What kind of array, and of which column; of an image, the places in its store."""


@dataclass
class Growing:
    """An array that chunks are added to; memory that is set aside and not written to costs nothing."""

    room: Array
    used: int = 0

    def add(self, chunk: Array) -> None:
        """Append a chunk, in an array twice as large where it does not fit, of a type that holds both."""
        kind, need = np.result_type(self.room, chunk), self.used + len(chunk)
        if kind != self.room.dtype or need > len(self.room):
            room = np.empty(max(need, 2 * len(self.room)), kind)
            room[: self.used] = self.room[: self.used]
            self.room = room
        self.room[self.used : need] = chunk
        self.used = need

    @property
    def array(self) -> Array:
        """What was added."""
        return self.room[: self.used]


def in_order(tables: Iterable[Table], where: str, nobody: Table | None = None) -> Table:
    """All chunks as one table, sorted by patient and then by every value.

    The order is of code points and numbers, not of a database's collation, so that the
    same patients give the same bits however they were inserted and whatever the engine. Of an
    image it is the order of a digest. Chunks are let go one by one, and columns as soon as they are
    sorted, so that the cohort is never held twice.

    Args:
        nobody: what a cohort without a row is under privacy, where it must not differ from a small one.
    Raises:
        EmptyCohortError: there is no row, and that may be said.
    """
    parts: dict[Part, Growing] = {}
    stores: Mapping[str, PixelStore] = {}
    for table in tables:
        stores = {name: pixels.store for name, pixels in table.images.items()}
        for part, array in _parts(table):
            parts.setdefault(part, Growing(np.empty(0, array.dtype))).add(array)
    if not parts or not parts["patients", ""].used:
        if nobody is not None:
            return nobody
        raise empty_cohort(where)
    order, one_row_each = _order(parts, stores)
    merged = _sorted(parts, order)
    columns = {name: array for (kind, name), array in merged.items() if kind == "column"}
    images = {name: Pixels(store, merged["image", name]) for name, store in stores.items()}
    label, event = merged.get(("label", "")), merged.get(("event", ""))
    patients = merged["patients", ""]
    return Table(patients, columns, merged["split", ""], label, event, images, one_row_each)


def empty_cohort(where: str) -> EmptyCohortError:
    """Of a table, none of whose rows is in the cohort."""
    return EmptyCohortError(
        f"{where}: the cohort selects nothing, no row at all or none that has a label; widen "
        "cohort.where if the study has one, or check that the table holds patients"
    )


def _sorted(parts: dict[Part, Growing], order: NDArray[np.int64]) -> dict[Part, Array]:
    """Each part in this order, two at a time: NumPy takes elements off Python's lock.

    This thread sets the memory aside, for what a thread allocates does not lie where another's was freed:
    the cohort would be held one and a half times. `order` holds places that exist, so that none has to be
    looked at: "clip" takes them as they are.
    """
    merged: dict[Part, Array] = {}
    names = [*parts]
    with ThreadPoolExecutor(THREADS, "fedcohort-order") as pool:
        for begin in range(0, len(names), THREADS):
            former = [parts.pop(name).array for name in names[begin : begin + THREADS]]
            rooms = [np.empty_like(array) for array in former]
            waiting = [
                pool.submit(array.take, order, 0, room, "clip")
                for array, room in zip(former, rooms, strict=True)
            ]
            for table in waiting:
                table.result()
            merged |= dict(zip(names[begin:], rooms, strict=False))
    return merged


def _parts(table: Table) -> Iterator[tuple[Part, Array]]:
    """A chunk's arrays."""
    yield ("patients", ""), table.patient_ids
    yield ("split", ""), table.split
    yield from ((("image", name), pixels.places) for name, pixels in table.images.items())
    yield from ((("column", name), array) for name, array in table.columns.items())
    if table.label is not None:
        yield ("label", ""), table.label
    if table.event is not None:
        yield ("event", ""), table.event


def _order(parts: Mapping[Part, Growing], stores: Mapping[str, PixelStore]) -> tuple[NDArray[np.int64], bool]:
    """Which row comes when, and whether each patient has one."""
    words = _words(parts["patients", ""].array)
    # Of one key the faster, unstable sort will do: where it matters, it is sorted again.
    by_patient = np.argsort(words[0]) if len(words) == 1 else np.lexsort(words)
    new = np.zeros(len(by_patient) - 1, np.bool_)
    for word in words:
        in_turn = word[by_patient]
        new |= in_turn[1:] != in_turn[:-1]
    if new.all():  # a row a patient: nothing else to sort by
        return by_patient, True
    keys = [
        stores[name].keys(part.array) if kind == "image" else part.array
        for (kind, name), part in parts.items()
        if kind != "patients"
    ]
    return np.lexsort([*keys, *words]), False


def _words(ids: NDArray[np.str_]) -> list[Array]:
    """Keys that sort as the texts do, the foremost last: numbers of eight letters, many times faster."""
    letters = ids.view(np.uint32).reshape(len(ids), -1)
    if letters.max() > 0xFF:
        return [ids]
    whole = np.zeros((len(ids), -(-letters.shape[1] // 8) * 8), np.uint8)
    whole[:, : letters.shape[1]] = letters
    return [word.astype(np.uint64) for word in whole.view(">u8").T[::-1]]
