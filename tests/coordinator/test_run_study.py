"""A study's loop, with sites that are functions: who is in a sum, who is asked again, and when it ends."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Analysis, Row, State
from fedcohort.analyses.describe.stages import DescribeAnalysis, build
from fedcohort.coordinator.plan import Plan, Receive
from fedcohort.coordinator.run_study import run_study
from fedcohort.engines.local import Simulated, simulated_node
from fedcohort.errors import StudyError, TooFewSitesError, WireError
from fedcohort.node.answer import Node, answer
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.vector import FixedPoint, Layout
from fedcohort.wire.messages import Contribution, Event, Message, SiteId, Task
from tests.build import describe_study, explicit, frame_of, ward_rows

STUDY = explicit(describe_study("the loop", min_sites=2, protection="none"))
Answer = Callable[[Task], Sequence[Message]]


@dataclass
class Log:
    """Remembers the newest state and who was in each sum."""

    state: State | None = None
    survivors: list[tuple[SiteId, ...]] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    spent: list[Row] = field(default_factory=list)

    def load_state(self, study_id: str) -> State | None:
        return self.state

    def save_round(
        self, study_id: str, state: State, survivors: tuple[SiteId, ...], rows: list[Row], spent: Row
    ) -> None:
        self.state = state
        self.survivors.append(survivors)
        self.spent.append(spent)

    def load_kept(self, study_id: str, what: str) -> bytes | None:
        return self.kept.get(what)

    def keep(self, study_id: str, what: str, data: bytes) -> None:
        self.kept[what] = data


@dataclass
class Run:
    """One run over honest sites, some of which are replaced."""

    study: Study = STUDY
    odd: dict[SiteId, Answer] = field(default_factory=dict)
    log: Log = field(default_factory=Log)
    reasons: list[str] = field(default_factory=list)
    refused: dict[SiteId, str] = field(default_factory=dict)
    errors: list[WireError] = field(default_factory=list)
    asked: list[set[SiteId]] = field(default_factory=list)
    make: Callable[[Study], Analysis] = build_analysis

    def go(self) -> dict[str, object]:
        analysis = self.make(self.study)
        nodes = {site: honest(self.study, site, index) for index, site in enumerate("abc")}

        async def exchange(
            messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
        ) -> None:
            self.asked.append(set(messages))
            for site, task in messages.items():
                assert isinstance(task, Task)
                replies = self.odd[site](task) if site in self.odd else [answer(nodes[site], task)]
                for reply in replies:
                    try:
                        receive(site, reply)
                    except WireError as error:
                        self.errors.append(error)

        plan = Plan(
            self.study, self.study.hash, analysis, tuple("abc"), self.reasons.append, self.refused.__setitem__
        )
        return analysis.report(asyncio.run(run_study(plan, self.log, exchange)))


def honest(study: Study, site: SiteId, index: int) -> Node:
    def load(cohort: Cohort, seed: int, private: bool) -> Table:
        return table_from_frame(frame_of(ward_rows(index)), cohort, seed)

    return simulated_node(Simulated(), site, study, load, build_analysis(study))


def refusing(*codes: str, study: Study = STUDY) -> Answer:
    """Refuses with these codes in turn, and then answers as site c."""
    left = list(codes)
    node = honest(study, "c", 2)

    def reply(task: Task) -> Sequence[Message]:
        if left:
            return [Event("refusal", task.study_hash, task.round, task.attempt, left.pop(0))]
        return [answer(node, task)]

    return reply


def test_all_sites_are_in_the_sum() -> None:
    run = Run()
    assert run.go()["patients"] == 180
    assert run.log.survivors == [("a", "b", "c")]
    assert run.reasons == []


def test_every_exchange_is_timed_in_parts_that_no_site_can_stretch() -> None:
    node = honest(STUDY, "c", 2)

    def boasting(task: Task) -> Sequence[Message]:
        told = answer(node, task)
        assert isinstance(told, Contribution)
        return [replace(told, compute_us=10**19, seal_us=10**19)]

    run = Run(odd={"c": boasting})
    run.go()
    assert [spent["exchange"] for spent in run.log.spent] == [*range(1, len(run.log.spent) + 1)]
    for spent in run.log.spent:
        parts = [float(str(spent[f"{part}_seconds"])) for part in ("compute", "seal", "network")]
        assert min(parts) >= 0
        assert sum(parts) <= float(str(spent["seconds"])) + 1e-5


def test_under_privacy_no_site_tells_its_time() -> None:
    private = STUDY.model_copy(update={"privacy": fc.Privacy(epsilon=1.0, delta=1e-4)})
    run = Run(private)
    run.go()
    assert {"compute_seconds", "seal_seconds"} & run.log.spent[0].keys() == set()
    assert float(str(run.log.spent[0]["network_seconds"])) > 0


def test_a_site_that_refuses_for_good_is_named_and_not_asked_again() -> None:
    run = Run(odd={"c": refusing("cohort-too-small")})
    assert run.go()["patients"] == 120
    assert run.refused == {"c": "cohort-too-small"}


def test_a_site_whose_store_is_locked_is_asked_again_until_enough_have_answered() -> None:
    study = STUDY.model_copy(update={"min_sites": 3})
    run = Run(study, odd={"c": refusing("store", "store", study=study)})
    assert run.go()["patients"] == 180
    assert run.refused == {}
    assert run.reasons == [
        "2 of the 3 sites that the round needs have answered (c: store)",
        "2 of the 3 sites that the round needs have answered (c: store)",
        "",
    ]


def test_too_many_refusals_end_the_study_with_every_code() -> None:
    run = Run(odd={"b": refusing("approval-expired"), "c": refusing("cohort-too-small")})
    with pytest.raises(TooFewSitesError, match=r"b: approval-expired, c: cohort-too-small"):
        run.go()
    assert run.asked == [{"a", "b", "c"}]


def spoilt(change: Callable[[Contribution], Message]) -> Answer:
    """Answers as site c, but not quite."""
    node = honest(STUDY, "c", 2)

    def reply(task: Task) -> Sequence[Message]:
        made = answer(node, task)
        assert isinstance(made, Contribution)
        return [change(made)]

    return reply


@pytest.mark.parametrize(
    "change",
    [
        lambda made: replace(made, site="b"),
        lambda made: replace(made, round=made.round + 1),
        lambda made: replace(made, study_hash="0" * 64),
        lambda made: replace(made, state_digest=bytes(32)),
        lambda made: replace(made, body=made.body[:-1]),
        lambda made: replace(made, body=b""),
        lambda made: replace(made, body=made.body + bytes(8)),
        lambda made: Event("asked", made.study_hash),
    ],
    ids=[
        "another site",
        "another round",
        "another study",
        "another state",
        "cut",
        "empty",
        "longer",
        "event",
    ],
)
def test_what_is_no_answer_to_the_task_leaves_its_site_out(
    change: Callable[[Contribution], Message],
) -> None:
    run = Run(odd={"c": spoilt(change)})
    assert run.go()["patients"] == 120
    assert len(run.errors) == 1
    assert run.log.survivors == [("a", "b")]


def test_a_second_contribution_is_not_added_twice() -> None:
    node = honest(STUDY, "c", 2)
    run = Run(odd={"c": lambda task: [answer(node, task), answer(node, task)]})
    assert run.go()["patients"] == 180
    assert "a second one" in str(run.errors[0])


def test_what_fits_no_ring_ends_the_study_before_any_site_is_asked() -> None:
    run = Run(make=lambda study: TooWide(**vars(build(study))))
    with pytest.raises(StudyError, match=r"block wide.*do not fit in 64 bits"):
        run.go()
    assert (run.asked, run.log.survivors) == ([], [])


class TooWide(DescribeAnalysis):
    """A description with a block that three sites cannot add up."""

    def layout(self, state: State) -> Layout:
        return (FixedPoint("wide", (1,), 2.0**62),)


def test_a_finished_state_is_not_run_again() -> None:
    run = Run()
    run.go()
    again = Run(log=run.log)
    assert again.go()["patients"] == 180
    assert again.asked == []
