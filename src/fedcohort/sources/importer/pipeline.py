"""The one road into a site's database: any source's batches, each written once, whatever happens meanwhile.

A batch and how far its part has come are in one transaction: after kill -9 an import goes on
from there, and a part whose content was imported before changes nothing. A part to which
records were appended goes on behind them; one that was changed is refused, unless its table
has key columns, by which a record replaces the earlier one.
"""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    literal,
    select,
)

from fedcohort.errors import ConfigError, SchemaError, StoreError
from fedcohort.sources.catalogue.normal_form import as_they_are, identifier
from fedcohort.sources.catalogue.schema import (
    DECLARATIONS,
    LONGEST_ID,
    OURS,
    PATIENT_ID,
    Declared,
    read_declarations,
    sql_type,
    write_declarations,
)
from fedcohort.sources.importer.batch import Batch, Part, Refusal, Source
from fedcohort.sources.importer.checkpoint import (
    IMPORTS,
    IMPORTS_TABLE,
    MADE_MISSING_TABLE,
    REFUSALS_TABLE,
    Begun,
    Mark,
    advance,
    begin,
    finish,
    made_missing,
)
from fedcohort.sources.importer.identity import IDENTIFIERS_KEPT, bind, form_in
from fedcohort.sources.importer.owned_keys import of_own_patients
from fedcohort.sources.importer.report import Imported
from fedcohort.sources.importer.transactions import Pen, compiled, insertion
from fedcohort.sources.importer.written_rows import ROW, WRITES_TABLE, Written, lock
from fedcohort.storage.database import database_url, display, importing

MAX_COLUMNS = {"sqlite": 2000, "postgresql": 1600}
Progress = Callable[[str, int], None]
"""Called with a part's name and how many of its records are done."""


@dataclass(frozen=True)
class Road:
    """One import: where to, by which keys, and who is told."""

    pen: Pen
    declared: Mapping[str, Mapping[str, Declared]]
    keys: Mapping[str, Sequence[str]]
    context: str
    form: int
    report: Imported
    progress: Progress
    on_refusal: Callable[[Refusal], None]
    tables: dict[str, Table] = field(default_factory=dict)
    account: Written = field(default_factory=Written)


def import_source(
    source: Source,
    database: str | Path,
    *,
    keys: Mapping[str, Sequence[str]] | None = None,
    context: str = "",
    identity: str = IDENTIFIERS_KEPT,
    progress: Progress = lambda _name, _done: None,
    on_refusal: Callable[[Refusal], None] = lambda _refusal: None,
) -> Imported:
    """Bring everything of a source into a site's database.

    Args:
        keys: table to columns by which a record replaces the earlier one; none: records are added.
        context: what else decides the outcome, such as mapping and de-identification rules; a part
            that was imported under another is refused, or replaced by its keys.
        identity: how patients are known; a database keeps to one.
    Raises:
        ConfigError: a table has a name that databases keep for themselves.
        SchemaError: columns cannot stand in one table together.
        StoreError: the database is not ours, cannot be written, or another import runs; or a part was
            changed since it was imported.
    """
    check_tables(source)
    report = begun_report(database, keys or {})
    with importing(database) as engine:
        with engine.begin() as connection:
            form = prepare(connection, report.database, identity, source.form)
        with Pen(engine) as pen:
            context = digest_of(context)
            road = Road(pen, source.tables, keys or {}, context, form, report, progress, on_refusal)
            pen.at_end = road.account.write
            for part in source.parts:
                _import_part(road, part)
        if not report.written.total():
            with engine.connect() as connection:
                report.empty = not any(has_rows(connection, table) for table in source.tables)
    return report


def check_tables(source: Source) -> None:
    """Refuse names of tables that databases keep for themselves.

    Raises:
        ConfigError: names one.
    """
    for table in source.tables:
        if table.lower().startswith((OURS, "sqlite_", "pg_")):
            raise ConfigError(f"--table {table}: such names are the database's own; choose another")


def begun_report(database: str | Path, keys: Mapping[str, Sequence[str]]) -> Imported:
    """The report of an import that has done nothing yet."""
    return Imported(display(database_url(database)), [table for table, columns in keys.items() if columns])


def digest_of(context: str) -> str:
    """What else decides an import's outcome, in 64 characters; nothing stays nothing."""
    return hashlib.sha256(context.encode()).hexdigest() if context else ""


