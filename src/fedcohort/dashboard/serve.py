"""Serve the dashboard from this process, one thread a connection.

Werkzeug's threaded server is enough for the few people who look at one hospital
network's page; an HTTP server in front (nginx) is for the open network.
"""

import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from fedcohort.dashboard.app import close_app
from fedcohort.dashboard.settings import Settings, is_loopback
from fedcohort.errors import ConfigError

log = logging.getLogger("fedcohort.dashboard")

IDLE_SECONDS = 60.0


@dataclass(frozen=True)
class Listen:
    """Where to listen; certificate and key are PEM files for HTTPS."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


class _Handler(WSGIRequestHandler):
    """Quiet, and impatient with a client that sends its request by drops."""

    timeout = IDLE_SECONDS

    def version_string(self) -> str:
        return "fedcohort"

    def log(self, type: str, message: str, *args: object) -> None:
        log.log(logging.ERROR if type == "error" else logging.DEBUG, message, *args)


def serve(app: Flask, settings: Settings, listen: Listen, ready: Callable[[str], None] | None = None) -> None:
    """Serve until interrupted; `ready` is called with the address once the port is open.

    Raises:
        ConfigError: off loopback without a token or a certificate, or the port cannot be had.
    """
    server = open_server(app, settings, listen)
    try:
        if ready:
            ready(address_of(listen, server.port))
        server.serve_forever()
    finally:
        server.server_close()
        close_app(app)


def address_of(listen: Listen, port: int) -> str:
    """What to type into a browser on this machine."""
    scheme = "https" if listen.certificate else "http"
    host = "127.0.0.1" if listen.host in ("", "0.0.0.0", "::") else listen.host  # noqa: S104
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def open_server(app: Flask, settings: Settings, listen: Listen) -> BaseWSGIServer:
    """A server that listens and does not serve yet.

    Raises:
        ConfigError: as for `serve`.
    """
    _check(settings, listen)
    context = _tls(listen)
    with _bound(listen) as bound:
        server = make_server(
            listen.host,
            bound.getsockname()[1],
            app,
            threaded=True,
            request_handler=_Handler,
            fd=bound.fileno(),
        )
    if context:
        # The handshake is left to the connection's own thread: a silent client must not hold up the others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.ssl_context = context
    return server


def _check(settings: Settings, listen: Listen) -> None:
    if bool(listen.certificate) != bool(listen.key):
        raise ConfigError("HTTPS needs both a certificate and its key")
    if is_loopback(listen.host):
        return
    if settings.dashboard_token is None:
        raise ConfigError(
            f"host {listen.host!r} is not loopback: set FEDCOHORT_DASHBOARD_TOKEN to what visitors must show"
        )
    if listen.certificate is None:
        raise ConfigError(
            f"host {listen.host!r} is not loopback: give a certificate and a key, or listen on 127.0.0.1 "
            "behind a server that has them"
        )


def _tls(listen: Listen) -> ssl.SSLContext | None:
    if listen.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(listen.certificate, listen.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{listen.certificate}, {listen.key}: cannot be used for HTTPS ({error})"
        ) from error
    return context


def _bound(listen: Listen) -> socket.socket:
    """A listening socket; bound here, because werkzeug ends the process when it cannot."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        return socket.create_server((listen.host, listen.port), family=family, backlog=128)
    except OSError as error:
        raise ConfigError(
            f"{listen.host}:{listen.port} cannot be listened on ({error.strerror}); choose another --port"
        ) from error
