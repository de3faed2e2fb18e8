"""Folders of images as batches: which rows, which columns, which refusals."""

import hashlib
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="DICOM needs the extra dicom")
pytest.importorskip("PIL", reason="pictures need Pillow")

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet

from fedcohort.columns import Categorical, Image, Numeric
from fedcohort.errors import ConfigError, StudyError
from fedcohort.sources.catalogue.stored_images import decode_image
from fedcohort.sources.dicom import source as dicom
from fedcohort.sources.dicom.columns import DicomColumn
from fedcohort.sources.dicom.file import read_bytes
from fedcohort.sources.dicom.options import DicomOptions, columns_of
from fedcohort.sources.dicom.pixels import Rendering
from fedcohort.sources.dicom.source import dicom_source
from fedcohort.sources.importer.batch import Refusal
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.pipeline import import_source
from tests.patience import until
from tests.sources.dicom.files import PIXELS, image, sample, write
from tests.sources.dicom.rows import SMALL, load

COLUMNS = ("Modality", "PatientSex", "PatientAge", "PixelSpacing", "StudyDate")


def test_an_image_becomes_a_picture_beside_declared_columns(tmp_path: Path) -> None:
    made = image(PIXELS, PatientSex="F", PatientAge="018M", PixelSpacing=["0.5", "0.7"], StudyDate="20260131")
    rows, refused = load(write(tmp_path / "a.dcm", made), COLUMNS)
    assert refused == []
    picture = rows[0].pop("image")
    assert decode_image(picture, 2, 2, 1).reshape(2, 2).tolist() == PIXELS.tolist()
    assert rows == [
        {
            "patient_id": "P1",
            "image_id": "1.2.3.4 1",
            "modality": "CT",
            "sex": "F",
            "age": 1.5,
            "row_spacing_mm": 0.5,
            "column_spacing_mm": 0.7,
            "study_date": 20484.0,  # days since 1970-01-01
        }
    ]


def test_what_is_missing_is_missing_and_what_no_list_has_is_other(tmp_path: Path) -> None:
    made = image(PIXELS, BodyPartExamined="LEFT BIG TOE", Modality="ZZ")
    rows, _ = load(
        write(tmp_path / "a.dcm", made), ("PatientSex", "PatientAge", "Modality", "BodyPartExamined")
    )
    assert {name: rows[0][name] for name in ("sex", "age", "modality", "body_part")} == {
        "sex": None,
        "age": None,
        "modality": "OTHER",
        "body_part": "OTHER",
    }


def test_the_source_declares_its_columns() -> None:
    options = DicomOptions(
        rendering=Rendering(height=8, width=4, channels=3), columns=columns_of(("PatientSex", "KVP"), {})
    )
    declared = dicom_source(sample("CT_small.dcm"), options).tables["images"]
    assert {name: one.kind for name, one in declared.items()} == {
        "sex": Categorical(("F", "M", "O")),
        "kvp": Numeric(0, 500),
        "image": Image(8, 4, 3),
    }
    assert declared["kvp"].unit == "kV"


def test_a_site_declares_levels_and_ranges_of_its_own(tmp_path: Path) -> None:
    own = {
        "finding": DicomColumn(keyword="ImageComments", levels=("benign", "malignant")),
        "dose": DicomColumn(keyword="EntranceDoseInmGy", low=0.0, high=50.0, unit="mGy"),
    }
    good = image(PIXELS, ImageComments="malignant", EntranceDoseInmGy="2.5")
    rows, _ = load(write(tmp_path / "a.dcm", good), columns=own)
    assert (rows[0]["finding"], rows[0]["dose"]) == ("malignant", 2.5)
    for wrong in ({"ImageComments": "Jane Doe, malignant?"}, {"EntranceDoseInmGy": "51"}):
        rows, refused = load(write(tmp_path / "a.dcm", image(PIXELS, **wrong)), columns=own)
        assert rows == []
        assert refused[0].field in ("(0020,4000) ImageComments", "(0040,8302) EntranceDoseInmGy")
        assert "Doe" not in refused[0].reason


@pytest.mark.parametrize(
    ("keyword", "options"),
    [
        ("PatientName", {"levels": ("a", "b")}),
        ("PatientID", {"levels": ("a", "b")}),
        ("StudyInstanceUID", {"levels": ("1.2", "1.3")}),
        ("ImageComments", {"low": 0.0, "high": 1.0}),
        ("KVP", {"levels": ("1", "2")}),
        ("PixelData", {"low": 0.0, "high": 1.0}),
        ("NoSuchThing", {"low": 0.0, "high": 1.0}),
    ],
)
def test_names_identifiers_and_free_text_never_become_columns(keyword: str, options: dict[str, Any]) -> None:
    columns = {"x": DicomColumn(keyword=keyword, **options)}
    with pytest.raises(ConfigError, match=r"columns\.x"):
        dicom_source(sample("CT_small.dcm"), DicomOptions(rendering=SMALL, columns=columns))


