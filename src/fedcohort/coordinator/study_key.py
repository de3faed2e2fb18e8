"""The shared key of a study: before the first round one site makes it, and the others get it sealed.

The coordinator relays, keeps the sealed parcels for sites that come later, and
learns the public part.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from fedcohort.coordinator.collect import Sites
from fedcohort.coordinator.plan import Exchange, Plan, RoundLog, pause_seconds, refusals_in_words
from fedcohort.errors import FedcohortError, RoundError, WireError
from fedcohort.protection.contract import SharedKey
from fedcohort.texts import say
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.messages import Event, Message, Setup, SiteId

logger = logging.getLogger("fedcohort.coordinator")


@dataclass
class KeyInbox:
    """Sites' answers to a Setup."""

    made: dict[SiteId, Setup] = field(default_factory=dict)
    refused: dict[SiteId, str] = field(default_factory=dict)

    def receive(self, site: SiteId, message: Message) -> bool:
        """Take an answer.

        Raises:
            WireError: it is none.
        """
        if isinstance(message, Event) and message.kind == "refusal":
            self.refused[site] = message.code
        elif isinstance(message, Setup) and message.public:
            self.made[site] = message
        else:
            raise WireError(f"{site}: an answer to another question")
        return False


async def made_key(shared: SharedKey, sites: Sites, log: RoundLog, exchange: Exchange) -> Setup:
    """The study's key as its maker sent it: made once, kept over restarts.

    Raises:
        TooFewSitesError: too many sites refused for good.
    """
    plan = sites.plan
    stored_key = log.load_kept(plan.study_hash, "key")
    if stored_key:
        setup = decode(stored_key)
        if isinstance(setup, Setup):
            return setup
    attempt = 0
    while True:
        for site in sites.left():
            inbox = KeyInbox()
            ask = Setup(plan.study_hash, 0, attempt, roster=plan.roster)
            await exchange({site: ask}, inbox.receive, 1, plan.study.round_timeout_seconds)
            sites.note(inbox.refused)
            if site in inbox.made and _is_key(shared, plan, site, inbox.made[site]):
                log.keep(plan.study_hash, "key", encode(inbox.made[site]))
                return inbox.made[site]
            plan.waiting(
                say(
                    "{site} has made no key for the study yet{refused}",
                    site=site,
                    refused=refusals_in_words(inbox.refused),
                )
            )
        await asyncio.sleep(pause_seconds(attempt))
        attempt += 1


def _is_key(shared: SharedKey, plan: Plan, maker: SiteId, setup: Setup) -> bool:
    try:
        shared.load_public(setup.public)
    except FedcohortError as error:
        logger.warning("study %.12s: %s has made no key: %s", plan.study_hash, maker, error)
        return False
    return set(setup.parcels) == set(plan.roster) - {maker}


async def distribute_key(sites: Sites, setup: Setup, log: RoundLog, exchange: Exchange) -> None:
    """Give the key to every site that may not have it, until enough have it; its maker has it.

    Raises:
        RoundError: a site could not open its part; the key is forgotten, and the study may be sent again.
    """
    plan, attempt = sites.plan, 0
    ready = sites.ready = sites.ready or set(plan.roster) - set(setup.parcels)
    (maker,) = set(plan.roster) - set(setup.parcels)
    while missing := [site for site in sites.left() if site not in ready]:
        asked = {
            site: Setup(plan.study_hash, 0, attempt, {maker: setup.parcels[site]}, setup.public, plan.roster)
            for site in missing
        }
        inbox, enough = KeyInbox(), max(0, plan.study.min_sites - len(ready))
        await exchange(asked, inbox.receive, enough, plan.study.round_timeout_seconds)
        complaints = sorted(site for site, code in inbox.refused.items() if code == WireError.code)
        if complaints:
            log.keep(plan.study_hash, "key", b"")
            raise RoundError(
                "{sites} could not open the key that {maker} made for the study: compare fingerprints again "
                "(`fedcohort roster`), and ask {maker} whether its agreement.key is new",
                sites=", ".join(complaints),
                maker=maker,
            )
        sites.note(inbox.refused)
        ready |= {site for site, answer in inbox.made.items() if answer.public == setup.public}
        if len(ready) >= plan.study.min_sites:
            return
        plan.waiting(
            say(
                "{count} sites have the study's key{refused}",
                count=len(ready),
                refused=refusals_in_words(inbox.refused),
            )
        )
        await asyncio.sleep(pause_seconds(attempt))
        attempt += 1
