"""FedSGD: one gradient over all training rows a round (McMahan et al. 2017, arXiv 1602.05629)."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.algorithms import fedavg
from fedcohort.analyses.algorithms.fedavg import Floats
from fedcohort.analyses.contract import Draw
from fedcohort.models.inputs import Inputs
from fedcohort.study import Train

if TYPE_CHECKING:
    from fedcohort.models.local import LocalModel

mean = fedavg.mean


def local(
    model: "LocalModel",
    train: Train,
    weights: NDArray[np.float32],
    x: Inputs,
    y: NDArray[np.float32],
    rows: NDArray[np.int64],
    share: float,
    draw: Draw,
) -> Floats:
    """(n_weights,): a step down the mean gradient of this site's rows, times its share of all rows."""
    gradient, _ = model.gradient(weights, x[rows], y[rows], l2=train.l2, seed=draw.number("dropout"))
    step: Floats = gradient.astype(np.float64) * (-train.learning_rate * share / len(rows))
    return step
