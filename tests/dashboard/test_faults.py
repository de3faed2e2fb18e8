"""Whatever is wrong, a page says so in its reader's language: no error that reaches one is left English."""

import re
import sqlite3
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import httpx
import pytest
from pydantic_core._pydantic_core import list_all_errors
from werkzeug import exceptions

import fedcohort as fc
from fedcohort.field_faults import WORDS
from fedcohort.storage.database import remedy_of
from fedcohort.study import parse_study
from fedcohort.texts import say
from fedcohort.texts.look_up import carried, sentences, translated
from tests.texts.templates import HOUSE, Call, calls

from .standin import FIRST_STUDY, StandIn

HAN = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"[A-Za-z]{2,} [a-z]{2,} [a-z]{2,}")
COMMAND = re.compile("`[^`]*`")
ROOMS = ("analyses", "models", "privacy", "protection")
NAMES = {
    "": ("study", "columns", "field_faults", "handed_in", "questions",
         "researcher.inference"),
    "coordinator.": ("api", "approvals", "collect", "inbound", "lifecycle", "opening", "plan",
                     "service", "store", "study_key"),
    "dashboard.federation.": ("app", "drafts", "ownership", "upstream"),
    "dashboard.hospital.": ("datasets", "predictions", "proposals"),
    "dashboard.login.": ("access", "forms", "people_page"),
    "dashboard.shared.": ("application",),
    "node.": ("consent", "ledger", "policy"),
    "sources.catalogue.": ("declared", "declared_columns", "normal_form", "stored_images"),
    "sources.cohort.": ("convert", "patients", "resolve", "select", "values", "where.parse"),
    "storage.": ("database",),
    **{f"{room}.": tuple(one.name.removeprefix(f"fedcohort.{room}.")
                         for one in walk_packages(import_module(f"fedcohort.{room}").__path__,
                                                  f"fedcohort.{room}.")
                         if "worker" not in one.name) for room in ROOMS},
}  # fmt: skip
SAID = {
    str(Path(str(import_module(f"fedcohort.{room}{name}").__file__)).relative_to(HOUSE))
    for room, names in NAMES.items()
    for name in names
}
"""Files whose errors a page may have to tell."""
VALIDATED = {"study.py", "columns.py", "questions.py", "node/policy.py"}
"""Where a ValueError is pydantic's word for a fault; elsewhere it is a mistake of a program."""
NEVER = {
    "WireError": "is logged by the coordinator, which drops the connection",
    "ConfigError": "ends a command before there is a page",
    "KeyFileError": "ends a command or a node's part, which tells its code",
    "TypeError": "is a mistake of a program",
}
MISTAKES = {f"analysis: not {what}" for what in (
    "a training", "an evaluation", "a description", "a private training", "a private evaluation",
    "a private description", "a survival curve", "a comparison", "a correlation", "a Cox regression",
    "a crosstab", "a regression", "an imputation", "quantiles", "a table one", "a validation")}  # fmt: skip
"""Of a program that hands an analysis another's study."""


def messages() -> Iterator[Call]:
    """Errors that a page may have to tell."""
    for one in calls():
        mistake = one.by == "ValueError" and one.module not in VALIDATED
        if one.by != "say" and one.module in SAID and one.by not in NEVER and not mistake:
            yield one


def test_every_error_that_a_page_can_tell_is_chinese() -> None:
    said = {text: one.where for one in messages() for text in one.templates if text not in MISTAKES}
    assert len(said) > 200
    assert {text: where for text, where in said.items() if text not in sentences("zh")} == {}


TEXTS = {"say", "describe_errors", "_unreadable", "missing", "fault", "unknown", "received", "str", "*error"}
"""Where such an error's text is made of a template by something else than the error: these are texts."""


def test_an_error_that_a_page_can_tell_has_a_template() -> None:
    assert {
        (one.where, one.given) for one in messages() if not one.templates and one.given not in TEXTS
    } == set()


def test_every_fault_of_a_studys_field_is_chinese() -> None:
    assert WORDS.keys() - {"path_type"} <= {one["type"] for one in list_all_errors()}
    assert {text for text in WORDS.values() if text not in sentences("zh")} == set()


def test_every_refusal_of_the_web_server_is_chinese() -> None:
    for one in (exceptions.NotFound, exceptions.MethodNotAllowed, exceptions.BadRequest,
                exceptions.RequestEntityTooLarge, exceptions.InternalServerError):  # fmt: skip
        assert str(one.description) in sentences("zh"), one


