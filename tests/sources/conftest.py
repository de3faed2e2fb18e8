"""Small databases that a person can check by eye."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from fedcohort.columns import Categorical, Numeric
from fedcohort.sources.catalogue.schema import RECORDS, Base, Declared, wide_table
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows
from tests.postgres import Postgres, postgres

WARD = {
    "age": Declared(Numeric(0, 120), "years"),
    "sex": Declared(Categorical(("f", "m"))),
    "ill": Declared(Categorical((0, 1))),
    "set": Declared(Categorical(("train", "test", "valid"))),
}
WARD_ROWS: list[dict[str, object]] = [
    {"patient_id": "p3", "age": 50.0, "sex": "m", "ill": 1, "set": "test"},
    {"patient_id": "p1", "age": 20.0, "sex": "f", "ill": 0, "set": "train"},
    {"patient_id": "p2", "age": None, "sex": None, "ill": 1, "set": "train"},
    {"patient_id": "p4", "age": 70.0, "sex": "f", "ill": None, "set": "valid"},
]
OFFERED = {"ward": list(WARD)}

RECORD_COLUMNS = {
    "age": Declared(Numeric(0, 120), "years", 0),
    "bp": Declared(Numeric(0, 300), "mm Hg", 1),
    "diagnosis": Declared(Categorical(("I10", "I20"))),
    "label": Declared(Categorical((0, 1))),
}

WriteWard = Callable[..., Path]


@pytest.fixture
def write_ward(tmp_path: Path) -> WriteWard:
    """Write a table `ward`, of the rows given or of the four of this file."""

    def write(
        rows: Sequence[Mapping[str, object]] = WARD_ROWS,
        columns: Mapping[str, Declared] = WARD,
        name: str = "ward.db",
    ) -> Path:
        path = tmp_path / name
        write_rows(path, wide_table("ward", columns), columns, rows, MADE_UP)
        return path

    return write


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Three patients whose age and blood pressure are elements of the JSON vector."""
    path = tmp_path / "records.db"
    rows: list[dict[str, object]] = [
        {"patient_id": "a", "diagnosis": "I10", "features": [40, 120.5], "label": 0.0},
        {"patient_id": "b", "diagnosis": "I20", "features": [60, None], "label": 1.0},
        {"patient_id": "c", "diagnosis": None, "features": [80, 150], "label": 1.0},
    ]
    write_rows(path, Base.metadata.tables[RECORDS], RECORD_COLUMNS, rows, MADE_UP)
    return path


@pytest.fixture(scope="session")
def heart_folder() -> Path:
    """The four hospitals' files of the shared data folder."""
    default = Path(__file__).parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("FEDCOHORT_DATA", default)) / "heart_disease"
    if not (folder / "processed.cleveland.data").exists():
        pytest.skip(f"needs the UCI files in {folder}; set FEDCOHORT_DATA")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A real server on loopback."""
    with postgres() as running:
        yield running


def pytest_itemcollected(item: pytest.Item) -> None:
    """Who asks for the server, by name or by a parameter, starts processes."""
    if not isinstance(item, pytest.Function):
        return
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if "postgres_server" in item.fixturenames or any(str(one).startswith("postgresql") for one in parameters):
        item.add_marker("processes")
