"""The ledger of a site's data sets: what was given, what approved studies may cost, what they have cost.

Approval sets a study's whole epsilon and delta aside (studies add up: Dwork, Rothblum and
Vadhan 2010, basic composition), and only a study that never began frees them (`give_back`). What
a study really releases is stored in the same transaction as the integers that will leave, so that
the ledger is never behind; both stand in the event log, whose entries are chained by hashes.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fedcohort.errors import BudgetError
from fedcohort.node.policy import Budget, SitePolicy
from fedcohort.node.records import Cost, NodeStore, Reservation, StoredProposal
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.events import GaussianRelease, LaplaceRelease, from_record, to_record
from fedcohort.privacy.shares import alone
from fedcohort.study import Study, parse_study

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
    """Set a cost aside, within the data set's budget where it has one.

    Raises:
        BudgetError: less is left; names how much.
    """
    budget = policy.budget.get(wanted.dataset)
    epsilon, delta = (budget.epsilon, budget.delta) if budget is not None else (math.inf, math.inf)
    store.reserve(wanted, epsilon, delta)


def check_left(wanted: Reservation, others: Sequence[Reservation], epsilon: float, delta: float) -> None:
    """Refuse what is more than the other studies have left of a budget.

    Raises:
        BudgetError: names what is left.
    """
    left, left_delta = left_of(others, epsilon, delta)
    # A budget of 3 pays for two studies of 1.5, whatever rounding makes of the sum.
    if wanted.epsilon > left * (1 + 1e-9) or wanted.delta > left_delta * (1 + 1e-9):
        raise BudgetError(
            f"{wanted.dataset}: the study asks for epsilon {wanted.epsilon:g} (delta {wanted.delta:g}), and "
            f"{left:g} (delta {left_delta:g}) of {epsilon:g} is left; ask for less, or raise the budget"
        )


def left_of(reserved: Sequence[Reservation], epsilon: float, delta: float) -> tuple[float, float]:
    """What reservations have left of a budget."""
    return (
        max(0.0, epsilon - sum(one.epsilon for one in reserved)),
        max(0.0, delta - sum(one.delta for one in reserved)),
    )


def with_unreserved(
    reserved: Sequence[Reservation], costs: Iterable[Cost], proposals: Iterable[StoredProposal]
) -> list[Reservation]:
    """Reservations, and one for each cost without: an earlier program made none where there was no budget."""
    known = {one.study_hash for one in reserved}
    missing = [cost for cost in costs if cost.study_hash not in known]
    studies = {found.study_hash: found.study for found in proposals} if missing else {}
    return [*reserved, *(_promised(cost, studies.get(cost.study_hash)) for cost in missing)]


def _promised(cost: Cost, study: bytes | None) -> Reservation:
    """All that the study may cost, for it may go on; what was released where it was no study's."""
    privacy = parse_study(study).privacy if study is not None else None
    if privacy is not None:
        return Reservation(cost.study_hash, cost.dataset, privacy.epsilon, privacy.delta)
    return Reservation(cost.study_hash, cost.dataset, epsilons(cost)[0], cost.delta)


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
    return epsilon(releases, cost.delta), epsilon(alone(releases), cost.delta)


@dataclass(frozen=True)
class Account:
    """What one data set was asked for, for the operator's eyes; `budget` and `left` only where it has one."""

    dataset: str
    budget: Budget | None
    reserved: tuple[Reservation, ...]
    costs: tuple[Cost, ...]

    @property
    def left(self) -> tuple[float, float] | None:
        """Epsilon and delta of the budget that no study has."""
        if self.budget is None:
            return None
        return left_of(self.reserved, self.budget.epsilon, self.budget.delta)

    @property
    def taken(self) -> tuple[float, float]:
        """Epsilon and delta of all studies together."""
        return sum(one.epsilon for one in self.reserved), sum(one.delta for one in self.reserved)


def accounts(policy: SitePolicy, reserved: Sequence[Reservation], costs: Sequence[Cost]) -> list[Account]:
    """Every data set that has a budget, or whose patients' privacy was spent without one."""
    found = []
    for dataset in sorted({*policy.budget, *(one.dataset for one in reserved)}):
        mine = tuple(one for one in reserved if one.dataset == dataset)
        spent = tuple(one for one in costs if one.dataset == dataset)
        found.append(Account(dataset, policy.budget.get(dataset), mine, spent))
    return found
