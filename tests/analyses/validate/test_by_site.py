"""Validation by hospital: figures of each that lets them be told, and of all patients together."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.disclosing import Control
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.disclosure.rules import Disclosure, read_rules, rules_text, tells_by_site
from fedcohort.engines.local import Simulated, run_nodes, simulated_node
from fedcohort.errors import StudyError, WireError
from fedcohort.explain import explain
from fedcohort.handed_in import check_handed_in
from fedcohort.researcher.client import explicit
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Study, parse_study
from fedcohort.texts.look_up import page_texts
from fedcohort.wire.messages import Approval
from tests.analyses.validate.test_validate import COLUMNS, SCORE, THRESHOLDS, made_up

Json = Mapping[str, Any]
SIZES = {"east": 150, "north": 120, "south": 90, "west": 40}


def hospitals(**changes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    frames = {site: made_up(n, seed) for seed, (site, n) in enumerate(SIZES.items())}
    return {**frames, **changes}


def asked(protection: str = "masks", **words: Any) -> Study:
    cohort = fc.Cohort(columns=COLUMNS, label=fc.Binary("ill"))
    question = fc.Validate(SCORE, **{"thresholds": THRESHOLDS, "by": "site", **words})
    return fc.Study(name="by hospital", cohort=cohort, analysis=question, protection=protection)


def told(frames: Mapping[str, pd.DataFrame], tells: Mapping[str, bool], rules: Disclosure | None) -> Json:
    """The groups of a report, of hospitals that let figures of themselves be told or do not."""
    study = explicit(asked(), fc.simulate(frames).catalogue())
    analysis, federation, nodes = build_analysis(study), Simulated(), []
    for site, frame in frames.items():
        node = simulated_node(federation, site, study, partial(load, frame), analysis)
        text = rules_text(Disclosure(), by_site=tells.get(site, True))
        approval = replace(node.read_approval(b""), disclosure=text)
        nodes.append(replace(node, read_approval=partial(said, approval)))
    control = Control(Disclosure() if rules is None else rules, enforced=rules is not None)
    report: Any = run_nodes(study, analysis, nodes, lambda _: None, control).report
    groups: Json = report["validate"]["groups"]
    return groups


def load(frame: pd.DataFrame, cohort: fc.Cohort, seed: int, private: bool) -> Any:
    return table_from_frame(frame, cohort, seed, private)


def said(approval: Approval, _: bytes) -> Approval:
    return approval


def n_of(groups: Json) -> dict[str, int | None]:
    return {name: group["n"] for name, group in groups.items()}


@pytest.mark.parametrize("protection", ["none", "masks"])
def test_each_hospital_finds_what_it_would_find_alone(protection: str) -> None:
    frames = hospitals()
    report = fc.simulate(frames).run(asked(protection), progress=False).report
    assert list(report["validate"]["groups"]) == [*SIZES, "all"]
    for site, frame in frames.items():
        alone = fc.simulate({"a": frame.iloc[::2], "b": frame.iloc[1::2]})
        alone_report = alone.run(asked(protection, by=None), progress=False).report
        assert report["validate"]["groups"][site] == alone_report["validate"]["groups"]["all"]
    together = fc.simulate(frames).run(asked(protection, by=None), progress=False).report
    assert report["validate"]["groups"]["all"] == together["validate"]["groups"]["all"]
    assert report["validate"]["differences"]["auc"]["degrees"] == 3


def test_patients_of_a_hospital_that_tells_nothing_count_in_all_only() -> None:
    groups = told(hospitals(), {"east": False, "north": False}, Disclosure())
    assert n_of(groups) == {"east": None, "north": None, "south": 90, "west": 40, "all": 400}
    assert groups["all"]["auc"] is not None


def test_an_attack_on_the_one_that_tells_nothing_succeeds_without_the_rules_and_fails_with_them() -> None:
    """All patients less those of the hospitals that are told are those of the one that is not."""
    without = n_of(told(hospitals(), {"east": False}, None))
    known = [without[site] for site in ("north", "south", "west")]
    assert without["all"] == 400
    assert 400 - sum(n or 0 for n in known) == SIZES["east"]
    groups = n_of(told(hospitals(), {"east": False}, Disclosure()))
    assert groups == {"east": None, "north": 120, "south": 90, "west": None, "all": 400}


def test_a_hospital_with_few_of_an_outcome_is_not_told_nor_left_by_the_others() -> None:
    few = made_up(60, 7).assign(ill=np.repeat([1, 0], [4, 56]))
    groups = n_of(told(hospitals(west=few), {}, Disclosure()))
    assert groups["west"] is None
    assert groups["all"] == 420
    assert sum(n is None for n in groups.values()) == 2


def test_of_two_hospitals_neither_is_told_where_one_tells_nothing() -> None:
    frames = {site: frame for site, frame in hospitals().items() if site in ("east", "north")}
    groups = n_of(told(frames, {"east": False}, Disclosure()))
    assert groups == {"east": None, "north": None, "all": 270}


def test_a_hospital_that_was_not_named_counts_in_all_only() -> None:
    report = fc.simulate(hospitals()).run(asked(sites=["east", "west"]), progress=False).report
    assert n_of(report["validate"]["groups"]) == {"east": 150, "west": 40, "all": 400}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_table_and_explanation_say_what_is_not_told(language: str) -> None:
    simulation = fc.simulate(hospitals(), disclosure=Disclosure())
    result = simulation.run(asked(), progress=False)
    assert list(result.table.index) == [*SIZES, "all"]
    few = made_up(60, 7).assign(ill=np.repeat([1, 0], [4, 56]))
    hidden = fc.simulate(hospitals(west=few), disclosure=Disclosure()).run(asked(), progress=False)
    texts = page_texts(language)
    ended = Finished({"study": hidden.study.model_dump(mode="json")}, hidden.report, [], "0")
    page = repr(results(ended, texts))
    assert texts["validate.not_told"].format(site="west") in page
    assert texts["validate.not_told"].format(site="east") not in page
    explained = [explain(result.study, by_site=word, language=language) for word in (None, True, False)]
    assert len(set(explained)) == 3
    assert all("east, north, south, west" in text and "by_site" in text for text in explained)


def test_an_approval_carries_the_word_beside_its_rules() -> None:
    strict = Disclosure(min_cell=20)
    for rules in (Disclosure(), strict):
        text = rules_text(rules, by_site=True)
        assert read_rules(text) == rules
        assert tells_by_site(text)
        assert not tells_by_site(rules_text(rules))
    assert rules_text(Disclosure()) == ""
    with pytest.raises(WireError):
        read_rules('{"by_site": 1}')
    with pytest.raises(WireError):
        tells_by_site("{")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"by": "sex", "sites": ["a"]}, 'sites: they go with by = "site"'),
        ({"sites": ["a", "a"]}, "name each hospital once"),
        ({"sites": ["all"]}, "none that is called all"),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        asked(**words)


def test_by_hospital_is_refused_under_privacy_and_beside_a_column_of_that_name() -> None:
    with pytest.raises(StudyError, match="not told under"):
        fc.Study(**{**dict(asked()), "privacy": fc.Privacy(epsilon=1.0)})
    columns = {**COLUMNS, "site": fc.Categorical(["x", "y"])}
    cohort = fc.Cohort(columns=columns, label=fc.Binary("ill"))
    with pytest.raises(StudyError, match="the cohort has a column site"):
        fc.Study(name="v", cohort=cohort, analysis=fc.Validate(SCORE, by="site", sites=["a"]))
    by_column = fc.Study(name="v", cohort=cohort, analysis=fc.Validate(SCORE, by="site"))
    assert by_column.analysis.at_hospitals(by_column, ["a"]) == by_column.analysis


def test_a_study_that_names_no_hospital_is_read_and_not_handed_in() -> None:
    study = parse_study(asked().canonical)
    with pytest.raises(StudyError, match=r"analysis\.sites: by = \"site\" asks of each hospital"):
        check_handed_in(study)
    assert "sites" not in asked().model_dump(mode="json")["analysis"]
