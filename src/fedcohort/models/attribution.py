"""How much each feature moves one prediction: integrated gradients (Sundararajan, Taly, Yan 2017).

The gradient is averaged along the straight way from a baseline to the patient. What the
features are given adds up to the difference between the two predictions (completeness);
for a linear model it is exact, for others up to the number of steps.
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
    # Gauss-Legendre points are exact for far more than the midpoints of as many steps.
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    points = []
    for values, start in zip(x.values(), baseline.values(), strict=True):
        share = ((nodes + 1) / 2).reshape(-1, *[1] * values.ndim)
        points.append(tf.constant((start + share * (values - start)).astype(np.float32)))
    with tf.GradientTape() as tape:
        tape.watch(points)
        predicted = model(packed(model, points), training=False)[:, output]
    gradients = [gradient.numpy().astype(np.float64) for gradient in tape.gradient(predicted, points)]
    return {
        name: (x[name] - baseline[name]) * np.tensordot(weights, gradient, 1) / 2
        for name, gradient in zip(x, gradients, strict=True)
    }
