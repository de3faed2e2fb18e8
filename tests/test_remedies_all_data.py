"""Every remedy of the data rooms is obeyed by a test, is said here to be obeyed by none, or this test fails.

Write a row for a new one in `tests/test_remedies_of_imports.py`, `…_of_images.py` or `…_of_databases.py`, or
name the test beside the error in `tests/remedies_obeyed_data.py`.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from . import (
    test_remedies_of_databases,
    test_remedies_of_fhir,
    test_remedies_of_images,
    test_remedies_of_imports,
)
from .remedies import PLACE, said
from .remedies_obeyed_data import NO_REMEDY, OBEYED, REMEDY, ROOMS, UNOBEYED

TESTS = Path(__file__).parent
TABLES = (
    test_remedies_of_databases,
    test_remedies_of_fhir,
    test_remedies_of_images,
    test_remedies_of_imports,
)


@cache
def remedies() -> dict[str, tuple[str, ...]]:
    """The texts of these rooms that tell somebody to do something, and where each is said."""
    found: dict[str, set[str]] = {}
    for one in said():
        text = one.text.replace(PLACE, "{}")
        is_remedy = " " in text and REMEDY.search(text) and not text.startswith(NO_REMEDY)
        if one.where.startswith(ROOMS) and is_remedy:
            found.setdefault(text, set()).add(one.where)
    return {text: tuple(sorted(places)) for text, places in found.items()}


def pieces() -> Iterator[tuple[str, str]]:
    """Pieces of remedies with the test that obeys each, or why there is none."""
    for table in TABLES:
        for test, told in table.SAID.items():
            yield from ((piece, f"{Path(str(table.__file__)).name}::{test}") for piece in told)
    for file, tests in OBEYED.items():
        for test, told_beside in tests.items():
            yield from ((piece, f"{file}::{test}") for piece in told_beside)
    yield from UNOBEYED.items()


def meant(piece: str) -> list[str]:
    """The texts that a piece stands for: the whole one, or those that it is a part of."""
    return [piece] if piece in remedies() else [text for text in remedies() if piece in text]


def test_every_remedy_of_the_data_rooms_is_obeyed() -> None:
    obeyed = {text for piece, _ in pieces() for text in meant(piece)}
    assert len(remedies()) > 200
    assert {text: places for text, places in remedies().items() if text not in obeyed} == {}


def test_every_piece_is_of_one_remedy_that_is_still_said() -> None:
    found = {piece: meant(piece) for piece, _ in pieces()}
    assert {piece for piece, texts in found.items() if not texts} == set()
    # A text with two ends, of which one is chosen, is one text.
    places = {piece: {remedies()[text] for text in texts} for piece, texts in found.items()}
    assert {piece: found[piece] for piece, where in places.items() if len(where) > 1} == {}


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("test", sorted({test for _, test in pieces() if "::" in test}))
def test_every_test_that_is_named_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in functions_of(file)
