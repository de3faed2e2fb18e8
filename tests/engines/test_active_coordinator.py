"""A coordinator that says what it likes to sites that hold to the rules, under masks: it opens one sum."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedcohort.coordinator.plan import Receive
from fedcohort.errors import RoundError, WireError
from fedcohort.node.answer import Node
from fedcohort.node.keys import make_card
from fedcohort.wire.identity import new_identity
from fedcohort.wire.messages import Card, Help, Message, OpenRequest, SiteId, Task
from fedcohort.wire.signing import state_digest

from .liar import ALL, FOUR, STUDY, Liar, assert_still_masked, help_of, refusal
from .support import Play, StuckError


def test_an_honest_round_opens_the_true_sum() -> None:
    """What the lies below are measured against."""
    liar = Liar()
    parts = liar.collected()
    inbox = liar.opening(ALL, parts, liar.task())
    assert all(help_of(liar, inbox, site, liar.request(site, ALL, parts)) for site in ALL)
    assert inbox.helps.open().to_bytes() == liar.integers(ALL)


@pytest.mark.parametrize("n_other", [1, 2, 4])
def test_sites_that_were_shown_another_model_are_not_summed_with_the_rest(n_other: int) -> None:
    liar, true = Liar(), Liar().task()
    told = {site: liar.task(nudge=float(site in ALL[:n_other])) for site in ALL}
    parts = liar.contributions(told)
    for site in ALL:
        assert refusal(liar.ask(site, liar.request(site, ALL, parts))) == "message-invalid"
    for group in (ALL[:n_other], ALL[n_other:]):
        if len(group) < 4:
            for site in group:
                assert refusal(liar.ask(site, liar.request(site, group, parts))) == "too-few-sites"
    assert liar.has_helped() == set()
    inbox = liar.opening(ALL, parts, true)
    assert inbox.opening.total != liar.integers(ALL)


def test_one_site_that_was_shown_another_model_is_left_out_and_nothing_of_it_is_opened() -> None:
    liar = Liar()
    parts = liar.contributions({**dict.fromkeys(FOUR, liar.task()), "e": liar.task(nudge=1.0)})
    inbox = liar.opening(FOUR, parts, liar.task())
    assert all(help_of(liar, inbox, site, liar.request(site, FOUR, parts)) for site in FOUR)
    assert inbox.helps.open().to_bytes() == liar.integers(FOUR)
    assert refusal(liar.ask("e", liar.request("e", ALL, parts))) == "message-invalid"
    assert_still_masked(liar, parts["e"], liar.task(nudge=1.0), "e")


class Altered(Play):
    """The coordinator is honest, and somebody between alters the model for d and e."""

    async def exchange(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        told = dict(messages)
        for site in "de":
            task = messages.get(site)
            if isinstance(task, Task):
                arrays = {**task.arrays, "altered": np.ones(1)}
                digest = state_digest(task.phase, task.round, arrays)
                told[site] = replace(task, arrays=arrays, state_digest=digest)
        await super().exchange(told, receive, enough, timeout)


def test_a_task_that_was_changed_on_its_way_ends_in_a_clear_reason_and_no_sum() -> None:
    play = Altered(STUDY)
    with pytest.raises(StuckError, match="3 of the 4 sites that the round needs have answered"):
        play.go()
    assert play.survivors == []
    assert {str(error).split(":")[0] for error in play.errors} == {"d", "e"}
    assert not any(isinstance(question, OpenRequest) for _, question, _ in play.seen)


def test_a_site_that_is_said_to_be_lost_though_it_contributed_stays_hidden_by_its_own_mask() -> None:
    liar = Liar()
    parts = liar.collected()
    inbox = liar.opening(FOUR, parts, liar.task())
    assert all(help_of(liar, inbox, site, liar.request(site, FOUR, parts)) for site in FOUR)
    assert inbox.helps.open().to_bytes() == liar.integers(FOUR)
    for site in FOUR:
        assert refusal(liar.ask(site, liar.request(site, ALL, parts))) == "message-invalid"
    assert_still_masked(liar, parts["e"], liar.task(), "e")


@pytest.mark.parametrize("n_told_lost", [1, 2, 3, 4])
def test_a_site_that_is_lost_to_some_and_there_to_others_gives_no_secret_of_both_kinds(
    n_told_lost: int,
) -> None:
    """Shares of e's own seed from some, of its pairs' seeds from others: at most one kind is enough."""
    liar = Liar()
    parts = liar.collected()
    lost, there = liar.opening(FOUR, parts, liar.task()), liar.opening(ALL, parts, liar.task())
    for place, site in enumerate(ALL):
        survivors, inbox = (FOUR, lost) if place < n_told_lost else (ALL, there)
        assert help_of(liar, inbox, site, liar.request(site, survivors, parts))
    opened = [inbox for inbox in (lost, there) if inbox.helps.enough]
    assert len(opened) <= 1
    for inbox, survivors in ((lost, FOUR), (there, ALL)):
        if inbox in opened:
            assert inbox.helps.open().to_bytes() == liar.integers(survivors)
        else:
            with pytest.raises((RoundError, WireError)):
                inbox.helps.open()


def test_a_site_that_never_contributed_is_not_there_because_the_coordinator_says_so() -> None:
    liar = Liar()
    parts = liar.contributions(dict.fromkeys(FOUR, liar.task()))
    for site in FOUR:
        request = liar.request(site, FOUR, parts)
        for invented in (request.extras["a"], bytes(len(request.extras["a"])), b""):
            claim = replace(request, survivors=ALL, extras={**request.extras, "e": invented})
            assert refusal(liar.ask(site, claim)) == "message-invalid"
    assert liar.has_helped() == set()


@pytest.mark.parametrize(
    "survivors",
    [("a", "b", "c"), ("a",), (), ("a", "a", "b", "c", "d"), ("a", "b", "c", "d", "x"), ("b", "c", "d", "e")],
    ids=["below the quorum", "alone", "nobody", "twice", "a stranger", "without the helper"],
)
def test_no_such_set_of_survivors_is_opened(survivors: tuple[SiteId, ...]) -> None:
    liar = Liar()
    parts = liar.collected()
    request = liar.request("a", ALL, parts)
    parcels = {site: request.extras.get(site, request.extras["b"]) for site in survivors}
    reply = liar.ask("a", replace(request, survivors=survivors, extras=parcels))
    assert refusal(reply) in {"too-few-sites", "message-invalid"}
    assert isinstance(liar.ask("a", request), Help)


def test_two_attempts_at_a_round_are_not_both_opened() -> None:
    """A site seals the same integers for each attempt; the sum of five and of four would show the fifth."""
    liar = Liar()
    first, second = liar.collected(), liar.collected(attempt=1)
    inbox = liar.opening(ALL, first, liar.task())
    assert all(help_of(liar, inbox, site, liar.request(site, ALL, first)) for site in ALL)
    assert inbox.helps.open().to_bytes() == liar.integers(ALL)
    for site in FOUR:
        assert refusal(liar.ask(site, liar.request(site, FOUR, second, attempt=1))) == "message-invalid"


@pytest.mark.parametrize("n_first", [1, 2, 3])
def test_sites_that_are_told_different_attempts_open_neither(n_first: int) -> None:
    liar = Liar()
    first, second = liar.collected(), liar.collected(attempt=1)
    one, other = liar.opening(ALL, first, liar.task()), liar.opening(ALL, second, liar.task(attempt=1))
    for place, site in enumerate(ALL):
        if place < n_first:
            assert help_of(liar, one, site, liar.request(site, ALL, first))
        else:
            assert help_of(liar, other, site, liar.request(site, ALL, second, attempt=1))
    assert not one.helps.enough
    with pytest.raises((RoundError, WireError)):
        one.helps.open()
    assert other.helps.enough == (n_first == 1)


def test_shares_of_one_attempt_are_not_opened_in_the_name_of_another() -> None:
    liar = Liar()
    first, second = liar.collected(), liar.collected(attempt=1)
    for site in ALL:
        assert refusal(liar.ask(site, liar.request(site, ALL, first, attempt=1))) == "message-invalid"
        assert refusal(liar.ask(site, liar.request(site, ALL, second))) == "message-invalid"
        mixed = {**first, "e": second["e"]}
        assert refusal(liar.ask(site, liar.request(site, ALL, mixed))) == "message-invalid"
    assert liar.has_helped() == set()


def test_shares_that_were_swapped_between_senders_or_sent_to_another_holder_are_not_opened() -> None:
    liar = Liar()
    parts = liar.collected()
    request, others = liar.request("a", ALL, parts), liar.request("b", ALL, parts)
    swapped = {**request.extras, "b": request.extras["c"], "c": request.extras["b"]}
    for extras in (swapped, others.extras, {**request.extras, "d": others.extras["d"]}):
        assert refusal(liar.ask("a", replace(request, extras=extras))) == "message-invalid"
    assert liar.has_helped() == set()
    assert isinstance(liar.ask("a", request), Help)


def test_bodies_that_were_swapped_between_two_sites_open_nothing() -> None:
    """Both are in the sum, so that the integers would be right; the commitments are not."""
    liar = Liar()
    parts = liar.collected()
    parts["a"], parts["b"] = (
        replace(parts["a"], body=parts["b"].body),
        replace(parts["b"], body=parts["a"].body),
    )
    inbox = liar.opening(ALL, parts, liar.task())
    for site in ALL:
        help_of(liar, inbox, site, liar.request(site, ALL, parts))
    with pytest.raises((RoundError, WireError)):
        inbox.helps.open()


def test_sites_that_are_told_another_order_of_the_roster_share_no_round() -> None:
    liar = Liar()
    parts = liar.contributions(
        {**dict.fromkeys(FOUR, liar.task()), "e": liar.task(roster=("e", "d", "c", "b", "a"))}
    )
    for site in FOUR:
        assert refusal(liar.ask(site, liar.request(site, ALL, parts))) == "message-invalid"
    assert liar.has_helped() == set()


def test_a_smaller_roster_than_min_sites_opens_nothing() -> None:
    liar = Liar(STUDY.model_copy(update={"min_sites": 3}))
    roster = ("a", "b")
    parts = liar.contributions(dict.fromkeys(roster, liar.task(roster=roster)))
    for site in roster:
        request = replace(liar.request(site, roster, parts), roster=roster)
        assert refusal(liar.ask(site, request)) == "too-few-sites"


@pytest.mark.parametrize("roster", [("b", "c", "d", "e"), ("a", "b", "x", "d", "e")], ids=["without", "x"])
def test_a_roster_without_the_site_or_with_a_stranger_gets_nothing(roster: tuple[SiteId, ...]) -> None:
    liar = Liar()
    code = refusal(liar.ask("a", liar.task(roster=roster)))
    assert code == ("roster-unconfirmed" if "x" in roster else "message-invalid")


def show(nodes: dict[SiteId, Node], site: SiteId, card: Card) -> None:
    """Let one site see this card in the place of the owner's own."""
    node = nodes[site]
    others = node.keys.card_of
    keys = replace(node.keys, card_of=lambda asked: card if asked == card.site else others(asked))
    nodes[site] = replace(node, keys=keys)


def test_a_card_that_the_coordinator_made_up_for_a_site_gets_nothing_out_of_the_others() -> None:
    liar = Liar()
    made_up = make_card(new_identity("e"), X25519PrivateKey.generate())
    for site in FOUR:
        show(liar.play.nodes, site, made_up)
        assert refusal(liar.ask(site, liar.task())) == "roster-unconfirmed"


def test_an_older_card_of_a_site_opens_nothing() -> None:
    """The site has a new agreement key, and the coordinator shows others the card of the old one."""
    liar = Liar()
    node = liar.play.nodes["e"]
    moved = replace(node.keys, agreement=X25519PrivateKey.generate())
    liar.play.nodes["e"] = replace(node, keys=moved)
    parts = liar.collected()
    for site in ALL:
        assert refusal(liar.ask(site, liar.request(site, ALL, parts))) == "message-invalid"
    assert liar.has_helped() == set()


def test_nothing_is_opened_before_its_task() -> None:
    liar, other = Liar(), Liar()
    parts = other.collected()
    for site in ALL:
        assert refusal(liar.ask(site, liar.request(site, ALL, parts))) == "message-invalid"
    assert len(liar.collected()) == len(ALL)
