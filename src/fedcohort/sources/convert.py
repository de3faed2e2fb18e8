"""From a database's or data frame's values to the arrays of a Table.

Missing is NULL, None, NaN or an empty text: NaN in a numeric column, -1 in a
categorical one. Rows whose label is missing are left out. Levels match by value,
so that '1', 1, 1.0 and True are one level. Numbers stay as they are, even beyond
the declared bounds (an analysis clips them); infinity and text among numbers are
errors. An image must be there in every row, and be of the declared size. A message names
table, column and remedy, never a patient's value.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Binary, Categorical, Classes, Holdout, Label, Number, Numeric, Survival
from fedcohort.errors import SchemaError, ValueRangeError
from fedcohort.pixels import PixelStore
from fedcohort.sources.images import image_stores, pictures
from fedcohort.study import Cohort
from fedcohort.table import SPLITS, TEST, TRAIN, Table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coded:
    """Texts of a column as places in a tuple of the distinct ones, -1 where missing."""

    codes: NDArray[np.int64]
    values: tuple[object, ...]


Values = Sequence[object] | NDArray[np.generic] | Coded

NUMBERS = (bool, int, float, Decimal, np.number, np.bool_)
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0+)?")


@dataclass(frozen=True)
class Raw:
    """A chunk of a cohort's rows as they came: one sequence a column, all of one length."""

    table: str
    values: Mapping[str, Values]


def needed_columns(cohort: Cohort) -> list[str]:
    """Columns, label columns and split column, each once, in order."""
    split = [cohort.split] if isinstance(cohort.split, str) else []
    return [*dict.fromkeys([*cohort.schema_, *cohort.label_columns, *split])]


def numbers(values: Values, where: str) -> Floats:
    """Values as float64, NaN where missing.

    Raises:
        SchemaError: something is not a number.
        ValueRangeError: a number is infinite or too large.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        result = values.astype(np.float64, copy=False)
    else:
        objects = plain(values)
        # The types are few: each is asked about once, and C does the rest.
        if not all(kind is type(None) or issubclass(kind, NUMBERS) for kind in set(map(type, objects))):
            raise SchemaError(
                f"{where}: holds text where numbers are needed; use fc.Categorical, or correct it"
            )
        try:
            result = np.array(objects, dtype=np.float64)  # None becomes NaN
        except OverflowError:
            raise _infinite(where) from None
    if np.isinf(result).any():
        raise _infinite(where)
    return result


def _infinite(where: str) -> ValueRangeError:
    return ValueRangeError(f"{where}: holds an infinite or too large number; correct it or make it missing")


def level_key(value: object) -> str | None:
    """The text by which levels are compared; None when the value is missing."""
    if value is None or (isinstance(value, float | np.floating | Decimal) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    text = (value.decode() if isinstance(value, bytes) else str(value)).strip()
    if not text:
        return None
    return str(int(float(text))) if _WHOLE.fullmatch(text) and len(text) < 16 else text


class _Indices(dict[object, int]):
    """Raw value to level index, each distinct value looked up once; -2 where no level fits."""

    def __init__(self, levels: Sequence[object]) -> None:
        super().__init__()
        self.by_key = {level_key(level): index for index, level in enumerate(levels)} | {None: -1}

    def __missing__(self, value: object) -> int:
        index = self.by_key.get(level_key(value), -2)
        self[value] = index
        return index


def levels(values: Values, allowed: Sequence[object], where: str) -> NDArray[np.int64]:
    """Values as indices into the levels, -1 where missing.

    Raises:
        SchemaError: a value is not among the levels, or two levels mean the same.
    """
    indices = _Indices(allowed)
    if len(indices.by_key) != len(allowed) + 1:
        raise SchemaError(f"{where}: two of the levels {list(allowed)} mean the same value, or one is empty")
    try:
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
            values = _coded(values)
        objects = values.values if isinstance(values, Coded) else plain(values)
        result = np.fromiter(map(indices.__getitem__, objects), dtype=np.int64, count=len(objects))
        if isinstance(values, Coded):
            result = np.append(result, -1)[values.codes]
    except (TypeError, UnicodeDecodeError):
        raise SchemaError(f"{where}: holds something that is neither text nor number; correct it") from None
    if (result == -2).any():
        shown = ", ".join(map(str, allowed[:12])) + (", ..." if len(allowed) > 12 else "")
        raise SchemaError(
            f"{where}: holds a level that is not among {shown}; name every level, or narrow `where`"
        )
    return result


def _coded(values: NDArray[np.generic]) -> Coded:
    """Numbers as the distinct ones; NaN is one of them, and means missing."""
    distinct, codes = np.unique(values, return_inverse=True)
    return Coded(codes, tuple(distinct.tolist()))


def plain(values: Values) -> Sequence[object]:
    """Python's own objects, with None for NaN: every NaN would be looked up as a level of its own."""
    if isinstance(values, Coded):
        return [None if code < 0 else values.values[code] for code in values.codes.tolist()]
    if not isinstance(values, np.ndarray):
        return values
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values.tolist()]


