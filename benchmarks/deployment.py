"""A real federation of processes over TLS on loopback, for benchmarks."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import trustme

from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import FedcohortError, LinkClosedError
from fedcohort.local_token import read_token, write_token
from fedcohort.node.keys import enrol
from fedcohort.researcher.client import Federation, connect

START_SECONDS = 60.0


def free_port() -> int:
    """A port that is free now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def federation(
    databases: Mapping[str, tuple[str, str]], command: list[str], place: Path | None = None
) -> Iterator[Federation]:
    """Coordinator and nodes as processes, linked over TLS; all ends with the block.

    Args:
        databases: by site, database and table.
        command: what stands before `coordinator` and `node`, such as [python, -m, fedcohort].
        place: an existing folder for what they write, such as ca.pem; by default one that goes afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="fedcohort-bench-") as text, contextlib.ExitStack() as stack:
        folder, port = place or Path(text), free_port()
        certificates(folder)
        store = CoordinatorStore(folder / "coordinator" / "coordinator.db")
        tokens = {site: Members(store).invite_site(site) for site in databases}
        write_token(folder / TOKEN_FILE, Members(store).issue_token("benchmark"))
        store.close()
        tls = ["--certificate", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]
        state = ["--state", str(folder / "coordinator")]
        stack.enter_context(process([*command, "coordinator", "--port", str(port), *state, *tls], {}))
        for site, (database, table) in databases.items():
            path = folder / f"{site}.toml"
            path.write_text(
                f'id = "{site}"\ndata = "{database}"\ncoordinator = "wss://localhost:{port}"\n'
                'ca_file = "ca.pem"\n'
                f'state = "{site}"\napproval = "auto"\nmin_patients = 1\n'
                'protections = ["none", "masks", "paillier", "ckks"]\n'
                f'[tables]\n{table} = "*"\n',
                encoding="utf-8",
            )
            enrol(folder / "roster", site, folder / site / "site.key")
            token = {"FEDCOHORT_JOIN_TOKEN": tokens[site]}
            stack.enter_context(process([*command, "node", "--site", str(path)], token))
        yield _linked(folder, port, len(databases))


def certificates(folder: Path) -> None:
    """A certificate for localhost, and the CA that signed it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))


@contextlib.contextmanager
def process(command: list[str], environment: Mapping[str, str]) -> Iterator[int]:
    """A process for the length of a with block; gives its number."""
    running = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield running.pid
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _linked(folder: Path, port: int, sites: int) -> Federation:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(LinkClosedError):
            url = f"https://localhost:{port}"
            token = read_token(folder / TOKEN_FILE)
            found = connect(url, token, ca_file=folder / "ca.pem", key_file=folder / "researcher.key")
            if len(found.catalogue()) == sites:
                return found
        time.sleep(0.2)
    raise FedcohortError(f"the sites were not linked within {START_SECONDS:g} s")


TOKEN_FILE = "researcher.token"
"""In the folder of a federation: what its coordinator asks of client and page."""
PYTHON = [sys.executable, "-m", "fedcohort"]
