"""Taking an import back: its rows, its marks and its refusals, in one transaction.

What an import replaced by key is gone, and what a later one built upon cannot be separated
afterwards: both are refused in words. What a privacy ledger has spent stays spent.
"""

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, MetaData, Table, delete, inspect, literal, select

from fedcohort.errors import StoreError
from fedcohort.sources.catalogue.derived_tables import derived_tables, forget_derived
from fedcohort.sources.catalogue.schema import DECLARATIONS, OURS, write_declarations
from fedcohort.sources.importer.checkpoint import IMPORTS_TABLE, MADE_MISSING_TABLE, REFUSALS_TABLE
from fedcohort.sources.importer.identity import forget
from fedcohort.sources.importer.written_rows import WRITES, WRITES_TABLE, lock, row_key
from fedcohort.storage.database import database_url, display, importing, reading


@dataclass(frozen=True)
class PastImport:
    """An import that can be named.

    Attributes:
        parts: names of its files, as the database holds them.
        tables: table to rows that it added.
        replaced: records that took the place of others, by key.
        start: whether it went on behind records of an earlier import.
    """

    number: int
    at: datetime.datetime
    parts: Sequence[str]
    tables: Mapping[str, int]
    replaced: int = 0
    start: bool = False

    def __str__(self) -> str:
        """A line for people."""
        tables = ", ".join(f"{rows} into {table}" for table, rows in self.tables.items())
        more = f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else ""
        replaced = f", {self.replaced} in place of others" if self.replaced else ""
        return f"{self.number}  {self.at:%Y-%m-%d %H:%M}  {self.parts[0]}{more}: {tables}{replaced}"


