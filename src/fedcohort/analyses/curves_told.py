"""What is told of a curve at a time that the rules of disclosure have put together with others."""

from collections.abc import Sequence

from fedcohort.figures import Value

Told = Sequence[float | None]
"""By time of the grid; None where nothing is shown."""


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
