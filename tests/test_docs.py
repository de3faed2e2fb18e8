"""What can be configured is documented, every key of it."""

import re
from pathlib import Path

import pytest

from fedcohort.config import FlatConfig, Worker
from fedcohort.node.policy import Listen, SitePolicy
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
