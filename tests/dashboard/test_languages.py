"""In which language a page is answered, and that nothing on it stays untranslated."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from .browser import Watched, watched
from .standin import StandIn

SAME_IN_CHINESE = {
    "fedcohort", "ROC", "AUC", "SHA", "epsilon", "delta", "CSV", "HTML", "JSON", "ZIP", "PNG", "TOML", "CKKS",
    "Paillier", "JavaScript", "FEDCOHORT_RESEARCHER_KEY", "English", "run", "study", "toml",
}  # fmt: skip
"""Names, and what has no other name."""


@pytest.fixture
def watch(browser: Browser) -> Iterator[Watched]:
    with watched(browser, locale="zh-CN") as watch:
        yield watch


def _lang(answer: httpx.Response) -> str:
    found = re.search(r'<html lang="(\w+)">', answer.text)
    assert found
    return found.group(1)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-Hant-TW", "zh"),
        ("en-GB,zh;q=0.5", "en"),
        ("de-DE", "en"),
        ("", "en"),
        (";;;q=x", "en"),
    ],
)
def test_the_browsers_language_is_taken_where_there_is_one(
    client: httpx.Client, accepted: str, language: str
) -> None:
    assert _lang(client.get("/", headers={"Accept-Language": accepted})) == language


def test_the_chosen_language_is_kept_and_wins(client: httpx.Client) -> None:
    chosen = client.get("/?language=zh")
    assert _lang(chosen) == "zh"
    assert {"HttpOnly", "SameSite=Strict"} <= {
        part.strip() for part in chosen.headers["set-cookie"].split(";")
    }
    assert _lang(client.get("/", headers={"Accept-Language": "en"})) == "zh"
    assert _lang(client.get("/?language=en")) == "en"
    assert _lang(client.get("/")) == "en"


def test_a_language_that_is_not_there_changes_nothing(client: httpx.Client) -> None:
    answer = client.get("/", params={"language": "../../etc/passwd"})
    assert (_lang(answer), "set-cookie" in answer.headers) == ("en", False)


@pytest.mark.browser
def test_the_switch_leads_to_the_same_study(store: StandIn, dashboard: str, watch: Watched) -> None:
    store.add_study(name="first")
    store.add_study("cd" * 32, name="second")
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#study-name').textContent === 'second'")
    assert watch.text("#study-state") == "运行中"
    watch.page.click("#studies button:has-text('first')")
    watch.page.click("text=English")
    watch.wait("document.querySelector('#study-state').textContent === 'Running'")
    assert watch.text("#study-name") == "first"
    assert watch.page.evaluate("document.documentElement.lang") == "en"
    assert watch.complaints == []


@pytest.mark.browser
def test_numbers_and_dates_are_written_as_the_language_does(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.add_study()
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#study-asked').textContent !== ''")
    assert "2026年11月20日" in watch.text("#study-asked")


@pytest.mark.browser
def test_nothing_on_the_page_is_left_untranslated(store: StandIn, dashboard: str, watch: Watched) -> None:
    store.add_study()
    store.add_round(1)
    store.finish({"age": 0.05})
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#figure-importance canvas')")
    names = {"age", "heart-disease", "dr-chen", "hospital_a", "hospital_b", "hospital_c"}
    assert untranslated(watch) - names == set()
    assert watch.complaints == []


def untranslated(watch: Watched) -> set[str]:
    """Words on a Chinese page that are not; names of the study, its sites and columns among them."""
    said = " ".join(re.sub(r"\b[0-9a-f]{12,64}\b", "", text) for text in watch.page.evaluate(ALL_TEXTS))
    return {*re.findall(r"[A-Za-z][A-Za-z_-]{2,}", said)} - SAME_IN_CHINESE


ALL_TEXTS = """() => [
  ...[...document.querySelectorAll('body :not(noscript, pre, [lang=en])')]
    .flatMap((each) => [...each.childNodes])
    .filter((node) => node.nodeType === 3 && node.textContent.trim()).map((node) => node.textContent),
  ...[...document.querySelectorAll('[aria-label], [title], [placeholder]')]
    .flatMap((each) => ['aria-label', 'title', 'placeholder'].map((name) => each.getAttribute(name) ?? '')),
]"""
"""Every text of a page, also the hidden ones; but for what is code."""
