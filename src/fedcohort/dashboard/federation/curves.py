"""A study's metrics by round: curves of few points for a page, and lists for `/training_metrics`.

Each curve is thinned by M4 (Jugel, Jerzak, Hackenbroich and Markl 2014, "M4: A Visualization-Oriented
Time Series Data Aggregation", PVLDB 7(10)): of every stretch of rounds the first, the last, the lowest
and the highest point stay, so that a line looks like the whole curve, and no outlier is lost. The rows of
a study are kept here, so that a thousand pages ask the coordinator for a round once.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from fedcohort.known import METRICS

MOST_POINTS = 480
"""Of one curve; a chart is some 500 pixels wide."""
A_STRETCH = 4
PARTS = ("compute", "seal", "network", "open")
MOST_STUDIES = 16

Number = float | int | None
Point = list[Number]
"""Round, value, and the lower and upper edge of its interval; of `seconds` exchange, whole and each part."""
Json = dict[str, Any]


@dataclass
class CachedCurves:
    """One study's points so far; `last` is the number of the last update among them."""

    last: int = 0
    curves: dict[tuple[str, str], list[Point]] = field(default_factory=dict)
    seconds: list[Point] = field(default_factory=list)
    drawn: tuple[int, Json] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Curves:
    """A cache of the curves of studies that were requested lately.

    Args:
        get: GETs a path of the coordinator's REST, and raises what is wrong.
    """

    def __init__(self, get: Callable[[str], Mapping[str, Any]]) -> None:
        self._get = get
        self._cached: OrderedDict[str, CachedCurves] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: str, study_id: str) -> Json:
        """The study's curves, thinned, and the number of the last update that is in them."""
        cached = self._study(study_id)
        with cached.lock:
            self._catch_up(path, cached)
            if cached.drawn is None or cached.drawn[0] != cached.last:
                cached.drawn = (cached.last, _drawn(cached))
            return cached.drawn[1]

    def _study(self, study_id: str) -> CachedCurves:
        with self._lock:
            cached = self._cached.setdefault(study_id, CachedCurves())
            self._cached.move_to_end(study_id)
            if len(self._cached) > MOST_STUDIES:
                self._cached.popitem(last=False)
        return cached

    def _catch_up(self, path: str, cached: CachedCurves) -> None:
        while True:
            body = self._get(f"{path}?after={cached.last}")
            given, last = body.get("rows"), body.get("last")
            rows = [row for row in given if is_row(row)] if isinstance(given, list) else []
            for row in rows:
                add_row(cached, row)
            times = body.get("times")
            add_times(cached, [*rows, *(times if isinstance(times, list) else [])])
            if not isinstance(last, int) or last <= cached.last:
                return
            cached.last = last


def add_row(cached: CachedCurves, row: Mapping[str, Any]) -> None:
    """Add a round's row of one split; a round that comes again replaces what came since it first did."""
    for name in METRICS:
        if isinstance(row.get(name), int | float):
            point = [row["round"], row[name], row.get(f"{name}_low"), row.get(f"{name}_high")]
            _append(cached.curves.setdefault((str(row["split"]), name), []), point)


def add_times(cached: CachedCurves, rows: Sequence[object]) -> None:
    """Add the times of exchanges, in any order; a part that was not measured is None."""
    points: dict[int, Point] = {}
    for row in rows:
        if not isinstance(row, dict):
            continue
        number, parts = row.get("exchange", row.get("round")), [row.get(f"{part}_seconds") for part in PARTS]
        given = [float(part) for part in parts if isinstance(part, int | float)]
        if isinstance(number, int) and given:
            values = [float(part) if isinstance(part, int | float) else None for part in parts]
            points[number] = [number, sum(given), *values]
    for _, point in sorted(points.items()):
        _append(cached.seconds, point)


def _append(points: list[Point], point: Point) -> None:
    while points and _round(points[-1]) >= _round(point):
        points.pop()
    points.append(point)


def _round(point: Point) -> float:
    return point[0] or 0


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` of these points, in their order.

    Args:
        points: [round, value, …], by round; no value is None.
        most: at least 4.
    Returns:
        the first, the last and, of each stretch of points, its ends, minimum and maximum.
    """
    if len(points) <= most:
        return list(points)
    n_stretches = most // A_STRETCH
    bounds = [len(points) * index // n_stretches for index in range(n_stretches + 1)]
    picked: list[Point] = []
    for begin, end in pairwise(bounds):
        inside = range(begin, end)
        low, high = (best(inside, key=lambda index: points[index][1] or 0.0) for best in (min, max))
        picked += [points[index] for index in sorted({begin, low, high, end - 1})]
    return picked


def _drawn(cached: CachedCurves) -> Json:
    splits: dict[str, dict[str, list[Point]]] = {}
    for (split, name), points in cached.curves.items():
        splits.setdefault(split, {})[name] = thinned(points)
    return {"last": cached.last, "splits": splits, "seconds": thinned(cached.seconds)}


def training_metrics(body: dict[str, object]) -> dict[str, object]:
    """The rows of one split as one list a metric, in the order of rounds; what is not known is None.

    Args:
        body: the coordinator's answer, {"rows": [{"round", "split", "loss", …}, …]}.
    Returns:
        `split` is test when the study has one; of a round that came twice the last counts.
    """
    given = body.get("rows")
    rows = [row for row in given if is_row(row)] if isinstance(given, list) else []
    splits = {str(row["split"]) for row in rows}
    split = next((name for name in ("test", "train") if name in splits), min(splits, default=None))
    by_round = {row["round"]: row for row in rows if row["split"] == split}
    rounds = sorted(by_round)
    return {
        "split": split,
        "round": rounds,
        **{name: [by_round[number].get(name) for number in rounds] for name in METRICS},
    }


def is_row(row: object) -> bool:
    """Whether this is a round's metrics of one split."""
    return isinstance(row, dict) and isinstance(row.get("round"), int) and isinstance(row.get("split"), str)
