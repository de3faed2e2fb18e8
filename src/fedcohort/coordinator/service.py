"""The coordinator at work: takes studies in, asks sites for approval, runs what they approved."""

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, field
from functools import partial

from fedcohort.analyses import build_analysis
from fedcohort.coordinator.approvals import Approvals
from fedcohort.coordinator.heads import held_heads, take_heads
from fedcohort.coordinator.hub import Hub
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.plan import Plan
from fedcohort.coordinator.report import study_report
from fedcohort.coordinator.rounds import StoredRounds
from fedcohort.coordinator.run_study import run_study
from fedcohort.coordinator.store import CoordinatorStore, Submission
from fedcohort.coordinator.tables import CANCELLED
from fedcohort.coordinator.telemetry import Stopwatch
from fedcohort.coordinator.traffic import keep_traffic, load_traffic
from fedcohort.errors import (
    AuthenticationError,
    FedcohortError,
    StoreError,
    StudyError,
    TooFewSitesError,
    WireError,
)
from fedcohort.handed_in import check_handed_in
from fedcohort.logs import about
from fedcohort.sources.cohort.resolve import check_units
from fedcohort.study import Study, Train, parse_study
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.handshake import COUNTERSIGNING
from fedcohort.wire.identity import verify
from fedcohort.wire.messages import (
    Approval,
    Card,
    Countersignature,
    Event,
    HeadCheck,
    Heads,
    Message,
    Proposal,
    Roster,
    SiteId,
)
from fedcohort.wire.signing import card_signing_bytes, study_signing_bytes

log = logging.getLogger("fedcohort.coordinator")

GRACE_SECONDS = 30.0
"""How long a study waits for sites that have joined but are not connected, before it starts without them."""
PROPOSAL_SECONDS = 5.0
"""How often a connected site that has said nothing, not even that a person was asked, is asked again."""
STORE_PAUSE_SECONDS = 5.0
"""How long a study rests when the coordinator's own database is locked or full."""
SEEN_SECONDS = 60.0
"""How exactly it is known when a site was last here: a link that stands says nothing to the store."""
MAX_CATALOGUE_BYTES = 4 * 2**20


