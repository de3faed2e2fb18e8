"""NVFLARE's FedAvg in its POC mode on loopback; prints one line of JSON.

Run by the interpreter of NVFLARE's own environment. POC mode is a real deployment on one machine: the
server and every client are processes of their own, with NVFLARE's certificates and its defaults. A round
lasts from one "Round N started." in the server's log to the next (the last to "Finished FedAvg.").
POC's server listens on every interface, so all of it runs in a network namespace that has only loopback
(Linux, `unshare` and `ip`); the namespace for processes ends every one of them with the first.
Source: Roth et al., "NVIDIA FLARE: Federated Learning from Simulation to Real-World", 2022.
"""

import argparse
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

CLIENT = Path(__file__).parent / "nvflare_app" / "client.py"
BIN = Path(sys.executable).parent
APART = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
# The shell stays the namespace's first process, to reap those whose parents have ended.
INSIDE = 'ip link set lo up && "$@"; exit $?'
# NVFLARE centres these words on the line after the one with the time.
MARK = re.compile(
    r"^\W*(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - FedAvg - [^\n]*\n"
    r"\W*(?:Round \d+ started|Finished FedAvg)\.",
    re.MULTILINE,
)


def server_log(home: Path) -> str:
    """What the server and its job have logged so far."""
    return "".join(log.read_text(errors="replace") for log in home.glob("poc/*/*/server/poc_console.log"))


def marks(text: str) -> list[datetime]:
    """The times at which the server began each round and ended the last."""
    return [datetime.strptime(found.group(1), "%Y-%m-%d %H:%M:%S,%f") for found in MARK.finditer(text)]


def submit(sites: int, size: int, rounds: int) -> None:
    """Start the server and the clients by NVFLARE's own means, and hand in the job."""
    from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
    from nvflare.recipe.poc_env import PocEnv

    recipe = NumpyFedAvgRecipe(
        name="bench",
        model=[0.0] * size,
        min_clients=sites,
        num_rounds=rounds,
        train_script=str(CLIENT),
    )
    recipe.execute(PocEnv(num_clients=sites, extra={"login_timeout": 60}))


def watch(options: argparse.Namespace, home: Path) -> dict[str, object]:
    """Run the deployment until its rounds are done or the time is up; then all of it is ended."""
    # POC mode keeps its settings under HOME and starts its processes by the name python3.
    environment = {**os.environ, "HOME": str(home), "NVFLARE_POC_WORKSPACE": str(home / "poc")}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    numbers = ["--sites", options.sites, "--size", options.size, "--rounds", options.rounds]
    script = [sys.executable, __file__, "--submit", *map(str, numbers)]
    command = [*APART, "sh", "-c", INSIDE, "sh", *script]
    running = subprocess.Popen(command, env=environment, stdout=sys.stderr, stderr=sys.stderr)
    until = time.monotonic() + options.seconds
    try:
        while len(times := marks(server_log(home))) <= options.rounds:
            reached = f"after {len(times)} of {options.rounds + 1} marks in the server's log"
            if running.poll() is not None:
                return {"unavailable": f"the deployment ended with code {running.returncode} {reached}"}
            if time.monotonic() > until:
                return {"unavailable": f"{options.seconds:g} s were over {reached}"}
            time.sleep(0.5)
        # A round also ends when a client fails; only rounds that heard every client are a measurement.
        whole = server_log(home).count(f"Aggregated {options.sites}/{options.sites} results")
        if whole != options.rounds:
            return {"unavailable": f"only {whole} of {options.rounds} rounds heard every client"}
        seconds = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
        return {"mode": "poc", "rounds": seconds}
    finally:
        running.kill()
        running.wait(10)


def main() -> None:
    """Measure and print one line; with --submit (used inside the namespace), run the deployment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--submit", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.submit:
        submit(options.sites, options.size, options.rounds)
        time.sleep(options.seconds)  # the processes live as long as this one
        return
    if missing := [name for name in ("unshare", "ip") if shutil.which(name) is None]:
        print(
            json.dumps({"peer": "nvflare", "unavailable": f"no {' and no '.join(missing)} on this machine"})
        )
        return
    home = Path(tempfile.mkdtemp(prefix="nvflare-bench-"))
    try:
        found = watch(options, home)
        peer = "nvflare FedAvg" if "rounds" in found else "nvflare"
        print(json.dumps({"peer": peer, "version": version("nvflare"), **found}))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
