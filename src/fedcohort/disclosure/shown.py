"""Numbers as reports have them: one that is hidden is NaN in a sum, and so in what follows from it, and None
in a report.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedcohort.disclosure.cells import hidden_table, rounded, small
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.vector import Array, Block

Floats = NDArray[np.float64]
Number = TypeVar("Number")


def count_of(value: object) -> int | None:
    """A count, none of them negative; None where it is hidden."""
    number = float(np.asarray(value))
    return None if math.isnan(number) else max(0, round(number))


def number_of(value: object) -> float | None:
    """A figure; None where it is hidden, or there is none."""
    number = float(np.asarray(value))
    return None if math.isnan(number) else number


def counts_of(values: Floats) -> list[int | None]:
    """(n,) counts, as `count_of` has each."""
    whole = np.maximum(np.rint(values), 0.0)
    return _without(np.isnan(whole), np.nan_to_num(whole).astype(np.int64).tolist())


def numbers_of(values: Floats) -> list[float | None]:
    """(n,) figures, as `number_of` has each."""
    return _without(np.isnan(values), values.tolist())


def _without(hidden: NDArray[np.bool_], values: list[Number | None]) -> list[Number | None]:
    for place in np.flatnonzero(hidden).tolist():
        values[place] = None
    return values


def finite(report: object) -> object:
    """A report in which None stands for what is no number."""
    if isinstance(report, Mapping):
        return {name: finite(part) for name, part in report.items()}
    if isinstance(report, list | tuple):
        return [finite(part) for part in report]
    return None if isinstance(report, float) and not math.isfinite(report) else report


COUNTED = frozenset({
    "n", "n_reference", "events", "events_reference", "patients", "missing", "rows", "at_risk", "counts",
    "levels", "held", "below", "above", "confusion",
})  # fmt: skip
"""Words of reports whose whole numbers are patients or rows, in lists and by level, too."""


def rounded_counts(report: object, step: int, counted: bool = False) -> object:
    """A report whose counts are multiples of a step; figures that are no counts stay."""
    if isinstance(report, Mapping):
        return {name: rounded_counts(part, step, counted or name in COUNTED) for name, part in report.items()}
    if isinstance(report, list | tuple):
        return [rounded_counts(part, step, counted) for part in report]
    is_count = counted and isinstance(report, int) and not isinstance(report, bool)
    return round(int(str(report)) / step) * step if is_count else report


ROUNDING = "shown/rounding"
"""The array that says to which multiples counts of a report are rounded that are sums of others."""


def rounding_of(values: Mapping[str, Array]) -> int:
    """To which multiples counts are rounded."""
    return int(values[ROUNDING][0]) if ROUNDING in values else 1


def masked(counts: Array, mask: NDArray[np.bool_], rules: Disclosure) -> Floats:
    """Counts as they are shown: rounded where the rules say so, NaN where they are hidden."""
    return np.where(mask, np.nan, rounded(np.asarray(counts, np.float64), rules.rounding))


def masked_sums(
    values: Mapping[str, Array], blocks: Iterable[Block], rules: Disclosure
) -> tuple[dict[str, Array], list[Suppressed]]:
    """Sums of which nothing else is known than their blocks' declarations.

    Blocks of cells are tables all of whose totals are known; any other block is a sum that needs `min_cell`
    patients: by the block `patients`, or by the largest block of cells.
    """
    declared = {block.name: block for block in blocks if block.name in values}
    cells = {name: np.asarray(values[name], np.float64) for name, block in declared.items() if block.cells}
    sizes = {name: float(table.sum()) for name, table in cells.items()}
    n = sizes.get("patients", max(sizes.values(), default=0.0))
    if n < rules.min_cell:
        gone = {name: np.full(np.shape(values[name]), np.nan) for name in declared}
        found = [Suppressed("all", "min_cell", sum(int(array.size) for array in gone.values()))]
        return {**values, **gone}, found if n else []
    shown: dict[str, Array] = dict(values)
    found = []
    for name, table in cells.items():
        mask = small(table, rules.min_cell) if table.size == 1 else hidden_table(table, rules.min_cell)
        shown[name] = masked(table, mask, rules)
        found.append(Suppressed(name, "min_cell", int(mask.sum())))
    return shown, found
