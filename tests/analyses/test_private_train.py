"""Private training: what is released is what was planned, and nothing else of a patient shows."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, State, Sums
from fedcohort.analyses.measure import EDGES, Measure
from fedcohort.analyses.model_of import outcome_of
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.site_sum import site_sum
from fedcohort.analyses.train.private import PrivateStage, Sampling, sampling_of
from fedcohort.analyses.train.stages import TrainAnalysis
from fedcohort.coordinator.noise import privacy_report
from fedcohort.engines.local import Simulated, SimulatedRun, run_local, simulated_node
from fedcohort.errors import StudyError, WireError
from fedcohort.node.answer import answer
from fedcohort.node.noise import draw_noise
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.plan import plan_noise
from fedcohort.privacy.samplers import poisson_sample
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.patients import held_out
from fedcohort.study import Study
from fedcohort.table import TEST, Table
from fedcohort.wire.messages import Event, Task

from .at_site import contributed, round_of, rows_of, state_of

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


def run(asked: Study, frames: Mapping[str, pd.DataFrame]) -> SimulatedRun:
    loaders = {site: partial(table_from_frame, frame) for site, frame in frames.items()}
    return run_local(asked, loaders, lambda _: None)


def private_train(asked: Study) -> TrainAnalysis:
    analysis = build_analysis(asked)
    assert isinstance(analysis, TrainAnalysis)
    return analysis


def table_of(frame: pd.DataFrame, asked: Study) -> Table:
    return table_from_frame(frame, asked.cohort, asked.seed)


@pytest.mark.parametrize("edge", EDGES[0])
@pytest.mark.training
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
    limit = plan_noise(asked, analysis.planned, 4).release("scores/test", 0).sensitivity
    tables = [rows_of(analysis, table_of(held[:n], asked)) for n in (39, 40)]
    for ulps in range(-4, 5):
        weights = np.zeros(analysis.subject.model.n_weights, np.float32)
        weights[-1] = np.int32(first + ulps).view(np.float32)
        state = state_of(analysis, "evaluate", {"weights": weights})
        less, more = (contributed(analysis, table, state)["scores/test"] for table in tables)
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
    number = round_of(private_train(asked), "evaluate")
    task = Task(asked.hash, number, 0, "evaluate", {"weights": weights}, bytes(32), ("a", "b", "c"))
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
    plan = plan_noise(asked, analysis.planned, 4)
    assert outcome.state.finished
    assert analysis.n_rounds == outcome.state.round == 9
    counted = {one.what: one.count for one in plan.releases}
    assert counted == {"patients": 1, "gradient": 7, "scores/test": 4, "importance/test": 1}
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
    assert {block.part for block in private_train(asked).planned} == {"train"}


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
    plan = plan_noise(asked, private_train(asked).planned, 3)
    # Three sites of which one may collude: two shares make up the planned noise.
    assert plan.site_sigma("gradient", 0) == pytest.approx(plan.sigmas["gradient"] / np.sqrt(2))


@pytest.mark.training
def test_two_sites_share_as_much_noise_as_each_adds_alone() -> None:
    asked = study()
    alone = Study.model_validate(
        {**asked.model_dump(), "privacy": {**asked.model_dump()["privacy"], "noise": "site"}}
    )
    planned = private_train(asked).planned
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


MEASURE = Measure(outcome_of(study().cohort), private=True)


def counted(score: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What patients with these scores and outcomes add up to, without noise."""
    people = np.arange(len(score))
    table = Table(np.array([f"p{index:05}" for index in people]), {}, np.full(len(score), TEST, np.int8))
    (block,) = MEASURE.blocks("test", 0)
    part = MEASURE.contribute(score[:, None], target, people, "test", EDGES)
    return np.asarray(site_sum((block,), part, Rows(table, 1), private=True)["scores/test"])


def metrics_of(counts: np.ndarray, sigma: float) -> dict[str, float | None]:
    found = MEASURE.metrics(Sums({"scores/test": counts}, {"scores/test": sigma} if sigma else {}), "test")
    assert found is not None
    return found


def test_metrics_of_exact_counts_are_the_metrics() -> None:
    draw = np.random.default_rng(0)
    score = draw.random(4000).astype(np.float32)
    target = (draw.random(4000) < score).astype(np.float32)
    found = metrics_of(counted(score, target), 0.0)
    assert found["accuracy"] == pytest.approx(np.mean((score >= 0.5) == target), abs=1e-9)
    assert found["auc"] == pytest.approx(5 / 6, abs=0.02)
    exact = -np.mean(np.where(target > 0, np.log(score), np.log1p(-score)))
    assert found["loss"] == pytest.approx(exact, abs=0.02)
    assert found["auc_low"] == found["auc"] == found["auc_high"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sigma", [3.0, *(pytest.param(sigma, marks=pytest.mark.slow) for sigma in (1.0, 6.0))]
)
@pytest.mark.parametrize("spread", [0.05, 0.3, 3.0], ids=["one bin", "all bins", "two bins"])
def test_an_interval_holds_the_truth_as_often_as_it_says(sigma: float, spread: float) -> None:
    """Of few patients and large noise, too, where most bins are empty."""
    draw = np.random.default_rng(1)
    score = np.clip(0.5 + spread * draw.standard_normal(150), 0, 1).astype(np.float32)
    target = (draw.random(150) < score).astype(np.float32)
    exact = counted(score, target)
    truth, hits = metrics_of(exact, 0.0), dict.fromkeys(("loss", "accuracy", "auc"), 0)
    for _ in range(100):
        found = metrics_of(exact + sigma * draw.standard_normal(exact.shape), sigma)
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


