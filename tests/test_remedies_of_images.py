# mypy: disable-error-code="func-returns-value"
# A row does one thing after another, and what each returns is nothing to it.
"""What is said of an image, of a folder of them or of their options, obeyed: the images then come in."""

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="DICOM needs the extra dicom")
pytest.importorskip("PIL", reason="pictures need Pillow")

from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from fedcohort.columns import Image
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.catalogue.stored_images import encode_image
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.dicom.file import MAX_FILE_BYTES, read_bytes
from fedcohort.sources.dicom.guard import Limits
from fedcohort.sources.dicom.scp import OUT_OF_RESOURCES, SUCCESS, Receiver
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows
from fedcohort.study import Cohort

from .remedies_obeyed_data import open_folder, unprivileged
from .remedy_rows import Row, obey, pattern, refusal
from .sources.dicom.files import PIXELS, SECONDARY_CAPTURE, element, encoded, image, raw
from .sources.dicom.files import write as written
from .sources.dicom.test_hostile import with_codestream
from .sources.dicom.test_scp import ct, send, sender
from .test_remedies_of_imports import bring
from .test_remedies_of_sites import write

IMPORT = "import dicom --height 2 --width 2 --into h.db --from in"
COPY = "deidentify-dicom --from in --into out"
GOOD = encoded(image(PIXELS, PatientID="P2", SOPInstanceUID="1.2.9"))
ODD = Path("in/odd.dcm")


@pytest.fixture(autouse=True)
def _images_in_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "4000")
    with open_folder():
        written(Path("in/good.dcm"), image(PIXELS, BurnedInAnnotation="NO"))
        yield


OPTIONS: list[tuple[str, str, str, str, str]] = [
    # What is told; the command and the file of options; both mended.
    ("--column: {} needs levels or a range: declare it in the file of --options; without, there are {}",
     f"{IMPORT} --column BodyPartThickness", "", f"{IMPORT} --options o.toml",
     '[columns.thick]\nkeyword = "BodyPartThickness"\nlow = 0\nhigh = 500\n'),
    ("columns.{}: dates are in {}; leave unit out; low and high are such", f"{IMPORT} --options o.toml",
     '[columns.seen]\nkeyword = "StudyDate"\nlow = 0\nhigh = 30000\nunit = "years"\n',
     f"{IMPORT} --options o.toml",
     '[columns.seen]\nkeyword = "StudyDate"\nlow = 0\nhigh = 30000\n'),
    *[("give levels for a text, or low and high for a number", f"{IMPORT} --options o.toml",
       f'[columns.a]\nkeyword = "{keyword}"\n', f"{IMPORT} --options o.toml",
       f'[columns.a]\nkeyword = "{keyword}"\n{kind}\n')
      for keyword, kind in (("PatientSex", 'levels = ["F", "M"]'), ("KVP", "low = 0\nhigh = 500"))],
    ("{}: {}; give the file by --options", f"{IMPORT} --options none.toml", "", f"{IMPORT} --options o.toml",
     ""),
    ('{}: not TOML; write such as: table = "images"', f"{IMPORT} --options o.toml", "images",
     f"{IMPORT} --options o.toml",
     'table = "images"'),
    ("--mask: write x,y,w,h in pixels, such as 0,0,640,40", f"{IMPORT} --mask 0,0,1", "",
     f"{IMPORT} --mask 0,0,1,1", ""),
    ("{}: no such file or folder; give images by --from", IMPORT.replace("from in", "from none"), "", IMPORT,
     ""),
    ("{}: no such file or folder; give images by --from", COPY.replace("from in", "from none"), "", COPY, ""),
    ("columns.{}: the table has that column already; give another name", f"{IMPORT} --options o.toml",
     '[columns.image]\nkeyword = "KVP"\nlow = 0\nhigh = 500\n', f"{IMPORT} --options o.toml",
     '[columns.kvp]\nkeyword = "KVP"\nlow = 0\nhigh = 500\n'),
    ("{}: lies within {}; write the copies elsewhere", COPY.replace("into out", "into in/out"), "", COPY, ""),
]  # fmt: skip


@pytest.mark.parametrize(("said", "line", "options", "better", "right"), OPTIONS)
def test_images_come_in_once_they_are_asked_for_as_told(
    said: str, line: str, options: str, better: str, right: str
) -> None:
    write("o.toml", options)
    refusal(said, lambda: bring(line))
    write("o.toml", right)
    bring(better)


