"""One message: its characters, its separators, its escapes."""

import pytest

from fedcohort.errors import Hl7Error
from fedcohort.sources.hl7v2.message import DELETE, MAX_REPETITIONS, MAX_SEGMENTS, Message

from .build import PID, message, refusals


def read(data: bytes) -> Message:
    return Message(data)


def obx(data: bytes) -> str:
    told = read(data)
    return told.get(next(one for one in told.segments if one[0] == "OBX"), 5)


def test_fields_of_msh_are_counted_with_their_separator_as_the_first() -> None:
    told = read(message("ADT^A01", PID))
    head = told.segments[0]
    assert (head[1], head[2]) == ("|", "^~\\&")
    assert (told.get(head, 9), told.get(head, 9, 2), told.get(head, 10)) == ("ADT", "A01", "M1")


def test_any_separators_do_and_those_of_the_message_hold() -> None:
    told = read(b"MSH$%*!@$LAB$$$$20260110$$ADT%A01$M1$P$2.5\rPID$1$$P1%%%HOSP@x%MR*P2%%%B%MR\r")
    pid = told.segments[1]
    assert (told.get(pid, 3), told.get(pid, 3, 4), told.get(pid, 3, 4, sub=2)) == ("P1", "HOSP", "x")
    assert (told.get(pid, 3, 1, 1), told.repetitions(pid, 3)) == ("P2", 2)


def test_the_truncation_character_of_version_2_7_is_a_separator_and_its_escape_is_read() -> None:
    told = read(b"MSH|^~\\&#|LAB||||20260110||ADT^A01^ADT_A01|M1|P|2.7\rPID|1||P1\\P\\2^^^H^MR\r")
    assert told.segments[0][2] == "^~\\&#"
    assert told.get(told.segments[1], 3) == "P1#2"


def test_fewer_separators_leave_the_others_at_their_usual_marks() -> None:
    told = read(b"MSH|^~|LAB||||20260110||ADT^A01|M1|P|2.3\rPID|1||P1\\T\\2^^^H&x^MR\r")
    assert (told.get(told.segments[1], 3), told.get(told.segments[1], 3, 4)) == ("P1&2", "H")


@pytest.mark.parametrize("head", [b"MSH|^^\\&|", b"MSH||~\\&|", b"MSH|a~\\&|", b"MSH||||||", b"PID|1||2||3|"])
def test_separators_that_are_not_different_marks_are_refused(head: bytes) -> None:
    with pytest.raises(Hl7Error, match="MSH"):
        read(head + b"LAB||||20260110||ADT^A01|M1|P|2.5\r")


BAR = [bytes([first, 0x7C]) for first in range(0x81, 0xFF)]
"""Characters of GB18030 whose second byte is the bar's, such as 亅 (81 7C)."""


def test_characters_that_hold_the_byte_of_a_separator_are_decoded_before_fields_are_split() -> None:
    assigned = [pair.decode("gb18030") for pair in BAR]
    assert {len(one) for one in assigned} == {1}
    assert len(assigned) > 100
    for one in assigned:
        data = message("ORU^R01", PID, f"OBX|1|ST|1^T^L||{one}|mg", charset="GB 18030-2000", codec="gb18030")
        told = read(data)
        assert (told.get(told.segments[2], 5), told.get(told.segments[2], 6)) == (one, "mg")


def test_a_sender_whose_name_holds_a_separator_s_byte_does_not_hide_its_character_set() -> None:
    head = "MSH|^~\\&|检验|市医院雦亅丨|FED|X|20260110||ORU^R01|M1|P|2.5||||||GB 18030-2000\r"
    whole = (head + "PID|1||P1^^^医院^MR\r").encode("gb18030")
    assert b"\x7c" in "雦亅丨".encode("gb18030")
    told = read(whole)
    assert (told.codec, told.get(told.segments[1], 3, 4)) == ("gb18030", "医院")


