"""`dashboard`: what a first view takes, what 200 viewers cost a live study, how soon a metric shows.

Over real processes and TLS to the coordinator: the hospitals of UCI Heart Disease train, and the page is
opened in Debian's Chromium. Floors of the page, in the same browser and the same minutes, are `plain_page`'s.
Viewers are the streams of 200 pages (`viewers`); rounds with and without
them take turns.
"""

import argparse
import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

import fedcohort as fc
from benchmarks.deployment import PYTHON, TOKEN_FILE, federation, free_port, process
from benchmarks.harness import ROOT, at_most, data_folder, emit, median, reported, say, unavailable, under
from benchmarks.heart import SETTINGS, heart_databases, heart_study
from fedcohort.researcher.client import Federation, Handle

VIEWERS, WARM_UP, VIEWED_ROUNDS, TURNS = 200, 20, 300, 3
SLOW_ROUNDS, VIEWS, LEAVING_SECONDS = 30, 5, 12.0
VIEW_TIMES, NEWS_TIMES, SLOWEST_TIMES = 3.0, 12.0, 5.0
PLAIN_DRAWN = "window.padded && document.querySelectorAll('canvas').length === 3"
DRAWN = "document.querySelectorAll('#charts canvas').length === 3 && !document.querySelector('#files').hidden"
ROUNDS = "SELECT at_ms FROM events WHERE kind = 'round' AND study_hash = ? ORDER BY sequence"
NEWS = "SELECT kind, data FROM updates WHERE kind IN ('metrics', 'time') AND study_id = ? ORDER BY sequence"
WATCH = """() => {
  window.seen = [];
  const note = () => window.seen.push([document.querySelector('#study-sentence').textContent,
                                       performance.timeOrigin + performance.now()]);
  new MutationObserver(note).observe(document.querySelector('#study-sentence'), { childList: true });
}"""


@dataclass(frozen=True)
class View:
    """One first view of a page, with nothing in the browser's cache."""

    seconds: float
    transferred: int


@dataclass(frozen=True)
class Served:
    """The dashboard's address and process."""

    url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """What it has computed so far."""
        spent = self.process.cpu_times()
        return float(spent.user + spent.system)


@contextlib.contextmanager
def dashboard(coordinator: str, folder: Path) -> Iterator[Served]:
    """The dashboard as a process."""
    port = free_port()
    address = ["--port", str(port), "--coordinator", coordinator, "--ca-file", str(folder / "ca.pem")]
    with process([*PYTHON, "dashboard", *address], {"FEDCOHORT_TOKEN_FILE": str(folder / TOKEN_FILE)}) as pid:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/readyz").is_success:
                    break
            time.sleep(0.1)
        yield Served(url, psutil.Process(pid))


def study_of(rounds: int, seed: int, **changes: object) -> fc.Study:
    """Heart disease, logistic; another seed is another study."""
    settings = {"logistic": {**SETTINGS["logistic"], "rounds": rounds, **changes}}
    return heart_study("logistic", seed, settings)


@contextlib.contextmanager
def plain_page() -> Iterator[str]:
    """The floor's server as a process; gives its address."""
    port = free_port()
    with process([sys.executable, "-m", "benchmarks.plain_page", str(port)], {}):
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url).is_success:
                    break
            time.sleep(0.1)
        yield url


