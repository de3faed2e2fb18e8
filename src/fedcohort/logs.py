"""Logs of the long-running processes on standard error: lines for people, or JSON for machines.

A line names a study by its hash, a site by its id, and an error by its code. It never holds a
patient's value: our own messages are written without, an unexpected error is logged by its type
and its place in the code without its message, and of other libraries' messages only the first
line is kept, because some quote an exception in the next.
"""

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType

from fedcohort.errors import FedcohortError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
FIELDS = ("site", "study", "code")
OURS = "fedcohort"


class LogFormat(StrEnum):
    """How lines are written."""

    text = "text"
    json = "json"


def about(site: str = "", study: str = "", code: str = "") -> Mapping[str, str]:
    """The fields of an event, for `extra` of a logger's method; the code of an error among its
    arguments is found without.
    """
    given = zip(FIELDS, (site, study, code), strict=True)
    return {name: value for name, value in given if value}


class DiscreetFormatter(logging.Formatter):
    """Logs an unexpected error by its place and type, without its message, which may quote a value."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, of which others' records have only one."""
        record.message = _message(record)
        return super().formatMessage(record)

    def formatException(self, ei: ExcInfo) -> str:
        """The places in the code, and the type."""
        kind, _, trace = ei
        name = kind.__name__ if kind else "no error"
        return "".join(traceback.format_tb(trace)) + f"{name} (its words are left out of the log)"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message; site, study and code where they are known."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without the message of an unexpected error."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        line |= {
            name: value for name in FIELDS if (value := getattr(record, name, "") or _found(name, record))
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            places = traceback.extract_tb(record.exc_info[2])
            line["where"] = [f"{place.filename}:{place.lineno} {place.name}" for place in places]
        return json.dumps(line, ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return text if record.name.partition(".")[0] == OURS else text.partition("\n")[0]


def _found(name: str, record: logging.LogRecord) -> str:
    """The code of the first of our errors among the arguments."""
    if name != "code" or not isinstance(record.args, tuple):
        return ""
    return next((argument.code for argument in record.args if isinstance(argument, FedcohortError)), "")


def log_to_stderr(form: LogFormat = LogFormat.text) -> None:
    """Log as the long-running commands do."""
    handler = logging.StreamHandler()
    words = DiscreetFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form is LogFormat.json else words)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("httpx", "waitress.queue"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
