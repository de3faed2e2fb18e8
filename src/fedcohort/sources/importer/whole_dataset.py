"""Writing a data set into a site's database: all of it or nothing, once, with what it declares."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, Table, inspect, select

from fedcohort.columns import Categorical, Image, Numeric
from fedcohort.errors import SchemaError, StoreError
from fedcohort.sources.catalogue.normal_form import level_key
from fedcohort.sources.catalogue.schema import DECLARATIONS, PATIENT_ID, Declared, read_declarations
from fedcohort.sources.catalogue.stored_images import decode_image
from fedcohort.sources.importer.deidentification import IdentifiersKept, NoIdentifiers
from fedcohort.sources.importer.writer import write_table
from fedcohort.storage.database import database_url, display, writing

Row = Mapping[str, object]


@dataclass(frozen=True)
class ImportReport:
    """What an import did, for the data engineer at the site.

    Attributes:
        database: where the rows stand now.
        table: in which table.
        read: rows of the source.
        written: rows added; 0 when they stood there already.
        present: rows in the table now.
        refused: reason to number of rows left out.
    """

    database: str
    table: str
    read: int
    written: int
    present: int
    refused: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """A line for people, and one more for every reason of refusal."""
        done = f"{self.written} written" if self.written else f"{self.present} already there, nothing changed"
        reasons = "".join(f"\n  {count} refused: {reason}" for reason, count in sorted(self.refused.items()))
        return f"{self.database}: table {self.table}: {self.read} rows read, {done}{reasons}"


def sort_out(
    rows: Sequence[Row], columns: Mapping[str, Declared], reasons: Sequence[str | None]
) -> tuple[list[Row], dict[str, int]]:
    """Keep the rows that fit the declarations; count the others by reason.

    Args:
        rows: column to value; None where missing.
        columns: what is declared.
        reasons: for every row why the source itself refuses it, or None.
    """
    sound: list[Row] = []
    refused: Counter[str] = Counter()
    for row, source_reason in zip(rows, reasons, strict=True):
        reason = source_reason or misfit(row, columns)
        if reason is None:
            sound.append(row)
        else:
            refused[reason] += 1
    return sound, dict(refused)


def misfit(row: Row, columns: Mapping[str, Declared]) -> str | None:
    """Why a row does not fit what is declared, by column and never by value; None when it fits."""
    for name, declared in columns.items():
        value, kind = row.get(name), declared.kind
        if value is None:
            continue
        if isinstance(kind, Categorical):
            if level_key(value) not in {level_key(level) for level in kind.levels}:
                return f"{name} holds a level that is not declared"
        elif isinstance(kind, Image):
            try:
                decode_image(value if isinstance(value, bytes) else b"", *kind.shape, name)
            except SchemaError as error:
                return str(error)
        elif not isinstance(value, int | float):
            return f"{name} is not a number"
        elif kind.bounds is not None and not kind.bounds[0] <= value <= kind.bounds[1]:
            return f"{name} is outside {kind.bounds[0]:g} to {kind.bounds[1]:g}"
    return None


def write_rows(
    database: str | Path,
    table: Table,
    columns: Mapping[str, Declared],
    rows: Sequence[Row],
    deidentification: IdentifiersKept | NoIdentifiers,
) -> tuple[str, int]:
    """Write a table with its declarations in one transaction, unless it stands there already.

    Args:
        database: SQLAlchemy URL, or a path of a SQLite file, made when missing.
        table: its columns are those of the rows, and the key `id`.
        columns: what is declared about them.
        rows: column to value, patient_id among them.
        deidentification: why the rows may be stored as they are.
    Returns:
        The database's name for messages, and the number of rows written: 0 when all stood there.
    Raises:
        StoreError: the database holds something else; or it is locked, read-only or full.
    """
    name = display(database_url(database))
    with writing(database) as connection:
        _check_ours(connection, name, table.name)
        if inspect(connection).has_table(table.name):
            _check_same(connection, name, table, columns, rows)
            return name, 0
        written = write_table(connection, table, columns, by_column(rows), deidentification)
    return name, written


def by_column(rows: Sequence[Row]) -> dict[str, list[object]]:
    """Rows, all of the same columns, as columns."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _check_ours(connection: Connection, name: str, table: str) -> None:
    """Never write beside tables that fedcohort did not make: it may be a hospital's own database."""
    present = set(inspect(connection).get_table_names())
    if present and DECLARATIONS not in present:
        raise StoreError(
            f"{name}: holds tables that fedcohort did not make; import {table} into a new database"
        )


def _check_same(
    connection: Connection, name: str, table: Table, columns: Mapping[str, Declared], rows: Sequence[Row]
) -> None:
    wanted = [column.name for column in table.columns if column.name != "id"]
    present = {column["name"] for column in inspect(connection).get_columns(table.name)} - {"id"}
    same = present == set(wanted) and read_declarations(connection, table.name) == dict(columns)
    if same:
        query = select(*(table.c[column] for column in wanted)).order_by(table.c[PATIENT_ID])
        stored = [tuple(row) for row in connection.execute(query)]
        ordered = sorted(rows, key=lambda row: str(row[PATIENT_ID]))
        same = stored == [tuple(row.get(column) for column in wanted) for row in ordered]
    if not same:
        raise StoreError(f"{name}: table {table.name} holds something else; import into a new database")


def declare_numeric(
    low: float, high: float, unit: str | None = None, position: int | None = None
) -> Declared:
    """A number with its declared bounds and unit."""
    return Declared(Numeric(low, high), unit, position)
