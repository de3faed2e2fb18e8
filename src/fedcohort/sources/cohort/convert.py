"""From a database's or data frame's values to the arrays of a Table.

Missing is NULL, None, NaN or an empty text: NaN in a numeric column, -1 in a
categorical one. Rows whose label is missing are left out. Levels match by value,
so that '1', 1, 1.0 and True are one level. Numbers stay as they are, even beyond
the declared bounds (an analysis clips them); infinity and text among numbers are
errors. An image must be there in every row, and be of the declared size. A message names
table, column and remedy, never a patient's value.

Each value is converted by a function of that value alone, so that one patient's record changes how no
other's is read. What does not fit ends a study with a code, so that somebody corrects it; but under
privacy that code would be a release without noise: a researcher who leaves a level out of a column, or
takes a text for a number, would learn for certain whether one patient has it. A private study always
reads: what does not fit counts as missing, and only the hospital's own log says so.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from types import NoneType

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Binary, Categorical, Classes, Holdout, Label, Number, Numeric, Survival
from fedcohort.errors import SchemaError, ValueRangeError
from fedcohort.pixels import Pixels, PixelStore
from fedcohort.sources.catalogue.normal_form import FORM, NUMBERS, UnreadableError, level_key
from fedcohort.sources.catalogue.stored_images import image_stores, pictures
from fedcohort.sources.cohort.patients import held_out, patients
from fedcohort.sources.cohort.values import NEITHER, Coded, Mask, Raw, Unfit, Values, plain, unfit_where
from fedcohort.study import Cohort
from fedcohort.table import SPLITS, TEST, TRAIN, Table
from fedcohort.texts import say

log = logging.getLogger("fedcohort.node")

Floats = NDArray[np.float64]


def needed_columns(cohort: Cohort) -> list[str]:
    """Columns, label columns and split column, each once, in order."""
    split = [cohort.split] if isinstance(cohort.split, str) else []
    return [*dict.fromkeys([*cohort.schema_, *cohort.label_columns, *split])]


def numbers(values: Values, where: str) -> tuple[Floats, list[Unfit]]:
    """Values as float64, NaN where missing or where something is no finite number."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        result = values.astype(np.float64, copy=False)
        return _finite(result, np.isinf(result), where)
    objects = plain(values)
    # The types are few: each is asked about once, and C does the rest.
    if all(kind is NoneType or issubclass(kind, NUMBERS) for kind in set(map(type, objects))):
        try:
            result = np.array(objects, dtype=np.float64)  # None becomes NaN
        except (OverflowError, ValueError):
            return _one_by_one(objects, where)
        return _finite(result, np.isinf(result), where)
    return _one_by_one(objects, where)


def _one_by_one(objects: Sequence[object], where: str) -> tuple[Floats, list[Unfit]]:
    """The same doubles, value by value, and which of the values are none."""
    result = np.array([_number(value) for value in objects], dtype=np.float64)
    words = np.array([not isinstance(value, (NoneType, *NUMBERS)) for value in objects], dtype=np.bool_)
    result, unfit = _finite(result, np.isinf(result), where)
    error = SchemaError(
        "{column}: holds text where numbers are needed; use fc.Categorical, or correct it", column=where
    )
    return result, [*unfit_where(words, error), *unfit]


def _number(value: object) -> float:
    """A number as a double, infinite where it is too large for one; NaN for anything else."""
    if not isinstance(value, NUMBERS):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:  # a Decimal that signals
        return math.nan


def _finite(result: Floats, infinite: Mask, where: str) -> tuple[Floats, list[Unfit]]:
    if not infinite.any():
        return result, []
    error = ValueRangeError(
        "{column}: holds an infinite or too large number; correct it or make it missing", column=where
    )
    return np.where(infinite, np.nan, result), [Unfit(infinite, error)]


_MISSING, _NO_LEVEL, _UNREADABLE = -1, -2, -3
_BY_EQUALITY = frozenset((str, int, float, bool, NoneType))
"""Types among which values that are equal to Python are one level: `level_key` of them may be remembered."""


