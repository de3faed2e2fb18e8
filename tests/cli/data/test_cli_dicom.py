"""`fedcohort data import dicom`, `deidentify-dicom` and `receive-dicom`, as an engineer types them."""

import datetime
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="DICOM needs the extra dicom")
pytest.importorskip("PIL", reason="pictures need Pillow")

from pynetdicom import AE
from typer.testing import CliRunner

from fedcohort.cli.app import app
from fedcohort.errors import ConfigError, FedcohortError
from fedcohort.sources.catalogue.stored_images import decode_image
from fedcohort.sources.deidentify.pseudonym import load_key, masked_file_name, pseudonym, shift_days
from tests.patience import PATIENCE_SECONDS, until
from tests.sources.dicom.files import CT, PIXELS, encoded, image, write


def run(*arguments: object) -> str:
    """A command's output; its own errors are raised."""
    done = CliRunner().invoke(
        app, [str(one) for one in arguments], catch_exceptions=False, standalone_mode=False
    )
    if isinstance(done.exception, FedcohortError):
        raise done.exception
    return done.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three patients' images in the working folder, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        attributes = {"PatientSex": "F", "PatientAge": "093Y", "StudyDate": "20260131"}
        made = image(PIXELS + number, PatientID=f"MRN-{number}", SOPInstanceUID=f"1.2.{number}", **attributes)
        write(tmp_path / "in" / f"Doe{number}.dcm", made)
    (tmp_path / "in" / "notes.txt").write_text("Doe", encoding="utf-8")
    return tmp_path / "in"


