"""Without a protection the coordinator sees a site's own vector: the site judges it by the rules first."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.told_alone import told_by_leverage, two_dominate
from fedcohort.disclosure.rules import OPEN, Disclosure
from fedcohort.node.answer import Node, answer
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Binary, Categorical, Cohort, Numeric, Study
from fedcohort.table import Table
from fedcohort.wire.messages import Contribution, Event
from tests.node.test_answer import Bench, task

N = 60
FRAME = pd.DataFrame({
    "patient_id": [f"p{place:02d}" for place in range(N)],
    "age": np.linspace(30.0, 80.0, N),
    "rare": (np.arange(N) == 17).astype(float),
    "salary": np.where(np.arange(N) == 17, 91_250.0, 10.0),
    "ward": np.repeat(["east", "west"], N // 2),
    "ill": np.tile([0, 1], N // 2),
})  # fmt: skip
AGE, RARE, SALARY = Numeric(0, 120), Numeric(0, 1), Numeric(0, 200_000)
WARD = Categorical(("east", "west"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for store in made.stores:
        store.close()


def load(frame: pd.DataFrame, cohort: Cohort, seed: int, private: bool) -> Table:
    return table_from_frame(frame, cohort, seed, private)


def study(question: Any, columns: dict[str, Any], protection: str = "none", **more: Any) -> Study:
    cohort = Cohort(columns=columns, label=Binary("ill"), split=None)
    return Study(name="alone", cohort=cohort, analysis=question, protection=protection, **more)


def answered(bench: Bench, one: Study, rules: Disclosure, frame: pd.DataFrame = FRAME) -> str:
    """What the coordinator reads: a contribution, or a code."""
    node: Node = replace(bench.approved(one), load=partial(load, frame), rules=rules)
    reply = answer(node, task(one))
    if isinstance(reply, Contribution):
        return "contribution"
    assert isinstance(reply, Event)
    return reply.code


@pytest.mark.parametrize(
    ("question", "columns"),
    [
        (fc.Describe(), {"rare": RARE}),
        (fc.Describe(), {"salary": SALARY}),
        (fc.TableOne(by="ward"), {"ward": WARD, "salary": SALARY}),
        (fc.Compare("rare", by="ward"), {"ward": WARD, "rare": RARE}),
        (fc.GLM("ill ~ age + rare"), {"age": AGE, "rare": RARE}),
        (fc.Correlation(), {"age": AGE, "rare": RARE}),
        (fc.Train(model="logistic"), {"age": Numeric(), "rare": Numeric()}),
    ],
)
def test_an_attack_on_a_visible_vector_succeeds_without_the_rules_and_is_refused_with_them(
    bench: Bench, question: Any, columns: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Sums of a column that isolates one patient are that patient's value, at whichever hospital."""
    one = study(question, columns)
    with caplog.at_level(logging.WARNING):
        assert answered(bench, one, Disclosure()) == "disclosure"
    assert "of this site's patients alone" in caplog.text
    assert answered(bench, one, OPEN) == "contribution"


def test_a_patient_whom_only_two_columns_together_single_out_is_not_shown(bench: Bench) -> None:
    """The difference of the two is 1 of one patient, and 0 of all others but for what is measured badly."""
    draw = np.random.default_rng(3)
    first = draw.normal(size=N)
    second = first + draw.normal(scale=0.01, size=N) + 0.5 * (np.arange(N) == 17)
    frame = FRAME.assign(first=first, second=second, days=draw.exponential(900.0, N))
    columns = {"first": Numeric(-9, 9), "second": Numeric(-9, 9)}
    by_one, by_both = fc.GLM("ill ~ first"), fc.GLM("ill ~ first + second")
    assert answered(bench, study(by_one, columns), Disclosure(), frame) == "contribution"
    assert answered(bench, study(by_both, columns), Disclosure(), frame) == "disclosure"
    assert answered(bench, study(by_both, columns), Disclosure(min_cell=1), frame) == "contribution"
    for words in ({}, {"pieces": [300, 900], "strata": "none"}):
        cox = fc.Cox("first + second", **words)
        cohort = Cohort(columns=columns, label=fc.Survival("days", "ill"), split=None)
        one = Study(name=f"cox {words}", cohort=cohort, analysis=cox, protection="none")
        assert answered(bench, one, Disclosure(), frame) == "disclosure"


@pytest.mark.parametrize(
    ("shares", "told"),
    [([0.5, 0.4, 0.1], True), ([0.5, 0.3, 0.2], False), ([0.8, 0.04, 0.06, 0.1], True), ([1.0], True)],
)
def test_two_patients_may_not_have_most_of_a_whole(shares: list[float], told: bool) -> None:
    assert two_dominate(np.array(shares), Disclosure()) is told


def test_leverage_is_that_of_the_hat_matrix_and_a_column_that_repeats_another_changes_nothing() -> None:
    draw = np.random.default_rng(1)
    x = np.column_stack([np.ones(40), draw.normal(size=(40, 2))])
    assert told_by_leverage(x, Disclosure()) is None
    x[5, 1:] = 50.0, -50.0
    hat = np.diag(x @ np.linalg.inv(x.T @ x) @ x.T)
    assert hat[5] > 0.9
    assert told_by_leverage(x, Disclosure()) is not None
    assert told_by_leverage(np.column_stack([x, x[:, 1]]), Disclosure()) is not None
    weights = np.where(np.arange(40) == 5, 0.0, 2.0)
    assert told_by_leverage(x, Disclosure(), weights) is None


def test_what_no_patient_stands_out_of_is_answered(bench: Bench) -> None:
    columns = {"age": AGE, "ward": WARD}
    for question in (
        fc.Describe(),
        fc.TableOne(by="ward"),
        fc.Compare("age", by="ward"),
        fc.GLM("ill ~ age"),
    ):
        assert answered(bench, study(question, columns), Disclosure()) == "contribution"


def test_a_studys_own_rules_count_where_they_are_stricter(bench: Bench) -> None:
    one = study(fc.GLM("ill ~ age"), {"age": AGE}, disclosure=Disclosure(min_dof=100))
    assert answered(bench, one, Disclosure()) == "disclosure"


def test_what_nobody_sees_is_not_judged_alone(bench: Bench) -> None:
    """Under masks the code of a refusal would tell what the coordinator does not see."""
    one = study(fc.Describe(), {"rare": RARE}, protection="masks")
    assert answered(bench, one, Disclosure()) != "disclosure"
