"""What is said of a model, of its training and of a saved result, obeyed once each."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.dashboard.hospital.app import build_hospital_page
from fedcohort.dashboard.shared.application import close_app
from fedcohort.models import start
from fedcohort.models.allowed_layers import check_row_wise
from fedcohort.models.build import build_model
from fedcohort.models.head import Head
from fedcohort.models.inputs import InputPart
from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.inference import load_predictor
from fedcohort.researcher.result import Result
from fedcohort.sources.catalogue.stored_images import encode_image

from .models.private_support import BINARY, CLASSES, json_of
from .node.test_ledger import policy as ledger_policy
from .remedies_obeyed_work import Lacks, install
from .remedy_rows import Row, obey, pattern, refusal
from .test_remedies_of_sites import run

pytestmark = pytest.mark.training

layers = keras.layers
SCAN, RECORD = InputPart("scan", (8, 8, 1), pixels=True), InputPart("record", (4,))
BOTH, PICTURE, NUMBERS = (SCAN, RECORD), (SCAN,), (RECORD,)
BASE = {"base_url": "http://127.0.0.1:5001"}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")


def chain(*parts: Any, shape: tuple[int, ...] = (4,)) -> dict[str, Any]:
    return json_of(keras.Sequential([keras.Input(shape), *parts]))


def last(activation: str | None = "sigmoid", units: int = 1, **more: Any) -> Any:
    return layers.Dense(units, activation, **more)


def without_input() -> dict[str, Any]:
    return json_of(keras.Sequential([last()]))


def in_mapping(*, mapping: bool) -> dict[str, Any]:
    begin = keras.Input((4,))
    end = last()(begin)
    return json_of(keras.Model(begin, {"p": end} if mapping else end))


def wide(units: int) -> dict[str, Any]:
    """A model of 4 × units + 2 × units + 1 weights."""
    config = chain(layers.Dense(2, "relu"), last())
    config["config"]["layers"][1]["config"]["units"] = units
    for layer in config["config"]["layers"]:
        layer.pop("build_config", None)
    return config


def with_inputs(*shapes: tuple[int, ...]) -> dict[str, Any]:
    inputs = [keras.Input(shape) for shape in shapes]
    flat = [layers.Flatten()(one) for one in inputs]
    joined = layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    return json_of(keras.Model(inputs, last()(joined)))


def built(model: Callable[[], Any] | str, head: Head = BINARY, shape: Any = (4,)) -> Callable[[], object]:
    return lambda: build_model(model if isinstance(model, str) else model(), shape, head, 0)


def changed(key: str, value: object, *, inside: bool = False) -> Callable[[], dict[str, Any]]:
    """A plain model's configuration with one thing of it, or of its hidden layer, changed."""

    def config() -> dict[str, Any]:
        made = chain(layers.Dense(8, "relu"), last())
        place = made["config"]["layers"][1]["config"] if inside else made
        place[key] = value
        return made

    return config


def recurrent(word: str | None) -> Callable[[], dict[str, Any]]:
    def config() -> dict[str, Any]:
        made = chain(layers.Reshape((4, 1)), layers.LSTM(2), last())
        if word is not None:
            made["config"]["layers"][2]["config"][word] = True
        return made

    return config


