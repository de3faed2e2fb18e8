"""The demo as a person sees it: real hospitals as processes, a real study, the curves in a real browser."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import httpx
import psutil
import pytest

from fedcohort.local_token import token_file
from tests.build import free_port
from tests.dashboard.browser import chromium, screenshot, watched
from tests.patience import PATIENCE_SECONDS
from tests.processes.support import cli
from tests.test_readme import blocks

ROUNDS = 150
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "dashboard.png"
LINE = "echarts.getInstanceByDom(document.querySelector('#charts .chart')).getOption().series[0].data.length"


class Demo:
    """`fedcohort demo …` in a process of its own, and the lines that it prints."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "fedcohort", "demo", *arguments]
        environment = {**os.environ, "COLUMNS": "200"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines: list[str] = []
        self._queue: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)

    def wait_for(self, pattern: str, seconds: float = PATIENCE_SECONDS) -> str:
        """The first group of the first line that has the pattern."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self.lines.append(self._queue.get(timeout=0.2))  # patience: asked again
            except Empty:
                continue
            found = re.search(pattern, self.lines[-1])
            if found:
                return found.group(1)
        raise AssertionError(f"no {pattern!r} in {seconds} s:\n{''.join(self.lines)}")

    @property
    def page(self) -> str:
        """Where the page is, as it has said."""
        return self.said(r"Watch them train: (http://\S+)")

    @property
    def coordinator(self) -> str:
        """Where the coordinator is, as it has said."""
        return self.said(r"Still serving \S+ and (http://[\d.:]+\d)")

    def said(self, pattern: str) -> str:
        """The first group of a line that was read."""
        return next(found.group(1) for line in self.lines if (found := re.search(pattern, line)))

    def left(self) -> Iterator[str]:
        """The lines that nobody has waited for, once it has ended."""
        self._reader.join(PATIENCE_SECONDS)
        while not self._queue.empty():
            yield self._queue.get()

    def stop(self) -> int:
        """Ask it to end, and wait."""
        self.process.terminate()
        code = self.process.wait(PATIENCE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Two hospitals of a flat config.json, training long enough to be watched."""
    folder = tmp_path_factory.mktemp("demo")
    workers = [
        {"id": f"hospital_{letter}", "host": "localhost", "port": 8777 + index, "data": f"mimic_{letter}.db"}
        for index, letter in enumerate("ab")
    ]
    config = {"workers": workers, "model": "cnn_medical", "epochs": ROUNDS, "batch_size": 32}
    config |= {"dp_epsilon": None, "encryption": None}
    (folder / "config.json").write_text(json.dumps(config))
    demo = Demo("--config", str(folder / "config.json"))
    yield demo
    demo.stop()


@pytest.mark.browser
@pytest.mark.processes
def test_the_curves_of_a_real_federation_grow_in_the_browser(demo: Demo) -> None:
    url = demo.wait_for(r"Watch them train: (http://\S+)")
    with chromium() as browser, watched(browser) as watch:
        watch.page.goto(url)
        watch.wait(f"window.echarts && {LINE} >= 1")
        seen = [int(watch.page.evaluate(LINE))]
        while seen[-1] < ROUNDS:
            watch.wait(f"{LINE} > {seen[-1]}")
            seen.append(int(watch.page.evaluate(LINE)))
        watch.wait("document.querySelector('#figure-importance canvas')")
        assert len(seen) > 5, "the curve came at once"
        assert watch.text("[data-metric=loss]").startswith("0.")
        assert watch.complaints == []


@pytest.mark.processes
def test_the_page_tells_programs_the_metrics_and_the_importance(demo: Demo) -> None:
    demo.wait_for(r"(Still serving)")
    url = demo.page
    metrics = httpx.get(f"{url}/training_metrics", timeout=PATIENCE_SECONDS).json()
    assert len(metrics["loss"]) == len(metrics["accuracy"]) == ROUNDS
    assert min(metrics["loss"]) < 0.6
    picture = httpx.get(f"{url}/feature_importance", timeout=PATIENCE_SECONDS)
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo as the README's first command starts it, on ports of its own."""
    demo = Demo("--port", str(free_port()), "--coordinator-port", str(free_port()))
    demo.wait_for(r"(Still serving)")
    yield demo
    demo.stop()


@pytest.mark.processes
@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_readmes_own_study_runs_on_the_demo(hospitals: Demo, tmp_path: Path, readme: str) -> None:
    (in_python,) = (code for code in blocks(readme, "python") if "fc.connect" in code)
    code = in_python.replace("http://127.0.0.1:8760", hospitals.coordinator)
    asked = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(result.report['sites'])"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        cwd=tmp_path,
    )
    assert "['hospital_a', 'hospital_b', 'hospital_c']" in asked.stdout, asked.stderr
    (in_toml,) = blocks(readme, "toml")
    (tmp_path / "study.toml").write_text(in_toml, encoding="utf-8")
    done = cli("run", "study.toml", "--json", "--coordinator", hospitals.coordinator, cwd=tmp_path,
               HOME=str(Path.home()))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"]["test"]["auc"] > 0.6


@pytest.mark.processes
def test_the_demos_form_can_submit_and_its_page_asks_for_no_token(hospitals: Demo) -> None:
    page = httpx.get(f"{hospitals.page}/new", trust_env=False, timeout=PATIENCE_SECONDS)
    assert 'id="submit"' in page.text
    names = {
        study["name"]
        for study in httpx.get(f"{hospitals.page}/api/studies", timeout=PATIENCE_SECONDS).json()["studies"]
    }
    assert "Is the tumour malignant?" in names


@pytest.mark.processes
def test_a_port_that_was_asked_for_and_is_taken_is_an_error(hospitals: Demo) -> None:
    taken = hospitals.page.rpartition(":")[2]
    second = Demo("--port", taken)
    assert second.process.wait(PATIENCE_SECONDS) == 1
    assert second.process.stdout is not None
    assert f"port {taken} for the dashboard is in use" in "".join(second.left())
    second.process.stdout.close()


@pytest.mark.processes
def test_ctrl_c_ends_every_process_of_the_demo(hospitals: Demo) -> None:
    children = psutil.Process(hospitals.process.pid).children(recursive=True)
    if os.environ.get("FEDCOHORT_PICTURES"):
        screenshot(hospitals.page, PICTURE, ready="document.querySelector('#figure-importance canvas')")
    token = token_file(int(hospitals.coordinator.rpartition(":")[2]))
    assert token.exists()
    hospitals.process.send_signal(signal.SIGINT)
    assert hospitals.process.wait(PATIENCE_SECONDS) == 0
    assert "3 hospitals are linked" in "".join(hospitals.lines)
    assert "test auc 0.9" in "".join(hospitals.lines)
    assert len(children) == 6
    assert psutil.wait_procs(children, PATIENCE_SECONDS)[1] == []
    assert not token.exists()
