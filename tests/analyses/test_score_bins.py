"""The AUC from binned scores is scikit-learn's but for the error that is told with it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import fedcohort as fc
from fedcohort.analyses.contract import Sums, Tally
from fedcohort.analyses.measure import EDGES, Measure
from fedcohort.analyses.metrics import Outcome, auc_from_counts, score_cells
from fedcohort.analyses.score_bins import (
    FINAL_BINS,
    ROUND_BINS,
    coarser,
    coarser_counts,
    even_edges,
    placed_edges,
    tie_error,
)
from fedcohort.analyses.site_sum import added
from fedcohort.vector import counts as counts_block

OUTCOME = Outcome(fc.Binary("ill"), ("train", "test"))
Scores = tuple[NDArray[np.float32], NDArray[np.float32]]


def scores(middle: float, spread: float, n: int = 10_000, seed: int = 0) -> Scores:
    """Calibrated scores whose log-odds are normal, and outcomes drawn from them."""
    draw = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-draw.normal(middle, spread, n)))
    return p.astype(np.float32)[:, None], (draw.random(n) < p).astype(np.float32)


def counted(found: Scores, edges: Any) -> Any:
    """(1, 2, bins): rows by outcome and score."""
    block = counts_block("scores", 1, 2, edges.shape[1] + 1)
    return added(block, Tally(cell=score_cells(OUTCOME, *found, edges)))


@pytest.mark.parametrize("spread", [0.003, 0.3, 3.0])
@pytest.mark.parametrize("middle", [-8.0, -5.0, 0.0, 4.0])
def test_bins_that_the_round_before_has_placed_leave_less_than_a_thousandth(
    middle: float, spread: float
) -> None:
    """A rare outcome's AUC was .5009 in equal bins of probability, and .7726 in truth."""
    before, now = scores(middle, spread), scores(middle + 0.05 * spread, spread, seed=1)
    edges = even_edges(1, ROUND_BINS)
    for _ in range(2):
        edges = placed_edges(edges, counted(before, edges), ROUND_BINS)
    counts = counted(now, edges)[0].astype(float)
    true = roc_auc_score(now[1], now[0][:, 0])
    error = tie_error(*counts)
    assert error is not None
    assert abs((auc_from_counts(*counts) or 0) - true) <= error < 1e-3


def test_equal_bins_of_probability_would_have_lost_a_rare_outcome() -> None:
    found = scores(-8.0, 1.0, 100_000)
    equal = (np.arange(1, 1024) / 1024).astype(np.float32)[None]
    true = roc_auc_score(found[1], found[0][:, 0])
    assert abs((auc_from_counts(*counted(found, equal)[0].astype(float)) or 0) - true) > 0.05
    even = counted(found, even_edges(1, ROUND_BINS))[0].astype(float)
    assert auc_from_counts(*even) == pytest.approx(true, abs=5e-3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 60), ties=st.booleans(), bins=st.sampled_from([8, 64]))
def test_the_error_is_never_more_than_is_told(seed: int, n: int, ties: bool, bins: int) -> None:
    draw = np.random.default_rng(seed)
    p = draw.random((n, 1)).astype(np.float32)
    p = np.round(p, 1) if ties else p
    y = draw.integers(0, 2, n).astype(np.float32)
    counts = counted((p, y), placed_edges(even_edges(1, bins), counted((p, y), even_edges(1, bins)), bins))[0]
    assert counts.sum() == n
    error = tie_error(*counts.astype(float))
    if error is None:
        assert len(set(y.tolist())) == 1
    else:
        difference = (auc_from_counts(*counts.astype(float)) or 0.0) - roc_auc_score(y, p[:, 0])
        assert abs(difference) <= error + 1e-12


def test_edges_do_not_decrease_and_every_score_has_a_bin() -> None:
    p = np.array(
        [[0.0], [1e-45], [1e-30], [0.5], [np.nextafter(np.float32(1), np.float32(0))], [1.0]], np.float32
    )
    y = np.array([0, 1, 0, 1, 0, 1], np.float32)
    edges = even_edges(1, ROUND_BINS)
    for bins in (ROUND_BINS, FINAL_BINS):
        edges = placed_edges(edges, counted((p, y), edges), bins)
        assert edges.shape == (1, bins - 1)
        assert np.all(np.diff(edges) >= 0)
        assert np.all((edges >= 0) & (edges <= 1))
        assert counted((p, y), edges).sum() == 6


def test_of_nobody_edges_stay_even() -> None:
    edges = placed_edges(even_edges(2, 64), np.zeros((2, 2, 64)), 64)
    np.testing.assert_allclose(edges, even_edges(2, 64), rtol=0.7)


