"""Where the coordinator is, and who may look at the dashboard."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from fedcohort.errors import ConfigError
from fedcohort.wire.address import check_http

DEFAULT_COORDINATOR = "http://127.0.0.1:8760"
MIN_TOKEN_LENGTH = 16
MAX_VIEWERS = 420
"""Open event streams, each of which holds a thread here; a page has two."""


@dataclass(frozen=True)
class Settings:
    """A dashboard's configuration.

    Attributes:
        coordinator: address of its REST, https off loopback.
        token: what the coordinator asks of this dashboard.
        ca_file: certificate authority of the coordinator, in PEM.
        people: the file of accounts; None serves loopback only.
        dashboard_token: what programs may show in place of logging in.
        address: where people reach the page from outside, for the links that they are sent.
        oidc: the file of an identity provider; `oidc_secret` is what the page shows to it.
        researcher_key: what the studies of the form are signed with; None only shows them.
        max_viewers: event streams open at once.
    """

    coordinator: str = DEFAULT_COORDINATOR
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    dashboard_token: str | None = field(default=None, repr=False)
    people: Path | None = None
    address: str | None = None
    oidc: Path | None = None
    oidc_secret: str | None = field(default=None, repr=False)
    researcher_key: Path | None = None
    max_viewers: int = MAX_VIEWERS

    def __post_init__(self) -> None:
        _check_coordinator(self.coordinator)
        if self.ca_file is not None and not self.ca_file.is_file():
            raise ConfigError(f"FEDCOHORT_CA_FILE (--ca-file): there is no file {self.ca_file}")
        if self.dashboard_token is not None and self.people is None:
            raise ConfigError(
                "FEDCOHORT_DASHBOARD_TOKEN is what programs show, and people log in: set FEDCOHORT_PEOPLE "
                "(--people) to their file, too"
            )
        if self.address is not None:
            _check_address(self.address)
        if self.oidc is not None and (self.people is None or self.address is None):
            raise ConfigError(
                "FEDCOHORT_OIDC (--oidc): set FEDCOHORT_PEOPLE (--people) for those who log in, and "
                "FEDCOHORT_URL (--url) to where the provider sends them back"
            )
        if self.dashboard_token is not None and len(self.dashboard_token) < MIN_TOKEN_LENGTH:
            raise ConfigError(
                f"FEDCOHORT_DASHBOARD_TOKEN: too short to be safe; give {MIN_TOKEN_LENGTH} characters or more"
            )


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"FEDCOHORT_URL (--url): {address!r} is not an address such as https://host")


def _check_coordinator(address: str) -> None:
    where = f"FEDCOHORT_COORDINATOR (--coordinator): {address!r}"
    parts = check_http(address, where)
    if parts.username or parts.query or parts.fragment:
        raise ConfigError(f"{where}: give scheme, host and port only; the token goes into FEDCOHORT_TOKEN")


def settings_from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the FEDCOHORT_… variables; an empty one counts as not set.

    Raises:
        ConfigError: a setting is not valid.
    """
    given = os.environ if environment is None else environment
    names = ("CA_FILE", "PEOPLE", "OIDC", "RESEARCHER_KEY")
    paths = (given.get(f"FEDCOHORT_{name}") for name in names)
    ca_file, people, oidc, researcher_key = (Path(path) if path else None for path in paths)
    return Settings(
        coordinator=given.get("FEDCOHORT_COORDINATOR") or DEFAULT_COORDINATOR,
        token=given.get("FEDCOHORT_TOKEN") or None,
        ca_file=ca_file,
        dashboard_token=given.get("FEDCOHORT_DASHBOARD_TOKEN") or None,
        people=people,
        address=given.get("FEDCOHORT_URL") or None,
        oidc=oidc,
        oidc_secret=given.get("FEDCOHORT_OIDC_SECRET") or None,
        researcher_key=researcher_key,
    )
