"""A graph answers under privacy only after a trial of every place, with other neighbours, to the bit."""

import platform
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.models.head import Head
from fedcohort.models.inputs import InputPart
from fedcohort.models.invariance import Arrays, Floats, Pieces, try_rows, try_sums
from fedcohort.models.pieces import cut
from fedcohort.models.private import private_model
from fedcohort.models.start import SETTINGS
from tests.models.attack_on_bits import CLIP, WIDTH, steep_model
from tests.models.private_support import BINARY, chain, made_up_rows, one_each
from tests.models.test_start_tensorflow import run

pytestmark = pytest.mark.training

layers = keras.layers
PARTS, SHAPES, PIECE = (InputPart("record", (5,)),), [(5, 1), (1,)], (32, 1)
ONE_BIT = np.float32(1 + 2.0**-22)


def scores(weights: Floats, x: Arrays) -> Floats:
    """One number a row, each of operations of its own."""
    products = x[0] * weights[:5]
    total: Floats = weights[5] + np.zeros((len(x[0]), 1), np.float32)
    for column in range(5):
        total += products[:, column : column + 1]
    return np.tanh(total)


def sums(weights: Floats, x: Arrays, y: Floats, pieces: Pieces) -> NDArray[np.float64]:
    """A made-up gradient of each row, added up."""
    rows = pieces[pieces >= 0]
    part = scores(weights, (x[0][rows],)) - y[rows, None]
    total: NDArray[np.float64] = np.concatenate([part * x[0][rows], part], 1).astype(np.float64).sum(0)
    return total


def last_place_by_other_code(weights: Floats, x: Arrays, y: Floats, pieces: Pieces) -> NDArray[np.float64]:
    last = pieces[:, -1:]
    return sums(weights, x, y, pieces) + sums(weights, x, y, last) * (float(ONE_BIT) - 1)


def a_neighbour_moves_the_last_bit(
    weights: Floats, x: Arrays, y: Floats, pieces: Pieces
) -> NDArray[np.float64]:
    many = np.count_nonzero(pieces >= 0) > 8
    return sums(weights, x, y, pieces) * (float(ONE_BIT) if many else 1.0)


def another_code_for_more_pieces(
    weights: Floats, x: Arrays, y: Floats, pieces: Pieces
) -> NDArray[np.float64]:
    return sums(weights, x, y, pieces) * (float(ONE_BIT) if len(pieces) > 1 else 1.0)


def test_what_computes_every_place_alike_passes() -> None:
    try_sums(sums, SHAPES, PARTS, BINARY, PIECE, 0.0)
    try_rows(scores, SHAPES, PARTS, BINARY, 32)


@pytest.mark.parametrize(
    "read", [last_place_by_other_code, a_neighbour_moves_the_last_bit, another_code_for_more_pieces]
)
def test_one_last_bit_of_one_place_or_by_neighbours_or_pieces_is_found(read: object) -> None:
    with pytest.raises(StudyError, match="depend on where the patient stands among others"):
        try_sums(read, SHAPES, PARTS, BINARY, PIECE, 0.0)  # type: ignore[arg-type]


def test_one_last_bit_of_a_score_at_one_place_is_found() -> None:
    def last_place(weights: Floats, x: Arrays) -> Floats:
        found = scores(weights, x)
        found[-1] *= ONE_BIT
        return found

    with pytest.raises(StudyError, match="depend on where the patient stands among others"):
        try_rows(last_place, SHAPES, PARTS, BINARY, 32)


IN_PIECES_OF_32 = """
from dataclasses import replace
import numpy as np
from fedcohort.errors import StudyError
from fedcohort.models.head import Head
from fedcohort.models.pieces import cut
from fedcohort.models.private import private_model
private = replace(private_model("mlp_medical", (13,), Head("binary", 1), 0), alignment=32, tried=set())
x, weights = np.ones((3, 13), np.float32), np.zeros(private.n_weights, np.float32)
one = cut(np.arange(3)[:, None], [np.arange(3)], 32)
noise = np.zeros((1, private.n_weights), np.int64)
numbers = {"clip": 1.0, "seed": 0}
steps = {"resolution": 0.1, "expected_patients": 3.0, "learning_rate": 0.1}
for answer in (
    lambda: private.clipped_sum(weights, x, np.ones(3, np.float32), one[0], **numbers),
    lambda: private.train(weights, x, np.ones(3, np.float32), one, noise, **numbers, **steps),
):
    try:
        answer()
        print("holds")
    except StudyError as error:
        print(error)
"""


def test_a_compiled_model_that_fails_is_refused_and_what_is_printed_helps() -> None:
    """The kernel for AVX2 takes six rows at once, and 32 leave two: both graphs are refused, as they are."""
    facts = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not facts.exists() or " avx2 " not in facts.read_text():
        pytest.skip("needs a processor with AVX2")
    one_sum, steps = run(IN_PIECES_OF_32, ONEDNN_MAX_CPU_ISA="AVX2").splitlines()
    assert one_sum == steps
    assert one_sum.startswith("privacy: on this machine")
    remedy = one_sum.split("start this process with ")[1].split(", and")[0]
    obeyed = dict(pair.split("=") for pair in remedy.split())
    assert obeyed == SETTINGS
    assert run(IN_PIECES_OF_32, **obeyed).splitlines() == ["holds", "holds"]


@pytest.mark.parametrize("layer", [layers.GaussianNoise(0.5), layers.Dropout(0.5, noise_shape=(None, 1))])
def test_layers_that_draw_are_silent_in_the_trial_and_not_afterwards(layer: keras.layers.Layer) -> None:
    private = private_model(chain((6,), layers.Dense(4), layer), (6,), BINARY, 0)
    x, y = made_up_rows((6,), BINARY, 20)
    weights = np.random.default_rng(0).normal(size=private.n_weights).astype(np.float32)
    first, second = (private.clipped_sum(weights, x, y, one_each(20), clip=1.0, seed=seed) for seed in (1, 2))
    assert not np.allclose(first, second)


def test_a_patient_whose_gradient_is_not_finite_moves_no_bit_of_others_that_steep_weights_enlarge() -> None:
    config, weights = steep_model()
    private = private_model(config, (WIDTH,), BINARY, 0)
    x = np.random.default_rng(1).random((301, WIDTH)).astype(np.float32)
    x[0] = np.nan
    y, rows = np.zeros(301, np.float32), np.arange(301, dtype=np.int32)[:, None]

    def total(patients: NDArray[np.int64]) -> NDArray[np.float64]:
        pieces = cut(rows, [patients], private.cohort_patients)[0]
        return private.clipped_sum(weights, x, y, pieces, clip=CLIP, seed=0)

    np.testing.assert_allclose(total(np.arange(301)), total(np.arange(1, 301)), rtol=0, atol=1e-11)


def test_the_size_of_a_cohort_s_pieces_tells_nothing_of_how_many_patients_there_are() -> None:
    private = private_model("logistic", (13,), Head("binary", 1), 0)
    assert private.cohort_patients % private.alignment == 0
    assert private.alignment <= private.cohort_patients <= private.most_patients
