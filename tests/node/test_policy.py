"""site.toml: what a hospital writes is what holds, and every mistake names its file and field."""

from pathlib import Path
from typing import Any

import pytest

from fedcohort.errors import ConfigError, PolicyError, SchemaError, StudyError
from fedcohort.handed_in import check_handed_in
from fedcohort.node.policy import SitePolicy, check_study, read_policy
from fedcohort.study import (
    Binary,
    Categorical,
    Cohort,
    Describe,
    Evaluate,
    Holdout,
    Numeric,
    Privacy,
    SavedModel,
    Study,
    Train,
)

GOOD = """
id = "st-marys"
data = "hospital.db"
coordinator = "wss://coordinator.example:8760"
[tables]
ward = ["age", "sex", "ill"]
notes = "*"
"""


def site_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def study(analysis: Any = None, protection: Any = "masks", **cohort: Any) -> Study:
    columns = {"age": Numeric(18, 90), "sex": Categorical(("f", "m"))}
    made = Cohort(**{"table": "ward", "columns": columns, "label": Binary("ill"), **cohort})
    return Study(name="ward", cohort=made, analysis=analysis or Describe(), protection=protection)


def policy(tmp_path: Path, more: str = "") -> SitePolicy:
    return read_policy(site_file(tmp_path, more + GOOD))


def test_a_person_is_asked_unless_the_site_says_otherwise(tmp_path: Path) -> None:
    read = policy(tmp_path)
    assert (read.approval, read.min_patients, read.approval_days) == ("ask", 10, 30)
    assert (read.data, read.state) == (str(tmp_path / "hospital.db"), tmp_path / "state")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('id = "st-marys"', "", "id: is missing; write it"),
        ('id = "st-marys"', 'id = "a b"', "id: "),
        ('id = "st-marys"', 'id = "../up"', "id: "),
        ("[tables]", 'aproval = "auto"\n[tables]', "aproval"),
        ("[tables]", 'approval = "maybe"\n[tables]', "approval"),
        ("[tables]", "min_patients = 0\n[tables]", "min_patients"),
        ("[tables]", 'min_patients = "10"\n[tables]', "min_patients"),
        ("[tables]", 'analyses = ["guess"]\n[tables]', "analyses"),
        ("[tables]", 'models = ["gpt"]\n[tables]', "models"),
        ("[tables]", "[listen]\nport = 1\n[tables]", "either coordinator"),
        ('coordinator = "wss://coordinator.example:8760"', "", "either coordinator"),
        ('ward = ["age", "sex", "ill"]\nnotes = "*"', "", "tables"),
        ('notes = "*"', "notes = 3", "tables.notes"),
        (
            "[tables]",
            '[budget.w]\nepsilon = 1.0\ntables = ["wrad"]\n[tables]',
            "budget.w.tables: no table wrad",
        ),
        (
            "[tables]",
            '[budget.w]\nepsilon = 1.0\ntables = ["ward"]\n[tables]',
            "notes of [tables] is in no group",
        ),
        (
            "[tables]",
            '[budget.w]\nepsilon = 1.0\ntables = ["ward", "notes"]\n[budget.n]\nepsilon = 1.0\n'
            'tables = ["notes"]\n[tables]',
            "notes is in w and n; a table is in one group",
        ),
        ("[tables]", '[patients]\nwrad = "mrn"\n[tables]', "patients.wrad: no such table in [tables]"),
        ("[tables]", "[tables", "not TOML"),
    ],
)
def test_a_mistake_names_file_and_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = site_file(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"site\.toml") as error:
        read_policy(path)
    assert says in str(error.value)


def test_a_study_within_the_policy_passes(tmp_path: Path) -> None:
    check_study(policy(tmp_path), study())
    check_study(policy(tmp_path), study(Train(model="logistic", rounds=3), split=Holdout(0.2)))
    check_study(policy(tmp_path), study(table="notes"))


