"""Trying an import: everything is read and checked as it would be, and nothing is written."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine

from fedcohort.sources.catalogue.normal_form import FORM
from fedcohort.sources.importer.batch import Part, Refusal, Source
from fedcohort.sources.importer.checkpoint import begin
from fedcohort.sources.importer.deidentification import Deidentification, Keys
from fedcohort.sources.importer.identity import form_of
from fedcohort.sources.importer.pipeline import (
    Importer,
    Progress,
    begun_report,
    check_tables,
    digest_of,
    has_rows,
    prepare,
)
from fedcohort.sources.importer.report import Imported
from fedcohort.sources.importer.transactions import TransactionBatcher
from fedcohort.sources.importer.writer import RowWriter
from fedcohort.storage.database import database_url, importing


def try_source(
    source: Source,
    database: str | Path,
    deidentification: Deidentification,
    *,
    keys: Keys | None = None,
    context: str = "",
    progress: Progress = lambda _name, _done: None,
    on_refusal: Callable[[Refusal], None] = lambda _refusal: None,
) -> Imported:
    """As `import_source`, without a change: its report, its refusals, and whatever would stop it.

    Each part begins in a transaction that is taken back. Records that would replace others are counted
    with those that would be added.

    Raises:
        ConfigError, SchemaError, StoreError: as of `import_source`.
    """
    check_tables(source)
    report, keys = begun_report(database, keys or {}), keys or {}
    report.is_trial = True
    safe = deidentification.apply(source, keys, form_of(database))
    with _empty_if_missing(database) as place, importing(place) as engine:
        transactions, writer = TransactionBatcher(engine), RowWriter(safe.source.tables, keys)
        decides, form = digest_of(safe.digest + context), safe.source.form or FORM
        importer = Importer(transactions, writer, decides, form, report, progress, on_refusal)
        prepared = partial(
            prepare,
            name=report.database,
            identity=safe.identity,
            form=safe.source.form,
            permission=safe.permission,
        )
        seen: set[str] = set()
        for part in safe.source.parts:
            _try_part(importer, engine, part, prepared, seen)
        if not report.written.total():
            with _taken_back(engine) as connection:
                report.empty = not any(has_rows(connection, table) for table in safe.source.tables)
    report.deidentification = safe.report()
    return report


@contextmanager
def _empty_if_missing(database: str | Path) -> Iterator[str | Path]:
    """The database itself; an empty one in its place where there is none, which an import would make."""
    url = database_url(database)
    path = Path(url.database or "")
    if url.get_backend_name() != "sqlite" or path.exists() or not path.parent.is_dir():
        yield database
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "trial.db"


@contextmanager
def _taken_back(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        transaction = connection.begin()
        try:
            yield connection
        finally:
            transaction.rollback()


def _try_part(
    importer: Importer, engine: Engine, part: Part, prepared: Callable[[Connection], int], seen: set[str]
) -> None:
    mark, writer = importer.mark(part), importer.writer
    with _taken_back(engine) as connection:
        prepared(connection)
        begun = begin(connection, part, mark, keyed=writer.all_keyed)
        if begun is None or mark.digest in seen:
            importer.note_unchanged(connection, mark)
            return
    seen.add(mark.digest)
    importer.report.parts += 1
    importer.note_earlier(part, begun)
    done = begun.done
    for batch in part.batches(done):
        count = len(next(iter(batch.columns.values()))) if batch.columns else 0
        if count and batch.table not in writer.tables:
            with _taken_back(engine) as connection:
                prepared(connection)
                writer.table(connection, batch)
        importer.note(batch, count, batch.read - done)
        done = batch.read
        importer.progress(part.name, done)
