"""Every text of the pages stands in one file, and every text there is used."""

import re
from typing import get_args

from fedcohort.dashboard.app import HERE
from fedcohort.dashboard.roles import ROLES
from fedcohort.dashboard.texts import load_texts
from fedcohort.node.consent import REFUSALS
from fedcohort.node.readiness_words import Verdict

BUILT = re.compile(
    r"(state|sentence|answer|metric|site|link|role|people\.state|reason|verdict)\.[\w. -]+"
    r"|split\.(short\.)?\w+"
)
"""Names that scripts and templates put together from a state, a metric or a role."""


def _sources() -> str:
    files = [*HERE.glob("templates/*.html"), *HERE.glob("static/js/*.js"), *HERE.glob("*.py")]
    return "\n".join(file.read_text("utf-8") for file in files)


def test_every_text_that_a_page_asks_for_exists() -> None:
    asked = set(re.findall(r"""(?:\bt\(|\bt\[|texts\[)["']([a-z_.0-9]+)["']""", _sources()))
    assert len(asked) > 40
    assert asked - load_texts().keys() == set()


def test_no_text_is_left_over() -> None:
    sources = _sources()
    unused = [name for name in load_texts() if f'"{name}"' not in sources and f"'{name}'" not in sources]
    assert [name for name in unused if not BUILT.fullmatch(name)] == []


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
    assert [name for name in names if name not in load_texts()] == []
