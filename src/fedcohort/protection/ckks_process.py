"""The child process that runs TenSEAL (`ckks_worker`): one a process, started when first needed."""

import atexit
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from fedcohort.errors import ConfigError, WireError
from fedcohort.protection import ckks_worker

TIMEOUT_SECONDS = 120.0


@dataclass
class TensealProcess:
    """Sends one request at a time, and restarts the process when it has ended."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _popen: subprocess.Popen[bytes] | None = None

    def ask(self, operation: Callable[..., list[bytes]], *parts: bytes) -> list[bytes]:
        """Run a function of `ckks_worker` in the process.

        Raises:
            WireError: it refuses its arguments, or they ended the process or exceeded the time limit.
            ConfigError: TenSEAL is not installed.
        """
        with self._lock:
            code, reply = self._exchange(ckks_worker.OPERATIONS.index(operation), parts)
        if code == ckks_worker.ABSENT:
            raise ConfigError(
                "protection ckks needs TenSEAL: "
                "pip install -c constraints.txt '.[ckks]' in fedcohort's folder"
            )
        if code != ckks_worker.DONE:
            raise WireError("not a CKKS key or ciphertexts of this protocol")
        return reply

    def _exchange(self, number: int, parts: tuple[bytes, ...]) -> tuple[int, list[bytes]]:
        popen = self._running()
        watch = threading.Timer(TIMEOUT_SECONDS, popen.kill)
        watch.start()
        try:
            ckks_worker.write_frame(cast(BinaryIO, popen.stdin), number, parts)
            return ckks_worker.read_frame(cast(BinaryIO, popen.stdout))
        except (OSError, EOFError):
            self._end()
            return ckks_worker.REFUSED, []
        finally:
            watch.cancel()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._popen is not None and self._popen.poll() is not None:
            self._end()
        if self._popen is None:
            command = [sys.executable, "-m", ckks_worker.__name__]
            pipe = subprocess.PIPE
            quiet = subprocess.DEVNULL
            self._popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet)  # noqa: S603
        return self._popen

    def _end(self) -> None:
        if self._popen is None:
            return
        self._popen.kill()
        with contextlib.suppress(OSError):  # what was not yet written has no reader any more
            self._popen.communicate()
        self._popen = None

    def close(self) -> None:
        """End the process; the next request starts another."""
        with self._lock:
            self._end()


TENSEAL = TensealProcess()
atexit.register(TENSEAL.close)
