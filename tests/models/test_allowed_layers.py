"""Every layer that could mix patients is refused by its name, before anything is computed."""

import keras
import pytest

from fedcohort.errors import StudyError
from fedcohort.models.allowed_layers import _LAYERS, ROW_WISE, check_row_wise
from fedcohort.models.private import private_model
from tests.models.private_support import BINARY, json_of

pytestmark = pytest.mark.training

layers = keras.layers

REFUSED: dict[str, tuple[keras.layers.Layer, str]] = {
    "statistics": (layers.BatchNormalization(name="norm"), "'norm'.*mixes the patients.*LayerNormalization"),
    "softmax": (layers.Softmax(axis=0, name="soft"), r"'soft' works across the patients .*\(axis 0\)"),
    "softmax from the end": (layers.Softmax(axis=-2, name="soft"), "'soft' works across the patients"),
    "unit": (layers.UnitNormalization(axis=0, name="unit"), "'unit' works across the patients"),
    "activity": (layers.Dense(2, activity_regularizer="l2", name="act"), "'act' penalises what it computes"),
    "activation": (
        layers.Dense(2, activation=layers.Softmax(axis=0), name="a"),
        "'a' has a layer as its act",
    ),
    "stranger": (
        layers.Discretization(bin_boundaries=[0.0], name="bins"),
        "'bins' .Discretization. is not known",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_mixes_patients_is_refused_by_its_name(name: str) -> None:
    layer, says = REFUSED[name]
    with pytest.raises(StudyError, match=says):
        check_row_wise(keras.Sequential([keras.Input((4,)), layer, layers.Dense(1)]))


def test_a_mixing_layer_inside_an_inner_model_is_found_before_anything_is_traced() -> None:
    inner = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(name="deep")])
    config = json_of(keras.Sequential([keras.Input((4,)), inner, layers.Dense(1, "sigmoid")]))
    with pytest.raises(StudyError, match="'deep'"):
        private_model(config, (4,), BINARY, 0)


def test_a_bare_operation_is_refused() -> None:
    start = keras.Input((4,))
    end = layers.Dense(1)(keras.ops.softmax(start, axis=0))
    with pytest.raises(StudyError, match="is not known to treat each patient apart"):
        check_row_wise(keras.Model(start, end))


def test_joining_rows_of_two_patients_is_refused() -> None:
    start = keras.Input((4,))
    end = layers.Dense(1)(layers.Concatenate(axis=0, name="join")([start, start]))
    with pytest.raises(StudyError, match="'join' works across the patients"):
        check_row_wise(keras.Model(start, end))


@pytest.mark.parametrize("activation", ["softmax", "log_softmax", "sparsemax"])
def test_an_activation_along_the_batch_of_single_numbers_is_refused(activation: str) -> None:
    """It has no axis to look at, and of sparsemax a made-up row of nobody need not show it."""
    start = keras.Input((2,))
    single = layers.Activation(activation)(layers.Reshape((), name="single")(layers.Dense(1)(start)))
    with pytest.raises(StudyError, match="'single' has one number a patient on the axis of the batch"):
        check_row_wise(keras.Model(start, layers.Reshape((1,))(single)))


def test_one_mask_for_several_patients_is_refused() -> None:
    start = keras.Input((2,))
    shared = layers.Dropout(0.5, noise_shape=(1, 2), name="drop")(start)
    with pytest.raises(
        StudyError, match=r"'drop' draws one mask for several patients \(noise_shape \(1, 2\)\)"
    ):
        check_row_wise(keras.Model(start, layers.Dense(1)(shared)))
    own = layers.Dropout(0.5, noise_shape=(None, 1))(start)
    check_row_wise(keras.Model(start, layers.Dense(1)(own)))


def test_every_layer_that_a_study_may_use_is_known_as_row_wise_or_refused() -> None:
    exact_only = {"LSTM", "GRU", "SimpleRNN", "Bidirectional", "Embedding", "RepeatVector"}
    assert {"BatchNormalization", *exact_only} == _LAYERS - ROW_WISE
