"""For whoever has no mouse, no bright light, no wide screen, or no sight (WCAG 2.2, level AA, in part)."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ViewportSize

from .browser import Theme, Watched, watched
from .finished import full_store
from .standin import StandIn
from .test_form import CATALOGUE

pytestmark = pytest.mark.browser

NARROW = ViewportSize(width=375, height=812)
PAGES = ("", "?study=cdcdcd", "new")
READY = "document.querySelectorAll('[data-study], #columns input').length > 0"
CONTROLS = """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter((each) => each.checkVisibility() && !each.disabled).length"""
FOCUSED = """() => {
  const at = document.activeElement;
  if (at === document.body) return '';
  window.order ??= new Map();
  if (!window.order.has(at)) window.order.set(at, window.order.size);
  const ring = getComputedStyle(at);
  return `${window.order.get(at)} ${ring.outlineStyle !== 'none'}`;
}"""
NAMELESS = """() => [
  ...document.querySelectorAll('a[href], button, input, select, [role=img], [role=region], meter, progress'),
].filter((each) => each.checkVisibility())
  .filter((each) => !(each.textContent.trim() || each.ariaLabel || each.labels?.length || each.title
    || each.getAttribute('aria-labelledby') || each.querySelector('img[alt]:not([alt=""])')))
  .map((each) => each.outerHTML.slice(0, 120))"""
CONTRASTS = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (each) => {
    for (let at = each; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const each of document.querySelectorAll('body *')) {
    const said = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!said || !each.checkVisibility() || each.disabled || each.closest('.skip')) continue;
    const [a, b] = [light(parts(getComputedStyle(each).color)), light(ground(each))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push([each.textContent.trim().slice(0, 30), contrast]);
  }
  return found;
}"""


@pytest.fixture
def store() -> StandIn:
    return full_store(CATALOGUE)


@pytest.fixture
def watch(browser: Browser) -> Iterator[Watched]:
    with watched(browser, viewport=NARROW) as watch:
        yield watch


def test_the_tab_key_reaches_every_control_and_shows_where_it_is(dashboard: str, watch: Watched) -> None:
    for page in PAGES:
        _go(watch, dashboard + page)
        _tab_through(watch)


def _go(watch: Watched, url: str) -> None:
    watch.page.goto(url)
    watch.wait(READY)
    watch.page.wait_for_timeout(200)


def _tab_through(watch: Watched) -> None:
    wanted = int(watch.page.evaluate(CONTROLS))
    reached: set[str] = set()
    for _ in range(2 * wanted):
        watch.page.keyboard.press("Tab")
        reached.add(str(watch.page.evaluate(FOCUSED)))
    stops = {stop for stop in reached if stop}
    # Radio buttons of one name are one stop; the arrow keys choose among them.
    radios = watch.page.locator("input[type=radio]").count()
    assert len(stops) >= wanted - max(0, radios - 1)
    assert {stop.split()[1] for stop in stops} == {"true"}, "a ring shows where the focus is"


def test_the_first_stop_but_the_languages_skips_to_the_study(dashboard: str, watch: Watched) -> None:
    watch.page.goto(dashboard)
    watch.wait(READY)
    for _ in range(3):
        watch.page.keyboard.press("Tab")
    assert watch.page.evaluate("document.activeElement.className") == "skip"
    watch.page.keyboard.press("Enter")
    assert watch.page.evaluate("document.activeElement.id") == "study"


def test_a_study_is_chosen_and_a_form_filled_by_keys_alone(dashboard: str, watch: Watched) -> None:
    watch.page.goto(dashboard)
    watch.wait(READY)
    watch.page.focus("[data-study^=cdcd]")
    watch.page.keyboard.press("Enter")
    watch.wait("document.querySelector('#study-name').textContent === 'who-they-are'")
    watch.page.goto(f"{dashboard}new")
    watch.wait(READY)
    watch.page.focus("#columns input")
    watch.page.keyboard.press("Space")
    watch.page.focus("[name=kind]")
    watch.page.keyboard.press("ArrowRight")
    assert watch.page.is_visible("#training")
    assert "age" in watch.text("#toml")


def test_a_phone_needs_no_sideways_scrolling(dashboard: str, watch: Watched) -> None:
    for language in ("zh", "en"):
        for page in PAGES:
            _go(watch, f"{dashboard}{page}{'&' if '?' in page else '?'}language={language}")
            assert watch.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    assert watch.complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_control_has_a_name_and_every_text_enough_contrast(
    dashboard: str, browser: Browser, theme: Theme
) -> None:
    with watched(browser, theme=theme) as watch:
        for page in PAGES:
            _go(watch, dashboard + page)
            assert watch.page.evaluate(NAMELESS) == []
            assert watch.page.evaluate(CONTRASTS) == []
            background = watch.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert background == {"light": "rgb(243, 246, 248)", "dark": "rgb(14, 21, 26)"}[theme]


def test_what_changes_is_said_aloud_and_charts_say_what_they_show(dashboard: str, watch: Watched) -> None:
    watch.page.goto(dashboard)
    watch.wait(READY)
    watch.wait("document.querySelector('#figure-roc').ariaLabel")
    assert watch.page.get_attribute("#link", "role") == "status"
    assert watch.page.get_attribute("#notice", "role") == "alert"
    assert watch.page.get_attribute("#study-sentence", "aria-live") == "polite"
    charts = watch.page.locator("[role=img]:visible")
    assert charts.count() >= 7
    assert all(charts.nth(index).get_attribute("aria-label") for index in range(charts.count()))