PLAIN = lambda: chain(layers.Dense(8, "relu"), last())  # noqa: E731
MODELS = [
    Row("analysis.model: no model {}; choose one of {}", built("resnet"), built("logistic")),
    Row("take image_and_record, or a Keras model of your own with an input for each",
        built("logistic", shape=BOTH),
        lambda: (built("image_and_record", shape=BOTH)(),
                 built(lambda: with_inputs((8, 8, 1), (4,)), shape=BOTH)())),
    Row("image_and_record takes one image column and one or more ordinary columns",
        built("image_and_record", shape=PICTURE), built("image_and_record", shape=BOTH)),
    Row("give the model one keras.Input of each shape, named so if two have one shape",
        built(lambda: with_inputs((4,)), shape=BOTH),
        built(lambda: with_inputs((8, 8, 1), (4,)), shape=BOTH)),
    Row("analysis.model: has no weights; there is nothing to train",
        built(lambda: chain(layers.Reshape((4, 1)), layers.GlobalAveragePooling1D(),
                            layers.Activation("sigmoid"))), built(PLAIN)),
    Row("analysis.model: {} weights; at most {} are allowed",
        built(lambda: wide(50_000_000)), built(lambda: wide(50))),
    Row("analysis.model: no input shape; begin with keras.Input(...)", built(without_input), built(PLAIN)),
    Row("analysis.model: gives {}, and a label of the kind {} needs {}",
        built(lambda: chain(last("softmax", 2))), built(lambda: chain(last()))),
    Row("analysis.model: layer {} is {}; use float32",
        built(lambda: chain(last(dtype="float16"))), built(lambda: chain(last(dtype="float32")))),
    Row("analysis.model: gives its output in a mapping or list; give one tensor",
        built(lambda: in_mapping(mapping=True)), built(lambda: in_mapping(mapping=False))),
    Row("analysis.model: layer {} gives no probabilities; end with {}",
        built(lambda: chain(last(None))),
        lambda: (built(lambda: chain(last("sigmoid")))(),
                 built(lambda: chain(last("softmax", 3)), CLASSES)())),
    Row("analysis.model: {} is not allowed; docs/models.md lists the layers that are",
        built(changed("class_name", "Lambda")), built(PLAIN)),
    Row("analysis.model: not a model's configuration; give what model.to_json() returns",
        built(changed("class_name", "Dense")), built(PLAIN)),
    Row("for the mean of sites' weights need not obey it; leave it out, or penalise weights",
        built(changed("kernel_constraint", "non_neg", inside=True)),
        lambda: (built(PLAIN)(),
                 built(lambda: chain(layers.Dense(8, "relu", kernel_regularizer="l2"), last()))())),
    Row("analysis.model: {} with {}=True is not allowed ({}); leave it out",
        built(recurrent("stateful")), built(recurrent(None))),
]  # fmt: skip


def private(*parts: Any, shape: tuple[int, ...] = (4,)) -> Callable[[], object]:
    model = keras.Sequential([keras.Input(shape), *parts, layers.Dense(1)])
    return lambda: check_row_wise(model)


def one_number_each(*, axis: bool) -> Callable[[], object]:
    def check() -> object:
        begin = keras.Input((2,))
        single = layers.Reshape((1,) if axis else ())(layers.Dense(1)(begin))
        end = layers.Activation("sigmoid")(single)
        return check_row_wise(keras.Model(begin, layers.Reshape((1,))(end)))  # type: ignore[func-returns-value]

    return check


def clipped(clip: float) -> Callable[[], object]:
    from fedcohort.models.private import _check_clip

    return lambda: _check_clip(clip)


PRIVATE = [
    Row("use LayerNormalization or GroupNormalization", private(layers.BatchNormalization()),
        lambda: (private(layers.LayerNormalization())(), private(layers.GroupNormalization(2))())),
    Row("{} ({}) is not known to treat each patient apart, as privacy needs; leave it out",
        private(layers.Discretization(bin_boundaries=[0.0])), private()),
    Row("penalise its weights instead (kernel_regularizer)",
        private(layers.Dense(2, activity_regularizer="l2")),
        private(layers.Dense(2, kernel_regularizer="l2"))),
    Row("{} has a layer as its activation; let that be a layer of its own after it",
        private(layers.Dense(2, activation=layers.Softmax())), private(layers.Dense(2), layers.Softmax())),
    Row("let noise_shape begin with None, or leave it out", private(layers.Dropout(0.5, noise_shape=(1, 4))),
        lambda: (private(layers.Dropout(0.5, noise_shape=(None, 1)))(), private(layers.Dropout(0.5))())),
    Row("keep an axis of its own, as Reshape((1,)) gives",
        one_number_each(axis=False), one_number_each(axis=True)),
    Row("{} works across the patients of a batch (axis 0); choose another axis",
        private(layers.Softmax(axis=0)), private(layers.Softmax(axis=1))),
    Row("privacy.clip: {}; give a number from {} to {}", clipped(0.0), clipped(1.0)),
]  # fmt: skip
TABLES = [*MODELS, *PRIVATE]


@pytest.mark.parametrize("row", TABLES, ids=lambda row: row.said[:60])
def test_a_model_is_taken_once_it_is_made_as_told(row: Row) -> None:
    obey(row)


