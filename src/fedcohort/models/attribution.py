"""How much each feature moves one prediction: integrated gradients (Sundararajan, Taly, Yan 2017).

The gradient is averaged along the straight way from a baseline to the patient. What the
features are given adds up to the difference between the two predictions (completeness);
for a linear model it is exact, for others up to the number of steps.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.models.start import start_tensorflow

STEPS = 128
Floats = NDArray[np.float32]


def integrated_gradients(
    model: Any, x: Floats, baseline: Floats, output: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Attribute predictions to features.

    Args:
        model: a Keras model of (n, n_features).
        x: (n, n_features).
        baseline: (n_features,), such as a patient whose values are all the mean.
        output: (n,) which output of each row is explained.
    Returns:
        (n, n_features), in units of the output.
    """
    tf = start_tensorflow()
    # Gauss-Legendre points are exact for far more than the midpoints of as many steps.
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    found = np.zeros(x.shape, np.float64)
    for row, (values, index) in enumerate(zip(x, output, strict=True)):
        way = baseline + ((nodes[:, None] + 1) / 2) * (values - baseline)
        points = tf.constant(way.astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(points)
            predicted = model(points, training=False)[:, int(index)]
        gradient = tape.gradient(predicted, points).numpy().astype(np.float64)
        found[row] = (values - baseline) * (weights @ gradient) / 2
    return found