def test_a_private_study_is_a_private_analysis() -> None:
    assert private_train(study()).privacy == study().privacy
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
    plan = plan_noise(asked, analysis.at_site(state).planned, 3)
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
    arrays = {"weights": analysis.subject.model.initial()}
    early = answer(node, Task(asked.hash, 1, 0, "train", arrays, b"1" * 32, ("a",)))
    assert isinstance(early, Event)
    assert node.store.cost(asked.hash) is None
    assert not isinstance(answer(node, Task(asked.hash, 0, 0, "count", {}, b"2" * 32, ("a",))), Event)
    assert not isinstance(answer(node, Task(asked.hash, 1, 0, "train", arrays, b"3" * 32, ("a",))), Event)


@pytest.mark.parametrize("phase", ["train", "measured", "evaluate"])
@pytest.mark.parametrize("algorithm", [FEDAVG, {}], ids=["fedavg", "fedsgd"])
@pytest.mark.training
def test_a_state_of_another_model_is_refused_alike_whether_there_are_patients_or_not(
    algorithm: dict[str, Any], phase: str
) -> None:
    """Where nobody was, nothing was computed with it: the refusal told of one patient, for nothing."""
    asked = study(rounds=4, **algorithm)
    analysis = private_train(asked)
    n_weights = analysis.subject.model.n_weights
    wrong: list[dict[str, np.ndarray]] = [
        {},
        {"weights": np.zeros(n_weights + 1, np.float32)},
        {"weights": np.zeros((1, n_weights), np.float32)},
        {"weights": np.zeros(n_weights, np.int64)},
    ]
    for n in (0, 30):
        table = table_from_frame(rows(n), asked.cohort, 0, private=True)
        known = rows_of(analysis, table, {"patients": np.array([30.0])})
        for arrays in wrong:
            state = state_of(analysis, phase, arrays)
            with pytest.raises(WireError, match="without as many weights as the model has"):
                contributed(analysis, known, state, Draw(1, "a", 1, {}, poisson_sample))


@pytest.mark.parametrize("phase", ["train", "measured", "evaluate"])
@pytest.mark.training
def test_a_state_s_scaling_is_not_read_so_that_its_shape_cannot_ask_how_many_rows_there_are(
    phase: str,
) -> None:
    """A mean of 30 rows fitted a table of 30 rows, and no other: each refusal told of it, for nothing."""
    asked = study(rounds=4)
    analysis = private_train(asked)
    weights = {"weights": np.full(analysis.subject.model.n_weights, 0.5, np.float32)}
    for n in (0, 29, 30):
        table = rows_of(analysis, table_from_frame(rows(n), asked.cohort, 0, private=True))
        expected = contributed(analysis, table, state_of(analysis, phase, weights))
        for mean in (np.zeros((30, 2)), np.zeros(7), np.zeros(2)):
            arrays = {**weights, "mean": mean, "deviation": np.ones_like(mean)}
            found = contributed(analysis, table, state_of(analysis, phase, arrays))
            for block, values in expected.items():
                np.testing.assert_array_equal(found[block], values)


@pytest.mark.training
def test_an_update_is_the_same_whoever_else_was_sampled_away() -> None:
    """A sample of nobody moves by noise alone: no patient, no gradient, and the divisor is not the sample."""
    asked = study(rounds=1, **FEDAVG)
    analysis = private_train(asked)
    model = analysis.subject.model
    state = state_of(analysis, "train", {"weights": model.initial()})
    steps = sampling_of(analysis.train, 50.0).steps
    silent = {"gradient": np.zeros((steps, model.n_weights), np.int64)}
    nobody = Draw(1, "a", 1, silent, lambda count, probability: np.zeros(count, bool))
    known = rows_of(analysis, table_of(rows(50), asked), {"patients": np.array([50.0])})
    assert not contributed(analysis, known, state, nobody)["update"].any()