def put(data: bytes) -> None:
    ODD.write_bytes(data)


def leave_out() -> None:
    ODD.unlink()


def sparse(size: int) -> None:
    put(b"")
    os.truncate(ODD, size)


FILES: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
    # What is told; how a file is put beside a good one; and what becomes of it.
    ("is not a DICOM file: no DICM after the preamble; leave it out", lambda: put(b"GIF89a" * 99), leave_out),
    ("is not a DICOM file: no DICM after the preamble; leave it out or convert it",
     lambda: put(b"GIF89a" * 99),
     lambda: put(GOOD)),
    ("is missing; write the file again with meta information",
     lambda: put(bytes(128) + b"DICM" + element(0x00080018, b"UI", b"1.2.9\0")), lambda: put(GOOD)),
    ("is no transfer syntax of the standard; send the file in one, such as Explicit VR Little Endian",
     lambda: put(raw(syntax=b"1.2.3.4\0")), lambda: put(GOOD)),
    ("is damaged: its deflated part does not unpack; get the file again",
     lambda: put(raw(b"\xff" * 99, syntax=DeflatedExplicitVRLittleEndian.encode())), lambda: put(GOOD)),
    ("is no ordinary file; leave it out", lambda: os.mkfifo(ODD), leave_out),
    ("is larger than {} bytes; split it", lambda: sparse(MAX_FILE_BYTES + 1), lambda: put(GOOD)),
    ("is larger than {} bytes; split it, or leave it out", lambda: sparse(MAX_FILE_BYTES + 1), leave_out),
    ("is missing: no image; leave the file out", lambda: written(ODD, image(PIXELS, PixelData=None)),
     leave_out),
    ("and Columns make more than {} pixels; reduce the image first",
     lambda: written(ODD, image(PIXELS, Rows=60000, Columns=60000)), lambda: put(GOOD)),
    ("has fewer than {} bytes; it is cut short, get the file again", lambda: written(ODD, image(PIXELS,
     Rows=90)),
     lambda: put(GOOD)),
    ("cannot be decoded; it is damaged, get the file again", lambda: put(with_codestream(bytes(64),
     RLELossless)),
     lambda: put(GOOD)),
    ("has more than {} elements; leave it out",
     lambda: put(raw(element(0x00081140, b"SQ", (b"\xfe\xff\x00\xe0" + bytes(4)) * 500_001))), leave_out),
    ("has no end; the file is cut short, get it again",
     lambda: put(raw(element(0x00081140, b"SQ", b"", 0xFFFFFFFF))), lambda: put(GOOD)),
    ("ends within an element; the file is cut short, get it again", lambda: put(raw(b"\x08\x00\x18\x00UI")),
     lambda: put(GOOD)),
    ("is the SOPInstanceUID of another patient's image, which no two may share (PS3.3, C.12.1): correct "
     "PatientID",
     lambda: written(ODD, image(PIXELS + 1, PatientID="P9")), lambda: written(ODD, image(PIXELS + 1))),
    ("correct PatientID, or give the image a UID of its own, and import the folder again",
     lambda: written(ODD, image(PIXELS + 1, PatientID="P9")),
     lambda: written(ODD, image(PIXELS + 1, PatientID="P9", SOPInstanceUID="1.2.9"))),
    ("is YES: the patient can be recognised; leave it out",
     lambda: written(ODD, image(PIXELS, RecognizableVisualFeatures="YES", SOPInstanceUID="1.2.9")),
     leave_out),
]  # fmt: skip


@pytest.mark.parametrize(("said", "make", "mend"), FILES, ids=[row[0][:50] for row in FILES])
def test_a_folder_of_images_comes_in_once_a_file_is_treated_as_told(
    said: str, make: Callable[[], object], mend: Callable[[], object]
) -> None:
    make()
    refusal(said, lambda: bring(IMPORT))
    mend()
    bring(IMPORT)


VOUCHED: list[Any] = [
    ("is YES: texts are drawn into the pixels; mask them by --mask", {"BurnedInAnnotation": "YES"},
     "--mask 0,0,1,1"),
    ("is YES: the patient can be recognised; leave it out, or --vouched",
     {"RecognizableVisualFeatures": "YES"},
     "--vouched"),
    *[("mask it by --mask, or vouch for these images by --vouched", {"BurnedInAnnotation": None,
       **attributes}, more)
      for attributes in ({"Modality": "US"}, {"SOPClassUID": SECONDARY_CAPTURE})
      for more in ("--mask 0,0,1,1", "--vouched")],
]  # fmt: skip


