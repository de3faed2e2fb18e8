"""Small messages, and what the reader makes of them."""

import io
from collections.abc import Mapping

from fedcohort.sources.events.change import Group, Merge, Refusal, Value
from fedcohort.sources.hl7v2.framing import MAX_MESSAGE_BYTES, Framed, messages
from fedcohort.sources.hl7v2.mapping import read_message
from fedcohort.sources.hl7v2.reading import Hl7Options

PID = "PID|1||P1^^^HOSP^MR||MARKER^PATIENT||19630306|F"


def segment(name: str, fields: Mapping[int, str]) -> str:
    """A segment with some of its fields."""
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


PV1 = segment("PV1", {1: "1", 2: "I", 3: "WARD", 19: "V1", 44: "20260105101500"})


def message(
    kind: str,
    *segments: str,
    at: str = "20260110120000",
    control: str = "M1",
    charset: str = "",
    **parts: str,
) -> bytes:
    """A message of a type such as ADT^A01, ended by carriage returns."""
    processing, version = parts.get("processing", "P"), parts.get("version", "2.5.1")
    head = f"MSH|^~\\&|LAB|HOSP|FED|HOSP|{at}||{kind}|{control}|{processing}|{version}||||||{charset}"
    codec = parts.get("codec", "utf-8")
    return b"".join(line.encode(codec) + b"\r" for line in (head, *segments))


def framed(data: bytes, limit: int = MAX_MESSAGE_BYTES) -> list[Framed]:
    """The messages of a file."""
    return list(messages(io.BytesIO(data), limit))


def groups(data: bytes, kind: str, options: Hl7Options | None = None) -> list[Group]:
    """What a message puts into one event table."""
    changes = read_message(data, options or Hl7Options())
    return [change for change in changes if isinstance(change, Group) and change.kind == kind]


def rows(data: bytes, kind: str, options: Hl7Options | None = None) -> list[Mapping[str, Value]]:
    """The rows of one event table."""
    return [row for group in groups(data, kind, options) for row in group.rows]


def refusals(data: bytes, options: Hl7Options | None = None) -> list[tuple[str, str]]:
    """What was left out: places and codes."""
    changes = read_message(data, options or Hl7Options())
    return [(change.place, change.code) for change in changes if isinstance(change, Refusal)]


def merges(data: bytes, options: Hl7Options | None = None) -> list[Merge]:
    """Who is one patient."""
    return [change for change in read_message(data, options or Hl7Options()) if isinstance(change, Merge)]
