"""`rounds`: what a round costs between real processes, TLS, signing and durable storage on.

Beside it, in the same run and in turns: the floor (raw `websockets`), a Flower
deployment and NVFLARE; and end to end, the seconds to a test AUC of .88 on the
four hospitals of heart disease.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fedcohort as fc
from benchmarks.deployment import PYTHON, federation
from benchmarks.harness import (
    ROOT,
    Claim,
    at_least_times_faster,
    at_most,
    data_folder,
    emit,
    median,
    reported,
    run_peer,
    say,
    unavailable,
)
from benchmarks.heart import encoded_splits, heart_databases, heart_study
from fedcohort.sources.datasets.synthetic import synthesize
from fedcohort.study import ProtectionName

WARM_UP = 3
GOAL, FLOWER_ROUNDS = 0.88, 20


def ours(sites: int, size: int, rounds: int, protection: ProtectionName = "none") -> float:
    """Median seconds of a round over real processes."""
    with tempfile.TemporaryDirectory() as folder:
        databases = {f"site_{index}": (f"{folder}/{index}.db", "records") for index in range(sites)}
        for index, (database, _) in enumerate(databases.values()):
            synthesize(database, index, 20, 0)
        command = [sys.executable, "-m", "benchmarks.echo", str(size), str(rounds)]
        with federation(databases, command) as fed:
            cohort = fc.Cohort(columns=("age",))
            study = fc.Study(
                name="rounds", cohort=cohort, analysis=fc.Describe(), min_sites=sites, protection=protection
            )
            result = fed.run(study, progress=False)
    return median([row["seconds"] for row in result.rows[WARM_UP:]])


def floor(sites: int, size: int, rounds: int) -> float:
    """Median seconds of a round over raw `websockets`."""
    command = [sys.executable, "-m", "benchmarks.floor", str(sites), str(size), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return median(json.loads(done.stdout)[WARM_UP:])


def compare(sites: int, size: int, rounds: int, times: float, repeats: int = 5) -> tuple[Claim, float]:
    """Floor and ours in turns; the medians of the repetitions."""
    pairs = [(floor(sites, size, rounds), ours(sites, size, rounds)) for _ in range(repeats)]
    for low, high in pairs:
        say(f"{sites} sites, {size} floats: floor {low * 1e3:.2f} ms, ours {high * 1e3:.2f} ms")
    low, high = median([low for low, _ in pairs]), median([high for _, high in pairs])
    name = f"rounds: {sites} sites, {size:,} float32, against the floor"
    return at_most(name, high * 1e3, low * 1e3, "ms", times), high


def seconds_to_goal(folder: Path) -> float | None:
    """Seconds from submitting the study to the first round whose test AUC reaches the goal."""
    with tempfile.TemporaryDirectory() as scratch:
        databases = heart_databases(folder, Path(scratch))
        with federation({site: (path, "heart_disease") for site, path in databases.items()}, PYTHON) as fed:
            began = time.perf_counter()
            handle = fed.submit(heart_study("logistic", 0))
            for kind, data in handle.rest.events(f"/api/studies/{handle.id}/events"):
                if kind == "metrics" and data["split"] == "test" and data["auc"] >= GOAL:
                    return time.perf_counter() - began
                if kind == "state" and data["state"] in ("finished", "failed"):
                    return None
    return None


def flower_to_goal(folder: Path) -> dict[str, object]:
    """Flower's deployment on the same rows, encoded and standardised for it."""
    with tempfile.TemporaryDirectory() as scratch:
        sites, test_x, test_y = encoded_splits(folder, Path(scratch))
        for index, (x, y) in enumerate(sites):
            np.savez(f"{scratch}/site_{index}.npz", x=x, y=y)
        np.savez(f"{scratch}/test.npz", x=test_x, y=test_y)
        size = str(test_x.shape[1] + 1)
        goal = ["--sites", str(len(sites)), "--size", size, "--data", scratch, "--goal", str(GOAL)]
        return run_peer("flower", "flower.py", *goal, "--rounds", str(FLOWER_ROUNDS), timeout=400)


def main() -> None:
    """Print all claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args()
    two, seconds = compare(2, 10_000, 300, 4.0)
    emit(two)
    emit(compare(4, 10_000, 300, 4.0)[0])
    emit(compare(2, 1_000_000, 30, 2.0, repeats=3)[0])
    if options.without_peers:
        return
    flower = run_peer("flower", "flower.py", "--rounds", "5", timeout=300)
    if "rounds" in flower:
        name = "rounds: 2 sites, 10,000 float32, against a Flower deployment"
        emit(at_least_times_faster(name, seconds * 1e3, median(flower["rounds"]) * 1e3, "ms", 1000.0))
    else:
        emit(unavailable("rounds: against Flower", seconds * 1e3, "ms", flower["unavailable"]))
    for claim in nvflare(seconds):
        emit(claim)
    end_to_end(data_folder(options.data) / "heart_disease")


def nvflare(seconds: float) -> list[Claim]:
    """NVFLARE's FedAvg and collab, reported."""
    found = run_peer("nvflare", "nvflare_rounds.py", timeout=400)
    claims = []
    for key, name in (("rounds", "FedAvg"), ("collab_rounds", "collab")):
        label = f"rounds: 2 sites, 10,000 float32, against NVFLARE {name} ({found.get('mode', '')})"
        if found.get(key):
            claims.append(reported(label, seconds * 1e3, median(found[key]) * 1e3, "ms"))
        else:
            claims.append(
                unavailable(label, seconds * 1e3, "ms", str(found.get("unavailable", "not measured")))
            )
    return claims


def end_to_end(folder: Path) -> None:
    """Seconds to the goal, ours and Flower's."""
    times = [found for found in (seconds_to_goal(folder) for _ in range(3)) if found is not None]
    peer = flower_to_goal(folder)
    other = peer.get("seconds_to_goal")
    name = f"rounds: seconds to a test AUC of {GOAL} on heart disease, against Flower"
    mine = median(times) if times else None
    if other is None:
        why = str(peer.get("unavailable", f"did not reach it in {FLOWER_ROUNDS} rounds of FedAvg"))
        emit(unavailable(name, mine, "s", why))
    else:
        emit(reported(name, mine, float(str(other)), "s"))


if __name__ == "__main__":
    main()
