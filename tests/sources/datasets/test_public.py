"""The real data sets: who is in them, what is declared, what is refused and why."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedcohort.columns import Numeric
from fedcohort.errors import ConfigError, SchemaError, StoreError
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.cohort.resolve import resolve_cohort
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.datasets import breast_cancer, heart_disease
from fedcohort.sources.importer.whole_dataset import ImportReport
from fedcohort.storage.database import writing
from fedcohort.study import Cohort
from fedcohort.table import TEST, TRAIN, Table

WriteWard = Callable[..., Path]
LINE = "63,1,4,140,260,0,1,112,1,3,2,?,?,2"


def load_all(cohort: Cohort, databases: dict[str, Path]) -> dict[str, Table]:
    catalogues = {site: catalogue(path, None) for site, path in databases.items()}
    explicit = resolve_cohort(cohort, catalogues)
    first = next(iter(catalogues.values()))
    offered = {name: list(table["columns"]) for name, table in first["tables"].items()}
    return {site: load_cohort(path, explicit, 0, offered) for site, path in databases.items()}


def test_the_four_hospitals_have_flambys_patients_and_split(heart_folder: Path, tmp_path: Path) -> None:
    reports = heart_disease.import_heart_disease(heart_folder, tmp_path)
    assert [(report.read, report.written) for report in reports] == [
        (303, 303),
        (294, 261),
        (123, 46),
        (200, 130),
    ]
    assert reports[1].refused == {"a value is missing": 33}
    cohort = Cohort(
        table="heart_disease",
        columns=tuple(name for name in heart_disease.COLUMNS if name != "disease"),
        label="disease",
        split="set",
    )
    tables = load_all(cohort, {centre: tmp_path / f"heart_{centre}.db" for centre in heart_disease.CENTRES})
    counts = {
        centre: (int((table.split == TRAIN).sum()), int((table.split == TEST).sum()), int(table.label.sum()))
        for centre, table in tables.items()
        if table.label is not None
    }
    assert counts == {
        "cleveland": (199, 104, 139),
        "hungarian": (172, 89, 98),
        "switzerland": (30, 16, 45),
        "va": (85, 45, 101),
    }
    assert all(np.isfinite(table.columns["chol"]).all() for table in tables.values())
    assert set(tables["va"].columns["cp"].tolist()) == {0, 1, 2, 3}


def test_the_first_patient_of_cleveland_is_the_files_first_line(heart_folder: Path, tmp_path: Path) -> None:
    heart_disease.import_centre(heart_folder, "cleveland", tmp_path / "c.db")
    columns = ("age", "sex", "cp", "trestbps", "chol", "oldpeak")
    table = load_all(
        Cohort(table="heart_disease", columns=columns, label="disease"), {"c": tmp_path / "c.db"}
    )["c"]
    assert table.patient_ids[0] == "cleveland-001"
    assert [float(values[0]) for values in table.columns.values()] == [63.0, 1.0, 0.0, 145.0, 233.0, 2.3]


def test_an_import_repeated_changes_nothing(heart_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "va.db"
    heart_disease.import_centre(heart_folder, "va", path)
    before = path.read_bytes()
    report = heart_disease.import_centre(heart_folder, "va", path)
    assert (report.read, report.written, report.present) == (200, 0, 130)
    assert str(report).splitlines() == [
        f"{path}: table heart_disease: 200 rows read, 130 already there, nothing changed",
        "  70 refused: a value is missing",
    ]
    assert path.read_bytes() == before


def small(tmp_path: Path, *lines: str, split: str | None = None) -> ImportReport:
    (tmp_path / "processed.va.data").write_text("\n".join(lines) + "\n")
    if split is not None:
        (tmp_path / "split.csv").write_text(split)
    return heart_disease.import_centre(tmp_path, "va", tmp_path / "va.db")


def test_every_refused_row_has_its_reason(tmp_path: Path) -> None:
    report = small(
        tmp_path,
        LINE,
        LINE.replace("140", "?"),
        LINE.replace("140", "x"),
        LINE.replace("140", "inf"),
        LINE.replace("140", "900"),
        LINE.replace("63,1,4", "63,1,5"),
        LINE.replace("63,1,4", "63,1,4.5"),
        "63,1",
        "",
    )
    assert (report.read, report.written) == (9, 1)
    assert report.refused == {
        "a value is missing": 1,
        "a value is not a number": 2,
        "trestbps is outside 0 to 250": 1,
        "cp holds a level that is not declared": 2,
        "not 14 values in the line": 2,
    }


def test_the_split_counts_lines_from_one(tmp_path: Path) -> None:
    report = small(
        tmp_path, LINE, LINE, LINE, split="centre,line,set\nva,1,test\nva,2,train\ncleveland,3,test\n"
    )
    assert report.refused == {"not in split.csv": 1}
    cohort = Cohort(table="heart_disease", columns=("age",), label="disease", split="set")
    table = load_all(cohort, {"va": tmp_path / "va.db"})["va"]
    assert table.patient_ids.tolist() == ["va-001", "va-002"]
    assert table.split.tolist() == [TEST, TRAIN]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("line,set\n", r"split\.csv: line 1 must be centre,line,set"),
        ("centre,line,set\nva,x,test\n", r"split\.csv: line 2: not a centre, a line number"),
        ("centre,line,set\nva,1,test\nva,2,dev\n", r"split\.csv: line 3: not a centre"),
        ("centre,line,set\nmars,1,test\n", r"split\.csv: line 2: not a centre"),
        ("centre,line,set\nva\n", r"split\.csv: line 2: not a centre"),
        ("", r"split\.csv: line 1 must be"),
    ],
)
def test_a_broken_split_is_named_by_line(tmp_path: Path, split: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        small(tmp_path, LINE, split=split)
    assert not (tmp_path / "va.db").exists()
    (tmp_path / "split.csv").unlink()  # the remedy of a file that cannot be corrected
    assert small(tmp_path, LINE).written == 1


def test_missing_and_strange_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        SchemaError, match=r"processed\.va\.data: No such file .* give the folder of the UCI files"
    ):
        heart_disease.import_centre(tmp_path, "va", tmp_path / "va.db")
    with pytest.raises(SchemaError, match="no centre 'mars'; choose cleveland"):
        heart_disease.import_centre(tmp_path, "mars", tmp_path / "va.db")
    with pytest.raises(SchemaError, match="holds no usable row"):
        small(tmp_path, "a picture")
    (tmp_path / "processed.va.data").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SchemaError, match="is not text"):
        heart_disease.import_centre(tmp_path, "va", tmp_path / "va.db")
    (tmp_path / "processed.va.data").write_bytes(b"0" * (heart_disease.MAX_FILE_BYTES + 1))
    with pytest.raises(SchemaError, match="larger than 10 MiB"):
        heart_disease.import_centre(tmp_path, "va", tmp_path / "va.db")
    # The remedies: a centre that there is, the folder of the files, and the files as they were published.
    assert small(tmp_path, LINE).written == 1


def test_a_database_that_holds_something_else_is_left_alone(tmp_path: Path, write_ward: WriteWard) -> None:
    small(tmp_path, LINE, LINE)
    before = (tmp_path / "va.db").read_bytes()
    with pytest.raises(StoreError, match="table heart_disease holds something else"):
        small(tmp_path, LINE)
    assert (tmp_path / "va.db").read_bytes() == before
    with writing(tmp_path / "own.db") as connection:
        connection.exec_driver_sql("CREATE TABLE patients (id)")
    with pytest.raises(StoreError, match="holds tables that fedcohort did not make"):
        heart_disease.import_centre(tmp_path, "va", tmp_path / "own.db")
    shutil.copy(write_ward(), tmp_path / "both.db")
    assert heart_disease.import_centre(tmp_path, "va", tmp_path / "both.db").written == 1


def test_breast_cancer_is_three_uneven_hospitals(tmp_path: Path) -> None:
    reports = breast_cancer.import_breast_cancer(tmp_path)
    assert [report.written for report in reports] == [285, 170, 114]
    assert [report.written for report in breast_cancer.import_breast_cancer(tmp_path)] == [0, 0, 0]
    columns = tuple(name for name in breast_cancer.COLUMNS if name != "malignant")
    cohort = Cohort(table="breast_cancer", columns=columns, label="malignant")
    tables = load_all(cohort, {name: tmp_path / f"{name}.db" for name in breast_cancer.HOSPITALS})
    ids = [str(patient) for table in tables.values() for patient in table.patient_ids]
    assert (len(columns), len(ids), len(set(ids))) == (30, 569, 569)
    malignant = [int(table.label.sum()) for table in tables.values() if table.label is not None]
    assert malignant == [85, 74, 53]
    declared = catalogue(tmp_path / "hospital_a.db", None)["tables"]["breast_cancer"]["columns"]
    for name in columns:
        pooled = np.concatenate([table.columns[name] for table in tables.values()])
        kind = breast_cancer.COLUMNS[name].kind
        assert isinstance(kind, Numeric)
        assert kind.bounds is not None
        assert kind.bounds[0] <= pooled.min() < pooled.max() <= kind.bounds[1]
        assert declared[name] == {"kind": "numeric", "low": kind.low, "high": kind.high}


def test_breast_cancer_columns_are_scikit_learns(tmp_path: Path) -> None:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    ours = [name for name in breast_cancer.COLUMNS if name != "malignant"]
    assert ours == [str(name).replace(" ", "_") for name in data.feature_names]
    row = breast_cancer.hospital_rows("hospital_a")[0]
    index = int(str(row["patient_id"]).removeprefix("bc-"))
    assert [row[name] for name in ours] == data.data[index].tolist()
    assert row["malignant"] == 1 - data.target[index]


def test_without_scikit_learn_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        ConfigError,
        match=r""
        r"pip install -c constraints.txt '\.\[demo\]' in fedcohort's folder",
    ):
        breast_cancer.import_hospital("hospital_a", tmp_path / "a.db")
    with pytest.raises(SchemaError, match="no hospital 'x'"):
        breast_cancer.import_hospital("x", tmp_path / "a.db")
    monkeypatch.undo()  # installed, and a hospital that there is
    assert breast_cancer.import_hospital("hospital_a", tmp_path / "a.db").written == 285
