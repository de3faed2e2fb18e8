"""Sites' answers to studies: stored once they are verified, read when a study may start."""

import logging
from dataclasses import dataclass

from fedcohort.coordinator.members import Members
from fedcohort.coordinator.plan import TRANSIENT_CODES
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.coordinator.telemetry import Telemetry
from fedcohort.disclosure.rules import Disclosure, read_rules
from fedcohort.errors import AuthenticationError, RulesError, StudyError, TooFewSitesError
from fedcohort.handed_in import check_rules
from fedcohort.logs import about
from fedcohort.study import Study
from fedcohort.versions import RULES
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.identity import verify
from fedcohort.wire.messages import Approval, Event, SiteId
from fedcohort.wire.signing import approval_signing_bytes

log = logging.getLogger("fedcohort.coordinator")


@dataclass(frozen=True)
class Approvals:
    """The answers of all sites to all studies."""

    store: CoordinatorStore
    members: Members
    telemetry: Telemetry

    def record(self, site: SiteId, approval: Approval) -> None:
        """Keep a site's yes or no.

        Raises:
            AuthenticationError: it is not signed by the site's key.
            WireError: its rules of disclosure cannot be read.
        """
        key = self.members.key_of(site)
        if (
            key is None
            or approval.site != site
            or not verify(key, approval.signature, approval_signing_bytes(approval))
        ):
            raise AuthenticationError(
                "{site}: an approval whose signature is not by the site's key", site=site
            )
        read_rules(approval.disclosure)
        code = approval.code
        if approval.rules != RULES and (approval.approved or code == StudyError.code):
            # An earlier version also takes a study for invalid whose words it does not know.
            code = RulesError.code
        state = "refused" if code or not approval.approved else "approved"
        if state == "refused":
            self.telemetry.count_refusal("site", code)
            _log_refusal(site, approval.study_hash, code)
        self.store.record_answer(approval.study_hash, site, state, code, encode(approval))

    def record_refusal(self, site: SiteId, refusal: Event) -> None:
        """A proposal that the site could not take in; a refusal of a round that is over changes nothing."""
        study_id, code = refusal.study_hash, refusal.code
        _log_refusal(site, study_id, code)
        if study_id and code not in TRANSIENT_CODES and site not in self.store.answers(study_id):
            self.store.record_answer(study_id, site, "refused", code)

    def leave_out(self, study_id: str, site: SiteId, code: str) -> None:
        """Note that a site which had approved could not take part."""
        approval = self.store.answers(study_id)[site]["approval"]
        self.store.record_answer(study_id, site, "refused", code, approval)
        _log_refusal(site, study_id, code)

    def left_out(self, study_id: str) -> dict[SiteId, str]:
        """The code of each site that does not take part."""
        return {site: row["code"] for site, row in self.store.answers(study_id).items() if row["code"]}

    def forget_outdated(self, study_id: str) -> None:
        """Let sites be asked again that said yes to an earlier version, where the study has not begun."""
        row = self.store.study(study_id)
        if row is None or row["roster"]:
            return
        for site, answer in self.store.answers(study_id).items():
            if answer["state"] == "approved" and _rules(answer["approval"]) != RULES:
                self.store.forget_answer(study_id, site)

    def check_rules_of(self, study_id: str, roster: tuple[SiteId, ...]) -> None:
        """Refuse to go on with a study that an earlier version began: its sums were made by other rules.

        Raises:
            RulesError: names a site and what to do.
        """
        answers = self.store.answers(study_id)
        for site in roster:
            check_rules(_rules(answers[site]["approval"]), f"the approval of {site}")

    def rules_of_disclosure(self, study_id: str, roster: tuple[SiteId, ...]) -> list[Disclosure]:
        """What each site of a study lets be shown, as it said with its approval."""
        answers = self.store.answers(study_id)
        approvals = (decode(answers[site]["approval"]) for site in roster)
        return [read_rules(one.disclosure) for one in approvals if isinstance(one, Approval)]

    def encoded(self, study_id: str, roster: tuple[SiteId, ...]) -> dict[SiteId, bytes]:
        """The approvals of a study's sites, as each has signed its own."""
        answers = self.store.answers(study_id)
        return {site: bytes(answers[site]["approval"]) for site in roster}

    def release_seconds(self, study_id: str) -> dict[SiteId, int]:
        """How long a person may take to let an answer go, by site where one does."""
        approvals = {site: row["approval"] for site, row in self.store.answers(study_id).items()}
        said = {site: decode(encoded) for site, encoded in approvals.items() if encoded}
        return {
            site: approval.release_seconds
            for site, approval in said.items()
            if isinstance(approval, Approval) and approval.release_seconds
        }

    def of(self, study: Study) -> tuple[tuple[SiteId, ...], list[SiteId]]:
        """Sites that have approved, and sites that have said neither yes nor no.

        Raises:
            TooFewSitesError: so many have refused that the study cannot have its sites.
        """
        answers = self.store.answers(study.hash)
        approved = tuple(site for site, answer in answers.items() if answer["state"] == "approved")
        decided = {site for site, answer in answers.items() if answer["state"] != "asked"}
        sites = self.members.sites()
        silent = [site for site in sites if site not in decided]
        if len(approved) + len(silent) < study.min_sites:
            refusals = [f"{site}: {code}" for site, code in self.left_out(study.hash).items()]
            raise TooFewSitesError(
                "the study needs {least} sites and the federation has {count}, of which refused: {refused}",
                least=study.min_sites,
                count=len(sites),
                refused=", ".join(refusals) or "none",
            )
        return approved, silent


def _rules(encoded: bytes) -> int:
    approval = decode(encoded)
    return approval.rules if isinstance(approval, Approval) else 1


def _log_refusal(site: SiteId, study_id: str, code: str) -> None:
    log.warning("%s: study %.12s: %s", site, study_id, code, extra=about(site, study_id, code))
