"""Private training: one patient moves no release by more than is declared, and nothing else is released."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fedcohort.analyses.patients import patients_of
from fedcohort.analyses.private_metrics import EDGES, measure, noisy_metrics
from fedcohort.analyses.train.rows import Sampling
from hypothesis import given, settings
from hypothesis import strategies as st

import fedcohort as fc
from fedcohort.analyses.contract import Draw, PrivateAnalysis, State
from fedcohort.analyses.train.private import PrivateTrain, private_train
from fedcohort.coordinator.noise import privacy_report
from fedcohort.engines.local import Outcome, Simulated, run_local, simulated_node
from fedcohort.errors import StudyError, WireError
from fedcohort.node.answer import answer
from fedcohort.node.noise import step_of
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.plan import plan_noise
from fedcohort.privacy.samplers import poisson_sample
from fedcohort.protection.fixed_point import to_ring
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.patients import held_out
from fedcohort.study import Study
from fedcohort.table import TEST, TRAIN, Table
from fedcohort.wire.messages import Event, Task

COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(18, 90),
    "sex": fc.Categorical((0, 1)),
    "bp": fc.Numeric(80, 200),
}


def rows(n: int, seed: int = 0, per_patient: int = 1) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    age, sex, bp = draw.uniform(18, 90, n), draw.integers(0, 2, n), draw.uniform(80, 200, n)
    ill = (draw.random(n) < 1 / (1 + np.exp(-0.1 * (age - 54)))).astype(int)
    ids = [f"p{seed}-{index // per_patient:04}" for index in range(n)]
    return pd.DataFrame({"patient_id": ids, "age": age, "sex": sex, "bp": bp, "ill": ill})


def study(rounds: int = 4, privacy: fc.Privacy | None = None, **changes: object) -> Study:
    train = fc.Train.private(rounds=rounds, **changes)
    cohort = fc.Cohort(columns=COLUMNS, label=fc.Binary("ill"), split=fc.Holdout(0.3))
    chosen = privacy or fc.Privacy(epsilon=1.5, delta=1e-3, evaluate_every=2)
    return fc.Study(name="private", cohort=cohort, analysis=train, privacy=chosen)


def changed(asked: Study, privacy: dict[str, object] | None = None, **changes: object) -> Study:
    whole = asked.model_dump()
    return Study.model_validate({**whole, "privacy": {**whole["privacy"], **(privacy or {})}, **changes})


def run(asked: Study, frames: Mapping[str, pd.DataFrame]) -> Outcome:
    loaders = {site: partial(table_from_frame, frame) for site, frame in frames.items()}
    return run_local(asked, loaders, lambda _: None)


def table_of(frame: pd.DataFrame, asked: Study) -> Table:
    return table_from_frame(frame, asked.cohort, asked.seed)


def states(analysis: PrivateTrain) -> list[State]:
    """One state of each phase, with weights that are not the first."""
    draw = np.random.default_rng(3)
    weights = draw.standard_normal(analysis.model.n_weights).astype(np.float32)
    arrays = {"weights": weights, "step": np.array([1])}
    return [State("count"), *(State(phase, 1, arrays) for phase in ("train", "measured", "evaluate"))]


@pytest.mark.training
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), who=st.integers(0, 59), per_patient=st.sampled_from((1, 3)))
def test_no_patient_moves_a_block_by_more_than_its_sensitivity_in_integers(
    seed: int, who: int, per_patient: int
) -> None:
    privacy = fc.Privacy(epsilon=1.5, delta=1e-3, rows_per_patient=min(per_patient, 2))
    asked = study(privacy=privacy)
    frame = rows(60, seed, per_patient)
    frame.loc[who % len(frame), ["age", "bp"]] = [1e6, -1e6]  # far beyond the bounds
    patient = frame["patient_id"].iloc[who % len(frame)]
    analysis = private_train(asked)
    with_, without = table_of(frame, asked), table_of(frame[frame["patient_id"] != patient], asked)
    local, other = analysis.prepare(with_), analysis.prepare(without)
    plan = plan_noise(asked, analysis.planned({}), 4)
    for state in states(analysis):
        layout, draw = analysis.layout(state), Draw(1, "a", 1, {"patients": np.zeros(1, np.int64)})
        for block in layout:
            one = to_ring((block,), local(state, {}, draw)[0], 4)
            two = to_ring((block,), other(state, {}, draw)[0], 4)
            moved = np.concatenate(
                [
                    (one.wide - two.wide).view(np.int64).astype(float),
                    (one.narrow - two.narrow).view(np.int32).astype(float),
                ]
            )
            assert np.linalg.norm(moved) <= plan.release(block.name, 0).sensitivity


@pytest.mark.training
@pytest.mark.parametrize("edge", EDGES[0])
def test_scores_on_the_very_edge_of_a_bin_do_not_move_when_one_patient_more_is_there(edge: float) -> None:
    """Whoever chooses the weights can give all patients a score whose last bit decides where it is counted.

    The last rows of a batch are computed by other instructions than whole vectors of them, and their last
    bit may differ: 7 of 39 patients stood in another bin than 32 of 40.
    """
    asked = study()
    analysis = private_train(asked)
    frame = rows(400, 1)
    held = frame[held_out([str(one) for one in frame["patient_id"]], 0.3, 0)]
    first = np.float32(np.log(edge / (1 - np.float64(edge)))).view(np.int32)
    limit = plan_noise(asked, analysis.planned({}), 4).release("scores", 0).sensitivity
    locals_ = [analysis.prepare(table_of(held[:n], asked)) for n in (39, 40)]
    for ulps in range(-4, 5):
        weights = np.zeros(analysis.model.n_weights, np.float32)
        weights[-1] = np.int32(first + ulps).view(np.float32)
        state = State("evaluate", 1, {"weights": weights, "step": np.array([4])})
        less, more = (local(state, {}, Draw(1, "a", 1))[0]["scores"] for local in locals_)
        assert np.linalg.norm(np.asarray(more) - np.asarray(less)) * 2**16 <= limit


@pytest.mark.training
def test_a_model_that_mixes_patients_is_not_even_measured(caplog: pytest.LogCaptureFixture) -> None:
    """A coordinator may ask for the evaluation first, before any gradient has refused the model."""
    import keras

    inputs = keras.Input((5,))
    mixed = keras.layers.Softmax(axis=0, name="across")(inputs)
    own = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(mixed))
    asked = changed(study(model=own), protection="none")
    node = simulated_node(Simulated(), "a", asked, partial(table_from_frame, rows(60)), private_train(asked))
    weights = np.zeros(6, np.float32)
    task = Task(asked.hash, 0, 0, "evaluate", {"weights": weights}, bytes(32), ("a", "b", "c"))
    found = answer(node, task)
    assert isinstance(found, Event)
    assert found.code == "study-invalid"
    assert "'across' works across the patients of a batch" in caplog.text
    assert node.store.cost(asked.hash) is None


@pytest.mark.training
def test_what_is_released_is_what_was_planned_and_costs_no_more_than_epsilon() -> None:
    """Every contribution's bytes are those of blocks that the ledger has charged."""
    asked = study(rounds=7)
    frames = {site: rows(80, index) for index, site in enumerate("abcd")}
    outcome = run_local(
        asked, {site: partial(table_from_frame, frame) for site, frame in frames.items()}, lambda _: None
    )
    analysis = private_train(asked)
    plan = plan_noise(asked, analysis.planned({}), 4)
    assert outcome.state.finished
    assert sum(analysis.phases().values()) == outcome.state.round
    counted = {one.what: one.count for one in plan.releases}
    assert counted == {"patients": 1, "gradient": 7, "scores": 4, "importance": 1}
    assert epsilon(plan.releases, 1e-3) == plan.epsilon <= 1.5
    assert plan.epsilon > 1.45
    assert plan.epsilon_alone > plan.epsilon
    assert [row["round"] for row in outcome.rows] == [2, 4, 6, 7]


