"""Windows over sorted events, on numbers that a person can check, and against one event after another."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.event_words import DAY_MS
from fedcohort.sources.cohort.events import timeline
from fedcohort.sources.cohort.events.timeline import NEVER, NO_UNIT, Rows, Timeline
from fedcohort.sources.events.times import milliseconds

HOUR = 3_600_000
TAKES = ("any", "count", "first", "last", "min", "max", "mean", "days_since", "days_until")


def events(*rows: tuple[int, int, float]) -> Timeline:
    """Patient, time in hours, value."""
    ordered = sorted(rows)
    patient, time, value = (np.array(column) for column in zip(*ordered, strict=True))
    return Timeline(
        patient.astype(np.int64),
        time.astype(np.int64) * HOUR,
        np.ones(len(ordered), np.int64),
        value=value.astype(np.float64),
    )


def rows(*zeros: tuple[int, int]) -> Rows:
    patient, zero = (np.array(column, np.int64) for column in zip(*sorted(zeros), strict=True))
    return Rows(patient, zero * HOUR)


def take(name: str, of: Timeline, around: Rows, begin: int, end: int) -> list[float]:
    first, after = timeline.window(of, around, begin * HOUR, end * HOUR)
    return [float(one) for one in timeline.taken(name, of, around, first, after)]


def test_a_window_has_its_begin_and_not_its_end() -> None:
    of = events((0, 99, 1.0), (0, 100, 2.0), (1, 99, 3.0))
    assert take("count", of, rows((0, 100), (1, 100)), -1, 0) == [1, 1]
    assert take("count", of, rows((0, 100), (1, 100)), 0, 1) == [1, 0]
    assert take("last", of, rows((0, 100), (1, 100)), -1, 1) == [2, 3]


def test_events_on_an_edge_lie_where_whole_milliseconds_say() -> None:
    """As doubles more than 5 % of events exactly an hour before would lie outside `-1h`."""
    hours = np.arange(1, 20_001)
    n, zero, before = len(hours), hours / 24, (hours - 1) / 24
    of = Timeline(np.zeros(n, np.int64), milliseconds(before), np.ones(n, np.int64))
    around = Rows(np.zeros(n, np.int64), milliseconds(zero))
    first, after = timeline.window(of, around, -HOUR, -HOUR + 1)
    assert ((after - first) == 1).all()
    assert (before < zero - 1 / 24).mean() > 0.05


def test_of_several_values_at_one_time_the_least_comes_first() -> None:
    of = events((0, 5, 9.0), (0, 5, 4.0), (0, 5, 7.0))
    assert take("first", of, rows((0, 6)), -2, 0) == [4]
    assert take("last", of, rows((0, 6)), -2, 0) == [9]


def test_values_in_other_units_are_converted_and_those_out_of_range_are_none() -> None:
    of = Timeline(
        np.zeros(4, np.int64),
        np.array([1, 2, 2, 3]),
        np.ones(4, np.int64),
        value=np.array([5.0, 0.01, 7.0, 90.0]),
        unit=np.array([0, 1, 0, NO_UNIT]),
    )
    factors, offsets = np.array([1.0, 1000.0, np.nan]), np.array([0.0, 0.0, np.nan])
    kept = timeline.converted(of, factors, offsets, 6.0, 50.0)
    assert kept.value is not None
    assert kept.value.tolist() == [7.0, 10.0]  # sorted anew within their millisecond


def test_rows_are_first_last_or_each_time_once() -> None:
    many = rows((0, 1), (0, 1), (0, 4), (1, 2), (2, 3), (2, 9))
    assert timeline.first_of_each(many).zero.tolist() == [HOUR, 2 * HOUR, 3 * HOUR]
    assert timeline.last_of_each(many).zero.tolist() == [4 * HOUR, 2 * HOUR, 9 * HOUR]
    assert len(timeline.distinct(many)) == 5
    assert timeline.at_most(timeline.distinct(many), 1).patient.tolist() == [0, 1, 2]
    none = Rows(np.empty(0, np.int64), np.empty(0, np.int64))
    for of in (timeline.first_of_each, timeline.last_of_each, timeline.distinct):
        assert len(of(none)) == 0


def periods(*stretches: tuple[int, int, int]) -> Timeline:
    patient, begin, end = (np.array(column, np.int64) for column in zip(*sorted(stretches), strict=True))
    return Timeline(patient, begin * HOUR, np.ones(len(patient), np.int64), end * HOUR)


def test_observed_is_within_one_period_with_both_ends() -> None:
    seen = periods((0, 0, 10), (0, 20, 30), (1, 5, 6))
    around = rows((0, 9), (0, 15), (0, 25), (1, 6), (2, 6))
    assert timeline.observed(seen, around, -1 * HOUR, 1 * HOUR).tolist() == [True, False, True, False, False]
    assert timeline.observed(seen, rows((1, 6)), -1 * HOUR, 0).tolist() == [True]
    until = timeline.observed_until(seen, around, 0)
    assert until.tolist() == [10 * HOUR, NEVER, 30 * HOUR, 6 * HOUR, NEVER]
    inner = periods((0, 0, 10), (0, 2, 3))
    assert timeline.observed_until(inner, rows((0, 5)), 0).tolist() == [10 * HOUR]


def test_of_encounters_one_stretch_a_patient_is_made() -> None:
    made = timeline.stretches(periods((0, 0, 3), (0, 2, 9), (0, 5, 6), (1, 4, 4)))
    assert made.end is not None
    assert (made.time.tolist(), made.end.tolist()) == ([0, 4 * HOUR], [9 * HOUR, 4 * HOUR])


def test_an_age_is_whole_years_of_the_calendar() -> None:
    days = [np.datetime64(text).astype(np.int64) for text in ("2000-02-29", "2000-03-01", "2000-01-01")]
    zero = np.datetime64("2018-02-28T23:59").astype("datetime64[ms]").astype(np.int64)
    ages = timeline.whole_years(np.array([*days, math.nan]), np.full(4, zero))
    assert ages.tolist()[:3] == [17.0, 17.0, 18.0]
    assert math.isnan(ages[3])
    old = timeline.whole_years(np.array([-30_000.0]), np.array([-25_000 * DAY_MS]))
    assert old.tolist() == [13.0]


def one_by_one(
    name: str, of: list[tuple[int, int, float]], patient: int, zero: int, begin: int, end: int
) -> float:
    inside = [(t, v) for p, t, v in sorted(of) if p == patient and zero + begin <= t < zero + end]
    if name == "any":
        return float(bool(inside))
    if name == "count":
        return float(len(inside))
    if not inside:
        return math.nan
    values = [value for _, value in inside]
    return {
        "first": lambda: values[0],
        "last": lambda: values[-1],
        "min": lambda: min(values),
        "max": lambda: max(values),
        "mean": lambda: float(np.add.reduce(np.array(values)) / len(values)),
        "days_since": lambda: (zero - inside[-1][0]) / 24,
        "days_until": lambda: (inside[0][0] - zero) / 24,
    }[name]()


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(-50, 50), st.sampled_from([1.0, 2.5, -3.0])), min_size=1
    ),
    st.lists(st.tuples(st.integers(0, 3), st.integers(-50, 50)), min_size=1),
    st.integers(-60, 60),
    st.integers(1, 60),
    st.sampled_from(TAKES),
)
def test_slices_take_what_one_event_after_another_does(
    of: list[tuple[int, int, float]], zeros: list[tuple[int, int]], begin: int, length: int, name: str
) -> None:
    around = rows(*zeros)
    expected = [one_by_one(name, of, patient, zero, begin, begin + length) for patient, zero in sorted(zeros)]
    np.testing.assert_array_equal(take(name, events(*of), around, begin, begin + length), expected)


@pytest.mark.parametrize("name", TAKES)
def test_another_patients_events_change_no_row(name: str) -> None:
    of = [(0, 1, 1.5), (0, 2, 2.5), (2, 1, 4.0)]
    around = rows((0, 3), (2, 3))
    more = take(name, events(*of, (1, 1, 9.0), (1, 2, 8.0)), around, -5, 0)
    np.testing.assert_array_equal(more, take(name, events(*of), around, -5, 0))
