"""The house's import order: a room imports only from above, and tensorflow comes in through models/ alone.

And what every file has to be: it says what it is for, and none of its functions is long.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import fedcohort
from tests.patience import PATIENCE_SECONDS

MOST_LINES = 60
"""Of a function, its docstring included."""
HOUSE = Path(fedcohort.__file__).parent
LAYERS = (
    {"texts"},
    {"errors"},
    {
        "analyses.declared_numbers",
        "analyses.formula", "analyses.grids", "analyses.kinds", "analyses.question", "arrays", "audit.chain",
        "columns", "disclosure.rules", "event_words", "field_faults",
        "figure_texts", "figures", "known", "logs", "pixels", "questions", "protection.words", "refusals",
        "sampling_intervals", "study", "table", "vector", "versions",
    },
    {"storage", "disclosure"},
    {"analyses", "audit", "models", "privacy", "protection", "wire", "sources", "sources.catalogue"},
    {"sources.importer"},
    {"sources.events"},
    {"sources.cohort"},
    {"sources.deidentify"},
    {"sources.dicom"},
    {"sources.fhir"},
    {"sources.hl7v2"},
    {"sources.omop"},
    {"sources.datasets"},
    {"expect", "explain_events", "fetch_fhir", "handed_in", "local_token"},
    {"explain", "engines.carrier"},
    {"node", "coordinator"},
    {"engines"},
    {"researcher"},
    {"dashboard.shared"},
    {"dashboard.login"},
    {"dashboard.federation", "dashboard.hospital"},
    {"dashboard"},
    {"quickstart"},
    {"cli"},
    {"__init__", "__main__"},
)  # fmt: skip
"""From the top of the house down: files and folders, and parts of folders that have a place of their own."""
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
WORDS = LAYERS[2]
APART = {"analyses", "audit", "models", "privacy", "protection", "wire", "sources"}
"""They never meet, whatever their rank, but in words; training alone is made of models."""


@cache
def trees() -> dict[Path, ast.Module]:
    """The package's files, parsed once, by the process of pytest-xdist that runs this file's tests."""
    paths = (path for path in sorted(HOUSE.rglob("*.py")) if not path.name.endswith("_pb2.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def room_of(module: str) -> str | None:
    """The narrowest room of a module, named without `fedcohort.`; None for what is none of ours.

    The words of every kind of question are one room, each in its analysis' folder.
    """
    parts = module.split(".")
    if parts[0] == "analyses" and parts[2:3] == ["question"]:
        return "analyses.question"
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in RANK), None)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(HOUSE).with_suffix("").parts)


def imported(path: Path) -> Iterator[str]:
    """Every module that the file imports, at the top or inside a function, as an absolute name."""
    package = ["fedcohort", *path.relative_to(HOUSE).parts[:-1]]
    for part in ast.walk(trees()[path]):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            above = package[: len(package) + 1 - part.level] if part.level else []
            origin = [*above, *([part.module] if part.module else [])]
            yield from (".".join([*origin, alias.name]) for alias in part.names)


def may_import(importer: str, room: str) -> bool:
    whose, other = importer.partition(".")[0], room.partition(".")[0]
    if (whose, other) == ("analyses", "models") or importer == room or {importer, room} <= WORDS:
        return True
    if room not in WORDS and {whose, other} <= APART and whose != other:
        return False
    return RANK[room] < RANK[importer]


def test_every_room_has_its_place_in_the_order() -> None:
    assert [path for path in trees() if room_of(module_of(path)) is None] == [], "give it a place in LAYERS"


def test_the_architecture_names_every_room() -> None:
    page = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+)`", page[page.index("## The rooms") : page.index("## Adding")])
    told = {name.strip("/").replace("/", ".") for name in named}
    assert {room for room in RANK if not room.startswith(("__", "audit."))} - told == set()


def test_a_room_imports_only_from_above() -> None:
    roads = {
        (str(path.relative_to(HOUSE)), str(room_of(module_of(path))), str(room))
        for path in trees()
        for name in imported(path)
        if name.startswith("fedcohort.") and (room := room_of(name.removeprefix("fedcohort.")))
    }
    assert sorted(road for road in roads if not may_import(road[1], road[2])) == []


def test_only_models_imports_tensorflow() -> None:
    heavy = {
        path for path in trees() for name in imported(path) if name.split(".")[0] in {"tensorflow", "keras"}
    }
    assert sorted(str(path) for path in heavy if room_of(module_of(path)) != "models") == []


def test_every_file_says_what_it_is_for() -> None:
    # An empty __init__.py is a door, not a room.
    silent = [path for path, tree in trees().items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


def test_no_function_is_longer_than_sixty_lines() -> None:
    too_long = [
        f"{path.relative_to(HOUSE)}:{part.lineno} {part.name}"
        for path, tree in trees().items()
        for part in ast.walk(tree)
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
        and (part.end_lineno or 0) - part.lineno >= MOST_LINES
    ]
    assert too_long == []


@pytest.mark.processes
@pytest.mark.parametrize("module", ["fedcohort", "fedcohort.study", "fedcohort.researcher.client"])
def test_importing_it_does_not_load_tensorflow(module: str) -> None:
    assert loaded_by(f"import {module}") & {"tensorflow", "keras", "sklearn", "matplotlib"} == set()


@pytest.mark.processes
def test_the_help_loads_nothing_that_computes_or_reads_data() -> None:
    program = "import contextlib, io, fedcohort.cli.app\nsys.argv = ['fedcohort', '--help']\n"
    program += "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
    program += "    fedcohort.cli.app.main()"
    heavy = {"tensorflow", "keras", "sklearn", "matplotlib", "numpy", "sqlalchemy", "sqlglot", "scipy"}
    heavy |= {"pydantic", "fedcohort.study"}  # were a third of its processor time
    assert loaded_by(program) & heavy == set()


def loaded_by(program: str) -> set[str]:
    """The modules that a fresh Python has loaded when it has run the program."""
    whole = f"import sys\n{program}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