def test_iso_2022_jp_is_read_with_what_looks_like_separators_within() -> None:
    name = "山田太郎縺"
    for said in ("~ISO IR87", "ISO IR6~ISO IR87", "ISO IR87"):
        head = f"MSH|^~\\&|検査|H|F|H|20260110||ORU^R01|M1|P|2.5||||||{said}\r"
        data = (head + f"PID|1||P1^^^病院^MR||{name}|x\r").encode("iso2022_jp_ext")
        told = read(data)
        assert (told.get(told.segments[1], 5), told.get(told.segments[1], 6)) == (name, "x")


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("8859/1", "latin-1", "Müller"),
        ("8859/2", "iso8859-2", "Łódź"),
        ("8859/15", "iso8859-15", "10 €"),
        ("UNICODE UTF-8", "utf-8", "孙"),
        ("KS X 1001", "euc_kr", "김"),
        ("BIG-5", "big5hkscs", "功蓋許"),
        ("", "utf-8", "é"),
    ],
)
def test_characters_are_read_by_msh_18(charset: str, codec: str, text: str) -> None:
    assert obx(message("ORU^R01", PID, f"OBX|1|ST|1^T^L||{text}", charset=charset, codec=codec)) == text


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        ("EBCDIC", b""),
        ("UNICODE UTF-16", b""),
        ("UNICODE UTF-32", b""),
        ("ASCII", b"\xe9"),
        ("", b"\xe9"),
        ("", b"\0"),
    ],
)
def test_what_cannot_be_decoded_is_refused_and_never_guessed(charset: str, data: bytes) -> None:
    with pytest.raises(Hl7Error) as caught:
        read(message("ORU^R01", PID, charset=charset) + b"OBX|1|ST|1^T^L||" + data + b"\r")
    assert (caught.value.field, caught.value.fault) == ("MSH-18", "charset")


@pytest.mark.parametrize(
    ("written", "charset", "codec", "text"),
    [
        (r"a\F\b\S\c\R\d\T\e\E\f", "", "utf-8", "a|b^c~d&e\\f"),
        (r"one\.br\two", "", "utf-8", "one\ntwo"),
        (r"\H\loud\N\ soft\.sp 2\ ", "", "utf-8", "loud soft"),
        (r"\X4142\ ", "", "utf-8", "AB"),
        (r"\Xc3a9\t\Xc3a9\ ", "", "utf-8", "été"),
        (r"M\XFC\ller", "8859/1", "latin-1", "Müller"),
        (r"\Xb9a6\ ", "GB 18030-2000", "gb18030", "功"),
        (r"\Xzz\|x", "", "utf-8", ""),
        (r"\C2842\\Z1\\M1\text", "", "utf-8", "text"),
        (r"C:\dir", "", "utf-8", "C:\\dir"),
        (r"\Q\ stays", "", "utf-8", r"\Q\ stays"),
    ],
)
def test_escape_sequences_are_read_and_bytes_in_them_by_the_message_s_characters(
    written: str, charset: str, codec: str, text: str
) -> None:
    data = message("ORU^R01", PID, f"OBX|1|ST|1^T^L||{written}", charset=charset, codec=codec)
    assert obx(data).strip() == text


def test_a_separator_that_was_escaped_separates_nothing() -> None:
    told = read(message("ORU^R01", PID, r"OBX|1|CE|1^T^L||a\S\b^text\T\x^L"))
    assert (told.get(told.segments[2], 5), told.get(told.segments[2], 5, 2)) == ("a^b", "text&x")


def test_empty_and_deleted_and_absent_are_told_apart() -> None:
    told = read(message("ADT^A08", 'PID|1||P1||""|'))
    pid = told.segments[1]
    assert (told.get(pid, 5), told.get(pid, 6), told.get(pid, 40)) == (DELETE, "", "")


def test_a_line_that_is_no_segment_goes_on_with_the_text_before_it() -> None:
    told = read(
        b"MSH|^~\\&|LAB||||20260110||ORU^R01|M1|P|2.5\nNTE|1||first\nsecond line\n\nOBX|1|ST|1^T^L||v\n"
    )
    assert [one[0] for one in told.segments] == ["MSH", "NTE", "OBX"]
    assert told.get(told.segments[1], 3) == "first\nsecond line"


def test_a_text_of_many_lines_is_put_together_once() -> None:
    """Line by line it would be copied for each: sixteen megabytes took a minute and more."""
    lines = ["x" * 800] * 20_000
    told = read(message("ORU^R01", PID, "NTE|1||first", *lines))
    assert told.get(told.segments[2], 3) == "\n".join(["first", *lines])


def test_a_field_of_too_many_repetitions_is_refused_before_rows_are_made_of_it() -> None:
    most = read(message("ADT^A01", "PID|1||" + "~".join(["P1^^^HOSP^MR"] * MAX_REPETITIONS)))
    assert most.repetitions(most.segments[1], 3) == MAX_REPETITIONS
    assert most.get(most.segments[1], 3, 5, repetition=MAX_REPETITIONS - 1) == "MR"
    assert refusals(message("ADT^A01", "PID|1||" + "~" * MAX_REPETITIONS)) == [("PID-3", "too-large")]
    observation = "OBX|1|NM|1^T^L||" + "~".join("1" * (MAX_REPETITIONS + 1))
    assert refusals(message("ORU^R01", PID, observation)) == [("OBX-5", "too-large")]


def test_too_many_lines_are_refused_before_they_are_split() -> None:
    with pytest.raises(Hl7Error, match="100,000 segments"):
        read(message("ADT^A01", PID) + b"a\r" * (2 * MAX_SEGMENTS))