def test_a_column_needs_levels_or_a_range_and_a_name_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="levels for a text, or low and high"):
        DicomColumn(keyword="KVP")
    with pytest.raises(ConfigError, match="KVP, Laterality"):
        columns_of(("ImageComments",), {})
    with pytest.raises(ConfigError, match="twice"):
        columns_of(("Laterality", "ImageLaterality"), {})
    options = DicomOptions(rendering=SMALL, columns={"image": DicomColumn(keyword="KVP", low=0.0, high=1.0)})
    with pytest.raises(ConfigError, match="has that column already"):
        dicom_source(tmp_path, options)
    with pytest.raises(ConfigError, match="no such file"):
        dicom_source(tmp_path / "nowhere", DicomOptions(rendering=SMALL))


def test_the_order_of_the_file_system_does_not_count(tmp_path: Path) -> None:
    names = [f"{letter}/{number}.dcm" for letter in "abc" for number in range(4)]
    results = []
    for turn in range(2):
        random.Random(turn).shuffle(names)
        folder = tmp_path / str(turn)
        for name in names:
            write(folder / name, image(PIXELS, PatientID=name.replace("/", "-")))
        rows, _ = load(folder)
        results.append([row["patient_id"] for row in rows])
    assert results[0] == results[1] == sorted(name.replace("/", "-") for name in names)


def test_every_file_is_a_part_that_knows_its_digest(tmp_path: Path) -> None:
    write(tmp_path / "s1" / "a.dcm", image(PIXELS))
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    parts = {part.name: part.digest() for part in dicom_source(tmp_path, DicomOptions(rendering=SMALL)).parts}
    content = (tmp_path / "s1" / "a.dcm").read_bytes()
    assert parts == {
        "s1/a.dcm": hashlib.sha256(content).hexdigest(),
        "notes.txt": hashlib.sha256(b"hello").hexdigest(),
    }


