"""Consent: a site's signed approval or refusal of one study hash, with limits and an expiry."""

import hashlib
import logging
import time
from dataclasses import dataclass, replace

from fedcohort.disclosure.rules import rules_text
from fedcohort.errors import (
    AuthenticationError,
    FedcohortError,
    NotFoundError,
    PolicyError,
    TooManyStudiesError,
)
from fedcohort.handed_in import check_handed_in, check_rules
from fedcohort.logs import about
from fedcohort.node.differencing import is_held, keep_selected
from fedcohort.node.ledger import reserve
from fedcohort.node.policy import SECONDS_PER_DAY, SitePolicy, check_study
from fedcohort.node.records import NodeStore, StoredProposal
from fedcohort.study import Study, parse_study
from fedcohort.versions import RULES
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.identity import Identity, verify
from fedcohort.wire.messages import Approval, Event, Message, Proposal
from fedcohort.wire.signing import approval_signing_bytes, study_signing_bytes

log = logging.getLogger("fedcohort.node")

MOST_NEW_A_DAY = 1_000
REFUSED_BY_PERSON = "refused-by-site"
REFUSALS = (
    REFUSED_BY_PERSON,
    "refused-question",
    "refused-columns",
    "refused-privacy",
    "refused-protection",
    "refused-researcher",
)
"""What a person may give as the reason: words of this list leave the site, and no others."""


@dataclass(frozen=True)
class LocalSite:
    """This site, which consents: its policy, the key that signs, and the store of its answers."""

    policy: SitePolicy
    identity: Identity
    store: NodeStore


def receive_proposal(site: LocalSite, proposal: Proposal) -> Message:
    """Check a proposal, and answer it now (`auto`, or not allowed) or later by `fedcohort approve`.

    Returns:
        the signed Approval, or an event `asked`.
    Raises:
        TooManyStudiesError: so many new studies were proposed today that this one is not stored.
    """
    study_hash = study_hash_of(proposal)
    earlier = site.store.proposal(study_hash)
    if earlier is not None and earlier.state != "asked":
        answer = stored_answer(site, study_hash)
        if still_holds(answer):
            return answer
    if earlier is None:
        _check_new(site)
    try:
        _check(site.policy, proposal, study_hash)
    except FedcohortError as error:
        _log_refusal(site, study_hash, error)
        if isinstance(error, AuthenticationError):
            return Event("refusal", study_hash, code=error.code)
        site.store.propose(_stored(proposal, study_hash))
        return _refuse_again(site, study_hash, error.code)
    by_policy = site.policy.approval == "auto" and not _asked_of_person(site, earlier)
    # From outside a study that is held looks like one that waits for a person anywhere else.
    by_policy = by_policy and not is_held(site.policy, parse_study(proposal.study))
    site.store.propose(_stored(proposal, study_hash), by_policy=by_policy)
    if by_policy:
        try:
            return approve(site, study_hash)
        except PolicyError as error:
            _log_refusal(site, study_hash, error)
            return _refuse_again(site, study_hash, error.code)
    if earlier is not None and not _asked_of_person(site, earlier):
        site.store.decide(study_hash, "asked", None)
    if site.policy.approval == "auto":
        words = (
            "%s: study %.12s was asked of a person before approval was switched to auto, and goes on "
            "waiting: `fedcohort approve %.12s`"
        )
        log.warning(words, site.policy.id, study_hash, study_hash, extra=about(site.policy.id, study_hash))
    elif earlier is None or earlier.state != "asked":
        words = "%s: study %.12s waits for an answer: `fedcohort approve %.12s` shows it"
        log.info(words, site.policy.id, study_hash, study_hash, extra=about(site.policy.id, study_hash))
    return Event("asked", study_hash)


def _asked_of_person(site: LocalSite, earlier: StoredProposal | None) -> bool:
    """Whether a person was asked and has not answered; then site.toml no longer answers in their place."""
    return (
        earlier is not None and earlier.state == "asked" and not site.store.is_by_policy(earlier.study_hash)
    )


def _log_refusal(site: LocalSite, study_hash: str, error: FedcohortError) -> None:
    where = about(site.policy.id, study_hash)
    log.warning("%s: study %.12s is refused: %s", site.policy.id, study_hash, error, extra=where)


def study_hash_of(proposal: Proposal) -> str:
    """The hash of exactly the bytes that were proposed."""
    return hashlib.sha256(proposal.study).hexdigest()


def still_holds(answer: Approval) -> bool:
    """Whether an answer still holds: a person's no always, a yes until it expires.

    A refusal by site.toml is decided again, and so is a yes to a study that was to be computed by the rules
    of an earlier version.
    """
    holds = answer.rules == RULES and answer.expires_at > time.time()
    return answer.code in REFUSALS or (answer.approved and holds)


def _check(policy: SitePolicy, proposal: Proposal, study_hash: str) -> None:
    check_rules(proposal.rules, "the coordinator")
    if not verify(proposal.researcher_key, proposal.signature, study_signing_bytes(proposal.study)):
        raise AuthenticationError("the study is not signed by the researcher's key")
    study = parse_study(proposal.study, "proposal")
    if study.hash != study_hash:
        raise AuthenticationError("the study is not in canonical form")
    check_handed_in(study)
    check_study(policy, study)


