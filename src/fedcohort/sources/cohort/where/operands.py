"""The values of one chunk of rows, as `where` compares them: numbers, texts and moments.

Each row's value is read by itself, so that no other row changes what it means:

- a number is an integer, a float, a Decimal or a boolean (true is 1, false is 0): the nearest double,
  beside which a whole number keeps what its double leaves out, so that 2^53 + 1 is not 2^53. NaN is
  missing; what is too large for a double is infinite;
- a text is a text, an enumeration's level, a UUID in its lower-case form, a time of day or a network
  address; of a longer one the first MAX_TEXT characters count. An empty text is a text;
- a moment is a date (its midnight) or a timestamp, to the microsecond; with an offset it is that
  instant in UTC, without one it is compared as it stands;
- everything else (bytes, lists, intervals, a date that no calendar of Python has) is there, but equals
  nothing.
"""

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from fedcohort.sources.catalogue.dates import NO_MOMENT, moment_of
from fedcohort.sources.catalogue.normal_form import ADDRESSES, NUMBERS
from fedcohort.sources.cohort.values import Coded, Values

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_TEXT = 32_768
"""Characters of a text that are looked at: so one patient's long note costs a bounded time."""
EXACT = 2.0**53
"""Below it a double is every whole number."""
_PRINTED = (
    str,
    UUID,
    datetime.time,
    *ADDRESSES,
)
"""What drivers make of types that are texts here."""
Reading = Literal["moment", "single", "padded"]
"""How a column's declared type is read: texts as moments, floats of 32 bits, texts without the blanks
that their engine adds."""


@dataclass(frozen=True)
class Texts:
    """Texts as places in a tuple of distinct ones, -1 where there is none."""

    codes: Ints
    words: tuple[str, ...]

    def mapped(self, function: Callable[[str], str]) -> "Texts":
        """Each word by a function of it; two may become one, which changes no comparison."""
        return Texts(self.codes, tuple(map(function, self.words)))

    def each(self, values: Sequence[Any], absent: object, dtype: Any) -> NDArray[Any]:  # noqa: ANN401
        """What stands for each row's word, and `absent` where there is none."""
        return np.array([*values, absent], dtype)[self.codes]


@dataclass(frozen=True)
class Operand:
    """One value a row, or one for all rows; at most one kind, but for a quoted date, which is two.

    Attributes:
        present: false where it is NULL.
        numbers: NaN where it is no number; None where no row has one.
        rest: what a whole number is beyond its double; None is 0 everywhere.
        moments: microseconds since 1970, NO_MOMENT where it is none.
    """

    present: Bools
    numbers: Floats | None = None
    rest: Floats | None = None
    texts: Texts | None = None
    moments: Ints | None = None

    @property
    def is_number(self) -> Bools:
        """Rows with a number."""
        return np.zeros(1, np.bool_) if self.numbers is None else ~np.isnan(self.numbers)

    @property
    def is_text(self) -> Bools:
        """Rows with a text."""
        return np.zeros(1, np.bool_) if self.texts is None else self.texts.codes >= 0

    @property
    def is_moment(self) -> Bools:
        """Rows with a date or timestamp."""
        return np.zeros(1, np.bool_) if self.moments is None else self.moments != NO_MOMENT


def numbers_of(operand: Operand) -> Floats:
    """Its numbers, NaN where it has none."""
    return np.full(1, np.nan) if operand.numbers is None else operand.numbers


NULL = Operand(np.zeros(1, np.bool_))


def number_literal(text: str) -> Operand:
    """A number as `where` writes it: one beyond the doubles is infinite."""
    return _of_numbers([decimal_of(text)])