@dataclass
class Service:
    """One coordinator process."""

    store: CoordinatorStore
    members: Members
    news: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    checking: dict[str, Submission] = field(default_factory=dict)
    """Studies that were handed in and are not taken yet: the first that trains waits for TensorFlow."""
    watching: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.hub = Hub(partial(held_heads, self.members), self._on_message, self._on_change)
        self.approvals = Approvals(self.store, self.members, self.hub.telemetry)

    async def resume(self) -> None:
        """Go on with every study that was open when the last process ended."""
        for study_id in self.store.open_studies():
            self.approvals.forget_outdated(study_id)
            self._drive(study_id)
        self.watching = asyncio.create_task(self._note_who_is_here())

    async def stop(self) -> None:
        """End all tasks; the store knows where to go on."""
        for task in [*self.tasks.values(), *([self.watching] if self.watching else [])]:
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        for link in list(self.hub.links.values()):
            await link.close("coordinator-stopping")

    # --- from researchers ------------------------------------------------------------------

    async def submit(
        self, study: Study, researcher: str, key: bytes, signature: bytes, *, resume: bool = False
    ) -> str:
        """Take a signed study in; the same study again is the same study, and goes on if it had failed.

        Args:
            resume: a study that was cancelled goes on, too, from its last round.
        Raises:
            AuthenticationError: the signature is not by that key over this study.
            StudyError: the study cannot be run as it stands, or was cancelled.
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
        rounds = study.analysis.rounds if isinstance(study.analysis, Train) else 1
        submission = Submission(study.hash, study.name, study.canonical, researcher, key, signature, rounds)
        self.checking[study.hash] = submission
        self.wake()
        try:
            await asyncio.to_thread(lambda: build_analysis(study).start())
            new = self.store.submit(submission) or self.store.retry(study.hash)
        finally:
            self.checking.pop(study.hash, None)
            self.wake()
        if new:
            log.info("study %.12s: proposed", study.hash, extra=about(study=study.hash))
            self.wake()
            self._drive(study.hash)
        return study.hash

    def _check_not_cancelled(self, study: Study) -> None:
        row = self.store.study(study.hash)
        if row is not None and row["state"] == "cancelled":
            raise StudyError(
                f"this very study was cancelled after {row['round']} exchanges; to go on from there run it "
                "with resume=True (`fedcohort run --resume`), to begin anew give it another name"
            )

    def start_now(self, study_id: str) -> None:
        """Start with the sites that have approved, without waiting for the others."""
        self.started.add(study_id)

    async def cancel(self, study_id: str) -> None:
        """End a study that is not finished.

        Raises:
            StudyError: it is not taken yet.
        """
        if study_id in self.checking:
            raise StudyError("this study is still being checked; cancel it once it is proposed")
        task = self.tasks.pop(study_id, None)
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.store.set_state(study_id, "cancelled", CANCELLED, "the researcher cancelled it")
            self.wake()

    def wake(self) -> None:
        """Wake whoever waits for `news`; the next news is a new event."""
        self.news.set()
        self.news = asyncio.Event()

    # --- from sites ------------------------------------------------------------------------

    async def _note_who_is_here(self) -> None:
        """Remember that linked sites are here, for whoever asks after this process was killed."""
        while True:
            await asyncio.sleep(SEEN_SECONDS)
            with contextlib.suppress(StoreError):
                self.members.seen_now(list(self.hub.links))

    async def _on_change(self, site: SiteId, here: bool) -> None:
        self.members.seen(site)
        if here:
            for study_id in self.store.open_studies():
                answer = self.store.answers(study_id).get(site)
                if answer is None or answer["state"] == "asked":
                    await self._propose(study_id, site)
        self.wake()

    async def _on_message(self, site: SiteId, message: Message) -> None:
        if isinstance(message, Heads):
            for head in take_heads(self.members, site, message):
                await self.hub.send(head.site, Heads((head,)))
            return
        if isinstance(message, HeadCheck | Countersignature):
            await self._relay(site, message)
            return
        study_hash = getattr(message, "study_hash", "")
        if study_hash and self.store.study(study_hash) is None:
            words = "%s: %s about study %.12s, which is not here"
            log.warning(words, site, type(message).__name__, study_hash, extra=about(site, study_hash))
        elif isinstance(message, Approval):
            self.approvals.record(site, message)
        elif isinstance(message, Card):
            await self._take_card(site, message)
        elif isinstance(message, Event) and message.kind == "catalogue":
            if len(message.detail) > MAX_CATALOGUE_BYTES:
                raise WireError(f"{site}: a catalogue of {len(message.detail)} bytes")
            self.members.seen(site, _catalogue(site, message.detail))
        elif isinstance(message, Event) and message.kind == "asked":
            self.store.record_answer(message.study_hash, site, "asked")
        elif isinstance(message, Event) and message.kind == "refusal":
            self.approvals.record_refusal(site, message)
        else:
            raise WireError(f"{site}: {type(message).__name__} where none was expected")
        self.wake()

    async def _relay(self, site: SiteId, message: HeadCheck | Countersignature) -> None:
        """Carry a head to the sites that may countersign it, or what one of them has signed back.

        A site of an earlier version does not know the message, and is not asked.
        """
        asking = message.head.site
        if site != (asking if isinstance(message, HeadCheck) else message.site):
            raise WireError(f"{site}: a {type(message).__name__} under another site's name")
        if isinstance(message, HeadCheck):
            list(take_heads(self.members, site, Heads((message.head,))))
            others = [other for other in self.hub.links if other != site]
        else:
            others = [asking]
        for other in others:
            link = self.hub.links.get(other)
            if link is not None and link.peer.version >= COUNTERSIGNING:
                await self.hub.send(other, message)

    async def _take_card(self, site: SiteId, card: Card) -> None:
        """Keep a site's card, and announce all cards to it, or to all when this one is new."""
        key = self.members.key_of(site)
        if (card.site, card.identity_key) != (site, key) or not verify(
            card.identity_key, card.signature, card_signing_bytes(card)
        ):
            raise AuthenticationError(f"{site}: a card that is not signed by the site's key")
        new = self.members.keep_card(site, encode(card))
        known = [decode(encoded) for encoded in self.members.cards()]
        roster = Roster(tuple(card for card in known if isinstance(card, Card)))
        for other in list(self.hub.links) if new else [site]:
            await self.hub.send(other, roster)

    async def _show_heads(self) -> None:
        """Let the sites keep each other's ledger heads: what approvals reserved, and what a study spent."""
        heads = await asyncio.to_thread(held_heads, self.members)
        for site in list(self.hub.links):
            await self.hub.send(site, heads)

    # --- a study's life --------------------------------------------------------------------

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
                study_id, "failed", FedcohortError.code, "an internal error; see the coordinator's log"
            )
        self.wake()

    async def _run(self, study_id: str) -> None:
        row = self.store.study(study_id)
        if row is None:
            return
        study = parse_study(row["study"])
        roster = tuple(json.loads(row["roster"])) if row["roster"] else await self._roster(study)
        self.approvals.check_rules_of(study_id, roster)
        if not row["roster"]:
            self.store.set_roster(study_id, roster)
        self._waiting(study_id, "")
        check_units(study.cohort, self.members.catalogues(roster))
        plan = Plan(
            study,
            study_id,
            build_analysis(study),
            roster,
            partial(self._waiting, study_id),
            partial(self._refused, study_id),
        )
        await self._show_heads()
        watch = Stopwatch(self.hub.telemetry)
        traffic = self.hub.traffic.setdefault(study_id, load_traffic(self.store, study_id))
        try:
            state = await run_study(plan, StoredRounds(self.store, self.wake, watch), self.hub.exchange)
        finally:
            # Only for the page: it must hinder neither a retry nor the end of the process.
            with contextlib.suppress(StoreError):
                keep_traffic(self.store, study_id, traffic)
            del self.hub.traffic[study_id]
        left_out = self.approvals.left_out(study_id)
        figures = plan.analysis.report(state)
        self.store.finish(study_id, study_report(study, study_id, plan.analysis, roster, figures, left_out))
        log.info("study %.12s: finished", study_id, extra=about(study=study_id))
        await self._show_heads()
        self.wake()

    def _waiting(self, study_id: str, reason: str) -> None:
        row = self.store.study(study_id)
        state, code = ("waiting", TooFewSitesError.code) if reason else ("running", "")
        if row and (row["state"], row["error_message"]) != (state, reason):
            log.info("study %.12s: %s", study_id, state, extra=about(study=study_id, code=code))
            self.store.set_state(study_id, state, code, reason)
            self.wake()

    def _refused(self, study_id: str, site: SiteId, code: str) -> None:
        """A site that had approved could not take part; the study goes on without it."""
        self.approvals.leave_out(study_id, site, code)
        self.wake()

    async def _propose(self, study_id: str, site: SiteId) -> None:
        row = self.store.study(study_id)
        if row:
            proposal = Proposal(row["study"], row["researcher"], row["researcher_key"], row["signature"])
            await self.hub.send(site, proposal)

    async def _propose_to_silent(self, study_id: str) -> None:
        answers = self.store.answers(study_id)
        for site in list(self.hub.links):
            if site not in answers:
                await self._propose(study_id, site)

    async def _roster(self, study: Study) -> tuple[SiteId, ...]:
        """Wait until every site has answered: lost ones for a while, connected ones without end."""
        clock = asyncio.get_running_loop().time
        end, ask_again = clock() + GRACE_SECONDS, clock()
        while True:
            if clock() >= ask_again:
                await self._propose_to_silent(study.hash)
                ask_again = clock() + PROPOSAL_SECONDS
            news = self.news
            approved, silent = self.approvals.of(study)
            joined = self.members.joined() if clock() <= end else set()
            silent = [site for site in silent if site in joined or site in self.hub.links]
            if len(approved) >= study.min_sites and (not silent or study.hash in self.started):
                return approved
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await news.wait()


def _catalogue(site: SiteId, detail: bytes) -> dict[str, object]:
    try:
        found = json.loads(detail)
    except (ValueError, RecursionError):
        raise WireError(f"{site}: a catalogue that is not JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("tables"), dict):
        raise WireError(f"{site}: a catalogue without tables")
    return found
