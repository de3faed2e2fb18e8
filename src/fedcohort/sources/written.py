"""Which rows each import wrote: noted in the transaction that writes them, so that an import can be undone.

A row's own number tells: writers take turns, and what a batch adds stands between the highest
number before it and the highest behind it.
"""

import time
from dataclasses import dataclass, field

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Executable,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    func,
    select,
    text,
    update,
)

from fedcohort.sources.how_far import Mark
from fedcohort.sources.pen import run
from fedcohort.sources.schema import OURS

ROW = f"{OURS}id"
"""The row key where a source has a column `id` of its own."""
WRITES = f"{OURS}writes"
WRITES_TABLE = Table(
    WRITES,
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("import_number", BigInteger, nullable=False, index=True),
    Column("part", String(64), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("replaced", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)
"""start: records of the part that an earlier import had; rows: those added; replaced: by key."""

_HIGHEST = select(func.max(WRITES_TABLE.c.import_number))
_INSERT = WRITES_TABLE.insert().values(
    {name: bindparam(f"of_{name}") for name in WRITES_TABLE.c.keys() if name != "id"}  # noqa: SIM118
)
_MORE = (
    update(WRITES_TABLE)
    .where(
        WRITES_TABLE.c.import_number == bindparam("of_import"),
        WRITES_TABLE.c.part == bindparam("of_part"),
        WRITES_TABLE.c.table_name == bindparam("of_table"),
        WRITES_TABLE.c.last == bindparam("before"),
    )
    .values(
        last=bindparam("now"),
        rows=WRITES_TABLE.c.rows + bindparam("more"),
        replaced=WRITES_TABLE.c.replaced + bindparam("instead"),
    )
)


def row_key(table: Table) -> Column[int]:
    """The column that numbers a table's rows."""
    return table.c[ROW] if ROW in table.c else table.c["id"]


@dataclass
class Written:
    """One import's account of the rows that it writes.

    Attributes:
        number: the import's, in this database; 0 before its first part.
    """

    number: int = 0
    _highest: dict[str, Executable] = field(default_factory=dict)
    _above: dict[str, Executable] = field(default_factory=dict)

    def begin(self, connection: Connection, mark: Mark, table: str, start: int) -> None:
        """A part begins, of which an earlier import had `start` records."""
        lock(connection)
        if not self.number:
            self.number = int(_scalar(connection, _HIGHEST)) + 1
        self._insert(connection, mark, table, start, (0, 0), (0, 0))

    def highest(self, connection: Connection, table: Table) -> int:
        """The highest row of a table."""
        if table.name not in self._highest:
            key = row_key(table)
            self._highest[table.name] = select(func.max(key))
            self._above[table.name] = select(func.count()).where(key > bindparam("before"))
        return int(_scalar(connection, self._highest[table.name]))

    def note(
        self, connection: Connection, mark: Mark, table: Table, before: int, count: int, *, keyed: bool
    ) -> int:
        """A batch was written; returns how many of its records replaced another.

        Args:
            before: the highest row before it.
            count: its records.
            keyed: whether a record may have replaced another.
        """
        now = self.highest(connection, table)
        added = int(_scalar(connection, self._above[table.name], before=before)) if keyed else count
        of = {"of_import": self.number, "of_part": mark.key, "of_table": table.name}
        more = {"before": before, "now": now, "more": added, "instead": count - added}
        if run(connection, _MORE, of | more).rowcount != 1:  # another import wrote in between
            self._insert(connection, mark, table.name, 0, (before + 1, now), (added, count - added))
        return count - added

    def _insert(
        self,
        connection: Connection,
        mark: Mark,
        table: str,
        start: int,
        rows: tuple[int, int],
        counts: tuple[int, int],
    ) -> None:
        found = (self.number, mark.key, mark.name, table, start, *rows, *counts, int(time.time()))
        names = (f"of_{name}" for name in WRITES_TABLE.c.keys() if name != "id")  # noqa: SIM118
        run(connection, _INSERT, dict(zip(names, found, strict=True)))


def lock(connection: Connection) -> None:
    """From here on nobody else writes until this transaction ends; on SQLite nobody does anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {WRITES} IN SHARE ROW EXCLUSIVE MODE"))


def _scalar(connection: Connection, query: Executable, **values: object) -> int:
    row = run(connection, query, values).fetchone()
    return int(row[0] or 0) if row else 0
