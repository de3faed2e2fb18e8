"""What a reader of a format makes of a message or resource: changes of the event tables, and refusals.

A reader is pure: bytes in, `Record`s out. It gives patients, keys and identifiers as they come and times as
they are; the import makes pseudonyms and moves the dates (`sources/events/deidentified.py`).

    Record("message 12", (Group("observations", "ORD-7", as_of, "P1", ({"code": …, "time": …},)),))

Whatever does not fit raises here, so that a reader refuses that one record, with its place, and goes on.
"""

import enum
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fedcohort.errors import ValueRangeError
from fedcohort.sources.catalogue.schema import LONGEST_ID
from fedcohort.sources.events.tables import KINDS, LENGTHS, Role
from fedcohort.sources.events.times import is_time


class _Keep(enum.Enum):
    KEEP = enum.auto()


KEEP: Final = _Keep.KEEP
"""A column of which a message says nothing: what is stored stays. HL7 v2's empty field (2.6)."""
Value = str | float | None | _Keep
Row = Mapping[str, Value]
"""Column to value, of the columns of its kind; one that is left out is missing (and deleted by an update)."""

LONGEST_KEY = LENGTHS["id"]
MOST_ROWS = 20_000
"""Rows of one group; a longer list is refused, and never cut."""
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")
_WORD = re.compile(r"[A-Za-z0-9<>=+~*/_.:-]+")
_PLACE, _SENTENCE = 400, 1000


@dataclass(frozen=True)
class Group:
    """Replace group: the rows of `key` in a table go, and these take their place, unless newer stand there.

    Attributes:
        kind: the table, one of `KINDS`.
        key: what owns the rows, such as a resource's id, a visit's number, an order's: one of its source's.
        as_of: when the source wrote it, in days since 1970-01-01 UTC: what is stored under a later one stays,
            and under the same one is replaced. None where nobody knows: the order of arrival decides.
        patient: the identifier as it comes. None where rows are deleted and the format does not say whose.
        rows: none: the rows are deleted. One row may KEEP columns; several are all of their group.

    `patients` may hold several rows of one patient, of several systems or from before a merge; whoever reads
    them takes the newest.

    Raises:
        ValueRangeError: names the table and the column, never a value.
    """

    kind: str
    key: str
    as_of: float | None
    patient: str | None
    rows: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no table can hold."""
        kind = KINDS.get(self.kind)
        if kind is None:
            raise ValueRangeError("there is no such kind of event; choose one of " + ", ".join(KINDS))
        _check_text(f"{self.kind}: the key", self.key, LONGEST_KEY)
        _check_as_of(self.as_of)
        if self.rows and self.patient is None:
            raise ValueRangeError(f"{self.kind}: rows without a patient")
        if self.patient is not None:
            _check_text("the patient's identifier", self.patient, LONGEST_ID)
        if len(self.rows) > MOST_ROWS:
            raise ValueRangeError(f"{self.kind}: more than {MOST_ROWS:,} rows of one key")
        for row in self.rows:
            for name, value in row.items():
                role = kind.columns.get(name)
                if role is None:
                    raise ValueRangeError(f"{self.kind}: has no column of that name")
                if value is KEEP:
                    if len(self.rows) > 1:
                        raise ValueRangeError(f"{self.kind}: only a single row keeps what is stored")
                elif value is not None:
                    _CHECKS[role](f"{self.kind}.{name}", role, value)


@dataclass(frozen=True)
class Merge:
    """Two identifiers are one patient, who is known as `into` from now on.

    Attributes:
        patient, into: as they come.
        as_of: when the source wrote it; of two that contradict each other the later one holds.
    Raises:
        ValueRangeError: an identifier is empty or too long.
    """

    patient: str
    into: str
    as_of: float | None

    def __post_init__(self) -> None:
        """Refuse what names nobody."""
        for identifier in (self.patient, self.into):
            _check_text("a merged patient's identifier", identifier, LONGEST_ID)
        _check_as_of(self.as_of)


@dataclass(frozen=True)
class Refusal:
    """What was left out.

    Attributes:
        place: within the record: a segment and field (`PID-3`), a JSON path; empty for all of it.
        code: a word for the reason, by which refusals are counted, such as `no-patient`.
        sentence: what is wrong and what to do; never a value.
    """

    place: str
    code: str
    sentence: str

    def __post_init__(self) -> None:
        """A report has bounded lines."""
        if not _WORD.fullmatch(self.code) or len(self.place) > _PLACE or len(self.sentence) > _SENTENCE:
            raise ValueRangeError("a refusal needs a code without blanks, a short place and a sentence")


Change = Group | Merge | Refusal


@dataclass(frozen=True)
class Record:
    """All that one message, resource or row says, which is stored together or not at all.

    Attributes:
        place: where in the part it stands: `line 7`, `message 12`, `entry 3`.
        changes: in the order in which they are made.
    """

    place: str
    changes: tuple[Change, ...] = field(default=())


def refused(place: str, fault: ValueRangeError) -> Refusal:
    """The refusal of a record of which a change could not be made."""
    return Refusal(place[:_PLACE], "value", f"{fault}; the record is left out: correct it in the source")


def _check_as_of(as_of: float | None) -> None:
    if as_of is not None and not is_time(as_of):
        raise ValueRangeError("the time of writing is no time of the calendar")


def _check_text(what: str, text: object, longest: int) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ValueRangeError(f"{what} is empty")
    if len(text) > longest:
        raise ValueRangeError(f"{what} has more than {longest} characters")
    if _UNSEEN.search(text):
        raise ValueRangeError(f"{what} holds a control character")


def _check_time(what: str, _role: Role, value: object) -> None:
    if not is_time(value):
        raise ValueRangeError(f"{what} is no time between 1800 and 2200")


def _check_number(what: str, _role: Role, value: object) -> None:
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueRangeError(f"{what} is no finite number")


def _check_id(what: str, _role: Role, value: object) -> None:
    _check_text(what, value, LONGEST_KEY)


def _check_code(what: str, role: Role, value: object) -> None:
    """A code list's texts are short, with few words; a sentence or a name with a title is none of them."""
    _check_text(what, value, LENGTHS[role])
    text = str(value)
    if text != text.strip() or len(text.split()) > (1 if role == "system" else 3):
        raise ValueRangeError(f"{what} is a text and no code")


def _check_word(what: str, _role: Role, value: object) -> None:
    if not isinstance(value, str) or len(value) > LENGTHS["word"] or not _WORD.fullmatch(value):
        raise ValueRangeError(f"{what} is no word of at most {LENGTHS['word']} letters, digits and signs")


_CHECKS = {
    "time": _check_time,
    "day": _check_time,
    "number": _check_number,
    "id": _check_id,
    "system": _check_code,
    "code": _check_code,
    "unit": _check_code,
    "word": _check_word,
}
