"""Whatever is wrong, a page says so in its reader's language: no error that reaches one is left English."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

import httpx
import pytest
from pydantic_core._pydantic_core import list_all_errors
from werkzeug import exceptions

import fedcohort as fc
from fedcohort.dashboard.shared import explained as module
from fedcohort.dashboard.shared.explained import fault
from fedcohort.field_faults import WORDS
from fedcohort.storage import database
from fedcohort.study import parse_study

from .standin import FIRST_STUDY, StandIn

BOOK: dict[str, str] = json.loads(
    (Path(str(module.__file__)).parent / "faults_zh.json").read_text(encoding="utf-8")
)
HAN = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"[A-Za-z]{2,} [a-z]{2,} [a-z]{2,}")
COMMAND = re.compile("`[^`]*`")
PLACES = re.compile(r"\{(\w+)(?::\w+)?\}")
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
SAID = [import_module(f"fedcohort.{room}{name}") for room, names in NAMES.items() for name in names]
"""Modules whose errors a page may have to tell."""
VALIDATED = {import_module(f"fedcohort.{name}") for name in ("study", "columns", "questions", "node.policy")}
"""Where a ValueError is pydantic's word for a fault; elsewhere it is a mistake of a program."""
NEVER = {
    "WireError": "is logged by the coordinator, which drops the connection",
    "ConfigError": "ends a command before there is a page",
    "KeyFileError": "ends a command or a node's part, which tells its code",
    "TypeError": "is a mistake of a program",
}
MISTAKES = {f"analysis: not {what}" for what in (
    "a training", "an evaluation", "a description", "a private training", "a private evaluation",
    "a private description")}  # fmt: skip
"""Of a program that hands an analysis another's study."""


def texts(node: ast.expr | None) -> Iterator[str]:
    """The texts that an expression may give, with numbers and names in its places."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in values)
        case ast.BinOp(left=left, right=right):
            ends = list(texts(right)) or [""]
            yield from (first + last for first in texts(left) for last in ends)
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body)
            yield from texts(orelse)
        case ast.BoolOp(values=values):
            for value in values:
                yield from texts(value)


def messages(of: ModuleType) -> set[str]:
    """What a module may say to a page: messages of errors, and of answers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(of))):
        if isinstance(node, ast.Return):
            found |= {text for text in texts(node.value) if len(re.findall("[a-z]{2,}", text)) > 5}
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        mistake = name == "ValueError" and of not in VALIDATED
        if name.endswith("Error") and name not in NEVER and not mistake:
            found |= {text for one in node.args[:1] for text in texts(one)}
        elif name in ("_refused", "_denied", "waiting", "_waiting"):
            found |= {text for one in node.args for text in texts(one)}
        elif name == "set_state":
            found |= {text for one in node.args[3:] for text in texts(one)}
        found |= {text for one in node.keywords if one.arg == "message" for text in texts(one.value)}
    return found


def english(message: str) -> bool:
    """Whether some of it was left as it is."""
    told = fault(message, "zh")
    return not HAN.search(told) or bool(ENGLISH.search(COMMAND.sub("", told)))


def test_every_error_that_a_page_can_tell_is_chinese() -> None:
    said = {text for one in SAID for text in messages(one) if re.search("[a-z]", text) and " " in text}
    said -= MISTAKES
    assert len(said) > 100
    assert {text for text in said if english(text)} == set()


def test_every_fault_of_a_database_is_chinese() -> None:
    by_engine = (database.SQLITE_REMEDIES, database.SQLSTATE_REMEDIES, database.DUCKDB_REMEDIES)
    said = [database.SERVER_GONE, *(words for one in by_engine for words in one.values())]
    assert len(said) > 20
    assert {one for one in said if english(f"hospital.db: {one}")} == set()


def test_every_fault_of_a_studys_field_is_chinese() -> None:
    assert WORDS.keys() - {"path_type"} <= {one["type"] for one in list_all_errors()}
    for text in WORDS.values():
        assert not english(re.sub(r"\{\w+\}", "7", text)), text


def test_every_refusal_of_the_web_server_is_chinese() -> None:
    for one in (exceptions.NotFound, exceptions.MethodNotAllowed, exceptions.BadRequest,
                exceptions.RequestEntityTooLarge, exceptions.InternalServerError):  # fmt: skip
        assert not english(str(one.description)), one


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
    for line in str(refused.value).split("\n"):
        assert not english(line), line


def test_what_an_error_names_stays_and_the_field_stands_before_it() -> None:
    told = fault("study: analysis.rounds: write 1 or more\nstudy: name: is missing; write it", "zh")
    assert told == "study：analysis.rounds：请写不小于 1 的数\nstudy：name：缺少；请写明"
    assert fault("study: name: is missing; write it", "en") == "study: name: is missing; write it"
    assert (
        fault("hospital.db: is damaged; restore it from a backup", "zh")
        == "hospital.db：已损坏；请从备份恢复"
    )


def test_every_translation_keeps_its_values_and_is_of_something_that_is_said() -> None:
    trees = [ast.parse(inspect.getsource(one)) for one in SAID]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr)]
    said = "\n".join(text for node in nodes for text in texts(node))
    said += "\n".join(str(one.description) for one in exceptions.default_exceptions.values())
    said += "Keys should be strings"
    said += "Did not attempt to load JSON data because the request Content-Type was not 'application/json'."
    never: list[tuple[str, str]] = []
    for text, chinese in BOOK.items():
        assert set(PLACES.findall(chinese)) <= set(PLACES.findall(text)), text
        assert HAN.search(chinese)
        pieces = [piece for piece in re.split(r"\{[\w:]+\}", text) if len(piece.split()) > 2]
        never += [(text, piece) for piece in pieces if piece.strip(" :;,'") not in said]
    assert not never, "\n".join(f"{text} | {piece}" for text, piece in never)


def test_a_page_gets_its_errors_in_its_language(store: StandIn, client: httpx.Client) -> None:
    chinese = {"Accept-Language": "zh-CN"}
    draft = 'name = "a"\n[analysis]\nkind = "train"\nrounds = -1\n'
    told = client.get("/api/draft", params={"toml": draft}, headers=chinese)
    assert told.json()["message"] == "study：cohort：缺少；请写明\nstudy：analysis.rounds：请写不小于 1 的数"
    assert "is missing; write it" in client.get("/api/draft", params={"toml": draft}).json()["message"]
    assert client.get("/api/nothing", headers=chinese).json()["message"].startswith("服务器上没有")
    store.add_study()
    left = "2 of the 3 sites that the study needs are left"
    store.studies[FIRST_STUDY]["error"] = {"code": "too-few-sites", "message": left}
    told = client.get(f"/api/studies/{FIRST_STUDY}", headers=chinese)
    assert told.json()["error"] == {"code": "too-few-sites", "message": "研究需要 3 个站点，只剩 2 个"}
    assert client.get(f"/api/studies/{FIRST_STUDY}").json()["error"]["message"] == left
    assert client.get("/static/texts/zh.json", headers=chinese).status_code == 200