def rows(database: Path | str, columns: str = "*") -> list[tuple[object, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(f"SELECT {columns} FROM images ORDER BY id").fetchall()
    finally:
        connection.close()


IMPORT = ("data", "import", "dicom", "--height", 2, "--width", 2, "--into", "h.db")
COLUMNS = ("--column", "PatientSex", "--column", "PatientAge", "--column", "StudyDate")


def test_a_folder_comes_into_the_database_de_identified_and_once(folder: Path) -> None:
    told = run(*IMPORT, "--from", folder, *COLUMNS)
    assert "4 records read, 3 into images" in told
    assert "not a DICOM file" in told
    assert told.count("fedcohort data file-names FOLDER --key deid.key") == 1
    key = load_key(Path("deid.key"))
    found = rows("h.db", "patient_id, sex, age, study_date, image")
    assert [row[:3] for row in found] == [(pseudonym(key, f"MRN-{number}"), "F", 90.0) for number in range(3)]
    days = (datetime.date(2026, 1, 31) - datetime.date(1970, 1, 1)).days
    assert [row[3] for row in found] == [days + shift_days(key, f"MRN-{number}") for number in range(3)]
    assert "images.image: kept (picture)" in told
    assert "images.study_date: dates (rule: date, in days since 1970-01-01)" in told
    picture = found[0][4]
    assert isinstance(picture, bytes)
    assert decode_image(picture, 2, 2, 1).reshape(2, 2).tolist() == PIXELS.tolist()
    content = Path("h.db").read_bytes()
    assert not any(text in content for text in (b"MRN-", b"Doe", b"1.2.840", b"notes"))
    assert "4 of 4 files unchanged" in run(*IMPORT, "--from", folder, *COLUMNS)
    assert len(rows("h.db")) == 3


def test_new_images_are_added_and_a_corrected_one_replaces_its_earlier_self(folder: Path) -> None:
    run(*IMPORT, "--from", folder)
    write(folder / "Doe9.dcm", image(PIXELS, PatientID="MRN-9", SOPInstanceUID="1.2.9"))
    write(folder / "Doe0.dcm", image(255 - PIXELS, PatientID="MRN-0", SOPInstanceUID="1.2.0"))
    told = run(*IMPORT, "--from", folder)
    assert "2 into images" in told
    found = rows("h.db", "image")
    assert len(found) == 4
    assert isinstance(found[0][0], bytes)
    assert decode_image(found[0][0], 2, 2, 1).reshape(2, 2).tolist() == (255 - PIXELS).tolist()


@pytest.mark.processes
def test_a_folder_whose_import_is_killed_comes_in_once_all_the_same(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8)
    for number in range(900):
        made = encoded(image(pixels, PatientID=f"MRN-{number}", SOPInstanceUID=f"1.3.{number}"))
        (folder / f"{number:04}.dcm").write_bytes(made)
    asked = ["data", "import", "dicom", "--height", "256", "--width", "256", "--into", "h.db", "--from", "in"]
    running = subprocess.Popen([sys.executable, "-m", "fedcohort", *asked], stdout=subprocess.DEVNULL)
    until(lambda: bool(written("h.db")), "the first images are written")
    running.send_signal(signal.SIGKILL)
    running.wait()
    begun = written("h.db")
    assert 0 < begun < 903
    told = run(*asked)
    unchanged = re.search(r"(\d+) of 904 files unchanged", told)
    assert unchanged is not None
    assert begun - 1 <= int(unchanged[1]) <= begun  # the last one's end may not have been written down
    assert len({row[0] for row in rows("h.db", "image_id")}) == len(rows("h.db")) == 903


def written(database: str) -> int:
    try:
        return len(rows(database, "id"))
    except sqlite3.OperationalError:
        return 0


def test_options_may_stand_in_a_file_and_words_come_first(folder: Path) -> None:
    Path("images.toml").write_text(
        "[rendering]\nheight = 9\nwidth = 2\nwindow = { center = 128, width = 256 }\n"
        '[columns.sex]\nkeyword = "PatientSex"\nlevels = ["F", "M"]\n',
        encoding="utf-8",
    )
    run(*IMPORT, "--from", folder, "--options", "images.toml", "--mask", "0,0,1,1")
    picture = rows("h.db", "image")[2][0]
    assert isinstance(picture, bytes)
    assert decode_image(picture, 2, 2, 1)[0, 0, 0] == 0
    assert rows("h.db", "sex") == [("F",)] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rendering]\nheight = 0", "rendering.height"),
        ("tables = 1", "tables"),
        ("[columns.x]\nkeyword = 'KVP'", "levels for a text, or low and high"),
        ("not toml", "not TOML"),
        ("[rendering]\nwindow = { center = 1 }", "rendering.window"),
    ],
)
def test_a_wrong_file_of_options_is_told_by_field(folder: Path, text: str, message: str) -> None:
    Path("images.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        run("data", "import", "dicom", "--from", folder, "--into", "h.db", "--options", "images.toml")


def test_a_wrong_word_is_refused_before_anything_is_written(folder: Path) -> None:
    for words in (("--column", "PatientName"), ("--mask", "1,2"), ("--frames", "last"), ("--channels", "2")):
        with pytest.raises((ConfigError, FedcohortError)):
            run(*IMPORT, "--from", folder, *words)
    assert not Path("h.db").exists()


def test_copies_without_the_patient_are_written_under_new_names(folder: Path) -> None:
    command = ("data", "deidentify-dicom", "--from", folder, "--into", "out")
    told = run(*command, "--keep-characteristics")
    assert "3 files written, 0 there already, 1 refused" in told.replace("\n", " ")
    stand_in = masked_file_name(load_key(Path("deid.key")), "notes.txt")
    assert f"  {stand_in}: byte" in told
    assert "notes" not in told
    assert told.count("fedcohort data file-names FOLDER --key deid.key") == 1
    names = [str(path) for path in Path("out").rglob("*")]
    assert not any("Doe" in name or "MRN" in name for name in names)
    assert "0 files written, 3 there already, 1 refused" in run(*command, "--keep-characteristics").replace(
        "\n", " "
    )
    with pytest.raises(ConfigError, match="--dates: shift or remove"):
        run(*command, "--dates", "never")
    for dates in ("shift", "remove"):
        told = run("data", "deidentify-dicom", "--from", folder, "--into", dates, "--dates", dates)
        assert "3 files written" in told


def test_a_database_needs_an_inbox_and_a_folder_no_options() -> None:
    with pytest.raises(ConfigError, match="a database needs --inbox FOLDER, where images wait"):
        run("data", "receive-dicom", "--into", "h.db")
    with pytest.raises(ConfigError, match="are for a database: give --inbox FOLDER"):
        run("data", "receive-dicom", "--into", "folder", "--keep-identifiers")


GUIDE = Path(__file__).parents[3] / "docs" / "dicom.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_guides_commands_run_as_they_are_written(folder: Path) -> None:
    (options,) = blocks("toml")
    # Its mask is for larger images than these.
    Path("images.toml").write_text(
        options.replace("width = 640, height = 40", "width = 2, height = 1"), encoding="utf-8"
    )
    folder.rename("images")
    commands = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    assert {tuple(words[:3]) for words in commands} == {
        ("fedcohort", "data", "import"),
        ("fedcohort", "data", "receive-dicom"),
        ("fedcohort", "data", "deidentify-dicom"),
    }
    for words in commands:
        if "receive-dicom" not in words:
            run(*words[1:])
    assert (len(rows("hospital.db")), len(list(Path("copies").rglob("*.dcm")))) == (3, 3)
    run("data", "import", "dicom", "--from", "images/", "--into", "more.db", "--options", "images.toml")
    assert [column[1] for column in described("more.db")] == [
        "id",
        "patient_id",
        "image_id",
        "finding",
        "kvp",
        "image",
    ]


def described(database: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute("PRAGMA table_info(images)").fetchall()
    finally:
        connection.close()


@pytest.mark.processes
@pytest.mark.parametrize("number", [0, 1])
def test_the_guides_receivers_listen(tmp_path: Path, number: int) -> None:
    (options,) = blocks("toml")
    (tmp_path / "images.toml").write_text(options, encoding="utf-8")
    lines = [line for block in blocks("sh") for line in block.splitlines() if "receive-dicom" in line]
    words = shlex.split(lines[number].replace("11112", "0"))[1:]
    process = subprocess.Popen(
        [sys.executable, "-m", "fedcohort", *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert line.startswith("FEDCOHORT listens on 127.0.0.1:")


@pytest.mark.processes
def test_what_a_pacs_sends_stands_in_the_database_and_no_longer_in_the_inbox(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "fedcohort",
        "data",
        "receive-dicom",
        "--into",
        "h.db",
        "--inbox",
        "inbox",
        "--port",
        "0",
    ]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.partition("127.0.0.1:")[2].split()[0])
        entity = AE("PACS")
        entity.add_requested_context(CT, ["1.2.840.10008.1.2.1"])
        association = entity.associate("127.0.0.1", port, ae_title="FEDCOHORT")
        made = [image(np.full((2, 2), 9, np.uint8), SOPInstanceUID=f"1.2.{number}") for number in range(3)]
        made[2].BurnedInAnnotation = "YES"
        for one in made:
            encoded(one)
            assert association.send_c_store(one).Status == 0
        association.release()
        until(lambda: not list((tmp_path / "inbox").glob("*.dcm")), "the inbox is empty")
        assert len(rows(tmp_path / "h.db")) == 2
        assert [path.name for path in (tmp_path / "inbox-refused").iterdir()] == ["1.2.2.dcm"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
    assert process.returncode == 130