class _Indices(dict[object, int]):
    """Raw value to level index, each distinct value looked up once; below -1 where no level fits."""

    def __init__(self, levels: Sequence[object]) -> None:
        super().__init__()
        self.by_key = {level_key(level): index for index, level in enumerate(levels)} | {None: _MISSING}

    def __missing__(self, value: object) -> int:
        index = self[value] = self.index_of(value)
        return index

    def index_of(self, value: object) -> int:
        """Looked up anew: Decimal('1.50') and 1.5 are equal to Python, and need not be to us."""
        try:
            return self.by_key.get(level_key(value), _NO_LEVEL)
        except UnreadableError:
            return _UNREADABLE


def levels(values: Values, allowed: Sequence[object], where: str) -> tuple[NDArray[np.int64], list[Unfit]]:
    """Values as indices into the levels, -1 where missing or where no level fits.

    Raises:
        SchemaError: two levels mean the same.
    """
    indices = _Indices(allowed)
    if len(indices.by_key) != len(allowed) + 1:
        raise SchemaError(
            "{column}: two of the levels {levels} mean the same value, or one is empty",
            column=where,
            levels=list(allowed),
        )
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        values = _coded(values)
    objects = values.values if isinstance(values, Coded) else plain(values)
    remembered = _BY_EQUALITY.issuperset(map(type, objects))
    index_of = indices.__getitem__ if remembered else indices.index_of
    result = np.fromiter(map(index_of, objects), dtype=np.int64, count=len(objects))
    if isinstance(values, Coded):
        result = np.append(result, _MISSING)[values.codes]
    if not (result < _MISSING).any():
        return result, []
    shown = ", ".join(map(str, allowed[:12])) + (", ..." if len(allowed) > 12 else "")
    unknown = say(
        "{column}: holds a level that is not among {levels}; name every level, or narrow `where`",
        column=where,
        levels=shown,
    )
    unfit = [
        *unfit_where(result == _UNREADABLE, SchemaError(NEITHER, column=where)),
        *unfit_where(result == _NO_LEVEL, SchemaError(unknown)),
    ]
    return np.maximum(result, _MISSING), unfit


def _coded(values: NDArray[np.generic]) -> Coded:
    """Numbers as the distinct ones; NaN is one of them, and means missing."""
    distinct, codes = np.unique(values, return_inverse=True)
    return Coded(codes, tuple(distinct.tolist()))


def labels(raw: Raw, label: Label | None) -> tuple[Floats | None, Floats | None, list[Unfit]]:
    """The label as float64 with NaN where missing, and a survival label's event."""
    name = f"{raw.table}.{label.time if isinstance(label, Survival) else label.column}" if label else ""
    match label:
        case None:
            return None, None, []
        case Binary(column=column, positive=positive, negative=negative):
            classes, unfit = levels(raw.values[column], (negative, positive), name)
            return _indices_as_floats(classes), None, unfit
        case Classes(column=column, levels=allowed):
            classes, unfit = levels(raw.values[column], allowed, name)
            return _indices_as_floats(classes), None, unfit
        case Number(column=column):
            values, unfit = numbers(raw.values[column], name)
            return values, None, unfit
        case Survival(time=time, event=event, horizon=horizon, events=allowed):
            seconds, unfit = numbers(raw.values[time], name)
            negative_time = ValueRangeError(
                "{column}: holds a negative time; correct it or make it missing", column=name
            )
            unfit += unfit_where(seconds < 0, negative_time)
            seen, unseen = levels(raw.values[event], allowed, f"{raw.table}.{event}")
            events = _indices_as_floats(seen)
            if horizon is not None:
                events = np.where((seconds > horizon) & (events > 0), 0.0, events)
                seconds = np.minimum(seconds, horizon)
            return np.where(seconds < 0, np.nan, seconds), events, [*unfit, *unseen]


def _indices_as_floats(indices: NDArray[np.int64]) -> Floats:
    return np.where(indices < 0, np.nan, indices)


