"""Debian's nginx on loopback with the configuration that ships, under a certificate of a test's own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from tests.build import free_port
from tests.patience import PATIENCE_SECONDS, until

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx" / "fedcohort.conf"
COORDINATOR, DASHBOARD = "localhost", "dashboard.localhost"
"""Names that every browser and resolver takes for this machine."""
AROUND = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    types {{ text/html html; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/fedcohort.conf;
}}
"""


def nginx_path() -> str | None:
    """Where nginx is, or None; Debian keeps it out of a user's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")


@dataclass
class Nginx:
    """One nginx, in front of a coordinator and a dashboard on given ports."""

    folder: Path
    coordinator_port: int
    dashboard_port: int
    http: int = field(default_factory=free_port)
    https: int = field(default_factory=free_port)
    authority: trustme.CA = field(default_factory=trustme.CA)
    popen: subprocess.Popen[bytes] | None = None

    @property
    def coordinator(self) -> str:
        return f"https://{COORDINATOR}:{self.https}"

    @property
    def link(self) -> str:
        return f"wss://{COORDINATOR}:{self.https}"

    @property
    def dashboard(self) -> str:
        return f"https://{DASHBOARD}:{self.https}"

    @property
    def ca(self) -> Path:
        return self.folder / "tls" / "ca.pem"

    def write(self) -> None:
        """The shipped configuration with this test's names, ports and folder in place of its own."""
        text = CONFIGURATION.read_text(encoding="utf-8")
        text = "".join(line for line in text.splitlines(keepends=True) if "listen [::]" not in line)
        for shipped, ours in (
            ("listen 80", f"listen 127.0.0.1:{self.http}"),
            ("listen 443", f"listen 127.0.0.1:{self.https}"),
            ("coordinator.example", COORDINATOR),
            ("dashboard.example", DASHBOARD),
            ("127.0.0.1:8760", f"127.0.0.1:{self.coordinator_port}"),
            ("127.0.0.1:5000", f"127.0.0.1:{self.dashboard_port}"),
            ("/etc/fedcohort/tls", f"{self.folder}/tls"),
            ("/var/log/nginx", str(self.folder)),
        ):
            assert shipped in text, shipped
            text = text.replace(shipped, ours)
        (self.folder / "fedcohort.conf").write_text(text, encoding="utf-8")
        user = "user root;" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(AROUND.format(folder=self.folder, user=user))

    def issue(self) -> None:
        """A new certificate for both names, by the same authority, where nginx looks for it."""
        (self.folder / "tls").mkdir(exist_ok=True)
        issued = self.authority.issue_cert(COORDINATOR, DASHBOARD)
        self.authority.cert_pem.write_to_path(self.ca)
        (self.folder / "tls" / "chain.pem").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
        (self.folder / "tls" / "key.pem").write_bytes(issued.private_key_pem.bytes())

    @property
    def command(self) -> str:
        """nginx with this test's configuration."""
        return f"{nginx_path()} -p {self.folder} -c {self.folder}/nginx.conf"

    def start(self) -> None:
        command = self.command.split()
        with (self.folder / "out.log").open("ab") as log:
            self.popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self.listens, "nginx listens")

    def listens(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.https), PATIENCE_SECONDS),
        ):
            return True
        return False

    def signal(self, number: int) -> None:
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(number)

    def wait(self) -> int:
        assert self.popen is not None
        return self.popen.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """End the master and its workers at once, connections and all."""
        self.signal(signal.SIGTERM)
        if self.popen is not None:
            self.wait()


@contextlib.contextmanager
def nginx(folder: Path, coordinator_port: int, dashboard_port: int) -> Iterator[Nginx]:
    """An nginx that ends with the block; the test is skipped where there is none."""
    if nginx_path() is None:
        pytest.skip("needs nginx: apt-get install nginx")
    folder.mkdir(parents=True)
    server = Nginx(folder, coordinator_port, dashboard_port)
    server.issue()
    server.write()
    server.start()
    try:
        yield server
    finally:
        server.stop()
