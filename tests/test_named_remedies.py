"""Whatever a text of the program names is there: commands, options, settings, variables, extras, functions.

A remedy that names what is none sends somebody on an errand. Each is read from the syntax trees
(tests/remedies.py), so that a new message is held to the same.
"""

import importlib
import inspect
import pkgutil
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel

import fedcohort as fc
from fedcohort.cli.app import app
from fedcohort.columns import Frozen
from tests.remedies import PLACE, Said, said

ROOT = Path(__file__).parent.parent
COMMAND = re.compile(
    r"`(fedcohort(?: [^`]*)?)`|fedcohort(?= [a-z]+ )((?: [a-z][a-z-]+)*(?: [A-Z.\w{}\0]+)* --[^;,)]*)"
)
OPTION = re.compile(r"(?<![\w`'-])--[a-z][a-z-]+")
SETTING = re.compile(r"\b([a-z][a-z_]+) = (\"[^\"\0]*\"|\[[^\]\0]*\]|true|false|-?[\d.]+)")
TABLE = re.compile(r"(?<![\w\]'\[.(])\[([a-z_]+(?:\.[A-Za-z_]+)*)\]")
VARIABLE = re.compile(r"\b(FEDCOHORT_[A-Z_]+?)(?:_FILE)?\b")
EXTRA = re.compile(r"pip install -c constraints\.txt '\.\[([a-z,-]+)\]'")
FUNCTION = re.compile(r"\bfc\.([A-Za-z_]+)(?:\.([a-z_]+))?(?:\(([^)\0]*))?")
MARKUP = {"bold", "green", "red"}
OF_SQL = {"sex = 1"}
"""Of a cohort's `where`."""


@cache
def every_command() -> tuple[Any, ...]:
    """The commands and the groups of them."""
    found: list[Any] = [typer.main.get_command(app)]
    for one in found:
        found += getattr(one, "commands", {}).values()
    return tuple(found)


