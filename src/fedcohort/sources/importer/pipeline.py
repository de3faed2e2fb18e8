"""The importer: any source's batches into a site's database, each written once, whatever happens meanwhile.

A batch and the checkpoint of its part are in one transaction: after kill -9 an import goes on
from there, and a part whose content was imported before changes nothing. A part to which
records were appended goes on behind them; one that was changed is refused, unless its table
has key columns, by which a record replaces the earlier one.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, MetaData, Table, inspect, literal, select

from fedcohort.errors import StoreError
from fedcohort.sources.catalogue.normal_form import as_they_are, identifier
from fedcohort.sources.catalogue.schema import DECLARATIONS, OURS, PATIENT_ID
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
from fedcohort.sources.importer.deidentification import Deidentification, IdentifiersKept, Keys
from fedcohort.sources.importer.identity import bind, form_in, form_of, note_permission
from fedcohort.sources.importer.owned_keys import of_own_patients
from fedcohort.sources.importer.report import Imported
from fedcohort.sources.importer.transactions import TransactionBatcher
from fedcohort.sources.importer.writer import RowWriter, check_table_name
from fedcohort.sources.importer.written_rows import WRITES_TABLE
from fedcohort.storage.database import database_url, display, importing

Progress = Callable[[str, int], None]
"""Called with a part's name and how many of its records are done."""


@dataclass(frozen=True)
class Importer:
    """One import: where it writes, what makes it the same one, and who hears of it."""

    transactions: TransactionBatcher
    writer: RowWriter
    context: str
    form: int
    report: Imported
    progress: Progress
    on_refusal: Callable[[Refusal], None]

    def mark(self, part: Part) -> Mark:
        """What makes an import of this part the same one."""
        return Mark(part.name, part.digest(), self.context, ",".join(sorted(self.writer.declared)))

    def note(self, batch: Batch, written: int, read: int) -> None:
        """Count the records of a batch, and hand on those refused."""
        self.report.note(batch, written, read)
        for refusal in batch.refusals:
            self.on_refusal(refusal)

    def note_earlier(self, part: Part, begun: Begun) -> None:
        """Count what this same import of the part did before it was interrupted."""
        earlier = Batch(part.table, {}, 0, begun.refusals, made_missing=begun.made_missing)
        self.note(earlier, begun.written, begun.written + len(begun.refusals))

    def note_unchanged(self, connection: Connection, mark: Mark) -> None:
        """Count a part that is in already; its values stay missing, whichever run made them so."""
        self.report.unchanged += 1
        self.report.made_missing.update(made_missing(connection, mark))


def import_source(
    source: Source,
    database: str | Path,
    deidentification: Deidentification,
    *,
    keys: Keys | None = None,
    context: str = "",
    progress: Progress = lambda _name, _done: None,
    on_refusal: Callable[[Refusal], None] = lambda _refusal: None,
) -> Imported:
    """Import everything of a source into a site's database.

    Args:
        deidentification: what is done about the identifiers of patients.
        keys: table to columns by which a record replaces the earlier one; none: records are added.
        context: what else decides the outcome, such as the mapping; a part that was imported under another
            is refused, or replaced by its keys.
    Raises:
        ConfigError: a table has a name that databases keep for themselves, or a rule does not fit.
        SchemaError: columns cannot stand in one table together.
        StoreError: the database is not ours, cannot be written, or another import runs; or a part was
            changed since it was imported.
    """
    check_tables(source)
    report, keys = begun_report(database, keys or {}), keys or {}
    safe = deidentification.apply(source, keys, form_of(database))
    with importing(database) as engine:
        with engine.begin() as connection:
            form = prepare(connection, report.database, safe.identity, safe.source.form, safe.permission)
        with TransactionBatcher(engine) as transactions:
            writer = RowWriter(safe.source.tables, keys)
            transactions.at_end = writer.account.write
            decides = digest_of(safe.digest + context)
            importer = Importer(transactions, writer, decides, form, report, progress, on_refusal)
            for part in safe.source.parts:
                _import_part(importer, part)
        if not report.written.total():
            with engine.connect() as connection:
                report.empty = not any(has_rows(connection, table) for table in safe.source.tables)
    report.deidentification = safe.report()
    return report


