"""`noise`: 10,000 discrete Gaussian values, exactly distributed, against OpenDP's sampler in turns."""

import time
from collections.abc import Callable
from functools import partial

from benchmarks.harness import at_least_times_faster, emit, median, reported
from fedcohort.privacy.samplers import Backend, discrete_gaussian, discrete_laplace

SIZE, REPEATS = 10_000, 9
Draw = Callable[..., object]
SIGMAS = (10.0, 1e3, 1e6)


def seconds(draw: Draw, backend: Backend) -> float:
    """Of one call."""
    began = time.perf_counter()
    draw(backend=backend)
    return time.perf_counter() - began


def compare(draw: Draw) -> tuple[float, float]:
    """Median milliseconds of ours and OpenDP's, in turns, after a call of each to warm up."""
    pairs = [(seconds(draw, "own"), seconds(draw, "opendp")) for _ in range(REPEATS + 1)][1:]
    return median([ours for ours, _ in pairs]) * 1e3, median([theirs for _, theirs in pairs]) * 1e3


def main() -> None:
    """Print all claims."""
    for sigma in SIGMAS:
        ours, theirs = compare(partial(discrete_gaussian, sigma, SIZE))
        name = f"noise: {SIZE:,} discrete Gaussians, sigma {sigma:g}, against OpenDP"
        emit(at_least_times_faster(name, ours, theirs, "ms", 20.0))
    for scale in SIGMAS:
        ours, theirs = compare(partial(discrete_laplace, scale, SIZE))
        emit(
            reported(
                f"noise: {SIZE:,} discrete Laplaces, scale {scale:g}, against OpenDP", ours, theirs, "ms"
            )
        )


if __name__ == "__main__":
    main()
