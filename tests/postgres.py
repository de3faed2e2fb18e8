"""A real PostgreSQL server on loopback, in a folder of its own, for tests; Debian's package."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.build import free_port
from tests.patience import PATIENCE_SECONDS

START_SECONDS = PATIENCE_SECONDS


def program(name: str) -> str | None:
    """A program of the newest PostgreSQL that is installed; Debian keeps its servers' out of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_version)
    return str(versions[-1]) if versions else shutil.which(name)


def _version(path: Path) -> int:
    text = path.parent.parent.name
    return int(text) if text.isdigit() else 0


def _user() -> dict[str, Any]:
    """For `subprocess`: the server refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}


def _lives(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@dataclass
class Postgres:
    """One server; `kill` is kill -9 of all of it, after which `start` recovers it."""

    folder: Path
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    port: int = field(default_factory=free_port)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def run(self, name: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of its programs as its user, such as psql, against this server."""
        path = program(name)
        assert path is not None
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [path, *map(str, arguments)],
            env={**os.environ, **self.environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=check,
            stdin=subprocess.DEVNULL,
            **_user(),
        )
        return done

    @property
    def environment(self) -> dict[str, str]:
        """What libpq reads."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGPASSWORD": self.password,
        }

    def make(self) -> None:
        """A new cluster, which asks for a password."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
            shutil.chown(secret, "postgres")
        options = ("-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--no-sync")
        self.run("initdb", "-D", self.data, *options)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        log = self.folder / "log"
        done = self.run("pg_ctl", "start", "-D", self.data, "-w", "-l", log, "-o", options, check=False)
        assert done.returncode == 0, done.stdout + log.read_text()[-2000:]

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "stop", "-D", self.data, "-w", "-m", mode, check=False)

    def kill(self) -> None:
        """As a power cut of the server's process: the postmaster and all that it has started."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)  # so that it starts no other meanwhile
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        every = (postmaster, *map(int, children))
        for number in every:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        while any(_lives(number) for number in every) and time.monotonic() < deadline:
            time.sleep(0.02)
        # Where nobody collects the dead, a server would take its predecessor for alive.
        (self.data / "postmaster.pid").unlink()

    def create(self, database: str) -> str:
        """A new, empty database; returns its URL."""
        self.run("createdb", database)
        return self.url(database)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A server that ends with the block; the test is skipped where there is none.

    Its folder is not pytest's, whose folders only their owner may enter.
    """
    if program("initdb") is None or program("postgres") is None:
        pytest.skip("needs a PostgreSQL server: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="fedcohort-postgres-"))
    server = Postgres(folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
