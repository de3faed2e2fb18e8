"""What one site computes: a local round, a gradient, predictions; each is one traced graph.

Weights travel as one flat float32 vector: all of the model's weights in Keras'
order, moving statistics among them. A model is built and traced once a study in
a process, whatever the number of rows, batches and sites. Images that are many are
read piece by piece; the bits are the same as of one piece.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.models.allowed_layers import check_row_wise
from fedcohort.models.build import build_model
from fedcohort.models.custom import row_values
from fedcohort.models.dropout import use_quick_dropout
from fedcohort.models.graphs import Graphs, trace
from fedcohort.models.head import Head
from fedcohort.models.inputs import (
    PIECE_ALIGNMENT,
    PIECE_BYTES,
    InputPart,
    Inputs,
    InputShape,
    Rows,
    as_inputs,
    matched,
    parts_of,
    read_ahead,
)
from fedcohort.models.invariance import try_rows
from fedcohort.models.start import check_started_for_privacy, start_tensorflow

PIECE_ROWS, PIECE_VALUES = 4096, 2**24
"""Rows, and numbers over all layers, in memory at once for gradients and predictions."""

_ROWS_APART, _ALIGNED = 384, 96
"""Rows of a piece where each must be computed apart; a multiple of all vectors and blocks of rows."""

_BUILDING = threading.Lock()
"""Keras draws initial weights from generators that a process has once."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LocalModel:
    """A compiled model; weights are arguments, so that all sites of a process share it.

    Attributes:
        model: the Keras model; its own weights are scratch space.
        parts: its inputs as the cohort gives them.
        shapes: of each weight, in Keras' order.
        trainable_mask: (n_weights,) bool; False for moving statistics.
        piece_rows: rows in memory at once for gradients and predictions.
        tried: sizes of pieces in which the graph of predictions was tried; see `invariance.py`.
    """

    model: Any
    head: Head
    parts: tuple[InputPart, ...]
    shapes: tuple[tuple[int, ...], ...]
    trainable_mask: NDArray[np.bool_]
    first_weights: Floats
    graphs: Graphs
    piece_rows: int
    lock: threading.Lock
    tried: set[int]

    @property
    def n_weights(self) -> int:
        """Length of the flat vector."""
        return len(self.first_weights)

    def initial(self) -> Floats:
        """(n_weights,): the weights that the seed gives."""
        return self.first_weights.copy()

    def train(
        self,
        weights: Floats,
        x: Rows,
        y: Floats,
        batches: NDArray[np.int32],
        *,
        learning_rate: float,
        l2: float = 0.0,
        proximal_mu: float = 0.0,
        seed: int = 0,
    ) -> Floats:
        """Take one step of SGD for each batch, in one graph call unless images are read in pieces.

        Args:
            x, y: rows of (n, ...) and (n,) targets.
            batches: (steps, batch_size) row indices; -1 is no row.
            l2: adds l2 / 2 * |kernel|^2 to the loss.
            proximal_mu: adds mu / 2 * |w - weights|^2 over trainable weights (FedProx).
        Returns:
            (n_weights,): the weights after the last batch.
        """
        inputs = as_inputs(x)
        numbers = (np.float32(learning_rate), np.float32(l2), np.float32(proximal_mu))
        with self.lock:
            if inputs.fits:
                whole = (inputs.take(), y, batches)
                result: Floats = self.graphs.train(weights, *whole, *numbers, seed_pair(seed)).numpy()
                return result
            nothing = (inputs.take(slice(0)), y[:0], batches[:0])
            now = self.graphs.train(weights, *nothing, *numbers, seed_pair(seed))
            for piece in self._steps_in_pieces(inputs, y, batches):
                now = self.graphs.more(weights, *piece, *numbers)
            trained: Floats = now.numpy()
        return trained

    def gradient(
        self, weights: Floats, x: Rows, y: Floats, *, l2: float = 0.0, seed: int = 0
    ) -> tuple[Floats, float]:
        """Sum the gradient of the loss over rows.

        Returns:
            (n_weights,), zero for moving statistics, and the sum of the rows' losses.
        """
        total, loss, start = np.zeros(self.n_weights, np.float64), 0.0, 0
        with self.lock:
            for piece in self._rows_in_pieces(as_inputs(x)):
                targets = y[start : start + self.piece_rows]
                part, part_loss = self.graphs.gradient(
                    weights, piece, targets, np.float32(l2), seed_pair(seed + start)
                )
                total += part.numpy()
                loss += float(part_loss)
                start += self.piece_rows
        return total.astype(np.float32), loss

    def predict(self, weights: Floats, x: Rows) -> Floats:
        """(n, outputs): probabilities or numbers, dropout off."""
        inputs = as_inputs(x)
        if not len(inputs):
            return np.zeros((0, self.head.outputs), np.float32)
        with self.lock:
            pieces = [self.graphs.predict(weights, piece).numpy() for piece in self._rows_in_pieces(inputs)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def predict_apart(self, weights: Floats, x: Rows) -> Floats:
        """`predict`, but a row has the same bits whatever the other rows are, as privacy needs.

        The rows that do not fill a vector are computed by other instructions, and whoever chooses the weights
        can put all scores so close to an edge that the last bit decides: one patient more would then move
        seven others over it. So all pieces are of one size, the last one filled up.

        Raises:
            StudyError: a layer mixes patients; it is named. Or TensorFlow was started by somebody else, or
                bits depend on places here.
        """
        check_started_for_privacy()
        check_row_wise(self.model)
        inputs, size = as_inputs(x), max(1, min(_ROWS_APART, self.piece_rows) // _ALIGNED) * _ALIGNED
        pieces = []
        with self.lock:
            self._try_predictions(size)
            for start in range(0, len(inputs), size):
                chosen = np.minimum(np.arange(start, start + size), len(inputs) - 1)
                pieces.append(self.graphs.predict(weights, inputs.take(chosen)).numpy())
        return np.concatenate([np.zeros((0, self.head.outputs), np.float32), *pieces])[: len(inputs)]

    def _try_predictions(self, rows: int) -> None:
        if rows not in self.tried:
            predict = self.graphs.predict
            try_rows(lambda w, x: predict(w, x).numpy(), self.shapes, self.parts, self.head, rows)
            self.tried.add(rows)

    def arranged(self, x: Rows) -> dict[str, Floats]:
        """Rows as the Keras model itself takes them, images from 0 to 1: by name, in its inputs' order."""
        taken = as_inputs(x).take()
        return {feed.name: feed.of(taken).numpy() for feed in matched(self.model, self.parts)}

    def _rows_in_pieces(self, inputs: Inputs) -> Iterator[tuple[Any, ...]]:
        def pieces() -> Iterator[tuple[NDArray[Any], ...]]:
            for start in range(0, len(inputs), self.piece_rows):
                yield inputs.take(slice(start, start + self.piece_rows))

        if inputs.fits:
            yield from pieces()
            return
        for (piece,) in read_ahead(lambda: ((rows,) for rows in pieces()), self.parts):
            yield piece

    def _steps_in_pieces(
        self, inputs: Inputs, y: Floats, batches: NDArray[np.int32]
    ) -> Iterator[tuple[Any, ...]]:
        """As many steps at once as their images fit, each piece with its own rows and their indices."""
        tf = start_tensorflow()
        steps = max(1, PIECE_BYTES // (inputs.image_bytes * batches.shape[1]))

        def pieces() -> Iterator[tuple[Any, ...]]:
            for start in range(0, len(batches), steps):
                rows, own = renumbered(batches[start : start + steps])
                yield inputs.take(rows), y[rows], own

        target, indices = tf.TensorSpec((None,), tf.float32), tf.TensorSpec((None, None), tf.int32)
        return read_ahead(pieces, self.parts, target, indices)


def renumbered(indices: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The rows that indices name, each once, and the indices among these; -1 stays."""
    rows = np.unique(indices[indices >= 0]).astype(np.int64)
    own = np.where(indices >= 0, np.searchsorted(rows, indices), -1).astype(np.int32)
    return rows, own


def seed_pair(seed: int) -> NDArray[np.int64]:
    """A seed as Keras' generators take it, their counter at the second place."""
    return np.array([seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF], np.int64)


def local_model(model: str | dict[str, Any], input_shape: InputShape, head: Head, seed: int) -> LocalModel:
    """Build and trace a model, once a process for the same arguments.

    Raises:
        StudyError: the model cannot be built, or its inputs do not fit.
    """
    with _BUILDING:
        return _local_model(json.dumps(model, sort_keys=True), parts_of(input_shape), head, seed)


@lru_cache(maxsize=8)
def _local_model(model: str, parts: tuple[InputPart, ...], head: Head, seed: int) -> LocalModel:
    built = use_quick_dropout(build_model(json.loads(model), parts, head, seed))
    variables = built.weights
    trainable = {id(variable) for variable in built.trainable_variables}
    mask = [np.full(int(np.prod(v.shape)), id(v) in trainable) for v in variables]
    first = [np.asarray(v.numpy(), np.float32).reshape(-1) for v in variables]
    shapes = tuple(tuple(int(size) for size in v.shape) for v in variables)
    graphs = trace(built, head, parts)
    pieces = min(PIECE_ROWS, PIECE_VALUES // row_values(built)) // PIECE_ALIGNMENT
    piece_rows = PIECE_ALIGNMENT * max(1, pieces)
    arrays = np.concatenate(mask), np.concatenate(first)
    return LocalModel(built, head, parts, shapes, *arrays, graphs, piece_rows, threading.Lock(), set())
