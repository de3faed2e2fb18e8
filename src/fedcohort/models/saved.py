"""Trained weights as text, and as a Keras model."""

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.models.local import LocalModel


def weights_to_base64(weights: NDArray[np.float32]) -> str:
    """Little-endian float32 in base64."""
    return base64.b64encode(weights.astype("<f4").tobytes()).decode()


def weights_from_base64(
    text: str, n_weights: int, where: str = "analysis.model.weights"
) -> NDArray[np.float32]:
    """Read weights and check that they are finite and as many as the model has.

    Raises:
        StudyError: they are not.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise StudyError("{where}: not base64", where=where) from None
    if len(data) != 4 * n_weights:
        raise StudyError(
            "{where}: {n_data} bytes where the model has {count} numbers",
            where=where,
            n_data=len(data),
            count=n_weights,
        )
    weights = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.all(np.isfinite(weights)):
        raise StudyError("{where}: not finite", where=where)
    return weights


def read_weights(text: str) -> NDArray[np.float32]:
    """Read as many weights as there are, and check that they are finite.

    Raises:
        StudyError: they are not, or these are no weights.
    """
    return weights_from_base64(text, 3 * len(text.rstrip("=")) // 4 // 4)


def to_keras(local: LocalModel, weights: NDArray[np.float32]) -> Any:
    """A Keras model of its own with these weights; takes encoded features."""
    import keras

    model = keras.models.clone_model(local.model)
    start = 0
    for variable, shape in zip(model.weights, local.shapes, strict=True):
        size = int(np.prod(shape))
        variable.assign(weights[start : start + size].reshape(shape))
        start += size
    return model
