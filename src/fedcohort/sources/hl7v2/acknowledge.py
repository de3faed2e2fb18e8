"""What a sender is told: HL7 v2.9, 2.9.2 (original mode: AA, AE, AR) and 2.9.3 (enhanced mode: CA, CE, CR).

An acknowledgement has nothing but the names and the number that the sender gave, a code, and a word of ours.
"""

import re
import secrets
import time
from dataclasses import dataclass
from typing import Literal

from fedcohort.errors import Hl7Error
from fedcohort.sources.hl7v2.framing import holds_another
from fedcohort.sources.hl7v2.mapping import check_header
from fedcohort.sources.hl7v2.message import DELETE, Message, are_separators

Verdict = Literal["A", "E", "R"]
"""Accepted; an error, or a message that is not for us: neither is stored."""
REJECTED = frozenset(("type", "charset", "too-large", "not-production"))
_ERRORS = {
    "type": "200^Unsupported message type",
    "not-production": "202^Unsupported processing id",
    "charset": "103^Table value not found",
    "second-header": "100^Segment sequence error",
    "no-message": "100^Segment sequence error",
    "too-large": "207^Application internal error",
}
"""HL7 table 0357."""
_OTHER_ERROR = "102^Data type error"
_NAMED = (3, 4, 5, 6, 9, 10, 11, 12, 18)
"""Fields of MSH: who sent it to whom, its type, number, processing, version and characters."""
_LONGEST = 250
"""Characters of a name or number that is told back."""
_UNSEEN = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Header:
    """What an acknowledgement takes from the message.

    Attributes:
        fields: of MSH, by number; MSH-1 and MSH-2 as they are.
        codec: in which the message is written.
    """

    fields: tuple[str, ...]
    codec: str

    def field(self, number: int) -> str:
        """One of them; empty where the message has none."""
        return self.fields[number] if number < len(self.fields) else ""


def examine(data: bytes, charset: str) -> tuple[Header, Hl7Error | None]:
    """Read as much of a message as decides whether it is taken.

    Returns:
        its header, and what is wrong with it.
    """
    try:
        message = Message(data, charset, header_alone=True)
    except Hl7Error as error:
        return header_of(data), error
    header = Header(tuple(message.segments[0]), message.codec)
    try:
        check_header(message)
    except Hl7Error as error:
        return header, error
    if holds_another(data):
        # Whoever can write a text could write a message of any patient; in the inbox it would begin one.
        sentence = "a second header begins within the message; escape ends of lines in texts"
        return header, Hl7Error("MSH", "second-header", sentence)
    return header, None


def header_of(data: bytes) -> Header:
    """MSH of a message that cannot be read: its bytes as they are."""
    head = re.split(rb"[\r\n]", data, maxsplit=1)[0].decode("latin-1")
    if len(head) < 8 or head[:3] != "MSH" or head[3].isalnum():
        return Header(("MSH", "|", "^~\\&"), "latin-1")
    fields = head.split(head[3])
    return Header(("MSH", head[3], *fields[1:]), "latin-1")


def acknowledgement(header: Header, verdict: Verdict, fault: str = "") -> bytes | None:
    """The answer to a message, without MLLP's marks; None where its sender wants none.

    Args:
        fault: why it was not taken, in a word.
    """
    code = _code(header, verdict)
    if code is None:
        return None
    separator, marks = header.field(1), header.field(2)
    if not are_separators(separator, marks):
        separator, marks = "|", "^~\\&"
    component = marks[0]
    told = {number: _told(header.field(number), separator) for number in _NAMED}
    now = time.strftime("%Y%m%d%H%M%S+0000", time.gmtime())
    event = told[9].split(component)[1] if component in told[9] else ""
    kind = component.join(("ACK", event, "ACK")) if event else "ACK"
    version = told[12].split(component)[0] or "2.5"
    names = [told[5], told[6], told[3], told[4], now, ""]
    msh = ["MSH", marks, *names, kind, secrets.token_hex(8), told[11] or "P", told[12] or "2.5"]
    if told[18]:
        msh += ["", "", "", "", "", told[18]]
    segments = [msh, ["MSA", code, told[10], *([fault] if fault else [])]]
    if verdict != "A" and version >= "2.5":
        number = _ERRORS.get(fault, _OTHER_ERROR).replace("^", component)
        segments.append(["ERR", "", "", f"{number}{component}HL70357", "E"])
    text = "".join(separator.join(segment) + "\r" for segment in segments)
    return text.encode(header.codec, "replace")


def _code(header: Header, verdict: Verdict) -> str | None:
    """By MSH-15 and MSH-16 (2.9.3.2): whether a sender wants to hear, and which kind of answer."""
    accept, application = (header.field(number).strip().upper() for number in (15, 16))
    if not accept and not application:
        return f"A{verdict}"
    if _is_wanted(accept or "AL", verdict):
        return f"C{verdict}"
    if application and _is_wanted(application, verdict):
        return f"A{verdict}"
    return None


def _is_wanted(condition: str, verdict: Verdict) -> bool:
    """HL7 table 0155."""
    if condition == "NE":
        return False
    if condition in ("ER", "SU"):
        return (verdict == "A") == (condition == "SU")
    return True


def _told(value: str, separator: str) -> str:
    """A name or number of the sender's, as it may be sent back."""
    text = (value if value.isprintable() else _UNSEEN.sub("", value))[:_LONGEST]
    return "" if text == DELETE or separator in text else text
