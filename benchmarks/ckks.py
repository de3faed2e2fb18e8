"""`ckks`: what exact sums cost beside TenSEAL called directly, with the same parameters and slots."""

import time
from collections.abc import Callable

import numpy as np
import tenseal

from benchmarks.harness import emit, median, reported
from fedcohort.protection import ckks, ckks_worker
from fedcohort.protection.fixed_point import Ring, Segment, Shape

PARAMETERS, SITES, REPEATS = 10_113, 3, 15


def seconds(work: Callable[[], object]) -> float:
    """Median of some runs."""
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return median(found)


def main() -> None:
    """Print all claims."""
    shape = Shape((Segment(PARAMETERS, 32, 2**21),), SITES)
    values = np.random.default_rng(0).integers(-(2**21), 2**21, PARAMETERS)
    ring = Ring(np.zeros(0, np.uint64), values.astype(np.int32).view(np.uint32))
    public, secret = ckks.make_key()
    key, adder = ckks.load_secret(public, secret), ckks.load_public(public)
    context = tenseal.context_from(secret)
    body = ckks.seal(key, shape, ring)
    total = ckks.add(adder, shape, ckks.add(adder, shape, body, body), body)

    pieces = [
        values[start : start + ckks_worker.SLOTS].astype(float)
        for start in range(0, PARAMETERS, ckks_worker.SLOTS)
    ]
    theirs = [tenseal.ckks_vector(context, piece) for piece in pieces]
    sealed = [vector.serialize() for vector in theirs]
    name = f"ckks: {PARAMETERS:,} integers of 22 bits, {SITES} sites, against TenSEAL called directly"

    def seal_directly() -> None:
        for piece in pieces:
            tenseal.ckks_vector(context, piece).serialize()

    def add_directly() -> None:
        for data in sealed:
            left = tenseal.ckks_vector_from(context, data)
            (left + tenseal.ckks_vector_from(context, data)).serialize()

    def open_directly() -> None:
        for data in sealed:
            tenseal.ckks_vector_from(context, data).decrypt()

    ours = (
        seconds(lambda: ckks.seal(key, shape, ring)),
        seconds(lambda: ckks.add(adder, shape, body, body)),
        seconds(lambda: ckks.open_sum(key, shape, total, SITES)),
    )
    peer = (seconds(seal_directly), seconds(add_directly), seconds(open_directly))
    for what, mine, other in zip(("seal", "add one site", "open"), ours, peer, strict=True):
        emit(reported(f"{name}, {what}", mine * 1e3, other * 1e3, "ms"))
    emit(reported(f"{name}, bytes", float(len(body)), float(sum(map(len, sealed))), "bytes"))


if __name__ == "__main__":
    main()