def check_tables(source: Source) -> None:
    """Refuse names of tables that databases keep for themselves.

    Raises:
        ConfigError: names one.
    """
    for table in source.tables:
        check_table_name(table)


def begun_report(database: str | Path, keys: Keys) -> Imported:
    """The report of an import that has done nothing yet."""
    return Imported(display(database_url(database)), [table for table, columns in keys.items() if columns])


def digest_of(context: str) -> str:
    """What else decides an import's outcome, in 64 characters; empty where nothing else does."""
    return hashlib.sha256(context.encode()).hexdigest() if context else ""


def prepare(
    connection: Connection, name: str, identity: str, form: int | None, permission: IdentifiersKept | None
) -> int:
    """See that the database is ours and knows its patients in this way, and that our own tables are there.

    Args:
        identity: how patients are known.
        form: of the identifiers that pseudonyms were made of; None where patients come as they are.
        permission: why identifiers are kept, if they are.
    Returns:
        the form of the database's identifiers.
    Raises:
        StoreError: it is another's, or knows them in another way.
    """
    _check_ours(connection, name)
    filled = not all(table.startswith(OURS) for table in inspect(connection).get_table_names())
    stored = form_in(connection, name)
    # The form of which pseudonyms were made; patients that come as they are take that of the database.
    bind(connection, name, identity, form or stored, filled=filled)
    if permission is not None:
        note_permission(connection, permission)
    for own in (IMPORTS_TABLE, REFUSALS_TABLE, MADE_MISSING_TABLE, WRITES_TABLE):
        own.create(connection, checkfirst=True)
        for index in own.indexes:  # one that an older database lacks
            index.create(connection, checkfirst=True)
    return stored


def has_rows(connection: Connection, table: str) -> bool:
    """Whether a table is there and not empty."""
    query = select(literal(1)).select_from(Table(table, MetaData())).limit(1)
    return inspect(connection).has_table(table) and connection.execute(query).first() is not None


def _check_ours(connection: Connection, name: str) -> None:
    """Never write beside tables that fedcohort did not make: it may be a hospital's own database."""
    present = set(inspect(connection).get_table_names())
    if present and not present & {DECLARATIONS, IMPORTS}:
        raise StoreError(f"{name}: holds tables that fedcohort did not make; import into a new database")


def _import_part(importer: Importer, part: Part) -> None:
    transactions, writer, report = importer.transactions, importer.writer, importer.report
    mark = importer.mark(part)
    with transactions.turn() as connection:
        begun = begin(connection, part, mark, keyed=writer.all_keyed)
        if begun is None:
            importer.note_unchanged(connection, mark)
            return
        writer.account.begin(connection, mark, part.table, 0 if begun.goes_on else begun.done)
    report.parts += 1
    report.number = writer.account.number
    importer.progress(part.name, begun.done)
    importer.note_earlier(part, begun)
    done, broken = begun.done, False
    for batch in part.batches(done):
        with transactions.turn() as connection:
            batch = _storable(importer, connection, batch, (part.name, done))  # noqa: PLW2901
            written, replaced = writer.write(connection, mark, batch, transactions.number)
            transactions.weight += max(1, written)
            advance(connection, mark, done, batch, written)
        report.replaced[batch.table] += replaced
        importer.note(batch, written, batch.read - done)
        done, broken = batch.read, batch.broken
        importer.progress(part.name, done)
    with transactions.turn() as connection:
        finish(connection, mark, broken=broken)


def _storable(importer: Importer, connection: Connection, batch: Batch, place: tuple[str, int]) -> Batch:
    """The batch with its patients in the database's form, without records of another patient's key."""
    if not batch.columns or not batch.columns[PATIENT_ID]:
        return batch
    patients = _normal(batch.columns[PATIENT_ID], importer.form)
    batch = replace(batch, columns={**batch.columns, PATIENT_ID: patients})
    table = importer.writer.table(connection, batch)
    keys = importer.writer.keys.get(table.name, ())
    return of_own_patients(connection, table, keys, batch, place)


def _normal(patients: Sequence[object], form: int) -> list[str | None]:
    """Identifiers as the database holds them: earlier versions printed what came."""
    if form == 1:
        return [None if patient is None else str(patient) for patient in patients]
    return [*(as_they_are(patients) or (identifier(patient, form) for patient in patients))]
