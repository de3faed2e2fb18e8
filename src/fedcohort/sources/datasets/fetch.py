"""Download of the public UCI Heart Disease files, each checked by its SHA-256.

The data are CC BY 4.0, https://doi.org/10.24432/C52P4X; the checksums are those of the
files as UCI serves them. A file that is there and whole is not fetched again, so a broken
download goes on with the next file when it is repeated.
"""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import Request

from fedcohort.errors import ConfigError, DataError, StoreError
from fedcohort.storage.files import write_whole

UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/"
MAX_FILE_BYTES = 2**20
TIMEOUT_SECONDS = 30.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")

HEART_DISEASE: Mapping[str, str] = {
    "processed.cleveland.data": "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8",
    "processed.hungarian.data": "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796",
    "processed.switzerland.data": "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314",
    "processed.va.data": "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f",
}
"""File to SHA-256."""


def fetch_heart_disease(
    folder: str | Path, base_url: str = UCI, timeout_seconds: float = TIMEOUT_SECONDS
) -> dict[str, bool]:
    """Download the four hospitals' files into a folder, made when missing.

    Args:
        folder: where `fedcohort data import heart-disease --from` then looks.
        base_url: another mirror; https, or http on this machine.
        timeout_seconds: how long a silent server is waited for.
    Returns:
        File to whether it was downloaded now; False when it was there already.
    Raises:
        ConfigError: the address is not https.
        DataError: no network, no such file, or other bytes than the public original.
        StoreError: the folder cannot be written, or holds a different file of that name.
    """
    if not _is_safe(base_url):
        raise ConfigError(f"{base_url}: use an https address")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return {
            name: _fetch(Path(folder) / name, base_url.rstrip("/") + "/" + name, digest, timeout_seconds)
            for name, digest in HEART_DISEASE.items()
        }
    except OSError as error:
        raise StoreError(
            f"{folder}: {error.strerror}; check the folder's permissions and free space"
        ) from None


def _is_safe(url: str) -> bool:
    """Https, or plain http that does not leave this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow a mirror's redirect, but never to plain text on the network."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not _is_safe(newurl):
            raise urllib.error.URLError("redirected to an address that is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(path: Path, url: str, digest: str, timeout_seconds: float) -> bool:
    if path.exists():
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise StoreError(f"{path}: is not the public original; move it away and fetch again")
        return False
    body = _download(url, timeout_seconds)
    if hashlib.sha256(body).hexdigest() != digest:
        raise DataError(
            f"{url}: the bytes are not those of the public original (SHA-256 differs); try again later"
        )
    write_whole(path, body)
    return True


def _download(url: str, timeout_seconds: float) -> bytes:
    """The body of a small file; a proxy is taken from the environment."""
    try:
        with urllib.request.build_opener(_SafeRedirects).open(url, timeout=timeout_seconds) as answer:
            body: bytes = answer.read(MAX_FILE_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise DataError(f"{url}: the server answered {error.code}; try again later") from None
    except (urllib.error.URLError, TimeoutError, HTTPException, ConnectionError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise DataError(
            f"{url}: no download ({reason}); check network and proxy (HTTPS_PROXY), or copy the files by hand"
        ) from None
    if len(body) > MAX_FILE_BYTES:
        raise DataError(f"{url}: larger than {MAX_FILE_BYTES >> 20} MiB; this is not the public original")
    return body
