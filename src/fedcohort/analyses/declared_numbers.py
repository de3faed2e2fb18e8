"""The numbers of a cohort as questions ask of them: with declared bounds, and on a grid that fits these."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedcohort.columns import Number, Numeric
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Cohort


def numbers_of(cohort: "Cohort") -> dict[str, Numeric]:
    """The cohort's numeric columns, a label that is a number among them; a time of survival is none."""
    numbers = {name: kind for name, kind in cohort.schema_.items() if isinstance(kind, Numeric)}
    match cohort.typed_label:
        case Number(column=name, low=low, high=high, unit=unit):
            numbers[name] = Numeric(low, high, unit=unit)
    return numbers


def check_bounds(kind: str, numbers: Mapping[str, Numeric]) -> None:
    """Refuse numbers without declared bounds.

    Args:
        kind: of the question, for messages.
    Raises:
        ValueError: names them.
    """
    names = [name for name, column in numbers.items() if column.bounds is None]
    if names:
        raise ValueError(
            say(
                "cohort.bounds: {kind} looks for values within declared bounds, and {names} has none; "
                "declare them, such as the clinical range",
                kind=kind,
                names=", ".join(names),
            )
        )


def check_grid(grid: Mapping[str, float], numbers: Mapping[str, Numeric], most_places: float) -> None:
    """Refuse a step that is of no number, wider than its bounds, or so fine that there are too many places.

    Raises:
        ValueError: names the column.
    """
    for name, step in grid.items():
        bounds = numbers[name].bounds if name in numbers else None
        if bounds is None:
            raise ValueError(say("analysis.grid: {name} is not a number; leave it out", name=name))
        if not 1 <= (bounds[1] - bounds[0]) / step < most_places:
            raise ValueError(
                say(
                    "analysis.grid: {name}: a step of {step:g} does not fit its bounds; write the step in "
                    "which values are recorded, such as {width:g}",
                    name=name,
                    step=step,
                    width=(bounds[1] - bounds[0]) / 100,
                )
            )
