"""A coordinator without conscience, before nodes that hold to the rules."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fedcohort.analyses.build import build_analysis
from fedcohort.coordinator.collect import round_context
from fedcohort.coordinator.opening import HelpInbox, Opening, help_inbox
from fedcohort.coordinator.plan import Plan
from fedcohort.node.answer import answer
from fedcohort.node.keys import signed
from fedcohort.node.records import Stored
from fedcohort.protection import masks
from fedcohort.protection.context import RoundContext
from fedcohort.protection.fixed_point import Ring, add_ring, ring_from_bytes, shape_from_text, zero_ring
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.study import Study
from fedcohort.wire.messages import Contribution, Event, Help, Message, OpenRequest, SiteId, Task
from fedcohort.wire.signing import request_digest, state_digest
from tests.build import describe_study, explicit

from .support import Play, honest_nodes

ALL = ("a", "b", "c", "d", "e")
FOUR = ALL[:4]
STUDY = explicit(describe_study("lied about", protection="masks"))


@dataclass
class Liar:
    """A coordinator without conscience, before honest nodes; four of the five must agree to open."""

    study: Study = STUDY
    play: Play = field(init=False)

    def __post_init__(self) -> None:
        self.play = Play(self.study, ALL, nodes=honest_nodes(self.study, ALL))

    def ask(self, site: SiteId, question: Message) -> Message:
        node = self.play.nodes[site]
        return signed(node.keys.identity, answer(node, question))

    def task(self, attempt: int = 0, nudge: float = 0.0, roster: tuple[SiteId, ...] = ALL) -> Task:
        """A task of the first round; of another state where it is nudged."""
        start = build_analysis(self.study).start()
        arrays = {**start.arrays, **({"nudge": np.array([nudge])} if nudge else {})}
        digest = state_digest(start.phase, 0, arrays)
        return Task(self.study.hash, 0, attempt, start.phase, arrays, digest, roster)

    def contributions(self, tasks: Mapping[SiteId, Task]) -> dict[SiteId, Contribution]:
        found = {}
        for site, task in tasks.items():
            reply = self.ask(site, task)
            assert isinstance(reply, Contribution), (site, reply)
            found[site] = reply
        return found

    def collected(self, attempt: int = 0) -> dict[SiteId, Contribution]:
        return self.contributions(dict.fromkeys(ALL, self.task(attempt)))

    def request(
        self,
        site: SiteId,
        survivors: Sequence[SiteId],
        parts: Mapping[SiteId, Contribution],
        attempt: int = 0,
    ) -> OpenRequest:
        parcels = {sender: parts[sender].extras[site] for sender in survivors}
        return OpenRequest(self.study.hash, 0, attempt, tuple(survivors), b"", parcels, ALL)

    def context(self, task: Task) -> RoundContext:
        analysis = build_analysis(self.study)
        plan, shape = (
            Plan(self.study, self.study.hash, analysis, ALL),
            shape_from_text(self.stored("a").shape),
        )
        return round_context(plan, task.round, task.state_digest, shape, task.attempt)

    def stored(self, site: SiteId) -> Stored:
        """What a site has computed last."""
        found = self.play.nodes[site].store.last(self.study.hash)
        assert found is not None
        return found

    def integers(self, sites: Collection[SiteId]) -> bytes:
        """What the sum of these sites is in truth."""
        sizes = shape_from_text(self.stored("a").shape).sizes
        total = zero_ring(sizes)
        for site in sites:
            add_ring(total, ring_from_bytes(self.stored(site).integers, sizes))
        return total.to_bytes()

    def opening(
        self, survivors: Sequence[SiteId], parts: Mapping[SiteId, Contribution], task: Task
    ) -> HelpInbox[Ring]:
        """The sum of these sites' bodies, to be opened by whatever help can be had."""
        context = self.context(task)
        total, kept = zero_ring(context.shape.sizes), {}
        for site in survivors:
            commitments, ring = masks.body_parts(context, site, parts[site].body)
            add_ring(total, ring)
            kept[site] = replace(parts[site], body=commitments)
        how = PROTECTIONS[self.study.protection].opening
        assert how is not None
        return help_inbox(how, Opening(context, total.to_bytes(), kept))

    def has_helped(self) -> set[SiteId]:
        """The sites that have given help in this study."""
        return {site for site in ALL if self.play.nodes[site].store.help_given(self.study.hash)}


def refusal(message: Message) -> str:
    assert isinstance(message, Event), message
    assert (message.kind, message.detail) == ("refusal", b"")
    return message.code


def help_of(liar: Liar, inbox: HelpInbox[Ring], site: SiteId, request: OpenRequest) -> bool:
    """Ask, and take what comes."""
    reply = liar.ask(site, request)
    if not isinstance(reply, Help):
        return False
    inbox.asked[site] = request_digest(request)
    inbox.receive(site, reply)
    return True


def assert_still_masked(liar: Liar, part: Contribution, task: Task, site: SiteId) -> None:
    """Even without all masks that it shares with others, a site's own mask hides its integers."""
    context, keys = liar.context(task), liar.play.nodes[site].keys
    _, ring = masks.body_parts(context, site, part.body)
    seeds = [
        (masks.pair_seed(context, keys.pair_secret(other), site, other), not site < other)
        for other in ALL
        if other != site
    ]
    bare: Ring = masks.add_masks(ring, seeds)
    shown, true = bare.to_bytes(), liar.integers({site})
    assert len(shown) == len(true)
    assert sum(a == b for a, b in zip(shown, true, strict=True)) < len(true) / 4
