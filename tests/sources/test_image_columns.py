from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import inspect, text

from fedcohort.columns import Image, Numeric
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue import catalogue
from fedcohort.sources.database import reading, writing
from fedcohort.sources.images import encode_image
from fedcohort.sources.schema import Declared, read_declarations, wide_table, write_declarations

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