def test_coarser_bins_are_neighbours_put_together() -> None:
    found = scores(0, 1)
    edges = even_edges(1, 64)
    fine, coarse = counted(found, edges)[0], counted(found, coarser(edges, 16))[0]
    np.testing.assert_array_equal(coarser_counts(fine, 16), coarse)


def frames(rate: float, n: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Two hospitals; three columns of which the third says nothing."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 3))
    z = x[:, 0] + 0.5 * x[:, 1]
    middle = np.log(rate / (1 - rate)) - 0.6
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["ill"] = (draw.random(n) < 1 / (1 + np.exp(-(z + middle)))).astype(int)
    frame["set"] = np.where(np.arange(n) % 2, "train", "test")
    return {"x": frame[: n // 3].reset_index(drop=True), "y": frame[n // 3 :].reset_index(drop=True)}


def asked(analysis: Any) -> fc.Study:
    kind = fc.Numeric(-8, 8)
    cohort = fc.Cohort(columns=dict.fromkeys("abc", kind), label=fc.Binary("ill"), split="set")
    return fc.Study(name="rare", cohort=cohort, analysis=analysis)


@pytest.mark.training
def test_training_tells_the_auc_of_a_rare_outcome_and_what_each_column_gives_it() -> None:
    sites = frames(0.005, 20_000)
    train = fc.Train(model="logistic", algorithm="fedsgd", rounds=60, learning_rate=4.0)
    result = fc.simulate(sites).run(asked(train), progress=False)
    held = pd.concat(sites.values(), ignore_index=True)
    held = held[held["set"] == "test"].reset_index(drop=True)
    true = roc_auc_score(held["ill"], result.predict(held)[:, 0])
    found = result.report["test"]
    assert found["auc"] > 0.75
    assert abs(found["auc"] - true) <= found["auc_error"] < 1e-3
    rows = result.metrics[(result.metrics["split"] == "test") & (result.metrics["round"] > 10)]
    assert (rows["auc_error"] < 1e-3).all()
    importance = result.report["importance"]
    assert importance["a"]["auc_drop"] > 0.1 > importance["b"]["auc_drop"] > 0.01
    assert abs(importance["c"]["auc_drop"]) < 0.01
    assert max(one["auc_drop_error"] for one in importance.values()) < 3e-3
    again = fc.simulate(sites).run(asked(fc.Evaluate(model=result)), progress=False).report
    assert abs(again["test"]["auc"] - true) <= again["test"]["auc_error"] < 1e-3


def test_private_counts_tell_a_rare_outcome_apart() -> None:
    found = scores(-4.5, 1.0, 50_000)
    measure = Measure(OUTCOME, private=True)
    (block,) = measure.blocks("test", 0)
    part = measure.private_tally([found[0]], found[1], np.arange(len(found[1])))
    told = measure.metrics(Sums({block.name: added(block, part)}), "test")
    assert told is not None
    true = roc_auc_score(found[1], found[0][:, 0])
    assert told["auc"] == pytest.approx(true, abs=0.03)
    assert abs((told["auc"] or 0) - true) <= (told["auc_error"] or 0) < 0.15
    assert np.float32(0.5) in EDGES[0]


@pytest.mark.skipif("FEDCOHORT_DATA" not in os.environ, reason="FEDCOHORT_DATA names no data sets")
@pytest.mark.training
def test_heart_diseases_auc_is_scikit_learns() -> None:
    names = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak"]
    folder = Path(os.environ["FEDCOHORT_DATA"]) / "heart_disease"
    sites = {}
    for site in ("cleveland", "hungarian", "va"):
        frame = pd.read_csv(folder / f"processed.{site}.data", header=None, na_values="?")
        sites[site] = frame[range(10)].set_axis(names, axis=1).assign(ill=(frame[13] > 0).astype(int))
        sites[site]["set"] = np.where(np.arange(len(frame)) % 4, "train", "test")
    cohort = fc.Cohort(columns=dict.fromkeys(names, fc.Numeric()), label=fc.Binary("ill"), split="set")
    study = fc.Study(name="heart", cohort=cohort, analysis=fc.Train(model="logistic", rounds=30))
    result = fc.simulate(sites).run(study, progress=False)
    held = pd.concat(sites.values(), ignore_index=True)
    held = held[held["set"] == "test"].reset_index(drop=True)
    true = roc_auc_score(held["ill"], result.predict(held)[:, 0])
    assert abs(result.report["test"]["auc"] - true) <= result.report["test"]["auc_error"] < 1e-3
