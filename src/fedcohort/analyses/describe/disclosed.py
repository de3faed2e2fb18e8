"""What a description may show: a column's values in parts, its missing values and its mean hide each other.

All rows are known, so that levels, or parts of a column's range, and its missing values are one line of cells
whose total is known. A mean and a deviation are exact sums, from which hidden parts of a column of few values
could be solved for: of a column with at most FEW_VALUES parts that are not empty they are hidden, too; of
others they are rounded to what `min_cell` patients could move them by.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedcohort.analyses.contract import Floats, Sums
from fedcohort.analyses.exact_sums import SQUARES, VALUES, totals
from fedcohort.analyses.moments import moments_from_sums
from fedcohort.analyses.moments_told import tells, two_level_counts
from fedcohort.columns import Categorical, Numeric
from fedcohort.disclosure.cells import Mask, hidden
from fedcohort.disclosure.magnitudes import coarse_step, to_step
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import masked
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.vector import Array

FEW_VALUES = 4


@dataclass(frozen=True)
class Column:
    """A number's cells and figures as they may be shown."""

    cells: Floats
    n: float
    mean: float
    std: float
    suppressed: tuple[Suppressed, ...]


def shown_sums(
    sums: Sums, numeric: Mapping[str, Numeric], categorical: Mapping[str, Categorical], rules: Disclosure
) -> tuple[dict[str, Array], list[Suppressed]]:
    """Sums of all rounds, without what must not leave; `shown/mean` and `shown/std` are by column."""
    values: dict[str, Array] = dict(sums.values)
    n_rows, patients = float(sums["rows"][0]), float(sums["patients"][0])
    if patients < rules.min_cell:
        hidden_all = {
            name: np.full(np.shape(array), np.nan)
            for name, array in values.items()
            if name not in ("centre", "scale")
        }
        nothing = np.full(len(numeric), np.nan)
        gone = {**values, **hidden_all, "shown/mean": nothing, "shown/std": nothing}
        found = [Suppressed(name, "min_cell", 1) for name in (*numeric, *categorical)]
        return gone, found if patients else []
    found = []
    for name in categorical:
        cells = np.asarray(sums[f"levels/{name}"], np.float64)
        mask = hidden(cells, [np.arange(cells.size)], rules.min_cell)
        values[f"levels/{name}"] = masked(cells, mask, rules)
        found.append(Suppressed(name, "min_cell", int(mask.sum())))
    columns = [
        _column(sums, index, name, kind, n_rows, rules) for index, (name, kind) in enumerate(numeric.items())
    ]
    for name in ("rows", "patients"):
        values[name] = masked(values[name], np.array([False]), rules)
    if columns:
        values["histograms"] = np.stack([column.cells for column in columns])
        values["n"] = np.array([column.n for column in columns])
        values["shown/mean"] = np.array([column.mean for column in columns])
        values["shown/std"] = np.array([column.std for column in columns])
        for name in ("sum", "squares"):
            values[name] = np.full(np.shape(values[name]), np.nan)
    return values, [*found, *(one for column in columns for one in column.suppressed)]


def _column(sums: Sums, index: int, name: str, kind: Numeric, n_rows: float, rules: Disclosure) -> Column:
    n, parts = float(sums["n"][index]), np.asarray(sums["histograms"][index], np.float64)
    cells = np.append(parts, n_rows - n)
    mask = hidden(cells, [np.arange(cells.size)], rules.min_cell)
    mask[:-1] = _with_tails(parts, mask[:-1])
    columns = slice(index, index + 1)
    one = {key: sums[key][columns] for key in ("n", "sum", "squares")}
    moments = moments_from_sums(one)
    mean, deviation = float(moments.mean[0]), float(moments.deviation[0])
    std = deviation * math.sqrt(n / (n - 1)) if n > 1 else math.nan
    found = [Suppressed(name, "min_cell", int(mask.sum()))]
    hides_few = mask.any() and np.count_nonzero(parts) <= FEW_VALUES
    if hides_few or n < rules.min_cell:
        found.append(Suppressed(name, "min_cell", 2))
        mean = std = math.nan
    elif mask.any():
        step = coarse_step(std, n, rules.min_cell)
        mean, std = to_step(mean, step), to_step(std, step)
    if n - 1 < rules.min_dof and not math.isnan(std):
        found.append(Suppressed(name, "min_dof", 1))
        std = math.nan
    total, squares = (totals(one[key], grid)[0] for key, grid in (("sum", VALUES), ("squares", SQUARES)))
    if not math.isnan(mean) and tells(int(n), total, squares, kind.bounds, rules):
        is_count = two_level_counts(int(n), total, squares, kind.bounds) is not None
        found.append(Suppressed(name, "min_cell" if is_count else "max_share", 2))
        mean = std = math.nan
    shown = masked(cells, mask, rules)
    all_rows = float(masked(np.array(n_rows), np.array(False), rules))
    return Column(shown[:-1], all_rows - float(shown[-1]), mean, std, tuple(found))


def _with_tails(parts: Floats, mask: Mask) -> Mask:
    """Hidden parts at an end hide the empty ones beyond them, which say where the last patient is."""
    shown = np.flatnonzero((parts > 0) & ~mask)
    first, last = (shown[0], shown[-1] + 1) if shown.size else (len(parts), len(parts))
    tails = mask.copy()
    for end in (slice(0, first), slice(last, None)):
        tails[end] = mask[end].any()
    return tails
