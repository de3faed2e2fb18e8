"""`fedcohort people`: the accounts of the dashboard, or of a hospital's page."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.support import announce, console, existing
from fedcohort.logs import LogFormat

if TYPE_CHECKING:
    from fedcohort.dashboard.login.people import People

PeopleFile = Annotated[
    Path | None,
    typer.Option(
        "--people",
        envvar="FEDCOHORT_PEOPLE",
        help="File of the accounts; without one the page serves this machine, and changes nothing.",
    ),
]
PageUrl = Annotated[
    str | None,
    typer.Option("--url", envvar="FEDCOHORT_URL", help="Where people reach the page, such as https://host."),
]
ProgramToken = Annotated[
    str | None,
    typer.Option(
        "--dashboard-token",
        envvar="FEDCOHORT_DASHBOARD_TOKEN",
        show_envvar=False,  # the table of options would cut the name at 80 columns
        help="What programs may show to read, in place of logging in.",
    ),
]
ProviderFile = Annotated[
    Path | None,
    typer.Option("--oidc", envvar="FEDCOHORT_OIDC", help="File of an identity provider, to log in with."),
]
ProviderSecret = Annotated[
    str | None,
    typer.Option("--oidc-secret", envvar="FEDCOHORT_OIDC_SECRET", help="What the page shows to it."),
]
File = Annotated[
    Path,
    typer.Option(
        "--people", envvar="FEDCOHORT_PEOPLE", help="File of the accounts, as the page's own --people."
    ),
]
Name = Annotated[
    str, typer.Argument(help="A researcher's is the one that the coordinator has for the token.")
]
DEFAULT_URL = "http://127.0.0.1:5000"

people_app = typer.Typer(
    help="Say who may use the dashboard or a hospital's page, and in which role.", no_args_is_help=True
)


@contextmanager
def _people(path: Path, *, make: bool = False) -> "Iterator[People]":
    from fedcohort.dashboard.login.people import People

    people = People(path if make else existing(path, "check --people"))
    try:
        yield people
    finally:
        people.close()


@people_app.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="researcher, data-owner, auditor or operator.")],
    file: File,
    url: PageUrl = None,
) -> None:
    """Add somebody, and print the link that sets the password: once, within a day."""
    with _people(file, make=True) as people:
        _print_link(url, people.add(name, role, BY))


@people_app.command()
def reset(name: Name, file: File, url: PageUrl = None) -> None:
    """Remove a password, end all sessions, and print a link that sets a new one."""
    with _people(file) as people:
        _print_link(url, people.reset(name, BY))


@people_app.command()
def disable(name: Name, file: File) -> None:
    """Disable an account; all its sessions end now."""
    with _people(file) as people:
        people.disable(name, BY)


@people_app.command()
def enable(name: Name, file: File) -> None:
    """Enable an account again, with its earlier password."""
    with _people(file) as people:
        people.enable(name, BY)


@people_app.command("list")
def list_people(file: File) -> None:
    """Print every account with its role and state."""
    with _people(file) as people:
        for person in people.all():
            line = f"{person.state:8}  {person.role:10}  {person.name}"
            console.print(line, markup=False, highlight=False)


BY = "the command line"


def _print_link(url: str | None, token: str) -> None:
    from fedcohort.dashboard.login.people import password_link

    console.print(password_link(url or DEFAULT_URL, token), markup=False, highlight=False)


def page_is_open(log_format: LogFormat, address: str, link: str | None) -> None:
    """Print the page's address; the first operator's link goes to the screen only, into no log."""
    announce(log_format, f"The page is at {address}. Ctrl-C ends it.")
    if link is not None:
        console.print("There is no account yet. The first operator sets a password here, within an hour:")
        console.print(link, markup=False, highlight=False)
