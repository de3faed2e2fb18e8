"""Predictions for a site's own patients, in the site's own database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import BigInteger, Column, Float, Integer, MetaData, String, Table

from fedcohort.errors import StoreError
from fedcohort.storage.database import SQLSTATE_REMEDIES, database_url, display, writing

PREDICTIONS = "fedcohort_predictions"
_table = Table(
    PREDICTIONS,
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("study_hash", String(64), nullable=False, index=True),
    Column("patient_id", String(128), nullable=False, index=True),
    Column("outcome", String(256), nullable=False),
    Column("value", Float, nullable=False),
    Column("predicted_at", BigInteger, nullable=False),
)


@dataclass(frozen=True)
class Predicted:
    """One outcome of one row: its probability, or the number itself; `predicted_at` in seconds since 1970."""

    study_hash: str
    patient_id: str
    outcome: str
    value: float
    predicted_at: int


@contextmanager
def _may_write(database: str | Path) -> Iterator[None]:
    """A site's own account reads only, as it should: then the predictions go elsewhere."""
    try:
        yield
    except StoreError as error:
        if not str(error).endswith((SQLSTATE_REMEDIES["42501"], SQLSTATE_REMEDIES["25006"])):
            raise
        raise StoreError(
            f"{display(database_url(database))}: this account may not write the table {PREDICTIONS}; "
            "name another database by --into, such as --into predictions.db, or an account that may"
        ) from None


def write_predictions(database: str | Path, study_hash: str, rows: Sequence[Predicted]) -> None:
    """Replace a study's predictions, all of them or none.

    Raises:
        StoreError: the database is locked, read-only, full or cannot be reached.
    """
    with _may_write(database), writing(database) as connection:
        _table.create(connection, checkfirst=True)
        connection.execute(_table.delete().where(_table.c.study_hash == study_hash))
        if rows:
            connection.execute(_table.insert(), [vars(row) for row in rows])