TRAIN, X = {"kind": "train"}, {"columns": ["x"]}
BAD: list[dict[str, object]] = [
    {},
    {"name": 3},
    {"name": "a", "cohort": 3, "analysis": {}},
    {"name": "a", "cohort": {"columns": []}},
    {"name": "a", "cohort": {"columns": ["x", "x"], "bounds": {"x": [3, 2], "y": [1]}}, "analysis": TRAIN},
    {"name": "a", "cohort": X, "analysis": {"kind": "?"}},
    {"name": "a", "cohort": {**X, "split": {"test": 3}}, "analysis": {**TRAIN, "rounds": -1}},
    {"name": "a", "cohort": X, "analysis": {**TRAIN, "rounds": 1.5, "zzz": 1}},
    {"name": "a", "cohort": X, "analysis": {**TRAIN, "algorithm": "?", "l2": "?"}},
    {"name": "a", "cohort": {"columns": ["x y"]}, "analysis": TRAIN, "privacy": {"epsilon": 0}},
    {"name": "a", "cohort": X, "analysis": TRAIN, "min_sites": "3"},
    {"name": "a", "cohort": {"columns": {"x": {"kind": "?"}, "y": {}, "z": 3}}, "analysis": TRAIN},
    {"name": "a", "cohort": {"columns": {"x": {"kind": "categorical", "levels": [1]}}}, "analysis": TRAIN},
    {"name": "a", "cohort": {**X, "where": 3, "label": {"kind": "binary"}}, "analysis": []},
    {"name": "a" * 5000, "cohort": X, "analysis": TRAIN, "protection": "?"},
]


@pytest.mark.parametrize("given", BAD)
def test_a_draft_that_is_wrong_says_so_in_chinese(given: dict[str, object]) -> None:
    with pytest.raises(fc.StudyError) as refused:
        parse_study(given)
    told = translated(str(refused.value), "zh")
    for line, english in zip(told.split("\n"), str(refused.value).split("\n"), strict=True):
        assert HAN.search(line), english
        assert not ENGLISH.search(COMMAND.sub("", line)), english


def test_what_an_error_names_stays_and_the_field_stands_before_it() -> None:
    with pytest.raises(fc.StudyError) as refused:
        parse_study({"analysis": {"kind": "train", "rounds": -1}, "cohort": {"columns": ["x"]}})
    assert str(refused.value) == "study: name: is missing; write it\nstudy: analysis.rounds: write 1 or more"
    told = translated(str(refused.value), "zh")
    assert told == "study：name：缺少；请写明\nstudy：analysis.rounds：请写不小于 1 的数"
    damaged = fc.FedcohortError("{place}: {what}", place="hospital.db", what=remedy_of(damage()))
    assert translated(str(damaged), "zh") == "hospital.db：已损坏；请从备份恢复"


def damage() -> sqlite3.DatabaseError:
    """As SQLite raises it of a damaged file."""
    error = sqlite3.DatabaseError()
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error


def test_a_page_gets_its_errors_in_its_language(store: StandIn, client: httpx.Client) -> None:
    chinese = {"Accept-Language": "zh-CN"}
    draft = 'name = "a"\n[analysis]\nkind = "train"\nrounds = -1\n'
    told = client.get("/api/draft", params={"toml": draft}, headers=chinese)
    assert told.json()["message"] == "study：cohort：缺少；请写明\nstudy：analysis.rounds：请写不小于 1 的数"
    assert "is missing; write it" in client.get("/api/draft", params={"toml": draft}).json()["message"]
    assert client.get("/api/nothing", headers=chinese).json()["message"].startswith("服务器上没有")
    store.add_study()
    words = "{left} of the {least} sites that the study needs are left{refused}"
    left = say(words, left=2, least=3, refused="")
    store.studies[FIRST_STUDY]["error"] = {"code": "too-few-sites", **carried(left)}
    told = client.get(f"/api/studies/{FIRST_STUDY}", headers=chinese).json()["error"]
    assert (told["code"], told["message"]) == ("too-few-sites", "研究需要 3 个站点，只剩 2 个")
    assert (told["template"], told["values"]) == (words, {"left": 2, "least": 3, "refused": ""})
    assert client.get(f"/api/studies/{FIRST_STUDY}").json()["error"]["message"] == left
    assert client.get("/static/texts/zh.json", headers=chinese).status_code == 200
