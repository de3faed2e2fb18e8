"""What curves over time show beside themselves: numbers at risk, and values at times that tables have."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedcohort.figures import Column, Key, Point, Row, Said, Table, Value

Told = Sequence[float | None]
"""By time of the grid; None where nothing is shown."""
MOST_PLACES = 6
"""Times at which tables show a curve where the study names none."""


def shown_places(grid: Sequence[float], at: Sequence[float] = ()) -> list[int]:
    """Indices in the grid, of the last time that has come by each time asked for."""
    if at:
        return [max(sum(time <= asked for time in grid) - 1, 0) for asked in at]
    step = max(1, -(-len(grid) // MOST_PLACES))
    return list(range(step - 1, len(grid), step))


def at_risk_below(
    section: str,
    title: Key,
    index: Column,
    grid: Sequence[float],
    places: Sequence[int],
    groups: Iterable[tuple[str, Said, Mapping[str, Any]]],
) -> Table:
    """Numbers at risk below a curve's x axis.

    Args:
        groups: by name, what each is called, and its report with `at_risk` by time of the grid.
    """
    return Table(
        name="at-risk",
        section=section,
        title=title,
        index=index,
        columns=tuple(Column(f"{grid[place]:g}", format="count") for place in places),
        rows=tuple(
            Row(name, tuple(Value(group["at_risk"][place]) for place in places), said)
            for name, said, group in groups
        ),
    )


def points(start: float, n: int | None, *by_time: Sequence[Any]) -> tuple[Point, ...]:
    """A curve from where it starts at time 0, with n patients.

    Args:
        by_time: grid, curve, ends of its interval, and numbers at risk; a curve that is None is not shown.
    """
    places = zip(*by_time, strict=True)
    return Point(0.0, start, n=n), *(Point(*place) for place in places if place[1] is not None)


def value_at(curve: Told, low: Told, high: Told, place: int, start: float) -> Value:
    """After a time of the grid: the curve with its interval, or between the intervals around it.

    A curve that only falls, or only rises, lies between its values at the nearest times that are shown.

    Args:
        start: where the curve begins: 1 of survival, which falls, 0 of incidence, which rises.
    """
    if curve[place] is not None:
        return Value(curve[place], low[place], high[place])
    falls = start > 0
    bottom = _nearest(low, place, 1 if falls else -1)
    top = _nearest(high, place, -1 if falls else 1)
    return Value(None, 0.0 if bottom is None else bottom, 1.0 if top is None else top)


def _nearest(ends: Told, place: int, step: int) -> float | None:
    """The first that is known from a place on."""
    while 0 <= place < len(ends):
        if ends[place] is not None:
            return ends[place]
        place += step
    return None
