"""A new certificate is read on SIGHUP, and one that does not fit is not."""

import logging
import os
import signal
import socket
import ssl
import sys
from pathlib import Path

import httpx
import pytest
import trustme

from fedcohort.wire.address import server_tls
from fedcohort.wire.renewal import renew
from tests.build import free_port
from tests.patience import PATIENCE_SECONDS, until
from tests.processes.support import Process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")


def issue(folder: Path, authority: trustme.CA) -> tuple[Path, Path]:
    """Write a new certificate and its key, in place of the last ones."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "chain.pem", folder / "key.pem"


def served(port: int) -> bytes:
    """The certificate that a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain) as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def test_a_certificate_without_its_key_spoils_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    certificate, key = issue(tmp_path, authority)
    context = server_tls(certificate, key)
    assert renew(context, certificate, key)
    authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(certificate)
    with caplog.at_level(logging.WARNING, "fedcohort.wire"):
        assert not renew(context, certificate, key)
    assert "the certificate is as it was" in caplog.text
    key.unlink()
    assert not renew(context, certificate, key)


@pytest.mark.processes
def test_a_coordinator_serves_a_new_certificate_after_sighup_and_the_old_one_to_who_is_here(
    tmp_path: Path,
) -> None:
    authority, port = trustme.CA(), free_port()
    certificate, key = issue(tmp_path, authority)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    paths = ["--certificate", str(certificate), "--key", str(key)]
    arguments = ["coordinator", "--port", str(port), "--state", str(tmp_path / "state"), *paths]
    process = Process(arguments, tmp_path, tmp_path / "coordinator.log").start()
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    try:
        with httpx.Client(verify=context, trust_env=False, base_url=f"https://localhost:{port}") as client:
            until(lambda: listens(port), "it listens")
            before = served(port)
            assert client.get("/healthz").is_success
            issue(tmp_path, authority)
            process.signal(signal.SIGHUP)
            until(lambda: served(port) != before, "the new certificate")
            assert client.get("/healthz").is_success, "over the connection from before"
            after = served(port)
            key.write_text("no key")
            process.signal(signal.SIGHUP)
            until(lambda: "the certificate is as it was" in process.text, "a word about it")
            assert served(port) == after
            assert process.lives
    finally:
        process.kill()


@pytest.mark.processes
def test_sighup_ends_no_coordinator_that_has_no_certificate(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["coordinator", "--port", str(port), "--state", str(tmp_path / "state")]
    process = Process(arguments, tmp_path, tmp_path / "coordinator.log").start()
    try:
        until(lambda: listens(port), "it listens")
        assert process.popen is not None
        os.kill(process.popen.pid, signal.SIGHUP)
        until(lambda: "no certificate is served here" in process.text, "a word about it")
        assert process.lives
    finally:
        process.kill()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS).close()
    except OSError:
        return False
    return True
