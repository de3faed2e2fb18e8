"""The import of events: any format's records into the event tables of a site's database, each once.

As of any import (`importer.pipeline`): a batch, in all its tables, and the checkpoint of its part are in one
transaction, so that after kill -9 an import goes on from there, and a part whose content was imported before
changes nothing. A part that was changed is read anew: what it says again replaces itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from fedcohort.sources.events.change import Record
from fedcohort.sources.events.feed import EventFeed, EventPart
from fedcohort.sources.events.naming import EventDeidentification, EventNames, names_of
from fedcohort.sources.events.tables import KINDS
from fedcohort.sources.events.writer import EventWriter, Written, create_tables
from fedcohort.sources.importer.batch import Batch, Refusal
from fedcohort.sources.importer.checkpoint import Mark, advance, begin, finish
from fedcohort.sources.importer.identity import form_of
from fedcohort.sources.importer.pipeline import Progress, begun_report, digest_of, has_rows, prepare
from fedcohort.sources.importer.report import SHOWN_REFUSALS, Imported
from fedcohort.sources.importer.transactions import TransactionBatcher
from fedcohort.sources.importer.written_rows import lock
from fedcohort.storage.database import importing

BATCH_RECORDS = 500
"""Messages or resources of one checkpoint."""
CACHE_KIB = 8192
"""Of SQLite's pages: a larger one is no faster, and would fill as the database grows."""
TABLES = ",".join(sorted(KINDS))


@dataclass(frozen=True)
class EventImporter:
    """One import of events: where it writes, what makes it the same one, and who hears of it."""

    transactions: TransactionBatcher
    writer: EventWriter
    names: EventNames
    context: str
    report: Imported
    progress: Progress
    on_refusal: Callable[[Refusal], None]

    def note(self, written: Written, refusals: list[Refusal], records: int) -> None:
        """Count what a batch did, and hand on what it refused."""
        report = self.report
        report.read += records
        report.written.update(written.rows)
        report.replaced.update(written.replaced)
        report.older += written.older
        report.merged += written.merged
        self.note_refusals(refusals)

    def note_refusals(self, refusals: list[Refusal]) -> None:
        """Hand on what was refused."""
        for refusal in refusals:
            self.report.refused[refusal.reason] += 1
            if len(self.report.refusals) < SHOWN_REFUSALS:
                self.report.refusals.append(refusal)
            self.on_refusal(refusal)


def import_events(
    feed: EventFeed,
    database: str | Path,
    deidentification: EventDeidentification,
    *,
    context: str = "",
    progress: Progress = lambda _name, _done: None,
    on_refusal: Callable[[Refusal], None] = lambda _refusal: None,
) -> Imported:
    """Import all events of a feed into a site's database.

    Args:
        deidentification: what is done about the identifiers of patients.
        context: what else decides the outcome, such as the hospital's mapping of codes.
    Raises:
        ConfigError: the site's rules do not fit events.
        StoreError: the database is not ours, cannot be written, or another import of a part runs.
    """
    report = begun_report(database, {})
    names = names_of(deidentification, form_of(database))
    with importing(database, CACHE_KIB) as engine:
        with engine.begin() as connection:
            prepare(connection, report.database, names.identity, names.form, names.permission)
            create_tables(connection, report.database)
        with TransactionBatcher(engine) as transactions:
            decides = digest_of("\n".join((names.digest, feed.source, context)))
            writer = EventWriter(names, feed.source)
            importer = EventImporter(transactions, writer, names, decides, report, progress, on_refusal)
            for part in feed.parts:
                _import_part(importer, part)
        if not report.written.total():
            with engine.connect() as connection:
                report.empty = not any(has_rows(connection, kind) for kind in KINDS)
    report.deidentification = names.report
    return report


def _import_part(importer: EventImporter, part: EventPart) -> None:
    transactions, report = importer.transactions, importer.report
    name = importer.names.part_name(part.name)
    safe = EventPart(name, part.digest, part.records, part.size, _prefix(importer.names, part))
    mark = Mark(name, importer.names.content(part.digest()), importer.context, TABLES)
    with transactions.turn() as connection:
        begun = begin(connection, safe, mark, keyed=True)
    if begun is None:
        report.unchanged += 1
        return
    report.parts += 1
    importer.progress(name, begun.done)
    importer.note_refusals(list(begun.refusals))
    done = begun.done
    for records in _batches(part.records(done)):
        with transactions.turn() as connection:
            lock(connection)
            written, refusals = _write(importer, connection, records, name)
            batch = Batch(TABLES, {}, done + len(records), refusals)
            advance(connection, mark, done, batch, written.rows.total())
            transactions.weight += max(1, written.rows.total())
        importer.note(written, refusals, len(records))
        done += len(records)
        importer.progress(name, done)
    with transactions.turn() as connection:
        finish(connection, mark, broken=False)


def _write(
    importer: EventImporter, connection: Connection, records: list[Record], name: str
) -> tuple[Written, list[Refusal]]:
    written = importer.writer.write(connection, records)
    refusals = [Refusal(name, place, refusal.place, refusal.sentence) for place, refusal in written.refusals]
    return written, refusals


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) >= BATCH_RECORDS:
            yield batch
            batch = []
    if batch:
        yield batch


def _prefix(names: EventNames, part: EventPart) -> Callable[[int], str] | None:
    prefix = part.prefix
    if prefix is None:
        return None

    def masked(size: int) -> str:
        digest = prefix(size)
        return names.content(digest) if digest else ""

    return masked
