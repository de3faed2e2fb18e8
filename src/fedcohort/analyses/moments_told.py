"""What mean and deviation of a column tell of single patients, by pooled sums alone.

A number of two values is a level: its mean is a count. Where each value is a or b, the sum of (x - a)(b - x)
is nothing; of values within bounds a and b, or of whole numbers and neighbours a and b, only there.
"""

import math
from collections.abc import Mapping
from fractions import Fraction

from fedcohort.analyses.exact_sums import SQUARES, VALUES, totals
from fedcohort.columns import Numeric
from fedcohort.disclosure.magnitudes import dominated
from fedcohort.disclosure.rules import Disclosure
from fedcohort.texts import Text, say
from fedcohort.vector import Array


def two_level_counts(
    n: int, total: Fraction, square: Fraction, bounds: tuple[float, float] | None
) -> tuple[Fraction, Fraction] | None:
    """How many values are the upper and the lower of two; None where there are others.

    The two are the bounds, or the whole numbers next to the mean, such as 0 and 1.
    """
    if not n:
        return None
    whole = Fraction(math.floor(total / n))
    pairs = [(whole, whole + 1), *([] if bounds is None else [(Fraction(bounds[0]), Fraction(bounds[1]))])]
    for low, high in pairs:
        if (low + high) * total - square - n * low * high == 0:
            upper = (total - n * low) / (high - low)
            return upper, n - upper
    return None


def tells(
    n: int, total: Fraction, square: Fraction, bounds: tuple[float, float] | None, rules: Disclosure
) -> bool:
    """Whether the mean of n values is a small count, or nearly one patient's value."""
    counts = two_level_counts(n, total, square, bounds)
    if counts is not None and any(0 < part < rules.min_cell for part in counts):
        return True
    magnitudes = bounds is None or bounds[0] >= 0
    return magnitudes and dominated(float(total), float(square), rules)


def told_by_moments(
    values: Mapping[str, Array], columns: Mapping[str, Numeric], rules: Disclosure
) -> Text | None:
    """Why the means and deviations of these columns must not leave; None where they may.

    Args:
        values: the blocks of `moments.ExactMoments`.
    """
    sums, squares = totals(values["sum"], VALUES), totals(values["squares"], SQUARES)
    for (name, kind), n, total, square in zip(columns.items(), values["n"], sums, squares, strict=True):
        counts = two_level_counts(int(n), total, square, kind.bounds)
        if counts is not None and any(0 < part < rules.min_cell for part in counts):
            return say(
                "column {column}: fewer than min_cell = {least} patients at all hospitals together have one "
                "of its two values, and its mean would tell how many; leave the column out, or widen `where`",
                column=name,
                least=rules.min_cell,
            )
        low = 0.0 if kind.bounds is None else kind.bounds[0]
        if low >= 0 and dominated(float(total), float(square), rules):
            return say(
                "column {column}: two patients may have more than max_share = {most:g} of its total, and its "
                "mean and deviation would tell their values; narrow cohort.bounds with `where`, or leave the "
                "column out",
                column=name,
                most=rules.max_share,
            )
    return None
