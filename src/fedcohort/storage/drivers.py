"""Drivers that raise for no value: what Python cannot represent comes as text or bytes.

A date before Christ, a text outside the encoding or JSON nested a thousand deep would raise in the
driver, for one row: an exact study would end without saying which column, and a private one would
reveal that such a patient is there. As text or bytes it is treated like any other value that does not fit.
"""

import sqlite3
from importlib import import_module
from typing import Any

from sqlalchemy import Connection

_DATES = {
    "date": "DateLoader",
    "time": "TimeLoader",
    "timetz": "TimetzLoader",
    "timestamp": "TimestampLoader",
    "timestamptz": "TimestamptzLoader",
    "interval": "IntervalLoader",
}
_TEXTS = ("text", "varchar", "bpchar", "name")


def read_every_value(connection: Connection) -> None:
    """Let the driver of SQLite or PostgreSQL raise for no value, for as long as the connection lives."""
    raw: Any = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        raw.text_factory = _text_of
    elif connection.dialect.driver == "psycopg":
        _read_every_value(raw)


def _text_of(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _read_every_value(raw: Any) -> None:  # noqa: ANN401  psycopg need not be installed
    psycopg, dates = import_module("psycopg"), import_module("psycopg.types.datetime")
    strings = import_module("psycopg.types.string")
    for name, loader in _DATES.items():
        raw.adapters.register_loader(
            name, _lenient(getattr(dates, loader), (psycopg.DataError, OverflowError))
        )
    for name in ("json", "jsonb"):  # read by `json` later, where it may fail
        raw.adapters.register_loader(name, strings.TextLoader)
    if raw.info.parameter_status("server_encoding") != "UTF8":
        for name in _TEXTS:
            raw.adapters.register_loader(name, _lenient(strings.TextLoader, (UnicodeDecodeError,)))


def _lenient(loader: Any, errors: tuple[type[Exception], ...]) -> Any:  # noqa: ANN401
    """A loader that gives the server's own text where the usual one raises."""

    class Lenient(loader):  # type: ignore[misc]
        def load(self, data: Any) -> Any:  # noqa: ANN401
            try:
                return super().load(data)
            except errors:
                return _text_of(bytes(data))

    return Lenient
