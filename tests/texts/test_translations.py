"""What the program says stands in every language: no sentence that a page may show is left English."""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from werkzeug import exceptions

from fedcohort.texts.look_up import HERE, PAGES, languages, sentences

from .templates import HOUSE, Call, calls, names, places

OTHERS = [language for language in languages() if language != "en"]
FILES = [path for path in sorted(HERE.glob("*/*.json")) if path.name != PAGES]
HAN = re.compile(r"[\u4e00-\u9fff]")
SIGNS = {
    "; ", "{place}: {what}", "{place}: {field}: {what}", "{what}: {why}", "{against}; {remedy}",
    "cohort.{why}", "analysis.{name}: {why}", "{type}, {range}{unit}",
}  # fmt: skip
"""No words."""
OWN_LETTERS = {"AUC"}


def said() -> list[Call]:
    """Every call of `say`; of errors it is enough that those are translated which a page can tell."""
    passing_on = ("errors.py", "texts/__init__.py")
    return [one for one in calls() if one.by == "say" and one.module not in passing_on]


@pytest.mark.parametrize("language", OTHERS)
def test_every_template_is_translated(language: str) -> None:
    book = sentences(language)
    assert len(said()) > 250
    assert [one for one in said() if not one.templates] == []
    assert {text: one.where for one in said() for text in one.templates if text not in book} == {}


def test_every_template_gets_a_value_for_each_of_its_places() -> None:
    for one in calls():
        if one.names:
            asked = [names(text) for text in one.templates]
            assert all(each <= one.names for each in asked), one
            assert set().union(*asked) == one.names, one


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_places_of_its_template(language: str) -> None:
    filled = {text for one in calls() for text in one.templates if one.names != frozenset()}
    wrong = {
        text: told
        for text, told in sentences(language).items()
        if text in filled and set(places(text)) != set(places(told))
    }
    assert wrong == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_template_is_translated_twice(path: Path) -> None:
    pairs = [pair for one in FILES if one.parent == path.parent for pair in _pairs(one)]
    assert [text for text, count in Counter(text for text, _ in pairs).items() if count > 1] == []


def _pairs(path: Path) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = json.loads(path.read_text("utf-8"), object_pairs_hook=list)
    return pairs


def test_every_chinese_sentence_is_chinese() -> None:
    assert {text for text, told in sentences("zh").items() if not HAN.search(told)} <= SIGNS | OWN_LETTERS


@pytest.mark.parametrize("language", OTHERS)
def test_no_translation_is_left_over(language: str) -> None:
    whole = {text for one in calls() for text in one.templates}
    constants = {text for path in HOUSE.rglob("*.py") for text in constants_of(path)}
    pages = {str(one.description) for one in exceptions.default_exceptions.values()}
    assert set(sentences(language)) - whole - constants - pages == OF_LIBRARIES


OF_LIBRARIES = {
    "Keys should be strings",
    "Did not attempt to load JSON data because the request Content-Type was not 'application/json'.",
}
"""What pydantic and Flask say themselves."""


def constants_of(path: Path) -> set[str]:
    """Every text of a module."""
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
