# mypy: disable-error-code="func-returns-value"
# A row does one thing after another, and what each returns is nothing to it.
"""What an import says of a file, a mapping or rules, obeyed: the same import then succeeds."""

import bz2
import gzip
import lzma
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from fedcohort.cli.app import app
from fedcohort.columns import Numeric
from fedcohort.errors import DataError
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.deidentify.k_anonymity import k_anonymity
from fedcohort.sources.deidentify.pseudonym import alias, load_or_create_key
from fedcohort.sources.deidentify.rules import read_rules
from fedcohort.sources.importer import files, parquet
from fedcohort.sources.importer.batch import Batch, Part, Source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.mapping import read_mapping
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.undo import undo
from fedcohort.sources.importer.whole_dataset import write_rows

from .remedy_rows import Row, obey, pattern, refusal
from .test_remedies_of_sites import WARD, told_commands, write

Files = dict[str, str | bytes | pd.DataFrame]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "4000")


def bring(line: str) -> str:
    """What a command prints in one line; an error where it fails, or where it refuses a record."""
    done = CliRunner().invoke(app, ["data", *line.split(" ")])
    printed = " ".join(str(done.output).split())
    if done.exit_code or " refused: " in printed:
        raise DataError(f"{printed} {done.exception}")
    return printed


def put(files: Files) -> None:
    for name, content in files.items():
        if isinstance(content, pd.DataFrame):
            pytest.importorskip("pyarrow", reason="needs the extra [files]")
            content.to_parquet(name, index=False)
        else:
            Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


KEPT = "import csv --from ward.csv --into ward.db --keep-identifiers"
MAPPED = f"{KEPT} --mapping m.toml"
ANEW = f"{MAPPED} --into new.db"
RULED = "import csv --from ward.csv --into ward.db --key deid.key --deidentify rules.toml"
BOTH = f"{RULED} --mapping m.toml"
PARQUET = "import parquet --from ward.parquet --into ward.db --keep-identifiers"
SQL = "import sql --from own.db --origin t --into ward.db --keep-identifiers"


def column(of: str, name: str = "x", above: str = "") -> str:
    """A mapping file of one column and the others."""
    return f"[tables.records]\nothers = true\n{above}[tables.records.columns.{name}]\n{of}\n"


def x(*values: str) -> str:
    """A file of one column x."""
    return "patient_id,x\n" + "".join(f'p{n},"{value}"\n' for n, value in enumerate(values))


def ages(*values: object, name: str = "age", end: str = "") -> str:
    return f"patient_id,{name}{',note' if end else ''}\n" + "".join(
        f"p{n},{value}{end}\n" for n, value in enumerate(values)
    )


FRAME = pd.DataFrame({"patient_id": ["p1", "p2"], "age": [50, 60]})
LISTS = FRAME.assign(codes=pd.Series([["a"], ["b"]], dtype=object))
DURATIONS = FRAME.assign(stay=pd.to_timedelta([1, 2], "h"))
OTHERS = "[tables.records]\nothers = true\n[tables.records.columns.age]\n"
AGE = "[tables.records.columns.age]\n"
VISITS = "patient_id,visit,age\np1,v1,40\np2,v2,50\n"
KEYED = '[tables.records]\nkey = ["visit"]\n[tables.records.columns]\nvisit = {text = true}\nage = {}\n'