def decimal_of(text: str) -> Decimal:
    """A number as `where` writes it; one whose exponent no Decimal has is infinite, or nothing."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(repr(float(text)))


def text_literal(text: str) -> Operand:
    """A text in quotes, which is a moment too where it is a date by ISO 8601."""
    moment = moment_of(text)
    moments = None if moment is None else np.array([moment], np.int64)
    return Operand(np.ones(1, np.bool_), texts=Texts(np.zeros(1, np.int64), (text,)), moments=moments)


def of_floats(values: Floats) -> Operand:
    """Numbers, NaN where missing."""
    return Operand(~np.isnan(values), values)


def operand_of(values: Values, reading: Reading | None = None) -> Operand:
    """A column of a chunk of rows; whatever stands in it, it is read.

    Args:
        values: as `Raw` holds them, or an array of datetime64.
        reading: what its declared type says.
    """
    if isinstance(values, Coded):
        return _of_coded(values, reading)
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return _of_array(values, reading)
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        moments = values.astype("datetime64[us]").astype(np.int64)  # NaT is the smallest
        return Operand(moments != NO_MOMENT, moments=moments)
    objects = values.tolist() if isinstance(values, np.ndarray) else values
    return _of_objects(objects, reading)


def _of_array(values: NDArray[Any], reading: Reading | None) -> Operand:
    doubles = values.astype(np.float64)
    if reading == "single":
        doubles = _single(doubles)
    if values.dtype.kind not in "iu" or not len(values) or np.abs(doubles).max() < EXACT:
        return of_floats(doubles)
    return _of_numbers(values.tolist())


def _single(doubles: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return doubles.astype(np.float32).astype(np.float64)


def _of_numbers(values: Sequence[object]) -> Operand:
    pairs = [_number(value) for value in values]
    doubles = np.array([double for double, _ in pairs], np.float64)
    rest = np.array([left for _, left in pairs], np.float64)
    return Operand(~np.isnan(doubles), doubles, rest if rest.any() else None)


def _number(value: Any) -> tuple[float, float]:  # noqa: ANN401  any of NUMBERS
    """The nearest double, and what a whole number is beyond it."""
    try:
        double = float(value)
    except OverflowError:
        return (math.inf if value > 0 else -math.inf), 0.0
    except ValueError:  # a signalling NaN of Decimal
        return math.nan, 0.0
    if isinstance(value, float | np.floating | bool | np.bool_) or not EXACT <= abs(double) < EXACT**2:
        return double, 0.0
    whole = int(value)
    return double, float(whole - int(double)) if whole == value else 0.0


def _of_coded(values: Coded, reading: Reading | None) -> Operand:
    by_word = _of_objects(values.values, reading)
    return Operand(
        np.append(by_word.present, False)[values.codes],
        _picked(by_word.numbers, math.nan, values.codes),
        _picked(by_word.rest, 0.0, values.codes),
        None
        if by_word.texts is None
        else Texts(np.append(by_word.texts.codes, -1)[values.codes], by_word.texts.words),
        _picked(by_word.moments, NO_MOMENT, values.codes),
    )


def _picked(values: Any, absent: float, codes: Ints) -> Any:  # noqa: ANN401  an array of any type, or none
    return None if values is None else np.append(values, np.array([absent], values.dtype))[codes]


def _of_objects(objects: Sequence[object], reading: Reading | None) -> Operand:
    kinds = set(map(type, objects))
    if kinds <= {int, float, bool, type(None)} and (int not in kinds or _small(objects)):
        doubles = np.array(objects, np.float64)  # None becomes NaN
        return of_floats(_single(doubles) if reading == "single" else doubles)
    if kinds <= {str, type(None)} and reading is None:
        return _of_texts(objects)
    return _of_any(objects, reading)


def _small(objects: Sequence[Any]) -> bool:
    return all(type(value) is not int or -EXACT < value < EXACT for value in objects)


def _of_texts(objects: Sequence[Any]) -> Operand:
    places: dict[str, int] = {}
    codes = np.fromiter(
        (-1 if text is None else places.setdefault(text, len(places)) for text in objects),
        np.int64,
        len(objects),
    )
    return Operand(codes >= 0, texts=Texts(codes, tuple(text[:MAX_TEXT] for text in places)))


def _of_any(objects: Sequence[object], reading: Reading | None) -> Operand:
    """Row by row: each value's kind is its own."""
    n = len(objects)
    present, doubles, rest = np.ones(n, np.bool_), np.full(n, np.nan), np.zeros(n)
    codes, moments, places = np.full(n, -1, np.int64), np.full(n, NO_MOMENT, np.int64), dict[str, int]()
    for row, value in enumerate(objects):
        if value is None:
            present[row] = False
        elif isinstance(value, NUMBERS):
            doubles[row], rest[row] = _number(value)
            present[row] = not math.isnan(doubles[row])
        elif isinstance(value, _PRINTED) and reading != "moment":
            text = str(value)[:MAX_TEXT]
            text = text.rstrip(" ") if reading == "padded" else text
            codes[row] = places.setdefault(text, len(places))
        elif (moment := moment_of(value)) is not None:
            moments[row] = moment
    if reading == "single":
        doubles = _single(doubles)
    return Operand(
        present,
        doubles if not np.isnan(doubles).all() else None,
        rest if rest.any() else None,
        Texts(codes, tuple(places)) if places else None,
        moments if (moments != NO_MOMENT).any() else None,
    )


def merged(chosen: Sequence[Bools], operands: Sequence[Operand], n: int) -> Operand:
    """Each row's value from the operand that is chosen there, NULL where none is.

    Args:
        chosen: a mask an operand, disjoint.
        n: how many rows there are.
    """
    present, doubles, rest = np.zeros(n, np.bool_), np.full(n, np.nan), np.zeros(n)
    codes, moments, places = np.full(n, -1, np.int64), np.full(n, NO_MOMENT, np.int64), dict[str, int]()
    for mask, operand in zip(chosen, operands, strict=True):
        _fill(present, operand.present, mask)
        _fill(doubles, operand.numbers, mask)
        _fill(rest, operand.rest, mask)
        _fill(moments, operand.moments, mask)
        if operand.texts is not None:
            new = [places.setdefault(word, len(places)) for word in operand.texts.words]
            _fill(codes, operand.texts.each(new, -1, np.int64), mask)
    return Operand(present, doubles, rest, Texts(codes, tuple(places)), moments)


def _fill(into: NDArray[Any], values: NDArray[Any] | None, mask: Bools) -> None:
    if values is not None:
        np.copyto(into, values, where=mask)


Operands = Mapping[str, Operand]
"""Of each column that a condition asks about."""