def splits(
    raw: Raw, cohort: Cohort, ids: NDArray[np.str_], seed: int
) -> tuple[NDArray[np.int8], list[Unfit]]:
    """TRAIN, TEST or VALID for every row: by column, by hash of the patient, or all TRAIN."""
    if cohort.split is None:
        return np.full(len(ids), TRAIN, dtype=np.int8), []
    if isinstance(cohort.split, Holdout):
        held = held_out(ids.tolist(), cohort.split.fraction, seed)
        return np.where(held, TEST, TRAIN).astype(np.int8), []
    where = f"{raw.table}.{cohort.split}"
    codes = np.array([_side(value) for value in plain(raw.values[cohort.split])], dtype=np.int8)
    error = SchemaError(
        "{column}: a split column holds train, test or valid in every row, nothing else", column=where
    )
    return codes, unfit_where(codes < 0, error, needed=True)


def _side(value: object) -> int:
    try:
        return SPLITS.get((level_key(value) or "").lower(), -1)
    except UnreadableError:
        return -1


def convert(
    raw: Raw,
    cohort: Cohort,
    seed: int,
    stores: Mapping[str, PixelStore] | None = None,
    *,
    private: bool = False,
    form: int = FORM,
) -> Table:
    """One chunk of rows as a Table; rows without a label are left out.

    Args:
        stores: where the images of all chunks go; None makes stores for this chunk alone.
        private: what does not fit counts as missing, and rows without patient, split or image are left out.
        form: of the data set's identifiers.
    Raises:
        SchemaError, ValueRangeError: something does not fit, and nothing is private; or two of the
            cohort's own levels mean the same.
    """
    ids, unfit = patients(raw.values[cohort.patient_id], f"{raw.table}.{cohort.patient_id}", form)
    columns: dict[str, Floats | NDArray[np.int64]] = {}
    for name, kind in cohort.schema_.items():
        where = f"{raw.table}.{name}"
        if isinstance(kind, Numeric):
            columns[name], more = numbers(raw.values[name], where)
            unfit += more
        elif isinstance(kind, Categorical):
            columns[name], more = levels(raw.values[name], kind.levels, where)
            unfit += more
    label, event, more = labels(raw, cohort.typed_label)
    unfit += more
    images: dict[str, Pixels] = {}
    for name, store in (image_stores(cohort) if stores is None else stores).items():
        images[name], odd, error = pictures(plain(raw.values[name]), store, f"{raw.table}.{name}")
        unfit += [] if error is None else [Unfit(odd, error, needed=True)]
    split, more = splits(raw, cohort, ids, seed)
    left_out = _settled([*unfit, *more], len(ids), private=private)
    for outcome in (label, event):
        left_out |= np.isnan(outcome) if outcome is not None else False
    table = Table(ids, columns, split, label, event, images)
    return _kept(table, ~left_out) if left_out.any() else table


def nobody(cohort: Cohort, seed: int, stores: Mapping[str, PixelStore] | None = None) -> Table:
    """The table of a cohort that selects nobody: under privacy such a site contributes what it has."""
    values: dict[str, Values] = {name: [] for name in (cohort.patient_id, *needed_columns(cohort))}
    return convert(Raw(cohort.table, values), cohort, seed, stores, private=True)


def _settled(unfit: Sequence[Unfit], n_rows: int, *, private: bool) -> Mask:
    """Rows to leave out for what they lack; an error where that may be said."""
    left_out = np.zeros(n_rows, dtype=np.bool_)
    for fault in unfit:
        if not private:
            raise fault.error
        log.warning("%s; this study is private, so what does not fit counts as missing", fault.error)
        if fault.needed:
            left_out |= fault.rows
    return left_out


def _kept(table: Table, rows: NDArray[np.bool_]) -> Table:
    return Table(
        table.patient_ids[rows],
        {name: values[rows] for name, values in table.columns.items()},
        table.split[rows],
        None if table.label is None else table.label[rows],
        None if table.event is None else table.event[rows],
        {name: pixels[rows] for name, pixels in table.images.items()},
    )
