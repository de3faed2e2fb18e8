"""How a private study reads rows: what does not fit counts as missing, and nothing of it is told.

Without privacy a value that does not fit ends a study with a code, so that somebody corrects it. Under
privacy that code would be a release without noise: a researcher who leaves a level out of
a column, or takes a text for a number, would learn for certain whether one patient has it. So a
private study always reads, and only the hospital's own log says that something was left out.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence

from fedcohort.columns import Binary, Categorical, Classes, Image, Level, Number
from fedcohort.errors import SchemaError, ValueRangeError
from fedcohort.pixels import PixelStore
from fedcohort.sources.convert import NUMBERS, Raw, Values, convert, level_key, plain
from fedcohort.sources.images import image_stores, pictures
from fedcohort.study import Cohort
from fedcohort.table import SPLITS, Table

log = logging.getLogger("fedcohort.node")


def convert_private(
    raw: Raw, cohort: Cohort, seed: int, stores: Mapping[str, PixelStore] | None = None
) -> Table:
    """One chunk of rows as a Table, as `convert` makes it, whatever stands in the rows.

    Raises:
        SchemaError: the cohort's own levels mean the same, whatever the rows are.
    """
    stores = image_stores(cohort) if stores is None else stores
    try:
        return convert(raw, cohort, seed, stores)
    except (SchemaError, ValueRangeError) as error:
        log.warning("%s; this study is private, so what does not fit counts as missing", error)
    return convert(_fitting(raw, cohort), cohort, seed, stores)


def _fitting(raw: Raw, cohort: Cohort) -> Raw:
    """The rows that have a patient, a split and images, with None where a value does not fit."""
    values = {name: list(plain(column)) for name, column in raw.values.items()}
    kept = [_key(patient) is not None for patient in values[cohort.patient_id]]
    for name, fits in _tests(cohort).items():
        values[name] = [value if fits(value) else None for value in values[name]]
    if isinstance(cohort.split, str):
        sides = [str(value).strip().lower() in SPLITS for value in values[cohort.split]]
        kept = [one and other for one, other in zip(kept, sides, strict=True)]
    for name, kind in cohort.schema_.items():
        if isinstance(kind, Image):
            seen = [_is_picture(value, kind) for value in values[name]]
            kept = [one and other for one, other in zip(kept, seen, strict=True)]
    return Raw(raw.table, {name: _only(column, kept) for name, column in values.items()})


def _only(column: Sequence[object], kept: Sequence[bool]) -> Values:
    return [value for value, keep in zip(column, kept, strict=True) if keep]


def _tests(cohort: Cohort) -> dict[str, Callable[[object], bool]]:
    """By column of the cohort, whether a value can be read as its kind."""
    tests: dict[str, Callable[[object], bool]] = {}
    for name, kind in cohort.schema_.items():
        if isinstance(kind, Categorical):
            tests[name] = _among(kind.levels)
        elif not isinstance(kind, Image):
            tests[name] = _is_number
    match cohort.typed_label:
        case Binary(column=column, positive=positive, negative=negative):
            tests[column] = _among((negative, positive))
        case Classes(column=column, levels=levels):
            tests[column] = _among(levels)
        case Number(column=column):
            tests[column] = _is_number
    return tests


def _among(levels: Sequence[Level]) -> Callable[[object], bool]:
    keys = {level_key(level) for level in levels}
    return lambda value: isinstance(value, (str, bytes, *NUMBERS)) and _key(value) in keys


def _key(value: object) -> str | None:
    try:
        return level_key(value)
    except UnicodeDecodeError:
        return None


def _is_number(value: object) -> bool:
    if not isinstance(value, NUMBERS):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_picture(value: object, kind: Image) -> bool:
    try:
        pictures([value], PixelStore(kind.shape), "")
    except SchemaError:
        return False
    return True