IMPORTS: list[Any] = [
    # What is told; the files; the command; the files mended; and the command mended, where it is another.
    ("it is empty; its first line must name each column once", {"ward.csv": ""}, KEPT, {"ward.csv": WARD},
     ""),
    ("its first line is not text in {}; say its --encoding",
     {"ward.csv": "patient_id,größe\np1,50\n".encode("cp1252")},
     KEPT, {}, f"{KEPT} --encoding cp1252"),
    ("the header has no column {}; correct the mapping or the file", {"ward.csv": x("5"), "m.toml": AGE},
     MAPPED, {"m.toml": column("")}, MAPPED),
    ("the header has no column {}; correct the mapping or the file", {"ward.csv": x("5"), "m.toml": AGE},
     MAPPED, {"ward.csv": ages(5)}, MAPPED),
    ("where columns differ, write decimal or thousands at each in a mapping file",
     {"ward.csv": 'patient_id,x,y\np1,"1,5","265,000"\n'}, KEPT,
     {"m.toml": '[tables.records.columns]\nx = {decimal = ","}\ny = {thousands = ","}\n'}, MAPPED),
    ("{}: three digits stand behind every point of its numbers: write {}, in the mapping file at this column",
     {"ward.csv": x("150.000", "265.000"), "m.toml": column("")}, MAPPED,
     {"m.toml": column('thousands = "."')}, ""),
    ("{}: three digits stand behind every point of its numbers: write {}, in the mapping file at this "
     "column or below "
     "its table", {"ward.csv": x("150.000", "265.000"), "m.toml": column("")}, MAPPED,
     {"m.toml": column("", above='decimal = "."\n')}, ""),
    ("the compressed file is broken or cut off; ask for it again",
     {"ward.csv.gz": gzip.compress(WARD.encode())[:-12]},
     KEPT.replace(".csv", ".csv.gz"), {"ward.csv.gz": gzip.compress(WARD.encode())}, ""),
    *[(told, {"ward.csv": packed}, KEPT, {"ward.csv": WARD}, "") for told, packed in (
        ("is a 7-Zip archive: unpack it, and import the files in it", b"7z\xbc\xaf'\x1c"),
        ("is a RAR archive: unpack it, and import the files in it", b"Rar!"),
        ("is packed by bzip2: unpack it, and import the file in it", bz2.compress(WARD.encode())),
        ("is packed by xz: unpack it, and import the file in it", lzma.compress(WARD.encode())),
        ("is packed by zstd: unpack it, and import the file in it", b"\x28\xb5\x2f\xfd"),
        ("is an Excel workbook: save each sheet of it as CSV UTF-8, and import those", b"\xd0\xcf\x11\xe0"),
        ("is a PDF: ask for the table as CSV", b"%PDF-1.7"),
    )],
    ("table {}: {} differ in capitals only, which a database does not tell apart; give one another name in "
     "the mapping",
     {"ward.csv": "patient_id,age,Age\np1,50,51\n"}, KEPT, {"m.toml": column('from = "Age"', "age_said")},
     MAPPED),
    ("table {}: {} columns; choose at most {} in a mapping file",
     {"ward.csv": f"patient_id,{','.join(f'c{n}' for n in range(2100))}\np1{',1' * 2100}\n"}, KEPT,
     {"m.toml": "[tables.records.columns]\nc1 = {}\nc2 = {}\n"}, MAPPED),
    ('is not a number, but "{}": write missing = ["{}"] for the column in the mapping file',
     {"ward.csv": x("5", "NA"), "m.toml": column("")}, MAPPED, {"m.toml": column('missing = ["NA"]')}, ANEW),
    ("is not a number, but a limit such as <0.5: in the mapping file give it one by codes, or make it "
     "missing by "
     'outside = "missing"', {"ward.csv": x("5", "<0.5"), "m.toml": column("low = 0\nhigh = 9")}, MAPPED,
     {"m.toml": column('low = 0\nhigh = 9\ncodes = {"<0.5" = 0.25}')}, ANEW),
    ('make it missing by outside = "missing"', {"ward.csv": x("5", "<0.5"),
     "m.toml": column("low = 0\nhigh = 9")},
     MAPPED, {"m.toml": column('low = 0\nhigh = 9\noutside = "missing"')}, ANEW),
    ("is a whole number of more digits than a number keeps, so that another one would become the same: "
     "declare the "
     "column in a mapping file with text = true",
     {"ward.csv": x(*["5"] * 10_000, "12345678901234567891")}, KEPT, {"m.toml": column("text = true")},
     ANEW),
    ("is longer than {} characters; give another column",
     {"ward.csv": f"patient_id,mrn,age\n{'p' * 3000},7,50\n"}, KEPT,
     {"m.toml": '[tables.records]\npatient_id = "mrn"\nothers = true\n'}, ANEW),
    ("is not in the file's encoding; of a CSV file say another by --encoding, such as cp1252",
     {"ward.csv": "patient_id,note\np1,größer\n".encode("cp1252")}, KEPT, {},
     f"{KEPT} --encoding cp1252 --into new.db"),
    ("not in the encoding it is read in; say its --encoding", {"ward.csv": x(*["1"] * 2000, "+!")},
     f"{KEPT} --encoding utf-7", {}, f"{KEPT} --encoding utf-8 --into new.db"),
    ("holds lists, structures or bytes; correct the mapping",
     {"ward.parquet": LISTS, "m.toml": "[tables.records.columns.codes]\ntext = true\n"},
     f"{PARQUET} --mapping m.toml", {"m.toml": AGE}, ""),
    ("{}: {} hold lists, structures or bytes, which are no columns of a table; name the others in a mapping "
     "file",
     {"ward.parquet": LISTS}, PARQUET, {"m.toml": AGE}, f"{PARQUET} --mapping m.toml"),
    ('column {} holds durations: write unit = "hour", or such, in a mapping',
     {"ward.parquet": DURATIONS, "m.toml": "[tables.records.columns.stay]\n"}, f"{PARQUET} --mapping m.toml",
     {"m.toml": '[tables.records.columns.stay]\nunit = "hour"\n'},
     f"{PARQUET} --mapping m.toml --into new.db"),
    ("has no column {}; correct the mapping or the file",
     {"ward.parquet": FRAME, "m.toml": "[tables.records.columns.bp]\n"}, f"{PARQUET} --mapping m.toml",
     {"m.toml": AGE}, ""),
    ("has no column {}; correct the mapping or the file",
     {"ward.parquet": FRAME, "m.toml": "[tables.records.columns.bp]\n"}, f"{PARQUET} --mapping m.toml",
     {"ward.parquet": FRAME.assign(bp=120)}, ""),
    ("not a Parquet file, or damaged; ask for it again", {"ward.parquet": b"PAR1 and nothing else"}, PARQUET,
     {"ward.parquet": FRAME}, ""),
    # De-identified.
    *[('ages: in the rules file ({}) say {} = "keep" where it is none, or remove; or give the mapping codes '
       "that make numbers of it", {"ward.csv": ages("80-95", "85-99", end=",a"), "rules.toml": ""}, RULED,
       mended, line)
      for mended, line in (
          (Files({"rules.toml": '[columns]\nage = "keep"\n'}), RULED),
          (Files({"rules.toml": '[columns]\nage = "remove"\n'}), RULED),
          (Files({"m.toml": column('low = 0\nhigh = 99\ncodes = {"80-95" = 85, "85-99" = 90}', "age")}),
           BOTH))],
    ('ZIP codes: in the rules file ({}) say {} = "keep" where it is none, or remove',
     {"ward.csv": ages("north", "south", name="zip"), "rules.toml": ""}, RULED,
     {"rules.toml": '[columns]\nzip = "keep"\n'}, ""),
    ('ZIP codes: in the rules file ({}) say {} = "keep" where it is none, or remove',
     {"ward.csv": ages("north", "south", name="zip", end=",a"), "rules.toml": ""}, RULED,
     {"rules.toml": '[columns]\nzip = "remove"\n'}, ""),
    ("{}: as a key it must tell records apart; choose the role code, or another key",
     {"ward.csv": VISITS, "m.toml": KEYED, "rules.toml": '[columns]\nvisit = "remove"\n'}, BOTH,
     {"rules.toml": '[columns]\nvisit = "code"\n'}, ""),
    ("{}: an age in {}; declare unit in the mapping: years, months, weeks, days or hours",
     {"ward.csv": ages(40, 50), "m.toml": f'{AGE}unit = "mg"\n', "rules.toml": ""}, BOTH,
     {"m.toml": f'{AGE}unit = "years"\n'}, ""),
    ("{}: ages up to {} are not in years; declare unit in the mapping: months, weeks, days or hours (or "
     "years, and a "
     "smaller high)", {"ward.csv": ages(400, 500), "m.toml": f"{AGE}low = 0\nhigh = 1200\n",
     "rules.toml": ""}, BOTH,
     {"m.toml": f'{AGE}low = 0\nhigh = 1200\nunit = "months"\n'}, ""),
    ("{}: a date that changes with the patient has no levels; declare none",
     {"ward.csv": ages("2020-01-01", "2020-01-02", name="seen"), "rules.toml": '[columns]\nseen = "date"\n',
      "m.toml": column('levels = ["2020-01-01", "2020-01-02"]', "seen")}, BOTH,
     {"m.toml": column("text = true", "seen")}, ""),
    ("{}: a level has the shape of an identifier; correct the levels",
     {"ward.csv": ages("a", "b", name="grp"), "rules.toml": "",
      "m.toml": column('levels = ["a", "b", "555-123-4567"]', "grp")}, BOTH,
     {"m.toml": column('levels = ["a", "b"]', "grp")}, ""),
    ("{}: levels tell ages above 90, or none that can be read; let the mapping make one level of 90 or older",
     {"ward.csv": ages("80-89", "90-94", "95-99"), "rules.toml": "",
      "m.toml": column('levels = ["80-89", "90-94", "95-99"]', "age")}, BOTH,
     {"m.toml": column('levels = ["80-89", "90+"]\ncodes = {"90-94" = "90+", "95-99" = "90+"}', "age")}, ""),
    ("{}: levels tell ages above 90, or none that can be read; let the mapping make one level of 90 or "
     "older, or let a "
     "rule of role age merge what is above",
     {"ward.csv": ages("80-89", "90-94", "95-99"), "rules.toml": "",
      "m.toml": column('levels = ["80-89", "90-94", "95-99"]', "age")}, BOTH,
     {"rules.toml": '[columns]\nage = "age"\n'}, ""),
    *[("{}.{}: a text has the shape of {}; nothing of this batch was written: in the rules file make the "
       "column remove, "
       "code or date, or vouched when somebody answers for its texts",
       {"ward.csv": ages(40, end=",call 555-123-4567"), "rules.toml": '[columns]\nnote = "keep"\n'}, RULED,
       {"rules.toml": f'[columns]\nnote = "{role}"\n'}, "") for role in ("remove", "code", "vouched")],
    *[("{}.{}: whole numbers of seven digits or more, which may be identifiers; nothing of this batch was "
       "written: "
       "declare bounds in the mapping, or in the rules file make the column code, remove or keep",
       {"ward.csv": x("12345678", "12345679"), "rules.toml": "", "m.toml": column("")}, BOTH, mended, "")
      for mended in (Files({"m.toml": column("low = 0\nhigh = 99999999")}),
                     *(Files({"rules.toml": f'[columns]\nx = "{role}"\n'}) for role in ("code", "remove",
                      "keep")))],
    ("{}.{}: ages above {} in a column without a unit; nothing of this batch was written: declare unit in "
     "the mapping",
     {"ward.csv": ages(400, 500), "rules.toml": "", "m.toml": AGE}, BOTH,
     {"m.toml": f'{AGE}unit = "months"\n'}, ""),
    *[("{}.{}: whole numbers of which none belongs to two of {} patients, as a number of the patient or the "
       "visit would; "
       "nothing of this batch was written: declare bounds in the mapping, or in the rules file make the "
       "column code, "
       "remove or keep", {"ward.csv": x(*map(str, range(150))), "rules.toml": "", "m.toml": column("")}, BOTH,
       mended, "")
      for mended in (Files({"m.toml": column("low = 0\nhigh = 999")}),
                     *(Files({"rules.toml": f'[columns]\nx = "{role}"\n'}) for role in ("code", "remove",
                      "keep")))],
]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "files", "line", "mended", "better"), IMPORTS, ids=[row[0][:50] for row in IMPORTS]
)
def test_a_file_comes_in_once_it_is_done_as_told(
    said: str, files: Files, line: str, mended: Files, better: str
) -> None:
    put(files)
    refusal(said, lambda: bring(line))
    put(mended)
    bring(better or line)


