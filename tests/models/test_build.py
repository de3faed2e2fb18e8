"""Models by name: their layers, heads and initial weights."""

import random

import numpy as np
import pytest

from fedcohort.errors import StudyError
from fedcohort.models.build import build_model
from fedcohort.models.head import Head

pytestmark = pytest.mark.training

BINARY, CLASSES, NUMBER = Head("binary", 1), Head("classes", 4), Head("number", 1)


def test_mlp_medical_has_the_layers_that_were_agreed() -> None:
    model = build_model("mlp_medical", (13,), BINARY, 0)
    assert [layer.__class__.__name__ for layer in model.layers] == ["Dense", "Dropout", "Dense", "Dense"]
    assert [w.shape for w in model.weights] == [(13, 128), (128,), (128, 64), (64,), (64, 1), (1,)]
    assert model.layers[1].rate == 0.3
    assert [model.layers[i].activation.__name__ for i in (0, 2, 3)] == ["relu", "relu", "sigmoid"]


@pytest.mark.parametrize("shape", [(3,), (10,), (28, 28, 1), (64, 64, 3)])
@pytest.mark.parametrize("head", [BINARY, CLASSES, NUMBER])
def test_cnn_medical_takes_vectors_and_images_and_gives_what_the_head_asks(
    shape: tuple[int, ...], head: Head
) -> None:
    model = build_model("cnn_medical", shape, head, 0)
    convolutions = [layer for layer in model.layers if layer.__class__.__name__.startswith("Conv")]
    assert {layer.rank for layer in convolutions} == {1 if len(shape) == 1 else 2}
    given = model(np.ones((2, *shape), np.float32)).numpy()
    assert given.shape == (2, head.outputs)
    if head is CLASSES:
        np.testing.assert_allclose(given.sum(axis=1), 1, rtol=1e-5)
    assert model.layers[-1].activation.__name__ == {1: "sigmoid", 4: "softmax"}.get(
        head.outputs if head is not NUMBER else 0, "linear"
    )


def test_cnn_medical_finds_the_same_wherever_in_a_picture_it_lies() -> None:
    model = build_model("cnn_medical", (64, 64, 1), BINARY, 0)
    finding = np.random.default_rng(0).random((8, 8, 1), np.float32)
    pictures = np.zeros((3, 64, 64, 1), np.float32)
    for picture, (top, left) in zip(pictures, ((16, 16), (16, 40), (40, 24)), strict=True):
        picture[top : top + 8, left : left + 8] = finding
    here, right, below = model(pictures).numpy()[:, 0]
    np.testing.assert_allclose([right, below], here, rtol=1e-5)
    assert abs(here - model(np.zeros((1, 64, 64, 1), np.float32)).numpy()[0, 0]) > 1e-3


@pytest.mark.parametrize("side", [12, 28, 64])
def test_cnn_medical_has_as_many_weights_for_a_picture_of_any_size(side: int) -> None:
    assert build_model("cnn_medical", (side, side, 1), BINARY, 0).count_params() == 23_905


@pytest.mark.parametrize("name", ["logistic", "mlp_medical", "cnn_medical"])
def test_initial_weights_follow_from_the_seed_alone(name: str) -> None:
    first, again, other = (build_model(name, (5,), BINARY, seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_building_leaves_numpys_generator_as_it_was() -> None:
    np.random.seed(4)
    expected = np.random.random()
    np.random.seed(4)
    build_model("logistic", (5,), BINARY, 1)
    assert np.random.random() == expected


def test_building_leaves_pythons_generator_as_it_was() -> None:
    random.seed(4)
    before = random.getstate()
    build_model("logistic", (5,), BINARY, 1)
    assert random.getstate() == before


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(StudyError, match=r"no model 'resnet'; choose one of logistic, mlp_medical"):
        build_model("resnet", (5,), BINARY, 0)
