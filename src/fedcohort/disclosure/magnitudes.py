"""Means, deviations and totals: whether one patient's value could be read out of them.

The largest values are looked for nowhere: what sums say of them at most is enough. Of non-negative values
with the sum S and the sum of squares Q the largest is at most sqrt(Q), and the two largest together at most
sqrt(2 Q) (Cauchy and Schwarz), so that a total of which sqrt(2 Q) / S is below `max_share` is not dominated.
"""

import math

from fedcohort.disclosure.rules import Disclosure


def dominated(total: float, squares: float, rules: Disclosure) -> bool:
    """Whether two values may be too much of a total of non-negative values, or give the largest away.

    Source: (n, k) dominance with n = 2, and the p % rule (Hundepool et al. 2012, section 4.2.2).
    """
    if not total > 0 or not math.isfinite(squares):
        return False
    one, two = math.sqrt(squares) / total, math.sqrt(2 * squares) / total
    shares = rules.max_share < 1 and two > rules.max_share
    return shares or (rules.p_percent > 0 and 1 - two < rules.p_percent * one)


def coarse_step(spread: float, n: float, min_cell: int) -> float:
    """To which step a mean is rounded where counts behind it are hidden: 1, 2 or 5 times a power of ten.

    So far a mean moves where `min_cell` of n patients move by a standard deviation: one that is known no
    better tells hidden counts by no more than that.
    """
    if not (spread > 0 and n > 0 and min_cell > 1):
        return 0.0
    least = spread * min_cell / n
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= least * (1 - 1e-12))


def to_step(value: float, step: float) -> float:
    """To the nearest multiple of a step; 0 leaves it as it is."""
    return value if not step or not math.isfinite(value) else float(f"{round(value / step) * step:.12g}")


def to_digits(value: float, digits: int) -> float:
    """To so many significant digits."""
    return float(f"{value:.{digits}g}")
