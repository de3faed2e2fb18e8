"""What one message has said so far: whose it is, and the groups and refusals that come of its segments."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedcohort.errors import Hl7Error, ValueRangeError
from fedcohort.sources.events.change import KEEP, Change, Group, Merge, Refusal, Value
from fedcohort.sources.events.times import (
    EARLIEST_DAYS,
    UTC,
    Precision,
    Time,
    hl7_day,
    hl7_time,
    hl7_zone,
)
from fedcohort.sources.hl7v2.charsets import DEFAULT
from fedcohort.sources.hl7v2.meanings import system
from fedcohort.sources.hl7v2.message import DELETE, Message, Segment

_NUMBER = re.compile(r"[+-]?(\d{1,300}(\.\d*)?|\.\d+)", re.ASCII)
"""NM of 2.A.47: no exponent, no comparator, no thousands."""
_WORD = re.compile(r"[A-Za-z0-9<>=+~*/_.:-]{1,32}")
_UNTYPED_LAST = frozenset(
    ("SS", "SSN", "DL", "PPN", "AN", "VN", "BC", "CC", "MA", "MC", "TAX", "PN", "EN", "NI")
)
"""HL7 table 0203: identifiers of PID-3 that are of accounts, visits, insurances or the whole country."""
_CODINGS = ((1, 3), (4, 6), (10, 12))
"""CWE: identifier and system, the alternate, and the second alternate."""


_ONE_ROW = frozenset(("patients", "encounters"))


@dataclass(frozen=True)
class Hl7Options:
    """How a site's messages are read.

    Attributes:
        zone: of times without one, where MSH-7 has none either.
        charset: codec of messages without MSH-18.
        authority: PID-3.4 of the identifiers that are the hospital's own, which are then taken as they are;
            None: any, and the authority is part of the identifier.
        types: PID-3.5, those preferred first.
    """

    zone: datetime.tzinfo = UTC
    charset: str = DEFAULT
    authority: str | None = None
    types: tuple[str, ...] = ("MR", "PI", "PT")


@dataclass
class _Draft:
    """Rows of one group, as they are collected."""

    kind: str
    key: str
    patient: str
    as_of: float | None
    place: tuple[Segment, int]
    rows: list[Mapping[str, Value]] = field(default_factory=list)


class Reading:
    """One message being read.

    Attributes:
        family, event: MSH-9.1 and 9.2, such as ADT and A08.
        patient: as the hospital knows it; None before PID, or where PID names nobody.
        visit: of what follows; empty where none is said.
    """

    def __init__(self, message: Message, options: Hl7Options) -> None:
        self.message, self.options = message, options
        head = message.segments[0]
        self.family, self.event = self.text(head, 9), self.text(head, 9, 2)
        self.patient: str | None = None
        self.visit = ""
        written = self.text(head, 7)
        self.zone = _zone(written) or options.zone
        self.evn = next((segment for segment in message.segments if segment[0] == "EVN"), ["EVN"])
        time = hl7_time(written, self.zone) or hl7_time(self.text(self.evn, 2), self.zone)
        self.as_of = time[0] if time else None
        self._drafts: dict[tuple[str, str], _Draft] = {}
        self._made: list[_Draft | Merge | Refusal] = []
        self._times: dict[str, Time | None] = {}
        """Those that were read; a message names one time often."""

    def text(self, segment: Segment, number: int, component: int = 1, repetition: int = 0) -> str:
        """A field's value without blanks around it."""
        return self.message.get(segment, number, component, repetition).strip()

    def value(self, segment: Segment, number: int, component: int = 1) -> str:
        """A field's value, nothing where it is empty or says that what is stored goes."""
        found = self.text(segment, number, component)
        return "" if found == DELETE else found

    def moment(self, segment: Segment, number: int, component: int = 1) -> tuple[Value, Precision | None]:
        """A time, and how exactly it is known; KEEP where the field is empty, None where it deletes."""
        found = self.text(segment, number, component)
        if not found:
            return KEEP, None
        if found == DELETE:
            return None, None
        time = self._times.get(found)
        if time is None:
            time = self._times[found] = hl7_time(found, self.zone)
        if time is None:
            self.refuse(segment, number, "time", "is no time of the form YYYY[MM[DD[HH[MM[SS]]]]][+ZZZZ]")
            return KEEP, None
        return time

    def first_moment(self, *places: tuple[Segment, int, int]) -> tuple[float | None, Precision | None]:
        """The first of several fields (segment, field, component) that holds a time."""
        for segment, number, component in places:
            time, precision = self.moment(segment, number, component)
            if isinstance(time, float):
                return time, precision
        return None, None

    def day(self, segment: Segment, number: int) -> Value:
        """A calendar day, which has no zone; KEEP where the field is empty, None where it deletes."""
        found = self.text(segment, number)
        if not found:
            return KEEP
        if found == DELETE:
            return None
        time = hl7_day(found)
        if time is None:
            self.refuse(segment, number, "time", "is no day of the form YYYY[MM[DD]]")
            return KEEP
        return time[0]

    def word(self, segment: Segment, number: int, meanings: Mapping[str, str] | None = None) -> Value:
        """A code of a short list, by its meaning if it has one; KEEP where empty, None where it deletes."""
        found = self.text(segment, number)
        if not found:
            return KEEP
        if found == DELETE:
            return None
        told = (meanings or {}).get(found.upper(), found)
        if not _WORD.fullmatch(told):
            self.refuse(segment, number, "code", "is no code of a list, but a text")
            return KEEP
        return told

    def number(self, segment: Segment, number: int, component: int = 1, repetition: int = 0) -> float | None:
        """A number; None where there is none."""
        found = self.text(segment, number, component, repetition)
        if not found or found == DELETE:
            return None
        if not _NUMBER.fullmatch(found):
            self.refuse(segment, number, "number", "is no number; its value is left out")
            return None
        return float(found)

    def codings(
        self, segment: Segment, number: int, repetition: int = 0, default: str = ""
    ) -> list[tuple[str | None, str]]:
        """A coded field as system and code: itself, and its alternates.

        Several words of no code system are a text, which nobody has checked for names.

        Args:
            default: the system's name where the field has none.
        """
        found: list[tuple[str | None, str]] = []
        parts = self.message.components(segment, number, repetition)
        for code, name in _CODINGS:
            if code > len(parts):
                break
            text = parts[code - 1]
            of = system((parts[name - 1] if name <= len(parts) else "") or default)
            is_code = text and text != DELETE and (of or len(text.split()) == 1)
            if is_code and (of, text) not in found:
                found.append((of, text))
        return found

    def identifier(self, segment: Segment, number: int, authority: int = 2, repetition: int = 0) -> str:
        """An identifier with who gave it: EI's component 2, CX's 4; empty where there is none."""
        found = self.text(segment, number, 1, repetition)
        if not found or found == DELETE:
            return ""
        by = self.text(segment, number, authority, repetition)
        return f"{found}^{by}" if by else found

    def patient_of(self, segment: Segment, number: int) -> str | None:
        """Whom a list of identifiers names (PID-3, MRG-1): by authority and type.

        Returns:
            the identifier alone where the site has said whose they are, else with its authority.
        """
        ranked: list[tuple[int, int, str]] = []
        types, own = self.options.types, self.options.authority
        for repetition in range(self.message.repetitions(segment, number)):
            kind = self.text(segment, number, 5, repetition)
            by = self.text(segment, number, 4, repetition)
            text = self.text(segment, number, 1, repetition)
            if not text or text == DELETE or kind in _UNTYPED_LAST or (own is not None and by != own):
                continue
            rank = types.index(kind) if kind in types else len(types)
            ranked.append((rank, repetition, text if own is not None or not by else f"{text}^{by}"))
        return min(ranked)[2] if ranked else None

    def add(
        self,
        kind: str,
        key: str,
        rows: list[Mapping[str, Value]],
        place: tuple[Segment, int],
        as_of: float | None = None,
    ) -> None:
        """Add rows to a group, which is deleted where it gets none at all; nothing where nobody is named.

        Args:
            as_of: another than the message's.
        """
        if self.patient is None:
            return
        draft = self._drafts.get((kind, key))
        if draft is None:
            when = self.as_of if as_of is None else as_of
            draft = _Draft(kind, key, self.patient, when, place)
            self._drafts[kind, key] = draft
            self._made.append(draft)
        if kind in _ONE_ROW and draft.rows and rows:  # a message may name a visit twice
            said = {name: value for name, value in rows[0].items() if value is not KEEP}
            rows = [{**draft.rows.pop(), **said}]
        draft.rows += rows

    def merge(self, patient: str, into: str, segment: Segment) -> None:
        """Two identifiers are one patient."""
        try:
            self._made.append(Merge(patient, into, self.as_of))
        except ValueRangeError as error:
            self.refuse(segment, 1, "value", f"{error}; the merge is left out")

    def refuse(self, segment: Segment, number: int, code: str, reason: str) -> None:
        """Tell what was left out, and where."""
        self._made.append(Refusal(self.place(segment, number), code, reason))

    def place(self, segment: Segment, number: int) -> str:
        """Such as PID-3, or OBX[2]-5 where a message has several."""
        same = [other for other in self.message.segments if other[0] == segment[0]]
        which = next((index for index, other in enumerate(same, 1) if other is segment), 1)
        name = f"{segment[0]}[{which}]" if len(same) > 1 else segment[0]
        return f"{name}-{number}" if number else name

    def before_every_adt(self) -> float | None:
        """The message's time among others of its kind, before that of every ADT message.

        What an ADT message says of patients and visits is not undone by a result that names them in passing,
        and was written a second later.
        """
        return None if self.as_of is None else EARLIEST_DAYS + (self.as_of - EARLIEST_DAYS) / 1000

    def changes(self) -> tuple[Change, ...]:
        """All of it, in order."""
        return tuple(self._built(made) if isinstance(made, _Draft) else made for made in self._made)

    def _built(self, draft: _Draft) -> Change:
        try:
            return Group(draft.kind, draft.key, draft.as_of, draft.patient, tuple(draft.rows))
        except ValueRangeError as error:
            return Refusal(self.place(*draft.place), "value", f"{error}; left out: correct it in the source")


def _zone(written: str) -> datetime.tzinfo | None:
    """The zone of MSH-7, which holds for the whole message (2.A.22)."""
    try:
        return hl7_zone(written)
    except ValueError:
        raise Hl7Error("MSH-7", "time", "its zone is none") from None
