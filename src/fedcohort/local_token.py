"""The token of a federation on one machine: `demo` and config.json write it, client and page read it.

A coordinator requires a token of every call, on loopback too, where nginx connects from as well. So that
nobody has to copy a token between terminals of the same machine, the two commands that start a whole
federation put one into a file that only their user can read, named by the port.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from fedcohort.errors import KeyFileError
from fedcohort.storage.files import read_key_file, write_whole
from fedcohort.wire.address import is_loopback_name

RESEARCHER = "local"
"""The researcher's name for this token, at the coordinator."""
_PORTS = {"http": 80, "https": 443}


def token_file(port: int) -> Path:
    """Where the token for the coordinator on this port of this machine is kept."""
    return Path.home() / ".fedcohort" / "tokens" / f"{port}.token"


def read_token(path: Path) -> str | None:
    """The token that the file holds; None when there is no such file.

    Raises:
        KeyFileError: it cannot be read, or others can read it.
    """
    return read_key_file(path).decode("ascii", "replace").strip() if path.exists() else None


def write_token(path: Path, token: str) -> None:
    """Put a token into a file that only this user can read, in place of what was there.

    Raises:
        KeyFileError: the file cannot be made.
    """
    try:
        write_whole(path, f"{token}\n".encode(), mode=0o600, folder_mode=0o700)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; make the folder writable") from error


@dataclass(frozen=True)
class TokenOfMachine(httpx.Auth):
    """Reads the file for every request: the coordinator may be started after its page."""

    path: Path

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the token, where there is one."""
        if (token := read_token(self.path)) is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        yield request


def token_of_machine(address: str) -> httpx.Auth | None:
    """The authentication of requests without a token; None for a coordinator on another machine.

    Args:
        address: http or https, host and port.
    """
    parts = urlsplit(address)
    if not is_loopback_name(parts.hostname):
        return None
    return TokenOfMachine(token_file(parts.port or _PORTS.get(parts.scheme, 80)))
