"""What the rules have hidden of a study's sums, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Why = Literal["min_cell", "min_dof", "max_share", "max_parameters"]


@dataclass(frozen=True)
class Suppressed:
    """Numbers of one figure that are not shown.

    Attributes:
        figure: what they belong to: a column, a group, a split.
        why: the rule.
        n: how many numbers; those that hide others among them.
    """

    figure: str
    why: Why
    n: int


def gathered(found: Sequence[Suppressed]) -> tuple[Suppressed, ...]:
    """One entry a figure and rule, without those of nothing."""
    totals: dict[tuple[str, Why], int] = {}
    for one in found:
        totals[one.figure, one.why] = totals.get((one.figure, one.why), 0) + one.n
    return tuple(Suppressed(figure, why, n) for (figure, why), n in totals.items() if n)
