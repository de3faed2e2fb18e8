"""Who left when and why, of which no step shows few patients: times are put together until each is enough.

Between two times at which a curve is shown, those who are lost count for half of it, as in the life table of
Cutler and Ederer (1958); curves are computed from the counts that are shown, since one from exact times would
let them be searched for.
"""

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exits import at_ends
from fedcohort.disclosure.cells import rounded
from fedcohort.disclosure.magnitudes import to_digits
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import ROUNDING, counts_of, masked
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.disclosure.windows import windows
from fedcohort.vector import Array

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

DIGITS = 4
"""Of a test's statistic, which is of all patients' exact times, where times are put together."""


def shown_exits(
    exits: Floats, missing: float, groups: tuple[str, ...], rules: Disclosure
) -> tuple[dict[str, Array], list[Suppressed]]:
    """What a report may be made of.

    Args:
        exits: (groups, times + 1, 1 + causes), who left when and why.
    Returns:
        `shown/exits`, of its shape: of windows of times at their ends, what is behind the last one behind the
        grid; `shown/ends`, (groups, times), 1 where a window ends; `shown/events`, (groups, causes);
        `shown/missing`.
    """
    shown, events = np.zeros_like(exits), np.zeros((len(groups), exits.shape[2] - 1))
    ends, found = np.zeros(exits.shape[:2], np.int64)[:, :-1], []
    for group, counts in enumerate(exits):
        n = float(counts.sum())
        places = windows(counts[:-1], rules.min_cell, float(counts[-1].sum()))
        ends[group, places] = 1
        shown[group] = at_ends(counts, places) if n >= rules.min_cell else np.nan
        events[group] = _events(counts, shown[group], rules)
        hidden = int(np.isnan(events[group]).sum()) + int(n < rules.min_cell) + len(counts) - 1 - len(places)
        found.append(Suppressed(groups[group], "min_cell", hidden if n else 0))
    few = np.array([0 < missing < rules.min_cell])
    found.append(Suppressed("missing", "min_cell", int(few[0])))
    values = {
        "shown/exits": shown,
        "shown/ends": ends,
        "shown/events": events,
        "shown/missing": masked(np.array([missing]), few, rules),
        ROUNDING: np.array([rules.rounding]),
    }
    return values, found


def _events(counts: Floats, shown: Floats, rules: Disclosure) -> Floats:
    """All events of a group by cause; NaN where they, or what no window holds of anything, are few."""
    total, inside = counts[:-1, 1:].sum(0), shown[:-1, 1:].sum(0)
    n, behind = float(counts.sum()), float(shown[-1].sum())
    rest = total - inside
    parts = np.concatenate([total, n - total, rest, [behind - rest.sum()]])
    few = bool(np.any((parts > 0) & (parts < rules.min_cell)))
    return masked(total, np.full(len(total), few), rules)


def is_tested(exits: Floats, cause: int, rules: Disclosure) -> bool:
    """Whether groups may be compared by all patients' times: each of them, and all events, are enough."""
    n_events = float(exits[:, :-1, 1 + cause].sum())
    return len(exits) > 1 and min(float(exits.sum((1, 2)).min()), n_events) >= rules.min_cell


def shown_test(test: tuple[float, float], ends: Array) -> tuple[float, float]:
    """A statistic and its p-value: exact where every time is shown by itself."""
    statistic, p = test
    return test if bool(np.all(ends)) else (to_digits(statistic, DIGITS), to_digits(p, DIGITS))


def of_windows(counts: Floats, ends: Places) -> tuple[Floats, NDArray[np.bool_]]:
    """(windows + 1, 1 + causes) counts; by window whether its lost count half, as of several times."""
    return counts[[*ends, -1]], np.diff(ends, prepend=-1) != 1


def at_risk_at(n_times: int, ends: Places, counts: Floats, rounding: int) -> list[int | None]:
    """By time of the grid, how many were observed at a window's begin; None elsewhere.

    Args:
        counts: (windows + 1, 1 + causes).
    """
    left = rounded(np.flip(np.flip(counts.sum(-1)).cumsum())[:-1], rounding)
    begins = np.append(0, ends[:-1] + 1)[: len(ends)]
    return counts_of(spread(n_times, begins, left))


def spread(n_times: int, places: Places, values: Floats) -> Floats:
    """(times,): values at their places, NaN elsewhere."""
    everywhere = np.full(n_times, np.nan)
    everywhere[places] = values
    return everywhere
