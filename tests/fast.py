"""What `scripts/test fast` runs: what is not slow and starts no process, browser or training.

A plug-in of pytest, for its option `-p tests.fast`. A test that does one of these has a mark. So that the
marks stay true, a test without one fails here at the moment at which it starts a process or imports
TensorFlow, whoever does it on its behalf. A file that is marked as a whole is not imported, since files of
tests import TensorFlow by what they test.
"""

import ast
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import is_hypothesis_test, settings

MARKS = {"processes", "browser", "training", "slow"}
STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.exec"}
"""Events of `sys.addaudithook`."""
SPAWNS = "multiprocessing.popen_"
"""Starts a Python without an event of its own; its import is one, as long as it is prevented."""
LEARNS = {"tensorflow", "keras"}
MOST_EXAMPLES = 25
"""Of a property; the whole suite tries as many as the test says."""


class _Watch:
    """What one step of one test has begun that its marks do not say.

    Attributes:
        on: pytest and its plugins start processes, too.
        unmarked: also what somebody has caught the exception of.
    """

    on: bool = False
    unmarked: ClassVar[list[str]] = []


def pytest_configure() -> None:
    """Watch this process; a hook stays until it ends."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not _Watch.on:
        return
    if event == "import":
        name = str(arguments[0])
        if name.partition(".")[0] in LEARNS:
            _fail(f"imports {name}", "training")
        if name.startswith(SPAWNS):
            _fail("starts a process", "processes")
    elif event in STARTS:
        _fail(f"starts a process ({arguments[0]!r})" if arguments else "starts a process", "processes")


def _fail(what: str, mark: str) -> None:
    _Watch.unmarked.append(f"{what}, but has no mark that says so: pytest.mark.{mark} (tests/fast.py)")
    pytest.fail(_Watch.unmarked[-1])


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out files all of whose tests are marked."""
    if collection_path.suffix != ".py" or "pytestmark" not in (text := collection_path.read_text("utf-8")):
        return None
    for part in ast.parse(text).body:
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "pytestmark":
            names = {name.attr for name in ast.walk(part.value) if isinstance(name, ast.Attribute)}
            return True if names & MARKS else None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that are marked."""
    marked = [item for item in items if any(item.get_closest_marker(mark) for mark in MARKS)]
    config.hook.pytest_deselected(items=marked)
    items[:] = [item for item in items if item not in set(marked)]
    for item in items:
        _try_fewer_examples(getattr(item, "obj", None))


def _try_fewer_examples(test: Any) -> None:
    # Hypothesis has no other way to a test that has settings of its own.
    own: Any = getattr(test, "_hypothesis_internal_use_settings", None) or settings.default
    if is_hypothesis_test(test) and own.max_examples > MOST_EXAMPLES:
        test._hypothesis_internal_use_settings = settings(own, max_examples=MOST_EXAMPLES)


@contextmanager
def _watch() -> Iterator[None]:
    _Watch.on = True
    _Watch.unmarked.clear()
    try:
        yield
    finally:
        _Watch.on = False


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The import of a file of tests."""
    with _watch():
        report = yield
    if _Watch.unmarked and report.passed:
        report.outcome, report.longrepr = "failed", _Watch.unmarked[0]
    return report


def _watched() -> Generator[None, Any, Any]:
    with _watch():
        result = yield
    if _Watch.unmarked:
        pytest.fail(_Watch.unmarked[0])
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    """Fixtures, too, start no process."""
    return (yield from _watched())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """The test itself."""
    return (yield from _watched())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, Any, Any]:
    """What fixtures do at their end."""
    return (yield from _watched())
