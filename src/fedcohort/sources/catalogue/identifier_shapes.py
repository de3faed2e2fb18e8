"""What HIPAA's Safe Harbor leaves of a value, and the shapes that identifiers have in texts.

45 CFR 164.514(b)(2)(i): three digits of a ZIP code where more than 20,000 people live, ages up
to 89. The shapes are a second net under texts that a site's rules keep; they know what is
written as a number or an address, and no names.
"""

import re
from collections.abc import Collection, Mapping

_SMALL_ZIP3 = "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893"
SMALL_ZIP3 = frozenset(_SMALL_ZIP3.split())
"""Three-digit ZCTAs of 20,000 people or fewer, Census 2000, as HHS' guidance of 2012 lists them."""

_ZIP = re.compile(r"\s*(\d{3,5})(?:\.0+)?(?:[- ]?\d{4})?\s*", re.ASCII)

OLDEST_AGE_YEARS = 90
"""164.514(b)(2)(i)(C): all ages over 89 may be one category, 90 or older."""


def zip3(value: object) -> str | None:
    """A US ZIP code's first three digits, 000 where few people live, None where it is no ZIP code.

    A number has lost its leading zeros: 2139 is 02139. Three digits are taken as such.
    """
    match = _ZIP.fullmatch(str(value))
    if match is None:
        return None
    digits = match[1] if len(match[1]) == 3 and isinstance(value, str) else match[1].zfill(5)
    return "000" if digits[:3] in SMALL_ZIP3 else digits[:3]


def cap_age(years: float) -> float:
    """Ages over 89 as 90, which stands for 90 or older."""
    return float(OLDEST_AGE_YEARS) if years > OLDEST_AGE_YEARS - 1 else years


MAX_TEXT = 10_000
"""Longer texts are nobody's codes."""

_RECORD_NUMBER = "a medical record number"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_HEX = "[0-9a-f]{1,4}"
_MONTH = (
    r"(?:jan(?:uary|uar|vier|v)?|feb(?:ruary|ruar)?|f[eé]v(?:rier|r)?|mar(?:ch|s)?|m[aä]rz|apr(?:il)?|avr(?:il)?"
    r"|may|mai|june?|juni|juin|july?|juli|juil(?:let)?|aug(?:ust)?|ao[uû]t|sept?(?:ember|embre)?"
    r"|o[ck]t(?:ober|obre)?|nov(?:ember|embre)?|de[cz](?:ember)?|d[eé]c(?:embre)?)"
)
_SHAPES: Mapping[str, tuple[str, ...]] = {
    "an e-mail address": (r"[^\s@]{1,64}@[^\s@]{1,255}\.[^\W\d_]{2,}",),
    "a web address": (r"\b(?:https?|ftp)://\S", r"\bwww\.\w"),
    "an IP address": (
        rf"(?<![\d.])(?:{_BYTE}\.){{3}}{_BYTE}(?![\d.])",
        rf"(?<![0-9a-f:])(?:{_HEX}:){{4,7}}{_HEX}(?![0-9a-f:])",
        rf"(?<![0-9a-f:])(?:{_HEX}:){{1,6}}:[0-9a-f]",
    ),
    "a social security or national number": (
        r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])",
        r"(?<!\d)[1-9]\d{5}(?:18|19|20)\d{9}[\dx](?!\d)",
    ),
    _RECORD_NUMBER: (
        r"\b(?:mrn|medical record|med rec|patient(?:en)?[ _-]?(?:id|no|nr|nummer|number)|fall-?nr|ipp)"
        r"\W{0,3}\w*\d{3,}",
        r"(?:病历号|病歷號|住院号|住院號|病案号|病案號)\W{0,3}\w*\d{3,}",
    ),
    "a telephone number": (
        r"(?<![\d.])\+\d{1,3}[ ./-]?\(?\d[\d ()./-]{5,}\d",
        r"\(\d{3}\) ?\d{3}[-. ]\d{4}\b",
        r"(?<![\d.-])\d{3}[-. ]\d{3}[-. ]\d{4}(?![\d-])",
        r"(?<![\d.])1[3-9]\d{9}(?!\d)",
        r"(?<![\d.])0\d{2,4}[ /-]\d{3,}[\d ]{2,}",
        r"(?<![\d.])0\d(?:[ .]\d{2}){4}(?!\d)",
        r"\b(?:tel|phone|fax|telefon|handy|mobil)\w{0,3}[.: ]{1,3}[+(]?\d[\d ()./-]{4,}",
    ),
    "a date": (
        r"(?<![\d-])\d{1,2}-\d{1,2}-(?:18|19|20)\d{2}(?![\d-])",
        r"(?<![\d./])(?:18|19|20)\d{2}[./]\d{1,2}[./]\d{1,2}(?![\d./])",
        r"(?<![\w.-])(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?![\w.-])",
        rf"(?<!\d)\d{{1,2}}(?:st|nd|rd|th|er|\.)?[ .-]{{0,2}}{_MONTH}[ .,-]{{1,3}}"
        r"(?:(?:18|19|20)\d\d|\d\d(?!\d))",
        rf"(?<![^\W\d_]){_MONTH}[ .]{{1,2}}\d{{1,2}}(?:st|nd|rd|th)?,? {{1,2}}(?:18|19|20)\d{{2}}(?!\d)",
        r"(?<!\d)(?:18|19|20)\d{2}-\d{2}-\d{2}(?!\d)",
        r"(?<![\d.])\d{1,2}[./]\d{1,2}[./](?:18|19|20)\d{2}(?!\d)",
        r"(?:18|19|20)\d{2}年\d{1,2}月",
    ),
}
_SUSPECT = re.compile(r"[@:]|[Ww][Ww][Ww]\.|\d[\d ()./年+-]{4,}[\dxX月]|[^\W\d_]{3}[ .,-]{1,3}\d")
"""What every shape but a record number has."""
_THREE_DIGITS = re.compile(r"\d{3}")
_PATTERNS = {shape: re.compile("|".join(written), re.IGNORECASE) for shape, written in _SHAPES.items()}


def shape_of(text: str, own: Collection[re.Pattern[str]] = ()) -> str | None:
    """Which identifier a text has the shape of, in words; None for none.

    Args:
        text: of a column that is kept.
        own: what a site's own numbers look like.
    """
    if len(text) > MAX_TEXT:
        return f"more than {MAX_TEXT:,} characters of text"
    if _SUSPECT.search(text):
        for shape, pattern in _PATTERNS.items():
            if pattern.search(text):
                return shape
    elif _THREE_DIGITS.search(text) and _PATTERNS[_RECORD_NUMBER].search(text):
        return _RECORD_NUMBER
    return "one of this site's identifiers" if any(pattern.search(text) for pattern in own) else None
