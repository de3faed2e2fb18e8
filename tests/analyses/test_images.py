"""Studies of images: federated against pooled, each column's importance, and what is told of an image."""

from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import fedcohort as fc
from fedcohort.errors import StudyError
from fedcohort.explain import explain
from fedcohort.sources.catalogue.stored_images import encode_image
from tests.build import protected_by, simulated

pytestmark = pytest.mark.training

layers = keras.layers
SPLIT = ["train", "train", "test"]


def scans(n: int, seed: int) -> pd.DataFrame:
    """Sick patients have a bright corner, and are older."""
    draw = np.random.default_rng(seed)
    ill = draw.integers(0, 2, n)
    pixels = draw.integers(0, 160, (n, 8, 8), dtype=np.uint8)
    pixels[:, :4, :4] += (ill * draw.integers(0, 90, n)).astype(np.uint8)[:, None, None]
    return pd.DataFrame(
        {
            "scan": [encode_image(image) for image in pixels],
            "age": 50 + 8 * ill + draw.normal(0, 10, n),
            "ill": ill,
            "set": [SPLIT[index % 3] for index in range(n)],
            "patient_id": [f"p{seed}-{index}" for index in range(n)],
        }
    )


FRAMES = {"a": scans(60, 1), "b": scans(30, 2), "c": scans(15, 3)}
POOLED = {"all": pd.concat(FRAMES.values(), ignore_index=True)}
SCAN: dict[str, Any] = {"scan": fc.Image(8, 8)}
BOTH: dict[str, Any] = {**SCAN, "age": fc.Numeric(0, 120)}


def two_inputs() -> keras.Model:
    image, record = keras.Input((8, 8, 1)), keras.Input((1,))
    seen = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(image))
    return keras.Model([image, record], layers.Dense(1, "sigmoid")(layers.Concatenate()([seen, record])))


def study(model: Any, columns: dict[str, Any], **changes: Any) -> fc.Study:
    train = fc.Train(**{"model": model, "rounds": 4, "learning_rate": 0.05, "importance": False, **changes})
    cohort = fc.Cohort(columns=columns, label=fc.Binary("ill"), split="set")
    return fc.Study(name="scans", cohort=cohort, analysis=train, protection="none")


def weights(result: fc.Result) -> np.ndarray:
    return result.arrays["weights"].astype(np.float64)


@pytest.mark.parametrize(
    ("model", "columns"), [("cnn_medical", SCAN), ("image_and_record", BOTH), ("own", BOTH)]
)
def test_federated_steps_are_the_pooled_steps(model: Any, columns: dict[str, Any]) -> None:
    model = two_inputs() if model == "own" else model
    asked = study(model, columns, algorithm="fedsgd")
    federated, pooled = simulated(asked, FRAMES), simulated(asked, POOLED)
    moved = np.abs(
        weights(pooled) - weights(simulated(study(model, columns, algorithm="fedsgd", rounds=1), POOLED))
    )
    assert moved.max() > 1e-3
    np.testing.assert_allclose(weights(federated), weights(pooled), atol=5e-5)
    for split in ("train", "test"):
        assert federated.report[split]["loss"] == pytest.approx(pooled.report[split]["loss"], abs=1e-4)
        assert federated.report[split]["auc"] == pytest.approx(pooled.report[split]["auc"], abs=2e-3)


def test_a_keras_loop_on_the_pooled_rows_ends_at_the_same_weights() -> None:
    import tensorflow as tf

    model = two_inputs()
    first = simulated(study(model, BOTH, algorithm="fedsgd", rounds=1, learning_rate=1e-12), FRAMES)
    result = simulated(study(model, BOTH, algorithm="fedsgd", rounds=3), FRAMES)
    frame = POOLED["all"]
    rows = frame[frame["set"] == "train"]
    image, record = first.features(rows)
    y = rows["ill"].to_numpy(np.float32)[:, None]
    assert image.shape == (70, 8, 8, 1)
    assert (image.min(), image.max()) >= (0.0, 0.5)
    assert image.max() <= 1.0
    own = first.model
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(y, own([image, record])))
        values = [v.value for v in own.trainable_variables]
        for value, gradient in zip(values, tape.gradient(loss, values), strict=True):
            value.assign_sub(0.05 * gradient)
    for got, expected in zip(result.model.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, atol=5e-5)


@pytest.mark.parametrize(("model", "columns"), [("cnn_medical", SCAN), ("image_and_record", BOTH)])
def test_every_protection_gives_the_same_bits(model: str, columns: dict[str, Any]) -> None:
    asked = study(model, columns, rounds=1, importance=True)
    reports = {}
    for protection in ("none", "masks", "paillier"):
        again = asked.model_copy(update=protected_by(protection))
        result = simulated(again, FRAMES)
        reports[protection] = (result.arrays["weights"].tobytes(), result.report["test"])
    assert reports["masks"] == reports["paillier"] == reports["none"]


def test_an_image_is_one_feature_and_its_importance_that_of_shuffling_it() -> None:
    frames = {site: scans(n, 10 + n) for site, n in (("a", 300), ("b", 200), ("c", 100))}
    result = simulated(study("image_and_record", BOTH, rounds=10, importance=True), frames)
    importance = result.report["importance"]
    assert set(importance) == {"scan", "age"}
    frame = pd.concat([frame[frame["set"] == "test"] for frame in frames.values()])
    plain = roc_auc_score(frame["ill"], result.predict(frame)[:, 0])
    draw = np.random.default_rng(0)
    drops = []
    for _ in range(40):
        shuffled = pd.concat(
            [
                part.assign(scan=part["scan"].to_numpy()[draw.permutation(len(part))])
                for _, part in frame.groupby(frame["patient_id"].str.split("-").str[0])
            ]
        )
        drops.append(plain - roc_auc_score(shuffled["ill"], result.predict(shuffled)[:, 0]))
    assert importance["scan"]["auc_drop"] == pytest.approx(np.mean(drops), abs=0.04)


