"""A new certificate without a restart: on SIGHUP its files are read again, and open links go on."""

import asyncio
import logging
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

from fedcohort.errors import ConfigError
from fedcohort.wire.address import server_tls

log = logging.getLogger("fedcohort.wire")


def renew_on_hangup(
    context: Callable[[], ssl.SSLContext | None], certificate: Path | None, key: Path | None
) -> None:
    """From here on SIGHUP renews; where there is no certificate it only says so. Call it in a running loop.

    Args:
        context: gives what the server serves with.
    """
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None:
        return

    def renew_ours() -> None:
        serving = context()
        if serving is None or certificate is None or key is None:
            log.info("SIGHUP: no certificate is served here, so that there is none to read again")
        else:
            renew(serving, certificate, key)

    asyncio.get_running_loop().add_signal_handler(hangup, renew_ours)


def renew(context: ssl.SSLContext, certificate: Path, key: Path) -> bool:
    """Serve new connections with what the files hold now; keep the old when they do not fit.

    Returns:
        whether they fitted.
    """
    try:
        # First into a context of their own: a certificate without its key would spoil the one that serves.
        server_tls(certificate, key)
        context.load_cert_chain(certificate, key)
    except (ConfigError, OSError, ssl.SSLError) as error:
        log.warning("the certificate is as it was: %s", error)
        return False
    log.info("the certificate in %s serves from now on", certificate)
    return True
