"""Under privacy no answer depends on how many patients a site has; a test that insists on it is paid for."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.train.stages import TrainAnalysis
from fedcohort.engines.local import FAR_FUTURE, Simulated, run_local
from fedcohort.errors import CohortTooSmallError, FedcohortError, PolicyError
from fedcohort.explain import explain
from fedcohort.node.answer import Node, answer
from fedcohort.node.budgets import Budget
from fedcohort.node.ledger import epsilons, released
from fedcohort.node.policy import SitePolicy, check_study
from fedcohort.node.records import StoredProposal
from fedcohort.node.store import SqlNodeStore
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.plan import plan_noise
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort, Study, Trained
from fedcohort.table import Table
from fedcohort.wire.messages import Approval, Contribution, Event, Message, Task
from fedcohort.wire.signing import state_digest
from tests.build import COLUMNS, TABLE, ward_rows, write_ward

N = 60
FRAME = pd.DataFrame(
    {
        "patient_id": [f"p{i}" for i in range(N)],
        "age": [20.0 + i for i in range(N)],
        "sex": ["f", "m"] * (N // 2),
        "ill": [i % 2 for i in range(N)],
    }
)


def study(analysis: Any = None, where: str | None = None, protection: Any = "none", **privacy: Any) -> Study:
    cohort = fc.Cohort(
        columns={"age": fc.Numeric(18, 90), "sex": fc.Categorical(("f", "m"))},
        label=fc.Binary("ill"),
        where=where,
    )
    promised = fc.Privacy(**{"epsilon": 8.0, "delta": 1e-5, **privacy})
    return fc.Study(
        name="size",
        cohort=cohort,
        analysis=analysis or fc.Describe(),
        privacy=promised,
        protection=protection,
    )


def saved() -> Trained:
    frames = dict.fromkeys("ab", FRAME)
    asked = fc.Study(
        name="model", cohort=study().cohort, analysis=fc.Train(model="logistic", rounds=1), protection="none"
    )
    return fc.simulate(frames).run(asked, progress=False).saved_model


ANALYSES: dict[str, Callable[[], Any]] = {
    "describe": fc.Describe,
    "fedsgd": lambda: fc.Train.private("logistic", rounds=2),
    "fedavg": lambda: fc.Train(model="logistic", algorithm="fedavg", rounds=2),
    "mlp": lambda: fc.Train.private("mlp_medical", rounds=2),
    "evaluate": lambda: fc.Evaluate(model=saved()),
}
NAMES = [pytest.param(name, marks=() if name == "describe" else pytest.mark.training) for name in ANALYSES]


class Site:
    """One hospital with its store on disk."""

    def __init__(self, folder: Path) -> None:
        self.store = SqlNodeStore(folder / "node.db")
        self.keys = Simulated().join("a")

    def node(self, asked: Study, rows: pd.DataFrame = FRAME, **changes: Any) -> Node:
        approval = Approval(asked.hash, "a", approved=True, max_rounds=99, expires_at=FAR_FUTURE)
        self.store.propose(StoredProposal(asked.hash, asked.canonical, "ada", bytes(32), bytes(64)))
        self.store.decide(asked.hash, "approved", b"approved")
        node = Node("a", 10, self.store, self.keys, partial(table_from_frame, rows), lambda _: approval)
        return replace(node, **changes)


def ask(node: Node, asked: Study, number: int = 0) -> Message:
    state = build_analysis(asked).start()
    digest = state_digest(state.phase, number, state.arrays)
    return answer(node, Task(asked.hash, number, 0, state.phase, state.arrays, digest, ("a",)))


def code(told: Message) -> str:
    return told.code if isinstance(told, Event) else "answered"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


@pytest.mark.parametrize("n", [0, 1, 9, 10, N])
def test_a_site_answers_alike_whether_its_cohort_is_small_or_large(site: Site, n: int) -> None:
    """`min_patients` of 10 told without noise, and for nothing, whether a patient is the tenth."""
    asked = study(where=f"age < {20 + n}")
    told = ask(site.node(asked), asked)
    assert isinstance(told, Contribution)
    assert len(site.store.costs()) == 1


@pytest.mark.training
@pytest.mark.parametrize("name", ["fedsgd", "fedavg"])
@pytest.mark.parametrize("lines", [0, 1, N - 1, N, N + 1])
def test_a_mean_of_as_many_lines_as_there_are_patients_is_answered_as_any_other(
    site: Site, name: str, lines: int
) -> None:
    """It would fit their rows and no other number of them: a coordinator would count patients exactly."""
    asked = study(ANALYSES[name]())
    analysis = build_analysis(asked)
    node = site.node(asked)
    assert isinstance(ask(node, asked), Contribution)
    assert isinstance(analysis, TrainAnalysis)
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "weights": np.zeros(analysis.subject.model.n_weights, np.float32),
        "mean": np.zeros((lines, 1)),
        "deviation": np.ones((lines, 1)),
        "step": np.array([0]),
    }
    task = Task(asked.hash, 1, 0, "train", arrays, state_digest("train", 1, arrays), ("a",))
    assert code(answer(node, task)) == "answered"


@pytest.mark.training
@pytest.mark.parametrize("lines", [0, 1, N - 1, N, N + 1])
def test_without_privacy_a_mean_of_lines_is_refused_however_many_they_are(site: Site, lines: int) -> None:
    asked = study(fc.Train(model="logistic", rounds=1)).model_copy(update={"privacy": None})
    analysis = build_analysis(asked)
    assert isinstance(analysis, TrainAnalysis)
    arrays = {"weights": np.zeros(analysis.subject.model.n_weights, np.float32), "step": np.array([0])}
    arrays |= {"rows": np.array([N]), "mean": np.zeros((lines, 1)), "deviation": np.ones((lines, 1))}
    task = Task(asked.hash, 1, 0, "train", arrays, state_digest("train", 1, arrays), ("a",))
    assert code(answer(site.node(asked), task)) == "message-invalid"


@pytest.mark.training
def test_steps_before_a_site_s_count_are_refused_and_not_charged(site: Site) -> None:
    asked = study(ANALYSES["fedavg"]())
    analysis = build_analysis(asked)
    assert isinstance(analysis, TrainAnalysis)
    arrays = {"weights": np.zeros(analysis.subject.model.n_weights, np.float32)}
    task = Task(asked.hash, 1, 0, "train", arrays, state_digest("train", 1, arrays), ("a",))
    node = site.node(asked)
    assert code(answer(node, task)) == "message-invalid"
    assert (site.store.costs(), site.store.last(asked.hash)) == ([], None)
    assert isinstance(ask(node, asked), Contribution)
    assert isinstance(answer(node, task), Contribution)


@pytest.mark.parametrize("name", NAMES)
def test_a_site_with_nobody_contributes_its_own_true_sum_of_nobody(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the noise off, a hospital of nobody beside others changes no bit of what they find."""
    monkeypatch.setattr(
        "fedcohort.node.noise.discrete_gaussian", lambda sigma, size: np.zeros(size, np.int64)
    )
    asked = study(ANALYSES[name](), protection="masks")
    frames = {"a": FRAME, "b": FRAME.assign(patient_id=[f"q{i}" for i in range(N)]), "c": FRAME.iloc[:0]}
    loaders = {site: partial(table_from_frame, frame) for site, frame in frames.items()}
    found = run_local(asked, loaders, lambda _: None)
    if name == "describe":
        assert found.report["patients"] == 2 * N
    if name == "fedsgd":  # the others draw samples or dropout anew
        alone = run_local(asked, {site: loaders[site] for site in "ab"}, lambda _: None)
        np.testing.assert_array_equal(found.state.arrays["weights"], alone.state.arrays["weights"])