def labels(raw: Raw, label: Label | None) -> tuple[Floats | None, Floats | None]:
    """The label as float64 with NaN where missing, and a survival label's event."""
    name = f"{raw.table}.{label.time if isinstance(label, Survival) else label.column}" if label else ""
    match label:
        case None:
            return None, None
        case Binary(column=column, positive=positive, negative=negative):
            return _indices_as_floats(levels(raw.values[column], (negative, positive), name)), None
        case Classes(column=column, levels=allowed):
            return _indices_as_floats(levels(raw.values[column], allowed, name)), None
        case Number(column=column):
            return numbers(raw.values[column], name), None
        case Survival(time=time, event=event):
            seconds = numbers(raw.values[time], name)
            if (seconds < 0).any():
                raise ValueRangeError(f"{name}: holds a negative time; correct it or make it missing")
            seen = levels(raw.values[event], (0, 1), f"{raw.table}.{event}")
            return seconds, _indices_as_floats(seen)


def _indices_as_floats(indices: NDArray[np.int64]) -> Floats:
    return np.where(indices < 0, np.nan, indices)


def patients(values: Values, where: str) -> NDArray[np.str_]:
    """Patient identifiers as text, 1 and 1.0 being the same patient.

    Raises:
        SchemaError: a row has no patient.
    """
    texts = _texts(values)
    if texts is not None and _are_keys(texts):
        return texts
    try:
        keys = [level_key(value) for value in plain(values)]
    except UnicodeDecodeError:
        raise SchemaError(f"{where}: holds something that is neither text nor number; correct it") from None
    if None in keys:
        raise SchemaError(f"{where}: has rows without a patient; every row needs its patient's pseudonym")
    return np.array(keys, dtype=np.str_)


def _texts(values: Values) -> NDArray[np.str_] | None:
    """Identifiers as one array, if they are texts throughout or whole numbers throughout."""
    if isinstance(values, Coded):
        return None
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "U":
            return values.astype(np.str_, copy=False)
        if values.dtype.kind not in "iu":
            return None
        values = list(map(str, values.tolist()))
    return np.array(values, dtype=np.str_) if set(map(type, values)) == {str} else None


def _are_keys(texts: NDArray[np.str_]) -> bool:
    """Whether texts surely are what `level_key` makes of them: of letters, digits and most signs.

    No blank to be stripped, and no number written with a sign or a point.
    """
    if not texts.size or not texts.dtype.itemsize:
        return False
    points = np.ascontiguousarray(texts).view(np.uint32).reshape(len(texts), -1)
    odd = (points - np.uint32(1) < 0x20) | (points >= 0x7F) | (points == ord("+")) | (points == ord("."))
    return not odd.any() and bool((points[:, 0] != 0).all() and (points[:, 0] != ord("-")).all())


def splits(raw: Raw, cohort: Cohort, ids: NDArray[np.str_], seed: int) -> NDArray[np.int8]:
    """TRAIN, TEST or VALID for every row: by column, by hash of the patient, or all TRAIN.

    Raises:
        SchemaError: the split column holds something else than train, test and valid.
    """
    if cohort.split is None:
        return np.full(len(ids), TRAIN, dtype=np.int8)
    if isinstance(cohort.split, Holdout):
        held = held_out(ids.tolist(), cohort.split.fraction, seed)
        return np.where(held, TEST, TRAIN).astype(np.int8)
    where = f"{raw.table}.{cohort.split}"
    codes = [SPLITS.get(str(value).strip().lower(), -1) for value in plain(raw.values[cohort.split])]
    if -1 in codes:
        raise SchemaError(f"{where}: a split column holds train, test or valid in every row, nothing else")
    return np.array(codes, dtype=np.int8)


def held_out(patient_ids: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Whether each patient is held out: always the same side for one study seed, at every site and run.

    The side is BLAKE2b (RFC 7693) of patient_id keyed by the seed, read as a fraction of 2^64.
    """
    keyed = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "big"), person=b"fedcohort-split")
    digests = []
    for patient in patient_ids:
        digest = keyed.copy()  # the key's block is hashed once
        digest.update(patient.encode())
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), ">u8") < math.ceil(fraction * 2**64)


def convert(raw: Raw, cohort: Cohort, seed: int, stores: Mapping[str, PixelStore] | None = None) -> Table:
    """One chunk of rows as a Table; rows without a label are left out.

    Args:
        stores: where the images of all chunks go; None makes stores for this chunk alone.
    """
    ids = patients(raw.values[cohort.patient_id], f"{raw.table}.{cohort.patient_id}")
    columns: dict[str, Floats | NDArray[np.int64]] = {}
    for name, kind in cohort.schema_.items():
        where = f"{raw.table}.{name}"
        if isinstance(kind, Numeric):
            columns[name] = numbers(raw.values[name], where)
        elif isinstance(kind, Categorical):
            columns[name] = levels(raw.values[name], kind.levels, where)
    label, event = labels(raw, cohort.typed_label)
    stores = image_stores(cohort) if stores is None else stores
    images = {
        name: pictures(plain(raw.values[name]), store, f"{raw.table}.{name}")
        for name, store in stores.items()
    }
    table = Table(ids, columns, splits(raw, cohort, ids, seed), label, event, images)
    missing = np.isnan(label) if label is not None else np.zeros(len(ids), dtype=bool)
    if event is not None:
        missing |= np.isnan(event)
    return _kept(table, ~missing) if missing.any() else table


def _kept(table: Table, rows: NDArray[np.bool_]) -> Table:
    return Table(
        table.patient_ids[rows],
        {name: values[rows] for name, values in table.columns.items()},
        table.split[rows],
        None if table.label is None else table.label[rows],
        None if table.event is None else table.event[rows],
        {name: pixels[rows] for name, pixels in table.images.items()},
    )