def test_a_saved_model_of_an_image_and_a_record_is_evaluated_to_the_same_numbers() -> None:
    trained = simulated(study("image_and_record", BOTH, importance=True), FRAMES)
    cohort = trained.study.cohort
    again = simulated(fc.Study(name="again", cohort=cohort, analysis=fc.Evaluate(model=trained)), FRAMES)
    one, two = again.report["test"], trained.report["test"]
    # Scores are counted in other bins: the AUCs may differ by what is told of each.
    assert abs(one["auc"] - two["auc"]) <= one["auc_error"] + two["auc_error"] + 1e-12 < 2e-3
    for name in one.keys() - {"auc", "auc_error", "roc"}:
        assert one[name] == two[name]


def test_describing_says_in_words_that_an_image_is_passed_over() -> None:
    cohort = fc.Cohort(columns=BOTH, label=fc.Binary("ill"), split=None)
    asked = fc.Study(name="describe", cohort=cohort, analysis=fc.Describe())
    report = simulated(asked, FRAMES).report
    assert set(report["describe"]) == {"age", "ill"}
    assert report["not_described"] == {
        "scan": "an image: it has no mean and no levels; every row of the cohort has one"
    }
    words = explain(asked)
    assert "scan: an image of 8 x 8 pixels, grey" in words
    assert "Nothing of scan: images are not described." in words


@pytest.mark.parametrize("algorithm", ["fedsgd", "fedavg"])
@pytest.mark.parametrize(("model", "columns"), [("cnn_medical", SCAN), ("image_and_record", BOTH)])
def test_images_are_trained_on_under_differential_privacy(
    algorithm: Any, model: Any, columns: dict[str, Any]
) -> None:
    train = fc.Train(model=model, algorithm=algorithm, rounds=3, batch_size=16)
    cohort = fc.Cohort(columns=columns, label=fc.Binary("ill"), split="set")
    privacy = fc.Privacy(epsilon=8.0, delta=1e-3, evaluate_every=2)
    result = simulated(fc.Study(name="p", cohort=cohort, analysis=train, privacy=privacy), FRAMES)
    assert result.report["test"]["auc"] is None or 0 <= result.report["test"]["auc"] <= 1
    assert set(result.report["importance"]) == set(columns)
    assert np.isfinite(result.arrays["weights"]).all()


def test_batch_statistics_are_refused_by_name_under_privacy() -> None:
    image = keras.Input((8, 8, 1))
    seen = layers.Flatten()(layers.BatchNormalization(name="norm")(image))
    model = keras.Model(image, layers.Dense(1, "sigmoid")(seen))
    asked = study(model, SCAN, algorithm="fedsgd")
    private = asked.model_copy(update={"privacy": fc.Privacy(epsilon=8.0), "protection": "masks"})
    with pytest.raises(StudyError, match=r"'norm' \(BatchNormalization\) mixes the patients"):
        simulated(private, FRAMES)


def test_an_image_column_cannot_have_the_records_name() -> None:
    frames = {site: frame.rename(columns={"scan": "record"}) for site, frame in FRAMES.items()}
    columns = {"record": fc.Image(8, 8), "age": fc.Numeric(0, 120)}
    with pytest.raises(StudyError, match="rename it"):
        simulated(study("image_and_record", columns), frames)


def test_training_sees_images_another_way_and_nothing_else_does() -> None:
    asked = study("cnn_medical", SCAN, rounds=2, augment=["mirror", "shift"])
    first, again = simulated(asked, FRAMES), simulated(asked, FRAMES)
    assert np.array_equal(weights(first), weights(again))
    assert not np.array_equal(
        weights(first), weights(simulated(study("cnn_medical", SCAN, rounds=2), FRAMES))
    )
    evaluate = fc.Evaluate(model=first, importance=False)
    measured = simulated(asked.model_copy(update={"analysis": evaluate}), FRAMES)
    assert measured.report["test"]["loss"] == pytest.approx(first.report["test"]["loss"], abs=1e-5)


@pytest.mark.parametrize("algorithm", ["fedavg", "fedsgd"])
def test_both_algorithms_see_them_so(algorithm: str) -> None:
    plain, other = (
        simulated(study("cnn_medical", SCAN, rounds=1, algorithm=algorithm, augment=kinds), FRAMES)
        for kinds in ([], ["mirror"])
    )
    assert not np.array_equal(weights(plain), weights(other))


@pytest.mark.parametrize(
    ("columns", "privacy", "words"),
    [
        (SCAN, fc.Privacy(epsilon=1.0), "under privacy an image counts as it is"),
        ({"age": fc.Numeric(0, 120)}, None, "has no image column"),
    ],
)
def test_augmenting_what_cannot_be_is_refused(
    columns: dict[str, Any], privacy: fc.Privacy | None, words: str
) -> None:
    train = fc.Train.private(model="cnn_medical", rounds=2, augment=["mirror"])
    cohort = fc.Cohort(columns=columns, label=fc.Binary("ill"), split="set")
    with pytest.raises(StudyError, match=words):
        fc.Study(name="scans", cohort=cohort, analysis=train, privacy=privacy)