@pytest.mark.parametrize(("most", "held"), [(2**24, 2), (0, 0)])
def test_the_next_small_file_is_read_ahead_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, held: int
) -> None:
    read: list[str] = []

    def counted(path: Path) -> bytes:
        read.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(dicom, "read_bytes", counted)
    monkeypatch.setattr(dicom, "AHEAD_BYTES", most)
    for name in "abcd":
        write(tmp_path / f"{name}.dcm", image(PIXELS))
    parts = iter(dicom_source(tmp_path, DicomOptions(rendering=SMALL)).parts)
    first = next(parts)
    until(lambda: len(read) >= held, "as many files are read ahead")
    assert read == ["a.dcm", "b.dcm"][:held]
    assert first.digest() == hashlib.sha256((tmp_path / "a.dcm").read_bytes()).hexdigest()
    assert [part.name for part in parts] == ["b.dcm", "c.dcm", "d.dcm"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "a.dcm", image(PIXELS, PatientID="outside"))
    folder = tmp_path / "folder"
    write(folder / "b.dcm", image(PIXELS, PatientID="inside"))
    try:
        (folder / "c.dcm").symlink_to(outside)
        (folder / "d").symlink_to(outside.parent, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    rows, refused = load(folder)
    assert ([row["patient_id"] for row in rows], refused) == (["inside"], [])


def test_a_pipe_in_the_folder_does_not_stop_the_import(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "a.dcm")
    write(tmp_path / "b.dcm", image(PIXELS))
    rows, refused = load(tmp_path)
    assert (len(rows), [(one.file, one.reason) for one in refused]) == (
        1,
        [("a.dcm", "is no ordinary file; leave it out")],
    )


def test_a_dicomdir_names_the_files_that_are_read(tmp_path: Path) -> None:
    disc = FileSet()
    for number in range(3):
        made = image(PIXELS, SOPInstanceUID=f"1.2.3.{number}", PatientID=f"P{number}", StudyDate="20260101")
        made.StudyTime, made.StudyID, made.AccessionNumber, made.SeriesNumber, made.InstanceNumber = (
            "1200",
            "1",
            "",
            1,
            number,
        )
        path = write(tmp_path / "source" / f"{number}.dcm", made)
        disc.add(path)
    disc.write(tmp_path / "disc")
    disc._stage["t"].cleanup()
    write(tmp_path / "disc" / "unlisted.dcm", image(PIXELS, PatientID="unlisted"))
    by_list, _ = load(tmp_path / "disc" / "DICOMDIR")
    by_folder, refused = load(tmp_path / "disc")
    assert [row["patient_id"] for row in by_list] == ["P0", "P1", "P2"]
    assert (sorted(row["patient_id"] for row in by_folder), refused) == (["P0", "P1", "P2", "unlisted"], [])
    next((tmp_path / "disc").rglob("IM*")).unlink()
    rows, refused = load(tmp_path / "disc" / "DICOMDIR")
    assert (len(rows), [one.reason for one in refused]) == (2, ["cannot be read: No such file or directory"])


@pytest.mark.parametrize("name", [["..", "secret.dcm"], ["a/b"], ["", "x"], ["C:x"]])
def test_a_dicomdir_does_not_lead_out_of_its_folder(tmp_path: Path, name: list[str]) -> None:
    record = Dataset()
    record.DirectoryRecordType = "IMAGE"
    with disable_value_validation():
        record.add_new("ReferencedFileID", "CS", name)
    listing = Dataset()
    listing.SOPClassUID, listing.SOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.9"
    listing.DirectoryRecordSequence = [record]
    write(tmp_path / "disc" / "DICOMDIR", listing)
    write(tmp_path / "secret.dcm", image(PIXELS))
    with pytest.raises(ConfigError, match="leads out of the folder"):
        load(tmp_path / "disc" / "DICOMDIR")


def frames(count: int) -> Dataset:
    return image(np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((2, 2), np.uint8))


@pytest.mark.parametrize(("choice", "expected"), [("first", [0]), ("middle", [2]), ("every", [0, 1, 2, 3])])
def test_of_many_frames_those_that_were_declared(tmp_path: Path, choice: str, expected: list[int]) -> None:
    rendering = SMALL.model_copy(update={"frames": choice})
    rows, _ = load(write(tmp_path / "a.dcm", frames(4)), rendering=rendering)
    assert [int(decode_image(row["image"], 2, 2, 1)[0, 0, 0]) for row in rows] == expected


def test_a_file_of_many_frames_comes_in_batches_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    options = DicomOptions(rendering=SMALL.model_copy(update={"frames": "every"}))
    (part,) = dicom_source(write(tmp_path / "a.dcm", frames(150)), options).parts
    assert [(batch.read, len(batch.columns["image"])) for batch in part.batches(0)] == [
        (64, 64),
        (128, 64),
        (150, 22),
    ]
    (rest,) = part.batches(140)
    first = rest.columns["image"][0]
    assert isinstance(first, bytes)
    assert (rest.read, len(rest.columns["image"]), int(decode_image(first, 2, 2, 1)[0, 0, 0])) == (
        150,
        10,
        140,
    )
    assert list(part.batches(150)) == []


def test_an_identifier_is_read_in_the_character_set_of_its_file(tmp_path: Path) -> None:
    for number, charset in enumerate(("ISO_IR 192", "ISO_IR 100")):
        write(tmp_path / f"{number}.dcm", image(PIXELS, SpecificCharacterSet=charset, PatientID="Müller-7"))
    assert [row["patient_id"] for row in load(tmp_path)[0]] == ["Müller-7", "Müller-7"]


def test_bad_files_are_refused_one_by_one_and_the_others_come_in(tmp_path: Path) -> None:
    write(tmp_path / "good.dcm", image(PIXELS))
    write(tmp_path / "nobody.dcm", image(PIXELS, PatientID=None))
    write(tmp_path / "age.dcm", image(PIXELS, PatientAge="old"))
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "good.dcm").read_bytes()[:-1])
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "page.html").write_bytes(b"<html>" * 100)
    rows, refused = load(tmp_path, ("PatientAge",))
    assert [row["patient_id"] for row in rows] == ["P1"]
    assert {one.file: one.field for one in refused} == {
        "age.dcm": "(0010,1010) PatientAge",
        "cut.dcm": "(7FE0,0010) PixelData",
        "empty.dcm": "",
        "nobody.dcm": "(0010,0020) PatientID",
        "page.html": "",
    }
    assert all(one.position.startswith("byte ") for one in refused)


def test_a_marker_patient_in_every_text_of_a_file_is_nowhere_in_what_comes_out(tmp_path: Path) -> None:
    made = image(PIXELS, PatientSex="ZEBRA", PatientID="7")
    from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]

    for tag, (vr, *_rest) in DicomDictionary.items():
        if vr in ("LO", "SH", "LT", "ST", "UT", "PN", "UC", "AE") and tag >> 16 > 8 and tag not in made:
            made.add_new(tag, vr, "ZEBRA")
    rows, refused = load(write(tmp_path / "a.dcm", made), ("Modality", "PatientSex"))
    assert (rows, len(refused)) == ([], 1)
    made.PatientSex = "F"
    rows, refused = load(write(tmp_path / "a.dcm", made), ("Modality", "PatientSex"))
    assert (len(rows), refused) == (1, [])
    assert "ZEBRA" not in repr(rows)
    assert b"ZEBRA" not in rows[0]["image"]


def test_images_of_several_patients_with_one_uid_are_not_one_row(tmp_path: Path) -> None:
    for name in ("P1", "P2", "P3"):
        write(tmp_path / "in" / f"{name}.dcm", image(PIXELS, PatientID=name))
    source = dicom_source(tmp_path / "in", DicomOptions(rendering=Rendering(height=2, width=2)))
    refused: list[Refusal] = []
    keys = {"images": (dicom.IMAGE_ID,)}
    report = import_source(source, tmp_path / "h.db", MADE_UP, keys=keys, on_refusal=refused.append)
    assert report.written["images"] == 1
    assert len(refused) == 2
    assert all("SOPInstanceUID of another patient's image" in one.reason for one in refused)
