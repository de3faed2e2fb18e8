"""What the coordinator does with the mean update: FedAvg, FedAvgM and FedAdam, and the mean of last rounds.

Reddi et al. 2021, "Adaptive federated optimization", algorithm 2 (arXiv 2003.00295).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import State
from fedcohort.study import Train
from fedcohort.vector import Array, Block

MOMENTUM = 0.9
BETA_1, BETA_2, TAU = 0.9, 0.99, 1e-3
DEFAULT_RATE = {"sgd": 1.0, "momentum": 1.0, "adam": 0.01}

Floats = NDArray[np.float64]


def update_block(n_weights: int) -> Block:
    """A weight that moves by more than the bound in one round belongs to a training that diverged."""
    return Block("update", (n_weights,), resolution=2.0**-22, part="train", bound=16.0)


@dataclass(frozen=True)
class Server:
    """The coordinator's part of a training round.

    Attributes:
        average: over how many of the last rounds the finished weights are a mean; None: they are the last.
    """

    train: Train
    average: int | None = None

    def advance(self, state: State, update: Floats, trainable: NDArray[np.bool_]) -> State:
        """The weights moved by the mean update; after the last round those that the study ends with."""
        step, rounds = int(state.arrays["step"][0]) + 1, self.train.rounds
        weights = state.arrays["weights"].astype(np.float64)
        moved, memory = server_step(self.train, weights, update, state.kept, trainable)
        kept = {**state.kept, **memory}
        if self.average is not None:
            kept |= mean_so_far(moved, state.kept, step, rounds, self.average)
            moved = moved if step < rounds else np.asarray(kept["average"], np.float64)
        arrays = {**state.arrays, "weights": moved.astype(np.float32), "step": np.array([step])}
        return replace(state, arrays=arrays, kept=kept)


def server_step(
    train: Train, weights: Floats, update: Floats, kept: Mapping[str, Array], trainable: NDArray[np.bool_]
) -> tuple[Floats, dict[str, Array]]:
    """Move the weights by the mean update of all sites.

    Args:
        weights, update: (n_weights,); moving statistics (not `trainable`) take the update as it is.
        kept: what this optimiser kept from the last round; empty at first.
    Returns:
        new weights, and what to keep.
    """
    rate = train.server_learning_rate or DEFAULT_RATE[train.server_optimizer]
    zero = np.zeros_like(update)
    memory: dict[str, Array] = {}
    match train.server_optimizer:
        case "sgd":
            step = rate * update
        case "momentum":
            memory["momentum"] = MOMENTUM * kept.get("momentum", zero) + update
            step = rate * memory["momentum"]
        case "adam":
            first = BETA_1 * kept.get("momentum", zero) + (1 - BETA_1) * update
            second = BETA_2 * kept.get("variance", zero + TAU**2) + (1 - BETA_2) * np.square(update)
            memory = {"momentum": first, "variance": second}
            step = rate * first / (np.sqrt(second) + TAU)
    return weights + np.where(trainable, step, update), memory


def mean_so_far(
    weights: Floats, kept: Mapping[str, Array], step: int, rounds: int, last: int
) -> dict[str, Array]:
    """The mean of the weights after the last so many rounds, to keep until it is whole.

    It finds wider minima than the last step does, and under noise a better estimate (Polyak and Juditsky
    1992; Izmailov et al. 2018, arXiv 1803.05407).

    Args:
        weights: (n_weights,) after round `step` of `rounds`, from 1.
        last: over how many rounds.
    Returns:
        `average`; nothing before the first of them.
    """
    count = step - (rounds - last)
    if count < 1:
        return {}
    before = kept["average"] if count > 1 else np.zeros_like(weights)
    return {"average": before + (weights - before) / count}
