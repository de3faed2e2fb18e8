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

from fedcohort.sources.catalogue.schema import OURS
from fedcohort.sources.importer.checkpoint import Mark
from fedcohort.sources.importer.transactions import run

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


@dataclass(frozen=True)
class _Rows:
    """Rows of one part in one table, `before` the first of them and up to the last."""

    mark: Mark
    table: str
    before: int
    last: int
    added: int = 0
    replaced: int = 0


@dataclass
class WrittenRows:
    """One import's account of the rows that it writes.

    Attributes:
        number: the import's, in this database; 0 before its first part.
    """

    number: int = 0
    _waiting: "_Rows | None" = None
    _known: dict[str, tuple[int, int]] = field(default_factory=dict)
    _highest: dict[str, Executable] = field(default_factory=dict)
    _above: dict[str, Executable] = field(default_factory=dict)

    def begin(self, connection: Connection, mark: Mark, table: str, start: int) -> None:
        """A part begins, of which an earlier import had `start` records."""
        lock(connection)
        if not self.number:
            self.number = int(_scalar(connection, _HIGHEST)) + 1
        self._insert(connection, mark, table, start, (0, 0), (0, 0))

    def highest(self, connection: Connection, table: Table, transaction: int) -> int:
        """The highest row of a table; what is known of this very transaction need not be asked."""
        number, highest_row = self._known.get(table.name, (0, 0))
        return highest_row if number == transaction else self._asked(connection, table)

    def _asked(self, connection: Connection, table: Table) -> int:
        if table.name not in self._highest:
            key = row_key(table)
            self._highest[table.name] = select(func.max(key))
            self._above[table.name] = select(func.count()).where(key > bindparam("before"))
        return int(_scalar(connection, self._highest[table.name]))

    def note(
        self,
        connection: Connection,
        mark: Mark,
        table: Table,
        before: int,
        count: int,
        *,
        keyed: bool,
        transaction: int,
    ) -> int:
        """A batch was written; returns how many of its records replaced another.

        Args:
            before: the highest row before it.
            count: its records.
            keyed: whether a record may have replaced another.
            transaction: the number of the one that is open.
        """
        is_next = connection.dialect.name == "sqlite" and not keyed  # its rows are numbered one by one
        now = before + count if is_next else self._asked(connection, table)
        self._known[table.name] = transaction, now
        added = int(_scalar(connection, self._above[table.name], before=before)) if keyed else count
        waiting = self._waiting
        if waiting and (waiting.mark, waiting.table, waiting.last) != (mark, table.name, before):
            self.write(connection)
            waiting = None
        earlier = waiting or _Rows(mark, table.name, before, before)
        self._waiting = _Rows(
            mark,
            table.name,
            earlier.before,
            now,
            earlier.added + added,
            earlier.replaced + count - added,
        )
        return count - added

    def write(self, connection: Connection) -> None:
        """Write down what was noted, as everybody must before the transaction ends."""
        rows, self._waiting = self._waiting, None
        if rows is None:
            return
        of = {"of_import": self.number, "of_part": rows.mark.key, "of_table": rows.table}
        more = {"before": rows.before, "now": rows.last, "more": rows.added, "instead": rows.replaced}
        if run(connection, _MORE, of | more).rowcount != 1:  # another import wrote in between
            counts = rows.added, rows.replaced
            self._insert(connection, rows.mark, rows.table, 0, (rows.before + 1, rows.last), counts)

    def _insert(
        self,
        connection: Connection,
        mark: Mark,
        table: str,
        start: int,
        rows: tuple[int, int],
        counts: tuple[int, int],
    ) -> None:
        values = (self.number, mark.key, mark.name, table, start, *rows, *counts, int(time.time()))
        names = (f"of_{name}" for name in WRITES_TABLE.c.keys() if name != "id")  # noqa: SIM118
        run(connection, _INSERT, dict(zip(names, values, strict=True)))


def lock(connection: Connection) -> None:
    """From here on nobody else writes until this transaction ends; on SQLite nobody does anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {WRITES} IN SHARE ROW EXCLUSIVE MODE"))


def _scalar(connection: Connection, query: Executable, **values: object) -> int:
    row = run(connection, query, values).fetchone()
    return int(row[0] or 0) if row else 0
