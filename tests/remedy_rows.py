"""A row of the tables of remedies: a fault, what is said of it, and the same deed as it says."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fedcohort.errors import FedcohortError


@dataclass(frozen=True)
class Row:
    """A remedy obeyed: a fault, what is said of it, and the same deed as it says.

    Attributes:
        said: of the text as the source has it, {} where a value is filled in.
    """

    said: str
    fault: Callable[[], object]
    obeyed: Callable[[], object]


def pattern(said: str) -> re.Pattern[str]:
    """Finds a text, or a piece of it, in a message."""
    return re.compile(".*".join(map(re.escape, said.split("{}"))), re.DOTALL)


def refusal(said: str, fault: Callable[[], object]) -> str:
    """The message with which a deed is refused, which is the one that is meant."""
    with pytest.raises((FedcohortError, ValueError), match=pattern(said)) as refused:
        fault()
    return str(refused.value)


def obey(row: Row) -> None:
    """Make the fault, and then do as it says."""
    refusal(row.said, row.fault)
    row.obeyed()
