"""Times of a grid, at which a curve over time is told, as questions name them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from fedcohort.columns import Real
from fedcohort.questions import levels_of

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_CELLS = 100_000
Times = Annotated[Sequence[Annotated[Real, Field(gt=0)]], AfterValidator(tuple)]
Grid = Annotated[Times, Field(min_length=1, max_length=10_000)]
ShownTimes = Annotated[Times, Field(max_length=20)]


def check_in_order(grid: Sequence[float], at: Sequence[float]) -> None:
    """Refuse times out of order, and times to show that lie beyond them.

    Raises:
        ValueError: names the field.
    """
    if any(after <= before for before, after in pairwise(grid)):
        raise ValueError("grid: write times in order, each once, such as [30, 60, 90]")
    if any(time > grid[-1] for time in at):
        raise ValueError(f"at: a time beyond {grid[-1]:g}, the grid's last; let the grid reach farther")


def check_cells(study: "Study", grid: Sequence[float], named: dict[str, str | None], each: int = 1) -> None:
    """Refuse columns without levels, and more cells than one sum should have.

    Args:
        named: columns of levels, by the question's field; None where it names none.
        each: how many cells there are by time and levels.
    Raises:
        ValueError: names the field.
    """
    cells = len(grid) * each
    for field, name in named.items():
        if name is not None:
            cells *= len(levels_of(study, field, name) or (None,))
    if cells > MOST_CELLS:
        raise ValueError(f"analysis.grid: times and levels make over {MOST_CELLS:,} cells; name fewer")
