"""Bytes at random, and real files changed at random: read or refused, within bounds of time and memory."""

import math
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("pydicom", reason="DICOM needs the extra dicom")
pytest.importorskip("PIL", reason="pictures need Pillow")

from fedcohort.errors import DicomError
from fedcohort.sources.dicom.deidentify import DicomPrivacy
from fedcohort.sources.dicom.file import parse
from fedcohort.sources.dicom.write import deidentified_file
from tests.patience import PATIENCE_SECONDS
from tests.sources.dicom.files import raw, sample
from tests.sources.dicom.rows import refusal_of

ITEM, UNDEFINED = b"\xfe\xff\x00\xe0", b"\xff\xff\xff\xff"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]),
)
def test_any_bytes_are_read_or_refused(body: bytes, syntax: str) -> None:
    try:
        parse(raw(body, syntax=syntax.encode() + b"\0" * (len(syntax) % 2)))
    except DicomError:
        return


REAL = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "examples_palette.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_rle_2frame.dcm",
    "image_dfl.dcm",
    "MR_small_bigendian.dcm",
    "rtdose_1frame.dcm",
    "nested_priv_SQ.dcm",
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "copy", "length"]), st.floats(0, 1), st.integers(0, 255), st.booleans()
    ),
    min_size=1,
    max_size=8,
)


def edited(data: bytes, edits: list[tuple[str, float, int, bool]]) -> bytes:
    changed = bytearray(data)
    for what, place, number, early in edits:
        at = math.floor(place * (min(2000, len(changed)) if early else len(changed)))
        match what:
            case "set":
                changed[at : at + 1] = bytes((number,))
            case "cut":
                del changed[at : at + number]
            case "copy":
                changed[at:at] = changed[: 2 * number]
            case _:
                changed[at : at + 4] = (UNDEFINED, bytes(4), b"\xff\xff\xff\x7f", ITEM)[number % 4]
    return bytes(changed)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(REAL), edits=EDITS)
def test_a_mutated_real_file_is_read_or_refused_within_bounds(
    tmp_path: Path, name: str, edits: list[tuple[str, float, int, bool]]
) -> None:
    data = edited(sample(name).read_bytes(), edits)
    began = time.process_time()
    with warnings.catch_warnings(action="error"):
        refusal_of(data, tmp_path)
        try:
            out = deidentified_file(parse(data), DicomPrivacy(b"k" * 32))
        except DicomError:
            out = b""
    assert time.process_time() - began < PATIENCE_SECONDS
    assert len(out) < 50 * 2**20
