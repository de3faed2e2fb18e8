"""Where a link may go, and the certificates that it takes: TLS off loopback, always."""

import ipaddress
import socket
import ssl
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from fedcohort.errors import ConfigError, LinkClosedError


def loopback_addresses(host: str) -> list[str]:
    """The addresses of a host that is this machine; none when any of them is elsewhere.

    Raises:
        LinkClosedError: the name cannot be resolved.
    """
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LinkClosedError(
            f"{host}: the name cannot be resolved; check it and the DNS settings"
        ) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
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
        raise ConfigError(f"{ca_file}: cannot be read as a CA certificate; give it in PEM") from error


def tls_towards(url: str, ca_file: Path | None) -> ssl.SSLContext:
    """As `client_tls`; towards an address in clear nobody is trusted, as reading all CAs takes 25 ms.

    Raises:
        ConfigError: the file is not a CA certificate.
    """
    if ca_file is None and urlsplit(url).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return client_tls(ca_file)


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Serve with this certificate.

    Raises:
        ConfigError: certificate and key cannot be read, or do not fit.
    """
    for file in (certificate, key):
        try:
            file.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}; give the certificate and its key in PEM") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{certificate}, {key}: cannot be used as certificate and key; give both in PEM"
        ) from error
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


def is_loopback_name(host: str | None) -> bool:
    """Whether a host name or address can only be this machine, whatever a name service says."""
    name = (host or "").strip("[]").rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def check_http(url: str, where: str) -> SplitResult:
    """Refuse an address of REST that is none, or would send a token and a study in plain text over a network.

    Stricter than `check_url`, which dials the very addresses that it has looked up: an HTTP client looks a
    name up again, so that only a name counts which no name service can give to another machine.

    Args:
        where: what a message begins with.
    Raises:
        ConfigError: and the remedy.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{where} is not an address ({error})") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ConfigError(f"{where} is not an address such as https://coordinator.example:8760")
    if parts.scheme == "http" and not is_loopback_name(host):
        raise ConfigError(f"{where}: plain text is only allowed on this machine itself; use https://")
    return parts
