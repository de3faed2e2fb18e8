"""The ledger of a site's data sets: what was given, what approved studies may cost, what they have cost.

Approval sets a study's whole epsilon and delta aside (studies add up: Dwork, Rothblum and
Vadhan 2010, basic composition), and only a study that never began frees them (`give_back`). What
a study really releases is stored in the same transaction as the integers that will leave, so that
the ledger is never behind; both stand in the event log, whose entries are chained by hashes.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fedcohort.errors import BudgetError
from fedcohort.node.budgets import Budget
from fedcohort.node.policy import SitePolicy
from fedcohort.node.records import Cost, Limit, NodeStore, Reservation
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.events import GaussianRelease, LaplaceRelease, from_record, to_record
from fedcohort.privacy.shares import seen_by_colluders
from fedcohort.study import Privacy, Study, parse_study

DEFAULT_DELTA: float = Privacy.model_fields["delta"].default
"""Of a study that says none."""
Counted = GaussianRelease | LaplaceRelease


def reserve(policy: SitePolicy, store: NodeStore, study: Study) -> None:
    """Set aside what a private study may cost; without a budget too, for one that is given later.

    Raises:
        BudgetError: less is left; names how much.
    """
    privacy = study.privacy
    if privacy is not None:
        set_aside(policy, store, Reservation(study.hash, study.cohort.table, privacy.epsilon, privacy.delta))


def set_aside(policy: SitePolicy, store: NodeStore, wanted: Reservation) -> None:
    """Set a cost aside, within the budget of the table's group where it has one.

    Raises:
        BudgetError: less is left; names how much.
    """
    store.reserve(wanted, policy.group_of(wanted.dataset).limit)


def check_left(wanted: Reservation, others: Iterable[Reservation], limit: Limit) -> None:
    """Refuse what is more than the other studies have left of a budget.

    Raises:
        BudgetError: names what is left, and what to do.
    """
    mine = limit.counted(one for one in others if one.study_hash != wanted.study_hash)
    left, left_delta = left_of(mine, limit)
    # A budget of 3 pays for two studies of 1.5, whatever rounding makes of the sum.
    if wanted.epsilon <= left * (1 + 1e-9) and wanted.delta <= left_delta * (1 + 1e-9):
        return
    if any(math.isinf(one.epsilon) for one in mine):
        raise BudgetError(
            "{group}: studies without [privacy] were answered before there was a budget, and count as "
            "infinite until you say what they count: `fedcohort ledger` lists them, and `fedcohort ledger "
            "--settle STUDY --because WORDS` says it",
            group=limit.group,
        )
    raise BudgetError(
        "{group}: the study asks for epsilon {epsilon:g} (delta {delta:g}), and {left:g} (delta {rest:g}) of "
        "{all:g} is left; ask for less, or raise the budget",
        group=limit.group,
        epsilon=wanted.epsilon,
        delta=wanted.delta,
        left=left,
        rest=left_delta,
        all=limit.epsilon,
    )


def default_studies(left_delta: float) -> int:
    """How many studies of the default delta a rest of delta pays for, whatever rounding makes of sums."""
    return int(left_delta / DEFAULT_DELTA * (1 + 1e-9))


def left_of(reserved: Iterable[Reservation], limit: Limit) -> tuple[float, float]:
    """What reservations have left of a limit; of one without an end, everything."""
    taken = list(reserved)
    epsilon = (
        limit.epsilon if math.isinf(limit.epsilon) else limit.epsilon - sum(one.epsilon for one in taken)
    )
    return max(0.0, epsilon), max(0.0, limit.delta - sum(one.delta for one in taken))


def with_unreserved(
    reserved: Sequence[Reservation],
    costs: Iterable[Cost],
    answered: Iterable[str],
    studies: Callable[[], Mapping[str, bytes]],
) -> list[Reservation]:
    """Reservations, and one for each study that was answered, or cost, without.

    An earlier program made none where there was no budget, and none is made for a study without privacy.

    Args:
        answered: studies that have been answered.
        studies: what was proposed, by hash; asked for only where something is missing.
    """
    known = {one.study_hash for one in reserved}
    missing = {cost.study_hash: cost for cost in costs if cost.study_hash not in known}
    exact = [one for one in answered if one not in known and one not in missing]
    proposed = studies() if missing or exact else {}
    return [
        *reserved,
        *(_promised(cost, proposed.get(charge)) for charge, cost in missing.items()),
        *(_unpaid(charge, proposed.get(charge)) for charge in exact),
    ]


def _promised(cost: Cost, study: bytes | None) -> Reservation:
    """All that the study may cost, for it may go on; what was released where it was no study's."""
    privacy = parse_study(study).privacy if study is not None else None
    if privacy is not None:
        return Reservation(cost.study_hash, cost.dataset, privacy.epsilon, privacy.delta)
    return Reservation(cost.study_hash, cost.dataset, epsilons(cost)[0], cost.delta)


