"""The lifecycle of a study: handed in, proposed, approved, run, and its end."""

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, field
from functools import partial

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import State
from fedcohort.analyses.disclosing import MODEL_ARRAYS, asked_under, control_of, reported
from fedcohort.coordinator.changes import Changes
from fedcohort.coordinator.heads import held_heads
from fedcohort.coordinator.hub import Hub
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.opened_at_site import KEPT, kept_report
from fedcohort.coordinator.plan import Plan
from fedcohort.coordinator.report import study_report
from fedcohort.coordinator.roster import Rosters
from fedcohort.coordinator.rounds import StoredRounds
from fedcohort.coordinator.run_study import run_study
from fedcohort.coordinator.store import CoordinatorStore, Submission
from fedcohort.coordinator.tables import CANCELLED
from fedcohort.coordinator.telemetry import Stopwatch
from fedcohort.coordinator.traffic import keep_traffic, load_traffic
from fedcohort.errors import AuthenticationError, FedcohortError, StoreError, StudyError, TooFewSitesError
from fedcohort.handed_in import check_handed_in
from fedcohort.logs import about
from fedcohort.sources.cohort.resolve import check_units
from fedcohort.study import Study, parse_study
from fedcohort.texts import say
from fedcohort.wire.identity import verify
from fedcohort.wire.messages import SiteId
from fedcohort.wire.signing import study_signing_bytes

log = logging.getLogger("fedcohort.coordinator")

STORE_PAUSE_SECONDS = 5.0
"""How long a study pauses when the coordinator's database is locked or full."""


