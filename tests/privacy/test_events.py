"""Releases are data that refuse what they cannot mean, and survive a ledger."""

import dataclasses
import json
import math
from typing import Any

import pytest

from fedcohort.errors import StudyError
from fedcohort.privacy.events import (
    GaussianRelease,
    LaplaceRelease,
    NoiselessRelease,
    Release,
    Schedule,
    from_record,
    to_record,
)

EVENTS: list[Release] = [
    GaussianRelease("gradients", 2.0**20, 3e7, 8705, 200, 0.25, "train", 3),
    LaplaceRelease("a histogram", 2.0, 8.0, part="held out"),
    NoiselessRelease("weights"),
]


@pytest.mark.parametrize("release", EVENTS)
def test_a_release_survives_the_ledger(release: Release) -> None:
    assert from_record(json.loads(json.dumps(to_record(release)))) == release


@pytest.mark.parametrize("release", EVENTS)
def test_a_release_cannot_be_changed(release: Release) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        release.what = "another"  # type: ignore[misc]


@pytest.mark.parametrize("field", ["sensitivity", "sigma"])
@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, True, "1", None])
def test_sensitivity_and_noise_are_positive_numbers(field: str, bad: object) -> None:
    fields: dict[str, Any] = {"what": "gradients", "sensitivity": 1.0, "sigma": 1.0, field: bad}
    with pytest.raises(StudyError, match=f"gradients: {field} is .*; it must be a positive number"):
        GaussianRelease(**fields)


@pytest.mark.parametrize("field", ["dimension", "count", "shares"])
@pytest.mark.parametrize("bad", [0, -1, 1.5, math.nan, True, 2**41])
def test_counts_are_whole_numbers(field: str, bad: object) -> None:
    fields: dict[str, Any] = {"what": "gradients", "sensitivity": 1.0, "sigma": 1.0, field: bad}
    with pytest.raises(StudyError, match=f"gradients: {field} is .*; it must be a whole number"):
        GaussianRelease(**fields)


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.1, math.nan, True])
def test_a_sampling_probability_is_one(bad: float) -> None:
    for make in (
        lambda: GaussianRelease("g", 1.0, 1.0, sampling_probability=bad),
        lambda: LaplaceRelease("l", 1.0, 1.0, sampling_probability=bad),
        lambda: Schedule(10, bad),
    ):
        with pytest.raises(StudyError, match="sampled with probability"):
            make()


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"kind": "exponential", "what": "a choice"},
        {"kind": "gaussian"},
        {"kind": "laplace", "what": "x", "scale": 1.0, "sensitivity": 1.0, "colour": "red"},
        {"kind": "gaussian", "what": "x", "sigma": "1", "sensitivity": 1.0},
    ],
)
def test_a_record_that_is_no_release_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(StudyError):
        from_record(record)


def test_a_constant_schedule_has_one_level() -> None:
    assert Schedule(200, 0.1).levels() == ((1.0, 200),)
    (release,) = Schedule(200, 0.1).releases(3.0, "g", 2.0, 7, shares=2, part="train")
    assert release == GaussianRelease("g", 2.0, 6.0, 7, 200, 0.1, "train", 2)


def test_a_decaying_schedule_falls_in_five_runs_from_the_first_to_the_last() -> None:
    levels = Schedule(103, kind="decaying", final=0.25).levels()
    assert [count for _, count in levels] == [20, 21, 20, 21, 21]
    assert [share for share, _ in levels] == [1.0, 0.70703125, 0.5, 0.353515625, 0.25]


def test_a_decaying_schedule_of_two_rounds_has_two_levels() -> None:
    assert Schedule(2, kind="decaying").levels() == ((1.0, 1), (0.5, 1))
    assert Schedule(1, kind="decaying").levels() == ((1.0, 1),)


@pytest.mark.parametrize("kind", ["constant", "decaying"])
def test_each_round_has_the_noise_that_was_accounted(kind: Any) -> None:
    schedule = Schedule(17, kind=kind)
    by_round = [share for share, count in schedule.levels() for _ in range(count)]
    assert [schedule.share(index) for index in range(17)] == by_round
    for index in (-1, 17):
        with pytest.raises(StudyError, match="the noise schedule has 17"):
            schedule.share(index)


def test_rounds_that_never_began_are_no_releases() -> None:
    schedule = Schedule(10, kind="decaying")
    begun = schedule.releases(4.0, "g", 1.0, 1, begun=5)
    assert [(release.sigma, release.count) for release in begun] == [
        (4.0, 2),
        (4 * schedule.share(2), 2),
        (4 * schedule.share(4), 1),
    ]
    assert schedule.releases(4.0, "g", 1.0, 1, begun=0) == ()


@pytest.mark.parametrize(
    "fields",
    [{"rounds": 0}, {"rounds": 5, "kind": "random"}, {"rounds": 5, "kind": "decaying", "final": 0.0}],
)
def test_a_schedule_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StudyError):
        Schedule(**fields)