def prepare(connection: Connection, name: str, identity: str, form: int | None) -> int:
    """See that the database is ours and knows its patients in this way, and that our own tables are there.

    Args:
        form: of the source's pseudonyms; None where patients come as they are.
    Returns:
        the form of the database's identifiers.
    Raises:
        StoreError: it is another's, or knows them in another way.
    """
    _check_ours(connection, name)
    filled = not all(table.startswith(OURS) for table in inspect(connection).get_table_names())
    stored = form_in(connection, name)
    bind(connection, name, identity, form or stored, filled=filled)
    for own in (IMPORTS_TABLE, REFUSALS_TABLE, MADE_MISSING_TABLE, WRITES_TABLE):
        own.create(connection, checkfirst=True)
        for index in own.indexes:  # one that an older database lacks
            index.create(connection, checkfirst=True)
    return stored


def has_rows(connection: Connection, table: str) -> bool:
    """Whether a table is there and not empty."""
    found = select(literal(1)).select_from(Table(table, MetaData())).limit(1)
    return inspect(connection).has_table(table) and connection.execute(found).first() is not None


def _check_ours(connection: Connection, name: str) -> None:
    """Never write beside tables that fedcohort did not make: it may be a hospital's own database."""
    present = set(inspect(connection).get_table_names())
    if present and not present & {DECLARATIONS, IMPORTS}:
        raise StoreError(f"{name}: holds tables that fedcohort did not make; import into a new database")


def _import_part(road: Road, part: Part) -> None:
    mark, keyed = mark_of(road, part), all_keyed(road)
    with road.pen.turn() as connection:
        begun = begin(connection, part, mark, keyed=keyed)
        if begun is None:
            tell_unchanged(road, connection, mark)
            return
        road.account.begin(connection, mark, part.table, 0 if begun.goes_on else begun.done)
    road.report.parts += 1
    road.report.number = road.account.number
    road.progress(part.name, begun.done)
    tell_earlier(road, part, begun)
    done, broken = begun.done, False
    for batch in part.batches(done):
        with road.pen.turn() as connection:
            batch = _own(road, connection, batch, (part.name, done))  # noqa: PLW2901  as it may be stored
            written = _write(road, connection, mark, batch)
            road.pen.weight += max(1, written)
            advance(connection, mark, done, batch, written)
        tell(road, batch, written, batch.read - done)
        done, broken = batch.read, batch.broken
        road.progress(part.name, done)
    with road.pen.turn() as connection:
        finish(connection, mark, broken=broken)


def mark_of(road: Road, part: Part) -> Mark:
    """What makes an import of this part the same one."""
    return Mark(part.name, part.digest(), road.context, ",".join(sorted(road.declared)))


def all_keyed(road: Road) -> bool:
    """Whether in all tables a record replaces the earlier one of its key."""
    return all(road.keys.get(table) for table in road.declared)


def tell(road: Road, batch: Batch, written: int, read: int) -> None:
    """Count what a batch brought, and hand on what was refused."""
    road.report.note(batch, written, read)
    for refusal in batch.refusals:
        road.on_refusal(refusal)


def tell_earlier(road: Road, part: Part, begun: Begun) -> None:
    """Count what this very import of the part had brought before it was interrupted."""
    earlier = Batch(part.table, {}, 0, begun.refusals, made_missing=begun.made_missing)
    tell(road, earlier, begun.written, begun.written + len(begun.refusals))


def tell_unchanged(road: Road, connection: Connection, mark: Mark) -> None:
    """Count a part that is in already; its values stay missing, whichever run made them so."""
    road.report.unchanged += 1
    road.report.made_missing.update(made_missing(connection, mark))


