"""Opacus' ghost clipping on the same two networks; prints milliseconds a step as one line of JSON.

Run by the peer's interpreter: `opacus_step.py THREADS`, 0 for PyTorch's default. Steps take their batches
from memory, as ours do, without a data loader.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SECONDS, STEPS = 0.4, 8


def mlp() -> nn.Module:
    """13-128-64-1, with dropout."""
    return nn.Sequential(
        nn.Linear(13, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1)
    )


def cnn() -> nn.Module:
    """Two convolutions with stride 2 over 28x28."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(7 * 7 * 32, 32),
        nn.ReLU(),
        nn.Linear(32, 1),
    )


def milliseconds(
    make: Callable[[], nn.Module], shape: tuple[int, ...], batch: int, noise_multiplier: float
) -> float:
    """The median of a step."""
    torch.manual_seed(0)
    x, y = torch.randn(STEPS, batch, *shape), (torch.rand(STEPS, batch, 1) < 0.5).float()
    model = make()
    loader = DataLoader(TensorDataset(x.flatten(0, 1), y.flatten(0, 1)), batch_size=batch)
    model, optimizer, criterion, _ = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=loader,
        criterion=nn.BCEWithLogitsLoss(),
        noise_multiplier=noise_multiplier,
        max_grad_norm=1.0,
        poisson_sampling=False,
        grad_sample_mode="ghost",
    )
    model.train()

    def steps() -> None:
        for index in range(STEPS):
            optimizer.zero_grad()
            criterion(model(x[index]), y[index]).backward()
            optimizer.step()

    steps()
    steps()
    began, found = time.perf_counter(), []
    while time.perf_counter() - began < SECONDS or len(found) < 3:
        start = time.perf_counter()
        steps()
        found.append((time.perf_counter() - start) / STEPS * 1e3)
    return statistics.median(found)


def main() -> None:
    """Print all figures."""
    warnings.simplefilter("ignore")
    if int(sys.argv[1]):
        torch.set_num_threads(int(sys.argv[1]))
    found = {
        name: {
            str(batch): {
                "private": milliseconds(make, shape, batch, 0.0),
                "noise": milliseconds(make, shape, batch, 1.0),
            }
            for batch in (32, 256, 1024)
        }
        for name, make, shape in (("mlp", mlp, (13,)), ("cnn", cnn, (1, 28, 28)))
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
