"""Units as clinicians write them: converted by pint, and compared so that mg/dl is mg/dL.

Units to compare come from other hospitals' catalogues. pint reckons with what it reads, powers
among it, so that only what is surely a short unit is given to it; everything else is compared as
text.
"""

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from fedcohort.errors import ConfigError

if TYPE_CHECKING:
    from pint import UnitRegistry

MAX_UNIT = 32
"""Characters of a unit, in a mapping file, a database's declarations and a catalogue."""

_NAME = r"[A-Za-zµμ%°]{1,16}(?:\^-?\d)?"
_PLAIN = re.compile(rf"(?:1|10\^\d{{1,2}})?(?:(?<=\d)[/*]|(?<!\d)){_NAME}(?:[/*]{_NAME}){{0,4}}")
_POWER = re.compile(r"[x×]?\s*(?:10(?:\^|\*\*?|\()(\d{1,2})\)?|1[eE](\d{1,2}))(?=\s*[/*]|\s+\D|$)\s*")
"""Powers of ten before a unit: 10^9/L, UCUM's 10*9/L, x10(9)/L; not 10E9, which some mean as 10^10."""
_CELLS = re.compile(r"(?:cells?)?(?=/)")
_RAISED = re.compile("10([⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2})")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_LITRE = re.compile(r"(?<![A-Za-z])([mcdunp]?)l(?![A-Za-z])")


def conversion(source: str, target: str, molar_mass: float | None = None) -> tuple[float, float]:
    """(factor, offset) from one unit to another, by pint.

    Args:
        molar_mass: grams a mole, where one is a mass and the other an amount of substance.
    Raises:
        ConfigError: pint is not installed.
        ValueError: pint does not know a unit, or cannot convert it.
    """
    try:
        import pint
    except ModuleNotFoundError as error:
        raise ConfigError(
            "local_unit: units need pint: "
            "pip install -c constraints.txt '.[files]' in fedcohort's folder (or give factor instead)"
        ) from error

    registry = _registry()
    context = ("chemistry",) if molar_mass is not None else ()
    options = {} if molar_mass is None else {"mw": registry.Quantity(molar_mass, "g/mol")}
    (from_power, from_unit), (to_power, to_unit) = _scaled(source), _scaled(target)
    scale = 10.0 ** (from_power - to_power)
    try:
        zero, one = (
            float(registry.Quantity(value, from_unit).to(to_unit, *context, **options).magnitude)
            for value in (0.0, 1.0)
        )
    except (pint.PintError, ValueError, TypeError, AttributeError) as error:
        hint = "substance or molar_mass, or " if isinstance(error, pint.DimensionalityError) else ""
        raise ValueError(
            f"units: {source!r} cannot be converted to {target!r}; give {hint}factor in place of local_unit"
        ) from None
    if from_power or to_power:
        return float(f"{scale * (one - zero):.12g}"), zero  # powers of ten that cancel leave 1
    return one - zero, zero


def _scaled(unit: str) -> tuple[int, str]:
    """A unit's power of ten, and the unit without it as pint reads it: 10^9/L is (9, 1/L)."""
    text = _RAISED.sub(lambda match: f"10^{match[1].translate(_DIGITS)}", unit.strip())
    match = _POWER.match(text)
    rest = text[match.end() :] if match else text
    if rest.startswith("*"):
        rest = rest[1:].lstrip()
    if (cells := _CELLS.match(rest)) is not None:
        rest = f"1{rest[cells.end() :]}"
    return int(match[1] or match[2]) if match else 0, rest or "1"


@lru_cache(maxsize=1)
def _registry() -> "UnitRegistry[float]":
    """pint's units, read once: it takes half a second."""
    from pint import UnitRegistry

    return UnitRegistry(cache_folder=None)


def is_unit(text: object) -> bool:
    """Whether something from outside can be a unit: a short text that prints on one line."""
    return isinstance(text, str) and 0 < len(text.strip()) <= len(text) <= MAX_UNIT and text.isprintable()


def same_unit(one: str, other: str) -> bool:
    """Whether two units are one and the same: as texts, or, where pint is installed, by what it converts."""
    converts = plain_conversion(one, other)
    if converts is None:
        return False
    factor, offset = converts
    return math.isclose(factor, 1.0, rel_tol=1e-9) and math.isclose(offset, 0.0, abs_tol=1e-9)


def plain_conversion(source: str, target: str) -> tuple[float, float] | None:
    """(factor, offset) between short units as clinicians write them; None where there is none."""
    first, second = _normal(source), _normal(target)
    if first == second:
        return 1.0, 0.0
    if not (_PLAIN.fullmatch(first) and _PLAIN.fullmatch(second)):
        return None
    try:
        return conversion(first, second)
    except (ConfigError, ValueError):
        return None


def _normal(unit: str) -> str:
    """Without blanks, with one sign of micro and one of litre; m and M stay apart, milli from mega."""
    text = re.sub(r"\s+", "", unit).replace("μ", "u").replace("µ", "u").replace("·", "*")
    text = _RAISED.sub(lambda match: f"10^{match[1].translate(_DIGITS)}", text)
    if match := _POWER.match(text):
        text = f"10^{match[1] or match[2]}{text[match.end() :]}"
    return _LITRE.sub(r"\1L", f"1{text}" if text.startswith("/") else text)
