"""What a client of an address trusts."""

import ssl
from pathlib import Path

import pytest

from fedcohort.errors import ConfigError
from fedcohort.wire.address import tls_towards


def test_an_address_in_clear_needs_nobodys_certificate_and_trusts_none() -> None:
    found = tls_towards("http://127.0.0.1:8760", None)
    assert (found.cert_store_stats()["x509"], found.verify_mode) == (0, ssl.CERT_REQUIRED)
    assert found.check_hostname


def test_any_other_address_is_verified_by_the_systems_certificates() -> None:
    for url in ("https://host:8760", "HTTPS://host", "wss://host", "host"):
        assert tls_towards(url, None).verify_mode == ssl.CERT_REQUIRED
        assert tls_towards(url, None).cert_store_stats() == ssl.create_default_context().cert_store_stats()


@pytest.mark.parametrize("url", ["http://host", "https://host"])
def test_a_file_of_no_certificate_is_refused_in_clear_as_well(url: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="give it in PEM"):
        tls_towards(url, tmp_path / "ca.pem")