def imports_of(database: str | Path) -> list[PastImport]:
    """All imports that noted which rows they wrote, the oldest first.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading(database) as connection:
        return _imports(connection)


def _imports(connection: Connection) -> list[PastImport]:
    if not inspect(connection).has_table(WRITES):
        return []
    rows = connection.execute(WRITES_TABLE.select().order_by(WRITES_TABLE.c.id)).mappings().all()
    past = []
    for number in dict.fromkeys(int(row["import_number"]) for row in rows):
        own = [row for row in rows if row["import_number"] == number]
        tables = dict.fromkeys(dict.fromkeys(str(row["table_name"]) for row in own), 0)
        for row in own:
            tables[str(row["table_name"])] += int(row["rows"])
        parts = list(dict.fromkeys(str(row["name"]) for row in own))
        at = datetime.datetime.fromtimestamp(min(int(row["at"]) for row in own)).astimezone()
        replaced = sum(int(row["replaced"]) for row in own)
        past.append(PastImport(number, at, parts, tables, replaced, any(row["start"] for row in own)))
    return past


def undo(database: str | Path, number: int) -> list[PastImport]:
    """Take an import back, and those that share a file with it because one of them was interrupted.

    Returns:
        what was taken back.
    Raises:
        StoreError: there is no such import, or its rows cannot be found any more; nothing is changed.
    """
    name = display(database_url(database))
    with importing(database) as engine, engine.begin() as connection:
        if not inspect(connection).has_table(WRITES):
            raise StoreError(
                f"{name}: holds no import that noted its rows; import what is right into a new database"
            )
        lock(connection)
        past = _imports(connection)
        numbers = _together(connection, number)
        taken = [earlier for earlier in past if earlier.number in numbers]
        if not taken:
            listed = ", ".join(str(earlier.number) for earlier in past[-20:]) or "none"
            raise StoreError(f"{name}: has no import {number}; it has {listed}")
        _check(connection, name, past, taken)
        _take_back(connection, numbers, {table for earlier in taken for table in earlier.tables})
    return taken


def _together(connection: Connection, number: int) -> set[int]:
    """The import, and all that went on with the same files after an interruption."""
    column, part = WRITES_TABLE.c.import_number, WRITES_TABLE.c.part
    numbers = {number}
    while True:
        parts = select(part).where(column.in_(numbers))
        more = set(connection.execute(select(column).where(part.in_(parts))).scalars()) | {number}
        if more == numbers:
            return numbers
        numbers = more


def _check(
    connection: Connection, name: str, past: Sequence[PastImport], taken: Sequence[PastImport]
) -> None:
    """Refuse what would leave something else than there was before.

    Raises:
        StoreError: says why, and what helps.
    """
    numbers, tables = (
        {earlier.number for earlier in taken},
        {table for earlier in taken for table in earlier.tables},
    )
    replaced = sum(earlier.replaced for earlier in taken)
    if replaced:
        raise StoreError(
            f"{name}: import {min(numbers)} put {replaced} records in the place of others with their key, "
            "which cannot come back: import what is right under the same keys, or into a new database"
        )
    for earlier in past:
        number = earlier.number
        later = number > min(numbers) and number not in numbers and tables & set(earlier.tables)
        if later and earlier.replaced:
            raise StoreError(
                f"{name}: import {number} came later and put records in the place of some: import what "
                "is right under the same keys, or into a new database"
            )
        if later and earlier.start:
            raise StoreError(f"{name}: import {number} went on behind these records; undo {number} first")
    if made := sorted(_underived(connection)):
        raise StoreError(
            f"{name}: {', '.join(made)} was made from what imports wrote, and would stay: make the "
            "database anew"
        )


def _underived(connection: Connection) -> set[str]:
    """Tables that no import wrote and that nobody knows how to derive: made from others."""
    present = {name for name in inspect(connection).get_table_names() if not name.startswith(OURS)}
    written = set(connection.execute(select(WRITES_TABLE.c.table_name)).scalars())
    for names in connection.execute(select(IMPORTS_TABLE.c.tables)).scalars():
        written |= set(names.split(","))
    return present - written - derived_tables(connection).keys()


def _take_back(connection: Connection, numbers: Collection[int], tables: Collection[str]) -> None:
    own = WRITES_TABLE.c.import_number.in_(numbers)
    parts = list(connection.execute(select(WRITES_TABLE.c.part).where(own)).scalars())
    present = set(inspect(connection).get_table_names())
    for row in connection.execute(WRITES_TABLE.select().where(own)).mappings().all():
        if row["rows"] and row["table_name"] in present:
            key = row_key(Table(row["table_name"], MetaData(), autoload_with=connection))
            connection.execute(delete(key.table).where(key.between(row["first"], row["last"])))
    connection.execute(delete(WRITES_TABLE).where(own))
    notes = (IMPORTS_TABLE, REFUSALS_TABLE, MADE_MISSING_TABLE)
    for table in (note for note in notes if note.name in present):  # an older database has not all of them
        for part in dict.fromkeys(parts):
            connection.execute(delete(table).where(table.c.part == part))
    for name in sorted(set(tables) & present):
        _drop_empty(connection, name)
    _drop_derived(connection, set(tables))
    if all(name.startswith(OURS) for name in inspect(connection).get_table_names()):
        forget(connection)


def _drop_empty(connection: Connection, name: str) -> None:
    """A table that only this import filled is not there, as before it: another may have other columns."""
    table = Table(name, MetaData(), autoload_with=connection)
    if connection.execute(select(literal(1)).select_from(table).limit(1)).first() is None:
        table.drop(connection)
        if inspect(connection).has_table(DECLARATIONS):
            write_declarations(connection, name, {})


def _drop_derived(connection: Connection, changed: set[str]) -> None:
    """Drop what was derived from tables that have changed; it is derived anew by the command that made it."""
    derived = derived_tables(connection)
    while more := {name for name, table in derived.items() if changed & table.sources.keys()} - changed:
        changed = changed | more
    for name in sorted(changed & derived.keys()):
        Table(name, MetaData()).drop(connection, checkfirst=True)
        write_declarations(connection, name, {})
        forget_derived(connection, name)