@dataclass
class Lifecycle:
    """The studies of one coordinator.

    Attributes:
        tasks: of the studies that are open.
        checking: studies that were handed in and are not accepted yet; the first that trains waits for
            TensorFlow.
    """

    store: CoordinatorStore
    members: Members
    hub: Hub
    rosters: Rosters
    changes: Changes
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    checking: dict[str, Submission] = field(default_factory=dict)

    # --- handed in, and cancelled -----------------------------------------------------------

    async def submit(
        self, study: Study, researcher: str, key: bytes, signature: bytes, *, resume: bool = False
    ) -> str:
        """Accept a signed study; the same study again is not a second one, and goes on if it had failed.

        Args:
            resume: a study that was cancelled goes on, too, from its last round.
        Raises:
            AuthenticationError: the signature is not by that key over this study.
            StudyError: the study cannot be run as it stands, or was cancelled.
            TooManyStudiesError: the researcher has handed in too many within a day.
        """
        if not verify(key, signature, study_signing_bytes(study.canonical)):
            raise AuthenticationError("the study's signature does not fit its key; sign the canonical study")
        if not study.cohort.is_explicit:
            raise StudyError(
                "cohort.columns: name each column's kind; fed.run does so from the sites' catalogues"
            )
        check_handed_in(study)
        if not resume:
            self._check_not_cancelled(study)
        steps = study.analysis.n_steps
        submission = Submission(study.hash, study.name, study.canonical, researcher, key, signature, steps)
        self.checking[study.hash] = submission
        self.changes.wake()
        try:
            await asyncio.to_thread(lambda: build_analysis(study).start())
            new = self.store.submit(submission) or self.store.retry(study.hash, researcher)
        finally:
            self.checking.pop(study.hash, None)
            self.changes.wake()
        if new:
            log.info("study %.12s: proposed", study.hash, extra=about(study=study.hash))
            self.changes.wake()
            self._drive(study.hash)
        return study.hash

    def _check_not_cancelled(self, study: Study) -> None:
        row = self.store.study(study.hash)
        if row is not None and row["state"] == "cancelled":
            raise StudyError(
                "this very study was cancelled after {n} exchanges; to go on from there run it with "
                "resume=True (`fedcohort run --resume`), to begin anew give it another name",
                n=row["round"],
            )

    async def cancel(self, study_id: str) -> None:
        """End a study that is not finished.

        Raises:
            StudyError: it is not accepted yet.
        """
        if study_id in self.checking:
            raise StudyError("this study is still being checked; cancel it once it is proposed")
        task = self.tasks.pop(study_id, None)
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.store.set_state(study_id, "cancelled", CANCELLED, say("the researcher cancelled it"))
            self.changes.wake()

    # --- driven to its end ------------------------------------------------------------------

    def resume(self) -> None:
        """Go on with every study that was open when the last process ended."""
        self.store.delete_sums_of_finished()
        for study_id in self.store.open_studies():
            self.rosters.approvals.forget_outdated(study_id)
            self._drive(study_id)

    async def stop(self) -> None:
        """Pause all studies; the store holds where each goes on."""
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drive(self, study_id: str) -> None:
        task = asyncio.create_task(self._live(study_id), name=f"study-{study_id[:12]}")
        self.tasks[study_id] = task
        task.add_done_callback(lambda _: self.tasks.pop(study_id, None))

    async def _live(self, study_id: str) -> None:
        """Drive a study to its end; a store that is locked or full only keeps it waiting."""
        while True:
            try:
                await self._try(study_id)
                return
            except StoreError as error:
                words = "study %.12s: %s; it goes on from its last round then"
                log.warning(words, study_id, error, extra=about(study=study_id))
                await asyncio.sleep(STORE_PAUSE_SECONDS)

    async def _try(self, study_id: str) -> None:
        try:
            await self._run(study_id)
        except StoreError:
            raise
        except FedcohortError as error:
            log.warning("study %.12s: %s", study_id, error, extra=about(study=study_id))
            self.store.set_state(study_id, "failed", error.code, str(error))
        except Exception:
            # A fault of ours ends this study, not the coordinator; the log has the details.
            where = about(study=study_id, code=FedcohortError.code)
            log.exception("study %.12s: an unexpected error", study_id, extra=where)
            self.store.set_state(
                study_id, "failed", FedcohortError.code, say("an internal error; see the coordinator's log")
            )
        self.changes.wake()

    async def _run(self, study_id: str) -> None:
        row = self.store.study(study_id)
        if row is None:
            return
        study, approvals = parse_study(row["study"]), self.rosters.approvals
        roster = tuple(json.loads(row["roster"])) if row["roster"] else await self.rosters.wait(study)
        approvals.check_rules_of(study_id, roster)
        if not row["roster"]:
            self.store.set_roster(study_id, roster)
        self._waiting(study_id, "")
        check_units(study.cohort, self.members.catalogues(roster))
        waiting, refused = partial(self._waiting, study_id), partial(self._refused, study_id)
        control = control_of(study, approvals.rules_of_disclosure(study_id, roster))
        analysis = asked_under(build_analysis(study), control)
        shown = approvals.encoded(study_id, roster) if study.opened_at == "site" else {}
        plan = Plan(study, study_id, analysis, roster, waiting, refused, control, shown)
        await self._show_heads()
        state = await self._rounds(plan)
        left_out = approvals.left_out(study_id)
        figures = (
            kept_report(self.store.load_kept(study_id, KEPT)) if shown
            else reported(plan.analysis, state, control)
        )  # fmt: skip
        report = study_report(study, study_id, plan.analysis, roster, figures, left_out)
        trained = MODEL_ARRAYS if study.analysis.trains else ()
        self.store.finish(study_id, report, {name: state.arrays[name] for name in trained})
        log.info("study %.12s: finished", study_id, extra=about(study=study_id))
        await self._show_heads()
        self.changes.wake()

    async def _rounds(self, plan: Plan) -> State:
        study_id = plan.study_hash
        rounds = StoredRounds(self.store, self.changes.wake, Stopwatch(self.hub.telemetry))
        traffic = self.hub.traffic.setdefault(study_id, load_traffic(self.store, study_id))
        self.hub.slow[study_id] = self.rosters.approvals.release_seconds(study_id)
        try:
            return await run_study(plan, rounds, self.hub.exchange)
        finally:
            # Only for the page: it must hinder neither a retry nor the end of the process.
            with contextlib.suppress(StoreError):
                keep_traffic(self.store, study_id, traffic)
            del self.hub.traffic[study_id], self.hub.slow[study_id]

    async def _show_heads(self) -> None:
        """Let the sites keep each other's ledger heads: what approvals reserved, and what a study spent."""
        heads = await asyncio.to_thread(held_heads, self.members)
        for site in list(self.hub.carrier.present):
            await self.hub.send(site, heads)

    def _waiting(self, study_id: str, reason: str) -> None:
        row = self.store.study(study_id)
        state, code = ("waiting", TooFewSitesError.code) if reason else ("running", "")
        if row and (row["state"], row["error_message"]) != (state, reason):
            log.info("study %.12s: %s", study_id, state, extra=about(study=study_id, code=code))
            self.store.set_state(study_id, state, code, reason)
            self.changes.wake()

    def _refused(self, study_id: str, site: SiteId, code: str) -> None:
        """A site that had approved could not take part; the study goes on without it."""
        self.rosters.approvals.leave_out(study_id, site, code)
        self.changes.wake()
