"""A researcher's own model: what passes, and what is refused before Keras sees it."""

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from fedcohort.errors import StudyError
from fedcohort.models.build import build_model
from fedcohort.models.head import Head

pytestmark = pytest.mark.training

Config = dict[str, Any]
layers = keras.layers

BINARY, CLASSES, NUMBER = Head("binary", 1), Head("classes", 3), Head("number", 1)


def _config(*parts: keras.layers.Layer, shape: tuple[int, ...] = (4,)) -> Config:
    config: Config = json.loads(keras.Sequential([keras.Input(shape), *parts]).to_json())
    return config


def _plain() -> Config:
    return _config(layers.Dense(8, "relu", name="hidden"), layers.Dense(1, "sigmoid"))


def _build(config: Config, head: Head = BINARY, shape: tuple[int, ...] = (4,)) -> Any:
    return build_model(config, shape, head, 0)


def test_a_configuration_gives_the_model_and_weights_of_the_seed() -> None:
    first, again = _build(_plain()), _build(_plain())
    assert [w.shape for w in first.weights] == [(4, 8), (8,), (8, 1), (1,)]
    assert np.array_equal(first.get_weights()[0], again.get_weights()[0])
    assert first.get_weights()[0].any()


def test_a_functional_model_with_normalisation_branches_and_classes_is_accepted() -> None:
    start = keras.Input((8, 8, 1))
    left = layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2")(start)
    right = layers.SeparableConv2D(4, 3, padding="same", depthwise_initializer=keras.initializers.HeNormal())(
        start
    )
    both = layers.BatchNormalization()(layers.Concatenate()([left, right]))
    end = layers.Dense(3, "softmax")(layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(both)))
    config = json.loads(keras.Model(start, end).to_json())
    assert _build(config, CLASSES, (8, 8, 1)).output_shape == (None, 3)


def test_a_compiled_model_is_taken_without_its_optimiser() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC()])
    built = _build(json.loads(model.to_json()))
    assert not built.compiled


def _lambda(config: Config) -> None:
    config["config"]["layers"][1] = {
        "class_name": "Lambda",
        "module": "keras.layers",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}},
    }


def _inner_lambda(config: Config) -> None:
    config["config"]["layers"][1]["config"]["activation"] = {
        "class_name": "__lambda__",
        "config": {"code": "4wEAAAA=", "defaults": None, "closure": None},
    }


def _function(config: Config) -> None:
    config["config"]["layers"][1]["config"]["activation"] = {
        "class_name": "function",
        "module": "os",
        "config": "system",
        "registered_name": "system",
    }


def _other_module(config: Config) -> None:
    config["config"]["layers"][1]["module"] = "evil.keras"


def _registered(config: Config) -> None:
    config["config"]["layers"][1]["registered_name"] = "Mine>Dense"


def _file(config: Config) -> None:
    config["config"]["layers"][1] = {
        "class_name": "StringLookup",
        "module": "keras.layers",
        "config": {"vocabulary": "/etc/passwd"},
    }


def _saved_model(config: Config) -> None:
    config["config"]["layers"][1] = {
        "class_name": "TFSMLayer",
        "module": "keras.layers",
        "config": {"filepath": "/srv/model"},
    }


def _constraint(config: Config) -> None:
    config["config"]["layers"][1]["config"]["kernel_constraint"] = {
        "class_name": "NonNeg",
        "module": "keras.constraints",
        "config": {},
        "registered_name": None,
    }


def _constraint_by_word(config: Config) -> None:
    config["config"]["layers"][1]["config"]["kernel_constraint"] = "non_neg"


def _no_name(config: Config) -> None:
    config["config"]["layers"][1]["class_name"] = ["Dense"]


def _not_a_model(config: Config) -> None:
    config["class_name"] = "Dense"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_lambda, "'Lambda' is not allowed"),
        (_inner_lambda, "'__lambda__' is not allowed"),
        (_function, "'function' is not allowed"),
        (_other_module, "'Dense' is not allowed"),
        (_registered, "registered class of somebody's own"),
        (_file, "'StringLookup' is not allowed"),
        (_saved_model, "'TFSMLayer' is not allowed"),
        (_constraint, "'NonNeg' is not allowed"),
        (_constraint_by_word, "kernel_constraint is not allowed"),
        (_no_name, "is not allowed"),
        (_not_a_model, "what model.to_json"),
    ],
)
def test_code_files_and_strangers_are_refused(change: Callable[[Config], None], says: str) -> None:
    config = _plain()
    change(config)
    with pytest.raises(StudyError, match=says):
        _build(config)


def test_a_real_lambda_layer_is_refused() -> None:
    with pytest.raises(StudyError, match="'Lambda' is not allowed"):
        _build(_config(layers.Lambda(lambda x: x), layers.Dense(1, "sigmoid")))


