"""The append-only event log: every entry names the hash of the one before it.

A changed or removed entry breaks every hash after it, and whoever has a copy of the
newest hash notices. Coordinator and nodes keep one log each, in their own
database. An entry holds codes, hashes, names and byte counts: never data.
"""

import hashlib
import json
import time
from collections.abc import Mapping

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    Text,
    func,
    select,
)

from fedcohort.errors import StoreError

GENESIS = bytes(32)
_encode = json.JSONEncoder(separators=(",", ":")).encode
_encode_sorted = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode

Detail = Mapping[str, str | int | float | list[str] | None]
Entry = dict[str, str | int | bytes]


def events_table(metadata: MetaData) -> Table:
    """The table `events` for a store's metadata."""
    return Table(
        "events",
        metadata,
        Column("sequence", Integer, primary_key=True),
        Column("at_ms", BigInteger, nullable=False),
        Column("kind", String(64), nullable=False),
        Column("study_hash", String(64), nullable=False),
        Column("detail", Text, nullable=False),
        Column("hash", LargeBinary(32), nullable=False),
    )


def link_hash(previous: bytes, at_ms: int, kind: str, study_hash: str, detail: str) -> bytes:
    """SHA-256 of an entry and of the hash before it."""
    entry = _encode([previous.hex(), at_ms, kind, study_hash, detail])
    return hashlib.sha256(entry.encode()).digest()


def newest_query(table: Table) -> Select[tuple[int, bytes]]:
    """Number and hash of the last entry."""
    newest = select(func.max(table.c.sequence)).scalar_subquery()
    return select(table.c.sequence, table.c.hash).where(table.c.sequence == newest)


def detail_text(detail: Detail | None) -> str:
    """A detail as an entry holds it."""
    return _encode_sorted(detail or {})


def next_entry(last: tuple[int, bytes] | None, kind: str, study_hash: str, detail: Detail | None) -> Entry:
    """The row that follows the last one; the caller inserts it while it holds the write lock."""
    sequence, head = last or (0, GENESIS)
    text = detail_text(detail)
    at_ms = time.time_ns() // 1_000_000
    return {
        "sequence": sequence + 1,
        "at_ms": at_ms,
        "kind": kind,
        "study_hash": study_hash,
        "detail": text,
        "hash": link_hash(head, at_ms, kind, study_hash, text),
    }


def verify_events(table: Table, connection: Connection) -> int:
    """Recompute the chain and return its length.

    Raises:
        StoreError: an entry was changed, removed or inserted; names its number.
    """
    head, expected = GENESIS, 0
    for row in connection.execute(select(table).order_by(table.c.sequence)):
        expected += 1
        head = link_hash(head, row.at_ms, row.kind, row.study_hash, row.detail)
        if row.sequence != expected or row.hash != head:
            raise StoreError(
                f"the event log was altered at entry {expected}; restore a backup and find out who did it"
            )
    return expected
