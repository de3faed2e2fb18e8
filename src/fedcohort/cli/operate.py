"""`fedcohort coordinator backup`, `node backup`, `node forget`: maintenance of a process's folder."""

from pathlib import Path
from typing import Annotated

import typer

from fedcohort.cli.members import DEFAULT_STATE, Database, State
from fedcohort.cli.support import SiteFile, console, existing

Into = Annotated[Path, typer.Option("--into", help="A new folder for the copy.")]


def backup_coordinator(into: Into, state: State = DEFAULT_STATE, database: Database = None) -> None:
    """Copy the coordinator's key and database while it runs; a database on a server has its own tool."""
    from fedcohort.storage.backup import back_up
    from fedcohort.storage.database import database_url

    key = existing(state / "coordinator.key", "check --state")
    url = database_url(database or state / "coordinator.db")
    on_server = url.get_backend_name() != "sqlite"
    _tell(back_up(into, [key], None if on_server else Path(str(url.database))))
    if on_server:
        _say("the database is on a server, and not in this copy: use pg_dump (docs/deploy.md)")


def backup_node(into: Into, site: SiteFile = Path("site.toml")) -> None:
    """Copy a node's keys, roster, database and whom it has answered of, as digests, while it runs."""
    from fedcohort.node.differencing import FOLDER, KEY
    from fedcohort.node.policy import read_policy
    from fedcohort.storage.backup import back_up

    policy = read_policy(site)
    keys = [existing(policy.state / name, "start the node once") for name in ("site.key", "agreement.key")]
    keys += [path for path in [policy.state / KEY] if path.exists()]
    folders = [policy.roster, policy.state / FOLDER]
    _tell(back_up(into, [site, *keys], policy.state / "node.db", folders))


def forget(site: SiteFile = Path("site.toml")) -> None:
    """Forget the coordinator's key: the next start, with a new token to join, takes the key it finds then.

    A node that runs would go on with the key that it has, and pin it again: it must be stopped.
    """
    from fedcohort.errors import NotFoundError, StoreError
    from fedcohort.node.policy import read_policy
    from fedcohort.node.store import SqlNodeStore
    from fedcohort.storage.durable import lock_folder

    policy = read_policy(site)
    database = existing(policy.state / "node.db", "start the node once")
    try:
        held = lock_folder(policy.state)
    except StoreError:
        raise StoreError(
            f"{policy.id}'s node is running, or another process has {policy.state}; stop it, forget, and "
            "start it with a new token to join"
        ) from None
    store = SqlNodeStore(database)
    try:
        if not store.unpin("coordinator"):
            raise NotFoundError(
                f"{policy.id} knows no coordinator's key; start the node with its token to join"
            )
    finally:
        store.close()
        held.close()
    _say("forgotten; start the node with a new token to join")


def _tell(written: list[Path]) -> None:
    for path in written:
        _say(str(path))


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False)
