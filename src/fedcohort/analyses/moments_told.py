"""What mean and deviation of a column tell of single patients, by pooled sums alone.

A number that lies at one of two bounds everywhere is a level: its mean is a count. Of values between a and b
the sum of (x - a)(b - x) has no negative term, and is nothing where each value is a or b.
"""

from collections.abc import Mapping
from fractions import Fraction

from fedcohort.analyses.exact_sums import SQUARES, VALUES, totals
from fedcohort.columns import Numeric
from fedcohort.disclosure.magnitudes import dominated
from fedcohort.disclosure.rules import Disclosure
from fedcohort.texts import Text, say
from fedcohort.vector import Array


def told_by_moments(
    values: Mapping[str, Array], columns: Mapping[str, Numeric], rules: Disclosure
) -> Text | None:
    """Why the means and deviations of these columns must not leave; None where they may.

    Args:
        values: the blocks of `moments.ExactMoments`.
    """
    sums, squares = totals(values["sum"], VALUES), totals(values["squares"], SQUARES)
    for (name, kind), n, total, square in zip(columns.items(), values["n"], sums, squares, strict=True):
        low, high = (Fraction(end) for end in kind.bounds or (0.0, 1.0))
        count = (total - int(n) * low) / (high - low)
        two_levels = (low + high) * total - square - int(n) * low * high == 0
        if two_levels and any(0 < part < rules.min_cell for part in (count, int(n) - count)):
            return say(
                "column {column}: fewer than min_cell = {least} patients at all hospitals together have one "
                "of its two values, and its mean would tell how many; leave the column out, or widen `where`",
                column=name,
                least=rules.min_cell,
            )
        if low >= 0 and kind.bounds is not None and dominated(float(total), float(square), rules):
            return say(
                "column {column}: two patients may have more than max_share = {most:g} of its total, and its "
                "mean and deviation would tell their values; narrow cohort.bounds with `where`, or leave the "
                "column out",
                column=name,
                most=rules.max_share,
            )
    return None
