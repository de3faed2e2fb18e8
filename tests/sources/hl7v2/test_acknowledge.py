"""What senders are told."""

import pytest

from fedcohort.sources.hl7v2.acknowledge import Verdict, acknowledgement, examine
from fedcohort.sources.hl7v2.message import Message

from .build import PID, message


def answered(data: bytes, verdict: Verdict = "A", fault: str = "") -> Message | None:
    answer = acknowledgement(examine(data, "utf-8")[0], verdict, fault)
    return None if answer is None else Message(answer)


def asking(accept: str, application: str) -> bytes:
    return message("ADT^A01", PID).replace(b"|2.5.1|||", f"|2.5.1|||{accept}|{application}|".encode())


def test_an_acknowledgement_goes_back_to_who_sent_the_message_and_names_its_number() -> None:
    told = answered(message("ADT^A01^ADT_A01", PID, control="Q17"))
    assert told is not None
    head, msa = told.segments
    assert [told.get(head, number) for number in (3, 4, 5, 6)] == ["FED", "HOSP", "LAB", "HOSP"]
    assert [told.get(head, 9, part) for part in (1, 2, 3)] == ["ACK", "A01", "ACK"]
    assert (told.get(head, 11), told.get(head, 12)) == ("P", "2.5.1")
    assert msa == ["MSA", "AA", "Q17"]


def test_it_has_the_separators_and_characters_of_the_message() -> None:
    data = "MSH$%*!@$检验$市医院$FED$X$20260110$$ADT%A01$7$P$2.5$$$$$$GB18030\rPID$1$$P1\r".encode("gb18030")
    answer = acknowledgement(examine(data, "utf-8")[0], "A")
    assert answer is not None
    told = Message(answer)
    assert (told.field, told.component, told.codec) == ("$", "%", "gb18030")
    assert told.get(told.segments[0], 5) == "检验"
    assert told.segments[1] == ["MSA", "AA", "7"]


@pytest.mark.parametrize(
    ("data", "fault", "number"),
    [
        (message("REF^I12", PID), "type", "200"),
        (message("ADT^A01", PID, processing="T"), "not-production", "202"),
        (message("ADT^A01", PID, charset="EBCDIC"), "charset", "103"),
        (message("ADT^A01", PID).replace(b"^~\\&", b"^^\\&"), "separators", "102"),
        (b"PID|1||P1", "no-message", "100"),
    ],
)
def test_what_is_wrong_is_told_in_a_word_and_never_with_a_value(data: bytes, fault: str, number: str) -> None:
    header, error = examine(data, "utf-8")
    assert error is not None
    assert error.fault == fault
    answer = acknowledgement(header, "R", fault)
    assert answer is not None
    told = Message(answer.replace(b"EBCDIC", b""))
    assert told.segments[1][1:3:2] == ["AR"]
    assert told.get(told.segments[1], 3) == fault
    assert told.get(told.segments[2], 3) == number
    assert b"MARKER" not in answer


def test_before_version_2_5_there_is_no_such_err_segment() -> None:
    told = answered(message("REF^I12", PID, version="2.3"), "R", "type")
    assert told is not None
    assert [segment[0] for segment in told.segments] == ["MSH", "MSA"]


@pytest.mark.parametrize(
    ("accept", "application", "accepted", "rejected"),
    [
        ("", "", "AA", "AR"),
        ("AL", "NE", "CA", "CR"),
        ("AL", "AL", "CA", "CR"),
        ("ER", "NE", None, "CR"),
        ("SU", "NE", "CA", None),
        ("NE", "NE", None, None),
        ("NE", "AL", "AA", "AR"),
        ("", "AL", "CA", "CR"),
        ("ER", "AL", "AA", "CR"),
    ],
)
def test_enhanced_mode_answers_as_msh_15_and_16_ask(
    accept: str, application: str, accepted: str | None, rejected: str | None
) -> None:
    for verdict, code in (("A", accepted), ("R", rejected)):
        told = answered(asking(accept, application), verdict)  # type: ignore[arg-type]
        assert (told.segments[1][1] if told else None) == code


def test_an_error_of_enhanced_mode_is_ce() -> None:
    told = answered(asking("AL", ""), "E", "time")
    assert told is not None
    assert told.segments[1][1] == "CE"


def test_a_name_is_told_back_bounded_and_without_control_characters() -> None:
    told = answered(message("ADT^A01", PID, control="x\x07" + "9" * 4000))
    assert told is not None
    assert told.segments[1][2] == "x" + "9" * 249
