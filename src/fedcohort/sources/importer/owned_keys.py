"""A record replaces the earlier one of its key, but never another patient's record."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from sqlalchemy import Connection, Select, Table, bindparam, select, tuple_

from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.importer.batch import Batch, Refusal
from fedcohort.sources.importer.transactions import compiled

KeyValues = tuple[object, ...]

_AT_ONCE = 500
_REASONS: Mapping[KeyValues, str] = {
    (
        "image_id",
    ): "is the SOPInstanceUID of another patient's image, which no two may share (PS3.3, C.12.1): "
    "correct PatientID, or give the image a UID of its own, and import the folder again"
}
"""Where keys are the format's own, and no mapping's."""


def of_own_patients(
    connection: Connection, table: Table, keys: Sequence[str], batch: Batch, place: tuple[str, int]
) -> Batch:
    """The batch without records whose key is another patient's, which are refused.

    Args:
        keys: the columns of the key; with patient_id among them nothing can be another's.
        place: the part, and how many of its records came before this batch.
    """
    if not keys or PATIENT_ID in keys or not batch.columns:
        return batch
    named = list(zip(*(batch.columns[name] for name in keys), strict=True))
    owners: dict[KeyValues, object] = dict(_owners(connection, table, tuple(keys), named))
    others = []
    for row, (key, patient) in enumerate(zip(named, batch.columns[PATIENT_ID], strict=True)):
        if None not in key and owners.setdefault(key, patient) != patient:
            others.append(row)
    if not others:
        return batch
    part, done = place
    reason = _REASONS.get(tuple(keys)) or (
        "is the key of another patient's record: write key = "
        f"{json.dumps([PATIENT_ID, *keys], ensure_ascii=False)} in the mapping, and import into a new "
        "database"
    )
    where = f"record {done + 1}" if batch.read == done + 1 else f"records {done + 1} to {batch.read}"
    refused = [Refusal(part, where, ", ".join(keys), reason)] * len(others)
    return replace(_without(batch, others), refusals=(*batch.refusals, *refused))


def _without(batch: Batch, rows: Sequence[int]) -> Batch:
    left_out = set(rows)
    columns = {
        name: [value for row, value in enumerate(values) if row not in left_out]
        for name, values in batch.columns.items()
    }
    return replace(batch, columns=columns)


def _owners(
    connection: Connection, table: Table, keys: tuple[str, ...], named: Sequence[KeyValues]
) -> Iterator[tuple[KeyValues, object]]:
    """The patients of the keys that stand there already."""
    wanted = [key for key in dict.fromkeys(named) if None not in key]
    if isinstance(raw := connection.connection.driver_connection, sqlite3.Connection):
        query, order = compiled(_one(table, keys), connection.dialect)
        for key in wanted:
            given = dict(zip(keys, key, strict=True))
            if owner := raw.execute(query, [given[name.removeprefix("of_")] for name in order]).fetchone():
                yield key, owner[0]
        return
    for start in range(0, len(wanted), _AT_ONCE):
        chunk: Mapping[str, object] = {"wanted": wanted[start : start + _AT_ONCE]}
        for row in connection.execute(_many(table, keys), chunk):
            yield tuple(row[1:]), row[0]


@lru_cache(64)
def _one(table: Table, keys: tuple[str, ...]) -> Select[tuple[str]]:
    return select(table.c[PATIENT_ID]).where(*(table.c[name] == bindparam(f"of_{name}") for name in keys))


@lru_cache(64)
def _many(table: Table, keys: tuple[str, ...]) -> Select[tuple[str]]:
    columns = [table.c[name] for name in keys]
    query = select(table.c[PATIENT_ID], *columns)
    return query.where(tuple_(*columns).in_(bindparam("wanted", expanding=True)))
