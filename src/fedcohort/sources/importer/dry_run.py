"""Trying an import: everything is read and checked as it would be, and nothing is written."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine

from fedcohort.sources.catalogue.normal_form import FORM
from fedcohort.sources.importer.batch import Part, Refusal, Source
from fedcohort.sources.importer.checkpoint import begin
from fedcohort.sources.importer.identity import IDENTIFIERS_KEPT
from fedcohort.sources.importer.pipeline import (
    Progress,
    Road,
    all_keyed,
    begun_report,
    check_tables,
    digest_of,
    has_rows,
    mark_of,
    prepare,
    table_of,
    tell,
    tell_earlier,
    tell_unchanged,
)
from fedcohort.sources.importer.report import Imported
from fedcohort.sources.importer.transactions import Pen
from fedcohort.storage.database import database_url, importing


def try_source(
    source: Source,
    database: str | Path,
    *,
    keys: Mapping[str, Sequence[str]] | None = None,
    context: str = "",
    identity: str = IDENTIFIERS_KEPT,
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
    report = begun_report(database, keys or {})
    report.is_trial = True
    with _stand_in(database) as place, importing(place) as engine, Pen(engine) as pen:
        context, form = digest_of(context), source.form or FORM
        road = Road(pen, source.tables, keys or {}, context, form, report, progress, on_refusal)
        prepared = partial(prepare, name=report.database, identity=identity, form=source.form)
        seen: set[str] = set()
        for part in source.parts:
            _try_part(road, engine, part, prepared, seen)
        if not report.written.total():
            with _taken_back(engine) as connection:
                report.empty = not any(has_rows(connection, table) for table in source.tables)
    return report


@contextmanager
def _stand_in(database: str | Path) -> Iterator[str | Path]:
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
    road: Road, engine: Engine, part: Part, prepared: Callable[[Connection], int], seen: set[str]
) -> None:
    mark = mark_of(road, part)
    with _taken_back(engine) as connection:
        prepared(connection)
        begun = begin(connection, part, mark, keyed=all_keyed(road))
        if begun is None or mark.digest in seen:
            tell_unchanged(road, connection, mark)
            return
    seen.add(mark.digest)
    road.report.parts += 1
    tell_earlier(road, part, begun)
    done = begun.done
    for batch in part.batches(done):
        count = len(next(iter(batch.columns.values()))) if batch.columns else 0
        if count and batch.table not in road.tables:
            with _taken_back(engine) as connection:
                prepared(connection)
                table_of(road, connection, batch)
        tell(road, batch, count, batch.read - done)
        done = batch.read
        road.progress(part.name, done)
