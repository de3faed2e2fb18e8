"""A privacy that cannot be had is refused through every door, before anything is computed, in plain words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.engines.local import Simulated, run_nodes, simulated_node
from fedcohort.errors import ConfigError, FedcohortError, StudyError
from fedcohort.node.budgets import Budget
from fedcohort.node.consent import LocalSite, receive_proposal
from fedcohort.node.policy import SitePolicy
from fedcohort.node.store import SqlNodeStore
from fedcohort.quickstart.config import read_config
from fedcohort.researcher.client import load_study
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Study, parse_study
from fedcohort.wire.identity import new_identity
from fedcohort.wire.messages import Approval, Proposal
from fedcohort.wire.signing import study_signing_bytes

EPSILONS = {"zero": "0.0", "negative": "-1.5", "infinite": "1e999", "no number": "NaN", "a word": '"much"'}
"""As JSON writes them."""
TOML = {"1e999": "inf", "NaN": "nan"}
WORDS = r"must be a number from 1e-06 to 10,000, such as 1\.5: the smaller, the less the results can say"


def study(columns: dict[str, fc.Numeric | fc.Categorical] | None = None, **privacy: Any) -> Study:
    cohort = fc.Cohort(columns=columns or {"age": fc.Numeric(18, 90)}, label=fc.Binary("ill"))
    promised = fc.Privacy(**{"epsilon": 1.5, **privacy})
    return fc.Study(name="x", cohort=cohort, analysis=fc.Train.private(rounds=2), privacy=promised)


def altered(value: str) -> bytes:
    """A study as another program might send it, with a value that is written so."""
    raw = json.loads(study().canonical)
    raw["privacy"]["epsilon"] = "@"
    return json.dumps(raw).replace('"@"', value).encode()


def frame(n: int = 30, name: str = "p") -> pd.DataFrame:
    ids = [f"{name}{index}" for index in range(n)]
    return pd.DataFrame({"patient_id": ids, "age": np.linspace(20, 80, n), "ill": np.arange(n) % 2})


@contextmanager
def site(folder: Path, **changes: Any) -> Iterator[LocalSite]:
    policy = SitePolicy(
        id="a", data="a.db", tables={"records": "*"}, coordinator="ws://127.0.0.1:1", state=folder,
        approval="auto", **changes,
    )  # fmt: skip
    store = SqlNodeStore(folder / "node.db")
    yield LocalSite(policy, new_identity("a"), store)
    store.close()


def propose(at: LocalSite, text: bytes) -> Approval:
    researcher = new_identity("ada")
    signature = researcher.sign(study_signing_bytes(text))
    reply = receive_proposal(at, Proposal(text, "ada", researcher.public_key, signature))
    assert isinstance(reply, Approval)
    return reply


@pytest.mark.parametrize("value", EPSILONS.values(), ids=EPSILONS)
def test_an_epsilon_that_promises_nothing_is_refused_in_python_and_json(value: str) -> None:
    with pytest.raises(StudyError, match=f"^privacy: epsilon: {WORDS}"):
        fc.Privacy(epsilon=json.loads(value))
    with pytest.raises(StudyError, match=f"^study: privacy.epsilon: {WORDS}"):
        parse_study(altered(value))


@pytest.mark.parametrize("value", EPSILONS.values(), ids=EPSILONS)
def test_it_is_refused_in_toml_by_file_and_field(value: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'name = "x"\n[cohort]\ncolumns = ["age"]\nlabel = "ill"\n'
        f'[analysis]\nkind = "train"\n[privacy]\nepsilon = {TOML.get(value, value)}\n'
    )
    with pytest.raises(StudyError, match=f"study.toml: privacy.epsilon: {WORDS}"):
        load_study(path)


@pytest.mark.parametrize("value", EPSILONS.values(), ids=EPSILONS)
def test_it_is_refused_in_a_flat_configuration(value: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    worker = {"id": "a", "host": "localhost", "port": 8777, "data": "a.db"}
    flat = {"workers": [worker], "model": "logistic", "epochs": 1, "batch_size": 1, "dp_epsilon": "@"}
    path.write_text(json.dumps(flat).replace('"@"', value))
    with pytest.raises(ConfigError, match=f"config.json: dp_epsilon: {WORDS}"):
        read_config(path)


@pytest.mark.parametrize("value", EPSILONS.values(), ids=EPSILONS)
def test_a_hospital_refuses_it_whatever_the_researcher_s_program_let_pass(value: str, tmp_path: Path) -> None:
    with site(tmp_path) as at:
        reply = propose(at, altered(value))
        assert (reply.approved, reply.code) == (False, "study-invalid")
        assert isinstance(at.store, SqlNodeStore)
        assert (at.store.reservations(), at.store.costs()) == ([], [])


@pytest.mark.parametrize("epsilon", [1e-300, 1e300])
def test_an_epsilon_beyond_what_can_be_computed_or_means_anything_is_refused(epsilon: float) -> None:
    with pytest.raises(StudyError, match=WORDS):
        fc.Privacy(epsilon=epsilon)


def test_missing_bounds_are_named_wherever_they_are_found_missing(tmp_path: Path) -> None:
    said = "privacy needs declared bounds for age, such as the clinical range"
    with pytest.raises(StudyError, match=said):
        study({"age": fc.Numeric(), "bp": fc.Numeric(80, 200)})
    short = fc.Study(
        name="x",
        cohort=fc.Cohort(columns=["age"], label=fc.Binary("ill")),
        analysis=fc.Train.private(rounds=2),
        privacy=fc.Privacy(epsilon=1.5),
    )
    with pytest.raises(StudyError, match=said):
        fc.simulate({"a": frame(), "b": frame(name="q")}).run(short, progress=False)
    raw = json.loads(study().canonical)
    raw["cohort"]["columns"]["age"] = {"kind": "numeric"}
    with site(tmp_path) as at:
        assert propose(at, json.dumps(raw).encode()).code == "study-invalid"


@pytest.mark.training
def test_a_private_study_over_too_few_patients_of_one_site_is_answered_and_pays() -> None:
    """A refusal would tell without noise, and for nothing, whether a patient is the tenth."""
    asked, federation = study(), Simulated()
    analysis = build_analysis(asked)
    nodes = [
        simulated_node(federation, name, asked, partial(table_from_frame, frame(n, name)), analysis, least)
        for name, n, least in (("a", 9, 10), ("b", 60, 10))
    ]
    run_nodes(asked, analysis, nodes, lambda _: None)
    assert nodes[0].store.cost(asked.hash) is not None
    assert nodes[0].store.cost(asked.hash) == nodes[1].store.cost(asked.hash)


def test_a_study_that_asks_for_more_than_is_left_is_told_what_is_left_before_anything_is_computed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with site(tmp_path, budget={"records": Budget(epsilon=2.0, delta=1e-3)}) as at:
        assert propose(at, study().canonical).approved
        refused = study(epsilon=0.6)
        assert propose(at, refused.canonical).code == "budget-exhausted"
        assert "asks for epsilon 0.6 (delta 1e-05), and 0.5 (delta 0.00099) of 2 is left" in caplog.text
        assert at.store.cost(refused.hash) is None


@pytest.mark.parametrize("epsilon", [-0.1, 0.0, float("-inf"), float("nan")])
def test_a_hospital_s_own_budget_must_be_a_number_too(epsilon: float) -> None:
    with pytest.raises(FedcohortError, match="epsilon"):
        Budget(epsilon=epsilon)
