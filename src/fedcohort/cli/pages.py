"""`fedcohort dashboard` and `fedcohort node page`: the pages for people."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fedcohort.cli.people import (
    PageUrl,
    PeopleFile,
    ProgramToken,
    ProviderFile,
    ProviderSecret,
    page_is_open,
)
from fedcohort.cli.support import CaFile, Coordinator, LogForm, SiteFile, Token, existing
from fedcohort.logs import LogFormat, log_to_stderr


def page(
    site: SiteFile = Path("site.toml"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page.")] = 5001,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="A trained model's folder, to ask about a patient; again for more."),
    ] = None,
    people: PeopleFile = None,
    url: PageUrl = None,
    oidc: ProviderFile = None,
    oidc_secret: ProviderSecret = None,
    dashboard_token: ProgramToken = None,
) -> None:
    """Serve this hospital's page on this machine: budgets, studies, releases and models.

    Without --people it only reads; with it, data owners approve and refuse studies there.
    --dashboard-token is better given by FEDCOHORT_DASHBOARD_TOKEN, which no list of processes shows.
    """
    from fedcohort.dashboard import Settings, run_hospital_page
    from fedcohort.node.policy import read_policy

    policy = read_policy(site)
    existing(policy.state / "node.db", "start the node once")
    log_to_stderr()
    settings = Settings(
        dashboard_token=dashboard_token, people=people, address=url, oidc=oidc, oidc_secret=oidc_secret
    )
    run_hospital_page(policy, settings, port, model or (), ready=partial(page_is_open, LogFormat.text))


def dashboard(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; off this machine accounts are needed.")
    ] = "127.0.0.1",
    coordinator: Coordinator = "http://127.0.0.1:8760",
    token: Token = None,
    ca_file: CaFile = None,
    people: PeopleFile = None,
    url: PageUrl = None,
    oidc: ProviderFile = None,
    oidc_secret: ProviderSecret = None,
    dashboard_token: ProgramToken = None,
    researcher_key: Annotated[
        Path | None,
        typer.Option(
            envvar="FEDCOHORT_RESEARCHER_KEY", help="Key that signs the studies which the form hands in."
        ),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate chain, in PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="TLS private key, in PEM.")] = None,
    log_format: LogForm = LogFormat.text,
) -> None:
    """Serve the live page until Ctrl-C.

    --dashboard-token is better given by FEDCOHORT_DASHBOARD_TOKEN, which no list of processes shows.
    """
    from fedcohort.dashboard import Settings, run_dashboard

    log_to_stderr(log_format)
    settings = Settings(
        coordinator=coordinator,
        token=token,
        ca_file=ca_file,
        dashboard_token=dashboard_token,
        people=people,
        address=url,
        oidc=oidc,
        oidc_secret=oidc_secret,
        researcher_key=researcher_key,
    )
    ready = partial(page_is_open, log_format)
    run_dashboard(settings, host, port, certificate=certificate, key=key, ready=ready)
