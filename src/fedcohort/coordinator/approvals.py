"""What sites said of studies: taken in once it is verified, read again when a study may start."""

import logging
from dataclasses import dataclass

from fedcohort.coordinator.members import Members
from fedcohort.coordinator.plan import TRANSIENT_CODES
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.coordinator.telemetry import Telemetry
from fedcohort.errors import AuthenticationError, TooFewSitesError
from fedcohort.logs import about
from fedcohort.study import Study
from fedcohort.wire.codec import encode
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
        """
        key = self.members.key_of(site)
        if (
            key is None
            or approval.site != site
            or not verify(key, approval.signature, approval_signing_bytes(approval))
        ):
            raise AuthenticationError(f"{site}: an approval whose signature is not by the site's key")
        state = "approved" if approval.approved else "refused"
        if not approval.approved:
            self.telemetry.count_refusal("site", approval.code)
            _log_refusal(site, approval.study_hash, approval.code)
        self.store.record_answer(approval.study_hash, site, state, approval.code, encode(approval))

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
                f"the study needs {study.min_sites} sites and the federation has {len(sites)}, of which "
                f"refused: {', '.join(refusals) or 'none'}"
            )
        return approved, silent


def _log_refusal(site: SiteId, study_id: str, code: str) -> None:
    log.warning("%s: study %.12s: %s", site, study_id, code, extra=about(site, study_id, code))
