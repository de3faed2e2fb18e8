"""The demo's processes and their folder, which end with it in any case; the logs of a failed one are kept."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rich.console import Console

from fedcohort.errors import ConfigError
from fedcohort.quickstart.parent_process import ENDS_WITH_STDIN, PATHS, PROCESSES

STOP_SECONDS = 5.0
console = Console(soft_wrap=True)
LAST_WORDS = 1500
"""Characters of a log that are shown when its process has ended."""
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass
class Processes:
    """Child processes, all of which end with the block.

    Attributes:
        folder: of what they write; it goes with them.
        pipe: its reading end is every child's standard input; the writing end closes with this process.
        busy: a process is being started or ended; a signal that comes now waits until that is done.
        interrupted: such a signal has come.
    """

    folder: Path
    pipe: tuple[int, int] = field(default_factory=os.pipe)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    busy: bool = False
    interrupted: bool = False

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "fedcohort.quickstart.parent_process", str(self.folder)]
        with (self.folder / "last.log").open("wb") as file:
            self.last = subprocess.Popen(  # noqa: S603
                command, stdin=self.pipe[0], stdout=file, stderr=file, start_new_session=True
            )

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Take Ctrl-C, SIGTERM and SIGHUP; never between a child's start and its entry in `running`."""
        self.interrupted = True
        if not self.busy:
            raise KeyboardInterrupt

    def start(self, *arguments: str, log: str, environment: Mapping[str, str] | None = None) -> None:
        """Start `fedcohort ARGUMENTS`, its log in the demo's folder."""
        command = [sys.executable, "-m", "fedcohort", *arguments]
        self.busy = True
        with (self.folder / log).open("wb") as file:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=self.pipe[0],
                stdout=file,
                stderr=file,
                env={**os.environ, ENDS_WITH_STDIN: "1", **(environment or {})},
            )
        self.running[log] = process
        self._note(PROCESSES, str(process.pid))
        self.busy = False
        if self.interrupted:
            raise KeyboardInterrupt

    def remove_later(self, path: Path) -> None:
        """Have a file outside the folder removed with it."""
        self._note(PATHS, str(path))

    def _note(self, name: str, line: str) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def check(self) -> None:
        """Raise when a process has ended.

        Raises:
            ConfigError: with the last lines of its log.
        """
        for log, process in self.running.items():
            if process.poll() is not None:
                said = (self.folder / log).read_text(errors="replace")[-LAST_WORDS:].strip()
                what = log.removesuffix(".log")
                raise ConfigError(f"the demo's process {what} ended with {process.returncode}:\n{said}")

    def stop(self) -> None:
        """End all of them, and have their folder removed; a second Ctrl-C does not interrupt that."""
        self.busy = True
        for process in reversed(self.running.values()):
            with contextlib.suppress(OSError):
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for end in self.pipe:
            os.close(end)
        self.last.wait()


@contextlib.contextmanager
def processes() -> Iterator[Processes]:
    """A temporary folder and the processes in it; SIGTERM and SIGHUP end them as Ctrl-C does.

    What the block raises propagates, after the logs are copied and their place is printed.
    """
    group = Processes(Path(tempfile.mkdtemp(prefix="fedcohort-demo-")))
    wanted = [number for number in SIGNALS if not _is_nohup(number)]
    before = {number: signal.signal(number, group.interrupt) for number in wanted}
    try:
        yield group
    except Exception:
        if group.running:
            logs = _keep_logs(group.folder)
            console.print(f"The demo failed. The logs of its processes are kept in {logs}.")
        raise
    finally:
        group.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_nohup(number: int) -> bool:
    """Whether it is SIGHUP, and nohup has had the system ignore it."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN


def _keep_logs(folder: Path) -> Path:
    logs = Path(tempfile.mkdtemp(prefix="fedcohort-demo-logs-"))
    for log in folder.glob("*.log"):
        shutil.copy(log, logs)
    return logs
