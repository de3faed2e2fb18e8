"""Messages in another order, and messages of a round that is over: the sum is the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from fedcohort.coordinator.plan import Receive
from fedcohort.errors import WireError
from fedcohort.node.answer import answer
from fedcohort.wire.messages import Help, Message, OpenRequest, SiteId
from tests.build import explicit, train_study

from .liar import ALL, STUDY, refusal
from .support import Play


@dataclass
class Shuffled(Play):
    """Sites are asked, and answer, in this order."""

    order: tuple[SiteId, ...] = ALL

    async def exchange(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        ordered = {site: messages[site] for site in self.order if site in messages}
        await super().exchange(ordered, receive, enough, timeout)


@dataclass
class Replayed(Play):
    """Before each opening the one before comes again, as it was and renamed, both ways."""

    codes: list[str] = field(default_factory=list)
    before: dict[SiteId, tuple[OpenRequest, Help]] = field(default_factory=dict)

    async def exchange(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        for site, (request, help_) in self.before.items():
            question = messages.get(site)
            if isinstance(question, OpenRequest):
                for old in (request, replace(request, round=question.round)):
                    self.codes.append(refusal(answer(self.nodes[site], old)))
                for old_help in (help_, replace(help_, round=question.round)):
                    with pytest.raises(WireError, match="an answer to another question"):
                        receive(site, old_help)
        await super().exchange(messages, receive, enough, timeout)
        for site, question, reply in self.seen:
            if isinstance(question, OpenRequest) and isinstance(reply, Help):
                self.before[site] = (question, reply)


def test_the_order_in_which_sites_are_asked_and_answer_does_not_matter() -> None:
    orders = (ALL, ALL[::-1], ("c", "e", "a", "d", "b"))
    reports = [Shuffled(STUDY, order=order).go() for order in orders]
    assert reports[0] == reports[1] == reports[2]


@pytest.mark.training
def test_help_and_requests_of_one_round_do_nothing_in_the_next() -> None:
    study = explicit(train_study("replayed", 1, protection="masks"))
    play = Replayed(study)
    assert play.go() == Play(study).go()
    assert set(play.codes) == {"message-invalid"}
    assert len(play.codes) >= 16
