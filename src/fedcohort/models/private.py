"""What one site computes under privacy: a sum of clipped gradients, or a round of private steps.

Both are one graph call, whatever the number of steps and pieces. Patients are sampled by the
caller; a step's patients are cut into pieces of one size and padded, never truncated. The noise
comes from the caller too, as whole numbers of a resolution, so that a step is the discrete
Gaussian mechanism on integers (Canonne, Kamath, Steinke 2020, arXiv 2004.00010) and all else in
it is post-processing. Steps: Abadi et al. 2016, algorithm 1 (arXiv 1607.00133).
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.models.allowed_layers import layers_of
from fedcohort.models.build import build_model
from fedcohort.models.custom import row_values
from fedcohort.models.dropout import QUIET, use_quick_dropout
from fedcohort.models.ghost import clipped_gradient_sum
from fedcohort.models.ghost_layers import held_values
from fedcohort.models.graphs import row_losses
from fedcohort.models.head import Head
from fedcohort.models.inputs import (
    InputPart,
    InputShape,
    Rows,
    as_inputs,
    caller,
    parts_of,
)
from fedcohort.models.invariance import Read, piece_alignment, try_sums
from fedcohort.models.local import seed_pair
from fedcohort.models.pieces import in_turn, n_filled, nobody, steps_at_once, with_rows
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

_COHORT_PATIENTS = 256
"""In a piece of a whole cohort, at most: its size may not follow from how many patients there are."""

_NOISE_VALUES = 2**24
"""Of the noise of several steps in memory at once: 128 MiB."""

_HELD_VALUES = 2**27
"""Numbers that clipping holds of one piece: 512 MiB of float32."""

_SMALL_ROW = 1024
"""Numbers over all layers in a row of a model that one thread computes faster than several."""

_BUILDING = threading.Lock()

Floats = NDArray[np.float32]


class StepsOfNoise(Protocol):
    """(steps, n_weights) int64, a slice of steps at a time."""

    def __getitem__(self, steps: slice, /) -> NDArray[np.int64]:
        """The noise of these steps."""
        ...


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
        alignment: a piece's patients are a multiple of it; others are padded.
        tried: of graphs that have been tried, what they are; see `invariance.py`.
    """

    n_weights: int
    trainable_mask: NDArray[np.bool_]
    rows_per_patient: int
    most_patients: int
    alignment: int
    graphs: PrivateGraphs
    lock: threading.Lock
    shapes: tuple[tuple[int, ...], ...]
    parts: tuple[InputPart, ...]
    head: Head
    tried: set[tuple[object, ...]]

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
            StudyError: the clip is not between LEAST_CLIP and LARGEST_CLIP, or bits depend on places here.
        """
        _check_clip(clip)
        total = np.zeros(self.n_weights)
        with self.lock:
            pieces = self._aligned(pieces)
            graph = self._tried_sum((pieces.shape[-2], pieces.shape[-1]))
            if not pieces.size or not len(x):
                return total
            filled = pieces[: n_filled(pieces)]
            inputs, numbers = as_inputs(x), (np.float32(clip), np.float64(1.0))
            at_once = max(1, len(filled)) if inputs.fits else 1
            for start in range(0, len(filled), at_once):
                given = with_rows(inputs, y, filled[start : start + at_once])
                total += graph(weights, *given, *numbers, _seed_at(seed, start * USES_IN_A_PIECE)).numpy()
        return total

    def train(
        self,
        weights: Floats,
        x: Rows,
        y: Floats,
        steps: NDArray[np.int32],
        noise: StepsOfNoise,
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
            noise: (steps, n_weights) whole numbers of the resolution, of which each slice is taken once.
            resolution: the sum is rounded to multiples of it before noise is added.
            expected_patients: in a step; a number that does not depend on who was sampled.
            l2: adds l2 / 2 * |kernel|^2 to the loss; the model's own regularisers are added always.
            proximal_mu: adds mu / 2 * |w - weights|^2 over trainable weights (FedProx).
        Returns:
            (n_weights,): the weights after the last step.
        Raises:
            StudyError: the clip is not between LEAST_CLIP and LARGEST_CLIP, or bits depend on places here.
        """
        _check_clip(clip)
        inputs, now = as_inputs(x), weights
        numbers = (*map(np.float32, (clip, expected_patients, learning_rate, l2, proximal_mu)),)
        at_once = len(steps) if inputs.fits else steps_at_once(inputs.image_bytes, steps)
        at_once = max(1, min(at_once, _NOISE_VALUES // self.n_weights))
        with self.lock:
            steps = self._aligned(steps)
            graph = self._tried_steps((steps.shape[-2], steps.shape[-1]), bool(l2 or proximal_mu))
            for start in range(0, len(steps), at_once):
                part = slice(start, start + at_once)
                pieces, places = in_turn(steps[part])
                x_, y_, own = with_rows(inputs, y, pieces) if len(inputs) else nobody(inputs, pieces)
                given = (x_, y_, own, places, noise[part], np.float64(resolution))
                now = graph(now, weights, *given, *numbers, _seed_at(seed, start * USES_IN_A_STEP)).numpy()
        return now

    def penalty_gradient(self, weights: Floats, *, l2: float) -> Floats:
        """The gradient of l2 / 2 * |kernel|^2 and of the model's own regularisers: of no patient's data."""
        with self.lock:
            gradient: Floats = self.graphs.penalty_gradient(weights, np.float32(l2)).numpy()
        return gradient

    def piece_patients(self, expected_patients: float) -> int:
        """A piece's size for samples of about so many, the same for every step of a study."""
        wanted = expected_patients + 3.0 * float(np.sqrt(expected_patients))
        pieces = -(-int(np.ceil(wanted)) // self.alignment)
        return max(self.alignment, min(pieces * self.alignment, self.most_patients))

    @property
    def cohort_patients(self) -> int:
        """A piece's size for whole cohorts, the same for any: it may not tell how many patients there are."""
        return min(self.most_patients, _COHORT_PATIENTS // self.alignment * self.alignment)

    def _aligned(self, pieces: NDArray[np.int32]) -> NDArray[np.int32]:
        missing = -pieces.shape[-2] % self.alignment
        if not missing:
            return pieces
        return np.pad(pieces, [*[(0, 0)] * (pieces.ndim - 2), (0, missing), (0, 0)], constant_values=-1)

    def _tried_sum(self, shape: Shape) -> Callable[..., Any]:
        graph = self.graphs.clipped_sum(shape)

        def read(weights: Floats, x: Any, y: Floats, pieces: NDArray[np.int32]) -> NDArray[np.float64]:
            found = graph(weights, x, y, pieces, np.float32(_TRIAL_CLIP), np.float64(1.0), QUIET)
            total: NDArray[np.float64] = found.numpy()
            return total

        self._try((shape,), read, shape, 0.0)
        return graph

    def _tried_steps(self, shape: Shape, penalised: bool) -> Callable[..., Any]:
        graph = self.graphs.train(shape, penalised)
        self._try((shape, penalised), partial(_read_of_steps, graph), shape, _TRIAL_CLIP / _TRIAL_STEPS)
        return graph

    def _try(self, graph: tuple[object, ...], read: Read, shape: Shape, rounding: float) -> None:
        if graph not in self.tried:
            try_sums(read, self.shapes, self.parts, self.head, shape, rounding)
            self.tried.add(graph)


_TRIAL_CLIP, _TRIAL_STEPS = 2.0**-7, 2.0**42
"""The clip of a trial, below most made-up gradients, and into how many steps it is divided."""


def _read_of_steps(
    graph: Callable[..., Any], weights: Floats, x: Any, y: Floats, pieces: NDArray[np.int32]
) -> NDArray[np.float64]:
    """The sum that a graph of private steps adds its noise to, to whole steps of the trial's resolution.

    One step is taken whose noise is the sum itself, taken away, as far as it is known: what is left is small
    enough for the float32 of the weights, and tells the rest of it.
    """
    resolution = _TRIAL_CLIP / _TRIAL_STEPS
    numbers = (*map(np.float32, (_TRIAL_CLIP, resolution, -1.0, 0.0, 0.0)),)
    places = np.zeros((len(pieces), 3), np.int64)
    places[-1, 2] = 1

    def moved(some: NDArray[np.int32], noise: NDArray[np.int64]) -> NDArray[np.float64]:
        given = (x, y, some, places, noise[None], np.float64(resolution))
        after: NDArray[np.float64] = (
            graph(weights, weights, *given, *numbers, QUIET).numpy().astype(np.float64)
        )
        return after

    known = np.zeros(len(weights), np.int64)
    still = moved(np.full_like(pieces, -1), known)
    for _ in range(3):
        known += np.rint(moved(pieces, -known) - still).astype(np.int64)
    found: NDArray[np.float64] = known.astype(np.float64) * resolution
    return found


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
    model: str, parts: tuple[InputPart, ...], head: Head, seed: int, rows_per_patient: int
) -> PrivateModel:
    built = use_quick_dropout(build_model(json.loads(model), parts, head, seed), silenced=True)
    alignment = piece_alignment()
    trainable = {id(variable) for variable in built.trainable_variables}
    mask = np.concatenate([np.full(int(np.prod(v.shape)), id(v) in trainable) for v in built.weights])
    values = row_values(built)
    held = values + sum(map(held_values, layers_of(built)))
    if held * rows_per_patient * alignment > _HELD_VALUES:
        raise StudyError(
            "analysis.model: clipping by patient holds {held:,} numbers for one row, in pieces of {patients} "
            "patients with up to {rows} rows; {most:,} in all are the most: take smaller convolution "
            "kernels, or reduce the picture first",
            held=held,
            patients=alignment,
            rows=rows_per_patient,
            most=_HELD_VALUES,
        )
    rows = min(_PIECE_ROWS, _PIECE_VALUES // values, _HELD_VALUES // held) // rows_per_patient
    most = alignment * 2 ** max(0, (rows // alignment).bit_length() - 1)
    call = caller(built, parts)
    total = clipped_gradient_sum(built, head, row_losses, rows_per_patient=rows_per_patient, call=call)
    graphs = private_graphs(built, total, parts, mask, values <= _SMALL_ROW)
    shapes = tuple(tuple(int(size) for size in v.shape) for v in built.weights)
    sizes = rows_per_patient, most, alignment
    return PrivateModel(len(mask), mask, *sizes, graphs, threading.Lock(), shapes, parts, head, set())


def _seed_at(seed: int, place: int) -> NDArray[np.int64]:
    """Where dropout's generators stand when the graph begins at a later piece or step."""
    return seed_pair(seed) + np.array([0, place], np.int64)


def _check_clip(clip: float) -> None:
    if not LEAST_CLIP <= clip <= LARGEST_CLIP:
        raise StudyError(
            "privacy.clip: {clip}; give a number from {least:g} to {most:g}",
            clip=clip,
            least=LEAST_CLIP,
            most=LARGEST_CLIP,
        )