@pytest.mark.training
def test_a_study_without_held_out_patients_measures_nothing() -> None:
    asked = study()
    asked = Study.model_validate(
        {**asked.model_dump(), "cohort": {**asked.cohort.model_dump(), "split": None}}
    )
    frames = {site: rows(40, index) for index, site in enumerate("abc")}
    outcome = run_local(
        asked, {site: partial(table_from_frame, frame) for site, frame in frames.items()}, lambda _: None
    )
    assert outcome.rows == []
    assert outcome.report == {"rounds": 4, "label": {"column": "ill", "positive": 1, "negative": 0}}
    assert {one.part for one in private_train(asked).planned({})} == {"train"}


@pytest.mark.training
def test_noise_is_as_large_as_planned_and_differs_every_time() -> None:
    asked = study(rounds=1)
    frames = {site: rows(30, index) for index, site in enumerate("abc")}
    found = []
    for _ in range(2):
        outcome = run_local(
            asked, {site: partial(table_from_frame, frame) for site, frame in frames.items()}, lambda _: None
        )
        found.append(outcome.state.arrays["weights"])
    assert not np.array_equal(found[0], found[1])
    plan = plan_noise(asked, private_train(asked).planned({}), 3)
    # Three sites of which one may collude: two shares make up the planned noise.
    assert plan.site_sigma("gradient", 0) == pytest.approx(plan.sigmas["gradient"] / np.sqrt(2))


