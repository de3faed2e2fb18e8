"""Every remedy that an error of the work rooms prints is obeyed by a test, or has a reason why not.

A new text with a remedy makes this fail until a row of tests/test_remedies_of_*.py obeys it, or
tests/remedies_obeyed_work.py names the test that does.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .remedies import PLACE, errors_said
from .remedies_obeyed_work import ELSEWHERE, FACTS, OBEYED, ROOMS

HERE = Path(__file__).parent
WORK = ("fetch", "work", "nodes", "pages", "models", "formulas", "ranks", "regressions")
TABLES = [HERE / f"test_remedies_of_{name}.py" for name in WORK]
VERBS = (
    "approve ask begin call cancel change check choose clean clear compare confirm convert correct declare "
    "define do drop enable end exclude forget give import install invite keep leave let load lower make name "
    "open penalise pip put raise read reduce remove rename reset restart restore run save say see send set "
    "settle sign start stop submit take unset update upgrade use widen write"
)
REMEDY = re.compile(
    rf"(?:^|[;:,.(] |\b(?:or|and|then|file) )(?:{VERBS.replace(' ', '|')})\b"
    r"|; |`fedcohort|such as|\b(?:must|needs?|needed)\b"
)
SAYS = {"Row", "Lacks", "refusal", "told", "refused"}
"""Calls of the tables whose first argument is the text that is obeyed."""


def remedies() -> dict[str, str]:
    """Every text of an error that says what to do, and where it stands."""
    found = {}
    for one in errors_said():
        if re.split(r"[/.]", one.where)[0] in ROOMS and REMEDY.search(one.text):
            found[one.text.replace(PLACE, "{}")] = one.where
    return found


def obeyed_in_tables() -> Iterator[str]:
    """What the tables of rows obey, read from their syntax trees."""
    for path in TABLES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in SAYS:
                continue
            if node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def covered(piece: str, texts: dict[str, str]) -> set[str]:
    """The texts that a piece is of: it alone where it is a whole one."""
    return {piece} if piece in texts else {text for text in texts if piece in text}


def pieces() -> list[str]:
    return [*obeyed_in_tables(), *(one for told in OBEYED.values() for one in told), *ELSEWHERE, *FACTS]


def test_every_remedy_is_obeyed_once_or_has_a_reason() -> None:
    texts = remedies()
    assert len(texts) > 200
    done = {text for piece in pieces() for text in covered(piece, texts)}
    assert {where: text for text, where in texts.items() if text not in done} == {}


def test_every_piece_is_of_one_text() -> None:
    """A piece that two texts have would let the second go without a test."""
    texts = remedies()
    assert {piece: covered(piece, texts) for piece in pieces() if len(covered(piece, texts)) != 1} == {}


def test_every_test_that_is_named_is_there_and_knows_the_words() -> None:
    texts = remedies()
    for name, told in OBEYED.items():
        path, _, test = name.partition("::")
        source = (HERE / path).read_text(encoding="utf-8")
        assert test in {one.name for one in ast.parse(source).body if isinstance(one, ast.FunctionDef)}, name
        words = plain(source)
        assert {
            piece for piece in told if not any(knows(words, text) for text in covered(piece, texts))
        } == set()


def plain(source: str) -> str:
    """A test's source without what a regular expression or a line's end puts between words."""
    return re.sub(r"\s+", " ", re.sub(r"\"\s*\n\s*f?r?\"", "", source).replace("\\", ""))


def knows(words: str, text: str) -> bool:
    """Whether three words of the text follow each other in the test's module."""
    runs = [part.split() for part in text.split("{}")]
    return any(
        " ".join(run[at : at + 3]) in words for run in runs for at in range(max(1, len(run) - 2)) if run
    )


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("x: no such table; correct --table", True),
        ("x: not a folder, or choose another", True),
        ("a study needs a label", True),
        ("x is away: `fedcohort roster` says who", True),
        ("a name such as y", True),
        ("a Paillier public key of a wrong length", False),
        ("the connection ended", False),
    ],
)
def test_a_remedy_is_known_by_its_words(text: str, known: bool) -> None:
    assert bool(REMEDY.search(text)) == known


def test_a_remedy_that_nobody_obeys_is_found() -> None:
    texts = {"x: there is no y; make one": "new.py:1", "x: there is no y": "old.py:1"}
    assert covered("there is no y; make one", texts) == {"x: there is no y; make one"}
    assert covered("x: there is no y", texts) == {"x: there is no y"}, "a whole text is no piece of another"
    assert covered("a z is there", texts) == set()
