"""A patient with data at several hospitals of one study is protected as the study says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Analysis
from fedcohort.coordinator.noise import privacy_report
from fedcohort.errors import PolicyError
from fedcohort.explain import explain
from fedcohort.node.policy import check_study, read_policy
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.events import GaussianRelease
from fedcohort.privacy.plan import plan_noise
from fedcohort.sources.cohort.frame import table_from_frame
from tests.analyses.at_site import contributed, integers, rows_of, state_of

DELTA = 1e-5
COHORT = fc.Cohort(columns={"a": fc.Numeric(0, 1)}, label=fc.Binary("ill"))
ANALYSES: dict[str, Any] = {
    "describe": fc.Describe(),
    "fedsgd": fc.Train.private("logistic", rounds=6),
    "fedavg": fc.Train(model="logistic", rounds=2, batch_size=16),
}
Releases = tuple[GaussianRelease, ...]


def study(kind: str, sites_per_patient: int = 1, **privacy: Any) -> fc.Study:
    words = fc.Privacy(epsilon=1.5, delta=DELTA, sites_per_patient=sites_per_patient, **privacy)
    return fc.Study(name="s", cohort=COHORT, analysis=ANALYSES[kind], privacy=words)


def private(asked: fc.Study) -> Analysis:
    analysis = build_analysis(asked)
    assert analysis.privacy == asked.privacy is not None
    return analysis


def of_two(releases: Releases) -> Releases:
    """Both hospitals' shares of one sum move by the same vector."""
    return tuple(replace(one, sensitivity=2 * one.sensitivity) for one in releases)


def at_one(asked: fc.Study) -> dict[str, float]:
    """By release, how far a patient moves one hospital's part."""
    return {one.what: one.sensitivity for one in plan_noise(asked, private(asked).planned, 3).releases}


@pytest.mark.parametrize("kind", ["describe", pytest.param("fedsgd", marks=pytest.mark.training)])
def test_a_patient_of_two_hospitals_is_promised_less_by_a_study_that_counts_on_one(kind: str) -> None:
    asked = study(kind)
    plan = plan_noise(asked, private(asked).planned, 3)
    assert plan.epsilon <= 1.5
    assert epsilon(of_two(plan.releases), DELTA) == pytest.approx(3.26, abs=0.02)


@pytest.mark.parametrize("kind", ["describe", pytest.param("fedsgd", marks=pytest.mark.training)])
@pytest.mark.parametrize("k", [2, 3])
def test_shared_noise_covers_a_patient_of_as_many_hospitals_as_are_declared(kind: str, k: int) -> None:
    asked = study(kind, k)
    analysis = private(asked)
    plan, once = plan_noise(asked, analysis.planned, 4), at_one(study(kind))
    for release in plan.releases:
        assert release.sensitivity == k * once[release.what]
    assert 1.45 < plan.epsilon == epsilon(plan.releases, DELTA) <= 1.5


@pytest.mark.training
def test_training_at_one_hospital_and_held_out_at_the_other_costs_no_more() -> None:
    plan = plan_noise(study("fedsgd", 2), private(study("fedsgd", 2)).planned, 3)
    half = tuple(replace(one, sensitivity=one.sensitivity / 2, part=None) for one in plan.releases)
    assert {one.part for one in plan.releases} == {"train", "test"}
    assert epsilon(half, DELTA) <= 1.5


@pytest.mark.parametrize("kind", ["describe", pytest.param("fedsgd", marks=pytest.mark.training)])
def test_noise_at_each_site_is_accounted_as_so_many_releases(kind: str) -> None:
    asked, alone = study(kind, 2, noise="site"), study(kind, noise="site")
    plan = plan_noise(asked, private(asked).planned, 3)
    once = plan_noise(alone, private(alone).planned, 3)
    assert [one.count for one in plan.releases] == [2 * one.count for one in once.releases]
    assert [one.sensitivity for one in plan.releases] == [one.sensitivity for one in once.releases]
    assert 1.45 < plan.epsilon == epsilon(plan.releases, DELTA) <= 1.5
    block = plan.releases[0].what
    assert plan.site_sigma(block, 0) == pytest.approx(once.site_sigma(block, 0) * 2**0.5, rel=2e-3)
    assert plan.release(block, 0).count == 2  # what the ledger is charged for one sum


