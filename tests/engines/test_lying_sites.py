"""A site that signs what it likes: it may spoil its own part, and neither the others' nor the coordinator."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fedcohort.analyses.build import build_analysis
from fedcohort.coordinator.collect import Inbox, round_context
from fedcohort.coordinator.opening import help_inbox, opening_of
from fedcohort.coordinator.plan import Plan
from fedcohort.coordinator.study_key import KeyInbox
from fedcohort.coordinator.sums import new_sum
from fedcohort.errors import FedcohortError, WireError
from fedcohort.node.answer import answer
from fedcohort.node.keys import signed
from fedcohort.protection.context import RoundContext
from fedcohort.protection.fixed_point import shape_of
from fedcohort.protection.masks import MASKS
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.messages import Message, OpenRequest, Setup, SiteId, Task
from fedcohort.wire.signing import request_digest

from .hostile import SITES, Changer, recorded, study
from .support import Play

pytestmark = pytest.mark.usefixtures("paillier_keys")


def lies(play: Play, each: int) -> Iterator[tuple[SiteId, Message]]:
    """What a site that lies may send: changed answers under its own good signature."""
    changer = Changer(11, recorded(play.study.protection))
    for site, _, reply in play.seen:
        for _ in range(each):
            try:
                changed = decode(changer.changed(encode(reply)))
            except WireError:
                continue
            yield site, signed(play.nodes[site].keys.identity, changed)


def answers_to(play: Play, kind: type[Message]) -> dict[SiteId, Message]:
    return {site: reply for site, question, reply in play.seen if isinstance(question, kind)}


def summed(play: Play) -> tuple[Inbox, RoundContext]:
    """The coordinator's part of the round that was played, before any contribution."""
    plan = Plan(play.study, play.study.hash, build_analysis(play.study), SITES)
    state = plan.analysis.start()
    task = next(question for _, question, _ in play.seen if isinstance(question, Task))
    shape = shape_of(plan.analysis.layout(state), len(SITES))
    context = round_context(plan, state.round, task.state_digest, shape, 0)
    keys = (reply.public for _, _, reply in play.seen if isinstance(reply, Setup))
    shared = plan.protection.setup
    public = None if shared is None else shared.load_public(next(keys))
    return Inbox(task, new_sum(plan.protection, context, public)), context


@pytest.mark.parametrize("protection", ["masks", "paillier"])
def test_a_contribution_that_a_site_changed_and_signed_is_added_whole_or_refused_whole(
    protection: str,
) -> None:
    """Its own part is its own to spoil; the others' stays as it was, and the coordinator lives."""
    play = Play(study(protection))
    play.go()
    inbox, _ = summed(play)
    honest = answers_to(play, Task)
    for site in SITES[:4]:
        inbox.receive(site, honest[site])
    before, n_refused = inbox.sum.total(), 0
    for site, lie in lies(play, 120):
        try:
            inbox.receive(site, lie)
        except FedcohortError:
            n_refused += 1
        if "e" in inbox.survivors:
            inbox, _ = summed(play)
            for other in SITES[:4]:
                inbox.receive(other, honest[other])
        assert inbox.sum.total() == before
    assert n_refused > 100


def test_false_help_of_one_site_under_masks_is_passed_over_and_the_sum_is_exact() -> None:
    play = Play(study("masks"))
    play.go()
    requests = {site: question for site, question, _ in play.seen if isinstance(question, OpenRequest)}
    asked = {site: request_digest(request) for site, request in requests.items()}
    honest, n_taken = answers_to(play, OpenRequest), 0
    inbox, context = summed(play)
    for site, contribution in answers_to(play, Task).items():
        inbox.receive(site, contribution)
    opening = opening_of(context, inbox.sum)
    parcels = {site: part.extras["e"] for site, part in opening.contributions.items()}
    # Four are enough, so that e was not asked.
    last = replace(requests["a"], extras=parcels)
    asked["e"], honest["e"] = request_digest(last), answer(play.nodes["e"], last)
    assert MASKS.opening is not None
    expected = help_inbox(MASKS.opening, opening)
    expected.asked = asked
    for site in SITES[1:]:
        expected.receive(site, honest[site])
    total = expected.helps.open().to_bytes()
    for site, lie in lies(play, 60):
        helped = help_inbox(MASKS.opening, opening)
        helped.asked = asked
        try:
            helped.receive(site, lie)
            n_taken += bool(helped.helps.bodies)
        except FedcohortError:
            pass
        for other in SITES:
            if other != site:
                helped.receive(other, honest[other])
        assert helped.helps.open().to_bytes() == total
    assert n_taken > 5


def test_what_a_lying_maker_says_of_the_studys_key_is_taken_or_refused_by_name() -> None:
    changer, inbox, n_read = Changer(13, recorded("paillier")), KeyInbox(), 0
    made = [data for data in changer.pool if isinstance(decode(data), Setup)]
    for _ in range(300):
        try:
            message = decode(changer.changed(changer.draw.choice(made)))
            n_read += 1
            inbox.receive("a", message)
        except WireError:
            continue
    assert n_read > 50
    assert all(answer.public for answer in inbox.made.values())
