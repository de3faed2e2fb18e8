"""Training equals the same arithmetic on the pooled rows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

import fedcohort as fc
from fedcohort.analyses.algorithms.fedavg import epoch_batches
from fedcohort.analyses.algorithms.server import mean_so_far, server_step
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, State
from fedcohort.analyses.rows import Rows
from fedcohort.errors import StudyFailedError, WireError
from fedcohort.sources.cohort.frame import table_from_frame

from .support import FRAMES, POOLED, encoded, run, study, train_moments


def _sets(label: str = "disease") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x = encoded(POOLED, *train_moments())
    y, train = POOLED[label].to_numpy(float), (POOLED["set"] == "train").to_numpy()
    return x[train], y[train], x[~train], y[~train]


@pytest.mark.training
def test_fedsgd_equals_gradient_descent_on_the_pooled_rows() -> None:
    rounds, rate = 40, 0.5
    result = run(study(fc.Train(model="logistic", algorithm="fedsgd", rounds=rounds, learning_rate=rate)))
    x, y, _, _ = _sets()
    kernel, bias = result.model.get_weights()
    start = fc.simulate(FRAMES).run(
        study(fc.Train(model="logistic", algorithm="fedsgd", rounds=1, learning_rate=1e-9)), progress=False
    )
    w, b = start.model.get_weights()[0][:, 0].astype(float), 0.0
    for _ in range(rounds):
        error = 1 / (1 + np.exp(-(x @ w + b))) - y
        w, b = w - rate * x.T @ error / len(y), b - rate * error.mean()
    np.testing.assert_allclose(kernel[:, 0], w, atol=2e-5)
    np.testing.assert_allclose(bias[0], b, atol=2e-5)


@pytest.mark.training
def test_features_are_standardised_by_the_training_rows_of_all_hospitals() -> None:
    result = run(study(fc.Train(model="logistic", rounds=1)))
    mean, deviation = train_moments()
    np.testing.assert_allclose(result.arrays["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(result.arrays["deviation"], deviation, rtol=1e-6)


@pytest.mark.training
def test_predictions_come_in_the_order_of_the_frame() -> None:
    result = run(study(fc.Train(model="logistic", rounds=1)))
    shuffled = POOLED.sample(frac=1.0, random_state=0)
    np.testing.assert_allclose(result.features(shuffled), encoded(shuffled, *train_moments()), atol=1e-5)
    np.testing.assert_allclose(result.predict(shuffled.head(3)), result.predict(shuffled)[:3], rtol=1e-6)


@pytest.mark.training
def test_the_metrics_are_scikit_learns_on_the_pooled_held_out_rows() -> None:
    result = run(study(fc.Train(model="mlp_medical", rounds=5)))
    _, _, x, y = _sets()
    score = np.asarray(result.model(x.astype(np.float32)))[:, 0]
    report = result.report["test"]
    assert report["accuracy"] == pytest.approx(accuracy_score(y, score >= 0.5))
    assert report["loss"] == pytest.approx(log_loss(y, score.astype(float)), abs=1e-4)
    assert abs(report["auc"] - roc_auc_score(y, score)) <= report["auc_error"] + 1e-12 < 1e-3
    np.testing.assert_array_equal(report["confusion"], confusion_matrix(y, score >= 0.5))
    assert sum(row["rows"] for row in report["calibration"]) == len(y)
    assert report["roc"]["true_positive"][-1] == 1.0
    last = result.metrics[result.metrics["split"] == "test"].iloc[-1]
    assert last["round"] == 5
    assert last["auc"] == pytest.approx(report["auc"])


@pytest.mark.training
def test_a_hospital_without_training_rows_changes_nothing() -> None:
    alone = run(study(fc.Train(model="logistic", rounds=3)), {"a": FRAMES["a"]})
    idle = FRAMES["b"].assign(set="test")
    both = run(study(fc.Train(model="logistic", rounds=3)), {"a": FRAMES["a"], "b": idle})
    np.testing.assert_allclose(both.arrays["weights"], alone.arrays["weights"], atol=1e-6)


@pytest.mark.training
def test_fedprox_holds_each_hospital_near_the_common_model() -> None:
    free = run(study(fc.Train(model="logistic", rounds=1, local_epochs=5)))
    held = run(study(fc.Train(model="logistic", rounds=1, local_epochs=5, proximal_mu=9.0)))
    start = run(study(fc.Train(model="logistic", rounds=1, learning_rate=1e-9)))
    moved = [float(np.abs(r.arrays["weights"] - start.arrays["weights"]).max()) for r in (free, held)]
    assert moved[1] < 0.5 * moved[0]


def test_momentum_is_the_paper_on_tiny_numbers() -> None:
    train, everything = fc.Train(server_optimizer="momentum"), np.array([True, True])
    weights, kept = server_step(train, np.zeros(2), np.array([1.0, -2.0]), {}, everything)
    np.testing.assert_allclose(weights, [1.0, -2.0])
    weights, kept = server_step(train, weights, np.array([1.0, 0.0]), kept, everything)
    np.testing.assert_allclose(weights, [1 + 1.9, -2 - 1.8])


def test_fedadam_is_algorithm_2_of_reddi_and_others_on_tiny_numbers() -> None:
    train, everything = fc.Train(server_optimizer="adam", server_learning_rate=0.1), np.array([True])
    weights, kept = server_step(train, np.zeros(1), np.array([0.5]), {}, everything)
    second = 0.99 * 1e-6 + 0.01 * 0.25
    np.testing.assert_allclose(weights, 0.1 * 0.05 / (np.sqrt(second) + 1e-3))
    weights, _ = server_step(train, weights, np.array([0.5]), kept, everything)
    second, first = 0.99 * second + 0.01 * 0.25, 0.9 * 0.05 + 0.05
    expected = 0.1 * 0.05 / (np.sqrt(0.99 * 1e-6 + 0.01 * 0.25) + 1e-3) + 0.1 * first / (
        np.sqrt(second) + 1e-3
    )
    np.testing.assert_allclose(weights, expected)


def test_moving_statistics_take_the_mean_as_it_is() -> None:
    train = fc.Train(server_optimizer="sgd", server_learning_rate=0.5)
    weights, _ = server_step(train, np.zeros(2), np.array([1.0, 1.0]), {}, np.array([True, False]))
    np.testing.assert_allclose(weights, [0.5, 1.0])


@pytest.mark.training
def test_the_mean_of_the_last_rounds_is_the_models() -> None:
    def after(rounds: int, last: int | None = None) -> np.ndarray:
        train = fc.Train(model="logistic", rounds=rounds, average_rounds=last, server_optimizer="momentum")
        return run(study(train)).arrays["weights"]

    path = np.stack([after(rounds) for rounds in (5, 6, 7)])
    np.testing.assert_allclose(after(7, 3), path.mean(0), rtol=1e-6)
    assert np.array_equal(after(7, 1), path[-1])
    assert not np.array_equal(after(7, 3), path[-1])


@pytest.mark.training
def test_the_finished_model_is_measured_and_not_its_last_step() -> None:
    result = run(study(fc.Train(model="logistic", rounds=6, average_rounds=6)))
    _, _, x, y = _sets()
    score = np.asarray(result.model(x.astype(np.float32)))[:, 0].astype(float)
    assert result.report["test"]["loss"] == pytest.approx(log_loss(y, score), abs=1e-4)


def test_more_rounds_than_there_are_cannot_be_averaged() -> None:
    with pytest.raises(fc.StudyError, match="average_rounds: 4 of 3 rounds; give no more"):
        fc.Train(rounds=3, average_rounds=4)


@pytest.mark.parametrize("last", [1, 3, 10])
def test_the_mean_so_far_is_of_the_last_so_many(last: int) -> None:
    path = np.random.default_rng(0).normal(size=(10, 4))
    kept: dict[str, np.ndarray] = {}
    for step, weights in enumerate(path, 1):
        kept = {**kept, **mean_so_far(weights, kept, step, len(path), last)}
        assert ("average" in kept) == (step > len(path) - last)
    np.testing.assert_allclose(kept["average"], path[-last:].mean(0), rtol=1e-12)


@pytest.mark.training
def test_three_stages_are_measured_one_against_the_rest() -> None:
    asked = study(fc.Train(model="logistic", rounds=10), fc.Classes("stage", [0, 1, 2]))
    result = run(asked)
    _, _, x, y = _sets("stage")
    score = np.asarray(result.model(x.astype(np.float32))).astype(float)
    score /= score.sum(1, keepdims=True)  # float32 sums to one only nearly
    report = result.report["test"]
    assert report["accuracy"] == pytest.approx(accuracy_score(y, score.argmax(1)))
    assert report["loss"] == pytest.approx(log_loss(y, score), abs=1e-4)
    assert report["auc"] == pytest.approx(roc_auc_score(y, score, multi_class="ovr"), abs=5e-3)
    np.testing.assert_array_equal(report["confusion"], confusion_matrix(y, score.argmax(1)))


@pytest.mark.training
def test_a_number_is_measured_in_its_own_unit() -> None:
    asked = study(fc.Train(model="logistic", rounds=20), fc.Number(column="days", low=0, high=30))
    result = run(asked)
    _, _, x, y = _sets("days")
    predicted = np.asarray(result.model(x.astype(np.float32)))[:, 0] * 15 + 15
    report = result.report["test"]
    assert report["mae"] == pytest.approx(mean_absolute_error(y, predicted), abs=1e-3)
    assert report["r2"] == pytest.approx(r2_score(y, predicted), abs=1e-4)
    assert report["accuracy"] is None


@pytest.mark.training
def test_importance_is_what_shuffling_costs() -> None:
    draw = np.random.default_rng(5)
    frame = pd.DataFrame({"signal": draw.normal(size=400), "noise": draw.normal(size=400)})
    frame["disease"] = (frame["signal"] + 0.3 * draw.normal(size=400) > 0).astype(int)
    cohort = fc.Cohort(columns={"signal": fc.Numeric(-6, 6), "noise": fc.Numeric(-6, 6)}, label="disease")
    asked = fc.Study(name="x", cohort=cohort, analysis=fc.Train(model="logistic", rounds=20))
    importance = run(asked, {"a": frame[:250], "b": frame[250:]}).report["importance"]
    assert importance["signal"]["auc_drop"] > 0.3
    assert importance["signal"]["loss_increase"] > 0.3
    assert abs(importance["noise"]["loss_increase"]) < 0.05


@pytest.mark.training
def test_a_model_evaluated_again_gives_the_metrics_it_had() -> None:
    trained = run(study(fc.Train(model="mlp_medical", rounds=3)))
    again = run(study(fc.Evaluate(model=trained)))
    assert again.report["test"]["loss"] == pytest.approx(trained.report["test"]["loss"], abs=1e-6)
    assert again.report["test"]["confusion"] == trained.report["test"]["confusion"]


@pytest.mark.training
def test_training_that_diverges_is_an_error_and_never_cut() -> None:
    with pytest.raises(StudyFailedError, match=r"saturation|value-out-of-range"):
        run(study(fc.Train(model="logistic", rounds=5, learning_rate=100.0, local_epochs=50)))


def test_an_epoch_has_every_row_once() -> None:
    rows = np.array([3, 5, 7, 9, 11])
    batches = epoch_batches(rows, 2, 2, np.random.default_rng(0))
    assert batches.shape == (6, 2)
    for epoch in (batches[:3], batches[3:]):
        assert sorted(epoch[epoch >= 0].tolist()) == [3, 5, 7, 9, 11]


@pytest.mark.training
def test_the_same_study_has_the_same_bits_whatever_the_order_of_the_sites() -> None:
    asked = study(fc.Train(model="mlp_medical", rounds=3))
    first = run(asked)
    second = run(asked, {site: FRAMES[site] for site in sorted(FRAMES, reverse=True)})
    assert first.arrays["weights"].tobytes() == second.arrays["weights"].tobytes()
    assert first.report == second.report


@pytest.mark.training
@pytest.mark.parametrize("bounds", [(), (-1e9, 1e9)], ids=["no bounds", "bounds far too wide"])
def test_features_are_standardised_alike_whatever_bounds_are_declared(bounds: tuple[float, float]) -> None:
    """The deviation of ages within -1e9 to 1e9 was lost in a sum of squares, and with it the AUC."""
    kind = fc.Numeric(*bounds)
    columns = {"age": kind, "pressure": kind, "smoker": fc.Categorical(["no", "yes"])}
    result = run(study(fc.Train(model="logistic", rounds=2), columns=columns))
    mean, deviation = train_moments()
    np.testing.assert_allclose(result.arrays["mean"], mean, rtol=1e-13)
    np.testing.assert_allclose(result.arrays["deviation"], deviation, rtol=1e-13)
    narrow = run(study(fc.Train(model="logistic", rounds=2)))
    assert result.arrays["weights"].tobytes() == narrow.arrays["weights"].tobytes()
    assert result.report["test"]["auc"] == narrow.report["test"]["auc"]


@pytest.mark.training
@pytest.mark.parametrize("rows", [None, [0.0], [np.nan], [10.0, 10.0]], ids=str)
def test_a_state_without_the_number_of_rows_is_refused_alike_whether_there_are_rows_or_not(rows: Any) -> None:
    """Refused only where there are rows to train on, it would say whether there are any."""
    asked = study(fc.Train(model="logistic", rounds=2, importance=False), fc.Binary("disease"))
    analysis = build_analysis(asked)
    arrays = {"weights": np.zeros(analysis.subject.model.n_weights, np.float32)}  # type: ignore[attr-defined]
    stage = analysis.stages[1]
    state = State("train", 1, arrays if rows is None else {**arrays, "rows": np.array(rows)})
    for frame in (FRAMES["a"], FRAMES["a"].assign(set="test")):
        update = next(part for part in stage.stages if part.name == "train")  # type: ignore[attr-defined]
        with pytest.raises(WireError, match="number of all training rows"):
            update.contribute(state, Rows(table_from_frame(frame, asked.cohort, 0)), Draw(0, "a", 1))
