"""The hospital's own page in Chromium: each page of it in each language, and a study that is answered."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from .accounts import NAMES, PASSWORD
from .browser import Theme, Watched, watched
from .served_ward import EXACT, PRIVATE, WAITS, ServedWard, served_ward
from .test_languages import untranslated
from .test_pictures import take
from .test_readers import CONTRASTS, NAMELESS, NARROW

pytestmark = pytest.mark.browser

NAMED = {
    *NAMES.values(), PRIVATE, EXACT, WAITS, "ward", "age", "sex", "bmi", "ill", "bp", "ward-model", "site",
    "data", "check", "UTC", "SHA-", "FLOAT", "VARCHAR", "INTEGER", "years", "mmHg", "patient_id",
    "rows", "patients", "sum", "squares", "histograms", "levels", "min_cell",
}  # fmt: skip
NO_LINK = "Failed to load resource: the server responded with a status of 404 (NOT FOUND)"
"""Of the page that sets a password, without a link."""
OVERLAPS = """() => {
  const parts = [...document.querySelectorAll('.top > *')].map((each) => each.getBoundingClientRect());
  return parts.flatMap((a, index) => parts.slice(index + 1)
    .filter((b) => a.left < b.right - 1 && b.left < a.right - 1)
    .filter((b) => a.top < b.bottom - 1 && b.top < a.bottom - 1));
}"""
"""What stands on top of something else at the head of a page."""


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWard]:
    with served_ward(tmp_path_factory.mktemp("ward")) as served:
        yield served


def log_in(watch: Watched, ward: ServedWard, role: str) -> None:
    """By the form, as a person does."""
    watch.page.goto(ward.url)
    watch.page.fill("#name", NAMES[role])
    watch.page.fill("#password", PASSWORD)
    watch.follow("button.primary")
    watch.wait("location.pathname === '/'")


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_whole_and_legible_in_each_language(
    ward: ServedWard, browser: Browser, locale: str, theme: Theme
) -> None:
    with watched(browser, theme=theme, locale=locale) as watch:
        for page in ("login", "password", *ward.pages, "people"):
            if page == ward.pages[0]:
                ward.enter(watch, "data-owner")
            if page == "people":
                ward.enter(watch, "operator")
            watch.page.goto(ward.url + page)
            for summary in watch.page.locator("summary").all():
                summary.click()
            assert watch.page.evaluate("document.documentElement.lang") == locale[:2]
            if locale == "zh-CN":
                assert untranslated(watch) - NAMED == set()
            assert watch.page.evaluate(NAMELESS) == []
            assert watch.page.evaluate(CONTRASTS) == []
        assert watch.complaints == [NO_LINK]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_phone_shows_every_page_with_its_way_back(
    ward: ServedWard, browser: Browser, language: str
) -> None:
    with watched(browser, viewport=NARROW) as watch:
        for role, pages in {"data-owner": ward.pages, "operator": ("people",)}.items():
            ward.enter(watch, role)
            for page in pages:
                watch.page.goto(f"{ward.url}{page}?language={language}")
                assert watch.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
                assert watch.page.evaluate(OVERLAPS) == []
                assert page == "" or watch.page.locator("header a[href='/']:visible").count() >= 1
        assert watch.complaints == []


def test_a_data_owner_logs_in_reads_and_approves(ward: ServedWard, browser: Browser) -> None:
    with watched(browser) as watch:
        log_in(watch, ward, "data-owner")
        watch.page.click(f"summary:has-text('{PRIVATE}')")
        assert "epsilon 1" in watch.text("details[open]")
        watch.follow("details[open] a")
        assert watch.text("#answer") == "asked"
        assert watch.page.get_attribute("main .verdict", "data-verdict") == "ready"
        watch.page.click("button[value=approve]")
        watch.wait("document.querySelector('#answer').dataset.state === 'approved'")
        assert f"approved by {NAMES['data-owner']}" in watch.text("main")
        watch.follow("header a:has-text('Back')")
        assert "Left: epsilon 2" in watch.text("main")
        assert watch.complaints == []


def test_a_data_owner_refuses_with_a_reason_in_chinese(ward: ServedWard, browser: Browser) -> None:
    with watched(browser, locale="zh-CN") as watch:
        log_in(watch, ward, "data-owner")
        watch.page.click(f"summary:has-text('{EXACT}')")
        watch.follow("details[open] a")
        watch.page.select_option("#code", "refused-privacy")
        watch.page.click("button[value=refuse]")
        watch.wait("document.querySelector('#answer').textContent === '已拒绝'")
        assert f"已拒绝：{NAMES['data-owner']}" in watch.text("main")
        assert "绝不会是某一行" in watch.text("pre")
        assert "What leaves" not in watch.text("pre")
        assert watch.complaints == []


def test_what_left_has_date_study_size_cost_and_digest(ward: ServedWard, browser: Browser) -> None:
    with watched(browser) as watch:
        ward.enter(watch, "auditor")
        watch.page.goto(ward.url)
        rows = [row.locator("td").all_inner_texts() for row in watch.page.locator("#left tbody tr").all()]
        assert [row[1:6] for row in rows] == [
            ["help to open a sum", EXACT, "1", "4", "0"],
            ["contribution", EXACT, "1", "8", "exact: no bound"],
            ["contribution", PRIVATE, "1", "12,345", rows[2][5]],
        ]
        assert 0 < float(rows[2][5]) < 2
        assert all(len(row[6]) == 16 for row in rows)
        assert str(watch.page.locator("#left time").first.get_attribute("datetime")).endswith("+00:00")


@pytest.mark.parametrize(("language", "said"), [("en", "Probability of ill = 1"), ("zh", "的概率")])
def test_a_patient_is_asked_about_in_each_language(
    ward: ServedWard, browser: Browser, language: str, said: str
) -> None:
    with watched(browser) as watch:
        ward.enter(watch, "data-owner")
        watch.page.goto(f"{ward.url}{ward.pages[-1]}?language={language}")
        watch.page.fill("main input[type=text] >> nth=0", "50")
        watch.follow("main button.primary")
        assert said in watch.text("[role=status]")
        assert watch.page.locator(".contributions rect").count() == 3
        take(watch, f"prediction-{language}")
        assert watch.complaints == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pictures_of_the_pages_for_the_docs(ward: ServedWard, browser: Browser, language: str) -> None:
    with watched(browser) as watch:
        ward.enter(watch, "data-owner")
        for page, name in zip(ward.pages[:3], ("hospital", "proposal", "readiness"), strict=True):
            watch.page.goto(f"{ward.url}{page}?language={language}")
            assert watch.page.locator("main .card").count() >= 1
            take(watch, f"{name}-{language}")
        assert watch.complaints == []
