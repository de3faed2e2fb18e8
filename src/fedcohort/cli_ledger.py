"""`fedcohort ledger`: what each data set's patients were promised, and what studies have cost them."""

from pathlib import Path

from fedcohort.cli_support import SiteFile, console, existing


def ledger(site: SiteFile = Path("site.toml")) -> None:
    """Show the privacy budget given, reserved and spent, by data set and study."""
    from fedcohort.node.ledger import accounts, epsilons
    from fedcohort.node.policy import read_policy
    from fedcohort.node.store import SqlNodeStore

    policy = read_policy(site)
    store = SqlNodeStore(existing(policy.state / "node.db", "start the node once"))
    reserved, costs = store.reservations(), store.costs()
    store.close()
    found = accounts(policy, reserved, costs)
    if not found:
        _say("no data set has a budget; give it one in site.toml, [budget.TABLE]")
    for account in found:
        epsilon, delta = account.left
        _say(f"{account.dataset}: epsilon {account.budget.epsilon:g}, delta {account.budget.delta:g}")
        by_study = {cost.study_hash: cost for cost in account.costs}
        for one in account.reserved:
            cost = by_study.get(one.study_hash)
            spent, alone = epsilons(cost) if cost is not None else (0.0, 0.0)
            _say(
                f"  {one.study_hash[:12]}  reserved {one.epsilon:g} (delta {one.delta:g}), "
                f"spent {spent:.3f}; {alone:.3f} if all other sites colluded"
            )
        _say(f"  left: epsilon {epsilon:g}, delta {delta:g}")


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False)
