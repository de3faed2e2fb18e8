"""What these tests share."""

import ssl
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from fedcohort.fetch_fhir import fetch
from fedcohort.wire.address import client_tls


@pytest.fixture(scope="session")
def tls() -> Callable[[Path | None], ssl.SSLContext]:
    """Certificates of the system, read once: each run reads them anew, and these tests are many runs."""
    return cache(client_tls)


@pytest.fixture(autouse=True)
def _one_context(monkeypatch: pytest.MonkeyPatch, tls: Callable[[Path | None], ssl.SSLContext]) -> None:
    monkeypatch.setattr(fetch, "client_tls", tls)
