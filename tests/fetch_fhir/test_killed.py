"""The command itself, as a process: killed in the middle of a page or a file, and started again."""

import threading
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS, until
from tests.processes.support import Process, cli

from .fake_server import Asked, FakeServer, served
from .test_fetch import EVERYTHING, ids, resources

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("way", "held"), [((), "/fhir"), (("--export",), "/files/Observation")], ids=["search", "export"]
)
def test_a_run_that_is_killed_loses_nothing_and_asks_for_nothing_twice(
    tmp_path: Path, way: tuple[str, ...], held: str
) -> None:
    there, reached, go_on = FakeServer(resources()), threading.Event(), threading.Event()

    def hold(asked: Asked) -> None:
        """Answer the second page of observations, or the file of them, only after the process is dead."""
        if asked.path == held and (way or "/Observation" in there.paths()):
            reached.set()
            go_on.wait(PATIENCE_SECONDS)

    there.before = hold
    with served(there):
        words = ["data", "fetch-fhir", "--from", there.base, "--into", str(tmp_path / "in")]
        words += ["--type", "Patient", "--type", "Observation", *way]
        process = Process(words, tmp_path, tmp_path / "log").start()
        try:
            until(reached.is_set, "what it is killed at")
        finally:
            process.kill()
            there.before = lambda _asked: None
            go_on.set()
        before = len(there.asked)
        ended = cli(*words, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        again = [one.path for one in there.asked[before:]]
        assert not {"/fhir/Patient", "/fhir/Observation", "/files/Patient", "/fhir/Patient/$export"} & {
            *again
        }
    assert sorted(ids(tmp_path / "in")) == EVERYTHING
    assert list((tmp_path / "in").glob(".*.part")) == []
