"""Each page in both languages, whole and translated; FEDCOHORT_PICTURES=1 makes docs/images/ of them."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, ViewportSize

from .browser import Theme, Watched, watched
from .finished import DESCRIBED, IMPORTANCE, SITES, full_store
from .standin import StandIn
from .test_form import CATALOGUE
from .test_languages import untranslated

pytestmark = pytest.mark.browser

PICTURES = Path(__file__).parents[2] / "docs" / "images"
COLOURS = 160
"""A picture of flat colours needs no more, and is small."""
SIZE = ViewportSize(width=1360, height=850)
NAMES = {
    *SITES, *IMPORTANCE, *DESCRIBED, "male", "female", "typical", "atypical", "non-anginal", "asymptomatic",
    "heart-disease", "who-they-are", "dr-chen", "li-wei", "logistic", "mlp_medical", "fedavg", "fedsgd",
    "ward", "ill", "disease", "and",
}  # fmt: skip
"""What is called so in a study, whatever the reader's language."""


@pytest.fixture
def store() -> StandIn:
    return full_store(CATALOGUE)


@pytest.fixture(params=["en", "zh"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def take(watch: Watched, name: str) -> None:
    """Keep a picture for the docs, where somebody has asked for it."""
    if not os.environ.get("FEDCOHORT_PICTURES"):
        return
    watch.page.evaluate("scrollTo(0, 0)")
    watch.page.wait_for_timeout(100)
    whole = Image.open(io.BytesIO(watch.page.screenshot(full_page=True))).convert("RGB")
    small = whole.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(PICTURES / f"{name}.png", optimize=True)


@pytest.mark.parametrize(
    ("name", "page", "ready"),
    [
        (
            "study",
            "",
            "document.querySelectorAll(':is(#figure-roc, #times, #figure-importance) canvas').length === 3",
        ),
        ("description", "?study=cdcdcd", "document.querySelectorAll('#described-card canvas').length === 4"),
        ("new-study", "new", "document.querySelectorAll('#columns input').length === 3"),
    ],
)
def test_a_page_of_the_dashboard_is_whole_in_each_language(
    dashboard: str, browser: Browser, language: str, name: str, page: str, ready: str
) -> None:
    theme: Theme = "dark" if name == "description" else "light"
    with watched(
        browser, theme=theme, viewport=SIZE, locale={"en": "en-GB", "zh": "zh-CN"}[language]
    ) as watch:
        watch.page.goto(dashboard + page)
        watch.wait(ready)
        if name == "new-study":
            _fill(watch)
        watch.page.wait_for_timeout(300)
        assert watch.page.evaluate("document.documentElement.lang") == language
        if language == "zh":
            assert untranslated(watch) - NAMES == set()
        take(watch, f"{name}-{language}")
        assert watch.complaints == []


def _fill(watch: Watched) -> None:
    watch.page.fill("[name=name]", "heart-disease")
    watch.page.check("[name=kind][value=train]")
    watch.page.check("#columns input[value=age]")
    watch.page.select_option("[name=label]", "ill")
    watch.page.check("[name=private]")
    watch.wait("document.querySelector('#verdict-words').textContent !== ''")
    watch.wait("document.querySelector('#verdict-errors').hidden")
