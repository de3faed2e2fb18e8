"""When what a group of events says was written: whole, or column by column where messages keep columns.

A later word holds and an earlier one does not, in whatever order they arrive. Of HL7 v2 an empty field keeps
what is stored, so that one row may be the work of several messages: each column then has its own time, and
whether there is a row at all has one, too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

At = int | None
"""Milliseconds since 1970-01-01 UTC; None where nobody knows, and the order of arrival decides."""
NEVER = -(2**62)
"""Of a column of which nobody has said anything."""


def is_later(stored: At, incoming: At) -> bool:
    """Whether what is stored was written after what comes."""
    return stored is not None and incoming is not None and stored > incoming


@dataclass(frozen=True)
class Clock:
    """When a group was written.

    Attributes:
        at: the latest that is known of it: whether its rows are there.
        columns: of a single row, the columns that were written at another time.
    """

    at: At
    columns: Mapping[str, int | None] = field(default_factory=dict)

    def of(self, column: str) -> At:
        """When a column was written."""
        return self.columns.get(column, self.at)

    def encoded(self) -> bytes:
        """As it is kept."""
        return json.dumps([self.at, *([dict(self.columns)] if self.columns else [])]).encode()


def clock_of(at: At, columns: Mapping[str, At]) -> Clock:
    """A clock of these columns, in its shortest form."""
    return Clock(at, {name: when for name, when in columns.items() if when != at})


def decoded(content: bytes) -> Clock:
    """What `Clock.encoded` made."""
    at, *columns = json.loads(content)
    return Clock(at, *columns)
