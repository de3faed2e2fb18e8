"""What the program tells people to do, read from its own syntax trees: every text of src/ but docstrings."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter

import fedcohort
from fedcohort import errors

HOUSE = Path(fedcohort.__file__).parent
ERRORS = {name for name, one in vars(errors).items() if isinstance(one, type)}
PLACE = "\0"
"""Stands for a value that an f-string or a template fills in."""


@dataclass(frozen=True)
class Said:
    """A text that the program may say.

    Attributes:
        where: file and line.
        error: the class of the error that says it; None for what is said elsewhere.
    """

    where: str
    text: str
    error: str | None = None


def texts_of(node: ast.AST) -> Iterator[str]:
    """The texts that an expression may give, whole ones first."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else PLACE for part in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            ends = list(texts_of(right)) or [PLACE]
            yield from (first + last for first in list(texts_of(left)) or [PLACE] for last in ends)
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts_of(body)
            yield from texts_of(orelse)
        case ast.BoolOp(values=values):
            for value in values:
                yield from texts_of(value)
        case ast.Call(func=ast.Name(id="say"), args=[first, *_], keywords=values):
            yield from (_filled(text) if values else text for text in texts_of(first))


def _filled(template: str) -> str:
    """A template with PLACE for each of its values."""
    parts = Formatter().parse(template)
    return "".join(text + (PLACE if name is not None else "") for text, name, _, _ in parts)


def _said_by(call: ast.Call) -> Iterator[tuple[str, str | None]]:
    """The texts of a call that says some, each with the class of the error that says it."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name == "Objection":
        against, remedy = (list(texts_of(one)) for one in call.args[:2])
        yield from ((f"{first}; {last}", "PolicyError") for first in against for last in remedy)
    elif name in ERRORS or name == "ValueError":
        for text in (text for one in call.args for text in texts_of(one)):
            is_template = call.keywords and isinstance(call.args[0], ast.Constant)
            yield _filled(text) if is_template else text, name
    elif name == "say":
        yield from ((text, None) for text in texts_of(call))


def _docstrings(tree: ast.Module) -> set[ast.AST]:
    """Every text that stands alone as a statement, which nobody is shown."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def said_in(path: Path) -> Iterator[Said]:
    """Every text of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unsaid, where = _docstrings(tree), path.relative_to(HOUSE).as_posix()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (texts := list(_said_by(node))):
            unsaid |= {part for one in node.args[:2] for part in ast.walk(one)} if node.keywords else set()
            yield from (Said(f"{where}:{node.lineno}", text, error) for text, error in texts)
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and node not in unsaid:
            unsaid |= set(ast.walk(node))  # parts of a whole that is read here
            yield from (Said(f"{where}:{node.lineno}", text) for text in texts_of(node))


@cache
def said() -> tuple[Said, ...]:
    """Every text of the program: of its modules, of its pages in every language, and of its scripts."""
    found = [one for path in sorted(HOUSE.rglob("*.py")) if "_pb2" not in path.name for one in said_in(path)]
    for path in sorted(HOUSE.rglob("*.json")):
        if "vendor" not in path.parts and isinstance(book := json.loads(path.read_text("utf-8")), dict):
            found += [
                Said(path.name, text) for pair in book.items() for text in pair if isinstance(text, str)
            ]
    for path in sorted([*HOUSE.rglob("*.html"), *HOUSE.rglob("*.js")]):
        if "vendor" not in path.parts and ".min." not in path.name:
            found.append(Said(path.name, path.read_text("utf-8")))
    return tuple(found)


def errors_said() -> list[Said]:
    """The texts of errors alone."""
    return [one for one in said() if one.error is not None]


COMMAND = re.compile(r"`(fedcohort(?: [^`]*)?)`")
