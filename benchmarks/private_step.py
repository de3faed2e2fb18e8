"""`private_step`: a step of private training against keras.fit, our own loop without privacy, and Opacus.

The networks are 13-128-64-1 with dropout (`mlp_medical`) and two convolutions over 28x28. Batches are
full ones of random rows, and keras.fit shuffles as it does unless told otherwise. Each peer runs in a process
of its own, with the settings it comes with and with one thread; the faster counts. Sides take turns; a side's
figure is the median of its turns' medians. On a shared machine of 2 cores single turns differ by a third.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import (
    ROOT,
    Claim,
    at_least_times_faster,
    emit,
    machine,
    median,
    reported,
    run_peer,
    say,
    unavailable,
)
from fedcohort.models.head import Head
from fedcohort.models.local import local_model
from fedcohort.models.pieces import cut
from fedcohort.models.private import private_model
from fedcohort.models.start import start_tensorflow
from fedcohort.privacy.samplers import discrete_gaussian, poisson_sample

HEAD = Head("binary", 1)
SHAPES: dict[str, tuple[int, ...]] = {"mlp": (13,), "cnn": (28, 28, 1)}
BATCHES = (32, 256, 1024)
AGAINST_FIT = {32: 4.0, 256: 2.5, 1024: 1.3}
AGAINST_OPACUS = {"mlp": {32: 4.0, 256: 3.0, 1024: 2.0}, "cnn": {32: 1.5, 256: 1.5, 1024: 1.5}}
SHARE_OF_PLAIN = {32: 0.7, 256: 0.45, 1024: 0.5}
TURNS, SECONDS, POOL = 3, 0.6, 4096
RESOLUTION = 2.0**-10
Milliseconds = dict[str, float]
Floats = NDArray[np.float32]


def made_up(shape: tuple[int, ...], rows: int = POOL) -> tuple[Floats, Floats]:
    """Random rows and labels."""
    generator = np.random.default_rng(0)
    y = (generator.random(rows) < 0.5).astype(np.float32)
    return generator.normal(size=(rows, *shape)).astype(np.float32), y


def two_convolutions() -> dict[str, Any]:
    """The network that the peer has, too."""
    start_tensorflow()
    from keras import Input, Sequential, layers

    shape: dict[str, Any] = {"strides": 2, "padding": "same", "activation": "relu"}
    hidden = [layers.Conv2D(16, 3, **shape), layers.Conv2D(32, 3, **shape), layers.Flatten()]
    ends = [layers.Dense(32, activation="relu"), layers.Dense(1, activation="sigmoid")]
    found: dict[str, Any] = json.loads(Sequential([Input((28, 28, 1)), *hidden, *ends]).to_json())
    return found


def time_calls(calls: Mapping[str, Callable[[], object]], steps: int) -> Milliseconds:
    """Milliseconds a step: calls take turns for SECONDS each after two to warm up; the median counts."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in (*calls.values(), *calls.values()):
        call()
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS * len(calls) or len(min(found.values(), key=len)) < 3:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            found[name].append((time.perf_counter() - start) / steps * 1e3)
    return {name: median(times) for name, times in found.items()}


def our_steps(model: str, batch: int) -> Milliseconds:
    """A private step without noise, with noise, on Poisson samples, and a step without privacy."""
    name, shape = two_convolutions() if model == "cnn" else "mlp_medical", SHAPES[model]
    private, local = private_model(name, shape, HEAD, 0), local_model(name, shape, HEAD, 0)
    x, y = made_up(shape)
    weights, steps = local.initial(), 64 if batch < 1024 else 16
    generator = np.random.default_rng(1)
    samples = [generator.choice(POOL, batch, replace=False) for _ in range(steps)]
    patients = np.arange(POOL, dtype=np.int32)[:, None]
    full = cut(patients, samples, min(batch, private.most_patients))
    silence = np.zeros((steps, private.n_weights), np.int64)
    settings: dict[str, Any] = {
        "clip": 1.0,
        "resolution": RESOLUTION,
        "expected_patients": batch,
        "learning_rate": 0.1,
        "seed": 1,
    }

    def with_noise(pieces: NDArray[np.int32]) -> Floats:
        noise = discrete_gaussian(1.0 / RESOLUTION, silence.shape)
        return private.train(weights, x, y, pieces, noise, **settings)

    def study() -> Floats:
        sampled = [np.flatnonzero(poisson_sample(POOL, batch / POOL)) for _ in range(steps)]
        return with_noise(cut(patients, sampled, private.piece_patients(batch)))

    batches = np.stack(samples).astype(np.int32)
    calls: dict[str, Callable[[], object]] = {
        "private": lambda: private.train(weights, x, y, full, silence, **settings),
        "plain": lambda: local.train(weights, x, y, batches, learning_rate=0.1, seed=1),
        "noise": lambda: with_noise(full),
        "study": study,
    }
    return time_calls(calls, steps)


