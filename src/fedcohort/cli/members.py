"""`fedcohort coordinator invite`, `revoke`, `remove` and `audit`: the operator's commands while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.support import console, existing, say_whole
from fedcohort.errors import ConfigError

if TYPE_CHECKING:
    from fedcohort.coordinator.members import Members

State = Annotated[Path, typer.Option(help="Folder of the coordinator's key and database.")]
Database = Annotated[
    str | None,
    typer.Option(envvar="FEDCOHORT_DATABASE", help="SQLAlchemy URL, in place of SQLite in --state."),
]
DEFAULT_STATE = Path("coordinator")


@contextmanager
def _members(state: Path, database: str | None, *, make: bool = False) -> "Iterator[Members]":
    """The members in the coordinator's database, which only an invitation creates."""
    from fedcohort.coordinator.members import Members
    from fedcohort.coordinator.store import CoordinatorStore

    file = state / "coordinator.db"
    new = make and database is None and not file.exists()
    store = CoordinatorStore(database or (file if make else existing(file, "check --state")))
    if new:  # not among what is redirected, which is the token
        typer.echo(f"made a new coordinator in {state}", err=True)
    try:
        yield Members(store)
    finally:
        store.close()


def invite(
    site: Annotated[str | None, typer.Option("--site", help="Id of a hospital that may join once.")] = None,
    researcher: Annotated[str | None, typer.Option(help="Name of a researcher who gets a token.")] = None,
    url: Annotated[
        str | None, typer.Option(help="wss:// address, when the site waits to be dialled.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="The site has joined, and must learn a new coordinator's key.")
    ] = False,
    state: State = DEFAULT_STATE,
    database: Database = None,
) -> None:
    """Print a token: for a site to join with once, or for a researcher."""
    if (site is None) == (researcher is None):
        raise ConfigError("give either --site or --researcher")
    if site is None and (again or url):
        raise ConfigError("--again and --url are for a site")
    from fedcohort.coordinator.members import check_name

    check_name(str(site or researcher))
    with _members(state, database, make=True) as members:
        token = (
            members.invite_site(site, url=url, again=again) if site else members.issue_token(str(researcher))
        )
    console.print(token, highlight=False, markup=False)


def revoke(
    researcher: Annotated[str, typer.Option(help="Whose tokens end now.")],
    state: State = DEFAULT_STATE,
    database: Database = None,
) -> None:
    """Revoke a researcher's tokens."""
    from fedcohort.errors import NotFoundError

    with _members(state, database) as members:
        count = members.revoke_tokens(researcher)
    if not count:
        raise NotFoundError(f"nobody called {researcher!r} has a token that could be revoked; check the name")
    console.print(f"{count} tokens of {researcher} revoked", markup=False, highlight=False)


def remove(
    site: Annotated[str, typer.Option("--site", help="Id of the site.")],
    state: State = DEFAULT_STATE,
    database: Database = None,
) -> None:
    """Forget a site and its key, so that it can be invited anew."""
    from fedcohort.errors import NotFoundError

    with _members(state, database) as members:
        if not members.remove_site(site):
            site_names = ", ".join(sorted(members.sites())) or "none"
            raise NotFoundError(f"no site {site!r}; known are {site_names}")
    console.print(f"{site} removed", markup=False, highlight=False)


def audit(state: State = DEFAULT_STATE, database: Database = None) -> None:
    """Verify that nobody has changed the coordinator's event log."""
    with _members(state, database) as members:
        newest, length = members.store.newest(), members.store.verify()
    say_whole(newest, length)
