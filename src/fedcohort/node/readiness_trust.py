"""Readiness of the roster and of countersigning, shown before a study is signed that would wait for them."""

from collections.abc import Iterator
from dataclasses import dataclass

from fedcohort.errors import FedcohortError
from fedcohort.node.cards import announced
from fedcohort.node.keys import RosterFolder
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness_words import Line
from fedcohort.node.store import opened_to_read
from fedcohort.node.witness import needed
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.study import Study
from fedcohort.texts import say

SET_COUNTER = say(
    "confirm more by `fedcohort roster`, or set counter in site.toml to a file outside the folder state; "
    "where you know that node.db is its newest copy, start the node once with --newest-copy"
)
MAKE_COUNTER = say("where you know that node.db is its newest copy, start the node once with --newest-copy")


CONFIRM = say(
    "compare each one's fingerprint with its operator, and confirm it by `fedcohort roster --confirm "
    "SITE --fingerprint FINGERPRINT`; until then the study waits"
)


def roster_lines(policy: SitePolicy, study: Study) -> Iterator[Line]:
    """Whether the keys that a protection relies on are confirmed; an approved study waits for them."""
    if PROTECTIONS[study.protection].needs_roster:
        yield roster_line(policy, study.min_sites)


def roster_line(policy: SitePolicy, min_sites: int) -> Line:
    """Whether every site that was announced here is confirmed, and enough of them for a study.

    Args:
        min_sites: of the study, this site among them.
    """
    try:
        confirmed = set(RosterFolder(policy.roster)()) - {policy.id}
        missing = sorted(_announced(policy) - confirmed - {policy.id})
    except (FedcohortError, OSError) as error:
        return Line(say("roster"), "not ready", str(error), "")
    if missing:
        return Line(
            say("roster"), "warning", say("not confirmed: {sites}", sites=", ".join(missing)), CONFIRM
        )
    confirmed_text = say("keys of {n} other sites are confirmed", n=len(confirmed))
    if len(confirmed) < min_sites - 1:
        return Line(
            say("roster"),
            "warning",
            say("{told}; the study needs {n}", told=confirmed_text, n=min_sites - 1),
            CONFIRM,
        )
    return Line(say("roster"), "ready", confirmed_text, "")


def _announced(policy: SitePolicy) -> set[str]:
    """Sites whose cards the coordinator has sent; none where the node has never run."""
    path = policy.state / "node.db"
    if not path.exists():
        return set()
    with opened_to_read(path) as store:
        return set(announced(store))


@dataclass(frozen=True)
class _Log:
    begun: bool = False
    by_operator: bool = False
    """Whether --newest-copy was given at a start; no file shows whether at the current one."""


def countersigning(policy: SitePolicy, colluders: int) -> Line:
    """Whether enough other sites are confirmed to countersign the ledger, or the counter stands in.

    Args:
        colluders: of the study.
    """
    what = say("countersigning")
    try:
        n_peers = len(set(RosterFolder(policy.roster)()) - {policy.id})
        n_needed = needed(n_peers, colluders)
        text = say(
            "private studies need countersignatures of {n} other sites; {peers} are confirmed",
            n=n_needed,
            peers=n_peers,
        )
        if n_needed <= n_peers:
            return Line(what, "ready", text, "")
        log = _read_log(policy)
        has_counter = policy.counter is not None and policy.counter.exists()
    except (FedcohortError, OSError) as error:
        return Line(what, "not ready", str(error), "")
    if has_counter or (policy.counter is not None and not log.begun):
        return Line(what, "ready", say("the counter vouches for the ledger"), "")
    remedy = SET_COUNTER
    if policy.counter is not None:
        text = say("the counter in site.toml is missing beside a log that has gone on, and shows nothing yet")
        remedy = MAKE_COUNTER
    if log.by_operator:
        text = say("{told}; --newest-copy vouches until the node is started again without it", told=text)
    return Line(what, "warning" if log.by_operator else "not ready", text, remedy)


def countersigning_lines(policy: SitePolicy, study: Study) -> Iterator[Line]:
    """The line of a private study; none of another, which needs no countersignature."""
    if study.privacy is not None:
        yield countersigning(policy, study.colluders)


def _read_log(policy: SitePolicy) -> _Log:
    """Read what the event log says; it is not made where the node has never run."""
    path = policy.state / "node.db"
    if not path.exists():
        return _Log()
    with opened_to_read(path) as store:
        return _Log(store.newest()[0] > 0, bool(store.details("newest-copy")))
