"""Under every protection processes give the bits that a simulation gives."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedcohort.explain import protection_words
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.protection.words import WORDS
from fedcohort.researcher.result import Result
from fedcohort.study import Evaluate
from tests.build import describe_study, protected_by, train_study, with_units
from tests.processes.support import Group, comparable, simulate_wards, wards

from . import pads

pytestmark = pytest.mark.processes
ALL = (*PROTECTIONS, pads.NAME)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    policy, folder = f"protections = {json.dumps(ALL)}\n", tmp_path_factory.mktemp("engine")
    with wards(folder, preload=True, policy=policy, program=pads.PROGRAM) as running:
        yield running


@pytest.fixture(autouse=True)
def fifth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protection of the tests, in this process as in the others."""
    monkeypatch.setitem(PROTECTIONS, pads.NAME, pads.PADS)
    monkeypatch.setitem(WORDS, pads.NAME, pads.PAD_WORDS)


def bits(result: Result) -> dict[str, Any]:
    """All that a result holds, but for the words that say how it was protected."""
    found = comparable(result)
    del found["report"]["protection"]
    return found


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return bits(simulate_wards(with_units(describe_study("engines describe", protection="none"))))


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    return bits(simulate_wards(train_study("engines train", rounds=3, protection="none")))


@pytest.fixture(scope="module")
def model() -> Result:
    return simulate_wards(train_study("engines evaluate this", rounds=1, protection="none"))


@pytest.mark.parametrize("protection", ALL)
def test_both_engines_describe_to_the_bit_alike(
    group: Group, described: dict[str, Any], protection: str
) -> None:
    study = describe_study("engines describe", **protected_by(protection))
    live, simulated = group.run(study), simulate_wards(with_units(study))
    assert bits(live) == bits(simulated) == described
    said = {"kind": protection, "words": protection_words(study, 3)}
    assert live.report["protection"] == simulated.report["protection"] == said


@pytest.mark.parametrize("protection", ALL)
def test_both_engines_evaluate_to_the_bit_alike(group: Group, model: Result, protection: str) -> None:
    asked = Evaluate(model=model, importance=False)
    studies = [
        train_study("engines evaluate", rounds=1, analysis=asked, **protected_by(kind))
        for kind in (protection, "none")
    ]
    hidden, plain = (bits(simulate_wards(study)) for study in studies)
    assert bits(group.run(studies[0])) == hidden == plain
    assert 0 < plain["report"]["test"]["auc"] < 1


@pytest.mark.parametrize("protection", ALL)
def test_both_engines_train_to_the_bit_alike(group: Group, trained: dict[str, Any], protection: str) -> None:
    study = train_study("engines train", rounds=3, **protected_by(protection))
    live, simulated = bits(group.run(study)), bits(simulate_wards(study))
    assert live["arrays"] == simulated["arrays"] == trained["arrays"]
    assert live == simulated == trained


def test_the_same_study_again_is_the_same_study(group: Group, tmp_path: Path) -> None:
    study = describe_study("engines describe")
    first, second = group.connect().submit(study), group.connect().submit(study)
    assert first.id == second.id
    assert first.wait(progress=False).report == second.wait(progress=False).report


def test_a_round_s_time_is_split_and_its_bytes_are_counted_by_site(group: Group) -> None:
    handle = group.connect().submit(train_study("split and counted", rounds=3))
    rows = handle.wait(progress=False).rows
    parts = [f"{part}_seconds" for part in ("compute", "seal", "network", "open")]
    for row in rows:
        assert all(row[part] > 0 for part in parts)
        assert sum(row[part] for part in parts) <= row["seconds"]
    sites = group.connect().rest.get(f"/api/studies/{handle.id}")["sites"]
    assert {site["id"] for site in sites} == set("abc")
    for site in sites:
        assert min(site["bytes_to"], site["bytes_from"]) > 1000
