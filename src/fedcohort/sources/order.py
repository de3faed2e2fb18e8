"""All chunks of a cohort as one Table in one order, and never held twice."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import EmptyCohortError
from fedcohort.pixels import Pixels, PixelStore
from fedcohort.table import Table

Array = NDArray[Any]
Pieces = dict[tuple[str, str], list[Array]]
"""What kind of array and of which column to its chunks; of an image, the places in its store."""


def in_order(tables: list[Table], where: str) -> Table:
    """All chunks as one table, sorted by patient and then by every value.

    The order is of code points and numbers, not of a database's collation, so that the
    same patients give the same bits however they were inserted and whatever the engine. Of an
    image it is the order of a digest. The list is emptied: a column's chunks are let go as soon
    as they are merged, so that the cohort is never held twice.

    Raises:
        EmptyCohortError: there is no row.
    """
    if not sum(table.n_rows for table in tables):
        raise EmptyCohortError(
            f"{where}: the cohort selects nothing with a label; widen `where` or check the table"
        )
    stores = {name: pixels.store for name, pixels in tables[0].images.items()}
    pieces: Pieces = {}
    while tables:
        _take_apart(tables.pop(0), pieces)
    order = _order(pieces, stores)
    merged = {part: np.concatenate(pieces.pop(part))[order] for part in [*pieces]}
    columns = {name: array for (kind, name), array in merged.items() if kind == "column"}
    images = {name: Pixels(store, merged["image", name]) for name, store in stores.items()}
    label, event = merged.get(("label", "")), merged.get(("event", ""))
    return Table(merged["patients", ""], columns, merged["split", ""], label, event, images)


def _take_apart(table: Table, pieces: Pieces) -> None:
    """Add a chunk's arrays to the lists."""
    parts: dict[tuple[str, str], Array | None] = {
        ("patients", ""): table.patient_ids,
        ("split", ""): table.split,
        **{("image", name): pixels.places for name, pixels in table.images.items()},
        **{("column", name): array for name, array in table.columns.items()},
        ("label", ""): table.label,
        ("event", ""): table.event,
    }
    for part, array in parts.items():
        if array is not None and table.n_rows:
            pieces.setdefault(part, []).append(array)


def _order(pieces: Pieces, stores: Mapping[str, PixelStore]) -> NDArray[np.int64]:
    ids = np.concatenate(pieces["patients", ""])
    by_patient = np.argsort(ids, kind="stable")
    in_turn = ids[by_patient]
    if (in_turn[1:] != in_turn[:-1]).all():  # a row a patient: nothing else to sort by
        return by_patient
    keys = []
    for (kind, name), chunks in pieces.items():
        if kind != "patients":
            values = np.concatenate(chunks)
            keys.append(stores[name].keys(values) if kind == "image" else values)
    return np.lexsort([*keys, ids])