@pytest.mark.parametrize(
    ("more", "asked", "error", "says"),
    [
        ('analyses = ["train"]', study(), PolicyError, "analyses does not allow 'describe'"),
        ('models = ["logistic"]', study(Train(model="mlp_medical")), PolicyError, "models does not allow"),
        ('models = ["logistic"]', study(Train(model={"class_name": "Sequential"})), PolicyError, "'own'"),
        ("max_rounds = 4", study(Train(model="logistic", rounds=3)), PolicyError, "max_rounds 4"),
        ("privacy_required = true", study(), PolicyError, "privacy_required"),
        ('protections = ["ckks"]', study(), PolicyError, "protections does not allow 'masks'"),
        ("", study(protection="none"), PolicyError, "protections does not allow 'none'"),
        ("", study(table="pharmacy"), SchemaError, "tables does not offer 'pharmacy'"),
        ("", study(columns={"weight": Numeric(0, 300)}), SchemaError, "does not offer weight"),
        ("", study(label=Binary("dead")), SchemaError, "does not offer dead"),
        ("", study(split="set"), SchemaError, "does not offer set"),
        ("", study(columns=("age",)), StudyError, "name each column's kind"),
    ],
    ids=["analysis", "model", "own model", "rounds", "privacy", "protection", "none", "table", "column",
         "label", "split", "kinds"],
)  # fmt: skip
def test_what_a_site_does_not_offer_is_refused_by_the_word_that_forbids_it(
    tmp_path: Path, more: str, asked: Study, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as refused:
        check_study(policy(tmp_path, more + "\n"), asked)
    assert says in str(refused.value)
    told, _, remedy = str(refused.value).rpartition("; ")
    if error is not StudyError:
        assert told.startswith("site.toml: ")
        assert "in site.toml" in remedy or "out of site.toml" in remedy, "what to do, in the node's log too"


OWN = {"class_name": "Sequential"}
PRIVACY = Privacy(epsilon=1.0, delta=1e-5)
SAVED = SavedModel(model=OWN, weights="", mean=(), deviation=())


def asked(analysis: Any = None, **changes: Any) -> Study:
    return study(analysis).model_copy(update=changes)


@pytest.mark.parametrize(
    ("more", "which", "says"),
    [
        ("min_sites = 3", asked(), "min_sites is 3, and the study has min_sites = 2"),
        ("min_colluders = 2", asked(), "min_colluders is 2, and the study has colluders = 1"),
        ("", asked(Train(model=OWN), privacy=PRIVACY), "private_models does not allow 'own'; add it"),
        ("", asked(Evaluate(model=SAVED), privacy=PRIVACY), "private_models does not allow 'own'"),
        ('models = ["logistic"]', asked(Evaluate(model=SAVED)), "models does not allow 'own'"),
    ],
)  # fmt: skip
def test_a_site_s_minima_hold_for_every_study(tmp_path: Path, more: str, which: Study, says: str) -> None:
    with pytest.raises(PolicyError) as refused:
        check_study(policy(tmp_path, more + "\n"), which)
    assert says in str(refused.value)


def test_what_reaches_a_site_s_minima_passes(tmp_path: Path) -> None:
    strict = policy(tmp_path, 'min_sites = 3\nmin_colluders = 2\nprivate_models = ["own"]\n')
    check_study(strict, asked(min_sites=3, colluders=2))
    check_study(strict, asked(Train(model=OWN), min_sites=4, colluders=3, privacy=PRIVACY))
    check_study(policy(tmp_path), asked(Train(model=OWN)))


@pytest.mark.parametrize("protection", ["masks", "paillier", "ckks"])
def test_one_site_s_vector_is_not_opened_under_a_protection(protection: str) -> None:
    with pytest.raises(StudyError, match="a sum of one site is that hospital's vector"):
        check_handed_in(asked(min_sites=1, protection=protection))
    check_handed_in(asked(min_sites=2, protection=protection))
    check_handed_in(asked(min_sites=1, protection="none"))


def test_no_study_chooses_what_a_patient_is(tmp_path: Path) -> None:
    """By `stay_id` one patient of many stays would be a large cohort, hidden by the noise of one stay."""
    by_stay = study(patient_id="stay_id")
    with pytest.raises(PolicyError, match="patients of ward are told apart by patient_id, not by stay_id"):
        check_study(policy(tmp_path), by_stay)
    declared = policy(tmp_path).model_copy(update={"patients": {"ward": "mrn"}})
    check_study(declared, study(patient_id="mrn"))
    for asked in (study(), by_stay):
        with pytest.raises(PolicyError, match="told apart by mrn"):
            check_study(declared, asked)


def test_site_toml_says_by_which_column_patients_are_told_apart(tmp_path: Path) -> None:
    read = read_policy(site_file(tmp_path, GOOD + '[patients]\nward = "mrn"\n'))
    assert read.patients == {"ward": "mrn"}
