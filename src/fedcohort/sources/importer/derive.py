"""A derived table: a declared SELECT over imported tables into one wide table, a row a patient or visit.

    [tables.first_labs]
    select = \"\"\"
    SELECT patient_id, max(CASE WHEN item = 'glucose' THEN value END) AS glucose
    FROM labs GROUP BY patient_id
    \"\"\"

    [tables.first_labs.columns.glucose]
    low = 1
    high = 600
    unit = "mg/dL"

The SELECT is checked (`derived_select`), sent through a connection that can only read, for a bounded time,
and its values are held to what the columns declare, as those of an import are. The table is written whole, in
one transaction, with its provenance; where its rows would be the same, nothing is written.
"""

import hashlib
import sqlite3
import time
import tomllib
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field as Limits
from pydantic import model_validator
from sqlalchemy import Connection, func, inspect, select

from fedcohort.columns import Categorical, Frozen, Identifier, Level, Numeric, Real, validated
from fedcohort.errors import ConfigError, SchemaError, StoreError
from fedcohort.sources.catalogue.declared import facts_declared
from fedcohort.sources.catalogue.derived_tables import DerivedTable, derived_tables, note_derived
from fedcohort.sources.catalogue.schema import (
    OURS,
    PATIENT_ID,
    Declared,
    read_declarations,
    wide_table,
)
from fedcohort.sources.catalogue.sql_types import column_types
from fedcohort.sources.catalogue.units import MAX_UNIT, is_unit
from fedcohort.sources.importer.batch import Refusal
from fedcohort.sources.importer.deidentification import NoIdentifiers
from fedcohort.sources.importer.derived_select import DIALECTS, parse_select
from fedcohort.sources.importer.values import Field, refusals_of, shaped
from fedcohort.sources.importer.writer import check_table_name, write_table
from fedcohort.sources.importer.written_rows import WRITES, WRITES_TABLE
from fedcohort.storage.database import database_url, display, reading, select_only, writing
from fedcohort.storage.drivers import read_every_value

BATCH_ROWS = 20_000
MAX_ROWS = 10_000_000
MAX_FILE_BYTES = 1_000_000
KNOWN_PATIENTS = NoIdentifiers("derived from the tables of this database, under the names that it has")


@dataclass(frozen=True)
class Derivation:
    """What is derived.

    Attributes:
        table: the table to make.
        select: one SELECT in the dialect of the site's database, of patient_id and the declared columns.
        columns: what each column declares.
    """

    table: str
    select: str
    columns: Mapping[str, Declared]


@dataclass(frozen=True)
class Derived:
    """What came of it.

    Attributes:
        database: where the table stands.
        provenance: of the table as it stands now.
        changed: whether it was written; else it had these very rows.
        refusals: rows of the SELECT that do not fit what is declared.
    """

    database: str
    provenance: DerivedTable
    changed: bool
    refusals: Sequence[Refusal] = field(default_factory=tuple)

    def __str__(self) -> str:
        """A line for people, and one more for every reason of refusal."""
        made = self.provenance
        done = "" if self.changed else ", as before: nothing changed"
        line = f"{self.database}: {made.rows} rows from {', '.join(made.sources)} into {made.table}{done}"
        reasons = Counter(f"{refusal.field} {refusal.reason}" for refusal in self.refusals)
        return line + "".join(f"\n  {count} refused: {why}" for why, count in sorted(reasons.items()))


