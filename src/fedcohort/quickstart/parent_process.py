"""Processes that end with their parent, however it ends: the demo's.

A child reads its standard input, a pipe whose other end only the parent holds. The system closes
it when the parent ends, by kill -9 too, and the child ends itself.
`python -m fedcohort.quickstart.parent_process FOLDER` ends last: it waits for the others, and
removes what they all wrote.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

ENDS_WITH_STDIN = "FEDCOHORT_ENDS_WITH_STDIN"
"""Set for a child whose standard input is such a pipe."""
PROCESSES, PATHS = "processes", "paths"
"""Files in the folder: processes to wait for, and other paths to remove, one a line."""
GRACE_SECONDS, LAST_SECONDS = 5.0, 15.0


def end_with_parent() -> None:
    """Watch the pipe in the background; at its end stop as SIGTERM does, and for certain after a while."""
    threading.Thread(target=_stop_at_the_end, name="parent", daemon=True).start()


def _wait_for_the_end() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass


def _stop_at_the_end() -> None:
    _wait_for_the_end()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def clean_up(folder: Path) -> None:
    """Wait until every process that the folder names has ended, then remove folder and paths."""
    deadline = time.monotonic() + LAST_SECONDS
    pids, paths = _lines(folder / PROCESSES), _lines(folder / PATHS)
    while os.name == "posix" and any(_lives(int(pid)) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    if os.name != "posix":  # os.kill would end a process there rather than ask for it
        time.sleep(GRACE_SECONDS)
    for path in paths:
        with contextlib.suppress(OSError):
            Path(path).unlink()
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Wait for the parent's end, and clean up after it."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _wait_for_the_end()
    folder = Path(sys.argv[1])
    if folder.exists():
        clean_up(folder)


if __name__ == "__main__":
    main()