@pytest.mark.training
def test_two_sites_share_as_much_noise_as_each_adds_alone() -> None:
    asked = study()
    alone = Study.model_validate(
        {**asked.model_dump(), "privacy": {**asked.model_dump()["privacy"], "noise": "site"}}
    )
    planned = private_train(asked).planned({})
    shared, own = plan_noise(asked, planned, 2), plan_noise(alone, planned, 2)
    assert shared.site_sigma("gradient", 0) == pytest.approx(own.site_sigma("gradient", 0), rel=1e-3)


@pytest.mark.training
def test_without_noise_the_sites_learn_what_pooled_rows_teach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fedcohort.node.noise.discrete_gaussian", lambda sigma, size: np.zeros(size, np.int64)
    )
    asked = study(rounds=5)
    frame = pd.concat([rows(60, index) for index in range(3)], ignore_index=True)
    parts = {site: frame.iloc[index::3] for index, site in enumerate("abc")}
    together = run(changed(asked, {"noise": "site"}, min_sites=1), {"all": frame})
    apart = run_local(
        asked, {site: partial(table_from_frame, part) for site, part in parts.items()}, lambda _: None
    )
    np.testing.assert_allclose(apart.state.arrays["weights"], together.state.arrays["weights"], atol=1e-4)
    assert apart.report["test"]["accuracy"] == together.report["test"]["accuracy"]  # type: ignore[index]


