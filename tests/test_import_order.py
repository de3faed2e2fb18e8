"""The house's import order: a room imports only from above, and tensorflow comes in through models/ alone.

And what every file has to be: it says what it is for, and none of its functions is long.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedcohort
from tests.patience import PATIENCE_SECONDS

HOUSE = Path(fedcohort.__file__).parent
FILES = sorted(path for path in HOUSE.rglob("*.py") if not path.name.endswith("_pb2.py"))
WORDS = {
    "arrays", "audit", "columns", "config", "field_faults", "key_file", "known", "logs", "pixels",
    "questions", "refusals", "study", "table", "vector", "versions", "whole_file",
}  # fmt: skip
ROOMS = {"analyses", "models", "privacy", "protection", "wire", "sources"}
DOORS = {"client", "dashboard", "inference", "picture", "progress", "rest", "result"}
CLI = {path.stem for path in HOUSE.glob("cli*.py")}
TOP = {*CLI, "demo", "demo_processes", "parent", "federation_files", "__init__", "__main__"}
LAYERS = (
    {"errors"},
    WORDS,
    ROOMS,
    {"expect", "handed_in", "local_token"},
    {"explain"},
    {"node", "coordinator"},
    {"engines"},
    DOORS,
    TOP,
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
# Words may be made of words, a door of its hinges, and training of models; no other neighbours meet.
NEIGHBOURS = (WORDS, DOORS, TOP, {"analyses", "models"})
MOST_LINES = 60
"""Of a function, its docstring included."""


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module that the file imports, at the top or inside a function, as an absolute name."""
    package = ["fedcohort", *path.relative_to(HOUSE).parts[:-1]]
    for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            above = package[: len(package) + 1 - part.level] if part.level else []
            origin = [*above, *([part.module] if part.module else [])]
            yield from (".".join([*origin, alias.name]) for alias in part.names)


def may_import(importer: str, room: str) -> bool:
    if importer == room or RANK[room] < RANK[importer]:
        return True
    return (importer, room) != ("models", "analyses") and any(
        {importer, room} <= rooms for rooms in NEIGHBOURS
    )


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room_of(path) for path in FILES} - RANK.keys() == set(), "give it a place in LAYERS"


def test_the_architecture_names_every_room() -> None:
    page = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)/?`", page[page.index("## The rooms") : page.index("## Adding")]))
    assert {room for room in RANK if room not in CLI and not room.startswith("__")} - named == set()


def test_a_room_imports_only_from_above() -> None:
    roads = {
        (str(path.relative_to(HOUSE)), room_of(path), name.split(".")[1])
        for path in FILES
        for name in imported(path)
        if name.startswith("fedcohort.") and room_of(path) in RANK
    }
    uphill = [road for road in roads if road[2] in RANK and not may_import(road[1], road[2])]
    assert sorted(uphill) == []


def test_only_models_imports_tensorflow() -> None:
    heavy = {
        path for path in FILES for name in imported(path) if name.split(".")[0] in {"tensorflow", "keras"}
    }
    assert sorted(str(path) for path in heavy if room_of(path) != "models") == []


def test_every_file_says_what_it_is_for() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    # An empty __init__.py is a door, not a room.
    silent = [path for path, text in texts.items() if text.strip() and not ast.get_docstring(ast.parse(text))]
    assert silent == []


def test_no_function_is_longer_than_sixty_lines() -> None:
    too_long = [
        f"{path.relative_to(HOUSE)}:{part.lineno} {part.name}"
        for path in FILES
        for part in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
        and (part.end_lineno or 0) - part.lineno >= MOST_LINES
    ]
    assert too_long == []


@pytest.mark.parametrize("module", ["fedcohort", "fedcohort.study", "fedcohort.client"])
def test_importing_it_does_not_load_tensorflow(module: str) -> None:
    assert loaded_by(f"import {module}") & {"tensorflow", "keras", "sklearn", "matplotlib"} == set()


def test_the_help_loads_nothing_that_computes_or_reads_data() -> None:
    if not [path for path in FILES if room_of(path) == "cli"]:
        pytest.skip("fedcohort.cli is not written yet")
    program = "import contextlib, io, fedcohort.cli\nsys.argv = ['fedcohort', '--help']\n"
    program += "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
    program += "    fedcohort.cli.main()"
    heavy = {"tensorflow", "keras", "sklearn", "matplotlib", "numpy", "sqlalchemy", "sqlglot", "scipy"}
    assert loaded_by(program) & heavy == set()


def loaded_by(program: str) -> set[str]:
    """The modules that a fresh Python has loaded when it has run the program."""
    whole = f"import sys\n{program}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