@pytest.mark.parametrize("where", ["age > 200", "age < 0 AND sex = 'f'"])
def test_a_database_that_selects_nobody_is_a_table_without_rows(tmp_path: Path, where: str) -> None:
    database = write_ward(tmp_path / "ward.db", ward_rows(0))
    columns: dict[str, Any] = {"age": fc.Numeric(18, 100), "sex": fc.Categorical(("f", "m"))}
    cohort = Cohort(table=TABLE, columns=columns, label=fc.Binary("ill"), where=where)
    offered = {TABLE: list(COLUMNS)}
    table = load_cohort(database, cohort, 0, offered, private=True)
    assert (table.n_rows, table.n_patients) == (0, 0)
    whole = load_cohort(database, cohort.model_copy(update={"where": None}), 0, offered, private=True)
    assert {name: one.dtype for name, one in table.columns.items()} == {
        name: one.dtype for name, one in whole.columns.items()
    }
    with pytest.raises(FedcohortError, match="nothing"):
        load_cohort(database, cohort, 0, offered)


@pytest.mark.parametrize("name", NAMES)
def test_a_study_of_too_few_ends_in_words_on_its_noisy_count(name: str) -> None:
    asked = study(ANALYSES[name](), where="age > 200", protection="masks", epsilon=1000.0)
    loaders = {site: partial(table_from_frame, FRAME) for site in "abc"}
    with pytest.raises(
        CohortTooSmallError, match=r"by its noisy count the cohort has \d+ patients .* is paid for"
    ):
        run_local(asked, loaders, lambda _: None)


