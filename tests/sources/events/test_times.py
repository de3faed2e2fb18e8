"""Times of events: what formats write, as days; and whole milliseconds where they are compared."""

import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.sources.events.times import (
    MILLISECONDS_PER_DAY,
    day_number,
    days_of,
    hl7_day,
    hl7_time,
    hl7_zone,
    iso_day,
    iso_time,
    milliseconds,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1970", (0.0, "year")),
        ("1970-02", (31.0, "month")),
        ("1970-01-02", (1.0, "day")),
        ("1970-01-02T06:00", (1.25, "minute")),
        ("1970-01-02T06:00:00Z", (1.25, "second")),
        ("1970-01-02 06:00:00", (1.25, "second")),
        ("1970-01-02T06:00:00+06:00", (1.0, "second")),
        ("1970-01-02T00:00:00-0600", (1.25, "second")),
        ("1970-01-02T00:00:00.500Z", (1 + 500 / MILLISECONDS_PER_DAY, "millisecond")),
        ("2016-12-31T23:59:60Z", (float(datetime.date(2017, 1, 1).toordinal() - 719163), "second")),
    ],
)
def test_iso_8601_is_read_with_its_precision(text: str, time: tuple[float, str]) -> None:
    assert iso_time(text) == time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1970", (0.0, "year")),
        ("197002", (31.0, "month")),
        ("19700102", (1.0, "day")),
        ("1970010206", (1.25, "hour")),
        ("197001020600", (1.25, "minute")),
        ("19700102060000", (1.25, "second")),
        ("19700102060000+0600", (1.0, "second")),
        ("19700102000000.5", (1 + 500 / MILLISECONDS_PER_DAY, "millisecond")),
    ],
)
def test_hl7_times_are_read_with_their_precision(text: str, time: tuple[float, str]) -> None:
    assert hl7_time(text) == time


@pytest.mark.parametrize(
    "text", ["", "today", "1970-13", "1970-02-30", "1970-01-01T25:00", "0001", "9999-12-31"]
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert iso_time(text) is None
    assert hl7_time(text.replace("-", "")) is None


def test_a_time_without_a_zone_is_the_hospitals() -> None:
    assert iso_time("1970-01-02T08:00:00", SHANGHAI) == (1.0, "second")
    assert hl7_time("197001020800", SHANGHAI) == (1.0, "minute")
    assert hl7_time("197001020800", hl7_zone("20200101+0800") or SHANGHAI) == (1.0, "minute")
    assert hl7_zone("20200101") is None
    assert hl7_zone("20200101+2599") is None
    assert hl7_time("20200101+2599") is None


def test_a_day_of_birth_has_no_zone() -> None:
    assert iso_day("1950-03-01T23:30:00-08:00") == iso_day("1950-03-01")
    assert hl7_day("195003012330-0800") == iso_day("1950-03-01")
    assert iso_day("1950-03-01") == (day_number(datetime.date(1950, 3, 1)), "day")


def test_differences_of_whole_milliseconds_are_exact() -> None:
    """Through doubles alone, thousands of events exactly an hour apart are not."""
    index = 18_000 + np.arange(86_400) / 86_400
    event = 18_000 + (np.arange(86_400) - 3600) / 86_400
    assert np.count_nonzero(index - event > 1 / 24) > 1000
    assert set(milliseconds(index) - milliseconds(event)) == {3_600_000}


@given(st.datetimes(datetime.datetime(1800, 1, 2), datetime.datetime(2199, 12, 31)))
def test_every_millisecond_of_four_centuries_comes_back(moment: datetime.datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    since = moment - datetime.datetime(1970, 1, 1)
    whole = since // datetime.timedelta(milliseconds=1)
    assert milliseconds(np.array([days_of(moment)])) == [whole]
    assert iso_time(moment.isoformat()) is not None