MAPPING = "[tables.a.columns.x]\n"
FIELDS: list[tuple[str, str, str]] = [
    ("give levels, or text = true, not both", f'{MAPPING}levels = ["f", "m"]\ntext = true\n',
     f"{MAPPING}text = true\n"),
    ("give factor, or local_unit, not both", f'{MAPPING}unit = "g"\nlocal_unit = "kg"\nfactor = 1000\n',
     f'{MAPPING}unit = "g"\nlocal_unit = "kg"\n'),
    ("units: {} cannot be converted to {}; give {}factor in place of local_unit",
     f'{MAPPING}unit = "mmol/L"\nlocal_unit = "mg/dL"\n', f'{MAPPING}unit = "mmol/L"\nfactor = 0.0555\n'),
    ("units: {} cannot be converted to {}; give {}factor in place of local_unit",
     f'{MAPPING}unit = "mmol/L"\nlocal_unit = "mg/dL"\n',
     f'{MAPPING}unit = "mmol/L"\nlocal_unit = "mg/dL"\nsubstance = "glucose"\n'),
    ("substance: known are {}; for others give molar_mass",
     f'{MAPPING}unit = "mmol/L"\nlocal_unit = "mg/dL"\nsubstance = "ozone"\n',
     f'{MAPPING}unit = "mmol/L"\nlocal_unit = "mg/dL"\nsubstance = "ozone"\nmolar_mass = 48.0\n'),
    ("columns.{}: name the source's column in patient_id instead", '[tables.a.columns.patient_id]\nfrom = '
                                                                   '"mrn"\n',
     '[tables.a]\npatient_id = "mrn"\n[tables.a.columns.x]\n'),
    ("columns: name one at least, or write others = true", "[tables.a]\n", MAPPING),
    ("columns: name one at least, or write others = true", "[tables.a]\n", "[tables.a]\nothers = true\n"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "wrong", "right"), FIELDS, ids=[row[0][:50] for row in FIELDS])