@pytest.mark.training
def test_steps_at_sites_of_different_size_cost_no_more_than_epsilon_together() -> None:
    """Each site samples by a count of its own, so that no two sites' plans are the same."""
    asked = study("fedavg", 2)
    analysis = private(asked)
    plans = [
        plan_noise(asked, analysis.at_site({"patients": np.array([float(n)])}).planned, 3) for n in (40, 4000)
    ]
    own = [tuple(replace(one, count=one.count // 2) for one in plan.releases) for plan in plans]
    assert {one.sampling_probability for one in own[0]} != {one.sampling_probability for one in own[1]}
    for releases in own:
        assert epsilon(releases, DELTA / 2) <= 1.5 / 2
    assert epsilon([replace(one, part=None) for one in (*own[0], *own[1])], DELTA) <= 1.5


@pytest.mark.parametrize("kind", ["describe", pytest.param("fedsgd", marks=pytest.mark.training)])
def test_one_patient_at_two_hospitals_moves_the_opened_integers_by_no_more_than_declared(kind: str) -> None:
    """The noise is left out; a patient whose values are extreme is added at two hospitals at once."""
    asked = study(kind, 2)
    analysis = private(asked)
    draw = np.random.default_rng(1)
    plan = plan_noise(asked, analysis.planned, 3)
    frames = [
        pd.DataFrame({"patient_id": [f"{site}{n}" for n in range(30)], "a": draw.random(30), "ill": n_ill})
        for site, n_ill in (("x", [0, 1] * 15), ("y", [1, 1, 0] * 10))
    ]
    tables = []
    for frame in frames:
        who = pd.DataFrame({"patient_id": ["who"], "a": [9.0], "ill": [1]})
        both = (frame, pd.concat([who, frame], ignore_index=True))
        tables.append([rows_of(analysis, table_from_frame(one, asked.cohort, 0)) for one in both])
    arrays = {"weights": np.array([3.0, -1.0], np.float32), "step": np.array([1])}
    for name in ("moments",) if kind == "describe" else ("count", "train", "evaluate"):
        state = state_of(analysis, name, arrays if name not in ("moments", "count") else {})
        for block in analysis.layout(state):
            moved = np.zeros(block.size)
            for without, with_ in tables:
                one, two = (integers(block, contributed(analysis, rows, state)) for rows in (with_, without))
                moved = moved + (one - two).astype(float)
            assert np.linalg.norm(moved) <= plan.release(block.name, 0).sensitivity


def test_a_study_that_counts_on_one_hospital_keeps_its_hash() -> None:
    assert "sites_per_patient" not in json.loads(study("describe").canonical)["privacy"]
    assert json.loads(study("describe", 2).canonical)["privacy"]["sites_per_patient"] == 2


def test_explain_and_the_report_say_at_how_many_hospitals_a_patient_counts() -> None:
    asked = study("describe")
    assert "A patient counts at one hospital: whoever has data at two of them is promised less." in explain(
        asked
    )
    assert "A patient counts at up to 2 hospitals: the promise holds for" in explain(study("describe", 2))
    told = privacy_report(study("describe", 2), private(study("describe", 2)), 3)
    assert told["sites_per_patient"] == 2
    assert any("up to 2 hospitals" in str(line) for line in told["words"])  # type: ignore[attr-defined]


def test_a_site_that_shares_patients_demands_it_and_its_remedy_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        'id = "a"\ndata = "d.db"\ncoordinator = "wss://c.example:1"\nsites_per_patient = 2\n'
        '[tables]\nrecords = ["a", "ill"]\n'
    )
    policy = read_policy(path)
    with pytest.raises(PolicyError, match=r"let the study have privacy\.sites_per_patient = 2"):
        check_study(policy, study("describe"))
    check_study(policy, study("describe", 2))
    check_study(policy, study("describe", 3))
