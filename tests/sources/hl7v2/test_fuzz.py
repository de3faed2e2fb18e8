"""Whatever comes, a message becomes changes or refusals, and a file messages or faults."""

import io

from hypothesis import given
from hypothesis import strategies as st

from fedcohort.sources.events.change import Group, Merge, Refusal
from fedcohort.sources.hl7v2.framing import messages
from fedcohort.sources.hl7v2.mapping import read_message
from fedcohort.sources.hl7v2.reading import Hl7Options

from .build import PID, PV1, message

SEEDS = [
    message(
        "ADT^A01", "EVN||20260110", PID, PV1, "DG1|1||I21^x^I10||20260105|A", "PR1|1||47.0^x^I9C||2026||9"
    ),
    message("ADT^A40", PID, "MRG|OLD^^^HOSP^MR", PV1),
    message("ORU^R01", PID, "ORC|RE|A|F", "OBR|1|A|F|1^T^L|||2026", "OBX|1|SN|1^T^LN|1|>^5|mg|||||C|||2026"),
    message("OUL^R22", PID, "SPM|1|S", "OBR|1||F|1^T^L", "ORC|RE", "OBX|1|NM|1^T^LN||5~6|mg|||||F"),
    message("RDE^O11", PID, "ORC|NW|A|F", "RXE|^^^2026^2027|1^x^NDC|2||mg", "RXR|PO", "TQ1|1||||||2026|2027"),
    message("RDS^O13", PID, "ORC|RE|A|F", "RXD|1|1^x^NDC|2026|2|mg||7"),
    message("VXU^V04", PID, "ORC|RE||9999", "RXA|0|1|2026||08^x^CVX|1|mL"),
    message("PPR^PC1", PID, "PRB|AD|2026|E11^x^I10|7"),
    message("MDM^T02", PID, "TXA|1|DS|TX|2026||||||||D1|D0||||AU", "OBX|1|TX|1^T^L||text"),
    message("ORU^R01", PID, "OBX|1|ST|1^T^L||亅雦", charset="GB18030", codec="gb18030"),
]
PIECES = [
    b"|",
    b"^",
    b"~",
    b"\\",
    b"&",
    b"\r",
    b"\n",
    b'""',
    b"\\X",
    b"\x00",
    b"\xff",
    b"\x81|",
    b"MSH|^~\\&|",
    b"\x1b$B",
]
edits = st.lists(
    st.tuples(st.integers(0, 600), st.integers(0, 12), st.sampled_from(PIECES) | st.binary(max_size=8)),
    max_size=8,
)


def edited(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, piece in changes:
        place = at % (len(seed) + 1)
        seed = seed[:place] + piece + seed[place + length :]
    return seed


@given(st.sampled_from(SEEDS), edits)
def test_a_damaged_message_is_read_or_refused(seed: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    for change in read_message(edited(seed, changes), Hl7Options()):
        assert isinstance(change, Group | Merge | Refusal)


@given(st.lists(st.sampled_from(SEEDS), max_size=4), edits, st.integers(20, 2000))
def test_a_damaged_file_is_framed(
    seeds: list[bytes], changes: list[tuple[int, int, bytes]], limit: int
) -> None:
    file = edited(b"".join(seeds), changes)
    framed = list(messages(io.BytesIO(file), limit))
    assert [one.number for one in framed] == list(range(1, len(framed) + 1))
    assert all(len(one.data) <= limit and bool(one.data) != bool(one.fault) for one in framed)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    changes = read_message(b"MSH" + data, Hl7Options())
    assert all(isinstance(change, Group | Merge | Refusal) for change in changes)
