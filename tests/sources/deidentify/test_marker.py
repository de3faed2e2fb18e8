"""A patient is planted whose every word can be found again: after an import it stands nowhere in clear."""

import datetime
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes.support import cli

MARKER = {
    "patient_id": "MRN-90210775",
    "name": "Zyxwvut Quillfeather",
    "strasse": "17 Obsidian Crescent",
    "plz": "QX41 7ZW",
    "phone": "+1 555 01479923",
    "email": "zyxwvut@quillfeather.example",
    "dob": "1931-07-19",
    "admit_date": "2017-09-23 04:31:57",
    "insurance_no": "HP-66120934",
    "url": "https://quillfeather.example/zyxwvut",
    "note": "Quillfeather fell on 23.09.2017",
    "visit_id": "V-8840213",
    "age": "95",
    "bp": "151",
    "sex": "f",
}
OTHER = dict.fromkeys(MARKER, "") | {
    "patient_id": "2",
    "age": "40",
    "bp": "120",
    "sex": "m",
    "visit_id": "V-1",
}
BAD = MARKER | {"bp": "Quillfeather", "visit_id": "V-2"}
"""A record of the marker's that is refused."""
INTO = ("--into", "site.db", "--table", "visits", "--mapping", "mapping.toml")
SECRETS = [
    "90210775", "Zyxwvut", "zyxwvut", "Quillfeather", "quillfeather", "Obsidian", "QX41 7ZW", "01479923",
    "1931-07-19", "2017-09-23", "23.09.2017", "66120934", "8840213",
]  # fmt: skip
"""So long that none of them stands by chance in a key's or a pseudonym's digits, or in a file's bytes."""
MAPPING = """
[tables.visits]
key = ["visit_id"]
[tables.visits.columns.bp]
low = 0
high = 300
[tables.visits.columns.age]
low = 0
high = 120
[tables.visits.columns.sex]
levels = ["f", "m"]
"""
TEXTS = (
    "name",
    "strasse",
    "plz",
    "phone",
    "email",
    "dob",
    "admit_date",
    "insurance_no",
    "url",
    "note",
    "visit_id",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the mapping; texts are mapped under names that tell nothing, as far as they can be."""
    plain = {name: f"t{index}" if name == "name" else name for index, name in enumerate(TEXTS)}
    columns = [f'[tables.visits.columns.{new}]\nfrom = "{old}"\ntext = true' for old, new in plain.items()]
    (tmp_path / "mapping.toml").write_text("\n".join([MAPPING, *columns]))
    (tmp_path / "in").mkdir()
    return tmp_path


def write_csv(path: Path) -> None:
    records = [MARKER, OTHER, BAD]
    lines = [",".join(MARKER), *(",".join(record.values()) for record in records)]
    path.write_text("\n".join(lines) + "\n")


def write_parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    records = [MARKER, OTHER, BAD]
    parquet.write_table(pyarrow.Table.from_pylist(records), path)


def write_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE clinic ({', '.join(f'{name} TEXT' for name in MARKER)})")
        marks = ", ".join("?" * len(MARKER))
        records = [tuple(record.values()) for record in (MARKER, OTHER, BAD)]
        connection.executemany(f"INSERT INTO clinic VALUES ({marks})", records)


def traces(folder: Path, *shown: str) -> list[str]:
    """Which of the marker's words stand in what was shown, or in any file but the source and the mapping."""
    kept = ("in", "mapping.toml", "again.csv")
    files = [
        path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] not in kept
    ]
    assert any(path.suffix == ".db" for path in files)
    texts = [*(text.encode() for text in shown), *(path.read_bytes() for path in files)]
    return [secret for secret in SECRETS if any(secret.encode() in text for text in texts)]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("kind", "write", "name", "more"),
    [
        ("csv", write_csv, "Quillfeather.csv", ()),
        ("parquet", write_parquet, "Quillfeather.parquet", ()),
        ("sql", write_sqlite, "h.db", ("--origin", "clinic")),
    ],
)
def test_a_planted_patient_stands_nowhere_in_clear(
    folder: Path, kind: str, write: Callable[[Path], None], name: str, more: tuple[str, ...]
) -> None:
    write(folder / "in" / name)
    origin = "sqlite:///in/h.db" if kind == "sql" else "in"
    asked = (*INTO, "--refused", "refused.csv")
    done = cli("data", "import", kind, "--from", origin, *asked, *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "3 records read, 2 into visits" in done.stdout
    assert "bp is not a number" in done.stdout
    assert traces(folder, done.stdout, done.stderr) == []
    with closing(sqlite3.connect(folder / "site.db")) as connection:
        rows = connection.execute("SELECT patient_id, age, bp, sex, dob, admit_date FROM visits").fetchall()
    (patient,) = [row for row in rows if row[2] == 151]
    assert patient[0].startswith("p")
    assert (patient[1], patient[3]) == (90, "f")
    assert patient[4] == f"{datetime.datetime.now(datetime.UTC).year - 90}-01-01"
    assert patient[5].endswith("04:31:57")
    assert patient[5][:10] != "2017-09-23"


@pytest.mark.processes
def test_without_a_mapping_it_stands_nowhere_either(folder: Path) -> None:
    write_csv(folder / "in" / "Quillfeather.csv")
    done = cli("data", "import", "csv", "--from", "in", "--into", "site.db", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert traces(folder, done.stdout, done.stderr) == []


@pytest.mark.processes
def test_a_text_that_a_rule_keeps_stops_at_the_marker_and_leaves_no_trace(folder: Path) -> None:
    write_csv(folder / "in" / "Quillfeather.csv")
    (folder / "rules.toml").write_text('[columns]\nnote = "keep"\n')
    asked = (*INTO, "--deidentify", "rules.toml")
    done = cli("data", "import", "csv", "--from", "in", *asked, cwd=folder)
    assert done.returncode == 1
    assert "visits.note: a text has the shape of a date" in " ".join(done.stderr.split())
    assert traces(folder, done.stdout, done.stderr) == []


@pytest.mark.processes
def test_two_imports_link_their_patients_and_two_keys_do_not_meet_in_one_database(folder: Path) -> None:
    write_csv(folder / "in" / "a.csv")
    (folder / "again.csv").write_text(f"patient_id,weight\n{MARKER['patient_id']},71\n9,80\n")
    first = cli("data", "import", "csv", "--from", "in", "--into", "site.db", cwd=folder)
    assert first.returncode == 0, first.stderr
    asked = ("data", "import", "csv", "--from", "again.csv", "--into", "site.db", "--table", "weights")
    assert cli(*asked, cwd=folder).returncode == 0
    with closing(sqlite3.connect(folder / "site.db")) as connection:
        query = "SELECT DISTINCT age, weight FROM records JOIN weights USING (patient_id)"
        assert connection.execute(query).fetchall() == [(90.0, 71.0)]
    for other in (("--key", "other.key"), ("--keep-identifiers",)):
        refused = cli(*asked, *other, cwd=folder)
        assert refused.returncode == 1
        assert "holds patients with pseudonyms of key" in " ".join(refused.stderr.split())


@pytest.mark.processes
def test_who_keeps_identifiers_says_so_and_is_told_so(folder: Path) -> None:
    write_csv(folder / "in" / "a.csv")
    asked = ("data", "import", "csv", "--from", "in", "--into", "site.db", "--keep-identifiers")
    done = cli(*asked, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "NOT de-identified" in done.stdout
    assert "Quillfeather" in traces(folder)
    both = cli(*asked, "--key", "deid.key", cwd=folder)
    assert both.returncode == 1
    assert "goes without --deidentify and --key" in both.stderr
    assert not (folder / "deid.key").exists()
