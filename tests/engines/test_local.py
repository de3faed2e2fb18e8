"""The local engine: the code of a live node, in this process."""

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import FrameType

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Draw,
    Proved,
    Report,
    SiteState,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.rows import Rows
from fedcohort.engines.local import Simulated, run_nodes, simulated_node
from fedcohort.errors import StudyFailedError
from fedcohort.node.answer import prepare
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.vector import Array, Block, counts

from ..analyses.support import FRAMES, POOLED, run, study


@dataclass(frozen=True)
class RowsStage:
    """Counts rows."""

    times: int = 1
    name: str = "rows"

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (counts("rows", 1),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        return {"rows": Tally(rows=rows.of("all"))}

    def update(self, state: State, sums: Sums) -> State:
        return replace(state, kept=dict(sums.values))


@dataclass(frozen=True)
class VisitsStage:
    """Counts visits by the sites' own memory."""

    times: int = 1
    name: str = "visits"

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (counts("visits", 1),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        return {"visits": Proved(rows.site_state["visits"] + 1)}

    def update(self, state: State, sums: Sums) -> State:
        return replace(state, kept={**state.kept, **sums.values})


@dataclass(frozen=True)
class RowsAndVisits(Analysis):
    """Counts rows in one round, then visits by the sites' own memory in a second."""

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return RowsStage(), VisitsStage()

    def remembered(self, site_state: SiteState, released: Callable[[], Mapping[str, Array]]) -> SiteState:
        return {"visits": site_state.get("visits", np.array([0])) + 1}

    def report(self, state: State) -> Report:
        return {name: int(value[0]) for name, value in state.kept.items()}


def test_an_analysis_of_one_s_own_runs_over_nodes() -> None:
    asked, analysis = study(fc.Describe(), fc.Binary("disease")), RowsAndVisits()
    federation = Simulated()
    nodes = [
        simulated_node(federation, site, asked, partial(table_from_frame, frame), analysis)
        for site, frame in FRAMES.items()
    ]
    outcome = run_nodes(asked, analysis, nodes, lambda _: None)
    assert outcome.report == {"rows": len(POOLED), "visits": 2 * len(FRAMES)}
    assert outcome.state.finished


@pytest.mark.training
def test_the_same_study_twice_has_the_same_bits() -> None:
    asked = study(fc.Train(model="mlp_medical", rounds=2))
    first, second = run(asked), run(asked, dict(reversed(list(FRAMES.items()))))
    assert first.arrays["weights"].tobytes() == second.arrays["weights"].tobytes()
    assert first.report == second.report


@pytest.mark.training
def test_a_hospital_without_training_rows_is_measured_and_moves_nothing() -> None:
    asked = study(fc.Train(model="logistic", rounds=2, importance=False))
    two = {"a": FRAMES["a"], "b": FRAMES["b"]}
    three = {**two, "c": FRAMES["c"].assign(set="test")}
    assert np.array_equal(run(asked, two).arrays["weights"], run(asked, three).arrays["weights"])
    assert np.sum(run(asked, three).report["test"]["confusion"]) == sum(
        np.count_nonzero(frame["set"] == "test") for frame in three.values()
    )


def test_a_cohort_below_the_site_s_limit_is_refused_by_its_code() -> None:
    asked, analysis = study(fc.Describe(), fc.Binary("disease")), RowsAndVisits()
    few = pd.DataFrame(FRAMES["a"].head(3))
    asked = asked.model_copy(update={"min_sites": 1})
    node = simulated_node(Simulated(), "a", asked, partial(table_from_frame, few), analysis, min_patients=5)
    with pytest.raises(
        StudyFailedError, match=r"^a: cohort-too-small \(the study selects .*\); the log says more$"
    ):
        run_nodes(asked, analysis, [node], lambda _: None)


@dataclass(frozen=True)
class ManyRounds(Analysis):
    """Counts the rows again and again."""

    rounds: int

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return (RowsStage(self.rounds),)

    def report(self, state: State) -> Report:
        return {}


def calls(n_sites: int, rounds: int) -> int:
    """How many functions, of Python and of C, a study calls from its first round to its last."""
    asked, analysis = study(fc.Describe(), fc.Binary("disease")), ManyRounds(rounds)
    asked = asked.model_copy(update={"protection": "none"})
    federation, frame, counted = Simulated(), next(iter(FRAMES.values())), 0
    nodes = [
        simulated_node(federation, f"s{index}", asked, partial(table_from_frame, frame), analysis)
        for index in range(n_sites)
    ]
    for node in nodes:
        prepare(node, asked.hash)

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        run_nodes(asked, analysis, nodes, lambda _: None)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return counted


def test_a_site_s_round_takes_few_calls_however_many_sites_there_are() -> None:
    """A round of small vectors is all calls: 230 a site made the local engine 2.4 times as slow.

    No clock: much the same on every machine; `scripts/bench local_engine --against REV` has the times.
    """
    calls(2, 3)  # what is made once a process
    few, many = ((calls(n, 12) - calls(n, 2)) / 10 for n in (10, 40))
    assert (many - few) / 30 < 130
