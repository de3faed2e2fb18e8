"""An analysis' sequence: to which stage a round belongs, what a settled one skips, what shares a round."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Draw,
    Parallel,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.measure import Measure
from fedcohort.analyses.metrics import Outcome
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.score_bins import even_edges
from fedcohort.arrays import arrays_from_bytes, arrays_to_bytes
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Privacy
from fedcohort.table import Table
from fedcohort.vector import Array, Block, counts

PRIVACY = Privacy(epsilon=1.0)


@dataclass(frozen=True)
class Counted:
    """Counts rows, and adds the count to what the state has of its name; settles at `enough`."""

    name: str
    times: int = 1
    scheduled: bool = False
    enough: float = float("inf")

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (replace(counts(self.name, 1), scheduled=self.scheduled),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        return {self.name: Tally(rows=rows.of("all"))}

    def update(self, state: State, sums: Sums) -> State:
        total = state.kept.get(self.name, np.zeros(1)) + sums[self.name]
        settled = bool(total[0] >= self.enough)
        row: dict[str, float | int | str | None] = {"stage": self.name, "total": float(total[0])}
        return replace(state, kept={**state.kept, self.name: total}, rows=(*state.rows, row), settled=settled)


@dataclass(frozen=True)
class Sequence(Analysis):
    """Of given stages."""

    given: tuple[Stage, ...]
    privacy: Privacy | None = field(default=None)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return self.given


def sums(analysis: Analysis, state: State, n: int = 1) -> Sums:
    return Sums({block.name: np.full(block.shape, n) for block in analysis.layout(state)})


def course(analysis: Analysis) -> list[tuple[int, str]]:
    """The rounds that are asked, from the first to the last, each site having one row."""
    state, asked = analysis.start(), []
    while not state.finished:
        asked.append((state.round, state.phase))
        state = analysis.update(state, sums(analysis, state))
    return asked


def test_each_round_has_one_place_in_the_sequence_and_belongs_to_one_stage() -> None:
    first, train, last = Counted("count"), Counted("train", 3), Counted("evaluate")
    analysis = Sequence((first, train, train, last))
    assert analysis.n_rounds == 8
    assert [analysis.stage_at(number) for number in range(8)] == [first, *[train] * 6, last]
    for beyond in (-1, 8, 9, 2**40):
        assert analysis.stage_at(beyond) is None
        assert analysis.layout(State("train", beyond)) == ()
    assert course(analysis) == list(enumerate(["count", *["train"] * 6, "evaluate"]))


def test_the_layout_follows_from_the_round_and_not_from_what_the_state_is_called() -> None:
    analysis = Sequence((Counted("count"), Counted("train", 2)))
    assert [block.name for block in analysis.layout(State("train", 0))] == ["count"]
    assert [block.name for block in analysis.layout(State("count", 2))] == ["train"]


def test_with_privacy_the_integers_of_the_same_blocks_are_finer_and_leave_room_for_noise() -> None:
    exact = Sequence((Counted("count"),)).layout(State("count"))[0]
    noisy = Sequence((Counted("count"),), PRIVACY).layout(State("count"))[0]
    assert (exact.resolution, exact.noisy) == (1.0, False)
    assert (noisy.resolution, noisy.noisy) == (2.0**-16, True)


def test_the_end_is_said_with_the_sum_that_ended_it() -> None:
    analysis = Sequence((Counted("count"), Counted("train")))
    state = analysis.update(analysis.start(), sums(analysis, analysis.start(), 7))
    assert (state.phase, state.round, state.finished, state.sums) == ("train", 1, False, None)
    last = sums(analysis, state, 9)
    ended = analysis.update(state, last)
    assert (ended.phase, ended.round, ended.finished, ended.sums) == ("done", 2, True, last)
    assert {name: values.tolist() for name, values in ended.kept.items()} == {"count": [7], "train": [9]}


def test_a_round_tells_its_own_metrics_and_not_those_of_the_round_before() -> None:
    analysis = Sequence((Counted("train", 2),))
    state = analysis.update(analysis.start(), sums(analysis, analysis.start()))
    state = analysis.update(state, sums(analysis, state))
    assert state.rows == ({"stage": "train", "total": 2.0},)


def test_a_settled_stage_skips_what_is_left_of_it_and_the_next_has_its_own_rounds() -> None:
    settles = Counted("fit", 10, enough=3)
    analysis = Sequence((settles, Counted("errors", 2)))
    assert course(analysis) == [(0, "fit"), (1, "fit"), (2, "fit"), (10, "errors"), (11, "errors")]


def test_a_stage_that_settles_in_its_last_round_skips_nothing() -> None:
    analysis = Sequence((Counted("fit", 3, enough=3), Counted("errors")))
    assert course(analysis) == [(0, "fit"), (1, "fit"), (2, "fit"), (3, "errors")]


def test_a_last_stage_that_settles_ends_the_study() -> None:
    analysis = Sequence((Counted("count"), Counted("fit", 5, enough=2)))
    assert course(analysis) == [(0, "count"), (1, "fit"), (2, "fit")]


def test_that_one_stage_has_settled_does_not_settle_the_next() -> None:
    """Or the second would be asked once of its three times."""
    analysis = Sequence((Counted("fit", 5, enough=1), Counted("errors", 3)))
    assert course(analysis) == [(0, "fit"), (5, "errors"), (6, "errors"), (7, "errors")]


def test_only_the_run_that_has_settled_is_skipped_of_a_stage_that_stands_there_twice() -> None:
    fit = Counted("fit", 4, enough=2)
    analysis = Sequence((fit, Counted("between"), fit))
    assert course(analysis) == [(0, "fit"), (1, "fit"), (4, "between"), (5, "fit")]


def test_the_noise_schedule_counts_the_rounds_of_scheduled_blocks_by_their_place() -> None:
    learn, look = Counted("train", 3, scheduled=True), Counted("look", 2)
    both = Parallel("both", 2, (Counted("look"), Counted("train", scheduled=True)))
    analysis = Sequence((Counted("count"), learn, look, both, learn, Counted("evaluate")))
    steps = [analysis.schedule_step(number) for number in range(analysis.n_rounds)]
    assert steps == [0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8]
    scheduled = [1, 2, 3, 6, 7, 8, 9, 10]
    assert [steps[number] for number in scheduled] == list(range(8)), "each share of the schedule is had once"


def test_what_is_planned_is_every_block_as_often_as_it_stands_in_the_sequence() -> None:
    learn = Counted("train", 3)
    both = Parallel("both", 1, (Counted("look"), Counted("train")))
    analysis = Sequence((Counted("count"), learn, both, learn, Counted("look")))
    found = {block.name: times for block, times in analysis.planned.items()}
    assert found == {"count": 1, "train": 7, "look": 2}


def test_stages_in_parallel_share_a_round_and_update_one_after_the_other() -> None:
    both = Parallel("both", 2, (Counted("a"), Counted("b")))
    analysis = Sequence((both,))
    table = Table(np.array(["p", "q"]), {}, np.zeros(2, np.int8))
    found = both.contribute(analysis.start(), Rows(table), Draw(0, "s", 0))
    assert set(found) == {"a", "b"} == {block.name for block in both.blocks}
    state = analysis.update(analysis.start(), Sums({"a": np.array([2]), "b": np.array([5])}))
    assert {name: values.tolist() for name, values in state.kept.items()} == {"a": [2], "b": [5]}
    assert [row["stage"] for row in state.rows] == ["a", "b"]
    assert course(analysis) == [(0, "both"), (1, "both")]


def test_a_later_stage_in_parallel_sees_the_state_that_an_earlier_one_left() -> None:
    both = Parallel("both", 1, (Counted("a"), Counted("a")))
    state = both.update(State("both"), Sums({"a": np.array([2])}))
    assert state.kept["a"].tolist() == [4]


def test_an_analysis_that_does_not_say_how_cannot_be_asked_privately() -> None:
    with pytest.raises(StudyError, match=r"privacy: Sequence cannot be asked privately; leave out"):
        Sequence((Counted("count"),)).for_privacy(PRIVACY)


def test_sums_are_read_again_as_they_were_kept() -> None:
    kept = Sums({"a": np.arange(3.0), "b/c": np.ones((2, 2))}, {"b/c": 0.25}, 4)
    again = Sums.from_arrays(kept.to_arrays())
    assert (again.sigma, again.n_sites) == ({"b/c": 0.25}, 4)
    assert {name: values.tolist() for name, values in again.values.items()} == {
        "a": [0.0, 1.0, 2.0],
        "b/c": [[1.0, 1.0], [1.0, 1.0]],
    }
    assert (again.noise("a"), again.noise("b/c")) == (0.0, 0.25)
    assert "a" in again
    assert "sites" not in again


def test_the_counts_of_a_column_called_sigma_are_no_deviation() -> None:
    counted = np.array([3.0, 4.0, 0.0])
    for sigma in ({}, {"levels/sigma": 0.25}):
        again = Sums.from_arrays(Sums({"levels/sigma": counted}, sigma).to_arrays())
        assert again.sigma == sigma
        assert again["levels/sigma"].tolist() == counted.tolist()


@pytest.mark.training
def test_a_study_of_each_kind_has_as_many_rounds_as_it_says() -> None:
    columns = {"age": fc.Numeric(18, 90)}
    cohort = fc.Cohort(columns=columns, label=fc.Binary("ill"), split=fc.Holdout(0.3))
    train = fc.Train(model="logistic", rounds=7)
    exact = fc.Study(name="s", cohort=cohort, analysis=train)
    assert build_analysis(exact).n_rounds == 1 + 7 + 1
    private = fc.Study(
        name="s",
        cohort=cohort,
        analysis=fc.Train.private(rounds=7),
        privacy=fc.Privacy(epsilon=1.0, evaluate_every=2),
    )
    analysis = build_analysis(private)
    names = [analysis.stage_at(number).name for number in range(analysis.n_rounds)]  # type: ignore[union-attr]
    measured = ["train", "train", "measured", "train", "measured", "train", "measured"]
    assert names == ["count", *measured, "evaluate"]
    assert [analysis.schedule_step(number) for number in range(1, 8)] == list(range(7))


@pytest.mark.parametrize("wrong", ["none", "short", "long", "not in order", "nan", "float64"])
def test_a_state_s_edges_are_those_of_the_sum_or_no_row_is_looked_at(wrong: str) -> None:
    measure = Measure(Outcome(fc.Binary("ill"), ("train", "test")))
    right = even_edges(1, 8)
    states: dict[str, dict[str, Array]] = {
        "none": {}, "short": {"edges": right[:, :-1]}, "long": {"edges": np.concatenate([right, right], 1)},
        "not in order": {"edges": right[:, ::-1]}, "nan": {"edges": np.full_like(right, np.nan)},
        "float64": {"edges": right.astype(np.float64)},
    }  # fmt: skip
    assert measure.edges_of(State("evaluate", 1, {"edges": right}), 8) is right
    with pytest.raises(WireError, match="edges between 8 bins"):
        measure.edges_of(State("evaluate", 1, states[wrong]), 8)


def test_a_last_sum_and_its_noise_are_read_again_from_what_a_store_keeps() -> None:
    """A store gives a number back as an array of one."""
    sums = Sums({"patients": np.array([3.0]), "scores/test": np.ones((1, 2, 3))}, {"patients": 1.5}, 3)
    again = Sums.from_arrays(arrays_from_bytes(arrays_to_bytes({**sums.to_arrays(), "momentum": np.ones(2)})))
    assert (again.sigma, again.n_sites) == ({"patients": 1.5}, 3)
    assert again["scores/test"].shape == (1, 2, 3)
    assert again["patients"].tolist() == [3.0]
