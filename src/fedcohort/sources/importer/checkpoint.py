"""The checkpoint of each part of every import, and what it refused: written with its batches, none ahead."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    or_,
    select,
    update,
)

from fedcohort.errors import StoreError
from fedcohort.sources.catalogue.schema import OURS
from fedcohort.sources.importer.batch import Batch, Refusal
from fedcohort.sources.importer.transactions import run

IMPORTS, REFUSALS, MADE_MISSING = f"{OURS}imports", f"{OURS}refusals", f"{OURS}made_missing"
BEGUN, DONE, BROKEN = 0, 1, 2
"""How an import stands; of a broken part, what could be read is in, and a whole copy goes on behind it."""
IMPORTS_TABLE = Table(
    IMPORTS,
    MetaData(),
    Column("part", String(64), primary_key=True),
    Column("name", Text, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("context", String(64), nullable=False),
    Column("tables", Text, nullable=False),
    Column("read", BigInteger, nullable=False),
    Column("written", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("done", Integer, nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
)
REFUSALS_TABLE = Table(
    REFUSALS,
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("part", String(64), nullable=False, index=True),
    *(Column(name, Text, nullable=False) for name in ("file", "position", "field", "reason")),
)
MADE_MISSING_TABLE = Table(
    MADE_MISSING,
    MetaData(),
    Column("part", String(64), primary_key=True),
    Column("why", Text, primary_key=True),
    Column("missing", BigInteger, nullable=False),
)
"""By part, column and reason, how many values became missing, as `Batch.made_missing` counts them."""

# Built once: for a small part, such as an image, building them costs more than running them.
_LIKE = IMPORTS_TABLE.select().where(
    IMPORTS_TABLE.c.tables == bindparam("of_tables"),
    or_(
        IMPORTS_TABLE.c.digest == bindparam("of_digest"),
        IMPORTS_TABLE.c.name == bindparam("of_name"),
        IMPORTS_TABLE.c.done == bindparam("broken"),
    ),
)
_COLUMNS = IMPORTS_TABLE.c.keys()
_INSERT = IMPORTS_TABLE.insert()
_OF_KEY = update(IMPORTS_TABLE).where(IMPORTS_TABLE.c.part == bindparam("key"))
_ADVANCE = _OF_KEY.where(IMPORTS_TABLE.c.read == bindparam("before")).values(
    read=bindparam("now"),
    written=IMPORTS_TABLE.c.written + bindparam("more"),
    refused=IMPORTS_TABLE.c.refused + bindparam("out"),
)
_FINISH = _OF_KEY.values(done=bindparam("state"))
_REFUSED = REFUSALS_TABLE.insert()
_OF_PART = select(MADE_MISSING_TABLE.c.why, MADE_MISSING_TABLE.c.missing).where(
    MADE_MISSING_TABLE.c.part == bindparam("key")
)
_MORE_MISSING = (
    update(MADE_MISSING_TABLE)
    .where(MADE_MISSING_TABLE.c.part == bindparam("key"), MADE_MISSING_TABLE.c.why == bindparam("reason"))
    .values(missing=MADE_MISSING_TABLE.c.missing + bindparam("more"))
)
_FIRST_MISSING = MADE_MISSING_TABLE.insert().values(
    {"part": bindparam("key"), "why": bindparam("reason"), "missing": bindparam("more")}
)


class Appendable(Protocol):
    """A part, of whatever records, to which more may be appended."""

    @property
    def name(self) -> str:
        """As the engineer named it."""
        ...

    @property
    def size(self) -> Callable[[], int]:
        """Bytes of its content."""
        ...

    @property
    def prefix(self) -> Callable[[int], str] | None:
        """SHA-256 of its first so many bytes; None where nothing is appended."""
        ...


@dataclass(frozen=True)
class Mark:
    """What makes an import the same one.

    Attributes:
        name: the part's.
        digest: of its content.
        context: of what else decides the outcome.
        tables: the tables that it fills.
    """

    name: str
    digest: str
    context: str
    tables: str

    @cached_property
    def key(self) -> str:
        """All of it in 64 characters."""
        text = "\n".join((self.name, self.digest, self.context, self.tables))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Begun:
    """Where an import of a part goes on.

    Attributes:
        done: so many records of the part are passed over.
        written: rows that this very import wrote before it was interrupted.
        refusals: what it refused.
        made_missing: by column and reason, values that it made missing.
        goes_on: whether it is this very import that was interrupted, and not another of more records.
    """

    done: int
    written: int = 0
    refusals: Sequence[Refusal] = ()
    made_missing: Mapping[str, int] = field(default_factory=dict)
    goes_on: bool = False


def begin(connection: Connection, part: Appendable, mark: Mark, *, keyed: bool) -> Begun | None:
    """How many records of a part are in already; None when all of this very content are.

    Args:
        keyed: whether a record replaces the earlier one of its key.
    Raises:
        StoreError: the part or what decides about it was changed, and its new records cannot be found.
    """
    named = {"of_tables": mark.tables, "of_digest": mark.digest, "of_name": mark.name, "broken": BROKEN}
    records = run(connection, _LIKE, named).fetchall()
    everything = [dict(zip(_COLUMNS, row, strict=True)) for row in records]
    rows = [row for row in everything if row["context"] == mark.context]
    same = [row for row in rows if row["digest"] == mark.digest]
    if any(row["done"] != BEGUN for row in same):
        return None
    otherwise = any(row["digest"] == mark.digest and row["written"] for row in everything if row not in rows)
    if otherwise and not keyed:
        raise StoreError(
            f"{part.name}: was imported under another mapping, encoding or de-identification; its records "
            "would stand twice: take that import back (`fedcohort data undo --into DATABASE` lists them), or "
            "import into a new database"
        )
    begun = next((row for row in same if row["part"] == mark.key), None)
    if begun is not None:
        refusals = _refused(connection, mark)
        missing = made_missing(connection, mark)
        return Begun(int(begun["read"]), int(begun["written"]), refusals, missing, goes_on=True)
    earlier = [row for row in rows if row["name"] == part.name]
    cut = [row for row in rows if row["done"] == BROKEN]
    counts = [_appended_to(part, row) for row in (*earlier, *cut)]
    read = max((count for count in counts if count is not None), default=None)
    if any(row["written"] for row in earlier) and read is None and not keyed:
        raise StoreError(
            f"{part.name}: changed since it was imported, so that its records cannot be told from the "
            "earlier ones; import into a new database, with key columns in the mapping where the file will "
            "change again"
        )
    values: dict[str, object] = {"part": mark.key, "size": part.size(), **asdict(mark)}
    values |= {"read": read or 0, "written": 0, "refused": 0, "done": BEGUN, "at": int(time.time())}
    run(connection, _INSERT, values)
    return Begun(read or 0)


def made_missing(connection: Connection, mark: Mark) -> Mapping[str, int]:
    """By column and reason, values of a part that became missing."""
    counts: list[Sequence[Any]] = [*run(connection, _OF_PART, {"key": mark.key}).fetchall()]
    return {str(row[0]): int(row[1]) for row in counts}


def _refused(connection: Connection, mark: Mark) -> list[Refusal]:
    table = REFUSALS_TABLE.c
    query = select(table.file, table.position, table.field, table.reason)
    records = connection.execute(query.where(table.part == mark.key).order_by(table.id))
    refusals: list[Refusal] = []
    for file, position, name, reason in records:
        last = refusals[-1] if refusals else None
        if last and position.startswith("record ") and (file, position) == (last.file, last.position):
            refusals[-1] = replace(last, also=(*last.also, (name, reason)))
        else:
            refusals.append(Refusal(file, position, name, reason))
    return refusals


def _rows(refusal: Refusal) -> Iterator[dict[str, str]]:
    """A refused record as it is kept: a row for everything that is wrong with it."""
    for name, reason in ((refusal.field, refusal.reason), *refusal.also):
        yield {"file": refusal.file, "position": refusal.position, "field": name, "reason": reason}


def _appended_to(part: Appendable, earlier: Mapping[str, Any]) -> int | None:
    """How many records of a part were imported already; None when its beginning is not what was."""
    fits = part.prefix is not None and earlier["done"] != BEGUN and earlier["size"] <= part.size()
    if fits and part.prefix is not None and part.prefix(earlier["size"]) == earlier["digest"]:
        return int(earlier["read"])
    return None


def advance(connection: Connection, mark: Mark, before: int, batch: Batch, written: int) -> None:
    """Advance a part's checkpoint, and note what was refused and made missing, in its batch's transaction.

    Raises:
        StoreError: another process has meanwhile written this part's batch.
    """
    refused = [{"part": mark.key, **row} for refusal in batch.refusals for row in _rows(refusal)]
    now = {"key": mark.key, "before": before, "now": batch.read, "more": written, "out": len(batch.refusals)}
    if run(connection, _ADVANCE, now).rowcount != 1:
        raise StoreError("another import of the same file is running; wait until it has ended")
    if refused:
        connection.execute(_REFUSED, refused)
    for why, count in batch.made_missing.items():
        more = {"key": mark.key, "reason": why, "more": count}
        if run(connection, _MORE_MISSING, more).rowcount != 1:
            run(connection, _FIRST_MISSING, more)


def finish(connection: Connection, mark: Mark, *, broken: bool) -> None:
    """All of a part is in, or all that can be read of it."""
    run(connection, _FINISH, {"key": mark.key, "state": BROKEN if broken else DONE})
