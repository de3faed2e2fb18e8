"""`fedcohort roster`: the keys that this site trusts, compared by fingerprint with the other hospitals."""

from pathlib import Path
from typing import Annotated

import typer

from fedcohort.cli.support import SiteFile, console, existing
from fedcohort.errors import ConfigError, NotFoundError


def roster(
    site: SiteFile = Path("site.toml"),
    confirm: Annotated[
        str | None, typer.Option("--confirm", help="A site whose fingerprint you have compared.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", help="As that site's operator has read it to you.")
    ] = None,
) -> None:
    """Show each site's fingerprint, or confirm one that its operator has read to you."""
    from fedcohort.node.cards import announced
    from fedcohort.node.keys import RosterFolder, confirmed_key
    from fedcohort.node.keys import confirm as write
    from fedcohort.node.policy import read_policy
    from fedcohort.node.store import SqlNodeStore
    from fedcohort.wire import identity

    if fingerprint is not None and confirm is None:
        raise ConfigError("--fingerprint: say by --confirm whose it is")
    policy = read_policy(site)
    store = SqlNodeStore(existing(policy.state / "node.db", "start the node once"))
    cards = announced(store)
    store.close()
    if confirm is not None:
        if confirm not in cards:
            site_names = (
                ", ".join(sorted(cards)) or "none yet; they come while this node and theirs are linked"
            )
            raise NotFoundError(f"no site {confirm!r} has been announced; those that have: {site_names}")
        if fingerprint is None:
            raise ConfigError("--fingerprint: give what the other site's operator has read to you")
        write(policy.roster, confirm, confirmed_key(cards[confirm], fingerprint))
        console.print(f"{confirm} is confirmed", markup=False, highlight=False)
        return
    confirmed = RosterFolder(policy.roster)()
    own = identity.load_or_create(policy.state / "site.key", policy.id).public_key
    keys = {name: card.identity_key for name, card in cards.items()} | dict(confirmed) | {policy.id: own}
    for name, key in sorted(keys.items()):
        state = "this site" if name == policy.id else "confirmed" if name in confirmed else "NOT confirmed"
        console.print(f"{identity.fingerprint(key)}  {state:13}  {name}", markup=False, highlight=False)
