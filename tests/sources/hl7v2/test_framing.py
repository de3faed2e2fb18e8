"""Where messages begin and end."""

import io

import pytest

from fedcohort.sources.hl7v2.framing import messages

from .build import PID, framed, message

ONE, TWO = message("ADT^A01", PID, control="1"), message("ADT^A08", PID, control="2")


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_lines_may_end_by_carriage_return_line_feed_or_both(end: bytes) -> None:
    file = (ONE + TWO).replace(b"\r", end)
    assert [one.data.replace(end, b"\r") + b"\r" for one in framed(file)] == [ONE, TWO]
    assert [one.number for one in framed(file)] == [1, 2]


def test_a_message_named_within_a_field_begins_none() -> None:
    held = message("ORU^R01", PID, "NTE|1||he wrote MSH|^~\\&| in his note", "OBX|1|TX|1^T^L||MSH|x||||||F")
    assert [one.data for one in framed(held)] == [held.rstrip(b"\r")]


def test_a_line_of_a_text_that_begins_like_a_message_but_has_no_separators_begins_none() -> None:
    held = message("ORU^R01", PID, "NTE|1||first line\nMSH is the header\nMSH-1 too")
    assert len(framed(held)) == 1


def test_marks_of_mllp_and_of_the_byte_order_are_taken_off() -> None:
    file = b"\xef\xbb\xbf" + ONE + b"\x0b" + TWO + b"\x1c\r" + b"\xef\xbb\xbf" + ONE
    assert [one.data + b"\r" for one in framed(file)] == [ONE, TWO, ONE]


def test_batches_hold_messages_and_their_count_is_checked() -> None:
    batch = b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r" + ONE + TWO + b"BTS|2\rFTS|1\r"
    assert [(one.data + b"\r", one.fault) for one in framed(batch)] == [(ONE, ""), (TWO, "")]
    short = framed(batch.replace(b"BTS|2", b"BTS|3"))
    assert [bool(one.fault) for one in short] == [False, False, True]
    assert "3 messages and holds 2" in short[-1].fault


def test_bytes_before_the_first_message_are_told() -> None:
    first, second = framed(b"dear all,\r" + ONE)
    assert "no message begins here" in first.fault
    assert second.data + b"\r" == ONE


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_refused_by_name(codec: str) -> None:
    (only,) = framed(ONE.decode().encode(codec))
    assert "UTF-16" in only.fault


def test_a_message_that_is_too_long_is_told_and_the_next_is_read() -> None:
    for size in (900, 300_000, 1_000_000):
        long = message("ORU^R01", PID, "OBX|1|ED|1^T^L||" + "x" * size)
        file = ONE + long + TWO
        assert [(one.data + b"\r" if one.data else b"", bool(one.fault)) for one in framed(file, 800)] == [
            (ONE, False),
            (b"", True),
            (TWO, False),
        ], size


@pytest.mark.parametrize("size", [1, 7, 64, 261_000, 262_144, 262_145, 524_288])
def test_a_message_is_the_same_wherever_the_reading_stops_between(size: int) -> None:
    filler = message("ORU^R01", PID, "OBX|1|TX|1^T^L||" + "y" * size)
    file = filler + ONE + b"\r\n" + TWO + filler
    whole = [filler, ONE, TWO, filler]
    assert [one.data + b"\r" for one in framed(file)] == whole

    class Drip(io.BytesIO):
        """A file that gives fewer bytes than are asked for."""

        def read(self, n: int | None = -1) -> bytes:
            return super().read(min(n or 1, 997))

    assert [one.data + b"\r" for one in messages(Drip(file))] == whole


def test_an_empty_file_holds_nothing() -> None:
    assert framed(b"") == framed(b"\r\n\r\n") == []