def keras_fit() -> dict[str, Milliseconds]:
    """Milliseconds a step of keras.fit for the perceptron, by batch; run in a process of its own."""
    import keras

    x, y = made_up((13,), 32_768)
    found: Milliseconds = {}
    keras.utils.set_random_seed(0)  # shuffling asks for it where operations are deterministic
    for batch in BATCHES:
        layers = [
            keras.Input((13,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(1, "sigmoid"),
        ]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
        rows = min(len(x), 512 * batch)

        epoch = partial(model.fit, x[:rows], y[:rows], batch_size=batch, verbose=0)
        found |= time_calls({str(batch): epoch}, rows // batch)
    return {"mlp": found}


def fit_elsewhere(threads: str) -> dict[str, Milliseconds]:
    """keras.fit in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.private_step", "--keras-fit", threads]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    found: dict[str, Milliseconds] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def leafwise(choose: Callable[[list[float]], float], many: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One figure of several at each place of nested figures: their median or their least."""
    return {
        key: leafwise(choose, [one[key] for one in many])
        if isinstance(value, Mapping)
        else choose([one[key] for one in many])
        for key, value in many[0].items()
    }


def faster(by_setting: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The least over settings of the medians over turns."""
    return leafwise(min, [leafwise(median, turns) for turns in by_setting.values()])


def main() -> None:
    """Print all claims."""
    ours: list[dict[str, Any]] = []
    fits: dict[str, list[dict[str, Any]]] = {"default": [], "one": []}
    opacus: dict[str, list[dict[str, Any]]] = {"0": [], "1": []}
    gone: str | None = None
    say(f"private_step: {machine()}")
    for turn in range(TURNS):
        say(f"private_step: turn {turn + 1} of {TURNS}")
        ours.append({m: {str(b): our_steps(m, b) for b in BATCHES} for m in SHAPES})
        for setting, found in fits.items():
            found.append(fit_elsewhere(setting))
        for threads, found in () if gone else opacus.items():
            found.append(run_peer("opacus", "opacus_step.py", threads, timeout=600))
            gone = gone or found[-1].get("unavailable")
    own, fit = leafwise(median, ours), faster(fits)
    peer = None if gone else faster(opacus)
    for batch in BATCHES:
        of_batch(batch, own, fit, peer, gone)


def of_batch(
    batch: int, own: dict[str, Any], fit: dict[str, Any], peer: dict[str, Any] | None, gone: str | None
) -> None:
    """The claims for one size of batch."""
    key, unit = str(batch), "ms a step"
    perceptron, images = own["mlp"][key], own["cnn"][key]
    name = f"private_step: 13-128-64-1, batch {batch},"
    emit(
        at_least_times_faster(
            f"{name} without noise, against non-private keras.fit",
            perceptron["private"],
            fit["mlp"][key],
            unit,
            AGAINST_FIT[batch],
        )
    )
    emit(reported(f"{name} with noise, against keras.fit", perceptron["noise"], fit["mlp"][key], unit))
    emit(share_of_plain(f"private_step: 28x28 CNN, batch {batch},", images, SHARE_OF_PLAIN[batch]))
    for model, steps in (("mlp", perceptron), ("cnn", images)):
        title = f"private_step: {'13-128-64-1' if model == 'mlp' else '28x28 CNN'}, batch {batch},"
        emit(reported(f"{title} Poisson samples and noise, against no privacy", *pair(steps), unit))
        against = f"{title} without noise, against Opacus ghost clipping"
        if peer is None:
            emit(unavailable(against, steps["private"], unit, str(gone)))
            continue
        times = AGAINST_OPACUS[model][batch]
        emit(at_least_times_faster(against, steps["private"], peer[model][key]["private"], unit, times))
        noisy = f"{title} with noise, against Opacus ghost clipping with its noise"
        emit(reported(noisy, steps["noise"], peer[model][key]["noise"], unit))


def pair(steps: Milliseconds) -> tuple[float, float]:
    """A step as a study takes it, and one without privacy."""
    return steps["study"], steps["plain"]


def share_of_plain(name: str, steps: Milliseconds, least: float) -> Claim:
    """Our speed as a share of the same loop's without privacy."""
    ours, plain = steps["private"], steps["plain"]
    target = f"at least {least:g} of its speed"
    claim = f"{name} without noise, against the same loop without privacy"
    return Claim(claim, ours, plain, "ms a step", plain / ours, target, plain / ours >= least)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--keras-fit", choices=("default", "one"))
    setting = parser.parse_args().keras_fit
    if setting == "one":
        from fedcohort.models.start import start_tensorflow

        start_tensorflow()
    if setting:
        print(json.dumps(keras_fit()))
    else:
        main()
