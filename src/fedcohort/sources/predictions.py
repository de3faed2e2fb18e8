"""Predictions for a site's own patients, in the site's own database."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import BigInteger, Column, Float, Integer, MetaData, String, Table

from fedcohort.sources.database import writing

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


def write_predictions(database: str | Path, study_hash: str, rows: Sequence[Predicted]) -> None:
    """Replace a study's predictions, all of them or none.

    Raises:
        StoreError: the database is locked, read-only, full or cannot be reached.
    """
    with writing(database) as connection:
        _table.create(connection, checkfirst=True)
        connection.execute(_table.delete().where(_table.c.study_hash == study_hash))
        if rows:
            connection.execute(_table.insert(), [vars(row) for row in rows])
