"""A hospital's receiver of HL7 v2: what an interface engine sends becomes events of the site's database."""

import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import Callable

from fedcohort.errors import ConfigError, FedcohortError
from fedcohort.sources.events.feed import EventFeed
from fedcohort.sources.hl7v2.inbox import Inbox
from fedcohort.sources.hl7v2.mllp import LOOPBACK, MllpLimits, MllpServer
from fedcohort.sources.hl7v2.reading import Hl7Options
from fedcohort.sources.hl7v2.settings import Hl7Settings
from fedcohort.sources.hl7v2.source import hl7_options, import_inbox
from fedcohort.storage.inbox_folder import InboxLimits
from fedcohort.wire.address import is_loopback, server_tls

log = logging.getLogger(__name__)

ImportAll = Callable[[EventFeed], object]
"""Imports a feed, durably, before it returns."""


def receiver_tls(settings: Hl7Settings) -> ssl.SSLContext | None:
    """Serve with the node's certificate those who have one of the engines' CA; None: without TLS.

    Raises:
        ConfigError: it would be plain text off loopback, and nobody says so; or a file cannot be used.
    """
    if settings.certificate is None or settings.key is None or settings.ca_file is None:
        if not settings.plain and not is_loopback(settings.host):
            raise ConfigError(
                f"hl7.host {settings.host}: patients' messages would cross the network in plain text; give "
                "certificate, key and ca_file in [hl7], or plain = true and the engines' addresses in allow"
            )
        return None
    context = server_tls(settings.certificate, settings.key)
    try:
        context.load_verify_locations(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{settings.ca_file}: cannot be read as a CA certificate; give it in PEM"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def limits_of(settings: Hl7Settings) -> MllpLimits:
    """What connections may cost, and from where they may come."""
    everywhere = settings.certificate is not None
    return MllpLimits(
        allow=settings.allow or (() if everywhere else LOOPBACK),
        connections=settings.connections,
        message_bytes=settings.message_mb * 2**20,
        idle_seconds=settings.idle_seconds,
        message_seconds=settings.message_seconds,
    )


def options_of(settings: Hl7Settings) -> Hl7Options:
    """How its messages are read.

    Raises:
        ConfigError: a zone or character set is unknown.
    """
    return hl7_options(settings.time_zone, settings.charset, settings.authority, settings.types)


async def serve_hl7(settings: Hl7Settings, import_all: ImportAll, listening: Callable[[int], None]) -> None:
    """Receive until SIGTERM or Ctrl-C, and import what has come every few seconds.

    Args:
        listening: called with the port.
    Raises:
        ConfigError: the settings cannot be used. StoreError: the port or the inbox cannot be had.
    """
    tls, options, limits = receiver_tls(settings), options_of(settings), limits_of(settings)
    room = InboxLimits(total_bytes=settings.inbox_mb * 2**20, refused_days=settings.refused_days)
    inbox = Inbox(settings.inbox, room)
    server = MllpServer(inbox, limits, options.charset)
    stopped = asyncio.Event()
    try:
        listening(await server.start(settings.host, settings.port, tls))
        with contextlib.suppress(NotImplementedError):  # on Windows Ctrl-C ends it as it ends any program
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, stopped.set)
        while not stopped.is_set():
            await asyncio.to_thread(_import, inbox, options, settings.source, import_all)
            try:
                async with asyncio.timeout(settings.import_seconds):
                    await stopped.wait()
            except TimeoutError:
                continue
    finally:
        await server.close()
        inbox.close()


def _import(inbox: Inbox, options: Hl7Options, source: str, import_all: ImportAll) -> None:
    """Import what waits; where that fails it waits on, and receiving goes on."""
    try:
        import_inbox(inbox, options, source, import_all)
    except FedcohortError as error:
        log.error("received messages wait for their import: %s", error)  # noqa: TRY400
    except Exception as error:  # noqa: BLE001  whatever one message does, others are received and acknowledged
        log.error("received messages wait for their import: %s", type(error).__name__)  # noqa: TRY400
