"""Thousands of rounds become a few points that look the same: ends, lows and highs stay."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.dashboard.federation.curves import (
    MOST_POINTS,
    CachedCurves,
    Curves,
    Point,
    add_row,
    add_times,
    thinned,
)

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400)


@given(values=VALUES, most=st.integers(4, 60))
@settings(max_examples=150, deadline=None)
def test_a_thinned_curve_keeps_its_ends_its_lowest_and_its_highest(values: list[float], most: int) -> None:
    points: list[Point] = [[number, value] for number, value in enumerate(values)]
    kept = thinned(points, most)
    numbers, kept_values = zip(*((int(point[0] or 0), float(point[1] or 0)) for point in kept), strict=True)
    assert len(kept) <= max(most, len(points) if len(points) <= most else 0)
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert min(kept_values) == min(values)
    assert max(kept_values) == max(values)
    assert list(numbers) == sorted(set(numbers))
    assert all(point in points for point in kept)


def test_one_outlier_among_five_thousand_rounds_is_not_lost() -> None:
    points: list[Point] = [[number, 9.0 if number == 3141 else 0.5, None, None] for number in range(5000)]
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS
    assert [3141, 9.0, None, None] in kept


def test_a_round_that_comes_again_replaces_what_came_since() -> None:
    kept = CachedCurves()
    for number, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (2, 0.75)):
        add_row(kept, {"round": number, "split": "test", "loss": loss})
    assert kept.curves["test", "loss"] == [[1, 0.9, None, None], [2, 0.75, None, None]]


def test_the_parts_of_a_rounds_time_are_counted_once_for_all_splits() -> None:
    kept = CachedCurves()
    seconds = {"compute_seconds": 0.25, "seal_seconds": 0.5, "network_seconds": 0.125}
    add_times(kept, [{"round": 1, "split": split, "exchange": 3, **seconds} for split in ("train", "test")])
    assert kept.seconds == [[3, 0.875, 0.25, 0.5, 0.125, None]]


def test_times_of_rounds_without_metrics_stand_among_the_others_in_their_order() -> None:
    kept = CachedCurves()
    rows = [{"round": 1, "split": "test", "exchange": 2, "network_seconds": 0.5}]
    add_times(
        kept, [*rows, {"exchange": 1, "network_seconds": 0.25}, {"exchange": 3, "open_seconds": 1.0}, 7]
    )
    assert [(point[0], point[1]) for point in kept.seconds] == [(1, 0.25), (2, 0.5), (3, 1.0)]


def test_only_what_is_new_is_asked_of_the_coordinator() -> None:
    rows = [{"round": number, "split": "test", "loss": 1 / (1 + number)} for number in range(7)]
    asked: list[str] = []

    def get(path: str) -> Mapping[str, Any]:
        asked.append(path)
        after = int(path.partition("=")[2])
        news = rows[after : after + 5]
        return {"rows": news, "last": after + len(news)}

    curves = Curves(get)
    first = curves.of("/metrics", "ab" * 32)
    assert (first["last"], len(first["splits"]["test"]["loss"])) == (7, 7)
    rows.append({"round": 7, "split": "test", "loss": 0.5})
    again = curves.of("/metrics", "ab" * 32)
    assert again["splits"]["test"]["loss"][-1] == [7, 0.5, None, None]
    assert asked == [f"/metrics?after={after}" for after in (0, 5, 7, 7, 8)]
