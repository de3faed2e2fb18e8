"""FedAvg: epochs of SGD at each site, whose weights are averaged (McMahan et al. 2017, arXiv 1602.05629)."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Draw
from fedcohort.models.inputs import Inputs
from fedcohort.study import Train

if TYPE_CHECKING:
    from fedcohort.models.local import LocalModel

Floats = NDArray[np.float64]


def local(
    model: "LocalModel",
    train: Train,
    weights: NDArray[np.float32],
    x: Inputs,
    y: NDArray[np.float32],
    rows: NDArray[np.int64],
    share: float,
    draw: Draw,
    proximal_mu: float = 0.0,
) -> Floats:
    """(n_weights,): how far the weights went over this site's rows, times the site's share of all rows.

    Args:
        x, y: inputs and targets of the whole table.
        rows: those to learn from.
        proximal_mu: of FedProx.
    """
    trained = model.train(
        weights,
        x,
        y,
        epoch_batches(rows, train.batch_size, train.local_epochs, draw.generator("batches")),
        learning_rate=train.learning_rate,
        l2=train.l2,
        proximal_mu=proximal_mu,
        seed=draw.number("dropout"),
    )
    moved: Floats = (trained.astype(np.float64) - weights) * share
    return moved


def mean(summed: Floats, rows: float, arrived: float) -> Floats:
    """The mean update of the sites that arrived.

    Args:
        summed: of all updates, each times its site's share of `rows` rows.
        arrived: rows of the sites that are in the sum.
    """
    return summed * (rows / arrived)


def epoch_batches(
    rows: NDArray[np.int64], batch_size: int, epochs: int, generator: np.random.Generator
) -> NDArray[np.int32]:
    """Shuffle row indices into batches, epoch after epoch.

    Returns:
        (epochs * steps, batch_size) int32, padded with -1.
    """
    steps = -(-len(rows) // batch_size)
    batches = np.full((epochs, steps * batch_size), -1, np.int32)
    for epoch in range(epochs):
        batches[epoch, : len(rows)] = generator.permutation(rows)
    return batches.reshape(epochs * steps, batch_size)