def _stored(proposal: Proposal, study_hash: str) -> StoredProposal:
    return StoredProposal(
        study_hash, proposal.study, proposal.researcher, proposal.researcher_key, proposal.signature
    )


def approve(site: LocalSite, study_hash: str, by: str = "") -> Approval:
    """Sign yes to one study hash, for `approval_days` and `max_rounds` of the site's policy.

    Args:
        by: the person who decides, for this site's event log.
    Raises:
        NotFoundError: no such proposal.
        PolicyError: site.toml does not allow the study, or the data set's budget is spent.
    """
    proposal = site.store.proposal(study_hash)
    if proposal is None:
        raise NotFoundError("no study {hash} was proposed to this site", hash=study_hash[:12])
    study = parse_study(proposal.study)
    check_handed_in(study)
    check_study(site.policy, study)
    _check_rate(site, proposal)
    reserve(site.policy, site.store, study)
    keep_selected(site.policy, study)
    approval = Approval(
        study_hash,
        site.policy.id,
        approved=True,
        max_rounds=site.policy.max_rounds,
        expires_at=int(time.time()) + site.policy.approval_days * SECONDS_PER_DAY,
        disclosure=_rules_text(site.policy, study),
        release_seconds=site.policy.release_seconds,
    )
    return _decide(site, approval, "approved", by)


def _rules_text(policy: SitePolicy, study: Study) -> str:
    """What an approval says of what may be shown."""
    if study.privacy is not None:
        return ""
    return rules_text(policy.disclosure, by_site=policy.by_site and study.analysis.by_hospital)


def _check_rate(site: LocalSite, proposal: StoredProposal) -> None:
    """Refuse more studies of one researcher within a day than site.toml allows."""
    most = site.policy.studies_a_day
    if most is None:
        return
    since = int((time.time() - SECONDS_PER_DAY) * 1000)
    who = (proposal.researcher, proposal.researcher_key)
    if site.store.approved_since(*who, since, proposal.study_hash) >= most:
        raise TooManyStudiesError(
            "site.toml: studies_a_day is {most}, and so many studies of {researcher} were approved within "
            "the last 24 hours; approve it later, or raise studies_a_day",
            most=most,
            researcher=proposal.researcher,
        )


def _check_new(site: LocalSite) -> None:
    """Refuse to keep more new studies than anybody reads: each stays in node.db and in its event log.

    Raises:
        TooManyStudiesError: so many have come within a day.
    """
    if site.store.proposed_since(int((time.time() - SECONDS_PER_DAY) * 1000)) >= MOST_NEW_A_DAY:
        raise TooManyStudiesError(
            "{most:,} new studies were proposed within 24 hours, and no more are kept; ask the coordinator's "
            "operator who hands them in",
            most=MOST_NEW_A_DAY,
        )


def _refuse_again(site: LocalSite, study_hash: str, code: str) -> Approval:
    """Sign no for site.toml; the same no again is the one that was signed, and no entry of the event log."""
    encoded = site.store.approval(study_hash)
    before = None if encoded is None else read_approval(site.identity, encoded)
    if before is not None and (before.approved, before.code, before.rules) == (False, code, RULES):
        return before
    return refuse(site, study_hash, code)


def refuse(site: LocalSite, study_hash: str, code: str = REFUSED_BY_PERSON, by: str = "") -> Approval:
    """Sign no to one study hash; the coordinator learns the code, and not who said so."""
    return _decide(site, Approval(study_hash, site.policy.id, approved=False, code=code), "refused", by)


def _decide(site: LocalSite, approval: Approval, state: str, by: str) -> Approval:
    signed = replace(approval, signature=site.identity.sign(approval_signing_bytes(approval)))
    site.store.decide(approval.study_hash, state, encode(signed), by)
    return signed


def stored_answer(site: LocalSite, study_hash: str) -> Approval:
    """The answer to a study that this site has signed.

    Raises:
        NotFoundError: nothing yet.
    """
    encoded = site.store.approval(study_hash)
    if encoded is None:
        raise NotFoundError("study {hash} has no answer yet", hash=study_hash[:12])
    return read_approval(site.identity, encoded)


def read_approval(identity: Identity, encoded: bytes) -> Approval:
    """Decode an approval from this site's store and verify that this site's key signed it.

    Raises:
        AuthenticationError: it did not.
    """
    approval = decode(encoded)
    if not isinstance(approval, Approval) or not verify(
        identity.public_key, approval.signature, approval_signing_bytes(approval)
    ):
        raise AuthenticationError("the stored approval is not signed by this site's key")
    return approval


def find_proposal(site: LocalSite, prefix: str) -> StoredProposal:
    """The one proposal whose hash begins with `prefix`.

    Raises:
        NotFoundError: there is none, or more than one.
    """
    matches = [proposal for proposal in site.store.proposals() if proposal.study_hash.startswith(prefix)]
    if len(matches) != 1:
        raise NotFoundError(
            "{count} studies begin with {prefix!r}; `fedcohort approve` lists them",
            count=len(matches),
            prefix=prefix,
        )
    return matches[0]
