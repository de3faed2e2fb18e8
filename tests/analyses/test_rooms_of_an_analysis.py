"""A new analysis touches its own folder, the list of kinds, and the texts: Kaplan-Meier is the proof."""

import re
from pathlib import Path

import fedcohort
from fedcohort.analyses.kinds import KINDS

HOUSE = Path(fedcohort.__file__).parent
FILES = ("__init__", "explain", "figures", "question", "stages")
SURVIVAL = re.compile(r'\bKaplanMeier\b|analyses[./]survival|"survival\.\w+"|log-?rank')
"""What no other part of the package says; the label `Survival` is older, and of describe too."""


def test_kaplan_meier_touches_its_folder_one_line_and_the_texts() -> None:
    files = (path for path in HOUSE.rglob("*") if path.suffix in {".py", ".json", ".js", ".html", ".proto"})
    said = (path.relative_to(HOUSE).as_posix() for path in files if SURVIVAL.search(path.read_text("utf-8")))
    elsewhere = {path for path in said if not path.startswith("analyses/survival/")}
    texts = {"texts/en/pages/survival.json", "texts/zh/pages/survival.json", "texts/zh/survival.json"}
    assert elsewhere == {"analyses/kinds.py", *texts}
    page = (Path(__file__).parent.parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    counted = re.search(r"(\d+) files outside its folder, (\d+) of them texts", page)
    assert counted is not None
    assert counted.groups() == (str(len(elsewhere)), str(len(texts)))


def test_every_kind_has_its_folder_of_the_same_files() -> None:
    for kind, question in KINDS.items():
        folder = HOUSE / "analyses" / kind
        assert {f"{name}.py" for name in FILES} <= {path.name for path in folder.iterdir()}
        assert question.__module__ == f"fedcohort.analyses.{kind}.question"
        assert question.model_fields["kind"].default == kind
