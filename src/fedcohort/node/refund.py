"""The refund of the budget that was reserved for a study that never began.

A study that has released anything keeps all that was reserved for it, however few its rounds. Whoever
ends a study early has seen what it released, and a cost that was computed for a number of rounds
declared in advance does not hold for a number that was chosen by looking (Rogers, Roth, Ullman,
Vadhan 2016, arXiv 1605.08294): no schedule of ours allows it. A study that has released nothing has cost
nothing; basic composition holds for studies that are chosen one after the other, too (ibid.).
"""

from fedcohort.errors import BudgetError
from fedcohort.node.consent import LocalSite, find_proposal, refuse
from fedcohort.node.heads import WRITTEN_OFF
from fedcohort.node.records import Reservation
from fedcohort.node.store import SqlNodeStore


def refund(site: LocalSite, store: SqlNodeStore, prefix: str, by: str = "") -> Reservation:
    """End the approval of a study that has released nothing, and free its reservation.

    Only for a node that is not running, which could be answering the study just now.

    Args:
        prefix: of the study's hash.
        by: the person who decides, for this site's event log.
    Returns:
        the freed reservation.
    Raises:
        NotFoundError: there is no such study, or nothing is set aside for it.
        BudgetError: it has released something, or nobody can tell.
    """
    study_hash = find_proposal(site, prefix).study_hash
    if store.details(WRITTEN_OFF):
        raise BudgetError(
            f"{site.policy.id}: its ledger was written off once, so that nobody can tell what was released "
            "before; nothing is given back, and only a larger budget in site.toml gives more"
        )
    if store.last(study_hash) is not None or store.cost(study_hash) is not None:
        raise BudgetError(
            f"study {study_hash[:12]} has released something, so that all that was set aside stays so: how "
            "many rounds it took may have been decided by what they showed"
        )
    # First the approval: killed in between, the study is ended and its budget can still be given back.
    refuse(site, study_hash, by=by)
    return store.refund(study_hash)
