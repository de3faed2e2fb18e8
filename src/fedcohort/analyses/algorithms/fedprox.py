"""FedProx: FedAvg whose steps are held near the weights they began with (Li et al. 2020, arXiv
1812.06127)."""

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
    """(n_weights,): as `fedavg.local`, of a loss with mu / 2 times the squared distance from `weights`."""
    return fedavg.local(model, train, weights, x, y, rows, share, draw, train.proximal_mu)