@lru_cache(maxsize=4096)
def _unpaid(charge: str, study: bytes | None) -> Reservation:
    """An exact answer has no epsilon; whose patients they are is not known where the study is not."""
    return Reservation(charge, parse_study(study).cohort.table if study is not None else "", math.inf, 0.0)


def added_cost(study: Study, before: Cost | None, releases: Sequence[Counted]) -> Cost:
    """What a study has released with these releases, too; equal ones are counted together."""
    told = list(released(before)) if before is not None else []
    for release in releases:
        same = next((one for one in told if replace(one, count=1) == replace(release, count=1)), None)
        if same is None:
            told.append(release)
        else:
            told[told.index(same)] = replace(same, count=same.count + release.count)
    delta = study.privacy.delta if study.privacy is not None else 0.0
    return cost_of(study.hash, study.cohort.table, delta, told)


def cost_of(charge: str, dataset: str, delta: float, releases: Sequence[Counted]) -> Cost:
    """Releases as the ledger stores them."""
    return Cost(charge, dataset, delta, json.dumps([to_record(one) for one in releases]))


def released(cost: Cost) -> tuple[Counted, ...]:
    """The releases of a stored cost.

    Raises:
        StudyError: a newer node has stored a kind that this one does not know.
    """
    found = tuple(from_record(record) for record in json.loads(cost.releases))
    return tuple(one for one in found if isinstance(one, GaussianRelease | LaplaceRelease))


def epsilons(cost: Cost) -> tuple[float, float]:
    """Epsilon of what was released, and what it would be if all other sites colluded."""
    releases = released(cost)
    return epsilon(releases, cost.delta), epsilon(seen_by_colluders(releases), cost.delta)


@dataclass(frozen=True)
class Account:
    """What one group of tables was asked for, for the operator's eyes.

    `budget` and `left` only where it has a budget.
    """

    dataset: str
    budget: Budget | None
    reserved: tuple[Reservation, ...]
    costs: tuple[Cost, ...]
    limit: Limit
    tables: tuple[str, ...] = ()

    @property
    def left(self) -> tuple[float, float] | None:
        """Epsilon and delta of the budget that no study has."""
        return None if self.budget is None else left_of(self.reserved, self.limit)

    @property
    def taken(self) -> tuple[float, float]:
        """Epsilon and delta of all private studies together, without the exact ones, which are infinite."""
        private = [one for one in self.reserved if not math.isinf(one.epsilon)]
        return sum(one.epsilon for one in private), sum(one.delta for one in private)


def accounts(policy: SitePolicy, reserved: Sequence[Reservation], costs: Sequence[Cost]) -> list[Account]:
    """Every group of tables that has a budget, or whose patients' privacy was spent without one."""
    found = []
    for group in policy.groups:
        limit = group.limit
        mine = tuple(limit.counted(reserved))
        spent = tuple(one for one in costs if one.dataset not in limit.elsewhere)
        if mine or group.budget is not None:
            found.append(Account(group.name, group.budget, mine, spent, limit, group.tables))
    return found
