"""A pandas data frame as a site's table, for `fc.simulate`: the same road as a database.

The frame is the site's table whatever name the study gives; an image stands in it as PNG bytes
or as an array of uint8. `where` is checked as for
a database and answered by SQLite in memory, so that it means the same as at a hospital.
Without a column patient_id every row is a patient, named by its position.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlglot import exp

from fedcohort.columns import Image
from fedcohort.errors import CohortError, SchemaError
from fedcohort.sources.catalogue import UNDECLARED_TEXT, Catalogue, Facts
from fedcohort.sources.convert import Raw, Values, convert, needed_columns
from fedcohort.sources.database import harden, restrict
from fedcohort.sources.dialects import select_sql
from fedcohort.sources.explicit import check_explicit
from fedcohort.sources.fitting import convert_private
from fedcohort.sources.offers import ANY_TABLE
from fedcohort.sources.order import in_order
from fedcohort.sources.schema import PATIENT_ID
from fedcohort.sources.where import check_plain, parse_where
from fedcohort.study import Cohort
from fedcohort.table import Table


def table_from_frame(frame: pd.DataFrame, cohort: Cohort, seed: int, private: bool = False) -> Table:
    """Select a cohort from a data frame.

    Args:
        frame: a row a patient, or several with a column patient_id.
        cohort: explicit, as `resolve_cohort` makes it.
        seed: the study's seed, which keys the hold-out.
        private: as for `load_cohort`.
    Raises:
        StudyError, SchemaError, ValueRangeError, CohortError: as `load_cohort`.
    """
    check_explicit(cohort)
    if private and cohort.where is not None:
        check_plain(cohort.where)
    frame = _checked(frame, cohort)
    rows = selected_rows(frame, cohort)
    values: dict[str, Values] = {name: _values(frame[name], rows) for name in needed_columns(cohort)}
    if cohort.patient_id in frame.columns:
        values[cohort.patient_id] = _values(frame[cohort.patient_id], rows)
    else:
        values[cohort.patient_id] = rows
    read = convert_private if private else convert
    return in_order([read(Raw(cohort.table, values), cohort, seed)], cohort.table)


def _checked(frame: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """The frame with text for column names, each of which is there once."""
    frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    if not frame.columns.is_unique:
        raise SchemaError("data frame: two columns have one name; rename one")
    needed = needed_columns(cohort) + ([cohort.patient_id] if cohort.patient_id != PATIENT_ID else [])
    missing = sorted(set(needed) - set(frame.columns))
    if missing:
        raise SchemaError(f"data frame: has no column {', '.join(missing)}; its columns are {_names(frame)}")
    return frame


def _names(frame: pd.DataFrame) -> str:
    return ", ".join(frame.columns[:20]) + (", ..." if len(frame.columns) > 20 else "")


def selected_rows(frame: pd.DataFrame, cohort: Cohort) -> NDArray[np.int64]:
    """Positions of the rows that `where` selects, asked of SQLite as at a hospital."""
    if cohort.where is None:
        return np.arange(len(frame))
    allowed = [name for name in frame.columns if name not in (PATIENT_ID, cohort.patient_id)]
    tree = parse_where(cohort.where, cohort.table, allowed)
    used = sorted({column.name for column in tree.find_all(exp.Column)})
    key = "position"
    while key in used:
        key += "_"
    asked = frame[used].reset_index(drop=True)
    for name in set(used) & _image_columns(cohort):  # of an image, SQL can only ask whether it is there
        asked[name] = asked[name].notna().astype(int).replace(0, None)
    asked[key] = np.arange(len(frame))
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            asked.to_sql("cohort", connection, index=False)
        except (sqlite3.Error, pd.errors.DatabaseError, OverflowError):
            raise SchemaError(
                f"data frame: {', '.join(used)} cannot be asked by `where`; keep numbers and text in it"
            ) from None
        harden(connection, writable=False)
        restrict(connection)
        try:
            rows = connection.execute(select_sql("sqlite", "cohort", [key], tree, {})).fetchall()
        except sqlite3.Error:
            raise CohortError("where: SQLite cannot answer it; write it more simply") from None
    return np.array([row for (row,) in rows], dtype=np.int64)


def _image_columns(cohort: Cohort) -> set[str]:
    return {name for name, kind in cohort.schema_.items() if isinstance(kind, Image)}


def _values(series: "pd.Series[Any]", rows: NDArray[np.int64]) -> Values:
    """A column's selected values: an array of numbers as it is, else objects with None where missing."""
    chosen = series.iloc[rows]
    if isinstance(chosen.dtype, np.dtype) and chosen.dtype.kind in "fiub":
        return chosen.to_numpy()
    objects: Sequence[object] = chosen.astype(object).where(chosen.notna(), None).tolist()
    return objects


def catalogue_of_frame(frame: pd.DataFrame, table: str = ANY_TABLE) -> Catalogue:
    """A data frame's catalogue: what its column types tell, nothing of its values.

    Numbers have no bounds; true and false are 0 to 1; a pandas categorical has its
    categories as levels; text has none, so that a study names them.
    """
    columns = {str(name): _facts(frame[name]) for name in frame.columns if name != PATIENT_ID}
    return {"tables": {table: {"columns": columns}}}


def _facts(series: "pd.Series[Any]") -> Facts:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        levels = [
            int(level) if isinstance(level, np.integer) else level for level in dtype.categories.tolist()
        ]
        fits = all(isinstance(level, int | str) for level in levels)
        return {"kind": "categorical", "levels": levels if fits else []}
    if pd.api.types.is_bool_dtype(series):
        return {"kind": "numeric", "low": 0.0, "high": 1.0}
    if pd.api.types.is_numeric_dtype(series):
        return {"kind": "numeric", "low": None, "high": None}
    return dict(UNDECLARED_TEXT)
