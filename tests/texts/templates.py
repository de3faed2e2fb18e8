"""Every template of the program, read from its syntax trees."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter

import fedcohort

HOUSE = Path(fedcohort.__file__).parent


@dataclass(frozen=True)
class Call:
    """One place at which a text is made.

    Attributes:
        where: file and line.
        templates: what may be filled in there; empty where the source does not say.
        names: of the values that are given; None where some are given as a mapping.
    """

    where: str
    templates: tuple[str, ...]
    names: frozenset[str] | None


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
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield from known.get(name, [])
        case ast.Subscript(value=ast.Name(id=name)):
            yield from known.get(name, [])
        case ast.Dict(values=values):
            for value in values:
                yield from texts(value, known)


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
def calls() -> tuple[Call, ...]:
    """Every call of `say` in the program."""
    found = []
    rests_on = _assigned(ast.parse((HOUSE / "protection/words.py").read_text("utf-8")))["rests_on"]
    for path in sorted(HOUSE.rglob("*.py")):
        source = path.read_text("utf-8")
        if (
            "import Text, say" not in source
            and "import say" not in source
            and "import Text, in_a_row, say" not in source
        ):
            continue
        tree = ast.parse(source)
        outside = _assigned(tree)
        functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]
        inside = {id(node): one for one in functions for node in ast.walk(one)}
        for node in ast.walk(tree):
            name = (
                getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
            )
            if not isinstance(node, ast.Call) or name != "say":
                continue
            around = inside.get(id(node))
            known = {"rests_on": rests_on, **outside, **(_assigned(around) if around else {})}
            given = [one.arg for one in node.keywords]
            names = None if None in given else frozenset(str(one) for one in given)
            where = f"{path.relative_to(HOUSE).as_posix()}:{node.lineno}"
            found.append(Call(where, tuple(filter(None, texts(node.args[0], known))), names))
    return tuple(found)
