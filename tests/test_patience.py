"""No test hangs its verdict on a wall clock that a slow machine outlasts: waits take tests/patience.py."""

import ast
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.patience import PATIENCE_SECONDS, until

TESTS = Path(__file__).parent
EXCUSE = "# patience:"
"""On a line whose limit decides nothing, or is what is tested; the reason follows."""
LAST_ARGUMENT = {"wait", "join", "settimeout", "timeout", "wait_for", "wait_procs", "create_connection"}


def is_short(node: ast.AST | None) -> bool:
    """A literal number of seconds below a minute or two; 0 does not wait."""
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 120


def is_clock(node: ast.AST) -> bool:
    """A reading of a clock; the processor's time, too, is a slow processor's."""
    name = getattr(node.func, "attr", "") if isinstance(node, ast.Call) else ""
    return name in {"monotonic", "perf_counter", "process_time", "time"}


def short_waits(source: str) -> Iterator[int]:
    """Lines that wait for so many seconds, literally, and then give up."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            values = [word.value for word in node.keywords if word.arg in {"timeout", "timeout_seconds"}]
            # `join` of strings and paths takes no numbers.
            values += node.args[-1:] if name in LAST_ARGUMENT else []
            yield from (value.lineno for value in values if is_short(value))
        elif isinstance(node, ast.BinOp) and is_clock(node.left) and is_short(node.right):
            yield node.lineno
        elif isinstance(node, ast.Compare) and isinstance(node.left, ast.BinOp) and is_clock(node.left.left):
            yield from (limit.lineno for limit in node.comparators if is_short(limit))


def test_no_test_waits_for_a_few_seconds_only() -> None:
    found = []
    for path in sorted(TESTS.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines()
        excused = {number for number, line in enumerate(lines, 1) if EXCUSE in line}
        found += [f"{path.relative_to(TESTS)}:{n}" for n in sorted({*short_waits(source)} - excused)]
    assert found == [], "wait by tests.patience, or say why not after `# patience:`"


@pytest.mark.parametrize(
    "line",
    [
        "process.wait(15)",
        "thread.join(10.0)",
        "asyncio.timeout(30)",
        "asyncio.wait_for(task, 20)",
        "run(command, timeout=60)",
        "deadline = time.monotonic() + 20",
        "assert time.process_time() - began < 5",
        "assert time.perf_counter() - began < 0.5",
    ],
)
def test_a_short_wait_is_seen(line: str) -> None:
    assert list(short_waits(line)) == [1]


def test_what_does_not_wait_for_seconds_is_left_alone() -> None:
    assert (
        list(short_waits("','.join(words); event.wait(PATIENCE_SECONDS); process.wait(); f(timeout=0)")) == []
    )


def test_requests_of_tests_are_as_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx.Client() as client:
        assert client.timeout == httpx.Timeout(PATIENCE_SECONDS)
    monkeypatch.setattr("tests.patience.PATIENCE_SECONDS", 0.0)
    with pytest.raises(AssertionError, match="the moon is green"):
        until(lambda: False, "the moon is green")
