"""`demo`: from the start of the processes to the first point on the page, set-up done.

The floor is what Python and TensorFlow take to start in the processes that train: the coordinator's and the
three hospitals', all at once, as the demo starts them.
"""

import re
import subprocess
import sys
import time

import httpx

from benchmarks.harness import at_most, emit, in_turns, say

REPEATS, MOST_TIMES, GIVE_UP_SECONDS = 3, 1.9, 300.0
TRAINING = 4
"""Processes that import tensorflow: the coordinator's and the three hospitals'."""


def seconds_to_first_point() -> float:
    """Start `fedcohort demo` and ask its dashboard until it has a metric."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "fedcohort", "demo"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        page = next(found.group(1) for line in process.stdout if (found := re.search(r"(http://\S+)", line)))
        while time.perf_counter() - began < GIVE_UP_SECONDS:
            answer = httpx.get(f"{page}/training_metrics")
            if answer.is_success and answer.json()["loss"]:
                taken = time.perf_counter() - began
                say(f"demo {taken:.1f} s")
                return taken
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(20)
    raise SystemExit(f"no point on the page in {GIVE_UP_SECONDS:g} s")


def seconds_to_import() -> float:
    """Start the interpreters at once and wait until each has imported tensorflow."""
    began = time.perf_counter()
    command = [sys.executable, "-c", "import tensorflow"]
    starting = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(TRAINING)]
    codes = [process.wait() for process in starting]
    if any(codes):
        raise SystemExit("demo: tensorflow cannot be imported; scripts/setup installs it")
    return time.perf_counter() - began


def main() -> None:
    """Print the claim."""
    ours, floor = in_turns(REPEATS, seconds_to_first_point, seconds_to_import)
    name = (
        f"demo: start of processes to the first point on the page, against {TRAINING} imports of tensorflow"
    )
    emit(at_most(name, ours, floor, "s", MOST_TIMES))


if __name__ == "__main__":
    main()
