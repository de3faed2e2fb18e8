"""Log lines for people and for machines: one line an event, with study, site and code, no error's words."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedcohort.cli.support import SECRETS, read_secret_files
from fedcohort.errors import CohortTooSmallError, ConfigError
from fedcohort.logs import DiscreetFormatter, JsonFormatter, about
from tests.processes.support import cli

MARK = "zebraphilia-4711"


class Lines(logging.Handler):
    """Keeps what a formatter makes."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def machine() -> Iterator[Lines]:
    handler = Lines(JsonFormatter())
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def read(lines: Lines) -> dict[str, object]:
    (line,) = lines.lines
    assert "\n" not in line
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_an_event_is_one_object_with_study_site_and_code(machine: Lines) -> None:
    error = CohortTooSmallError("the cohort is too small; widen it")
    log = logging.getLogger("fedcohort.test")
    log.warning("%s: study %.12s: %s", "a", "ab" * 32, error, extra=about("a", "ab" * 32))
    found = read(machine)
    assert found.pop("time")
    assert found == {
        "level": "warning",
        "logger": "fedcohort.test",
        "message": f"a: study {'ab' * 6}: the cohort is too small; widen it",
        "site": "a",
        "study": "ab" * 32,
        "code": "cohort-too-small",
    }


def test_time_is_utc_to_the_millisecond_and_empty_fields_are_left_out(machine: Lines) -> None:
    logging.getLogger("fedcohort.test").error("down")
    found = read(machine)
    assert str(found["time"]).endswith("+00:00")
    assert len(str(found["time"])) == len("2026-11-23T19:00:00.123+00:00")
    assert found.keys() == {"time", "level", "logger", "message"}


@pytest.mark.parametrize("formatter", [JsonFormatter(), DiscreetFormatter("%(message)s")])
def test_an_unexpected_errors_words_are_left_out(formatter: logging.Formatter) -> None:
    handler = Lines(formatter)
    log = logging.getLogger("fedcohort.test")
    log.addHandler(handler)
    try:
        raise KeyError(MARK)
    except KeyError:
        log.exception("study %.12s: an unexpected error", "ab" * 32)
    finally:
        log.removeHandler(handler)
    (line,) = handler.lines
    assert MARK not in line
    assert "KeyError" in line
    assert "test_logs.py" in line


@pytest.mark.parametrize("formatter", [JsonFormatter(), DiscreetFormatter("%(message)s")])
def test_of_others_messages_only_the_first_line_counts(formatter: logging.Formatter) -> None:
    handler = Lines(formatter)
    log = logging.getLogger("asyncio")
    log.addHandler(handler)
    log.error("Task exception was never retrieved\nfuture: <Task exception=ValueError('%s')>", MARK)
    log.removeHandler(handler)
    assert MARK not in handler.lines[0]
    assert "never retrieved" in handler.lines[0]


def test_what_a_stranger_says_cannot_forge_a_line(machine: Lines) -> None:
    logging.getLogger("fedcohort.test").warning("%s: no", 'x"}\n{"level": "info"')
    assert read(machine)["level"] == "warning"


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hidden\n")
    environment = {f"{name}_FILE": str(path)}
    read_secret_files(environment)
    assert environment[name] == "hidden"


def test_an_empty_file_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("\n")
    environment = {"FEDCOHORT_JOIN_TOKEN_FILE": str(path)}
    read_secret_files(environment)
    assert "FEDCOHORT_JOIN_TOKEN" not in environment


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        ("a", {"FEDCOHORT_TOKEN": "b"}, "are both set"),
        (None, {}, "cannot be read"),
        ("x" * 5000, {}, "too long to be a secret"),
        (b"\xff\xfe", {}, "cannot be read"),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_clear_error_that_does_not_quote_it(
    content: str | bytes | None, more: dict[str, str], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=said) as caught:
        read_secret_files({"FEDCOHORT_TOKEN_FILE": str(path), **more})
    assert "xxxx" not in str(caught.value)


@pytest.mark.processes
def test_a_command_says_in_one_line_that_a_secret_is_missing(tmp_path: Path) -> None:
    done = cli("studies", cwd=tmp_path, FEDCOHORT_TOKEN_FILE=os.devnull + "x")
    assert done.returncode == 1
    assert done.stderr.startswith("error (config-invalid): FEDCOHORT_TOKEN_FILE")
