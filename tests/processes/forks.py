"""Processes of `fedcohort` that start at once: forked from one that has imported the package already.

Each is what `python -m fedcohort` is, with a memory, an environment, files and an end of its own; only the
imports, a second or more, are paid once for all tests of a process of pytest. Where what the imports
themselves read of the environment is another, the process is a Python of its own.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

READ_BY_IMPORTS = (
    "COLUMNS",
    "FORCE_COLOR",
    "KERAS",
    "LANG",
    "LC_",
    "LD_",
    "NO_COLOR",
    "ONEDNN_",
    "OPENBLAS",
    "PYTHON",
    "TERM",
    "TF_",
)
"""How names begin that Python, rich, typer or a library reads once."""
COLUMNS = {"COLUMNS": "1000"}
"""So that no line of output is broken."""

SERVER = """
import gc, importlib, json, os, runpy, socket, sys
import fedcohort.cli.app
for name in sys.argv[3:]:
    importlib.import_module(name)
if sys.argv[2] == "training":
    from fedcohort.models.start import start_tensorflow
    start_tensorflow()
# What is imported is neither walked through nor copied by a forked process that collects its own garbage.
gc.collect()
gc.freeze()
channel = socket.socket(fileno=int(sys.argv[1]))
requests, answers = channel.makefile("r", encoding="utf-8"), channel.makefile("w", encoding="utf-8")
for line in requests:
    asked = json.loads(line)
    if "poll" in asked:
        number, status = os.waitpid(asked["poll"], os.WNOHANG)
        answer = os.waitstatus_to_exitcode(status) if number else None
    elif (answer := os.fork()) == 0:
        channel.close(), requests.close(), answers.close()
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        added = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        for number, (path, flags) in enumerate(zip(asked["files"], (os.O_RDONLY, added, added))):
            opened = os.open(path, flags, 0o666)
            os.dup2(opened, number)
            os.close(opened)
        sys.argv = ["fedcohort", *asked["arguments"]]
        runpy.run_module("fedcohort", run_name="__main__", alter_sys=True)
        sys.exit(0)
    answers.write(json.dumps(answer) + "\\n")
    answers.flush()
"""
IMPORTS = (
    "fedcohort.engines.websocket",
    "fedcohort.explain",
    "fedcohort.node.check",
    "fedcohort.node.consent",
    "fedcohort.node.running",
    "fedcohort.node.readiness_trust",
    "fedcohort.researcher.client",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "websockets.asyncio.client",
)
"""What nodes, coordinators and the commands of people have in common; the rest comes in each process."""
TRAINS = ("coordinator", "node")
"""Commands that may train, by themselves and with options: not `node check`, which the end of TensorFlow's
modules would cost more than all it does.

They are forked from a process of their own, which has imported TensorFlow, too. A forked process makes
TensorFlow's context and threads itself, with its first operation.
"""


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_BY_IMPORTS)}


def _may_train(arguments: Sequence[str]) -> bool:
    ends_at_once = "--help" in arguments or any(not word.startswith("-") for word in arguments[1:2])
    return any(word in TRAINS for word in arguments[:1]) and not ends_at_once


@dataclass
class _Server:
    """The process that forks; `ask` is for any thread."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.answers = self.channel.makefile("r", encoding="utf-8")

    def ask(self, **asked: Any) -> int | None:
        with self.lock:
            self.channel.sendall(json.dumps(asked).encode() + b"\n")
            line = self.answers.readline()
        assert line, "the process that forks others has ended"
        number: int | None = json.loads(line)
        return number

    def close(self) -> None:
        self.answers.close()
        self.channel.close()
        self.process.wait()


@cache
def _server(training: bool, *fixed: tuple[str, str]) -> _Server:
    """Started with the first process that is asked for."""
    here, there = socket.socketpair()
    what = "training" if training else "other"
    command = [sys.executable, "-c", SERVER, str(there.fileno()), what, *IMPORTS]
    null = subprocess.DEVNULL
    process = subprocess.Popen(
        command,
        env={**os.environ, **dict(fixed)},
        pass_fds=[there.fileno()],
        stdin=null,
        stdout=null,
        cwd="/",
    )
    there.close()
    server = _Server(process, here)
    atexit.register(server.close)
    return server


@dataclass
class Forked:
    """What tests ask of a process, in the words of `subprocess.Popen`."""

    server: _Server
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.server.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("fedcohort", timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], files: tuple[Path, Path, Path]
) -> Forked | None:
    """Start `fedcohort ARGUMENTS` in a folder.

    Args:
        files: for its input, its output and its errors; these are appended to.
    Returns:
        None where it has to be started as a Python of its own.
    """
    fixed = _fixed(environment)
    if sys.platform != "linux" or fixed != {**_fixed(os.environ), **COLUMNS}:
        return None
    server = _server(_may_train(arguments), *sorted(fixed.items()))
    asked = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
    number = server.ask(**asked, files=[str(path) for path in files])
    assert number is not None
    return Forked(server, number)