def test_without_privacy_a_small_cohort_is_still_refused(site: Site) -> None:
    asked = study(where="age < 29").model_copy(update={"privacy": None})
    assert code(ask(site.node(asked), asked)) == "cohort-too-small"


# --- a site that insists on a test


def keeping(where: str | None, share: float = 0.05) -> Study:
    return study(where=where, cohort_test=share)


def test_a_site_that_insists_on_a_test_draws_it_once_stores_it_first_and_charges_it(site: Site) -> None:
    asked = keeping("age < 22", share=0.2)
    node = site.node(asked, noisy_minimum=True, min_patients=50)
    assert [code(ask(node, asked)) for _ in range(3)] == ["cohort-too-small"] * 3
    assert [event["kind"] for event in site.store.events()].count("cohort-test") == 1
    (cost,) = site.store.costs()
    (one,) = released(cost)
    assert (one.what, one.count) == ("cohort-test", 1)
    assert epsilons(cost)[0] <= 0.2 * 8.0
    again = replace(node, prepared={}, studies={})
    assert code(ask(again, asked)) == "cohort-too-small", "as after a restart"
    assert site.store.verify() == len(site.store.events())


def test_a_cohort_that_passes_the_test_is_answered_and_both_are_charged(site: Site) -> None:
    asked = keeping(None)
    assert code(ask(site.node(asked, noisy_minimum=True), asked)) == "answered"
    (cost,) = site.store.costs()
    assert {one.what for one in released(cost)} > {"cohort-test", "patients"}
    assert epsilons(cost)[0] <= 8.0


def test_the_outcome_of_the_test_is_drawn_with_its_own_noise(site: Site) -> None:
    """A cohort of exactly `min_patients` passes about as often as not: nobody learns which side it is on."""
    outcomes = []
    for number in range(24):
        asked = keeping("age < 30", share=0.2).model_copy(update={"name": f"test {number}"})
        outcomes.append(code(ask(site.node(asked, noisy_minimum=True), asked)))
    assert set(outcomes) == {"answered", "cohort-too-small"}


