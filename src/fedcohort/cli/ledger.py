"""`fedcohort ledger`: the privacy budget of each data set, and what studies have cost of it."""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.support import SiteFile, console, existing

if TYPE_CHECKING:
    from fedcohort.node.consent import LocalSite
    from fedcohort.node.ledger import Account
    from fedcohort.node.store import SqlNodeStore


def ledger(
    site: SiteFile = Path("site.toml"),
    lost: Annotated[
        bool,
        typer.Option("--write-off", help="Give up what a restored older node.db cannot know."),
    ] = False,
    unused: Annotated[
        str | None,
        typer.Option(
            "--give-back",
            metavar="STUDY",
            help="End a study, by its hash, that has released nothing, and free what is set aside for it.",
        ),
    ] = None,
    exact: Annotated[
        str | None,
        typer.Option(
            "--settle",
            metavar="STUDY",
            help="Say what a study without privacy counts that was answered before there was a budget; by "
            "its hash, or `all`.",
        ),
    ] = None,
    words: Annotated[str, typer.Option("--because", help="With --settle: why, in your own words.")] = "",
    counts: Annotated[float, typer.Option("--as-epsilon", help="With --settle: what it counts.")] = 0.0,
) -> None:
    """Show the privacy budget given, reserved and spent, by group of tables and study."""
    if lost:
        _write_off(site)
    if exact is not None:
        _settle(site, exact, words, counts)
    if unused is not None:
        _give_back(site, unused)
    _show(site)


def _show(site: Path) -> None:
    from fedcohort.node.ledger import accounts
    from fedcohort.node.policy import read_policy
    from fedcohort.node.store import opened_to_read

    policy = read_policy(site)
    with opened_to_read(existing(policy.state / "node.db", "start the node once")) as store:
        reserved, costs = store.reservations(), store.costs()
    all_accounts = accounts(policy, reserved, costs)
    if not all_accounts:
        _say("no data set has a budget, and nothing was spent; give one in site.toml, [budget.NAME]")
    for account in all_accounts:
        _show_account(account)


def _show_account(account: "Account") -> None:
    from fedcohort.node.ledger import DEFAULT_DELTA, default_studies, epsilons

    _say(f"{_name(account)}: {_given(account)}")
    by_study = {cost.study_hash: cost for cost in account.costs}
    for reservation in account.reserved:
        if math.isinf(reservation.epsilon):
            _say(f"  {reservation.study_hash[:12]}  answered without [privacy]: counts as infinite")
            continue
        cost = by_study.get(reservation.study_hash)
        spent, alone = epsilons(cost) if cost is not None else (0.0, 0.0)
        _say(
            f"  {reservation.study_hash[:12]}  reserved {reservation.epsilon:g} "
            f"(delta {reservation.delta:g}), spent {spent:.3f}; {alone:.3f} if all other sites colluded"
        )
    if account.left is not None:
        left, delta = account.left
        more = f"{default_studies(delta)} studies of the default delta, {DEFAULT_DELTA:g}"
        _say(f"  left: epsilon {left:g}, delta {delta:g} ({more})")


def _name(account: "Account") -> str:
    """A group's name, and its tables where they differ from the name."""
    tables = ", ".join(account.tables)
    return account.dataset if account.dataset == tables else f"{account.dataset} ({tables})"


def _given(account: "Account") -> str:
    if account.budget is not None:
        return f"epsilon {account.budget.epsilon:g}, delta {account.budget.delta:g}"
    epsilon, delta = account.taken
    name = account.tables[0] if len(account.tables) == 1 else "NAME"
    return (
        f"no budget; epsilon {epsilon:g} and delta {delta:g} of private studies are set aside, and count "
        f"against one that is set: [budget.{name}] in site.toml"
    )


@contextmanager
def _stopped(path: Path) -> "Iterator[tuple[LocalSite, SqlNodeStore]]":
    """A node that is not running: only one process may hold its folder."""
    from fedcohort.node.consent import LocalSite
    from fedcohort.node.policy import read_policy
    from fedcohort.node.store import SqlNodeStore
    from fedcohort.storage.durable import lock_folder
    from fedcohort.wire.identity import load_or_create

    policy = read_policy(path)
    database = existing(policy.state / "node.db", "start the node once")
    with closing(lock_folder(policy.state)), closing(SqlNodeStore(database, exclusive=True)) as store:
        yield LocalSite(policy, load_or_create(policy.state / "site.key", policy.id), store), store


def _write_off(path: Path) -> None:
    from fedcohort.node.heads import write_off

    with _stopped(path) as (site, store):
        entry = write_off(site, store)
    _say(f"entries up to {entry} are written off: no budget is left, and every approval has ended")
    _say("what was spent since on data sets without a budget stays unknown; leave room for it in a later one")


def _settle(path: Path, which: str, words: str, epsilon: float) -> None:
    from fedcohort.node.settle import settle

    with _stopped(path) as (_, store):
        for study in settle(store, which, words, epsilon):
            _say(
                f"study {study.study_hash[:12]} of {study.dataset} counts as epsilon {epsilon:g} from now on"
            )


def _give_back(path: Path, prefix: str) -> None:
    from fedcohort.node.refund import refund

    with _stopped(path) as (site, store):
        free = refund(site, store, prefix)
    _say(
        f"study {free.study_hash[:12]} is ended, and epsilon {free.epsilon:g} (delta {free.delta:g}) of "
        f"{free.dataset} is free again"
    )


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False)
