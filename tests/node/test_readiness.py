"""Readiness: each requirement of a study at a site, on a ward of twenty patients that a person can check."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedcohort.columns import Binary, Categorical, Image, Numeric
from fedcohort.node.budgets import Budget
from fedcohort.node.check import check_node
from fedcohort.node.keys import confirm, make_card
from fedcohort.node.ledger import default_studies
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness import Readiness, check_readiness, proposed_as
from fedcohort.node.readiness_rows import band
from fedcohort.node.records import Reservation
from fedcohort.node.running import open_node
from fedcohort.node.store import SqlNodeStore
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.datasets.mock import make_mock
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows
from fedcohort.storage.database import writing
from fedcohort.study import Cohort, Describe, Privacy, Study, Train
from fedcohort.texts.look_up import translated
from fedcohort.wire.codec import encode
from fedcohort.wire.identity import new_identity

COLUMNS = {
    "age": Declared(Numeric(0, 120), "years"),
    "weight": Declared(Numeric(), "kg"),
    "sex": Declared(Categorical(("f", "m"))),
    "ill": Declared(Categorical((0, 1))),
}
HAN = re.compile(r"[\u4e00-\u9fff]")
MARKER = 77.125
"""An age that stands nowhere else."""

Check = Callable[..., Readiness]


def patient(number: int) -> dict[str, object]:
    return {
        "patient_id": f"p{number}",
        "age": MARKER if number == 0 else 40.0 + number,
        "weight": None if number < 12 else 70.0,
        "sex": "m" if number % 2 else "f",
        "ill": number % 2,
    }


@pytest.fixture
def site(tmp_path: Path) -> SitePolicy:
    path = tmp_path / "ward.db"
    write_rows(path, wide_table("ward", COLUMNS), COLUMNS, [patient(number) for number in range(20)], MADE_UP)
    return SitePolicy.model_validate(
        {
            "id": "a",
            "data": str(path),
            "coordinator": "wss://c",
            "tables": {"ward": "*"},
            "state": tmp_path / "state",
            "roster": tmp_path / "roster",
        }
    )


def study(analysis: Any = None, privacy: Privacy | None = None, **cohort: Any) -> Study:
    columns = {"age": Numeric(18, 90), "sex": Categorical(("f", "m"))}
    made = Cohort(**{"table": "ward", "columns": columns, "label": Binary("ill"), **cohort})
    return Study(name="ward", cohort=made, analysis=analysis or Describe(), privacy=privacy)


def line(found: Readiness, what: str) -> tuple[str, str]:
    (one,) = [one for one in found.lines if one.what == what]
    assert one.verdict == "ready" or one.remedy or "; " in one.found
    return one.verdict, one.found


def test_a_study_that_can_run_is_ready_in_every_line(site: SitePolicy) -> None:
    confirm(site.roster, "b", new_identity("b").public_key)
    found = check_readiness(site, study(Train(model="logistic")))
    assert {one.verdict for one in found.lines} == {"ready"}
    assert found.verdict == "ready"
    assert line(found, "column age") == ("ready", "FLOAT, 0 to 120 years; the study narrows it to 18 to 90")
    assert line(found, "cohort size") == ("ready", "10 patients or more")
    assert line(found, "values of age") == ("ready", "missing: none; outside 18 to 90: none")
    assert line(found, "classes")[0] == "ready"


def test_a_short_study_takes_the_kinds_that_the_site_declares(site: SitePolicy) -> None:
    confirm(site.roster, "b", new_identity("b").public_key)
    found = check_readiness(site, study(columns=["age", "sex"], label="ill"))
    assert found.verdict == "ready"
    assert line(found, "values of age") == ("ready", "missing: none; outside 0 to 120: none")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"analyses": ("describe",)}, "analysis"),
        ({"patients": {"ward": "sex"}}, "patients"),
        ({"min_sites": 9}, "sites"),
        ({"protections": ("paillier",)}, "protection"),
        ({"privacy_required": True}, "privacy"),
        ({"budget": {"ward": Budget(epsilon=1.0)}}, "budget"),
        ({"models": ("mlp_medical",)}, "model"),
        ({"max_rounds": 3}, "rounds"),
        ({"tables": {"other": "*"}}, "table ward"),
        ({"tables": {"ward": ("age", "ill")}}, "column sex"),
        ({"tables": {"ward": ("age", "sex")}}, "label ill"),
        ({"min_patients": 21}, "cohort size"),
    ],
)
def test_what_site_toml_forbids_is_named_with_a_remedy(
    site: SitePolicy, change: dict[str, object], what: str
) -> None:
    found = check_readiness(site.model_copy(update=change), study(Train(model="logistic")))
    assert found.verdict == "not ready"
    assert line(found, what)[0] == "not ready"
    assert "site.toml" in json.dumps(found.document())
    (told,) = [one for one in found.lines if one.what == what]
    assert told.remedy
    assert all(HAN.search(translated(words, "zh")) for words in (told.found, told.remedy))


@pytest.mark.parametrize(
    ("change", "privacy", "what"),
    [
        ({"max_delta": 1e-6}, Privacy(epsilon=1.0), "privacy"),
        ({"noisy_minimum": True}, Privacy(epsilon=1.0), "privacy"),
        ({"sites_per_patient": 2}, Privacy(epsilon=1.0), "privacy"),
        ({"budget": {"ward": Budget(epsilon=1.0)}}, Privacy(epsilon=1.5), "budget"),
        ({"budget": {"ward": Budget(epsilon=9.0, least_epsilon=2.0)}}, Privacy(epsilon=1.5), "budget"),
    ],
)
def test_what_site_toml_forbids_of_a_private_study_is_named_with_a_remedy(
    site: SitePolicy, change: dict[str, object], privacy: Privacy, what: str
) -> None:
    found = check_readiness(site.model_copy(update=change), study(privacy=privacy))
    (told,) = [one for one in found.lines if one.what == what]
    assert told.verdict == "not ready"
    assert "study" in told.remedy or "privacy" in told.remedy
    assert all(HAN.search(translated(words, "zh")) for words in (told.found, told.remedy))


def test_a_private_study_is_held_against_what_others_have_left(site: SitePolicy) -> None:
    policy = site.model_copy(update={"budget": {"ward": Budget(epsilon=2.0)}})
    asked = study(privacy=Privacy(epsilon=1.5))
    assert line(check_readiness(site, asked), "budget")[1] == "site.toml sets none for this table"
    assert line(check_readiness(policy, asked), "budget")[1] == "allowed by site.toml"
    other = Reservation("other", "ward", 1.0, 1e-5)
    assert line(check_readiness(policy, asked), "budget left")[0] == "ready"
    verdict, told = line(check_readiness(policy, asked, [other]), "budget left")
    assert verdict == "not ready"
    assert "1 (delta" in told
    own = Reservation(asked.hash, "ward", 1.5, 1e-5)
    kept = ("ready", "set aside for this study already")
    assert line(check_readiness(policy, asked, [own]), "budget left") == kept
    written = study(columns=["age", "sex"], label="ill", privacy=Privacy(epsilon=1.5))
    assert proposed_as(written, [asked.canonical]) == {asked.hash}
    assert line(check_readiness(policy, written, [own], {asked.hash}), "budget left") == kept


def test_a_study_that_takes_the_whole_delta_is_warned_of(site: SitePolicy) -> None:
    policy = site.model_copy(update={"budget": {"ward": Budget(epsilon=10.0)}})
    assert line(check_readiness(policy, study(privacy=Privacy(epsilon=1.5))), "budget left")[0] == "ready"
    greedy = study(privacy=Privacy(epsilon=1.5, delta=1e-3))
    told = ("warning", "enough is left for this study; no delta is left for another")
    assert line(check_readiness(policy, greedy), "budget left") == told
    others = [Reservation(str(number), "ward", 0.05, 1e-5) for number in range(99)]
    hundredth = check_readiness(policy, study(privacy=Privacy(epsilon=1.5)), others)
    assert line(hundredth, "budget left") == told
    assert (default_studies(1e-3), default_studies(1e-3 - 99e-5), default_studies(9e-6)) == (100, 1, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"columns": ["age"]},
        {"columns": {"age": Numeric(18, 80), "sex": Categorical(("f", "m"))}},
        {"columns": ["age", "sex"], "bounds": {"age": (18, 80)}},
        {"where": "age > 50"},
        {"label": Binary("ill", positive=0, negative=1)},
        {"label": "sick"},
        {"privacy": Privacy(epsilon=1.0)},
    ],
)
def test_another_study_is_not_taken_for_the_one_that_was_proposed(other: dict[str, Any]) -> None:
    proposed = study(privacy=Privacy(epsilon=1.5))
    assert proposed_as(study(**{"privacy": Privacy(epsilon=1.5), **other}), [proposed.canonical]) == set()


@pytest.mark.parametrize(
    ("cohort", "what", "verdict", "told"),
    [
        ({"table": "attic"}, "table attic", "not ready", "does not offer"),
        ({"columns": {"height": Numeric()}}, "column height", "not ready", "has no such column"),
        ({"columns": {"sex": Numeric()}}, "column sex", "not ready", "where the study needs a number"),
        ({"columns": {"age": Numeric(200, 300)}}, "column age", "not ready", "200 to 300"),
        ({"columns": {"sex": Categorical((1, 2))}}, "column sex", "not ready", "none of the site's levels"),
        (
            {"columns": {"weight": Numeric(0, 200)}},
            "column weight",
            "warning",
            " kg; its range is not declared",
        ),
        ({"columns": {"weight": Numeric(0, 200)}}, "values of weight", "warning", "missing: over 50 %"),
        ({"columns": {"age": Numeric(18, 55)}}, "values of age", "warning", "outside 18 to 55: 20 to 50 %"),
        ({"columns": {"age": Numeric(18, 41)}}, "values of age", "not ready", "outside 18 to 41: over 50 %"),
        ({"columns": {"age": Numeric(), "sex": Categorical(("f", "x"))}}, "column sex", "warning", "m"),
        ({"columns": {"age": Numeric(), "sex": Categorical(("f", "x"))}}, "values of sex", "not ready", ""),
        ({"where": "height > 3"}, "where", "not ready", "height"),
        ({"where": "age >= '18'"}, "where", "not ready", "puts a number beside a text"),
        ({"where": "18 <= age <= 65"}, "where", "not ready", "age BETWEEN 18 AND 65"),
        ({"where": "age > 119"}, "cohort", "not ready", "selects nothing"),
        ({"where": "ill = 1"}, "classes", "warning", "no patient of class 0"),
        ({"split": "sex"}, "cohort", "not ready", "train, test or valid"),
        ({"patient_id": "mrn"}, "patients mrn", "not ready", "has no such column"),
    ],
)
def test_what_the_data_lack_is_named(
    site: SitePolicy, cohort: dict[str, Any], what: str, verdict: str, told: str
) -> None:
    found = check_readiness(site, study(**cohort))
    assert line(found, what)[0] == verdict
    assert told in line(found, what)[1]


def test_of_a_small_cohort_nothing_is_told_but_that_it_is_small(site: SitePolicy) -> None:
    found = check_readiness(site, study(where="age > 57"))
    assert line(found, "cohort size") == ("not ready", "fewer than min_patients = 10 patients")
    assert not [one for one in found.lines if one.what.startswith(("values", "classes", "split"))]
    faulty = check_readiness(
        site, study(where="age > 57", columns={"sex": Categorical(("m", "x")), "age": Numeric()})
    )
    assert [one.what for one in faulty.lines if one.verdict == "not ready"] == ["cohort size"]


def test_no_patients_value_is_told(site: SitePolicy) -> None:
    for asked in (study(), study(columns=["age", "weight"]), study(columns={"age": Numeric(0, 50)})):
        told = json.dumps(check_readiness(site, asked).document())
        assert str(MARKER) not in told
        assert "p0" not in told


def test_a_text_among_numbers_is_a_fault_without_the_text(site: SitePolicy) -> None:
    with writing(site.data) as connection:
        connection.exec_driver_sql("UPDATE ward SET age = 'very-secret' WHERE patient_id = 'p3'")
    found = check_readiness(site, study())
    assert line(found, "values of age")[0] == "not ready"
    assert "very-secret" not in json.dumps(found.document())


def test_images_are_held_against_their_declared_size(site: SitePolicy, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    kinds: dict[str, Image | Numeric] = {"scan": Image(4, 6), "age": Numeric(0, 100)}
    path = tmp_path / "scans.db"
    make_mock(path, Cohort(table="ward", columns=kinds, label=Binary("ill")), 30, 0.0, 0)
    policy = site.model_copy(update={"data": str(path)})
    confirm(policy.roster, "b", new_identity("b").public_key)
    found = check_readiness(policy, study(columns=kinds))
    assert found.verdict == "ready"
    assert line(found, "column scan") == ("ready", "images of 4 x 6 x 1")
    other = check_readiness(policy, study(columns={"scan": Image(8, 8)}))
    assert line(other, "column scan") == ("not ready", "4 x 6 x 1, where the study has 8 x 8 x 1")


def test_a_missing_database_is_a_line(site: SitePolicy) -> None:
    found = check_readiness(site.model_copy(update={"data": "nowhere.db"}), study())
    assert found.verdict == "not ready"
    assert "no such database" in line(found, "database")[1]


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "none"), (0.001, "under 5 %"), (0.05, "5 to 20 %"), (0.2, "20 to 50 %"), (0.5, "over 50 %"),
        (0.999, "over 50 %"), (1.0, "all"),
    ],
)  # fmt: skip
def test_shares_are_told_in_bands(share: float, words: str) -> None:
    assert band(share) == words


def start_once(policy: SitePolicy, *, newest_copy: bool = False) -> bool:
    """Start the node and stop it: whether its counter vouches."""
    running = open_node(policy, newest_copy=newest_copy)
    running.store.close()
    running.held.close()
    return running.witnesses.by_counter


@pytest.fixture
def of_two(site: SitePolicy, tmp_path: Path) -> SitePolicy:
    """One of two sites, which have confirmed each other, with a log that has gone on."""
    changes = {"state": tmp_path / "state", "roster": tmp_path / "roster"}
    policy = site.model_copy(update=changes)
    confirm(policy.roster, "b", new_identity("b").public_key)
    start_once(policy)
    with closing(SqlNodeStore(policy.state / "node.db")) as store:
        store.note("before there was a counter")
    return policy


def test_a_protection_wants_the_roster_confirmed_and_says_whose_key_is_missing(site: SitePolicy) -> None:
    few = ("warning", "keys of 0 other sites are confirmed; the study needs 1")
    assert line(check_readiness(site, study()), "roster") == few
    start_once(site)
    other = new_identity("b")
    card = make_card(other, X25519PrivateKey.generate())
    with closing(SqlNodeStore(site.state / "node.db")) as store:
        store.keep_card("b", encode(card))
    assert line(check_readiness(site, study()), "roster") == ("warning", "not confirmed: b")
    open_ = study().model_copy(update={"protection": "none"})
    assert "roster" not in {one.what for one in check_readiness(site, open_).lines}
    assert not next(one for one in check_node(site) if one.what == "roster").ok
    confirm(site.roster, "b", other.public_key)
    assert line(check_readiness(site, study()), "roster")[0] == "ready"
    assert next(one for one in check_node(site) if one.what == "roster").ok


def test_of_two_sites_without_a_counter_a_private_study_is_not_ready_and_the_counter_helps(
    of_two: SitePolicy, tmp_path: Path
) -> None:
    asked = study(privacy=Privacy(epsilon=1.5))
    found = check_readiness(of_two, asked)
    assert found.verdict == "not ready"
    assert line(found, "countersigning") == (
        "not ready", "private studies need countersignatures of 2 other sites; 1 are confirmed"
    )  # fmt: skip
    (told,) = [one for one in found.lines if one.what == "countersigning"]
    assert "set counter in site.toml" in told.remedy
    assert "start the node once with --newest-copy" in told.remedy
    counted = of_two.model_copy(update={"counter": tmp_path / "a.counter"})
    assert not start_once(counted)
    verdict, words = line(check_readiness(counted, asked), "countersigning")
    assert (verdict, words.partition(",")[0]) == (
        "not ready", "the counter in site.toml is missing beside a log that has gone on"
    )  # fmt: skip
    assert start_once(counted, newest_copy=True)
    found = check_readiness(counted, asked)
    assert line(found, "countersigning") == ("ready", "the counter vouches for the ledger")
    assert found.verdict == "ready"
    assert start_once(counted), "once is enough"


def test_of_two_sites_a_third_that_is_confirmed_helps_too(of_two: SitePolicy) -> None:
    asked = study(privacy=Privacy(epsilon=1.5))
    confirm(of_two.roster, "c", new_identity("c").public_key)
    assert line(check_readiness(of_two, asked), "countersigning")[0] == "ready"


def test_the_operator_s_word_without_a_counter_is_a_warning_and_an_exact_study_needs_none(
    of_two: SitePolicy,
) -> None:
    start_once(of_two, newest_copy=True)
    verdict, words = line(check_readiness(of_two, study(privacy=Privacy(epsilon=1.5))), "countersigning")
    assert verdict == "warning"
    assert "until the node is started again without it" in words
    assert "countersigning" not in {one.what for one in check_readiness(of_two, study()).lines}