@pytest.mark.parametrize(("said", "attributes", "more"), VOUCHED)
def test_what_may_show_a_patient_comes_in_masked_or_vouched_for(
    said: str, attributes: dict[str, object], more: str
) -> None:
    written(ODD, image(PIXELS, PatientID="P2", SOPInstanceUID="1.2.9", **attributes))
    refusal(said, lambda: bring(IMPORT))
    bring(f"{IMPORT} {more}")


SPLIT = "times the frames' size is more than {} bytes; split it"


def test_a_file_of_too_many_frames_is_split_as_told() -> None:
    many = image(np.zeros((1000, 1000), np.uint8), SOPInstanceUID="1.2.9")
    many.file_meta = FileMetaDataset()
    many.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    many.compress(RLELossless, generate_instance_uid=False)
    many.NumberOfFrames = 600
    written(ODD, many, RLELossless)
    assert pattern(SPLIT).search(bring(COPY))
    many.NumberOfFrames = 1
    written(ODD, many, RLELossless)
    assert "1 files written, 1 there already, 0 refused" in bring(COPY)


GROWS = "grows while it is read; import it when it is complete"
GROWING = Path("/proc/self/status")
"""Of a size of 0, and yet full."""


@pytest.mark.skipif(not GROWING.exists(), reason="Linux has files that hold more than their size")
def test_a_file_that_grows_is_read_when_it_is_complete() -> None:
    refusal(GROWS, lambda: read_bytes(GROWING))
    write("complete", GROWING.read_text())
    assert read_bytes(Path("complete"))


def damage_the_list() -> None:
    write("in/DICOMDIR", "no list")
    bring(f"{IMPORT}/DICOMDIR")


def closed(mode: int, *paths: str) -> Callable[[Callable[[], object]], None]:
    """Do something as an account to which these are closed."""

    def attempt(deed: Callable[[], object]) -> None:
        for path in paths:
            Path(path).chmod(mode)
        with unprivileged():
            deed()

    return attempt


def opened(*paths: str) -> None:
    for path in paths:
        Path(path).chmod(0o777)


def begun(line: str) -> None:
    """Once as this account, so that all is imported that it needs; and a folder that others may use."""
    bring(line)
    for path in (Path("h.db"), Path("deid.key")):
        path.unlink(missing_ok=True)
    shutil.rmtree("out", ignore_errors=True)
    Path("out").mkdir()
    opened(".", "out", "in")


FOLDERS = [
    Row("{}: {}; or give the folder itself by --from", damage_the_list, lambda: bring(IMPORT)),
    Row("{}: {}; make the folder readable", lambda: (begun(IMPORT), closed(0o700,
        "in")(lambda: bring(IMPORT))),
        lambda: (opened("in"), as_nobody(lambda: bring(IMPORT)))),
    Row("{}: {}; make room, or make the folder writable",
        lambda: (begun(COPY), closed(0o555, "out")(lambda: bring(COPY))),
        lambda: (opened("out"), as_nobody(lambda: bring(COPY)))),
]  # fmt: skip


def as_nobody(deed: Callable[[], object]) -> None:
    with unprivileged():
        deed()


@pytest.mark.parametrize("row", FOLDERS, ids=lambda row: row.said[:50])
def test_a_folder_of_images_is_read_or_written_once_it_is_opened_as_told(row: Row) -> None:
    obey(row)


@contextlib.contextmanager
def receiving(title: str = "FEDCOHORT", **limits: object) -> Iterator[Receiver]:
    receiver = Receiver(Path("received"), title, port=0, limits=Limits(free_bytes=0, **limits))  # type: ignore[arg-type]
    try:
        yield receiver
    finally:
        receiver.close()


def listen(title: str = "FEDCOHORT", **limits: object) -> None:
    with receiving(title, **limits):
        pass


LISTENERS = [
    Row("AE title: write 1 to 16 letters and digits, such as FEDCOHORT",
        lambda: listen("much too long a title"),
        lambda: listen("FEDCOHORT")),
    *[Row("{}: not a network; write such as 10.1.0.0/16 or 10.1.2.3", lambda: listen(addresses=("hospital",)),
          partial(listen, addresses=(network,))) for network in ("10.1.0.0/16", "10.1.2.3")],
]  # fmt: skip


