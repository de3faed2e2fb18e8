"""Debian's Chromium, headless, through Playwright: for tests of pages and for the pictures in docs/.

`screenshot(url, path)` writes a picture of a page that anyone serves.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, ViewportSize, sync_playwright

from tests.patience import PATIENCE_SECONDS

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = ViewportSize(width=1360, height=900), ViewportSize(width=390, height=844)
Theme = Literal["light", "dark"]


def chromium_path() -> str | None:
    """Where Chromium is, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    path = chromium_path()
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and everything its console complained about, content security policy included."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    last_error: str = ""

    def text(self, selector: str) -> str:
        """What a reader sees there."""
        return self.page.inner_text(selector)

    def follow(self, selector: str) -> None:
        """Click on what leads to another page, and wait until it is there."""
        with self.page.expect_navigation():
            self.page.click(selector)

    def wait(self, script: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a JavaScript expression is true.

        Playwright's own wait evaluates strings inside the page, which the page's policy forbids.
        """
        deadline = time.monotonic() + timeout_seconds
        while not self._is_true(script):
            assert time.monotonic() < deadline, f"still not true: {script}; {self._state()}"
            self.page.wait_for_timeout(20)

    def _state(self) -> str:
        """What a reader of a failed test needs: the console, what failed last, and what the page shows."""
        try:
            shown = self.page.evaluate(
                "document.readyState + ' ' + document.visibilityState + ' ' + document.body.innerText"
            )
        except Error as error:
            shown = f"nothing can be read: {error}"
        return f"console: {self.complaints}; last error: {self.last_error}; page: {str(shown)[:2000]}"

    def _is_true(self, script: str) -> bool:
        try:
            return bool(self.page.evaluate(script))
        except Error as error:  # between two pages, or before the element is there
            self.last_error = str(error)
            return False

    def n_points(self, chart: int = 0, selector: str = "#charts .chart") -> list[int]:
        """How many points each line of a chart has."""
        found = self.page.evaluate(POINTS, [selector, chart])
        return [int(n) for n in found]


POINTS = """([selector, index]) => {
  const container = document.querySelectorAll(selector)[index];
  const chart = container && echarts.getInstanceByDom(container);
  return chart ? chart.getOption().series.map((line) => line.data.length) : [];
}"""


@contextmanager
def watched(
    browser: Browser,
    *,
    theme: Theme = "light",
    viewport: ViewportSize = DESKTOP,
    ignore_https_errors: bool = False,
    locale: str = "en-GB",
) -> Iterator[Watched]:
    """A new page in a context of its own."""
    context: BrowserContext = browser.new_context(
        viewport=viewport, color_scheme=theme, locale=locale, ignore_https_errors=ignore_https_errors
    )
    page = context.new_page()
    watch = Watched(page)
    page.on("console", lambda message: _note(watch, message.type, message.text))
    page.on("pageerror", lambda error: watch.complaints.append(str(error)))
    try:
        yield watch
    finally:
        context.close()


def _note(watch: Watched, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        watch.complaints.append(text)


def screenshot(
    url: str,
    path: Path,
    *,
    theme: Theme = "light",
    viewport: ViewportSize = DESKTOP,
    ready: str = "document.querySelectorAll('#charts canvas').length > 0",
) -> None:
    """Write a PNG of a whole page once the JavaScript expression `ready` is true."""
    with chromium() as browser, watched(browser, theme=theme, viewport=viewport) as watch:
        watch.page.goto(url)
        watch.wait(ready)
        watch.page.wait_for_timeout(500)
        path.parent.mkdir(parents=True, exist_ok=True)
        watch.page.screenshot(path=path, full_page=True)
