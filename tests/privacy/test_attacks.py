"""Proof by attack: planted patients are found without noise, and cannot be found under the promise.

The audit in one run of Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846): each of many canaries is in
the training data or not by the toss of a coin; an attacker who sees every sum of every round guesses
which. How often it is right bounds epsilon from below. Several such studies of different patients are,
taken together, one run of more canaries: each patient is in one of them, so that all together still promise
that patient the same epsilon and delta.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, SiteState, State, Sums
from fedcohort.analyses.enough import LEAST_PATIENTS
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.site_sum import site_sum
from fedcohort.coordinator.noise import noise_in_sum
from fedcohort.node.noise import Drawn, StepNoise, draw_noise
from fedcohort.privacy.samplers import poisson_sample
from fedcohort.protection.fixed_point import from_ring, to_ring
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Study

CANARIES, ROUNDS, DELTA, CONFIDENCE = 120, 40, 1e-6, 0.95
RUNS = range(50)
"""Of 6,000 canaries in all."""


def study(epsilon: float, algorithm: str = "fedsgd") -> Study:
    columns = {f"c{index}": fc.Numeric(-1, 1) for index in range(CANARIES)}
    cohort = fc.Cohort(columns=dict(columns), label=fc.Binary("ill"), split=None)
    chosen = {
        "algorithm": algorithm,
        "rounds": ROUNDS,
        "importance": False,
        "batch_size": 60,
        "learning_rate": 0.01,
    }
    return fc.Study(
        name="audit",
        cohort=cohort,
        analysis=fc.Train.private("logistic", **chosen),
        privacy=fc.Privacy(epsilon=epsilon, delta=DELTA, noise="site"),
        protection="none",
    )


def canaries(inside: np.ndarray) -> pd.DataFrame:
    """A patient for each column, at its upper bound and at 0 in all others: a gradient of one's own.

    Steps are so short that this gradient stays as large as the clip allows, for the attacker's good.
    """
    frame = pd.DataFrame(np.eye(CANARIES)[inside], columns=[f"c{index}" for index in range(CANARIES)])
    return frame.assign(ill=1, patient_id=[f"p{index}" for index in np.flatnonzero(inside)])


def released(asked: Study, inside: np.ndarray, noisy: bool) -> np.ndarray:
    """What an attacker adds up: by canary, how far all sums moved along its own column."""
    analysis = build_analysis(asked)
    rows = Rows(table_from_frame(canaries(inside), asked.cohort, asked.seed), most=1)
    analysis.prepare(rows)
    state: State = analysis.start()
    kept: SiteState = {}
    moved = np.zeros(CANARIES)
    while not state.finished:
        stage, layout = analysis.stage_at(state.round), analysis.layout(state)
        assert stage is not None
        drawn = draw_noise(asked, analysis, state, kept, 1)
        if not noisy:
            drawn = Drawn(_silent(drawn.noise), _silent(drawn.inside), drawn.releases)
        draw = Draw(state.round, "a", state.round, drawn.inside, poisson_sample)
        parts = stage.contribute(state, replace(rows, site_state=kept), draw)
        ring = to_ring(layout, site_sum(stage.blocks, parts, rows, private=True), 1, drawn.noise)
        kept = analysis.remembered(kept, partial(from_ring, layout, ring, 1))
        total = from_ring(layout, ring, 1)
        if state.phase == "train":
            moved += total["gradient"][:CANARIES] if "gradient" in total else -total["update"][:CANARIES]
        if state.phase == "count":  # the attacker's study goes on, whatever the noise makes of its count
            total = {"patients": np.maximum(total["patients"], LEAST_PATIENTS)}
        state = analysis.update(state, Sums(total, noise_in_sum(asked, analysis, state, 1, 1)))
    return -moved


def _silent(noise: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: np.zeros((one.n_steps, one.size), np.int64)
        if isinstance(one, StepNoise)
        else np.zeros_like(one)
        for name, one in noise.items()
    }


@cache
def epsilon_at_least(canaries: int, guesses: int, right: int, delta: float) -> float:
    """The largest epsilon that so many right guesses refute, with 95 % confidence (their theorem 5.2)."""

    def p_value(epsilon: float) -> float:
        chance = 1 / (1 + math.exp(-epsilon))
        fewer = binom.pmf(np.arange(right - 1, -1, -1), guesses, chance)
        alpha = float(np.max(np.cumsum(fewer) / np.arange(1, right + 1), initial=0.0))
        return float(binom.sf(right - 1, guesses, chance)) + alpha * delta * 2 * canaries

    low, high = 0.0, 20.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(middle) < 1 - CONFIDENCE else (low, middle)
    return low


def audit(asked: Study, noisy: bool = True, runs: range = range(1)) -> tuple[float, float]:
    """The empirical lower bound of epsilon, and the share of right guesses, of one or more runs."""
    guesses, right = CANARIES // 3, 0
    for seed in runs:
        inside = np.random.default_rng(seed).random(CANARIES) < 0.5
        order = np.argsort(released(asked, inside, noisy))
        right += int(np.sum(~inside[order[:guesses]]) + np.sum(inside[order[-guesses:]]))
    made = 2 * guesses * len(runs)
    return epsilon_at_least(CANARIES * len(runs), made, right, DELTA), right / made


def test_the_bound_is_that_of_the_paper() -> None:
    """All of r guesses right: without delta, an epsilon for which that has a chance of 1/20."""
    chance = 0.05 ** (1 / 80)
    assert epsilon_at_least(120, 80, 80, 0.0) == pytest.approx(math.log(chance / (1 - chance)), abs=1e-3)
    assert epsilon_at_least(120, 80, 40, 0.0) == 0.0
    # with delta = 1 nothing is promised, so that nothing is refuted
    assert epsilon_at_least(120, 80, 80, 1.0) == 0.0
    assert epsilon_at_least(120, 80, 80, 1e-6) < epsilon_at_least(120, 80, 80, 0.0)


@pytest.mark.training
@pytest.mark.parametrize("algorithm", ["fedsgd", "fedavg"])
@pytest.mark.parametrize("epsilon", [0.5, 1.5, 4.0])
def test_what_an_attacker_can_show_stays_below_the_promise(epsilon: float, algorithm: str) -> None:
    bound, _ = audit(study(epsilon, algorithm))
    assert bound < epsilon


@pytest.mark.training
@pytest.mark.parametrize("algorithm", ["fedsgd", "fedavg"])
def test_six_thousand_canaries_show_some_of_the_promise_and_no_more(algorithm: str) -> None:
    bound, _ = audit(study(1.5, algorithm), runs=RUNS)
    assert 0 < bound < 1.5


@pytest.mark.training
@pytest.mark.parametrize("algorithm", ["fedsgd", "fedavg"])
def test_without_noise_the_same_attack_finds_every_patient(algorithm: str) -> None:
    """So the attack is able to, and the tests above are not empty: far above the promise of 1.5."""
    bound, right = audit(study(1.5, algorithm), noisy=False, runs=RUNS)
    assert right > 0.999
    assert bound > 4 * 1.5


@pytest.mark.training
def test_the_attack_sees_more_where_more_is_allowed() -> None:
    assert audit(study(20.0))[0] > 1.0
