"""The live page: Flask and Apache ECharts over the coordinator's REST, every asset served from here.

`flask --app fedcohort.dashboard run` finds `create_app`; the command line uses `run_dashboard`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedcohort.dashboard.shared.settings import DEFAULT_COORDINATOR, Settings, settings_from_environment
from fedcohort.errors import ConfigError

if TYPE_CHECKING:
    from flask import Flask

    from fedcohort.node.policy import SitePolicy

__all__ = [
    "DEFAULT_COORDINATOR",
    "Settings",
    "create_app",
    "run_dashboard",
    "run_hospital_page",
    "settings_from_environment",
]

_REMEDY = (
    "the dashboard needs more packages: pip install -c constraints.txt '.[dashboard]' in fedcohort's folder"
)


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application.

    Args:
        settings: where the coordinator is and who may look; by default from FEDCOHORT_COORDINATOR,
            FEDCOHORT_TOKEN, FEDCOHORT_CA_FILE, FEDCOHORT_PEOPLE, FEDCOHORT_URL, FEDCOHORT_OIDC,
            FEDCOHORT_OIDC_SECRET, FEDCOHORT_DASHBOARD_TOKEN and FEDCOHORT_RESEARCHER_KEY.
    Raises:
        ConfigError: a setting is not valid, or the extra [dashboard] is not installed.
    """
    try:
        from fedcohort.dashboard.federation.app import build_app
    except ModuleNotFoundError as error:
        raise ConfigError(f"{_REMEDY} ({error})") from error
    return build_app(settings_from_environment() if settings is None else settings)


def run_dashboard(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 5000,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    ready: Callable[[str, str | None], None] | None = None,
) -> None:
    """Serve the dashboard until it is interrupted.

    Args:
        settings: where the coordinator is, and who may look; accounts are needed off loopback.
        port: 0 takes any free port.
        certificate, key: PEM files for HTTPS; needed off loopback.
        ready: called once the port is open with the page's address and, when the file of people
            is empty, the one-time link with which the first operator sets a password.
    Raises:
        ConfigError: a setting is not valid, the port is in use, or [dashboard] is not installed.
    """
    app = create_app(settings)
    from fedcohort.dashboard.shared.serve import Listen, serve

    serve(app, settings, Listen(host, port, certificate, key), _with_link(app, settings, ready))


def _with_link(
    app: Flask, settings: Settings, ready: Callable[[str, str | None], None] | None
) -> Callable[[str], None]:
    from fedcohort.dashboard.login.people import People, password_link

    people: People | None = app.extensions["fedcohort-people"]

    def announced(address: str) -> None:
        token = people.first_link() if people is not None and ready else None
        if ready:
            ready(address, password_link(settings.address or address, token) if token else None)

    return announced


def run_hospital_page(
    policy: SitePolicy,
    settings: Settings,
    port: int = 5001,
    models: Sequence[Path] = (),
    *,
    ready: Callable[[str, str | None], None] | None = None,
) -> None:
    """Serve a hospital's own page, on loopback, until it is interrupted.

    Args:
        settings: of them accounts, address and token; without accounts the page only reads.
        port: 0 takes any free port.
        models: folders that `result.save` wrote, of trained models to ask about a patient.
        ready: as for `run_dashboard`.
    Raises:
        ConfigError: the port is in use, or [dashboard] is not installed.
        StudyError: a folder holds no model.
    """
    try:
        from fedcohort.dashboard.hospital.app import build_hospital_page
        from fedcohort.dashboard.shared.serve import Listen, serve
    except ModuleNotFoundError as error:
        raise ConfigError(f"{_REMEDY} ({error})") from error
    from fedcohort.node.store import SqlNodeStore
    from fedcohort.researcher.inference import load_predictor

    predictors = [load_predictor(folder) for folder in models]
    app = build_hospital_page(policy, SqlNodeStore(policy.state / "node.db"), predictors, settings)
    serve(app, settings, Listen("127.0.0.1", port), _with_link(app, settings, ready))
