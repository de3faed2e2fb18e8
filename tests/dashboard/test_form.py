"""A new study: its TOML as the form is filled, its faults as text, and its way to the coordinator."""

import io
import json
import math
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedcohort.dashboard import Settings
from fedcohort.dashboard.federation.drafts import checked, verdict
from fedcohort.dashboard.federation.upstream import Upstream
from fedcohort.errors import CohortError, PolicyError, SchemaError, StudyError
from fedcohort.node.budgets import Budget
from fedcohort.node.policy import SitePolicy, check_study
from fedcohort.node.published_rules import objections, published_rules
from fedcohort.researcher.rest import Rest
from fedcohort.study import Binary, Train
from fedcohort.versions import RULES
from fedcohort.wire.identity import load_or_create
from tests.processes.support import wards

from .browser import Watched
from .conftest import Serve
from .standin import Running, StandIn

CATALOGUE = {
    "tables": {
        "ward": {
            "columns": {
                "age": {"kind": "numeric", "low": 18, "high": 100},
                "sex": {"kind": "categorical", "levels": ["f", "m"]},
                "ill": {"kind": "categorical", "levels": [0, 1]},
            }
        }
    }
}
DRAFT = """
name = "who is ill?"
[cohort]
table = "ward"
columns = ["age"]
[analysis]
kind = "describe"
"""


