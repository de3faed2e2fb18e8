"""One normal form of an identifier or a level, whatever source, driver or type it comes through.

23, 23.0, '23', b'23', '23.0' and Decimal('23.0000000000') are one patient. Each text is a function of its
value alone, never of the values beside it: what one patient's record holds cannot change how another's
is read. Letters follow Unicode's normalisation form C (UAX 15); signs that nobody sees (controls,
byte order marks, zero-width signs: categories Cc and Cf, UAX 44) carry no identity; full-width signs
and digits of any script are those of ASCII. A code keeps its leading zeros, and case counts.

A data set holds its patients under one form: pseudonyms and hold-outs are keyed by these texts. `FORM`
is that of a new data set; one that was imported under an earlier form is read and continued under it.
"""

import datetime
import ipaddress
import math
import re
import unicodedata
import uuid
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

FORM = 2
"""The form of this program; 1 is that of versions before it was written down."""

EXACT_BELOW = 2.0**53
"""Every whole number below it is a double."""
ROUNDED = (
    "a number with a decimal point of 16 digits or more, which was rounded, so that two patients may be one "
    "(pandas makes such numbers of whole ones beside missing ones): give whole numbers or texts"
)

NUMBERS = (bool, int, float, Decimal, np.integer, np.floating, np.bool_)
ADDRESSES = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)
"""Network addresses, as drivers make them."""
_PRINTED = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    uuid.UUID,
    *ADDRESSES,
    np.datetime64,
    np.timedelta64,
)
"""What drivers make of types that are texts to us; str of it is a function of its value."""
_WHOLE = re.compile(r"([+-]?)(0|[1-9][0-9]*)(?:\.0*)?")
_UNSEEN = ("Cc", "Cf")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_MOST_BITS = 4096
_MOST_DIGITS = 10_000


class UnreadableError(ValueError):
    """A value is neither text nor number, or a text that is not in Unicode."""


def level_key(value: object) -> str | None:
    """The text by which levels, and identifiers of form 2, are compared; None when the value is missing.

    Missing are None, NaN, NaT and texts of nothing but blanks and unseen signs.

    Raises:
        UnreadableError: a list, a mapping or another thing without a text, or bytes that are no UTF-8 text.
    """
    if isinstance(value, str):
        return _of_text(value)
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return _of_bytes(bytes(value))
    if isinstance(value, NUMBERS):
        return _of_number(value)
    if isinstance(value, _PRINTED):
        return None if value != value else str(value)  # noqa: PLR0124  NaT is not itself
    raise UnreadableError


def identifier(value: object, form: int = FORM) -> str | None:
    """The text by which patients are compared, in the form of their data set; None when it is missing.

    Args:
        form: FORM, or 1 of a data set that an earlier version imported.
    Raises:
        UnreadableError: as of `level_key`.
    """
    return level_key(value) if form >= FORM else _of_form_1(value)


def is_rounded(value: object) -> bool:
    """Whether an identifier is a double so large that the one it was made of need not be the only one."""
    return isinstance(value, float | np.floating) and abs(float(value)) >= EXACT_BELOW


def as_they_are(values: Sequence[object]) -> list[str] | None:
    """The values, where all are texts that surely are what `identifier` makes of them in form 2.

    They are of ASCII's letters, digits and most signs: no blank to be left out, and no number written with a
    sign or a point. All at once by few C loops; of None nothing follows but that each is to be looked at.
    """
    texts = [value for value in values if type(value) is str]
    joined = f" {' '.join(texts)} "
    if len(texts) < len(values) or not (joined.isascii() and joined.isprintable()):
        return None
    alone = joined.count(" ") == len(texts) + 1 and "  " not in joined
    return texts if alone and " -" not in joined and "+" not in joined and "." not in joined else None


def _of_bytes(value: bytes) -> str | None:
    """A text in UTF-8; what has a zero byte is no text."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise UnreadableError from None
    if "\0" in text:
        raise UnreadableError
    return _of_text(text)


def _of_text(text: str) -> str | None:
    if not (text.isascii() and text.isprintable()):
        text = _seen(text)
    text = text.strip()
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return text or None
    sign, digits = whole.groups()
    return f"-{digits}" if sign == "-" and digits != "0" else digits


def _seen(text: str) -> str:
    """A text in form C without unseen signs, its digits and full-width signs in ASCII."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnreadableError from None
    seen = (sign for sign in text if sign.isspace() or unicodedata.category(sign) not in _UNSEEN)
    text = unicodedata.normalize("NFC", "".join(seen)).translate(_FULL_WIDTH)
    return "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in text)


def _of_number(value: object) -> str | None:
    """Digits without an exponent, a trailing zero or a sign of zero, so that equal numbers are one text."""
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            return None
        if number.is_integer():
            return str(int(number))
        return _of_decimal(Decimal(repr(number)))
    whole = int(value)  # type: ignore[call-overload]
    if whole.bit_length() > _MOST_BITS:
        raise UnreadableError
    return str(whole)


def _of_decimal(value: Decimal) -> str | None:
    if value.is_nan():
        return None
    if value.is_infinite() or abs(value.adjusted()) > _MOST_DIGITS:
        return str(value)
    digits = format(value, "f")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if digits == "-0" else digits


_WHOLE_1 = re.compile(r"[+-]?(0|[1-9]\d*)(\.0+)?")


def _of_form_1(value: object) -> str | None:
    """As versions before form 2 compared patients: kept to the letter, for data sets of theirs."""
    if value is None or (isinstance(value, float | np.floating | Decimal) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    try:
        text = (value.decode() if isinstance(value, bytes) else str(value)).strip()
    except UnicodeDecodeError:
        raise UnreadableError from None
    if not text:
        return None
    return str(int(float(text))) if _WHOLE_1.fullmatch(text) and len(text) < 16 else text
