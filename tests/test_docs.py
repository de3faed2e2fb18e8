"""What can be configured is documented, every key of it."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from fedcohort.config import FlatConfig, Worker
from fedcohort.node.policy import Listen, SitePolicy
from fedcohort.sources.deidentify_rules import Role, Rule, Rules
from fedcohort.study import Cohort, Privacy, Study, Train

DOCS = Path(__file__).parent.parent / "docs"
PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PROTOCOL.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("site.toml", [*SitePolicy.model_fields, *Listen.model_fields]),
        ("config.json", [*FlatConfig.model_fields, *Worker.model_fields]),
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