def test_a_mapping_is_read_once_it_is_written_as_told(said: str, wrong: str, right: str) -> None:
    refusal(said, lambda: read_mapping(write("m.toml", wrong)))
    read_mapping(write("m.toml", right))


RULES: list[tuple[str, str, str]] = [
    ('{}: not TOML; write such as: dates = "shift"', "shift the dates", 'dates = "shift"'),
    ("{} always becomes a pseudonym; take it out", '[columns]\npatient_id = "code"\n', "[columns]\n"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "wrong", "right"), RULES)
def test_rules_are_read_once_they_are_written_as_told(said: str, wrong: str, right: str) -> None:
    refusal(said, lambda: read_rules(write("rules.toml", wrong)))
    read_rules(write("rules.toml", right))


def own(*statements: str) -> None:
    """A database of the hospital's own."""
    with closing(sqlite3.connect("own.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


TABLE = "CREATE TABLE t (patient_id, age REAL, word TEXT)"
SQL_ROWS = [
    Row("is neither text nor number; cast it in a view of the source",
        lambda: (own(TABLE, "INSERT INTO t VALUES (x'ff00', 50, 'a')"), bring(SQL)),
        lambda: (own("CREATE VIEW v AS SELECT hex(patient_id) AS patient_id, age FROM t"),
                 bring(SQL.replace("--origin t", "--origin v") + " --into new.db"))),
    Row("{}: has no column {}; correct the mapping",
        lambda: (own(TABLE), write("m.toml", column("")), bring(f"{SQL} --mapping m.toml")),
        lambda: (own("INSERT INTO t VALUES ('p1', 50, 'a')"), write("m.toml", column("", "age")),
                 bring(f"{SQL} --mapping m.toml"))),
]  # fmt: skip


@pytest.mark.parametrize("row", SQL_ROWS, ids=lambda row: row.said[:50])
def test_a_hospital_s_own_table_comes_in_once_it_is_done_as_told(row: Row) -> None:
    obey(row)


UNTYPED = "{} is read as text, for the source gives it no type; name it in a mapping if it holds numbers"


def test_an_expression_of_a_view_is_a_number_where_a_mapping_names_it() -> None:
    own(
        TABLE,
        "INSERT INTO t VALUES ('p1', 50, 'a')",
        "CREATE VIEW v AS SELECT patient_id, age * 2 AS x FROM t",
    )
    line = SQL.replace("--origin t", "--origin v")
    assert pattern(UNTYPED).search(bring(line))
    write("m.toml", column(""))
    assert not pattern(UNTYPED).search(bring(f"{line} --mapping m.toml --into new.db"))
    with closing(sqlite3.connect("new.db")) as connection:
        assert connection.execute("SELECT x FROM records").fetchall() == [(100.0,)]


PARQUET_IN_CSV = "is a Parquet file: import it by `fedcohort data import parquet --from FILE --into DATABASE`"


def test_a_parquet_file_is_imported_by_the_command_that_is_told() -> None:
    put({"ward.parquet": FRAME})
    Path("ward.parquet").rename("ward.csv")
    (line,) = told_commands(refusal(PARQUET_IN_CSV, lambda: bring(KEPT)))
    line = line.removeprefix("fedcohort data ").replace("FILE", "ward.csv").replace("DATABASE", "ward.db")
    assert "2 into records" in bring(f"{line} --keep-identifiers")


BOMB = "unpacks to more than {} times its size; unpack it yourself if it is right"
DICTIONARIES = "unpacks to more than {} times its size; write it without dictionaries"


def test_a_file_that_unpacks_to_much_is_unpacked_or_written_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra [files]")
    monkeypatch.setattr(files, "FREE_BYTES", 1000)
    monkeypatch.setattr(parquet, "FREE_BYTES", 1000)
    text = "patient_id,note\n" + f"p1,{'a' * 1000}\n" * 5000
    put({"ward.csv.gz": gzip.compress(text.encode())})
    refusal(BOMB, lambda: bring(KEPT.replace(".csv", ".csv.gz")))
    put({"ward.csv": text})
    bring(f"{KEPT} --into new.db")
    frame = pd.DataFrame({"patient_id": ["p1"] * 5000, "note": ["a" * 1000] * 5000})
    frame.to_parquet("ward.parquet", index=False)
    refusal(DICTIONARIES, lambda: bring(PARQUET))
    frame.to_parquet("ward.parquet", index=False, use_dictionary=False, compression=None)
    bring(f"{PARQUET} --into third.db")


TWICE = "names a column twice; write it anew with each name once"


def test_a_parquet_file_names_each_column_once() -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra [files]")
    from pyarrow import parquet as written

    table = arrow.Table.from_pandas(FRAME.assign(bp=120), preserve_index=False)
    written.write_table(table.rename_columns(["patient_id", "age", "age"]), "ward.parquet")
    refusal(TWICE, lambda: bring(PARQUET))
    written.write_table(table, "ward.parquet")
    bring(PARQUET)


IDENTITY = "they would not be the same patients: import as before, or into a new database"
FOREIGN = "{}: holds tables that fedcohort did not make; import into a new database"
OTHER_COLUMNS = "table {}: stands there with other columns or declarations{}; import into another table"
CHANGED = (
    "{}: changed since it was imported, so that its records cannot be told from the earlier ones; import "
    "into a new "
    "database, with key columns in the mapping where the file will change again"
)  # fmt: skip
KEYLESS = "table {}: stands there without the key {}; import into another table"
DERIVED = "{}: {} was made from what imports wrote, and would stay: make the database anew"
UNNOTED = "{}: holds no import that noted its rows; import what is right into a new database"


def test_a_database_of_patients_known_otherwise_is_left_alone_as_told() -> None:
    write("ward.csv", WARD)
    write("more.csv", WARD.replace("p1", "q1"))
    bring(KEPT)
    other = "import csv --from more.csv --into ward.db"
    refusal(IDENTITY, lambda: bring(f"{other} --key deid.key"))
    bring(f"{other} --key deid.key --into new.db")
    bring(f"{other} --keep-identifiers")


def test_tables_that_are_not_ours_or_are_others_are_left_alone_as_told() -> None:
    write("ward.csv", WARD)
    write("labs.csv", WARD.replace("glucose", "sodium"))
    own(TABLE)
    refusal(FOREIGN, lambda: bring(KEPT.replace("ward.db", "own.db")))
    bring(KEPT.replace("ward.db", "new.db"))
    labs = "import csv --from labs.csv --into new.db --keep-identifiers"
    refusal(OTHER_COLUMNS, lambda: bring(labs))
    bring(f"{labs} --table labs")


def test_a_file_that_was_changed_comes_in_anew_and_by_its_key_ever_after() -> None:
    write("ward.csv", VISITS)
    bring(KEPT)
    write("ward.csv", VISITS.replace("40", "41"))
    refusal(CHANGED, lambda: bring(KEPT))
    write("m.toml", KEYED)
    refusal(KEYLESS, lambda: bring(MAPPED))
    write("v.toml", KEYED.replace("tables.records", "tables.visits"))
    bring(f"{KEPT} --mapping v.toml --table visits")
    bring(ANEW)
    write("ward.csv", VISITS.replace("40", "42"))
    bring(ANEW)
    with closing(sqlite3.connect("new.db")) as connection:
        assert connection.execute("SELECT age FROM records ORDER BY visit").fetchall() == [(42.0,), (50.0,)]


def test_an_undo_that_would_leave_something_is_done_another_way_as_told() -> None:
    write("ward.csv", WARD)
    bring(KEPT)
    own_table = "CREATE TABLE mortality AS SELECT * FROM records"
    with closing(sqlite3.connect("ward.db")) as connection, connection:
        connection.execute(own_table)
    refusal(DERIVED, lambda: undo("ward.db", 1))
    Path("ward.db").unlink()
    write("ward.csv", WARD.replace("50", "51"))
    bring(KEPT)
    with closing(sqlite3.connect("ward.db")) as connection, connection:
        connection.execute("DROP TABLE fedcohort_writes")
    refusal(UNNOTED, lambda: undo("ward.db", 1))
    write("ward.csv", WARD)
    bring(KEPT.replace("ward.db", "new.db"))
    undo("new.db", 1)


def of_columns(*names: str) -> Source:
    """A batch for each name, of a column that nobody declared."""
    batches = [Batch("t", {"patient_id": [name], name: ["1"]}, n + 1) for n, name in enumerate(names)]
    return Source({"t": {}}, [Part("a", "t", lambda: "".join(names), lambda done: iter(batches[done:]))])


LATE_COLUMN = "table {}: has no column {}; import into a new table"
HELD = "{}: holds tables that fedcohort did not make; import {} into a new database"
ANOTHER = "{}: table {} holds something else; import into a new database"


def test_columns_that_come_late_go_into_a_table_of_their_own() -> None:
    refusal(LATE_COLUMN, lambda: import_source(of_columns("a", "b"), "ward.db", MADE_UP))
    late = of_columns("b")
    parts: Any = late.parts
    (part,) = parts
    batches = [Batch("u", batch.columns, batch.read) for batch in part.batches(0)]
    import_source(
        Source({"u": {}}, [Part("b", "u", part.digest, lambda done: iter(batches[done:]))]),
        "ward.db",
        MADE_UP,
    )


def test_a_whole_data_set_goes_into_a_new_database_as_told() -> None:
    columns = {"x": Declared(Numeric(0, 9))}
    table, rows = wide_table("t", columns), [{"patient_id": "p1", "x": 1.0}]
    own(TABLE)
    refusal(HELD, lambda: write_rows("own.db", table, columns, rows, MADE_UP))
    write_rows("new.db", table, columns, rows, MADE_UP)
    other = [{"patient_id": "p1", "x": 2.0}]
    refusal(ANOTHER, lambda: write_rows("new.db", table, columns, other, MADE_UP))
    write_rows("third.db", table, columns, other, MADE_UP)


def test_a_column_that_is_left_out_stays_by_the_rule_that_the_report_names() -> None:
    write("ward.csv", "patient_id,seen_date,note\n1,43831,calm\n2,43832,calm\n")
    write("m.toml", column("", "seen_date"))
    write("rules.toml", "")
    for said in LEFT_OUT:
        assert pattern(said).search(bring(BOTH.replace("ward.db", "left.db"))), said
        Path("left.db").unlink()
    write("rules.toml", '[columns]\nnote = "keep"\nseen_date = "keep"\n')
    kept = bring(BOTH)
    assert "records.note: kept" in kept
    assert "records.seen_date: kept" in kept


LEFT_OUT = (
    "text of any content; a rule can say date, code or keep",
    "named like (C) a date, and may be large numbers; a rule can say date or keep",
)


def ward(*rows: tuple[str, float, float]) -> None:
    columns = {name: Declared(Numeric(0, 100)) for name in ("age", "weight")}
    values = [{"patient_id": p, "age": age, "weight": weight} for p, age, weight in rows]
    Path("ward.db").unlink(missing_ok=True)
    write_rows("ward.db", wide_table("ward", columns), columns, values, MADE_UP)


ALONE = [("p1", 40.0, 1.0), ("p2", 40.0, 2.0), ("p3", 50.0, 3.0), ("p4", 50.0, 4.0)]


def emptied() -> None:
    with closing(sqlite3.connect("ward.db")) as connection, connection:
        connection.execute("DELETE FROM ward")


K_ROWS = [
    Row("{}: has no rows; import the data first",
        lambda: (ward(*ALONE), emptied(), k_anonymity("ward.db", "ward", ["age"], 2)),
        lambda: (ward(*ALONE), k_anonymity("ward.db", "ward", ["age"], 2))),
    Row("k-anonymity: name 1 to {} columns other than {}, each once, and a k above 1",
        lambda: (ward(*ALONE), k_anonymity("ward.db", "ward", [], 1)),
        lambda: k_anonymity("ward.db", "ward", ["age"], 2)),
]  # fmt: skip


@pytest.mark.parametrize("row", K_ROWS, ids=lambda row: row.said[:50])
def test_k_anonymity_is_counted_once_it_is_asked_as_told(row: Row) -> None:
    obey(row)


COARSER = "coarsen or leave out what helps most, in the mapping or rules, and import again"


def test_what_helps_most_makes_a_table_k_anonymous() -> None:
    ward(*ALONE)
    found = k_anonymity("ward.db", "ward", ["age", "weight"], 2)
    assert COARSER in str(found)
    assert "weight: leave it out: 0.0% of rows below" in str(found)
    ward(*((patient, age, 5.0) for patient, age, _ in ALONE))
    again = k_anonymity("ward.db", "ward", ["age", "weight"], 2)
    assert again.classes.smallest == 2
    assert COARSER not in str(again)


KEY_ROWS = [
    Row("{}: not a de-identification key; restore it from a backup",
        lambda: (load_or_create_key(Path("deid.key")), Path("deid.key").rename("backup"),
                 write("deid.key", "no key").chmod(0o600), load_or_create_key(Path("deid.key"))),
        lambda: (Path("backup").replace("deid.key"), load_or_create_key(Path("deid.key")))),
    Row("patient_id is neither text nor number; correct it in the source", lambda: alias(bytes(32), ["7"]),
        lambda: alias(bytes(32), "7")),
]  # fmt: skip


@pytest.mark.parametrize("row", KEY_ROWS, ids=lambda row: row.said[:50])
def test_a_pseudonym_is_made_once_it_is_done_as_told(row: Row) -> None:
    obey(row)


SAID = {
    "test_a_file_comes_in_once_it_is_done_as_told": [row[0] for row in IMPORTS],
    "test_a_mapping_is_read_once_it_is_written_as_told": [row[0] for row in FIELDS],
    "test_rules_are_read_once_they_are_written_as_told": [row[0] for row in RULES],
    "test_a_hospital_s_own_table_comes_in_once_it_is_done_as_told": [row.said for row in SQL_ROWS],
    "test_an_expression_of_a_view_is_a_number_where_a_mapping_names_it": [UNTYPED],
    "test_a_parquet_file_is_imported_by_the_command_that_is_told": [PARQUET_IN_CSV],
    "test_a_file_that_unpacks_to_much_is_unpacked_or_written_as_told": [BOMB, DICTIONARIES],
    "test_a_parquet_file_names_each_column_once": [TWICE],
    "test_a_database_of_patients_known_otherwise_is_left_alone_as_told": [IDENTITY],
    "test_tables_that_are_not_ours_or_are_others_are_left_alone_as_told": [FOREIGN, OTHER_COLUMNS],
    "test_a_file_that_was_changed_comes_in_anew_and_by_its_key_ever_after": [CHANGED, KEYLESS],
    "test_an_undo_that_would_leave_something_is_done_another_way_as_told": [DERIVED, UNNOTED],
    "test_columns_that_come_late_go_into_a_table_of_their_own": [LATE_COLUMN],
    "test_a_whole_data_set_goes_into_a_new_database_as_told": [HELD, ANOTHER],
    "test_a_column_that_is_left_out_stays_by_the_rule_that_the_report_names": list(LEFT_OUT),
    "test_k_anonymity_is_counted_once_it_is_asked_as_told": [row.said for row in K_ROWS],
    "test_what_helps_most_makes_a_table_k_anonymous": [COARSER, "leave it out"],
    "test_a_pseudonym_is_made_once_it_is_done_as_told": [row.said for row in KEY_ROWS],
}