class DerivedColumn(Frozen):
    """A column of the file: a number with bounds and a unit, or one of several levels."""

    low: Real | None = None
    high: Real | None = None
    levels: tuple[Level, ...] | None = None
    unit: Annotated[str, Limits(min_length=1, max_length=MAX_UNIT)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.levels is not None and (self.low, self.high, self.unit) != (None, None, None):
            raise ValueError("bounds and units are for numbers; a column with levels has none")
        if self.unit is not None and not is_unit(self.unit):
            raise ValueError("unit: a short text that prints on one line, such as mmol/L")
        _ = self.declared
        return self

    @property
    def declared(self) -> Declared:
        """What the site's database declares."""
        if self.levels is not None:
            return Declared(Categorical(self.levels))
        return Declared(Numeric(self.low, self.high), self.unit)


class _Table(Frozen):
    select: Annotated[str, Limits(min_length=1)]
    columns: dict[Identifier, DerivedColumn] = Limits(min_length=1)

    @model_validator(mode="after")
    def _patients_are_not_declared(self) -> Self:
        if PATIENT_ID in self.columns:
            raise ValueError(f"columns.{PATIENT_ID}: every derived table has it; leave it out")
        return self


class _File(Frozen):
    tables: dict[Identifier, _Table] = Limits(min_length=1)


def read_derivations(path: Path) -> list[Derivation]:
    """Read a file of derived tables.

    Raises:
        ConfigError: names the file and every wrong field.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: more than {MAX_FILE_BYTES:,} bytes; is it a file of derived tables?")
        content = tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the file of derived tables") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return [
        Derivation(
            name,
            table.select,
            {column: column_of_file.declared for column, column_of_file in table.columns.items()},
        )
        for name, table in validated(_File, content, str(path)).tables.items()
    ]


def derive(database: str | Path, derivation: Derivation, *, adopt: bool = False) -> Derived:
    """Make a derived table, or make it anew.

    Args:
        adopt: replace a table of these very columns and declarations whose provenance nobody wrote down, as
            one that an earlier version made.
    Raises:
        ConfigError: the SELECT is not allowed, or does not give the declared columns.
        SchemaError: it gives more rows than there can be patients and visits.
        StoreError: the table stands there and was not derived; or the database cannot be read or written.
    """
    name, url = derivation.table, database_url(database)
    check_table_name(name)
    if url.get_backend_name() not in DIALECTS:
        raise StoreError(
            f"{display(url)}: tables are derived in SQLite and PostgreSQL, which imports are written to"
        )
    with reading(database) as connection:
        query, sources = _checked(connection, derivation)
        columns, refusals, digest = _selected(connection, derivation, query)
    rows = len(columns[PATIENT_ID])
    made = DerivedTable(name, query, sources, rows, digest, int(time.time()))
    with writing(database) as connection:
        before = _standing(connection, derivation, display(url), adopt=adopt)
        if before is not None and (before.query, before.digest) == (query, digest):
            if before.sources != sources:  # they were imported into since, and the rows are the same
                note_derived(connection, replace(before, sources=sources))
            return Derived(display(url), before, changed=False, refusals=refusals)
        table = wide_table(name, derivation.columns)
        table.drop(connection, checkfirst=True)
        write_table(connection, table, derivation.columns, columns, KNOWN_PATIENTS)
        note_derived(connection, made)
    return Derived(display(url), made, changed=True, refusals=refusals)


def list_derived(database: str | Path) -> list[str]:
    """A line a derived table, which says where one of its sources was imported into since.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading(database) as connection:
        lines = []
        for derived in derived_tables(connection).values():
            now = _last_imports(connection, [*derived.sources])
            later = [
                f"{table} by import {now[table]}" for table in now if now[table] != derived.sources[table]
            ]
            lines.append(f"{derived}; changed since: {', '.join(later)}" if later else str(derived))
        return lines


def _checked(connection: Connection, derivation: Derivation) -> tuple[str, dict[str, int]]:
    """The SELECT as it is sent, and the tables that it reads with the numbers of their last imports."""
    inspector, engine = inspect(connection), connection.dialect.name
    names = [name for name in inspector.get_table_names() if not name.startswith(OURS)]
    tables = {name: list(column_types(inspector, name)) for name in names if name != derivation.table}
    tree, read = parse_select(derivation.select, derivation.table, engine, tables)
    given = [name for name in tree.named_selects if name != PATIENT_ID]
    lacking = sorted(derivation.columns.keys() - set(given))
    strange = sorted(set(given) - derivation.columns.keys())
    if lacking or strange or len(given) != len(set(given)):
        raise ConfigError(
            f"{derivation.table}: the SELECT gives {', '.join(given)}, and declared are "
            f"{', '.join(derivation.columns)}: name each column once in both"
        )
    sent = tree.sql(dialect=DIALECTS[engine], comments=False)
    return sent, _last_imports(connection, read)


def _last_imports(connection: Connection, tables: Sequence[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    if inspect(connection).has_table(WRITES):
        column = WRITES_TABLE.c.table_name
        query = select(column, func.max(WRITES_TABLE.c.import_number)).group_by(column)
        numbers = {str(name): int(number) for name, number in connection.execute(query)}
    return {table: numbers.get(table, 0) for table in tables}


def _selected(
    connection: Connection, derivation: Derivation, query: str
) -> tuple[dict[str, list[object]], list[Refusal], str]:
    """By column, the rows that fit; those that do not; and a digest of what is declared and fits.

    Raises:
        SchemaError: there are too many.
    """
    fields = [Field(PATIENT_ID, PATIENT_ID)]
    fields += [Field(name, name, declared) for name, declared in derivation.columns.items()]
    names = [column_field.name for column_field in fields]
    columns: dict[str, list[object]] = {name: [] for name in names}
    refusals: list[Refusal] = []
    facts = [(name, facts_declared(declared)) for name, declared in derivation.columns.items()]
    digest, read = hashlib.sha256(repr(facts).encode()), 0
    order, batches = _batches(connection, query)
    for rows in batches:
        raw = dict(zip(order, zip(*rows, strict=True), strict=True))
        values, faults = shaped(fields, raw)
        refusals += refusals_of(derivation.table, range(read + 1, read + 1 + len(rows)), faults)
        read += len(rows)
        for name in names:
            columns[name] += values[name]
        digest.update("".join(f"{row!r}\n" for row in zip(*values.values(), strict=True)).encode())
        if read > MAX_ROWS:
            raise SchemaError(
                f"{derivation.table}: more than {MAX_ROWS:,} rows; give one a patient or visit, by GROUP BY"
            )
    return columns, refusals, digest.hexdigest()


def _batches(connection: Connection, query: str) -> tuple[list[str], Generator[Sequence[Sequence[object]]]]:
    """The names of the columns that come, and their rows; from here on the connection only reads."""
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        raw.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        select_only(connection)
    else:
        read_every_value(connection)
    options = {"stream_results": True, "no_parameters": True, "yield_per": BATCH_ROWS}
    result = connection.execution_options(**options).exec_driver_sql(query)
    return list(result.keys()), result.partitions(BATCH_ROWS)  # type: ignore[return-value]


def _standing(
    connection: Connection, derivation: Derivation, database: str, *, adopt: bool
) -> DerivedTable | None:
    """The provenance of the table that is replaced; None where there is none.

    Raises:
        StoreError: it was not derived, and may be the only copy of what it holds.
    """
    name = derivation.table
    before = derived_tables(connection).get(name)
    inspector = inspect(connection)
    if name not in {*inspector.get_table_names(), *inspector.get_view_names()}:
        return None
    if before is not None:
        return before
    same = read_declarations(connection, name) == dict(derivation.columns)
    if not (adopt and same and name in inspector.get_table_names()):
        raise StoreError(f"{database}: table {name} stands there and was not derived; choose another name")
    return None
