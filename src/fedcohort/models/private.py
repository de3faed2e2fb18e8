"""What one site computes under privacy: a sum of clipped gradients, or a round of private steps.

Both are one graph call, whatever the number of steps and pieces. Patients are sampled by the
caller; a step's patients are cut into pieces of one size and padded, never truncated. The noise
comes from the caller too, as whole numbers of a resolution, so that a step is the discrete
Gaussian mechanism on integers (Canonne, Kamath, Steinke 2020, arXiv 2004.00010) and all else in
it is post-processing. Steps: Abadi et al. 2016, algorithm 1 (arXiv 1607.00133).
"""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.models.build import build_model
from fedcohort.models.dropout import use_quick_dropout
from fedcohort.models.ghost import clipped_gradient_sum
from fedcohort.models.graphs import row_losses
from fedcohort.models.head import Head
from fedcohort.models.inputs import (
    PIECE_ALIGNMENT,
    PIECE_BYTES,
    Inputs,
    InputShape,
    Part,
    Rows,
    as_inputs,
    caller,
    parts_of,
)
from fedcohort.models.local import renumbered, seed_pair
from fedcohort.models.own import row_values
from fedcohort.models.private_graphs import (
    USES_IN_A_PIECE,
    USES_IN_A_STEP,
    PrivateGraphs,
    Shape,
    private_graphs,
)
from fedcohort.models.start import check_started_for_privacy

LEAST_CLIP, LARGEST_CLIP = 1e-6, 1e6
_PIECE_VALUES, _PIECE_ROWS = 2**21, 1024
"""Numbers over all layers in one piece, so that it fits into a processor's cache."""

_SMALL_ROW = 1024
"""Numbers over all layers in a row of a model that one thread computes faster than several."""

_BUILDING = threading.Lock()

Floats = NDArray[np.float32]
_Array = TypeVar("_Array", bound=NDArray[Any])


