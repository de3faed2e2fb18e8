"""The commands of docs/deploy.md, run as they stand there, in a test's folders."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.patience import PATIENCE_SECONDS
from tests.processes.support import environment

GUIDE = Path(__file__).parents[2] / "docs" / "deploy.md"
_BLOCK = re.compile(r"^<!-- (?P<name>[^>]+) -->\n```sh\n(?P<lines>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, list[str]]:
    """The commands of every block that has a name."""
    text = GUIDE.read_text(encoding="utf-8")
    return {found["name"]: found["lines"].splitlines() for found in _BLOCK.finditer(text)}


class Unit(Protocol):
    """What systemd would look after."""

    def start(self) -> object: ...
    def signal(self, number: int) -> None: ...
    def wait(self) -> int: ...


@dataclass
class Machine:
    """Where the guide's commands run.

    Attributes:
        folder: of this machine; `bin` in it comes first in PATH.
        places: paths and words of the guide, and what stands for them here.
        units: what `systemctl` starts and stops.
        more: environment variables of every command.
    """

    folder: Path
    places: Mapping[str, str]
    units: Mapping[str, Unit] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        program = self.folder / "bin" / "fedcohort"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fedcohort "$@"\n')
        program.chmod(0o755)

    def run(self, name: str, **words: str) -> list[str]:
        """Run a block; returns what each of its commands printed.

        Args:
            words: what the operator writes in place of such a word, TOKEN for one.
        """
        return [self._run_line(self._here(line, words)).strip() for line in blocks()[name]]

    def _here(self, line: str, words: Mapping[str, str]) -> str:
        if line.startswith("systemctl "):
            return line  # names units, not files
        for shipped, ours in {**words, **self.places}.items():
            line = re.sub(rf"(?<![\w./-]){re.escape(shipped)}(?![\w-])", ours, line)
        return line

    def _run_line(self, line: str) -> str:
        line, user = re.subn(r"^sudo -u (\S+) ", "", line)[0], re.match(r"^sudo -u (\S+) ", line)
        if line.startswith("systemctl "):
            _, action, *units = line.split()
            for unit in units:
                self._systemctl(action, self.units[unit])
            return ""
        # An operator's `sudo -u postgres` is the server's own account; every other account is this one.
        account = {"PGUSER": "postgres"} if user and user[1] == "postgres" else {}
        path = os.pathsep.join((str(self.folder / "bin"), self.more.get("PATH", ""), os.environ["PATH"]))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            env=environment(self.folder, **{**self.more, **account, "PATH": path}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _systemctl(self, action: str, process: Unit) -> None:
        if action in ("stop", "restart"):
            process.signal(signal.SIGTERM)
            process.wait()
        if action == "reload":
            process.signal(signal.SIGHUP)
        if action in ("start", "restart"):
            process.start()