def _write(road: Road, connection: Connection, mark: Mark, batch: Batch) -> int:
    count = len(batch.columns[PATIENT_ID]) if batch.columns else 0
    if not count:
        return 0
    table = table_of(road, connection, batch)
    names = list(batch.columns)
    unknown = [name for name in names if name not in table.c]
    if unknown:
        raise StoreError(f"table {table.name}: has no column {', '.join(unknown)}; import into a new table")
    keys = tuple(road.keys.get(table.name, ()))
    statement = insertion(connection, table, tuple(names), keys)
    lock(connection)
    transaction = road.pen.n_transactions
    before = road.account.highest(connection, table, transaction)
    if isinstance(raw := connection.connection.driver_connection, sqlite3.Connection):
        # Straight to the driver, which takes any iterator: twice as fast as by way of lists of rows.
        text, order = compiled(statement, connection.dialect)
        raw.executemany(text, zip(*(batch.columns[name] for name in order), strict=True))
    else:
        records = zip(*batch.columns.values(), strict=True)
        connection.execute(statement, [dict(zip(names, record, strict=True)) for record in records])
    replaced = road.account.note(
        connection, mark, table, before, count, keyed=bool(keys), transaction=transaction
    )
    road.report.replaced[table.name] += replaced
    return count


def _own(road: Road, connection: Connection, batch: Batch, place: tuple[str, int]) -> Batch:
    """The batch with its patients in the database's form, without records of another patient's key."""
    if not batch.columns or not batch.columns[PATIENT_ID]:
        return batch
    named = {**batch.columns, PATIENT_ID: _named(batch.columns[PATIENT_ID], road.form)}
    table = table_of(road, connection, batch)
    keys = road.keys.get(table.name, ())
    return of_own_patients(connection, table, keys, replace(batch, columns=named), place)


def _named(patients: Sequence[object], form: int) -> list[str | None]:
    """Identifiers as the database holds them: earlier versions printed what came."""
    if form == 1:
        return [None if patient is None else str(patient) for patient in patients]
    return [*(as_they_are(patients) or (identifier(patient, form) for patient in patients))]


def _check_names(table: str, columns: Sequence[str], dialect: str) -> None:
    """Refuse, in words, what a database would refuse in its own."""
    lowered = Counter(name.lower() for name in columns)
    twice = sorted(name for name in columns if lowered[name.lower()] > 1)
    if twice:
        raise SchemaError(
            f"table {table}: {', '.join(twice)} differ in capitals only, which a database does not tell "
            "apart; give one another name in the mapping"
        )
    most = MAX_COLUMNS.get(dialect, min(MAX_COLUMNS.values())) - 2
    if len(columns) > most:
        raise SchemaError(f"table {table}: {len(columns)} columns; choose at most {most} in a mapping file")


def _has_key(connection: Connection, table: str, keys: Sequence[str]) -> bool:
    """Whether the database holds the key's values apart, which a record needs to replace an earlier one."""
    unique = [index["column_names"] for index in inspect(connection).get_indexes(table) if index["unique"]]
    return any(sorted(map(str, names)) == sorted(keys) for names in unique)


def table_of(road: Road, connection: Connection, batch: Batch) -> Table:
    """The batch's table, made when it is missing: declared columns by their kind, others as text.

    Raises:
        SchemaError: its columns cannot stand in one table. StoreError: it stands there with others.
    """
    if batch.table in road.tables:
        return road.tables[batch.table]
    declared = road.declared.get(batch.table, {})
    columns = [*dict.fromkeys([*batch.columns, *declared])]
    _check_names(batch.table, columns, connection.dialect.name)
    table = Table(
        batch.table,
        MetaData(),
        Column(ROW if "id" in map(str.lower, columns) else "id", Integer, primary_key=True),
        Column(PATIENT_ID, String(LONGEST_ID), nullable=False),
        *(
            Column(name, sql_type(declared[name].kind) if name in declared else Text())
            for name in columns
            if name != PATIENT_ID
        ),
    )
    keys = road.keys.get(batch.table, ())
    if keys:
        Index(f"{batch.table}_key", *(table.c[name] for name in keys), unique=True)
    if inspect(connection).has_table(batch.table):
        known = {column["name"] for column in inspect(connection).get_columns(batch.table)}
        missing = sorted(set(columns) - known)
        if missing or read_declarations(connection, batch.table) != dict(declared):
            raise StoreError(
                f"table {batch.table}: stands there with other columns or declarations"
                f"{' (no ' + ', '.join(missing) + ')' if missing else ''}; import into another table"
            )
        if keys and not _has_key(connection, batch.table, keys):
            raise StoreError(
                f"table {batch.table}: stands there without the key {', '.join(keys)}; "
                "import into another table"
            )
    else:
        table.create(connection)
        write_declarations(connection, batch.table, declared)
    road.tables[batch.table] = table
    return table