@dataclass(frozen=True)
class PrivateModel:
    """A compiled model whose gradients are clipped by patient; weights are arguments.

    The seed of dropout must be the site's secret, as the sample must be: who knows each
    place's mask would see that a patient's absence moves the others to other masks.

    Attributes:
        n_weights: length of the flat vector, all of the model's weights in Keras' order.
        trainable_mask: (n_weights,) bool; False for frozen layers, whose gradient is zero.
        rows_per_patient: rows of a patient at most.
        most_patients: in one piece.
    """

    n_weights: int
    trainable_mask: NDArray[np.bool_]
    rows_per_patient: int
    most_patients: int
    graphs: PrivateGraphs
    lock: threading.Lock

    def clipped_sum(
        self, weights: Floats, x: Rows, y: Floats, pieces: NDArray[np.int32], *, clip: float, seed: int
    ) -> NDArray[np.float64]:
        """Add the clipped gradients of the sampled patients.

        A patient's gradient is that of the mean loss of the patient's rows, without penalties. A
        patient whose gradient is not finite adds nothing.

        Args:
            x, y: rows of (n, ...) and (n,) targets of the site.
            pieces: (pieces, patients, rows_per_patient) row indices as `cut` gives them.
            clip: L2 norm; one patient moves the result by no more, float32's rounding included.
            seed: of dropout; a secret.
        Returns:
            (n_weights,): zero for weights that are not trained.
        Raises:
            StudyError: the clip is not between LEAST_CLIP and LARGEST_CLIP.
        """
        _check_clip(clip)
        if not pieces.size or not len(x):
            return np.zeros(self.n_weights)
        inputs, numbers = as_inputs(x), (np.float32(clip), np.float64(1.0))
        at_once = len(pieces) if inputs.fits else 1
        shape = (None, *pieces.shape[1:])

        def run(careful: bool) -> NDArray[np.float64]:
            total = np.zeros(self.n_weights)
            for start in range(0, len(pieces), at_once):
                given = _with_rows(inputs, y, pieces[start : start + at_once])
                graph = self.graphs.clipped_sum(shape, careful)
                total += graph(weights, *given, *numbers, _seed_at(seed, start * USES_IN_A_PIECE)).numpy()
            return total

        return self._finite_or_careful(run)

    def train(
        self,
        weights: Floats,
        x: Rows,
        y: Floats,
        steps: NDArray[np.int32],
        noise: NDArray[np.int64],
        *,
        clip: float,
        resolution: float,
        expected_patients: float,
        learning_rate: float,
        l2: float = 0.0,
        proximal_mu: float = 0.0,
        seed: int,
    ) -> Floats:
        """Take private steps: each adds its noise to the rounded sum, and divides by the expected batch.

        Args:
            steps: (steps, pieces, patients, rows_per_patient) row indices as `cut` gives them.
            noise: (steps, n_weights) whole numbers of the resolution.
            resolution: the sum is rounded to multiples of it before noise is added.
            expected_patients: in a step; a number that does not depend on who was sampled.
            l2: adds l2 / 2 * |kernel|^2 to the loss; the model's own regularisers are added always.
            proximal_mu: adds mu / 2 * |w - weights|^2 over trainable weights (FedProx).
        Returns:
            (n_weights,): the weights after the last step.
        Raises:
            StudyError: the clip is not between LEAST_CLIP and LARGEST_CLIP.
        """
        _check_clip(clip)
        inputs = as_inputs(x)
        chosen = steps if len(inputs) else steps[:, :0]
        numbers = (*map(np.float32, (clip, expected_patients, learning_rate, l2, proximal_mu)),)
        shape, penalised = _shape_of(chosen), bool(l2 or proximal_mu)
        at_once = len(chosen) if inputs.fits else _steps_at_once(inputs.image_bytes, chosen)

        def run(careful: bool) -> Floats:
            graph, now = self.graphs.train(shape, careful, penalised), weights
            for start in range(0, max(1, len(chosen)), max(1, at_once)):
                part = slice(start, start + at_once)
                given = (*_with_rows(inputs, y, chosen[part]), noise[part], np.float64(resolution))
                now = graph(now, weights, *given, *numbers, _seed_at(seed, start * USES_IN_A_STEP)).numpy()
            return now

        return self._finite_or_careful(run)

    def penalty_gradient(self, weights: Floats, *, l2: float) -> Floats:
        """The gradient of l2 / 2 * |kernel|^2 and of the model's own regularisers: of no patient's data."""
        with self.lock:
            gradient: Floats = self.graphs.penalty_gradient(weights, np.float32(l2)).numpy()
        return gradient

    def piece_patients(self, expected_patients: float) -> int:
        """A piece's size for samples of about so many, the same for every step of a study."""
        wanted = expected_patients + 3.0 * float(np.sqrt(expected_patients))
        pieces = -(-int(np.ceil(wanted)) // PIECE_ALIGNMENT)
        return max(PIECE_ALIGNMENT, min(pieces * PIECE_ALIGNMENT, self.most_patients))

    def _finite_or_careful(self, run: Callable[[bool], _Array]) -> _Array:
        with self.lock:
            result = run(False)
            return result if np.isfinite(result).all() else run(True)


def cut(
    rows_of_patients: NDArray[np.integer[Any]], samples: Sequence[NDArray[np.integer[Any]]], patients: int
) -> NDArray[np.int32]:
    """Cut each step's sample of patients into pieces of one size.

    Args:
        rows_of_patients: (n_patients, rows_per_patient) row indices of each patient; -1 is no row.
        samples: of each step, indices of patients.
        patients: in a piece, as `piece_patients` gives it.
    Returns:
        (steps, pieces, patients, rows_per_patient): -1 where there is no row.
    """
    pieces = max((-(-len(sample) // patients) for sample in samples), default=0)
    whole = np.full((len(samples), pieces * patients, rows_of_patients.shape[1]), -1, np.int32)
    for step, sample in zip(whole, samples, strict=True):
        step[: len(sample)] = rows_of_patients[sample]
    return whole.reshape(len(samples), pieces, patients, rows_of_patients.shape[1])


def private_model(
    model: str | dict[str, Any],
    input_shape: InputShape,
    head: Head,
    seed: int,
    rows_per_patient: int = 1,
) -> PrivateModel:
    """Build a model for private training, once a process for the same arguments.

    Raises:
        StudyError: it cannot be built, a layer mixes patients, or TensorFlow was started by somebody else.
    """
    check_started_for_privacy()
    with _BUILDING:
        parts = parts_of(input_shape)
        return _private_model(json.dumps(model, sort_keys=True), parts, head, seed, rows_per_patient)


@lru_cache(maxsize=8)
def _private_model(
    model: str, parts: tuple[Part, ...], head: Head, seed: int, rows_per_patient: int
) -> PrivateModel:
    built = use_quick_dropout(build_model(json.loads(model), parts, head, seed))
    trainable = {id(variable) for variable in built.trainable_variables}
    mask = np.concatenate([np.full(int(np.prod(v.shape)), id(v) in trainable) for v in built.weights])
    values = row_values(built)
    rows = min(_PIECE_ROWS, _PIECE_VALUES // values) // rows_per_patient
    most = PIECE_ALIGNMENT * 2 ** max(0, (rows // PIECE_ALIGNMENT).bit_length() - 1)
    call = caller(built, parts)
    total = clipped_gradient_sum(built, head, row_losses, rows_per_patient=rows_per_patient, call=call)
    graphs = private_graphs(built, total, parts, mask, values <= _SMALL_ROW)
    return PrivateModel(len(mask), mask, rows_per_patient, most, graphs, threading.Lock())


def _with_rows(inputs: Inputs, y: Floats, indices: NDArray[np.int32]) -> tuple[Any, ...]:
    """The rows that a graph needs for these indices: all as they are, or of many images their own."""
    if inputs.fits:
        return inputs.take(), y, indices
    rows, own = renumbered(indices)
    return inputs.take(rows), y[rows], own


def _steps_at_once(image_bytes: int, steps: NDArray[np.int32]) -> int:
    """How many steps' images fit; one step's are in memory together."""
    largest = max((int(np.count_nonzero(step >= 0)) for step in steps), default=0)
    return max(1, PIECE_BYTES // max(1, largest * image_bytes))


def _seed_at(seed: int, place: int) -> NDArray[np.int64]:
    """Where dropout's generators stand when the graph begins at a later piece or step."""
    return seed_pair(seed) + np.array([0, place], np.int64)


def _shape_of(pieces: NDArray[np.int32]) -> Shape:
    count, patients, rows = pieces.shape[-3:]
    return (1 if count == 1 else None), patients, rows


def _check_clip(clip: float) -> None:
    if not LEAST_CLIP <= clip <= LARGEST_CLIP:
        raise StudyError(f"privacy.clip: {clip}; give a number from {LEAST_CLIP:g} to {LARGEST_CLIP:g}")