def test_tensorflow_starts_once_the_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    refusal("KERAS_BACKEND={}: this study needs Keras on TensorFlow; unset the variable",
            start.start_tensorflow.__wrapped__)  # fmt: skip
    monkeypatch.delenv("KERAS_BACKEND")
    assert start.start_tensorflow.__wrapped__().__name__ == "tensorflow"


INSTALLED = [
    Lacks("this study needs TensorFlow, which is not installed here: pip install", "tensorflow",
          start.start_tensorflow.__wrapped__),
    Lacks("result.plot needs matplotlib: pip install", "fedcohort.researcher.picture",
          lambda: trained_once().plot()),
]  # fmt: skip


@pytest.mark.parametrize("one", INSTALLED, ids=lambda one: one.module)
def test_what_lacks_a_package_works_once_it_is_there(one: Lacks, monkeypatch: pytest.MonkeyPatch) -> None:
    install(one, monkeypatch)


FRAME = pd.DataFrame(
    {
        "patient_id": [f"p{n}" for n in range(60)],
        "age": np.arange(60) + 20.0,
        "ill": [int(n > 30) for n in range(60)],
        "days": np.arange(60) / 10,
    }
)
FRAMES = {"a": FRAME, "b": FRAME.assign(patient_id=[f"q{n}" for n in range(60)])}
BY_AGE: Any = {"columns": {"age": fc.Numeric(18, 100)}, "label": fc.Binary("ill"), "split": None}
_RESULTS: list[Result] = []


def trained(cohort: dict[str, Any] | None = None, **train: Any) -> Result:
    given = {"model": "logistic", "rounds": 2, "importance": False, **train}
    asked = fc.Study(name="x", cohort=fc.Cohort(**{**BY_AGE, **(cohort or {})}), analysis=fc.Train(**given))
    return fc.simulate(FRAMES).run(asked, progress=False)


def trained_once() -> Result:
    """One result for all that only look at it."""
    if not _RESULTS:
        _RESULTS.append(trained())
    return _RESULTS[0]


def moving() -> dict[str, Any]:
    return chain(layers.BatchNormalization(), last(), shape=(1,))


