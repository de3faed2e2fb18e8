"""`local_engine`: a round over simulated sites in one process, through the `answer()` of a live node."""

import time

import numpy as np

import fedcohort as fc
from benchmarks.echo import STEP, Echo
from benchmarks.harness import Claim, at_most, emit, median
from fedcohort.engines.local import Simulated, run_nodes, simulated_node
from fedcohort.table import Table

SIZE, ROUNDS, WARM_UP, REPEATS = 10_000, 20, 3, 5


def seconds_a_round(sites: int) -> float:
    """Median seconds of a round."""
    cohort = fc.Cohort(columns={"age": fc.Numeric(18, 90)})
    study = fc.Study(name="local", cohort=cohort, analysis=fc.Describe(), protection="none")
    table = Table(np.array(["a", "b"]), {"age": np.array([30.0, 40.0])}, np.zeros(2, np.int8))
    echo = Echo(SIZE, ROUNDS)
    names = [f"site_{index:04d}" for index in range(sites)]
    federation = Simulated()
    nodes = [simulated_node(federation, name, study, lambda *_: table, echo) for name in names]
    outcome = run_nodes(study, echo, nodes, lambda rows: None)
    return median([float(str(row["seconds"])) for row in outcome.rows[WARM_UP:]])


def floor_seconds(sites: int) -> float:
    """Median seconds of a round's arithmetic alone: each site scales, rounds and copies, and all is added."""
    weights, seconds = np.zeros(SIZE, np.float32), []
    for _ in range(ROUNDS):
        began, total = time.perf_counter(), np.zeros(SIZE, np.int64)
        for _ in range(sites):
            vector = weights * np.float32(0.25) + STEP
            body = np.rint(vector * np.float32(2.0**22)).astype(np.int64).tobytes()
            np.add(total, np.frombuffer(body, np.int64), out=total)
        weights = np.clip(total * 2.0**-22, -1.0, 1.0).astype(np.float32)
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def main() -> None:
    """Print all claims."""
    turns = [(floor_seconds(1000), *map(seconds_a_round, (10, 1000))) for _ in range(REPEATS)]
    floor, few, many = (median(times) * 1e3 for times in zip(*turns, strict=True))
    found = {10: few, 1000: many}
    name = "local_engine: a round of 1,000 sites x 10,000 float32"
    emit(at_most(name, found[1000], floor, "ms", 5.0))
    growth = found[1000] / found[10] / 100
    target = "cost of a site at 1,000 sites at most 1.5x that at 10 (linear is 1)"
    name = "local_engine: cost of a site, 1,000 sites against 10"
    emit(Claim(name, found[1000] / 1000, found[10] / 10, "ms a site", growth, target, growth <= 1.5))


if __name__ == "__main__":
    main()
