"""A sum that a site opens and hides: the coordinator gets the same report, and nothing that tells more."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Analysis, State, Sums
from fedcohort.analyses.disclosing import control_of
from fedcohort.coordinator.opened_at_site import KEPT, kept_report
from fedcohort.coordinator.plan import Plan, Receive
from fedcohort.coordinator.run_study import run_study
from fedcohort.disclosure.rules import Disclosure, rules_text
from fedcohort.engines.local import FAR_FUTURE, MemoryLog, Simulated, simulated_node
from fedcohort.errors import DisclosureError, StudyError, WireError
from fedcohort.handed_in import check_handed_in
from fedcohort.node.answer import Node, answer
from fedcohort.node.keys import signed
from fedcohort.node.policy import SitePolicy, rules
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.texts import Text, say
from fedcohort.wire.codec import encode
from fedcohort.wire.identity import Identity, new_identity
from fedcohort.wire.messages import Approval, Help, Message, SiteId
from fedcohort.wire.signing import approval_signing_bytes
from tests.disclosure.small_cells import CASES, HOSPITALS
from tests.disclosure.test_every_kind import counts

pytestmark = pytest.mark.usefixtures("paillier_keys")

AT_SITE = {"protection": "paillier", "key_bits": 2048, "opened_at": "site", "min_sites": 2}
KINDS = ("crosstab", "survival", "incidence", "compare", "table_one", "validate")
RULES = {"north": Disclosure(), "south": Disclosure(min_cell=12), "west": Disclosure(min_dof=11)}


def study_of(kind: str) -> Study:
    return CASES[kind].study.model_copy(update=AT_SITE)


def approval_of(study: Study, site: SiteId, identity: Identity, rules_of: Disclosure) -> bytes:
    said = Approval(
        study.hash, site, approved=True, max_rounds=9, expires_at=FAR_FUTURE, disclosure=rules_text(rules_of)
    )
    return encode(replace(said, signature=identity.sign(approval_signing_bytes(said))))


def _load(frame: pd.DataFrame, cohort: Cohort, seed: int, private: bool) -> Table:
    return table_from_frame(frame, cohort, seed)


@dataclass
class Federation:
    """Three hospitals that hide what they open, and a coordinator that remembers all it hears."""

    study: Study
    build: Any = build_analysis
    nodes: dict[SiteId, Node] = field(default_factory=dict)
    heard: list[Message] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    log: MemoryLog = field(default_factory=lambda: MemoryLog(lambda _: None))
    approvals: dict[SiteId, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = Simulated()
        for site, frame in HOSPITALS.items():
            load = partial(_load, frame)
            node = simulated_node(keys, site, self.study, load, self.build(self.study))
            self.nodes[site] = replace(node, suppresses=True)
            self.approvals[site] = approval_of(self.study, site, node.keys.identity, RULES[site])

    def run(self) -> State:
        control = control_of(self.study, RULES.values())
        plan = Plan(
            self.study, self.study.hash, self.build(self.study), tuple(sorted(self.nodes)), self._wait,
            control=control, approvals=self.approvals,
        )  # fmt: skip
        return asyncio.run(run_study(plan, self.log, self.exchange))

    def _wait(self, reason: str) -> None:
        self.waits.append(reason)
        if reason:
            raise WireError(reason)

    async def exchange(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        for site, question in messages.items():
            reply = signed(self.nodes[site].keys.identity, answer(self.nodes[site], question))
            self.heard.append(reply)
            if receive(site, reply):
                return


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_is_that_of_a_coordinator_that_hides_and_no_small_count_is_heard(kind: str) -> None:
    study = study_of(kind)
    federation = Federation(study)
    state = federation.run()
    report = kept_report(federation.log.kept[KEPT])
    strictest = Disclosure(min_cell=12, min_dof=11)
    known = fc.simulate(HOSPITALS, disclosure=strictest).run(study, progress=False).report
    assert told(report) == told({name: part for name, part in known.items() if name in report})
    assert (state.finished, state.kept, state.sums) == (True, {}, None)
    (help_,) = [one for one in federation.heard if isinstance(one, Help)]
    assert [(path, n) for path, n in counts(json.loads(help_.body)["report"]) if 0 < n < 10] == []


def told(report: Mapping[str, Any]) -> Any:
    """As JSON; what is hidden in one order, since a simulation puts columns in its own."""
    read = json.loads(json.dumps(report))
    read["disclosure"]["suppressed"].sort(key=json.dumps)
    return read


def test_a_coordinator_that_was_killed_gets_the_same_report_and_no_second_one() -> None:
    federation = Federation(study_of("crosstab"))
    federation.run()
    report = federation.log.kept[KEPT]
    first = [one for one in federation.heard if isinstance(one, Help)]
    # Killed before the round was saved: what is to be opened is known, and the same is asked again.
    del federation.log.kept[KEPT]
    federation.heard.clear()
    federation.run()
    assert federation.log.kept[KEPT] == report
    assert federation.heard == first


def test_without_the_room_the_small_counts_are_heard() -> None:
    """The attack: who opens the sum at the coordinator reads the cells that the report hides."""
    study = CASES["crosstab"].study.model_copy(update={**AT_SITE, "opened_at": "coordinator"})
    federation = Federation(study)
    federation.approvals = {}
    state = federation.run()
    assert state.sums is not None
    cells = next(iter(state.sums.values.values()))
    assert any(0 < cell < 10 for cell in cells.reshape(-1))


def lax(federation: Federation, site: SiteId, identity: Identity) -> None:
    federation.approvals[site] = approval_of(federation.study, site, identity, Disclosure(min_cell=1))


def test_a_coordinator_that_leaves_out_or_rewrites_a_hospitals_rules_gets_nothing() -> None:
    other = study_of("survival")
    stranger = new_identity("south")
    for change in (
        lambda made: made.approvals.update(south=b""),
        lambda made: made.approvals.update(south=b"\x01nonsense"),
        lambda made: made.approvals.update(south=made.approvals["north"]),
        lambda made: lax(made, "south", stranger),
        lambda made: made.approvals.update(
            south=approval_of(other, "south", made.nodes["south"].keys.identity, Disclosure(min_cell=1))
        ),
    ):
        federation = Federation(study_of("crosstab"))
        change(federation)
        with pytest.raises(WireError, match="sites have helped to open round 0, which is too few"):
            federation.run()
        assert not any(isinstance(one, Help) for one in federation.heard)


def test_a_sum_of_another_first_state_is_not_shown() -> None:
    """Asked of another state, the sum might mean something else than what the rules take it for."""
    federation = Federation(study_of("crosstab"))
    first = build_analysis(federation.study)

    class Nudged(type(first)):  # type: ignore[misc]
        def first_arrays(self) -> Mapping[str, Any]:
            return {"nudge": np.ones(1)}

    federation.build = lambda _: Nudged(**fields_of(first))
    with pytest.raises(WireError, match="too few"):
        federation.run()
    assert not any(isinstance(one, Help) for one in federation.heard)


def fields_of(analysis: Analysis) -> dict[str, Any]:
    return {name: getattr(analysis, name) for name in analysis.__dataclass_fields__}  # type: ignore[attr-defined]


def ending(study: Study) -> Analysis:
    """An analysis whose first sum ends the study."""
    first = build_analysis(study)

    class Ending(type(first)):  # type: ignore[misc]
        def objection(self, state: State, sums: Sums, rules_of: Disclosure) -> Text:
            return say("{column}: too few", column="age")

    ended: Analysis = Ending(**fields_of(first))
    return ended


def test_a_sum_that_the_rules_end_a_study_with_ends_it_in_the_same_words() -> None:
    federation = Federation(study_of("crosstab"), ending)
    with pytest.raises(DisclosureError, match="disclosure: age: too few"):
        federation.run()
    assert KEPT not in federation.log.kept


def test_what_cannot_be_opened_at_a_site_is_refused_when_it_is_handed_in() -> None:
    good, glm = study_of("crosstab"), study_of("glm")
    check_handed_in(good)
    for study, words in (
        (good.model_copy(update={"protection": "masks"}), 'under masks no site.*"paillier" or "ckks"'),
        (good.model_copy(update={"privacy": fc.Privacy(epsilon=1.0)}), r"under \[privacy\] noise protects"),
        (glm, "asks for 51 sums"),
    ):
        with pytest.raises(StudyError, match=words):
            check_handed_in(study)
        check_handed_in(study.model_copy(update={"opened_at": "coordinator"}))
    assert good.hash != good.model_copy(update={"opened_at": "coordinator"}).hash
    assert b"opened_at" not in CASES["crosstab"].study.canonical


def test_a_hospital_refuses_studies_whose_exact_sums_the_coordinator_would_see() -> None:
    policy = SitePolicy(id="a", data="a.db", tables={"t": "*"}, coordinator="ws://x", opened_at="site")
    for study, refused in (
        (study_of("crosstab"), False),
        (CASES["crosstab"].study, True),
        (CASES["crosstab"].study.model_copy(update={"privacy": fc.Privacy(epsilon=1.0)}), False),
    ):
        words = [str(one.text) for word, one in rules(policy, study) if word == "opened at" and one]
        assert bool(words) is refused
        assert not words or 'let the study have opened_at = "site", or [privacy]' in words[0]
