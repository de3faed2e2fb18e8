"""What ships is what is written down: pins, versions, licence, and nobody else's files."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fedcohort

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("linux x86_64", "linux aarch64", "darwin x86_64", "darwin arm64", "win32 AMD64", "win32 ARM64")


EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
APART = ("diffprivlib",)
"""Extras for an environment of their own, which constraints.txt would contradict; a benchmark pins them."""


def requirements() -> list[Requirement]:
    """What pyproject.toml names: base, extras and build; neither the project's own extras nor those apart."""
    extras = [line for name, extra in EXTRAS.items() if name not in APART for line in extra]
    lines = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"], "editables"]
    named = [Requirement(line) for line in [*lines, *extras]]
    return [requirement for requirement in named if requirement.name != "fedcohort"]


@cache
def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pinned(name: str, python: str, machine: str) -> list[str]:
    """The exact versions that constraints.txt allows there."""
    system, processor = machine.split()
    environment = {"python_version": python, "python_full_version": f"{python}.9"}
    environment |= {"sys_platform": system, "platform_machine": processor}
    return [
        str(pin.specifier).removeprefix("==")
        for pin in pins()
        if canonicalize_name(pin.name) == canonicalize_name(name)
        and (pin.marker is None or pin.marker.evaluate(environment))
    ]


def tracked() -> list[str]:
    """The files that git holds; skips where the project came without git."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def documents() -> dict[str, str]:
    """The text of every tracked document and configuration, by its path."""
    kinds = (".md", ".toml", ".txt", ".html", ".yaml", ".yml", ".json")
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in tracked() if name.endswith(kinds)}


def local_links() -> list[tuple[str, Path]]:
    """Each link of a document to a file, as the document and where it leads."""
    return [
        (name, (ROOT / name).parent / target)
        for name, text in documents().items()
        for target in re.findall(r"\]\(([^)\s#]+)", text)
        if name.endswith(".md") and not re.match(r"[a-z]+:", target)
    ]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_has_one_exact_version_within_its_range(python: str, machine: str) -> None:
    wrong = []
    for requirement in requirements():
        versions = pinned(requirement.name, python, machine)
        if len(versions) != 1 or not requirement.specifier.contains(versions[0]):
            wrong.append(f"{requirement} is pinned to {versions}: run scripts/pin")
    assert wrong == []


@pytest.mark.parametrize("extra", APART)
def test_an_extra_apart_can_be_installed_beside_the_project_as_its_benchmark_does(extra: str) -> None:
    path = ROOT / "benchmarks" / "peers" / f"{extra}-requirements.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    exact = dict(line.split("==") for line in lines if not line.startswith("#"))
    asked = [Requirement(line) for line in [*EXTRAS[extra], *PROJECT["project"]["dependencies"]]]
    assert {one.name for one in asked[: len(EXTRAS[extra])]} <= exact.keys()
    outside = [one for one in asked if one.name in exact and not one.specifier.contains(exact[one.name])]
    assert outside == []
    # another extra that needs a newer one would leave nothing to resolve to
    others = [Requirement(line) for name, lines in EXTRAS.items() if name not in APART for line in lines]
    shared = [one for one in others if one.name in exact]
    assert [one for one in shared if not one.specifier.contains(exact[one.name])] == []


def test_every_pin_is_exact() -> None:
    exact = re.compile(r"==[^*,]+")
    assert [str(pin) for pin in pins() if not exact.fullmatch(str(pin.specifier)) or pin.extras] == []


def test_the_version_is_the_same_in_the_package_and_in_its_metadata() -> None:
    assert PROJECT["project"]["version"] == fedcohort.__version__


def test_the_licence_is_mit() -> None:
    assert PROJECT["project"]["license"] == "MIT"
    assert "Permission is hereby granted, free of charge" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.processes
def test_no_file_of_others_is_committed() -> None:
    folders = re.compile(r"(^|/)(vendor|node_modules|site-packages|third_party)/")
    built = re.compile(r"\.(min\.js|min\.css|whl|tgz|so|dll|dylib)$")
    assert [name for name in tracked() if folders.search(name) or built.search(name)] == []


def test_the_changelog_starts_with_what_is_unreleased() -> None:
    headings = re.findall(r"^## .*$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", line) for line in headings[1:])


@pytest.mark.processes
def test_no_document_names_a_registry_or_a_path_outside_the_project() -> None:
    # Put together here, so that this file names none itself.
    hosts = [
        re.escape(f"{name}.{end}") for name, end in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", ""))
    ]
    written = re.compile("|".join([*hosts, "--(?:extra-)?index-url", "/work/", r"/home/\w", "/root/"]))
    assert {name: written.findall(text) for name, text in documents().items() if written.search(text)} == {}


@pytest.mark.processes
def test_every_link_between_documents_leads_to_a_file_of_the_project() -> None:
    assert [link for link in local_links() if not link[1].exists()] == []
    assert [link for link in local_links() if not link[1].resolve().is_relative_to(ROOT)] == []


@pytest.mark.processes
def test_every_extra_that_a_remedy_names_is_installed_by_that_remedy() -> None:
    """The command that errors print, obeyed in the project's folder without a network: all is there."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    named = {extra for text in texts for extra in re.findall(r"constraints\.txt '\.\[([\w-]+)\]'", text)}
    assert len(named) > 7
    assert named <= EXTRAS.keys()
    assert not [text for text in texts if "pip install 'fedcohort" in text]
    words = ["install", "--dry-run", "--no-index", "--no-build-isolation", "-c", "constraints.txt"]
    here = sorted(named - {"gpu"})
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, f".[{','.join(here)}]"],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
