"""Units by UCUM (https://ucum.org), as HL7 and OMOP write them: mg/dL, 10*9/L, mm[Hg].

`ucumvert` (extra `[ucum]`) reads them. A unit that UCUM does not know, such as mmHg, is tried as clinicians
write it (`units`). What neither converts is missing and counted: mg/dL to umol/L needs the substance.
"""

import math
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fedcohort.errors import ConfigError
from fedcohort.sources.catalogue.units import plain_conversion

MAX_UCUM = 64
"""Characters of a unit in event tables."""
ONE = "1"
"""UCUM's unit of numbers without one."""

_CLINICAL = {
    "mmHg": "mm[Hg]", "mm Hg": "mm[Hg]", "cmH2O": "cm[H2O]", "bpm": "/min", "breaths/min": "/min",
    "beats/min": "/min", "IU/L": "[iU]/L", "IU/mL": "[iU]/mL", "mIU/L": "m[iU]/L", "degC": "Cel",
    "\u00b0C": "Cel", "degF": "[degF]", "\u00b0F": "[degF]", "sec": "s", "hours": "h", "kg/m^2": "kg/m2",
}  # fmt: skip
"""What monitors and laboratories write in place of UCUM's units."""


def check_installed() -> None:
    """Refuse to read units without the package that does.

    Raises:
        ConfigError: says how to install it.
    """
    if find_spec("ucumvert") is None:
        raise ConfigError(
            "units: a study of observations needs ucumvert, which reads their units: "
            "pip install -c constraints.txt '.[ucum]' in fedcohort's folder"
        )


def is_valid(unit: str) -> bool:
    """Whether UCUM knows a unit."""
    return _quantity(unit) is not None


@lru_cache(maxsize=4_096)
def conversion(source: str, target: str) -> tuple[float, float] | None:
    """(factor, offset) of `value * factor + offset` from one unit to another; None where there is none."""
    source, target = (_CLINICAL.get(unit, unit) for unit in (source, target))
    if source == target:
        return 1.0, 0.0
    one, other = _quantity(source), _quantity(target)
    if one is None or other is None:
        return plain_conversion(source, target)
    zero, first, second = (_converted(number, one, other) for number in (0.0, 1.0, 2.0))
    if zero is None or first is None or second is None:
        return None
    factor = first - zero
    straight = math.isclose(second, zero + 2 * factor, rel_tol=1e-9, abs_tol=1e-12)
    return (float(f"{factor:.12g}"), float(f"{zero:.12g}")) if straight and factor else None


def _converted(number: float, source: Any, target: Any) -> float | None:  # noqa: ANN401  pint's quantities
    """A number of one unit in another; a unit may be of more than one, such as 10*9."""
    try:
        quantity = _registry().Quantity(number * source.magnitude, source.units)
        return float(quantity.to(target.units).magnitude) / float(target.magnitude)
    except _faults():
        return None


@lru_cache(maxsize=4_096)
def _quantity(unit: str) -> Any:  # noqa: ANN401
    """A unit as pint has it, None where UCUM has none."""
    if not 0 < len(unit) <= MAX_UCUM or not unit.isascii():
        return None
    try:
        return _registry().from_ucum(unit)
    except _faults():
        return None


@lru_cache(maxsize=1)
def _registry() -> Any:  # noqa: ANN401
    """pint's units with UCUM's, read once."""
    check_installed()
    return import_module("ucumvert").PintUcumRegistry()


@lru_cache(maxsize=1)
def _faults() -> tuple[type[Exception], ...]:
    """What the two packages raise for a text that is no unit, or a conversion that there is none of."""
    lark, pint = import_module("lark"), import_module("pint")
    return (lark.LarkError, pint.PintError, ValueError, TypeError, ArithmeticError, AttributeError, KeyError)
