"""Where a link may go, and the certificates that it takes: TLS off loopback, always."""

import ipaddress
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from fedcohort.errors import ConfigError, LinkClosedError


def loopback_addresses(host: str) -> list[str]:
    """The addresses of a host that is this machine; none when any of them is elsewhere.

    Raises:
        LinkClosedError: the name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LinkClosedError(
            f"{host}: the name cannot be resolved; check it and the DNS settings"
        ) from error
    addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
    local = all(ipaddress.ip_address(address.split("%")[0]).is_loopback for address in addresses)
    return addresses if local else []


def is_loopback(host: str) -> bool:
    """Whether every address of this host is this machine.

    Raises:
        LinkClosedError: the name cannot be resolved.
    """
    return bool(loopback_addresses(host))


def client_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Trust the system's CAs, or a corporate one.

    Raises:
        ConfigError: the file is not a CA certificate.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca_file}: cannot be read as a CA certificate in PEM") from error


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Serve with this certificate.

    Raises:
        ConfigError: certificate and key cannot be read, or do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{certificate}, {key}: cannot be used as certificate and key in PEM") from error
    return context


def check_url(url: str) -> list[str]:
    """Refuse an address that is not a WebSocket, or would send plain text over a network.

    Returns:
        where to connect in plain text: addresses of this machine; none for wss://.
    Raises:
        ConfigError: and the remedy.
        LinkClosedError: the name cannot be resolved.
    """
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{url!r}: give an address such as wss://coordinator.example:8760")
    if parts.scheme == "wss":
        return []
    addresses = loopback_addresses(parts.hostname or "")
    if not addresses:
        raise ConfigError(f"{url}: plain text is only allowed on this machine itself; use wss://")
    return addresses