@pytest.mark.parametrize(
    ("config", "head", "says"),
    [
        (_config(layers.Dense(1, "sigmoid"), shape=(5,)), BINARY, r"takes \[\(5,\)\].*shape \(4,\)"),
        (_config(layers.Dense(2, "softmax")), BINARY, r"gives \[\(2,\)\].*binary needs \(1,\)"),
        (_config(layers.Dense(1, "sigmoid")), CLASSES, r"gives \[\(1,\)\].*classes needs \(3,\)"),
        (_config(layers.Reshape((2, 2)), layers.Dense(1)), NUMBER, r"gives \[\(2, 1\)\]"),
        (_config(layers.Dense(1, name="last")), BINARY, "'last' gives no probabilities; end with sigmoid"),
        (_config(layers.Dense(3, "sigmoid")), CLASSES, "no probabilities; end with softmax"),
        (_config(layers.Dense(1, "sigmoid", dtype="float16", name="half")), BINARY, "'half' is float16"),
        (_config(layers.Dense(1, dtype="mixed_float16")), NUMBER, "is mixed_float16; use float32"),
    ],
)
def test_shapes_ends_and_types_that_do_not_fit_are_named(config: Config, head: Head, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        _build(config, head)


def _functional(outputs: Callable[[Any], Any]) -> Config:
    start = keras.Input((4,))
    config: Config = json.loads(keras.Model(start, outputs(start)).to_json())
    return config


@pytest.mark.parametrize("head", [BINARY, NUMBER])
def test_an_output_in_a_mapping_is_refused(head: Head) -> None:
    with pytest.raises(StudyError, match="in a mapping or list; give one tensor"):
        _build(_functional(lambda x: {"p": layers.Dense(1, "sigmoid")(x)}), head)


def test_a_model_without_weights_is_refused() -> None:
    config = _config(layers.Reshape((4, 1)), layers.GlobalAveragePooling1D(), layers.Activation("sigmoid"))
    with pytest.raises(StudyError, match="has no weights"):
        _build(config)


def test_an_inner_model_with_two_outputs_is_accepted() -> None:
    start = keras.Input((4,))
    inner = keras.Model(start, [layers.Dense(3)(start), layers.Dense(3)(start)])
    config = _functional(lambda x: layers.Dense(1, "sigmoid")(layers.Add()(inner(x))))
    assert _build(config).output_shape == (None, 1)


def test_a_number_may_end_without_an_activation() -> None:
    assert _build(_config(layers.Dense(1)), NUMBER).output_shape == (None, 1)


def test_a_model_without_an_input_shape_is_refused() -> None:
    config = json.loads(keras.Sequential([layers.Dense(1, "sigmoid")]).to_json())
    with pytest.raises(StudyError, match="no input shape"):
        _build(config)


def test_a_model_with_a_million_million_weights_is_refused_before_there_is_memory_for_them() -> None:
    config = _config(layers.Dense(2, "relu"), layers.Dense(3, "relu"), layers.Dense(1, "sigmoid"))
    for layer, units in zip(config["config"]["layers"][1:3], (10**6, 10**6), strict=True):
        layer["config"]["units"] = units
    for layer in config["config"]["layers"]:
        layer.pop("build_config", None)
    with pytest.raises(StudyError, match=r"1,000,007,000,001 weights; at most 50,000,000"):
        _build(config)


def test_a_layer_that_blows_a_row_up_is_refused() -> None:
    config = _config(
        layers.Reshape((2, 2, 1)),
        layers.UpSampling2D(8_000),
        layers.GlobalAveragePooling2D(),
        layers.Dense(1, "sigmoid"),
    )
    with pytest.raises(StudyError, match="more than 50,000,000 numbers for one row"):
        _build(config)


def test_more_than_200_layers_are_refused() -> None:
    with pytest.raises(StudyError, match="more than 200 layers"):
        _build(_config(*(layers.ReLU() for _ in range(201)), layers.Dense(1, "sigmoid")))


def test_deep_nesting_is_refused() -> None:
    config = _plain()
    inside = config["config"]
    for _ in range(50):
        inside["more"] = {}
        inside = inside["more"]
    with pytest.raises(StudyError, match="nested deeper than 40"):
        _build(config)


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def test_any_broken_field_gives_a_study_error_or_a_model_and_nothing_else() -> None:
    text = json.dumps(_plain())
    junk: tuple[Any, ...] = (None, [], {}, "x", -1, 1e300, [None, -3])
    refused = 0
    for index in range(len(_places(json.loads(text)))):
        config = json.loads(text)
        parent, key = _places(config)[index]
        parent[key] = junk[index % len(junk)]
        try:
            _build(config)
        except StudyError:
            refused += 1
    assert refused > 20