def command_of(words: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """The command that words call, and what is left of them for it."""
    found: Any = typer.main.get_command(app)
    while words and words[0] in getattr(found, "commands", {}):
        found, words = found.commands[words[0]], words[1:]
    return found, words


def fault_of(line: str) -> str | None:
    """What the command line would answer to `fedcohort …`; nothing where it would run."""
    line = re.sub(r"%\.?\d*s|\{\w+\}", PLACE, line).replace(PLACE, "x").rstrip(" .:")
    command, words = command_of(tuple(shlex.split(line)[1:]))
    if words == ("--help",):
        return None
    if getattr(command, "commands", {}) and not command.invoke_without_command:
        return f"{line}: is a group of commands, and does nothing by itself"
    try:
        given, rest, _ = command.make_parser(typer.Context(command)).parse_args(list(words))
    except Exception as error:  # noqa: BLE001 - click's own, of which typer has a copy
        return f"{line}: {getattr(error, 'message', error)}"
    needed = [one for one in command.params if one.required and not one.envvar]
    missing = [one.opts[0] for one in needed if given.get(one.name) is None]
    return f"{line}: unknown {rest}, missing {missing}" if rest or missing else None


def commands(one: Said) -> Iterator[str]:
    for quoted, bare in COMMAND.findall(one.text):
        yield quoted or f"fedcohort{bare}"


def named(pattern: re.Pattern[str]) -> list[tuple[str, re.Match[str]]]:
    """What sentences name, with where they do so; a page's markup and scripts are none."""
    texts = [one for one in said() if " " in one.text and not one.where.endswith((".js", ".html"))]
    return [(one.where, found) for one in texts for found in pattern.finditer(one.text)]


@cache
def models() -> tuple[type[BaseModel], ...]:
    """Every model of a file or an object that a person writes."""
    for room in ("sources", "node"):
        package = importlib.import_module(f"fedcohort.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"fedcohort.{room}."):
            importlib.import_module(module.name)
    found: list[type[BaseModel]] = [Frozen]
    for one in found:
        found += one.__subclasses__()
    return tuple(found)


@cache
def settings() -> dict[str, list[Any]]:
    """By key, the annotations of all fields that are called so."""
    found: dict[str, list[Any]] = {}
    for model in models():
        for name, field in model.model_fields.items():
            found.setdefault(field.alias or name, []).append(field.annotation)
    return found


def choices(annotation: Any) -> set[Any] | None:
    """What may stand there; None where it is no closed list."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    inner = [choices(one) for one in get_args(annotation) if one is not type(None)]
    known = [one for one in inner if one is not None]
    return set().union(*known) if known and len(known) == len(inner) else None


def test_every_command_that_a_text_names_runs_as_it_is_written() -> None:
    lines = {line: one.where for one in said() for line in commands(one)}
    assert len(lines) > 20
    assert {f"{where}: {fault}" for line, where in lines.items() if (fault := fault_of(line))} == set()


@pytest.mark.parametrize(
    "line",
    [
        "fedcohort rooster",
        "fedcohort data",
        "fedcohort roster --confirm",
        "fedcohort roster --conform b",
        "fedcohort coordinator remove",
        "fedcohort approve a b",
    ],
)
def test_a_command_that_would_not_run_is_found(line: str) -> None:
    assert fault_of(line) is not None


def test_every_option_that_a_text_names_is_one() -> None:
    known = {name for one in every_command() for of in one.params for name in (*of.opts, *of.secondary_opts)}
    known.add("--help")
    told = {(where, found.group()) for where, found in named(OPTION)}
    assert len(told) > 50
    assert {one for one in told if one[1] not in known} == set()


def test_every_setting_that_a_text_names_is_one_and_may_have_that_value() -> None:
    told = {(where, found[1], found[2]) for where, found in named(SETTING) if found.group() not in OF_SQL}
    assert len(told) > 20
    assert {one for one in told if one[1] not in settings()} == set()
    for where, name, value in told:
        if value.strip('"') == "..." or value == "[...]":
            continue
        given, allowed = tomllib.loads(f"x = {value}")["x"], [choices(one) for one in settings()[name]]
        assert any(one is None or given in one for one in allowed), (where, name, value)


def test_every_table_of_a_file_that_a_text_names_is_one() -> None:
    known = set(settings()) | {"table", "roles"}  # the word itself; a provider's file
    told = {(where, found[1].split(".")[0]) for where, found in named(TABLE)} - {
        (where, found[1]) for where, found in named(TABLE) if found[1] in MARKUP
    }
    assert len(told) > 10
    assert {one for one in told if one[1] not in known} == set()


def test_every_variable_of_the_environment_that_a_text_names_is_read() -> None:
    known = {str(of.envvar) for one in every_command() for of in one.params if of.envvar}
    known |= {one.text.removesuffix("_FILE") for one in said() if one.text.startswith("FEDCOHORT_")}
    told = {(where, found[1]) for where, found in named(VARIABLE)}
    assert len(told) > 10
    assert {one for one in told if one[1] not in known} == set()


def test_every_extra_that_a_text_names_can_be_installed() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = {(where, extra) for where, found in named(EXTRA) for extra in found[1].split(",")}
    assert len(told) > 10
    assert {one for one in told if one[1] not in known} == set()
    pips = {one.text for one in said() if "pip install" in one.text}
    assert {one for one in pips if not EXTRA.search(one)} == {f"pip install {PLACE}"}  # of another database


def test_every_function_that_a_text_names_is_there_with_its_arguments() -> None:
    told = {(where, found.groups()) for where, found in named(FUNCTION)}
    assert len(told) > 10
    for where, (name, method, given) in told:
        function = getattr(fc, name, None)
        function = getattr(function, method, None) if method else function
        assert function is not None, (where, name, method)
        for keyword in re.findall(r"(\w+)=", given or ""):
            fields = getattr(function, "model_fields", inspect.signature(function).parameters)
            assert keyword in fields, (where, name, keyword)