@pytest.mark.training
def test_the_model_is_the_mean_of_the_second_half_or_of_as_many_rounds_as_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "fedcohort.node.noise.discrete_gaussian", lambda sigma, size: np.zeros(size, np.int64)
    )
    frames = {site: rows(60, index) for index, site in enumerate("abc")}

    def after(rounds: int, last: int | None) -> np.ndarray:
        return run(study(rounds=rounds, average_rounds=last), frames).state.arrays["weights"]

    path = np.stack([after(rounds, 1) for rounds in (2, 3, 4, 5)])
    np.testing.assert_allclose(after(5, None), path[-3:].mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(after(5, 4), path.mean(0), rtol=1e-3, atol=1e-4)
    assert not np.allclose(path[-1], path.mean(0), rtol=1e-3, atol=1e-4)


def test_a_patient_is_in_one_part_and_counts_with_some_rows() -> None:
    ids = np.array(["b", "a", "b", "c", "b", "a"])
    split = np.array([TRAIN, TEST, TRAIN, TRAIN, TEST, TRAIN], np.int8)
    order = np.argsort(ids, kind="stable")
    table = Table(ids[order], {"x": np.arange(6.0)}, split[order], np.zeros(6))
    found = patients_of(table, 2)
    # a is first seen in the test split, so the row of a in the training split is left out.
    assert found.held.tolist() == [0]
    assert found.rows.tolist() == [[2, 3], [5, -1]]


def test_metrics_of_exact_counts_are_the_metrics() -> None:
    analysis = private_train(study())
    draw = np.random.default_rng(0)
    score = draw.random(4000).astype(np.float32)
    target = (draw.random(4000) < score).astype(np.float32)
    found = noisy_metrics(analysis.task, measure(analysis.task, score[:, None], target), 0.0, 0)
    assert found["accuracy"] == pytest.approx(np.mean((score >= 0.5) == target), abs=1e-9)
    assert found["auc"] == pytest.approx(5 / 6, abs=0.02)
    exact = -np.mean(np.where(target > 0, np.log(score), np.log1p(-score)))
    assert found["loss"] == pytest.approx(exact, abs=0.02)
    assert found["auc_low"] == found["auc"] == found["auc_high"]


@pytest.mark.parametrize("sigma", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("spread", [0.05, 0.3, 3.0], ids=["one bin", "all bins", "two bins"])
def test_an_interval_holds_the_truth_as_often_as_it_says(sigma: float, spread: float) -> None:
    """Of few patients and large noise, too, where most bins are empty."""
    analysis = private_train(study())
    draw = np.random.default_rng(1)
    score = np.clip(0.5 + spread * draw.standard_normal(150), 0, 1).astype(np.float32)
    target = (draw.random(150) < score).astype(np.float32)
    exact = measure(analysis.task, score[:, None], target)
    truth, hits = noisy_metrics(analysis.task, exact, 0.0, 0), dict.fromkeys(("loss", "accuracy", "auc"), 0)
    for seed in range(100):
        found = noisy_metrics(analysis.task, exact + sigma * draw.standard_normal(exact.shape), sigma, seed)
        for name in hits:
            low, value, high = (found.get(f"{name}{end}") for end in ("_low", "", "_high"))
            # Unknown, where noise leaves hardly a patient of one outcome.
            hits[name] += value is None or low <= truth[name] <= high  # type: ignore[operator]
    assert min(hits.values()) >= 85


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"epsilon": float("inf")}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"epsilon": "much"}, "epsilon"),
        ({"epsilon": 1.5, "delta": 0.0}, "delta"),
        ({"epsilon": 1.5, "clip": 0.0}, "clip"),
        ({"epsilon": 1.5, "rows_per_patient": 0}, "rows_per_patient"),
    ],
)
def test_a_privacy_that_promises_nothing_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        fc.Privacy(**change)


def test_missing_bounds_are_named() -> None:
    cohort = fc.Cohort(columns={"age": fc.Numeric(), "bp": fc.Numeric(80, 200)}, label=fc.Binary("ill"))
    with pytest.raises(StudyError, match="declared bounds for age"):
        fc.Study(name="x", cohort=cohort, analysis=fc.Train.private(), privacy=fc.Privacy(epsilon=1.0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"analysis": fc.Describe()}, "describe learns nothing by steps"),
        ({"analysis": fc.Train(), "privacy": fc.Privacy(epsilon=1.0, noise="shared")}, "one sum"),
        ({"protection": "none", "privacy": fc.Privacy(epsilon=1.0, noise="shared")}, "without a protection"),
    ],
)
def test_what_cannot_be_private_is_refused_with_the_remedy(changes: dict[str, Any], said: str) -> None:
    asked = study()
    with pytest.raises(StudyError, match=said):
        fc.Study(
            **{
                "name": "x",
                "cohort": asked.cohort,
                "analysis": asked.analysis,
                "privacy": asked.privacy,
                **changes,
            }
        )


def test_shared_noise_opens_no_sum_of_fewer_sites_than_it_was_made_for() -> None:
    asked = study()
    assert asked.least_sites(5) == 5
    assert changed(asked, {"dropouts": 2}).least_sites(5) == 3


def test_it_is_a_private_analysis() -> None:
    assert isinstance(private_train(study()), PrivateAnalysis)
    assert json.loads(study().canonical)["privacy"]["clip"] == 0.5


