"""Every template of the program, read from its syntax trees."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter

import fedcohort
from tests.remedies import ERRORS

HOUSE = Path(fedcohort.__file__).parent
SAID = {*ERRORS, "ValueError"}
"""Besides `say`, what is given a template."""
CONSTANTS = {"NEITHER": "sources/cohort/values.py", "rests_on": "protection/words.py"}
"""Templates that one module has for others, by the name of what holds them."""


@dataclass(frozen=True)
class Call:
    """One place at which a text is made.

    Attributes:
        where: file and line.
        by: the function: `say`, or an error's class.
        templates: what may be filled in there; empty where the source does not say.
        names: of the values that are given; None where some are given as a mapping.
        given: what is called, or the variable, that the text comes from.
    """

    where: str
    by: str
    templates: tuple[str, ...]
    names: frozenset[str] | None
    given: str = ""

    @property
    def module(self) -> str:
        return self.where.partition(":")[0]


def places(template: str) -> list[str]:
    """The places of a template, each with what it does to a value: `name`, `name!r`, `share:.0%`."""
    found = []
    for _, name, form, conversion in Formatter().parse(template):
        if name is not None:
            found.append(name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else ""))
    return found


def names(template: str) -> set[str]:
    """The names of a template's places."""
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def texts(node: ast.expr | None, known: dict[str, list[str]]) -> Iterator[str]:
    """The texts that an expression may be; `known` has those of the names and attributes about it."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body, known)
            yield from texts(orelse, known)
        case ast.BoolOp(values=values) | ast.Dict(values=values) | ast.Tuple(elts=values):
            for value in values:
                yield from texts(value, known)
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(value=ast.Name(id=name)):
            yield from known.get(name, [])
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get")):
            yield from known.get(name, [])
        case ast.JoinedStr():
            yield f"f-string in line {node.lineno}"


def _assigned(tree: ast.AST) -> dict[str, list[str]]:
    """By name, what is assigned to it or given as a keyword of that name."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        pairs: list[tuple[str, ast.expr | None]] = []
        if isinstance(node, ast.Assign):
            pairs = [(one.id, node.value) for one in node.targets if isinstance(one, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            pairs = [(node.target.id, node.value)]
        elif isinstance(node, ast.keyword) and node.arg:
            pairs = [(node.arg, node.value)]
        for name, value in pairs:
            found.setdefault(name, []).extend(list(texts(value, found)))
    return found


@cache
def _elsewhere() -> dict[str, list[str]]:
    return {
        name: _assigned(ast.parse((HOUSE / path).read_text("utf-8")))[name]
        for name, path in CONSTANTS.items()
    }


@cache
def calls() -> tuple[Call, ...]:
    """Every call of the program that makes a text: of `say`, or of an error."""
    return tuple(one for path in sorted(HOUSE.rglob("*.py")) for one in _calls_of(path))


def _calls_of(path: Path) -> Iterator[Call]:
    source = path.read_text("utf-8")
    if not re.search(rf"\b(?:say|{'|'.join(SAID)})\(", source):
        return
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    functions = [one for one in nodes if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node): one for one in functions for node in ast.walk(one) if isinstance(node, ast.Call)}
    outside = {**_elsewhere(), **_assigned(tree)}
    within: dict[int, dict[str, list[str]]] = {}  # by function
    is_user = re.search(r"^from fedcohort\.texts import .*\bsay\b", source, re.MULTILINE)
    for node in nodes:
        name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if not isinstance(node, ast.Call) or not (name in SAID or (name == "say" and is_user)):
            continue
        function = inside.get(id(node))
        if function is not None and id(function) not in within:
            within[id(function)] = _assigned(function)
        known = outside if function is None else {**outside, **within[id(function)]}
        given = [one.arg for one in node.keywords]
        names = None if None in given else frozenset(str(one) for one in given)
        found = tuple(text for one in node.args[:1] for text in texts(one, known) if text)
        where = f"{path.relative_to(HOUSE).as_posix()}:{node.lineno}"
        begins = re.match(r"\*?\w*", ast.unparse(node.args[0]) if node.args else "")
        yield Call(where, name, found, names, begins[0] if begins else "")