@pytest.mark.training
def test_the_study_s_epsilon_holds_with_the_test_and_all_else() -> None:
    for changes in (
        {},
        {"noise": "site"},
        {"sites_per_patient": 2},
        {"sites_per_patient": 2, "noise": "site"},
    ):
        for analysis in (fc.Describe(), fc.Train.private("logistic", rounds=5)):
            asked = study(analysis, protection="masks", cohort_test=0.1, epsilon=1.5, **changes)
            planned = build_analysis(asked).planned
            plan = plan_noise(asked, planned, 5)
            assert plan.test is not None
            assert plan.test in plan.releases
            assert plan.test.count == changes.get("sites_per_patient", 1)
            assert epsilon([plan.test], 0.1e-5) <= 0.15
            assert epsilon([one for one in plan.releases if one != plan.test], 0.9e-5) <= 1.35
            assert plan.epsilon <= 1.5
            bare = plan_noise(asked.model_copy(update={"privacy": asked.privacy.model_copy(  # type: ignore[union-attr]
                update={"cohort_test": 0.0})}), planned, 5)  # fmt: skip
            assert bare.test is None
            assert all(plan.sigmas[name] > bare.sigmas[name] for name in plan.sigmas)


def test_a_budget_that_was_lowered_holds_for_the_test_too(site: Site) -> None:
    lowered = SitePolicy(
        id="a", data="a.db", tables={"records": "*"}, coordinator="ws://x", protections=("none",),
        budget={"all": Budget(epsilon=10.0)},
    )  # fmt: skip
    first, second = study(), keeping(None)
    allow = partial(check_study, lowered)
    assert code(ask(site.node(first, allow=allow), first)) == "answered"
    assert code(ask(site.node(second, noisy_minimum=True, allow=allow), second)) == "budget-exhausted"
    assert [cost.study_hash for cost in site.store.costs()] == [first.hash]
    assert site.store.tested(second.hash) is None


def test_a_site_that_insists_on_a_test_refuses_a_study_that_keeps_nothing_for_it() -> None:
    policy = SitePolicy(
        id="a", data="a.db", tables={"records": "*"}, coordinator="ws://x", protections=("none",),
        noisy_minimum=True,
    )  # fmt: skip
    with pytest.raises(PolicyError, match=r"privacy\.cohort_test = 0\.05 or more"):
        check_study(policy, study())
    check_study(policy, keeping(None))
    check_study(policy, study().model_copy(update={"privacy": None}))
    assert "5% of epsilon is kept for that" in explain(keeping(None))
    assert "kept for that" not in explain(study())


def test_a_study_without_a_test_keeps_the_hash_that_ed08848_gave_it() -> None:
    assert b"cohort_test" not in study().canonical
    assert b"cohort_test" in keeping(None).canonical


# --- reasons


class Broken(Exception):
    """A fault of a library that shows itself for one patient's value."""


@pytest.mark.parametrize("private", [True, False])
def test_reasons_that_depend_on_data_share_one_code_under_privacy(site: Site, private: bool) -> None:
    from fedcohort.errors import EmptyCohortError, SaturationError, ValueRangeError

    told = set()
    for number, error in enumerate(
        (ValueRangeError("age: 200"), SaturationError("sum"), Broken("p7"), MemoryError())
    ):

        def load(cohort: Cohort, seed: int, of_private: bool, error: Exception = error) -> Table:
            raise error

        asked = study().model_copy(update={"name": f"study {number}"})
        asked = asked if private else asked.model_copy(update={"privacy": None})
        told.add(code(ask(site.node(asked, load=load), asked)))
    assert told == ({"reason-withheld"} if private else {"value-out-of-range", "saturation", "internal"})
    assert EmptyCohortError.code == "cohort-too-small"


def test_reasons_that_do_not_depend_on_data_keep_their_code(site: Site) -> None:
    from fedcohort.errors import SchemaError, StoreError

    told = []
    for number, error in enumerate(
        (SchemaError("no column"), StoreError("locked"), PolicyError("not offered"))
    ):

        def load(cohort: Cohort, seed: int, of_private: bool, error: Exception = error) -> Table:
            raise error

        asked = study().model_copy(update={"name": f"study {number}"})
        told.append(code(ask(site.node(asked, load=load), asked)))
    assert told == ["schema-mismatch", "store", "policy-refused"]
