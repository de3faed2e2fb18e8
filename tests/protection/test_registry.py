"""A protection is one record and its words: nothing else in the program asks for its name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedcohort
from fedcohort.dashboard.shared.texts import LANGUAGES
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.protection.words import WORDS
from fedcohort.texts.look_up import page_texts

HOUSE = Path(fedcohort.__file__).parent
OTHER_WORDS = {"site", "strata"}
"""Of a question, which may be "none", as a protection may."""


def constants(node: ast.expr) -> Iterator[object]:
    """What is compared: a constant, or those inside a tuple, list or set."""
    match node:
        case ast.Constant(value=value):
            yield value
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            for part in parts:
                yield from constants(part)


def compared(tree: ast.AST) -> Iterator[tuple[int, object]]:
    """Every constant that a value is compared with, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and ast.unparse(node.left).rpartition(".")[2] not in OTHER_WORDS:
            found = [one for side in (node.left, *node.comparators) for one in constants(side)]
            yield from ((node.lineno, one) for one in found)
        elif isinstance(node, ast.MatchValue):
            yield from ((node.lineno, one) for one in constants(node.value))


def asked_by_name(source: str) -> list[int]:
    return [line for line, constant in compared(ast.parse(source)) if constant in PROTECTIONS]


@pytest.mark.parametrize(
    "source",
    [
        'if study.protection == "masks": pass',
        'hidden = "none" != study.protection',
        'keyed = study.protection in ("paillier", "ckks")',
        'keyed = study.protection not in {"masks"}',
        'match study.protection:\n    case "ckks" | "paillier": pass',
    ],
)
def test_a_question_for_a_protections_name_is_found(source: str) -> None:
    assert asked_by_name(source)


def test_no_code_asks_for_a_protections_name() -> None:
    places = {
        str(path.relative_to(HOUSE)): lines
        for path in sorted(HOUSE.rglob("*.py"))
        if (lines := asked_by_name(path.read_text(encoding="utf-8")))
    }
    assert places == {}, "make it an attribute of protection.contract.Protection or protection.words.Words"


def test_every_protection_has_its_words() -> None:
    assert list(PROTECTIONS) == list(WORDS)
    for name, protection in PROTECTIONS.items():
        words = WORDS[name]
        assert words.hides == (protection.opening is not None) == (protection.seal is not None)
        assert bool(words.rests_on) == words.hides
        assert protection.setup is not None or not words.sized_key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_protection_has_its_texts_on_the_pages(language: str) -> None:
    texts = page_texts(language)
    assert [
        name for name in WORDS if not (texts.get(f"protection.{name}") and texts.get(f"protected.{name}"))
    ] == []