@pytest.mark.parametrize("row", LISTENERS, ids=lambda row: row.said[:50])
def test_a_receiver_listens_once_it_is_told_as_told(row: Row) -> None:
    obey(row)


TAKEN = "{}:{} or {}: {}; give another port, or make the folder writable"
FULL = "%s: %s; make room, or make the folder writable"


def test_a_receiver_takes_another_port_and_a_folder_that_can_be_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with receiving() as first:
        refusal(TAKEN, lambda: Receiver(Path("received"), "FEDCOHORT", port=first.port))
        with receiving(), sender(first) as association, caplog.at_level(logging.WARNING):
            shutil.rmtree("received")
            assert send(association, ct()) == OUT_OF_RESOURCES
            assert pattern(FULL.replace("%s", "{}")).search(caplog.text)
            Path("received").mkdir()
            assert send(association, ct()) == SUCCESS


SIZE = Declared(Image(4, 6))
COHORT = Cohort(table="scans", columns={"scan": Image(4, 6)}, split=None)
PNG = encode_image(np.arange(24, dtype=np.uint8).reshape(4, 6))
LARGE = PNG + bytes(100_000)
DAMAGED = PNG[:45] + bytes(len(PNG) - 61) + PNG[-16:]
SCANS: list[tuple[str, object]] = [
    ("{}: holds something that is not an image; import it as an image again into a new database", "a text"),
    ("{}: holds something that is not a PNG; import it as an image again into a new database", b"a text"),
    ("{}: holds a PNG larger than its declared size can need; import again into a new database", LARGE),
    ("{}: holds another kind of PNG ({} x {} pixels, {} bits, colour type {}) than is declared ({} x {}, {} "
     "channels "
     "of 8 bits, not interlaced); import again into a new database, with the declared size",
     encode_image(np.zeros((2, 2), np.uint8))),
    ("{}: holds a PNG that is cut short; import again into a new database", PNG[:-20]),
    ("{}: holds a damaged PNG; import again into a new database", DAMAGED),
]  # fmt: skip


def scans(database: str, value: object) -> None:
    """A table of images, of which one may be stored as a text by SQLite."""
    columns = {"scan": SIZE}
    rows: list[dict[str, object]] = [{"patient_id": "p1", "scan": value if isinstance(value, bytes) else b""}]
    write_rows(database, wide_table("scans", columns), columns, rows, MADE_UP)
    if not isinstance(value, bytes):
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE scans SET scan = ?", (value,))


@pytest.mark.parametrize(("said", "value"), SCANS, ids=[row[0][:50] for row in SCANS])
def test_a_picture_that_is_none_comes_in_anew_as_told(said: str, value: object) -> None:
    scans("site.db", value)
    refusal(said, lambda: load_cohort("site.db", COHORT, 0, {"scans": ["scan"]}))
    scans("new.db", PNG)
    assert load_cohort("new.db", COHORT, 0, {"scans": ["scan"]}).n_rows == 1


PIXELS_OF = "pixels: {} of shape {}; give uint8 (h, w) or (h, w, 3)"


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 3)])
def test_pixels_are_given_as_told(shape: tuple[int, ...]) -> None:
    refusal(PIXELS_OF, lambda: encode_image(np.zeros(shape, np.uint16)))
    encode_image(np.zeros(shape, np.uint8))


SAID = {
    "test_images_come_in_once_they_are_asked_for_as_told": [row[0] for row in OPTIONS],
    "test_a_folder_of_images_comes_in_once_a_file_is_treated_as_told": [row[0] for row in FILES],
    "test_what_may_show_a_patient_comes_in_masked_or_vouched_for": [row[0] for row in VOUCHED],
    "test_a_file_of_too_many_frames_is_split_as_told": [SPLIT],
    "test_a_file_that_grows_is_read_when_it_is_complete": [GROWS],
    "test_a_folder_of_images_is_read_or_written_once_it_is_opened_as_told": [row.said for row in FOLDERS],
    "test_a_receiver_listens_once_it_is_told_as_told": [row.said for row in LISTENERS],
    "test_a_receiver_takes_another_port_and_a_folder_that_can_be_written": [TAKEN, FULL],
    "test_a_picture_that_is_none_comes_in_anew_as_told": [row[0] for row in SCANS],
    "test_pixels_are_given_as_told": [PIXELS_OF],
}