def first_view(page: Page, url: str, drawn: str = DRAWN) -> View:
    """Open a page and wait until its curves are drawn."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    bytes_: list[float] = []
    session.on("Network.loadingFinished", lambda event: bytes_.append(event["encodedDataLength"]))
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    wait(page, drawn)
    return View(time.perf_counter() - began, int(sum(bytes_)))


def wait(page: Page, script: str) -> None:
    """Wait until an expression is true; the page's policy forbids Playwright's own way."""
    deadline = time.monotonic() + 60
    while not page.evaluate(f"Boolean({script})"):
        if time.monotonic() > deadline:
            raise SystemExit(f"never true on the page: {script}")
        page.wait_for_timeout(5)


def round_seconds(handle: Handle, served: Served, viewers: int) -> tuple[float, float]:
    """Mean seconds of a study's rounds while so many pages look at it, and the cores that this takes."""
    if not viewers:
        rows = handle.wait(progress=False).rows
        return mean_seconds(rows[2 * WARM_UP :]), 0.0
    command = [sys.executable, "-m", "benchmarks.viewers", served.url, handle.id, str(viewers)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as looking:
        assert looking.stdout is not None
        if looking.stdout.readline().strip() != "ready":
            raise SystemExit(f"not all of {viewers} viewers were let in")
        seen = len(handle.rest.get(f"/api/studies/{handle.id}/metrics")["rows"])
        began, spent = time.perf_counter(), served.cpu_seconds()
        rows = handle.wait(progress=False).rows
        cores = (served.cpu_seconds() - spent) / (time.perf_counter() - began)
        said, _ = looking.communicate()
        say(f"{viewers} viewers from row {seen} of {len(rows)} on; {said.strip()} before the end")
    # Browsers that are gone are noticed by what cannot be written to them; until then they have their seats.
    time.sleep(LEAVING_SECONDS)
    return mean_seconds(rows[max(seen, 2 * WARM_UP) :]), cores


def mean_seconds(rows: list[dict[str, Any]]) -> float:
    """Mean of the rounds' durations, each of which stands in a row a split."""
    by_round = {row["round"]: float(row["seconds"]) for row in rows}
    return sum(by_round.values()) / len(by_round)


def durable_at(database: Path, study_id: str) -> dict[int, float]:
    """When each round of a finished study was made durable, by its entry of the event log."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        moments = [at_ms / 1000 for (at_ms,) in connection.execute(ROUNDS, (study_id,))]
        news = connection.execute(NEWS, (study_id,)).fetchall()
    rounds = list[int | None]()
    for kind, data in news:  # a round has a row a split, or, without metrics, its times
        number = int(json.loads(data)["round"]) if kind == "metrics" else None
        if number is None or number not in rounds:
            rounds.append(number)
    return {number: at for number, at in zip(rounds, moments, strict=True) if number is not None}


def latencies(
    fed: Federation, database: Path, url: str, plain: str, new_page: Callable[[], Page]
) -> tuple[list[float], list[float]]:
    """Seconds from when a round's metrics are being made durable at the coordinator to when the page says it.

    Returns:
        ours and the floor's, whose page is open in the same browser while the study runs.
    """
    handle = fed.submit(
        study_of(SLOW_ROUNDS, 900, algorithm="fedavg", local_epochs=40, server_optimizer="sgd")
    )
    page, echo = new_page(), new_page()
    page.goto(f"{url}/?study={handle.id}", wait_until="commit")
    wait(page, "document.querySelector('#study-sentence')")
    page.evaluate(WATCH)
    echo.goto(f"{plain}/echo", wait_until="commit")
    wait(page, "document.querySelector('#study-state').dataset.state === 'finished'")
    durable = durable_at(database, handle.id)
    seen: dict[int, float] = {}
    for text, at in page.evaluate("window.seen"):
        if text.startswith("Running: round "):
            seen.setdefault(int(text.split()[2]), at / 1000)
    late = [seen[number] - durable[number] for number in list(seen)[2:] if number in durable]
    return late, [float(seconds) for seconds in echo.evaluate("window.late")]


def measure_viewers(fed: Federation, served: Served) -> None:
    """Rounds with and without viewers, in turns."""
    fed.run(study_of(30, 1), progress=False)
    turns: dict[int, list[float]] = {0: [], VIEWERS: []}
    cores: list[float] = []
    for turn in range(TURNS):
        for viewers, found in turns.items():
            handle = fed.submit(study_of(VIEWED_ROUNDS, 100 + 2 * turn + bool(viewers)))
            seconds, share = round_seconds(handle, served, viewers)
            found.append(seconds)
            cores += [share] if viewers else []
            say(f"{viewers} viewers: {found[-1] * 1e3:.2f} ms a round")
    added = median(turns[VIEWERS]) / median(turns[0]) - 1
    emit(under(f"dashboard: what {VIEWERS} viewers add to a round of a live study", 100 * added, "%", 10.0))
    emit(
        reported(
            f"dashboard: its own computing for {VIEWERS} viewers", 100 * median(cores), None, "% of a core"
        )
    )


def measure_page(fed: Federation, database: Path, url: str) -> None:
    """The page in a real browser."""
    path = shutil.which("chromium")
    if path is None:
        emit(unavailable("dashboard: first view", None, "s", "no Chromium"))
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox"])
        with plain_page() as plain:
            measure_views(browser, url, plain)
            found = latencies(
                fed, database, url, plain, lambda: browser.new_context(locale="en-GB").new_page()
            )
            emit_latencies(*found)
        browser.close()


def measure_views(browser: Browser, url: str, plain: str) -> None:
    """First views of our page and of a plain one of as many bytes, in turns."""
    weight = first_view(browser.new_context().new_page(), url).transferred
    views, floors = [], []
    for _ in range(VIEWS):
        views.append(first_view(browser.new_context().new_page(), url))
        address = f"{plain}/?bytes={weight}"
        floors.append(first_view(browser.new_context().new_page(), address, PLAIN_DRAWN))
    for what, some in (("page", views), ("floor", floors)):
        say(f"{what}: " + ", ".join(f"{view.seconds:.2f} s, {view.transferred:,} bytes" for view in some))
    seconds, floor = (median([view.seconds for view in some]) for some in (views, floors))
    name = "dashboard: first view on loopback, against a plain page of as many bytes"
    emit(at_most(name, seconds, floor, "s", VIEW_TIMES))
    weights = [view.transferred / 1e3 for view in views]
    emit(under("dashboard: first view, transferred", median(weights), "kB", 400.0))


def emit_latencies(late: Sequence[float], echoed: Sequence[float]) -> None:
    """What news take to the page, and the slowest, against an echo of events at the coordinator's pace."""
    say(f"{len(late)} rounds, {len(echoed)} events echoed")
    name = "dashboard: from a round's end to its metric on the page, against an echo of events"
    emit(at_most(name, median(late) * 1e3, median(echoed) * 1e3, "ms", NEWS_TIMES))
    name = "dashboard: the same, slowest round, against the slowest echo"
    emit(at_most(name, max(late) * 1e3, max(echoed) * 1e3, "ms", SLOWEST_TIMES))


def main() -> None:
    """Start everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        databases = heart_databases(data_folder(options.data) / "heart_disease", folder)
        sites = {site: (path, "heart_disease") for site, path in databases.items()}
        with federation(sites, PYTHON, folder) as fed:
            coordinator = str(fed.rest.client.base_url).rstrip("/")
            with dashboard(coordinator, folder) as served:
                measure_viewers(fed, served)
                measure_page(fed, folder / "coordinator" / "coordinator.db", served.url)


if __name__ == "__main__":
    main()
