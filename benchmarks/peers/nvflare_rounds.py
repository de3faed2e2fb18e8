"""NVFLARE's FedAvg, and the same rounds by its collab API, in POC mode; prints one line of JSON.

Run by the interpreter of NVFLARE's own environment. POC mode is a real deployment on one machine: the
server and every client are processes of their own, with NVFLARE's certificates and its defaults. A round
lasts from one "Round N started." in the server's log to the next (the last to "Finished FedAvg."); with
the collab API the server's function measures it.
POC's server listens on every interface, so all of it runs in a network namespace that has only loopback
(Linux, `unshare` and `ip`); the namespace for processes ends every one of them with the first.
Source: Roth et al., "NVIDIA FLARE: Federated Learning from Simulation to Real-World", 2022.
"""

import argparse
import importlib
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

APP = Path(__file__).parent / "nvflare_app"
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


def submit(options: argparse.Namespace) -> None:
    """Start the server and the clients by NVFLARE's own means, and hand in the job."""
    from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
    from nvflare.collab import CollabRecipe
    from nvflare.recipe.poc_env import PocEnv

    if options.submit == "collab":
        sys.path.insert(0, str(APP))
        module = importlib.import_module("collab_rounds")
        recipe = CollabRecipe(job_name="bench", server=module, client=module, min_clients=options.sites)
    else:
        recipe = NumpyFedAvgRecipe(
            name="bench",
            model=[0.0] * options.size,
            min_clients=options.sites,
            num_rounds=options.rounds,
            train_script=str(APP / "client.py"),
        )
    recipe.execute(PocEnv(num_clients=options.sites, extra={"login_timeout": 60}))


def fedavg_rounds(text: str, options: argparse.Namespace) -> list[float] | None:
    """The seconds of FedAvg's rounds; None until they are all done and heard every client."""
    times = marks(text)
    # A round also ends when a client fails; only rounds that heard every client are a measurement.
    whole = text.count(f"Aggregated {options.sites}/{options.sites} results")
    if len(times) <= options.rounds or whole != options.rounds:
        return None
    return [(after - before).total_seconds() for before, after in itertools.pairwise(times)]


def collab_rounds(text: str, options: argparse.Namespace) -> list[float] | None:
    """The seconds of the collab API's rounds; None until they are all done and heard every client."""
    lines = [line for line in text.splitlines(keepends=True) if "COLLAB {" in line and line.endswith("\n")]
    found = json.loads(lines[0].split("COLLAB ", 1)[1]) if lines else {"whole": False}
    return found["rounds"] if found["whole"] and len(found["rounds"]) == options.rounds else None


READ = {"fedavg": fedavg_rounds, "collab": collab_rounds}


def watch(kind: str, options: argparse.Namespace, home: Path) -> list[float] | str:
    """Run one deployment until its rounds are done (or say why not); then all of it is ended."""
    # POC mode keeps its settings under HOME and starts its processes by the name python3.
    environment = {**os.environ, "HOME": str(home), "NVFLARE_POC_WORKSPACE": str(home / "poc")}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    numbers = {"sites": options.sites, "size": options.size, "rounds": options.rounds}
    environment |= {f"BENCH_{name.upper()}": str(number) for name, number in numbers.items()}
    script = [sys.executable, __file__, "--submit", kind]
    script += [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    command = [*APART, "sh", "-c", INSIDE, "sh", *script]
    running = subprocess.Popen(command, env=environment, stdout=sys.stderr, stderr=sys.stderr)
    until = time.monotonic() + options.seconds
    try:
        while (seconds := READ[kind](server_log(home), options)) is None:
            if running.poll() is not None:
                return f"{kind}: the deployment ended with code {running.returncode} before its rounds"
            if time.monotonic() > until:
                return f"{kind}: no {options.rounds} rounds that heard every client in {options.seconds:g} s"
            time.sleep(0.5)
        return seconds
    finally:
        running.kill()
        running.wait(10)


def measure(kind: str, options: argparse.Namespace) -> list[float] | str:
    """The rounds' seconds of one deployment in a folder of its own, or why there are none."""
    home = Path(tempfile.mkdtemp(prefix="nvflare-bench-"))
    try:
        return watch(kind, options, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Measure and print one line; with --submit (used inside the namespace), run the deployment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--submit", choices=sorted(READ), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.submit:
        submit(options)
        time.sleep(options.seconds)  # the processes live as long as this one
        return
    if missing := [name for name in ("unshare", "ip") if shutil.which(name) is None]:
        print(
            json.dumps({"peer": "nvflare", "unavailable": f"no {' and no '.join(missing)} on this machine"})
        )
        return
    rounds = measure("fedavg", options)
    if isinstance(rounds, str):
        print(json.dumps({"peer": "nvflare", "version": version("nvflare"), "unavailable": rounds}))
        return
    line = {"peer": "nvflare FedAvg", "version": version("nvflare"), "mode": "poc", "rounds": rounds}
    collab = measure("collab", options)
    line["collab_unavailable" if isinstance(collab, str) else "collab_rounds"] = collab
    print(json.dumps(line))


if __name__ == "__main__":
    main()