NUMBER_LABEL = {"label": fc.Number(column="days", low=0, high=10)}
RUNS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("algorithm: fedsgd cannot train layers that keep moving statistics; use fedavg",
     {"model": moving, "algorithm": "fedsgd"}, {"model": moving, "algorithm": "fedavg"}),
    ("no site has a row to train on; check 'where', 'split' and the label",
     {"cohort": {"where": "age > 30", "split": fc.Holdout(0.999999)}},
     {"cohort": {"where": "age > 30", "split": fc.Holdout(0.2)}}),
    ("widen the bounds, exclude such rows by 'where', or clean the data",
     {"cohort": {"columns": {"age": fc.Numeric(18, 50)}}},
     {"cohort": {"columns": {"age": fc.Numeric(18, 50)}, "where": "age <= 50"}}),
    ("a value lies beyond {}; lower the learning rate or declare wider bounds",
     {"cohort": NUMBER_LABEL, "learning_rate": 100.0, "rounds": 30},
     {"cohort": NUMBER_LABEL, "learning_rate": 0.01, "rounds": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("said", "wrong", "better"), RUNS, ids=[one[0][:40] for one in RUNS])
def test_a_training_succeeds_once_it_is_asked_as_told(
    said: str, wrong: dict[str, Any], better: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What a site says is a code, and the words are in its log, which the error names."""

    def with_model(words: dict[str, Any]) -> dict[str, Any]:
        return {name: value() if name == "model" else value for name, value in words.items()}

    with caplog.at_level(logging.WARNING), pytest.raises(fc.FedcohortError) as refused:
        trained(**with_model(wrong))
    if not pattern(said).search(str(refused.value)):
        assert "; the log says more" in str(refused.value)
        assert pattern(said).search(caplog.text), caplog.text
    assert trained(**with_model(better)).report["train"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():  # of Keras, which converts its variables in an old way
        warnings.simplefilter("ignore", DeprecationWarning)
        return trained_once().save(tmp_path_factory.mktemp("saved") / "model")


@pytest.mark.filterwarnings("ignore:__array__")
def test_a_result_is_read_once_it_is_saved_again_where_it_can_be() -> None:
    result = trained_once()
    Path("file").write_text("no folder")
    refusal("{}: {}; save into a folder that can be written", lambda: result.save("file/kept"))
    for text, fault in (("", "damaged ({})"), ("[]", "empty")):
        result.save("kept")
        Path("kept/report.json").write_text(text)
        said = f"{{}}: report.json or metrics.csv is {fault}; save the result again"
        refusal(said, lambda: fc.load_result("kept"))
        result.save("kept")  # again
        assert fc.load_result("kept").report
    refusal("{}: {}; give the folder that result.save wrote", lambda: fc.load_result("nowhere"))
    assert fc.load_result(result.save("kept")).study == result.study


def test_a_patient_is_predicted_once_the_values_are_written_as_told(saved: Path) -> None:
    ask = f"fedcohort predict {saved}"
    for wrong, said in (
        (ask, "give either --value COLUMN=VALUE, once a column, or --site site.toml"),
        (f"{ask} --value age", "--value {}: write COLUMN=VALUE"),
        (f"{ask} --value age=old", "{}: not a number; write digits with a point, such as 5.4"),
        (f"{ask} --value age=181", "{}: outside {} to {}; check the value and its unit"),
        (f"{ask} --value height=1", "{}: no column of this model; it has {}"),
    ):
        refusal(said, lambda: run(wrong))  # noqa: B023
    assert "probability" in run(f"{ask} --value age=54.5")
    predictor = load_predictor(saved)
    years = {"age": fc.Numeric(18, 100, unit="years")}
    with_unit = predictor.study.cohort.model_copy(update={"columns": years})
    asked = type(predictor)(predictor.study.model_copy(update={"cohort": with_unit}), predictor.saved)
    refusal("{}: outside {} to {} in {}; check the value and its unit",
            lambda: asked.predict_one({"age": 648}))  # fmt: skip
    assert 0 < asked.predict_one({"age": 648 / 12}).value < 1


@pytest.fixture(scope="module")
def pictured() -> Result:
    """A model of one image."""
    draw = np.random.default_rng(3)
    scans = [draw.integers(0, 256, (8, 8, 1)).astype(np.uint8) // (1 + n % 2) for n in range(40)]
    frame = pd.DataFrame({"patient_id": [f"p{n}" for n in range(40)], "ill": [n % 2 for n in range(40)]})
    frame["scan"] = pd.Series(scans, dtype=object)
    asked = fc.Study(
        name="scans", cohort=fc.Cohort(columns={"scan": fc.Image(8, 8)}, label=fc.Binary("ill")),
        analysis=fc.Train(model="cnn_medical", rounds=1, importance=False), protection="none",
    )  # fmt: skip
    return fc.simulate({"a": frame}).run(asked, progress=False)


@pytest.mark.filterwarnings("ignore:__array__")
def test_a_picture_is_given_as_told(pictured: Result, tmp_path: Path) -> None:
    folder = pictured.save("model")
    refusal("--value {}: {}; name a PNG file",
            lambda: run(f"fedcohort predict {folder} --value scan=none.png"))  # fmt: skip
    Path("scan.png").write_bytes(encode_image(np.zeros((8, 8, 1), np.uint8)))
    assert "probability" in run(f"fedcohort predict {folder} --value scan=scan.png")


def test_a_program_asks_a_page_for_a_prediction_as_it_is_told(tmp_path: Path) -> None:
    predictor = trained_once().predictor
    store = SqlNodeStore(tmp_path / "node.db")
    page = build_hospital_page(ledger_policy(tmp_path), store, [predictor])
    asked = f"/api/models/{predictor.study.hash[:12]}/predict"
    for wrong, said in (
        ([], 'the body is not {"values": {COLUMN: VALUE, …}}'),
        ({"values": {"age": True}}, "age: give a number, a text or null"),
    ):
        answer = page.test_client().post(asked, json=wrong, **BASE)
        assert (answer.status_code, answer.get_json()["message"]) == (400, said)
    for value in (54.5, "54.5", None):
        assert page.test_client().post(asked, json={"values": {"age": value}}, **BASE).status_code == 200
    close_app(page)
    store.close()
