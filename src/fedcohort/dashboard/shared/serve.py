"""Serve the dashboard from this process, a thread a stream.

Waitress serves this machine, and whatever stands in front of it there: it believes the
`X-Forwarded-For` and `X-Forwarded-Proto` of a proxy on loopback, and of nobody else. It knows
no TLS. With a certificate of its own the page is served by Werkzeug's threaded server, which
is enough for the few people who look at one hospital network's page without nginx.
"""

import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import waitress
from flask import Flask
from waitress import wasyncore
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.errors import ConfigError
from fedcohort.wire.address import is_loopback_name

log = logging.getLogger("fedcohort.dashboard")

IDLE_SECONDS = 60.0
SPARE_THREADS = 16
"""Beside one for each stream: for what is answered at once."""
CONNECTIONS_A_VIEWER = 8
WATCHING_NICE = 10
MAX_HEADER_BYTES = 32 * 2**10


@dataclass(frozen=True)
class Listen:
    """Where to listen; certificate and key are PEM files for HTTPS."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


class Server(Protocol):
    """A port that is open."""

    port: int

    def serve_forever(self) -> None:
        """Answer until interrupted, or shut down from another thread."""
        ...

    def shutdown(self) -> None:
        """End `serve_forever`."""
        ...

    def server_close(self) -> None:
        """Give the port back."""
        ...


@dataclass
class _Waitress:
    """Waitress with the handles of a `Server`; `sockets` is its own map of what is open."""

    inner: Any
    sockets: dict[int, Any]
    port: int

    def serve_forever(self) -> None:
        self.inner.run()

    def shutdown(self) -> None:
        # The thread that serves may see the call before the pull, woken by an answer that just ended:
        # it must not close the trigger's pipe before this thread has written to it.
        pulled = threading.Event()

        def close() -> None:
            pulled.wait()
            wasyncore.close_all(self.sockets)

        try:
            self.inner.trigger.pull_trigger(close)
        finally:
            pulled.set()

    def server_close(self) -> None:
        wasyncore.close_all(self.sockets)
        self.inner.task_dispatcher.shutdown(timeout=0.1)


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
        ConfigError: off loopback without accounts or a certificate, or the port cannot be had.
    """
    server = open_server(app, settings, listen)
    _stand_back()
    try:
        if ready:
            ready(address_of(listen, server.port))
        server.serve_forever()
    finally:
        server.server_close()
        close_app(app)


def _stand_back() -> None:
    """Whoever watches must not slow down what is watched: rounds on this machine come first."""
    if hasattr(os, "nice"):
        os.nice(WATCHING_NICE)


def address_of(listen: Listen, port: int) -> str:
    """What to type into a browser on this machine."""
    scheme = "https" if listen.certificate else "http"
    host = "127.0.0.1" if listen.host in ("", "0.0.0.0", "::") else listen.host  # noqa: S104
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def open_server(app: Flask, settings: Settings, listen: Listen) -> Server:
    """A server that listens and does not serve yet.

    Raises:
        ConfigError: as for `serve`.
    """
    _check(settings, listen)
    context = _tls(listen)
    if context is None:
        return _open_waitress(app, settings, _bound(listen))
    return _open_werkzeug(app, listen, context)


def _open_waitress(app: Flask, settings: Settings, bound: socket.socket) -> Server:
    sockets: dict[int, Any] = {}
    inner = waitress.create_server(
        app,
        map=sockets,
        sockets=[bound],
        threads=settings.max_viewers + SPARE_THREADS,
        connection_limit=CONNECTIONS_A_VIEWER * settings.max_viewers + SPARE_THREADS,
        channel_timeout=int(IDLE_SECONDS),
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=app.config["MAX_CONTENT_LENGTH"],
        ident="fedcohort",
        asyncore_use_poll=True,
        trusted_proxy="127.0.0.1",
        trusted_proxy_headers={"x-forwarded-for", "x-forwarded-proto"},
        clear_untrusted_proxy_headers=True,
    )
    return _Waitress(inner, sockets, bound.getsockname()[1])


def _open_werkzeug(app: Flask, listen: Listen, context: ssl.SSLContext) -> BaseWSGIServer:
    with _bound(listen) as bound:
        server = make_server(
            listen.host,
            bound.getsockname()[1],
            app,
            threaded=True,
            request_handler=_Handler,
            fd=bound.fileno(),
        )
    # The handshake is left to the connection's own thread: a silent client must not hold up the others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.ssl_context = context
    return server


def _check(settings: Settings, listen: Listen) -> None:
    if bool(listen.certificate) != bool(listen.key):
        raise ConfigError("HTTPS needs both a certificate and its key: give --certificate and --key")
    if is_loopback_name(listen.host):
        return
    if settings.people is None:
        raise ConfigError(
            f"host {listen.host!r} is not loopback: set FEDCOHORT_PEOPLE (--people) to the file of those who "
            "may log in"
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
            f"{listen.certificate}, {listen.key}: cannot be used for HTTPS ({error}); "
            "give a certificate and its key in PEM"
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