FEDAVG: dict[str, Any] = {"algorithm": "fedavg", "batch_size": 16, "learning_rate": 0.5, "local_epochs": 2}


@pytest.mark.training
def test_fedavg_takes_noisy_steps_at_each_site_and_pays_for_every_one() -> None:
    asked = study(rounds=3, **FEDAVG)
    assert not asked.shares_noise
    frames = {site: rows(120, index) for index, site in enumerate("abc")}
    outcome = run(asked, frames)
    assert outcome.state.finished
    analysis = private_train(asked)
    told = privacy_report(asked, analysis, 3)
    assert told["epsilon_spent"] == told["epsilon_if_all_others_collude"] == 1.5
    state = {"patients": np.array([84.0])}
    plan = plan_noise(asked, analysis.planned(state), 3)
    counted = {one.what: (one.count, one.sampling_probability) for one in plan.releases}
    assert counted["gradient"] == pytest.approx((3 * 10, 16 / 84))
    assert counted["patients"] == (1, 1.0)
    assert plan.release("update", 0).count == 10
    assert plan.n_shares == 1
    assert epsilon([one for one in plan.releases if one.what == "patients"], 0.05e-3) <= 0.05 * 1.5
    assert epsilon([one for one in plan.releases if one.what == "gradient"], 0.95e-3) <= 0.95 * 1.5


@pytest.mark.training
def test_with_a_loose_promise_fedavg_learns_the_rule() -> None:
    asked = study(
        rounds=12, privacy=fc.Privacy(epsilon=1e4, delta=1e-3, noise="site", evaluate_every=12), **FEDAVG
    )
    frames = {site: rows(400, index) for index, site in enumerate("ab")}
    report = run(asked, frames).report["test"]
    assert report["auc"] > 0.8  # type: ignore[index]


@pytest.mark.training
def test_steps_at_a_site_are_not_taken_before_the_count_that_their_sampling_follows_from() -> None:
    """Or rounds of two plans would add up to what neither of them was solved for."""
    asked = study(rounds=2, **FEDAVG)
    analysis = private_train(asked)

    def load(cohort: fc.Cohort, seed: int, private: bool) -> Table:
        return table_from_frame(rows(200), cohort, seed, private)

    node = simulated_node(Simulated(), "a", asked, load, analysis, 10)
    arrays = {"weights": analysis.model.initial(), "step": np.array([0])}
    early = answer(node, Task(asked.hash, 0, 0, "train", arrays, b"1" * 32, ("a",)))
    assert isinstance(early, Event)
    assert node.store.cost(asked.hash) is None
    assert not isinstance(answer(node, Task(asked.hash, 0, 0, "count", {}, b"2" * 32, ("a",))), Event)
    assert not isinstance(answer(node, Task(asked.hash, 1, 0, "train", arrays, b"3" * 32, ("a",))), Event)


@pytest.mark.training
@pytest.mark.parametrize("phase", ["train", "measured", "evaluate"])
@pytest.mark.parametrize("algorithm", [FEDAVG, {}], ids=["fedavg", "fedsgd"])
def test_a_state_of_another_model_is_refused_alike_whether_there_are_patients_or_not(
    algorithm: dict[str, Any], phase: str
) -> None:
    """Where nobody was, nothing was computed with it: the refusal told of one patient, for nothing."""
    asked = study(rounds=4, **algorithm)
    analysis = private_train(asked)
    n_weights = analysis.model.n_weights
    wrong: list[dict[str, np.ndarray]] = [
        {},
        {"weights": np.zeros(n_weights + 1, np.float32)},
        {"weights": np.zeros((1, n_weights), np.float32)},
        {"weights": np.zeros(n_weights, np.int64)},
    ]
    for n in (0, 30):
        local = analysis.prepare(table_from_frame(rows(n), asked.cohort, 0, private=True))
        for arrays in wrong:
            state = State(phase, 1, {**arrays, "step": np.array([0])})
            with pytest.raises(WireError, match="without as many weights as the model has"):
                local(state, {"patients": np.array([30.0])}, Draw(1, "a", 1, {}, poisson_sample))


