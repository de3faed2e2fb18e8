"""What the README shows is what the program understands, in each of its languages."""

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

import fedcohort
from fedcohort.cli.app import app
from fedcohort.quickstart.config import read_config
from fedcohort.study import Study, parse_study

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.zh-CN.md")
SHELL = {"", "sh", "bash", "shell", "console", "powershell"}


def blocks(name: str, *languages: str) -> list[str]:
    """The fenced blocks of a README in these languages."""
    path = ROOT / name
    if not path.exists() or not path.read_text(encoding="utf-8").strip():
        pytest.skip(f"{name} is not written yet")
    fenced = re.findall(r"^```([\w-]*)[^\n]*\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [body for language, body in fenced if language in languages]


def commands(name: str) -> list[list[str]]:
    """The words of every command line, without prompts, comments and what follows a pipe."""
    lines = "\n".join(blocks(name, *SHELL)).replace("\\\n", " ").splitlines()
    split = [shlex.split(line.strip().removeprefix("$ "), comments=True) for line in lines]
    ends = [
        next((i for i, word in enumerate(words) if word in {"|", "&", "&&", ">"}), None) for words in split
    ]
    return [words[:stop] for words, stop in zip(split, ends, strict=True) if words]


def understood(command: Any, words: list[str]) -> str | None:
    """What the command line interface does not know of these words; None when it knows all."""
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    unknown = [
        word for word in words if word.startswith("--") and word.split("=")[0] not in {*known, "--help"}
    ]
    takes_words = any(parameter.param_type_name == "argument" for parameter in command.params)
    if unknown:
        return f"{command.name} has no {unknown[0]}"
    if words and not words[0].startswith("-") and not takes_words:
        return f"{command.name} takes no {words[0]}"
    return None


def studies_in_python(name: str) -> list[Study]:
    """Every `fc.Study(…)` that a README's Python writes, made for real."""
    calls = [node for code in blocks(name, "python", "py") for node in ast.walk(ast.parse(code))]
    wanted = [node for node in calls if isinstance(node, ast.Call) and ast.unparse(node.func) == "fc.Study"]
    return [eval(ast.unparse(node), {"fc": fedcohort}) for node in wanted]


def studies_in_toml(name: str) -> list[Study]:
    texts = [text for text in blocks(name, "toml") if "analysis" in tomllib.loads(text)]
    return [parse_study(tomllib.loads(text)) for text in texts]


@pytest.mark.parametrize("name", READMES)
def test_every_command_exists_with_its_options(name: str) -> None:
    found = commands(name)
    assert ["scripts/demo"] in found
    assert ["scripts/test"] in found
    top: Any = typer.main.get_command(app)
    ours = [words[1:] for words in found if Path(words[0]).name in {"fedcohort", "fedcohort.exe"}]
    demo = [["demo", *words[1:]] for words in found if words[0] == "scripts/demo"]
    assert [answer for words in [*ours, *demo] if (answer := understood(top, words))] == []


@pytest.mark.parametrize("name", READMES)
def test_every_script_it_names_is_there(name: str) -> None:
    scripts = [words[0] for words in commands(name) if words[0].startswith(("scripts/", ".ci/"))]
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


@pytest.mark.parametrize("name", READMES)
def test_every_public_name_in_its_python_exists(name: str) -> None:
    for code in blocks(name, "python", "py"):
        compile(code, name, "exec")
        names = re.findall(r"\bfc\.([A-Za-z_]\w*)", code)
        assert [used for used in names if used not in dir(fedcohort)] == []


@pytest.mark.parametrize("name", READMES)
def test_its_studies_in_python_and_in_toml_are_one_and_the_same(name: str) -> None:
    in_python, in_toml = studies_in_python(name), studies_in_toml(name)
    assert in_python
    assert in_toml
    by_name = {study.name: study for study in in_python}
    shared = [study for study in in_toml if study.name in by_name]
    assert [study for study in shared if study != by_name[study.name]] == []


@pytest.mark.parametrize("name", READMES)
def test_its_configurations_are_accepted(name: str, tmp_path: Path) -> None:
    for number, text in enumerate(blocks(name, "json")):
        if "workers" in json.loads(text):
            path = tmp_path / f"{number}.json"
            path.write_text(text, encoding="utf-8")
            read_config(path)


def test_both_languages_show_the_same_commands() -> None:
    assert commands(READMES[0]) == commands(READMES[1])
