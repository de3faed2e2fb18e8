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

from .dashboard.browser import chromium, screenshot, watched

ROUNDS = 150
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "dashboard.png"
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
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)

    def wait_for(self, pattern: str, seconds: float = 90.0) -> str:
        """The first group of the first line that has the pattern."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self.lines.append(self._queue.get(timeout=0.2))
            except Empty:
                continue
            found = re.search(pattern, self.lines[-1])
            if found:
                return found.group(1)
        raise AssertionError(f"no {pattern!r} in {seconds} s:\n{''.join(self.lines)}")

    def stop(self) -> int:
        """Ask it to end, and wait."""
        self.process.terminate()
        code = self.process.wait(30)
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
        watch.wait(f"window.echarts && {LINE} >= 1", 60)
        seen = [int(watch.page.evaluate(LINE))]
        while seen[-1] < ROUNDS:
            watch.wait(f"{LINE} > {seen[-1]}", 60)
            seen.append(int(watch.page.evaluate(LINE)))
        watch.wait("!document.querySelector('#importance').hidden", 30)
        assert len(seen) > 5, "the curve came at once"
        assert watch.text("[data-metric=loss]").startswith("0.")
        assert watch.complaints == []


@pytest.mark.processes
def test_the_page_tells_programs_the_metrics_and_the_importance(demo: Demo) -> None:
    url = demo.wait_for(r"(Still serving)") and next(
        found.group(1) for line in demo.lines if (found := re.search(r"train: (http://\S+)", line))
    )
    metrics = httpx.get(f"{url}/training_metrics").json()
    assert len(metrics["loss"]) == len(metrics["accuracy"]) == ROUNDS
    assert min(metrics["loss"]) < 0.6
    picture = httpx.get(f"{url}/feature_importance")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


@pytest.mark.processes
def test_ctrl_c_ends_every_process_of_the_demo() -> None:
    demo = Demo()
    try:
        url = demo.wait_for(r"Watch them train: (http://\S+)")
        demo.wait_for(r"(Still serving)")
        children = psutil.Process(demo.process.pid).children(recursive=True)
        if os.environ.get("FEDCOHORT_PICTURES"):
            screenshot(url, PICTURE, ready="!document.querySelector('#importance').hidden")
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(30) == 0
    finally:
        demo.stop()
    assert "3 hospitals are linked" in "".join(demo.lines)
    assert "test auc 0.9" in "".join(demo.lines)
    assert len(children) == 5
    assert psutil.wait_procs(children, 5)[1] == []