@pytest.mark.training
def test_an_update_is_the_same_whoever_else_was_sampled_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of nobody moves by noise alone: no patient, no gradient, and the divisor is not the sample."""
    asked = study(rounds=1, **FEDAVG)
    analysis = private_train(asked)
    local = analysis.prepare(table_of(rows(50), asked))
    state = State("train", 1, {"weights": analysis.model.initial(), "step": np.array([0])})
    steps = analysis._sampling({"patients": np.array([50.0])}).steps
    silent = {"gradient": np.zeros((steps, analysis.model.n_weights), np.int64)}
    nobody = Draw(1, "a", 1, silent, lambda count, probability: np.zeros(count, bool))
    vector, _ = local(state, {"patients": np.array([50.0])}, nobody)
    assert not vector["update"].any()


@pytest.mark.training
@pytest.mark.parametrize("algorithm", [FEDAVG, {}], ids=["fedavg", "fedsgd"])
def test_a_local_round_is_one_graph_call_whatever_its_steps_and_pieces(algorithm: dict[str, Any]) -> None:
    asked = study(rounds=1, **algorithm)
    analysis, calls = private_train(asked), []
    graphs = analysis.private.graphs

    def counted(make: Callable[..., Callable[..., Any]]) -> Callable[..., Callable[..., Any]]:
        def made(*shape: Any) -> Callable[..., Any]:
            return lambda *given: calls.append(shape) or make(*shape)(*given)  # type: ignore[func-returns-value]

        return made

    watched = replace(graphs, clipped_sum=counted(graphs.clipped_sum), train=counted(graphs.train))
    analysis.__dict__["private"] = replace(analysis.private, graphs=watched)
    local = analysis.prepare(table_of(rows(2500), asked))
    state = State("train", 1, {"weights": analysis.model.initial(), "step": np.array([0])})
    known = {"patients": np.array([1750.0])}
    steps = analysis._sampling(known).steps
    noise = {"gradient": np.zeros((steps, analysis.model.n_weights), np.int64)}
    local(state, known, Draw(1, "a", 1, noise, poisson_sample))
    calls.clear()  # the first one was tried before it answered
    local(state, known, Draw(1, "a", 1, noise, poisson_sample))
    assert len(calls) == 1
    assert steps > 100 or not algorithm


@pytest.mark.training
def test_an_oversized_sample_is_taken_in_pieces_and_nobody_is_left_out() -> None:
    """Sixteen patients are expected; all two hundred come, as Poisson sampling may have it."""
    asked = study(rounds=1, model="logistic", **{**FEDAVG, "local_epochs": 1})
    analysis = private_train(asked)
    frame = rows(300)
    local = analysis.prepare(table_of(frame, asked))
    state = State("train", 1, {"weights": analysis.model.initial(), "step": np.array([0])})
    known = {"patients": np.array([16.0])}
    assert analysis._sampling(known) == Sampling(1.0, 1, 16.0)
    silent = {"gradient": np.zeros((1, analysis.model.n_weights), np.int64)}
    drawn = Draw(1, "a", 1, silent, lambda count, probability: np.ones(count, bool))
    update = np.asarray(local(state, known, drawn)[0]["update"])
    by_sum = private_train(study(rounds=1))
    gradient = np.asarray(by_sum.prepare(table_of(frame, asked))(state, {}, drawn)[0]["gradient"])
    np.testing.assert_allclose(update, -0.5 * gradient / 16.0, atol=1e-4)


@pytest.mark.training
def test_a_state_that_skips_ahead_in_the_noise_schedule_is_refused() -> None:
    asked = changed(study(rounds=6), {"schedule": "decaying"})
    analysis = private_train(asked)
    late = State("train", 1, {"weights": analysis.model.initial(), "step": np.array([5])})
    with pytest.raises(WireError, match="of step 5 where 0 have been taken"):
        step_of(analysis, {"count": 1, "train": 1}, late)
    assert step_of(analysis, {"count": 1, "train": 5, "measured": 1}, late) == 5
