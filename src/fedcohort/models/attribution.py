"""Integrated gradients (Sundararajan, Taly, Yan 2017): how much each feature moves one prediction.

The gradient is averaged along the straight line from a baseline to the patient. The features'
attributions add up to the difference between the two predictions (completeness): exactly for
a linear model, for others up to the number of steps. A level that enters as an integer, through
an Embedding, has no gradient: it is switched at the beginning of the line.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.models.inputs import packed
from fedcohort.models.start import start_tensorflow

STEPS = 128
Floats = NDArray[np.float32]


def integrated_gradients(
    model: Any, x: Mapping[str, Floats], baseline: Mapping[str, Floats], output: int
) -> dict[str, NDArray[np.float64]]:
    """Attribute one row's prediction to its features.

    Args:
        model: a Keras model of these inputs, in their order.
        x: by input, the row: (n_features,), or (height, width, channels) from 0 to 1.
        baseline: the same, such as a patient whose values are all the mean, and a black image.
        output: which output is explained.
    Returns:
        by input, an array of the row's shape, in units of the output.
    """
    tf = start_tensorflow()
    numbers = [name for name, values in x.items() if values.dtype.kind == "f"]
    # Gauss-Legendre points are exact for far more than the midpoints of as many steps.
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    points = {name: tf.constant(np.repeat(values[None], STEPS, 0)) for name, values in x.items()}
    for name in numbers:
        share = ((nodes + 1) / 2).reshape(-1, *[1] * x[name].ndim)
        points[name] = tf.constant((baseline[name] + share * (x[name] - baseline[name])).astype(np.float32))
    with tf.GradientTape() as tape:
        moving = [points[name] for name in numbers]
        tape.watch(moving)
        predicted = model(packed(model, list(points.values())), training=False)[:, output]
    gradients = tape.gradient(predicted, moving, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    attributed = {
        name: (x[name] - baseline[name]) * np.tensordot(weights, gradient.numpy().astype(np.float64), 1) / 2
        for name, gradient in zip(numbers, gradients, strict=True)
    }
    return {**attributed, **_switched(model, x, baseline, output)}


def _switched(
    model: Any, x: Mapping[str, Floats], baseline: Mapping[str, Floats], output: int
) -> dict[str, NDArray[np.float64]]:
    """Attributions of levels that enter as integers, one by one after all numbers: sums stay whole."""
    levels = [name for name, values in x.items() if values.dtype.kind != "f"]
    if not levels:
        return {}
    now = {name: x[name] if name in levels else baseline[name] for name in x}
    rows = [dict(now)]
    for name in levels:
        now[name] = baseline[name]
        rows.append(dict(now))
    stacked = [np.stack([row[name] for row in rows]) for name in x]
    predicted = np.asarray(model(packed(model, stacked), training=False), np.float64)[:, output]
    return {name: np.array([predicted[at] - predicted[at + 1]]) for at, name in enumerate(levels)}
