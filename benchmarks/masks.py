"""`masks`: what hiding a vector costs a site, a round and a large study.

The same work as Flower's SecAgg+ does with its own functions, a whole round over real processes
against `none` and against the floor of `rounds`, and the local engine with a tenth of the sites lost.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import fedcohort as fc
from benchmarks.echo import Echo
from benchmarks.harness import (
    Claim,
    at_least_times_faster,
    at_most,
    emit,
    in_turns,
    median,
    run_peer,
    say,
    unavailable,
)
from benchmarks.rounds import WARM_UP, floor, ours
from fedcohort.analyses.contract import Row
from fedcohort.coordinator.plan import Plan, Receive
from fedcohort.coordinator.run_study import run_study
from fedcohort.engines.local import MemoryLog, Simulated, simulated_node
from fedcohort.node.answer import answer
from fedcohort.protection import masks
from fedcohort.protection.context import RoundContext
from fedcohort.protection.fixed_point import Ring, Segment, Shape
from fedcohort.study import ProtectionName
from fedcohort.table import Table
from fedcohort.vector import Array
from fedcohort.wire.messages import Message, OpenRequest, SiteId

PARAMETERS, NEIGHBOURS, REPEATS, MOST_TIMES = 1_000_000, 9, 9, 13.0
PROTECTIONS: tuple[ProtectionName, ...] = ("none", "masks")


@dataclass(frozen=True)
class Run:
    """What a simulated study left."""

    rows: list[Row]
    arrays: Mapping[str, Array]


def seal_seconds() -> tuple[float, int]:
    """A site's cost of masking a million integers with nine neighbours: median seconds, bytes sent."""
    roster = tuple(f"site_{index}" for index in range(NEIGHBOURS + 1))
    shape = Shape((Segment(PARAMETERS, 32, 2**21),), len(roster))
    draw = np.random.default_rng(0)
    ring = Ring(np.zeros(0, np.uint64), draw.integers(0, 2**21, PARAMETERS, dtype=np.uint32))
    secret = {site: hashlib.sha256(site.encode()).digest() for site in roster}
    seconds = []
    for number in range(REPEATS):
        context = RoundContext("ab" * 32, number, 0, os.urandom(32), roster, 2, 1, shape)
        began = time.perf_counter()
        sealed = masks.mask(context, roster[0], secret.__getitem__, ring)
        seconds.append(time.perf_counter() - began)
    return median(seconds), len(sealed.body) + sum(map(len, sealed.extras.values()))


def against_flower() -> list[Claim]:
    """Both sides mask the same vector; Flower's by its own functions, in its own environment."""
    seconds, size = seal_seconds()
    peer = run_peer("flower", "flower_secagg.py", str(PARAMETERS), str(NEIGHBOURS), timeout=300)
    seconds_again, _ = seal_seconds()
    mine = median([seconds, seconds_again])
    name = f"masks: a site masks {PARAMETERS:,} parameters with {NEIGHBOURS} neighbours"
    if "unavailable" in peer:
        return [unavailable(name, mine * 1e3, "ms", str(peer["unavailable"]))]
    fewer = Claim(
        f"{name}, bytes sent",
        float(size),
        float(peer["bytes"]),
        "bytes",
        peer["bytes"] / size,
        "at most half",
        size <= peer["bytes"] / 2,
    )
    return [at_least_times_faster(name, mine * 1e3, peer["seconds"] * 1e3, "ms", 10), fewer]


def live_round(repeats: int = 3) -> list[Claim]:
    """Four sites over TLS, 10,000 floats: the floor, `none` and `masks` in turns."""
    size = (4, 10_000, 60)
    low, plain, masked = in_turns(
        repeats, lambda: floor(*size), lambda: ours(*size, "none"), lambda: ours(*size, "masks")
    )
    say(f"floor {low * 1e3:.2f} ms, none {plain * 1e3:.2f} ms, masks {masked * 1e3:.2f} ms")
    name = "masks: a round of 4 sites over TLS, 10,000 float32"
    return [
        at_most(f"{name}, against none", masked * 1e3, plain * 1e3, "ms", 4),
        at_most(f"{name}, against the floor", masked * 1e3, low * 1e3, "ms", MOST_TIMES),
    ]


def simulated_round(sites: int, lost: int, size: int = 100_000, rounds: int = 6) -> tuple[float, bool]:
    """Median seconds of a round in the local engine, and whether its sums are those without protection.

    Args:
        lost: half of them never contribute, the others contribute and do not help.
    """
    names = [f"site_{index:04d}" for index in range(sites)]
    plain, masked = (_run(kind, names, size, rounds, lost) for kind in PROTECTIONS)
    exact = all(np.array_equal(plain.arrays[name], masked.arrays[name]) for name in plain.arrays)
    return median([float(str(row["seconds"])) for row in masked.rows[WARM_UP:]]), exact


def _run(protection: ProtectionName, names: list[SiteId], size: int, rounds: int, lost: int) -> Run:
    cohort = fc.Cohort(columns={"age": fc.Numeric(18, 90)})
    study = fc.Study(name="masks", cohort=cohort, analysis=fc.Describe(), protection=protection)
    table = Table(np.array(["a", "b"]), {"age": np.array([30.0, 40.0])}, np.zeros(2, np.int8))
    echo, federation, log = Echo(size, rounds, bound=0.5), Simulated(), MemoryLog(lambda _: None)
    nodes = {name: simulated_node(federation, name, study, lambda *_: table, echo) for name in names}
    never, silent = set(names[: lost // 2]), set(names[lost // 2 : lost])

    async def exchange(
        messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        for site, message in messages.items():
            if site in never or (site in silent and isinstance(message, OpenRequest)):
                continue
            if receive(site, answer(nodes[site], message)):
                return

    plan = Plan(study, study.hash, echo, tuple(names))
    state = asyncio.run(run_study(plan, log, exchange))
    return Run(log.rows, state.arrays)


def large_studies() -> list[Claim]:
    """Exactness with a tenth of 100 sites lost, and the cost a site from 20 to 200 sites."""
    seconds = {sites: simulated_round(sites, 0)[0] / sites for sites in (20, 200)}
    lost, exact = simulated_round(100, 10)
    say(f"20 sites {seconds[20] * 1e3:.2f} ms a site, 200 sites {seconds[200] * 1e3:.2f} ms a site")
    name = "masks: a round of the local engine, 100,000 parameters of 22 bits"
    return [
        Claim(f"{name}, 100 sites of which 10 are lost", lost, None, "s", None, "exact", exact),
        at_most(f"{name}, a site's cost at 200 sites against 20", seconds[200], seconds[20], "s", 1.25),
    ]


def main() -> None:
    """Print all claims."""
    for claim in against_flower():
        emit(claim)
    for claim in large_studies():
        emit(claim)
    for claim in live_round():
        emit(claim)


if __name__ == "__main__":
    main()
