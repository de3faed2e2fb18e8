"""Every text of the pages stands in one file a language, whole, and every text there is used."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from fedcohort.dashboard.login.roles import ROLES
from fedcohort.dashboard.shared.application import HERE
from fedcohort.dashboard.shared.texts import LANGUAGES
from fedcohort.node.consent import REFUSALS
from fedcohort.node.readiness_words import Verdict
from fedcohort.texts.look_up import HERE as TEXTS
from fedcohort.texts.look_up import page_texts

BUILT = re.compile(
    r"(state|sentence|answer|metric|site|link|part|protected|protection|code|matrix|role|people\.state|reason"
    r"|verdict|left|date\.month)\.[\w. -]+|split\.(short\.)?\w+|\w+\.heading"
)
"""Names that scripts and templates put together from a state, a metric, a role or an error's code."""
SAME = frozenset({"title", "hospital.digest"})
"""What is one and the same in every language."""
SIGNS = frozenset(
    {
        "language",
        "studies.by",
        "protected.and",
        "list.comma",
        "hospital.answered",
        "glm.model",
        "impute.model",
    }
    | {
        "glm.aic",
        "glm.bic",
        "glm.i2",
        "glm.tau2",
        "glm.q",
        "table_one.welch",
        "table_one.kruskal",
        "validate.auc",
    }
    | {"validate.statistic"}
)
"""No words, or signs and names that statistics have in every language."""
HAN = re.compile(r"[\u4e00-\u9fff]")
HALF_WIDTH = re.compile(r"[\u4e00-\u9fff}]\s*[,;:()?!]|[,;:()?!]\s*[\u4e00-\u9fff{]")


def _sources() -> str:
    scripts = [*HERE.rglob("*.py"), *TEXTS.glob("*.py")]
    files = [*HERE.glob("templates/*.html"), *HERE.glob("static/js/*.js"), *scripts]
    # What analyses show, and how numbers of it are written.
    files += [*HERE.parent.glob("analyses/**/*.py"), HERE.parent / "figure_texts.py"]
    return "\n".join(file.read_text("utf-8") for file in files)


def test_every_text_that_a_page_asks_for_exists() -> None:
    asked = set(re.findall(r"""(?:\bt\(|\bt\[|texts\[|spoken\(\)\[)["']([a-z_.0-9]+)["']""", _sources()))
    assert len(asked) > 40
    built = {name for name in asked if name.endswith(".")}
    assert asked - built - page_texts().keys() == set()


@pytest.mark.parametrize(
    "path",
    sorted([*HERE.glob("shared/*.json"), *TEXTS.glob("*/*.json")]),
    ids=lambda path: "/".join(path.parts[-2:]),
)
def test_no_text_is_written_twice_under_one_name(path: Path) -> None:
    """Of two JSON takes the last, and the other page shows that."""
    names = Counter(name for name, _ in json.loads(path.read_text("utf-8"), object_pairs_hook=list))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_text_is_left_over() -> None:
    sources = _sources()
    unused = [name for name in page_texts() if f'"{name}"' not in sources and f"'{name}'" not in sources]
    # An analysis puts a name together of its kind and of what a report names so: f"glm.{name}".
    begun = tuple(re.findall(r'f"([a-z_]+\.(?:[a-z_]+\.)?)\{', sources))
    named = "\n".join(file.read_text("utf-8") for file in HERE.parent.rglob("*.py"))
    put_together = {
        name for name in unused if name.startswith(begun) and f'"{name.rpartition(".")[2]}"' in named
    }
    assert [name for name in unused if not BUILT.fullmatch(name) and name not in put_together] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_and_no_other(language: str) -> None:
    assert list(page_texts(language)) == list(page_texts()), "one order, so that a file is easy to compare"
    assert page_texts(language)["language"] == language
    assert [name for name, text in page_texts(language).items() if not text.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_same_places_for_values(language: str) -> None:
    def places(text: str) -> Counter[str]:
        return Counter(re.findall(r"\{(\w+)\}", text))

    wrong = [
        name for name, text in page_texts().items() if places(text) != places(page_texts(language)[name])
    ]
    assert wrong == []


def test_every_chinese_text_is_chinese_with_chinese_punctuation() -> None:
    texts = page_texts("zh")
    english = page_texts()
    untranslated = [
        name for name, text in texts.items() if text == english[name] and name not in SAME | SIGNS
    ]
    assert untranslated == []
    without = [name for name, text in texts.items() if not HAN.search(text) and name not in SAME | SIGNS]
    assert without == []
    assert [name for name, text in texts.items() if HALF_WIDTH.search(text)] == []


def test_scripts_and_templates_hold_no_html_from_outside() -> None:
    sources = _sources()
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "|safe",
        "onclick=",
    ):
        assert way not in sources


def test_every_role_state_verdict_and_reason_has_words() -> None:
    verdicts = get_args(Verdict)
    names = [f"role.{role}" for role in ROLES] + [f"reason.{code}" for code in REFUSALS]
    names += [f"verdict.{verdict}" for verdict in verdicts]
    names += [f"people.state.{state}" for state in ("active", "invited", "disabled")]
    assert [name for name in names if name not in page_texts()] == []
