"""How an import writes: transactions as small as is safe, and for many small parts as large as is fast."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, cast

from sqlalchemy import (
    ClauseElement,
    Connection,
    CursorResult,
    Dialect,
    Engine,
    Executable,
    Table,
    bindparam,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

ROWS, SECONDS = 20_000, 1.0
"""A transaction ends when so many rows are written, or it has been open so long."""


class TransactionBatcher:
    """Turns at writing, each whole in one transaction; small ones share a transaction.

    Attributes:
        weight: rows written in the transaction that is open.
        number: of the transaction that is open, the first being 1; within one nobody else writes.
        at_end: what has to be written before a transaction ends.
    """

    def __init__(self, engine: Engine) -> None:
        self.weight = 0
        self.number = 0
        self.at_end: Callable[[Connection], None] = lambda _connection: None
        self._engine = engine
        self._connection: Connection | None = None
        self._began = 0.0

    def __enter__(self) -> Self:
        """Begin nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep all turns that ended, whatever happened between them."""
        self._end(keep=True)

    @contextmanager
    def turn(self) -> Iterator[Connection]:
        """Write; what stood in the open transaction goes with it when the turn fails."""
        if self._connection is None:
            self._connection = self._engine.connect()
            self._connection.begin()
            self.number += 1
            self.weight, self._began = 0, time.monotonic()
        try:
            yield self._connection
        except BaseException:
            self._end(keep=False)
            raise
        if self.weight >= ROWS or time.monotonic() - self._began >= SECONDS:
            self._end(keep=True)

    def _end(self, *, keep: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if keep:
                self.at_end(connection)
                connection.commit()
            else:
                connection.rollback()
        finally:
            connection.close()


@lru_cache(64)
def _insertion(
    dialect: str, table: Table, names: tuple[str, ...], keys: tuple[str, ...]
) -> "sqlite.Insert | postgresql.Insert":
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement: sqlite.Insert | postgresql.Insert = insert(table)
    statement = statement.values({name: bindparam(name) for name in names})
    if not keys:
        return statement
    others = {name: statement.excluded[name] for name in names if name not in keys}
    if not others:
        return statement.on_conflict_do_nothing(index_elements=list(keys))
    return statement.on_conflict_do_update(index_elements=list(keys), set_=others)


def insertion(
    connection: Connection, table: Table, names: tuple[str, ...], keys: tuple[str, ...]
) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT of these columns, by whose keys a record replaces the earlier one; built once."""
    return _insertion(connection.dialect.name, table, names, keys)


@lru_cache(64)
def compiled(statement: ClauseElement, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """A statement for a driver that takes its parameters by place, and their order; compiled once."""
    made = cast(SQLCompiler, statement.compile(dialect=dialect))
    return str(made), tuple(made.positiontup or ())


def run(
    connection: Connection, statement: Executable, values: Mapping[str, object]
) -> sqlite3.Cursor | CursorResult[Any]:
    """Execute a statement built once, all of whose parameters are named in `values`.

    Straight to SQLite's driver: for a part as small as an image, what stands between costs more than the row.
    """
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        text, order = compiled(statement, connection.dialect)
        return raw.execute(text, [values[name] for name in order])
    return connection.execute(statement, dict(values))
