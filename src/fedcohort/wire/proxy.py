"""The proxy that the environment names, read once for every client: HTTP CONNECT is what we speak."""

import ssl
import urllib.request
from urllib.parse import urlsplit

import httpx

from fedcohort.errors import ConfigError

_ASKED = {
    "http": ("http", "all", "socks"),
    "https": ("https", "all", "socks"),
    "wss": ("wss", "https", "all", "socks"),
}
"""By scheme, the variables that may name a proxy, the first that does."""


def environment_proxy(scheme: str, host: str) -> str | None:
    """The address of the proxy for a host, from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

    Args:
        scheme: http, https or wss, of what is asked.
    Raises:
        ConfigError: it is no address, or of a proxy that is not spoken here; names the variable to set, and
            never a password.
    """
    if urllib.request.proxy_bypass(host):
        return None
    named = urllib.request.getproxies()
    address = next((named[kind] for kind in _ASKED[scheme] if named.get(kind)), None)
    if not address:
        return None
    variable = f"{_ASKED[scheme][-3].upper()}_PROXY"
    try:
        parts = urlsplit(address)
        usable, port = parts.scheme in ("http", "https") and bool(parts.hostname), parts.port
    except ValueError:
        parts, usable, port = urlsplit(""), False, None
    if parts.scheme.startswith("socks"):
        raise ConfigError(
            f"the environment names a SOCKS proxy for {host}, which is not spoken here; set "
            f"{variable}=http://proxy:port, or NO_PROXY={host} where none is needed"
        )
    if not usable or port == 0:
        raise ConfigError(
            f"the environment's proxy for {host} is no address; set {variable}=http://proxy:port, "
            f"or NO_PROXY={host} where none is needed"
        )
    return address


def reason(error: Exception) -> str:
    """Why an HTTP client got no answer, and what to do."""
    text = f"{error} {error.__cause__ or ''}"
    if isinstance(error.__cause__, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not trusted; give the CA that signed it by --ca-file (in Python, ca_file=)"
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return "it does not speak TLS there; ask its operator for the address that does"
    if isinstance(error, httpx.ProxyError):
        return f"the proxy refused ({error}); check HTTPS_PROXY, its user and its password"
    if "Name or service not known" in text or "name resolution" in text or "getaddrinfo" in text:
        return "its name cannot be resolved; check it and the DNS settings"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer in time ({type(error).__name__}); check address, firewall and HTTPS_PROXY"
    return f"{type(error).__name__}; check the address, and that `fedcohort coordinator` runs"
