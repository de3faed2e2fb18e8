"""A pandas data frame as a site's table, for `fc.simulate`: selected as from a database.

The frame is the site's table whatever name the study gives; an image stands in it as PNG bytes
or as an array of uint8. `where` is checked and evaluated as for a database.
Without a column patient_id every row is a patient, named by its position.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedcohort.errors import SchemaError, StudyError
from fedcohort.sources.catalogue.declared import Catalogue
from fedcohort.sources.catalogue.declared_columns import ANY_TABLE
from fedcohort.sources.catalogue.normal_form import UnreadableError, level_key
from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.catalogue.sql_types import Facts, undeclared_number, undeclared_text
from fedcohort.sources.cohort.convert import convert, needed_columns, nobody
from fedcohort.sources.cohort.explicit import check_explicit
from fedcohort.sources.cohort.order import in_order
from fedcohort.sources.cohort.selecting import Selection, selected
from fedcohort.sources.cohort.values import Raw, Values
from fedcohort.sources.cohort.where.kinds import Kind, Kinds, check_kinds, kinds_of_study
from fedcohort.sources.cohort.where.parse import check_plain, parse_where
from fedcohort.study import Cohort
from fedcohort.table import Table

MAX_SITE_NAME = 64


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
    if cohort.index is not None:
        raise StudyError(
            "cohort.index: a data frame has a row a patient, and no events; run the study over sites, or "
            "give frames with its columns and leave the words of events out"
        )
    if private and cohort.where is not None:
        check_plain(cohort.where)
    frame = _checked(frame, cohort)
    rows = selected_rows(frame, cohort)
    values: dict[str, Values] = {name: _values(frame[name], rows) for name in needed_columns(cohort)}
    if cohort.patient_id in frame.columns:
        values[cohort.patient_id] = _values(frame[cohort.patient_id], rows)
    else:
        values[cohort.patient_id] = rows
    table = convert(Raw(cohort.table, values), cohort, seed, private=private)
    return in_order([table], cohort.table, nobody(cohort, seed) if private else None)


def _checked(frame: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """The frame with text for column names, each of which is there once."""
    frame = _named(frame, "data frame")
    needed = needed_columns(cohort) + ([cohort.patient_id] if cohort.patient_id != PATIENT_ID else [])
    missing = sorted(set(needed) - set(frame.columns))
    if missing:
        raise SchemaError(f"data frame: has no column {', '.join(missing)}; its columns are {_names(frame)}")
    return frame


def _named(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The frame with text for column names.

    Raises:
        SchemaError: two columns have one name; says which.
    """
    names = pd.Index([str(name) for name in frame.columns])
    if not names.is_unique:
        twice = ", ".join(dict.fromkeys(names[names.duplicated()]))
        raise SchemaError(f"{where}: two columns are called {twice}; rename one")
    return frame.set_axis(names, axis="columns")


def frames_by_site(frames: object) -> dict[str, pd.DataFrame]:
    """What a researcher gives as the sites' frames, by site, with text for names.

    Args:
        frames: a mapping, or a list of frames, which are called site_1, site_2 and so on.
    Raises:
        StudyError: there is none, or one is no frame, or its name cannot be a site's.
        SchemaError: two columns of a frame have one name.
    """
    if isinstance(frames, Sequence) and not isinstance(frames, str):
        frames = {f"site_{number}": frame for number, frame in enumerate(frames, 1)}
    if not isinstance(frames, Mapping):
        raise StudyError(
            f"simulate: {type(frames).__name__} is no set of sites; give {{'hospital_a': frame_a, "
            "'hospital_b': frame_b}, or a list of frames"
        )
    if not frames:
        raise StudyError("simulate: give at least one frame, such as {'hospital_a': frame}")
    named: dict[str, pd.DataFrame] = {}
    for name, frame in frames.items():
        site = str(name)
        if not site.isprintable() or not 0 < len(site) <= MAX_SITE_NAME or site in named:
            raise StudyError(
                f"simulate: {site!r} cannot be a site's name, or is there twice; take another one for each, "
                f"of at most {MAX_SITE_NAME} characters in one line"
            )
        if not isinstance(frame, pd.DataFrame):
            raise StudyError(f"simulate: {site}: {type(frame).__name__} is no pandas data frame; give one")
        named[site] = _named(frame, f"{site}: data frame")
    return named


def _names(frame: pd.DataFrame) -> str:
    return ", ".join(frame.columns[:20]) + (", ..." if len(frame.columns) > 20 else "")


def selected_rows(frame: pd.DataFrame, cohort: Cohort) -> NDArray[np.int64]:
    """Positions of the rows that `where` selects."""
    every = np.arange(len(frame))
    if cohort.where is None:
        return every
    allowed = [name for name in frame.columns if name not in (PATIENT_ID, cohort.patient_id)]
    tree = parse_where(cohort.where, cohort.table, allowed)
    selection = Selection(tree)
    check_kinds(tree, {**kinds_of_study(cohort), **_kinds(frame[selection.columns])})
    values = {name: _asked(frame[name], every) for name in selection.columns}
    rows = selected(values, selection, len(frame))
    return every if rows is None else np.flatnonzero(rows)


def _kinds(frame: pd.DataFrame) -> Kinds:
    """What is known of columns by their dtype; of objects nothing is."""
    kinds = {str(name): _kind(frame[name]) for name in frame.columns}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _kind(series: "pd.Series[Any]") -> Kind | None:
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _kind(pd.Series(series.dtype.categories))
    if pd.api.types.is_bool_dtype(series.dtype) or pd.api.types.is_numeric_dtype(series.dtype):
        return None if pd.api.types.is_complex_dtype(series.dtype) else "number"
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return "moment"
    return "text" if isinstance(series.dtype, pd.StringDtype) else None


def _asked(series: "pd.Series[Any]", rows: NDArray[np.int64]) -> Values:
    """A column as `where` reads it: moments in UTC, everything else as it is read."""
    if not pd.api.types.is_datetime64_any_dtype(series.dtype):
        return _values(series, rows)
    zoned = series.dt.tz_convert("UTC").dt.tz_localize(None) if series.dt.tz is not None else series
    return zoned.to_numpy()


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
        levels = _levels(dtype.categories.tolist())
        facts: Facts = {"kind": "categorical", "levels": levels}
        # Categories in the order of the alphabet are pandas' own doing, unless somebody says otherwise.
        chosen = dtype.ordered or [str(level) for level in levels] != sorted(map(str, levels))
        return facts if chosen else {**facts, "ordered": False}
    # Of objects the types of what is there: a number beside None is a number.
    objects = pd.api.types.infer_dtype(series, skipna=True) if pd.api.types.is_object_dtype(dtype) else ""
    if pd.api.types.is_bool_dtype(series) or objects == "boolean":
        return {"kind": "numeric", "low": 0.0, "high": 1.0}
    if pd.api.types.is_numeric_dtype(series) or objects in _NUMBERS:
        return undeclared_number()
    return undeclared_text()


_WHOLE = re.compile("-?[0-9]{1,15}")
_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
"""pandas' words for objects that are all numbers."""


def _levels(categories: Sequence[object]) -> list[int | str]:
    """Categories as a study writes them: true and false are 1 and 0, and 1.5 is a text that means it."""
    try:
        keys = [level_key(level) for level in categories]
    except UnreadableError:
        return []
    return [
        level if isinstance(level, str) else int(key) if key and _WHOLE.fullmatch(key) else key or ""
        for level, key in zip(categories, keys, strict=True)
    ]
