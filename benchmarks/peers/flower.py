"""A Flower deployment on loopback: SuperLink and SuperNodes as processes; prints one line of JSON.

Run by the peers' interpreter. Its own defaults, without TLS; a run is started by `flwr run`.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

APP = Path(__file__).parent / "flower_app"
BIN = Path(sys.executable).parent


def free_port() -> int:
    """A port that is free now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Start the deployment, run the app, print what its server measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", default="")
    parser.add_argument("--goal", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="flower-bench-"))
    environment = {**os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0"}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    port = free_port()
    link = f"127.0.0.1:{port}"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "bench"\n[superlink.bench]\naddress = "{link}"\ninsecure = true\n'
    )
    shutil.copytree(APP, home / "app")
    running = []

    def start(*command: str) -> None:
        running.append(
            subprocess.Popen(
                [str(BIN / command[0]), *command[1:]], env=environment, stdout=sys.stderr, stderr=sys.stderr
            )
        )

    try:
        start("flower-superlink", "--insecure", "--port", str(port))
        time.sleep(5)
        for site in range(options.sites):
            node = [
                "--host",
                "127.0.0.1",
                "--port",
                str(free_port()),
                "--node-config",
                f"partition-id={site}",
            ]
            start("flower-supernode", "--insecure", "--superlink", link, *node)
        time.sleep(5)
        numbers = f"size={options.size} rounds={options.rounds} sites={options.sites} goal={options.goal}"
        config = f'{numbers} data="{options.data}"'
        command = [str(BIN / "flwr"), "run", str(home / "app"), "bench", "--stream", "--run-config", config]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=options.seconds, check=False
        )
        print(done.stdout[-3000:], done.stderr[-3000:], file=sys.stderr)
        line = next(line for line in done.stdout.splitlines() if "BENCH " in line)
        found = json.loads(line.split("BENCH ", 1)[1])
        print(json.dumps({"peer": "flower", "version": version("flwr"), **found}))
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
