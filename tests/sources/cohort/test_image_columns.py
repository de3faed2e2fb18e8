"""Image columns: declared, stored, selected, and held without holding them all in memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sqlalchemy import inspect, text

from fedcohort.columns import Binary, Image, Numeric
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.catalogue.schema import Declared, read_declarations, wide_table, write_declarations
from fedcohort.sources.catalogue.stored_images import decode_image, encode_image
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.resolve import resolve_cohort
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.storage.database import reading, writing
from fedcohort.study import Cohort

SCANS = {"scan": Declared(Image(4, 6)), "age": Declared(Numeric(0, 120), "year")}


def write_scans(path: Path, rows: list[dict[str, object]]) -> None:
    table = wide_table("scans", SCANS)
    with writing(path) as connection:
        table.create(connection)
        write_declarations(connection, "scans", SCANS)
        connection.execute(table.insert(), rows)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    write_scans(tmp_path / "site.db", [{"patient_id": "p1", "scan": encode_image(pixels), "age": 50}])
    return tmp_path / "site.db"


def test_an_image_column_is_stored_as_bytes_and_declared_with_its_size(database: Path) -> None:
    with reading(database) as connection:
        assert read_declarations(connection, "scans") == SCANS
        types = {column["name"]: str(column["type"]) for column in inspect(connection).get_columns("scans")}
    assert types["scan"] == "BLOB"
    told = catalogue(database, {"scans": ["scan", "age"]})["tables"]["scans"]["columns"]
    assert told["scan"] == {"kind": "image", "height": 4, "width": 6, "channels": 1}


@pytest.mark.parametrize("damaged", ["[4]", "[4, 6, 2]", "null", '["a", 1, 1]', "[4, 6, 1, 1]"])
def test_a_damaged_declaration_of_an_image_is_named(database: Path, damaged: str) -> None:
    with writing(database) as connection:
        change = text("UPDATE fedcohort_columns SET levels = :levels WHERE column_name = 'scan'")
        connection.execute(change, {"levels": damaged})
    with pytest.raises(SchemaError, match=r"scans\.scan cannot be read"):
        catalogue(database, None)


def pictures(n: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(seed).integers(0, 256, (n, 4, 6), dtype=np.uint8))


def rows_of(images: list[NDArray[np.uint8]]) -> list[dict[str, object]]:
    """Patients with one age, so that the order can be seen; two pictures each."""
    return [
        {"patient_id": f"p{index // 2}", "scan": encode_image(image), "age": 50.0}
        for index, image in enumerate(images)
    ]


COHORT = Cohort(table="scans", columns={"scan": Image(4, 6), "age": Numeric(0, 120)}, split=None)
OFFERED = {"scans": ["scan", "age"]}


def test_a_cohort_holds_an_image_a_row_in_the_same_order_however_they_were_inserted(tmp_path: Path) -> None:
    rows = rows_of(pictures(40))
    write_scans(tmp_path / "one.db", rows)
    write_scans(tmp_path / "two.db", rows[::-1])
    one, two = (load_cohort(tmp_path / name, COHORT, 0, OFFERED) for name in ("one.db", "two.db"))
    assert one.patient_ids.tolist() == sorted(f"p{index // 2}" for index in range(40))
    np.testing.assert_array_equal(one.images["scan"].take(), two.images["scan"].take())
    by_patient: dict[str, set[bytes]] = {}
    for row in rows:
        decoded = decode_image(str_bytes(row["scan"]), 4, 6, 1)
        by_patient.setdefault(str(row["patient_id"]), set()).add(decoded.tobytes())
    for patient, pixels in zip(one.patient_ids, one.images["scan"].take(), strict=True):
        assert pixels.tobytes() in by_patient[patient]


def str_bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def test_a_frame_of_bytes_and_one_of_arrays_are_the_database(tmp_path: Path) -> None:
    images = pictures(12)
    rows = rows_of(images)
    write_scans(tmp_path / "site.db", rows)
    database = load_cohort(tmp_path / "site.db", COHORT, 0, OFFERED)
    flat = [{**row, "scan": image} for row, image in zip(rows, images, strict=True)]
    deep = [{**row, "scan": image[..., None]} for row, image in zip(rows, images, strict=True)]
    for held in (rows, flat, deep):
        table = table_from_frame(pd.DataFrame(held), COHORT, 0)
        assert table.patient_ids.tolist() == database.patient_ids.tolist()
        np.testing.assert_array_equal(table.images["scan"].take(), database.images["scan"].take())


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, r"scans\.scan, row 3 of the cohort: has no image; .*IS NOT NULL"),
        (encode_image(np.zeros((28, 28), np.uint8)), "row 3 of the cohort: holds another kind of PNG"),
        (encode_image(np.zeros((4, 6), np.uint8))[:-20], "row 3 of the cohort: .*cut short"),
        (b"patient Meier", "row 3 of the cohort: holds something that is not a PNG"),
        ("a text", "row 3 of the cohort: holds something that is not an image"),
        (np.zeros((4, 6)), "row 3 of the cohort: holds an array of float64"),
        (np.zeros((6, 4), np.uint8), r"row 3 of the cohort: holds an array of uint8 of shape \(6, 4\)"),
    ],
)
def test_what_is_no_image_of_the_declared_size_is_refused_with_its_place(value: object, says: str) -> None:
    rows = rows_of(pictures(5))
    rows[2]["scan"] = value
    with pytest.raises(SchemaError, match=says) as caught:
        table_from_frame(pd.DataFrame(rows), COHORT, 0)
    assert "Meier" not in str(caught.value)


def test_rows_without_an_image_can_be_left_out_by_where(tmp_path: Path) -> None:
    rows = rows_of(pictures(6))
    rows[2]["scan"] = rows[5]["scan"] = None
    write_scans(tmp_path / "site.db", rows)
    with_images = COHORT.model_copy(update={"where": "scan IS NOT NULL AND age > 40"})
    database = load_cohort(tmp_path / "site.db", with_images, 0, OFFERED)
    frame = table_from_frame(pd.DataFrame(rows), with_images, 0)
    assert database.n_rows == frame.n_rows == 4
    np.testing.assert_array_equal(database.images["scan"].take(), frame.images["scan"].take())


def test_rows_without_a_label_leave_their_images_behind() -> None:
    rows = rows_of(pictures(6))
    labels = [0, 1, None, 1, 0, None]
    frame = pd.DataFrame([{**row, "ill": label} for row, label in zip(rows, labels, strict=True)])
    cohort = Cohort(columns={"scan": Image(4, 6)}, label=Binary("ill"), split=None)
    table = table_from_frame(frame, cohort, 0)
    assert len(table.images["scan"]) == table.n_rows == 4
    kept = {image.tobytes() for image in table.images["scan"].take()}
    assert kept == {image.tobytes() for index, image in enumerate(pictures(6)) if index not in (2, 5)}


CATALOGUE: dict[str, Any] = {"tables": {"scans": {"columns": {
    "scan": {"kind": "image", "height": 4, "width": 6, "channels": 1},
    "age": {"kind": "numeric", "low": 0, "high": 120},
    "ill": {"kind": "categorical", "levels": [0, 1]},
}}}}  # fmt: skip
OTHER: dict[str, Any] = {"tables": {"scans": {"columns": {
    **CATALOGUE["tables"]["scans"]["columns"],
    "scan": {"kind": "image", "height": 8, "width": 6, "channels": 1},
}}}}  # fmt: skip


def test_a_bare_column_takes_the_declared_size() -> None:
    cohort = Cohort(table="scans", columns=["scan", "age"], label="ill")
    assert resolve_cohort(cohort, {"a": CATALOGUE, "b": CATALOGUE}).schema_["scan"] == Image(4, 6)


@pytest.mark.parametrize(
    ("cohort", "says"),
    [
        ({"columns": ["scan"], "label": "ill"}, "site b: column scan holds images of 8 x 6 x 1"),
        ({"columns": {"scan": Image(8, 6)}, "label": "ill"}, "site a: column scan holds images of 4 x 6 x 1"),
        ({"columns": {"scan": Numeric(0, 1)}, "label": "ill"}, "site a: column scan holds images"),
        ({"columns": {"age": Image(4, 6)}, "label": "ill"}, "site a: column age holds no images"),
        ({"columns": ["age"], "label": "scan"}, "column scan holds images; it can be nothing but"),
        ({"columns": ["age"], "label": Binary("scan")}, "column scan holds images; it can be nothing but"),
    ],
)
def test_sites_that_disagree_about_an_image_are_named(cohort: dict[str, Any], says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        resolve_cohort(Cohort(table="scans", **cohort), {"a": CATALOGUE, "b": OTHER})


MEASURE = """
import sys, psutil, numpy as np
from pathlib import Path
from fedcohort.columns import Image
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort
cohort = Cohort(table="scans", columns={"scan": Image(256, 256)}, split=None)
import PIL.Image, fedcohort.sources.cohort.convert
process = psutil.Process()
before = process.memory_info().rss
table = load_cohort(sys.argv[1], cohort, 0, {"scans": ["scan"]}, Path(sys.argv[2]))
total = sum(int(table.images["scan"].take(slice(i, i + 64)).sum()) for i in range(0, table.n_rows, 64))
named = len(list(Path(sys.argv[2]).iterdir()))
print(table.n_rows, process.memory_info().rss - before, total, named)
"""


@pytest.mark.processes
def test_memory_stays_flat_with_many_images_and_no_picture_stands_in_a_folder(tmp_path: Path) -> None:
    declared = {"scan": Declared(Image(256, 256))}
    table = wide_table("scans", declared)
    few, many = 1_000, 4_000  # 62 MiB and 250 MiB of pixels
    used = {}
    for n in (few, many):
        with writing(tmp_path / f"{n}.db") as connection:
            table.create(connection)
            write_declarations(connection, "scans", declared)
            shades = [encode_image(np.full((256, 256), shade, np.uint8)) for shade in range(50)]
            rows = [{"patient_id": f"p{i:06}", "scan": shades[i % 50]} for i in range(n)]
            connection.execute(table.insert(), rows)
        (tmp_path / f"state{n}").mkdir()
        command = [sys.executable, "-c", MEASURE, str(tmp_path / f"{n}.db"), str(tmp_path / f"state{n}")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        found, used[n], total, named = map(int, done.stdout.split())
        assert (found, named) == (n, 0 if sys.platform != "win32" else named)
        assert total == sum(i % 50 for i in range(n)) * 256 * 256
    assert used[many] < used[few] + 24 * 2**20
    assert used[many] < 120 * 2**20
