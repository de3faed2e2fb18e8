"""What can be configured is documented, every key of it."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from fedcohort.node.policy import ListenSettings, SitePolicy
from fedcohort.quickstart.config import FlatConfig, WorkerConfig
from fedcohort.sources.deidentify.rules import Role, Rule, Rules
from fedcohort.study import Cohort, Privacy, Study, Train

DOCS = Path(__file__).parent.parent / "docs"
PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PROTOCOL.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("site.toml", [*SitePolicy.model_fields, *ListenSettings.model_fields]),
        ("config.json", [*FlatConfig.model_fields, *WorkerConfig.model_fields]),
        ("A study", [*Study.model_fields.keys() - {"cohort", "analysis"}, *Train.model_fields]),
        ("A study", [*Privacy.model_fields]),
        ("A study", [f"cohort.{name}" for name in Cohort.model_fields]),
    ],
)
def test_every_key_is_documented(title: str, names: list[str]) -> None:
    text = section(title)
    missing = [name for name in names if not re.search(rf"`(analysis\.)?{re.escape(name)}`", text)]
    assert missing == []


def test_every_rule_of_de_identification_is_documented() -> None:
    text = (DOCS / "deidentification.md").read_text(encoding="utf-8")
    names = [*Rules.model_fields, *get_args(Role)]
    assert [name for name in names if f"\n| `{name}` |" not in text] == []


def test_the_rules_that_are_shown_are_valid() -> None:
    text = (DOCS / "deidentification.md").read_text(encoding="utf-8")
    shown = tomllib.loads(text.split("```toml\n")[1].split("```")[0])
    assert Rules.model_validate(shown).rule("visits", "visit_no") == Rule(role="code")


def test_every_test_that_a_page_names_is_there() -> None:
    names = set[str]()
    for path in (DOCS.parent / "tests").rglob("*.py"):
        names |= {path.name, *re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
    missing = []
    for page in [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]:
        for told in re.findall(r"\btest_\w+(?:\.py|…)?", page.read_text(encoding="utf-8")):
            begin = told.removesuffix("…")
            is_begun = begin != told and any(name.startswith(begin) for name in names)
            if told not in names and not is_begun:
                missing.append(f"{page.name}: {told}")
    assert missing == []


def test_every_decision_has_a_number_of_its_own() -> None:
    titles = {page.name: page.read_text(encoding="utf-8") for page in (DOCS / "decisions").glob("*.md")}
    numbers = {name: int(name[:4]) for name in titles}
    assert len({*numbers.values()}) == len(titles)
    assert [name for name, text in titles.items() if not text.startswith(f"# {numbers[name]}. ")] == []