def test_a_draft_is_checked_against_what_the_sites_offer() -> None:
    study = checked(DRAFT, {"a": CATALOGUE, "b": CATALOGUE})
    assert (study.name, study.cohort.is_explicit) == ("who is ill?", True)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("name = ", StudyError, "not TOML"),
        ("", StudyError, "analysis.kind"),
        (DRAFT.replace('"describe"', '"evaluate"\nmodel = "/etc"'), StudyError, "analysis.kind"),
        (
            DRAFT.replace('"describe"', '"train"\nmodel = { class_name = "Sequential" }'),
            StudyError,
            "by its name",
        ),
        (DRAFT.replace('["age"]', "[]"), StudyError, "at least one column"),
        (DRAFT.replace('"age"', '"weight"'), SchemaError, "does not offer column weight"),
        (DRAFT.replace('["age"]', '["age"]\nwhere = "age > (select 1)"'), CohortError, "not allowed"),
        ("#" * 12_001, StudyError, "longer than"),
    ],
)
def test_a_draft_with_a_fault_says_which(text: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        checked(text, {"a": CATALOGUE})


def test_the_form_says_units_to_a_coordinator_of_its_own_version_alone(
    store: StandIn, coordinator: Running, serve: Serve, tmp_path: Path
) -> None:
    url = serve(Settings(coordinator.url, researcher_key=tmp_path / "researcher.key"))
    columns = {"age": {"kind": "numeric", "low": 18, "high": 100, "unit": "years"}}
    offer = {"tables": {"ward": {"columns": columns}}}
    store.catalogues = {"a": offer, "b": offer}
    said, hashes = [], []
    for rules in (RULES, None):
        store.rules, store.handed_in = rules, []
        hashes.append(httpx.get(f"{url}api/draft", params={"toml": DRAFT}).json()["hash"])
        httpx.post(f"{url}api/studies", json={"toml": DRAFT}, headers={"Origin": url.rstrip("/")})
        said.append(store.handed_in[0]["study"]["cohort"]["columns"]["age"].get("unit"))
    assert said == ["years", None]
    assert hashes[0] != hashes[1], "what is checked is what is handed in"


def test_a_coordinator_has_time_to_load_what_a_study_needs() -> None:
    waited: dict[str, float] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        waited[request.method] = request.extensions["timeout"]["read"]
        return httpx.Response(200, json={})

    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://coordinator") as client:
        upstream = Upstream(client)
        upstream.get("/api/studies")
        upstream.post("/api/studies", {})
        assert waited == {"GET": 10.0, "POST": 90.0}
        Rest(client).post("/api/studies", {})
        assert waited["POST"] == 120.0


def test_another_pages_request_is_not_signed(coordinator: Running, serve: Serve, tmp_path: Path) -> None:
    url = serve(Settings(coordinator.url, researcher_key=tmp_path / "researcher.key"))
    for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        answer = httpx.post(f"{url}api/studies", json={"toml": DRAFT}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-own-page")


@pytest.mark.browser
def test_of_two_words_the_form_asks_which_counts_as_yes(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    """The hospitals declare them in different orders, so that none of them says."""
    columns = CATALOGUE["tables"]["ward"]["columns"]
    other = {**columns, "sex": {"kind": "categorical", "levels": ["m", "f"]}}
    store.catalogues = {"hospital_a": CATALOGUE, "hospital_b": {"tables": {"ward": {"columns": other}}}}
    watch.page.goto(f"{dashboard}new")
    watch.wait("document.querySelectorAll('#columns input').length === 3")
    watch.page.fill("[name=name]", "who")
    watch.page.check("#columns input[value=age]")
    watch.page.select_option("[name=label]", "ill")
    assert watch.page.is_hidden("#positive")
    assert 'label = "ill"' in watch.text("#toml")
    watch.page.select_option("[name=label]", "sex")
    assert tomllib.loads(watch.text("#toml"))["cohort"]["label"] == {"column": "sex", "positive": "f"}
    watch.page.select_option("[name=positive]", "m")
    assert tomllib.loads(watch.text("#toml"))["cohort"]["label"] == {"column": "sex", "positive": "m"}
    watch.wait("document.querySelector('#verdict-words').textContent.startsWith('This study can')")
    assert watch.text("#verdict-words").startswith("This study can be handed in; its hash begins with ")
    assert watch.page.is_hidden("#verdict-errors")
    study = checked(watch.text("#toml"), dict(store.catalogues))
    assert study.cohort.label == Binary("sex", positive="m", negative="f")


@pytest.mark.browser
def test_the_toml_is_shown_as_the_form_is_filled(store: StandIn, dashboard: str, watch: Watched) -> None:
    store.catalogues = {"hospital_a": CATALOGUE, "hospital_b": CATALOGUE}
    watch.page.goto(f"{dashboard}new")
    watch.wait("document.querySelectorAll('#columns input').length === 3")
    assert watch.text("#catalogue-note") == "Offered by hospital_a, hospital_b."
    watch.wait("document.querySelector('#verdict-errors').textContent.includes('at least one column')")
    name = 'who "is" ill? \\ <b>µ</b>'
    watch.page.fill("[name=name]", name)
    watch.page.check("text=Train a model")
    watch.page.check("#columns input[value=age]")
    watch.page.select_option("[name=label]", "ill")
    watch.page.fill("[name=where]", "age >= 40")
    watch.page.fill("[name=rounds]", "12")
    watch.page.check("[name=private]")
    watch.wait("document.querySelector('#verdict-errors').hidden")
    study = tomllib.loads(watch.text("#toml"))
    assert study["name"] == name
    assert study["cohort"]["columns"] == ["age"]
    assert (study["cohort"]["label"], study["cohort"]["where"]) == ("ill", "age >= 40")
    assert (study["analysis"]["kind"], study["analysis"]["rounds"]) == ("train", 12)
    assert study["privacy"] == {"epsilon": 1.5, "delta": 1e-5}
    assert watch.text("#verdict-words").startswith("This study can be handed in; its hash begins with ")
    with watch.page.expect_download() as found:
        watch.page.click("#save")
    assert tomllib.loads(Path(found.value.path()).read_text("utf-8")) == study
    assert watch.page.locator("#submit").count() == 0, "there is no key to sign with"
    assert watch.complaints == []


@pytest.mark.browser
def test_a_study_of_the_form_runs_at_real_hospitals(serve: Serve, watch: Watched, tmp_path: Path) -> None:
    with wards(tmp_path / "wards", 2) as group:
        key = tmp_path / "researcher.key"
        url = serve(Settings(group.url, token=group.token, researcher_key=key))
        watch.page.goto(f"{url}new")
        watch.wait("document.querySelectorAll('#columns input').length === 4")
        watch.page.fill("[name=name]", "who they are")
        for column in ("age", "sex"):
            watch.page.check(f"#columns input[value={column}]")
        watch.wait("!document.querySelector('#submit').disabled")
        watch.page.click("#submit")
        watch.wait("document.querySelectorAll('#figure-described tbody tr').length === 2")
        assert watch.text("#study-name") == "who they are"
        assert watch.text("#figure-described tbody tr:nth-child(2) td") == "120"
        study_id = httpx.get(f"{url}api/studies").json()["studies"][0]["id"]
        packed = httpx.get(f"{url}api/studies/{study_id}/files").content
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            assert sorted(archive.namelist()) == ["metrics.csv", "report.json", "study.json"]
            assert json.loads(archive.read("report.json"))["study"] == study_id
        handed_in = group.connect().rest.get(f"/api/studies/{study_id}")
        assert handed_in["name"] == "who they are"
        assert load_or_create(key, "researcher").public_key
    assert watch.complaints == []


TAKEN = "document.querySelector('#verdict-words').textContent.startsWith('This study can be handed in')"
CHOICES = """[...document.querySelector('[name=protection]').options]
    .filter((option) => !option.disabled).map((option) => option.value)"""
STRICT = {
    "analyses": ["train"], "protections": ["paillier"], "models": ["logistic"],
    "private_models": ["logistic"], "min_sites": 3, "min_colluders": 2, "max_rounds": 500,
    "privacy_required": True, "sites_per_patient": 2, "max_delta": 1e-6, "patients": {"ward": "sex"},
    "budgets": {"ward": {"epsilon": 1.0, "delta": 1e-6, "least_epsilon": 0.5}},
}  # fmt: skip


@pytest.mark.browser
def test_a_form_offers_nothing_that_every_site_refuses_and_its_study_is_taken(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.catalogues = {site: {**CATALOGUE, "rules": STRICT} for site in ("a", "b", "c")}
    watch.page.goto(f"{dashboard}new")
    watch.wait("document.querySelectorAll('#columns input').length === 3")
    watch.page.fill("[name=name]", "strict")
    watch.page.check("#columns input[value=age]")
    watch.page.select_option("[name=label]", "ill")
    watch.wait(TAKEN)
    study = checked(watch.text("#toml"), store.catalogues)
    assert objections(study, store.catalogues) == {}
    assert (study.protection, study.min_sites, study.colluders, study.cohort.patient_id) == (
        "paillier",
        3,
        2,
        "sex",
    )
    assert study.privacy is not None
    assert (study.privacy.epsilon, study.privacy.delta, study.privacy.sites_per_patient) == (1.0, 1e-6, 2)
    assert watch.page.is_disabled("[name=kind][value=describe]")
    assert watch.page.is_disabled("[name=private]")
    assert watch.page.evaluate(CHOICES) == ["paillier"]
    assert watch.complaints == []


@pytest.mark.browser
def test_a_private_training_of_the_form_takes_what_private_training_needs(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.catalogues = {"a": CATALOGUE, "b": CATALOGUE}
    watch.page.goto(f"{dashboard}new")
    watch.wait("document.querySelectorAll('#columns input').length === 3")
    watch.page.fill("[name=name]", "private")
    watch.page.check("text=Train a model")
    watch.page.check("#columns input[value=age]")
    watch.page.select_option("[name=label]", "ill")
    watch.page.check("[name=private]")
    watch.wait(TAKEN)
    assert checked(watch.text("#toml"), store.catalogues).analysis == Train.private()
    watch.page.uncheck("[name=private]")
    assert checked(watch.text("#toml"), store.catalogues).analysis == Train()


def test_a_site_that_would_refuse_is_named_before_the_study_is_handed_in() -> None:
    lenient = {**CATALOGUE, "rules": {**STRICT, "privacy_required": False, "analyses": ["describe"],
                                      "protections": ["masks"], "min_sites": 1, "min_colluders": 0,
                                      "patients": {}, "budgets": {}}}  # fmt: skip
    catalogues: dict[str, dict[str, Any]] = {
        "a": lenient,
        "b": lenient,
        "c": {**CATALOGUE, "rules": STRICT},
        "old": CATALOGUE,
    }
    study = checked(DRAFT, catalogues)
    found = verdict(study, catalogues)
    assert (found["valid"], found["refused"]) == (True, ["c"])
    remedy = "add it to analyses in site.toml, or ask for another analysis"
    assert found["message"] == f"c: site.toml: analyses does not allow 'describe'; {remedy}"
    few = verdict(study, {"a": lenient, "c": {**CATALOGUE, "rules": STRICT}})
    assert few["valid"] is False, "one of two is left, and the study needs two"
    assert verdict(study, {"a": {**CATALOGUE, "rules": {"analyses": "everything"}}, "b": CATALOGUE})["valid"]


def test_what_a_site_tells_of_its_rules_is_what_it_holds_a_study_to(tmp_path: Path) -> None:
    policy = SitePolicy(
        id="a", data="a.db", tables={"ward": "*", "other": ("x",)}, coordinator="wss://c", state=tmp_path,
        budget={
            "ward": Budget(epsilon=1.0, tables=("ward",)),
            "other": Budget(epsilon=math.inf, tables=("other",)),
        },
        protections=("masks",), patients={"ward": "mrn"},
    )  # fmt: skip
    told = json.loads(json.dumps(published_rules(policy)))
    assert told["budgets"] == {"ward": {"epsilon": 1.0, "delta": 1e-3, "least_epsilon": 0.05}}
    catalogues = {"a": {**CATALOGUE, "rules": told}}
    study = checked(DRAFT, catalogues)
    (words,) = objections(study, catalogues).values()
    with pytest.raises(PolicyError) as refused:
        check_study(policy, study)
    assert words == str(refused.value)
