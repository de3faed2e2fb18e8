"""What a person sees of an answer that waits: for every kind of question that may wait, of any hospital."""

from functools import partial

import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.disclosure.rules import OPEN, Disclosure
from fedcohort.engines.local import Simulated, simulated_node
from fedcohort.node.airlock import Held
from fedcohort.node.answer import answer
from fedcohort.node.held_answer import as_csv, held_answer
from fedcohort.node.policy import MOST_RELEASES
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Study
from fedcohort.wire.messages import Contribution, Task
from fedcohort.wire.signing import state_digest
from tests.disclosure.small_cells import CASES, HOSPITALS, hospital

SITES = {**HOSPITALS, "tiny": hospital(4, 9), "one": hospital(1, 10)}


def held_of(study: Study, frame: pd.DataFrame) -> Held:
    """The first round's answer of a hospital of three."""
    analysis, federation = build_analysis(study), Simulated()
    load = partial(table_from_frame, frame)
    node = simulated_node(federation, "a", study, lambda cohort, seed, _: load(cohort, seed), analysis)
    for other in ("b", "c"):
        federation.join(other)
    state = analysis.start()
    digest = state_digest(state.phase, 0, state.arrays)
    reply = answer(node, Task(study.hash, 0, 0, state.phase, state.arrays, digest, ("a", "b", "c")))
    assert isinstance(reply, Contribution), reply
    stored = node.store.last(study.hash)
    assert stored is not None
    return Held(stored, stored.integers_sha256, 0, "waiting")


SHOWN = [kind for kind in CASES if kind != "train"]


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", SHOWN)
def test_every_kind_of_answer_is_shown_whole_and_judged_of_any_hospital(kind: str, site: str) -> None:
    study = CASES[kind].study
    held = held_of(study, SITES[site])
    shown = held_answer(study, held, Disclosure())
    assert shown.n_values == sum(block.size for block in build_analysis(study).stages[0].blocks)
    assert len(as_csv(shown).splitlines()) == 1 + shown.n_values
    assert shown.verdicts
    assert all("nan" not in line.found.lower() for line in shown.verdicts)


def test_rules_that_hide_nothing_say_so() -> None:
    study = CASES["crosstab"].study
    (line,) = held_answer(study, held_of(study, HOSPITALS["north"]), OPEN).verdicts
    assert (line.verdict, line.found) == ("ready", "of this hospital alone they would hide nothing here")


def test_a_study_that_is_stricter_than_the_hospital_is_judged_by_its_own_rules() -> None:
    study = CASES["crosstab"].study.model_copy(update={"disclosure": fc.Disclosure(min_cell=200)})
    shown = held_answer(study, held_of(study, HOSPITALS["north"]), Disclosure())
    assert shown.rules.min_cell == 200
    assert any("min_cell = 200" in line.found for line in shown.verdicts)


def test_few_rounds_are_those_of_counting_questions() -> None:
    rounds = {kind: build_analysis(CASES[kind].study).n_rounds for kind in SHOWN}
    asked = {kind for kind, n in rounds.items() if n <= MOST_RELEASES}
    assert asked >= {"describe", "crosstab", "compare", "table_one", "survival", "incidence", "quantiles"}
    assert asked.isdisjoint({"glm", "cox", "weighting", "impute"})