@pytest.mark.parametrize("algorithm", [FEDAVG, {}], ids=["fedavg", "fedsgd"])
@pytest.mark.training
def test_a_local_round_is_one_graph_call_whatever_its_steps_and_pieces(algorithm: dict[str, Any]) -> None:
    asked = study(rounds=1, **algorithm)
    analysis, calls = private_train(asked), []
    (stage,) = (one for one in analysis.stages if isinstance(one, PrivateStage))
    graphs = stage.model.graphs

    def counted(make: Callable[..., Callable[..., Any]]) -> Callable[..., Callable[..., Any]]:
        def made(*shape: Any) -> Callable[..., Any]:
            return lambda *given: calls.append(shape) or make(*shape)(*given)  # type: ignore[func-returns-value]

        return made

    watched = replace(graphs, clipped_sum=counted(graphs.clipped_sum), train=counted(graphs.train))
    stage.__dict__["model"] = replace(stage.model, graphs=watched)
    model = analysis.subject.model
    state = state_of(analysis, "train", {"weights": model.initial()})
    steps = sampling_of(analysis.train, 1750.0).steps
    noise = {"gradient": np.zeros((steps, model.n_weights), np.int64)}
    known = rows_of(analysis, table_of(rows(2500), asked), {"patients": np.array([1750.0])})
    contributed(analysis, known, state, Draw(1, "a", 1, noise, poisson_sample))
    calls.clear()  # the first one was tried before it answered
    contributed(analysis, known, state, Draw(1, "a", 1, noise, poisson_sample))
    assert len(calls) == 1
    assert steps > 100 or not algorithm


@pytest.mark.training
def test_an_oversized_sample_is_taken_in_pieces_and_nobody_is_left_out() -> None:
    """Sixteen patients are expected; all two hundred come, as Poisson sampling may have it."""
    asked = study(rounds=1, model="logistic", **{**FEDAVG, "local_epochs": 1})
    analysis = private_train(asked)
    table, model = table_of(rows(300), asked), analysis.subject.model
    arrays = {"weights": model.initial()}
    assert sampling_of(analysis.train, 16.0) == Sampling(1.0, 1, 16.0)
    silent = {"gradient": np.zeros((1, model.n_weights), np.int64)}
    drawn = Draw(1, "a", 1, silent, lambda count, probability: np.ones(count, bool))
    known = rows_of(analysis, table, {"patients": np.array([16.0])})
    update = contributed(analysis, known, state_of(analysis, "train", arrays), drawn)["update"]
    by_sum = private_train(study(rounds=1))
    state = state_of(by_sum, "train", arrays)
    gradient = contributed(by_sum, rows_of(by_sum, table), state, drawn)["gradient"]
    np.testing.assert_allclose(update, -0.5 * gradient / 16.0, atol=1e-4)


@pytest.mark.training
def test_a_round_has_the_noise_of_its_own_place_in_the_schedule_whatever_the_state_says() -> None:
    """The last step's noise is half of the first's: whoever asks for it early would be answered with less."""
    asked = changed(study(rounds=6), {"schedule": "decaying"})
    analysis = private_train(asked)
    names = ["count", "train", "train", "measured", "train", "measured", "train", "evaluate"]
    assert [analysis.stage_at(number).name for number in range(8)] == names  # type: ignore[union-attr]
    plan = plan_noise(asked, analysis.planned, 4)
    for step, number in enumerate(range(1, 7)):
        late = State(names[number], number, {"step": np.array([5])})
        release = draw_noise(asked, analysis, late, {}, 4).releases[-1]
        assert release.sigma == plan.release("gradient", step).sigma
    assert plan.release("gradient", 5).sigma < 0.6 * plan.release("gradient", 0).sigma


@pytest.mark.training
def test_a_round_is_answered_for_the_stage_that_stands_there_and_for_no_other() -> None:
    """It counted how often a phase was asked; now a round's number is its place, and is answered once."""
    asked = changed(study(rounds=2, privacy=fc.Privacy(epsilon=1.5, delta=1e-3)), protection="none")
    analysis = private_train(asked)
    node = simulated_node(Simulated(), "a", asked, partial(table_from_frame, rows(200)), analysis)
    arrays = {"weights": analysis.subject.model.initial()}
    order = ("count", "train", "train", "evaluate")
    assert analysis.n_rounds == len(order)
    for number in (*range(len(order)), len(order), len(order) + 1, 10**6):
        for phase in ("count", "train", "evaluate", "scores", ""):
            if number < len(order) and phase == order[number]:
                continue
            refused = answer(node, Task(asked.hash, number, 0, phase, arrays, b"1" * 32, ("a",)))
            assert isinstance(refused, Event)
            assert node.store.cost(asked.hash) is None
    costs = []
    for number, phase in enumerate(order):
        task = Task(asked.hash, number, 0, phase, arrays, bytes([number]) * 32, ("a",))
        first = answer(node, task)
        assert not isinstance(first, Event)
        costs.append(node.store.cost(asked.hash))
        # The same question has the same answer, at no cost; with another state it is another question.
        assert answer(node, replace(task, attempt=1)).body == first.body  # type: ignore[union-attr]
        other = answer(node, replace(task, state_digest=b"9" * 32))
        assert isinstance(other, Event)
        assert node.store.cost(asked.hash) == costs[-1]
        # An earlier round is not asked again.
        if number:
            again = Task(asked.hash, number - 1, 1, order[number - 1], arrays, b"8" * 32, ("a",))
            assert isinstance(answer(node, again), Event)
    assert len({str(cost) for cost in costs}) == len(order)
