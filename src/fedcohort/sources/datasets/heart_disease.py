"""Import of the UCI Heart Disease data: four real hospitals, one database each.

Janosi, Steinbrunn, Pfisterer and Detrano 1988, https://doi.org/10.24432/C52P4X (CC BY 4.0).
Cleaned as FLamby's Fed-Heart-Disease (Ogier du Terrail et al. 2022, arXiv 2210.04620):
the columns slope, ca and thal are dropped, then every row with a missing value, which
leaves 303, 261, 46 and 130 patients. `cp` and `restecg` are categories. A file
split.csv (centre,line,set), where `line` counts the centre's file from 1, becomes the
column `set`.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedcohort.columns import Categorical
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.schema import PATIENT_ID, Declared, wide_table
from fedcohort.sources.importer.deidentification import PUBLIC
from fedcohort.sources.importer.whole_dataset import ImportReport, Row, declare_numeric, sort_out, write_rows

TABLE = "heart_disease"
CENTRES = ("cleveland", "hungarian", "switzerland", "va")
SETS = ("train", "test")
MAX_FILE_BYTES = 10 * 2**20
_FIELDS = 14
_KEPT = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak")

COLUMNS: Mapping[str, Declared] = {
    "age": declare_numeric(18, 100, "years"),
    "sex": declare_numeric(0, 1),  # 1 is male
    "cp": Declared(Categorical((1, 2, 3, 4))),  # chest pain: typical, atypical, non-anginal, none
    "trestbps": declare_numeric(0, 250, "mm Hg"),  # 0 stands in one row of va
    "chol": declare_numeric(0, 700, "mg/dl"),  # 0 stands for unmeasured in switzerland and va
    "fbs": declare_numeric(0, 1),  # fasting blood sugar above 120 mg/dl
    "restecg": Declared(Categorical((0, 1, 2))),
    "thalach": declare_numeric(40, 230, "beats/min"),
    "exang": declare_numeric(0, 1),
    "oldpeak": declare_numeric(-5, 10, "mm"),
    "disease": Declared(Categorical((0, 1))),
}
"""Declared clinical ranges, and the code lists of heart-disease.names."""


def import_heart_disease(folder: str | Path, out: str | Path) -> list[ImportReport]:
    """Write all four hospitals, each into its own database `out/heart_<centre>.db`.

    Raises:
        SchemaError: a file is missing or unreadable; names it.
        StoreError: a database holds something else, or cannot be written.
    """
    Path(out).mkdir(parents=True, exist_ok=True)
    return [import_centre(folder, centre, Path(out) / f"heart_{centre}.db") for centre in CENTRES]


def import_centre(folder: str | Path, centre: str, database: str | Path) -> ImportReport:
    """Write one hospital into one database; twice changes nothing.

    Args:
        folder: holds processed.<centre>.data, and split.csv if there is one.
        centre: one of CENTRES.
        database: SQLAlchemy URL, or a path of a SQLite file.
    Raises:
        SchemaError: a file is missing or unreadable; names file, line and remedy.
        StoreError: the database holds something else, or cannot be written.
    """
    if centre not in CENTRES:
        raise SchemaError(f"heart-disease: no centre {centre!r}; choose {', '.join(CENTRES)}")
    sets = _read_sets(Path(folder) / "split.csv", centre)
    lines = _read_lines(Path(folder) / f"processed.{centre}.data")
    columns = dict(COLUMNS) | ({"set": Declared(Categorical(SETS))} if sets is not None else {})
    parsed = [_parse(centre, number, line, sets) for number, line in enumerate(lines, start=1)]
    rows, refused = sort_out([row for row, _ in parsed], columns, [reason for _, reason in parsed])
    if not rows:
        raise SchemaError(f"processed.{centre}.data: holds no usable row; fetch the original files again")
    name, written = write_rows(database, wide_table(TABLE, columns), columns, rows, PUBLIC)
    return ImportReport(name, TABLE, len(lines), written, len(rows), refused)


def _read_lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SchemaError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; this is not the UCI file")
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SchemaError(
            f"{path}: {error.strerror}; give the folder of the UCI files, or run "
            "`fedcohort data fetch heart-disease`"
        ) from None
    except UnicodeDecodeError:
        raise SchemaError(f"{path}: is not text; fetch the original files again") from None


def _parse(centre: str, number: int, line: str, sets: Mapping[int, str] | None) -> tuple[Row, str | None]:
    """A line as a row, and why it is refused, if it is; `num` above 0 means disease."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != _FIELDS:
        return {}, f"not {_FIELDS} values in the line"
    used: Sequence[str] = [*fields[: len(_KEPT)], fields[-1]]
    if "?" in used:
        return {}, "a value is missing"
    try:
        values = [float(field) for field in used]
    except ValueError:
        return {}, "a value is not a number"
    if not all(map(math.isfinite, values)):
        return {}, "a value is not a number"
    row: dict[str, object] = {PATIENT_ID: f"{centre}-{number:03d}"}
    for name, value in zip(_KEPT, values, strict=False):
        whole = isinstance(COLUMNS[name].kind, Categorical) and value.is_integer()
        row[name] = int(value) if whole else value
    row["disease"] = int(values[-1] > 0)
    if sets is not None:
        row["set"] = sets.get(number)
    return row, "not in split.csv" if sets is not None and number not in sets else None


def _read_sets(path: Path, centre: str) -> dict[int, str] | None:
    """Line number to train or test, for one centre; None without the file."""
    if not path.exists():
        return None
    reader = csv.DictReader(_read_lines(path))
    if reader.fieldnames != ["centre", "line", "set"]:
        raise SchemaError(f"{path}: line 1 must be centre,line,set; correct it, or remove the file")
    sets: dict[int, str] = {}
    for row in reader:
        line, which = row["line"] or "", row["set"]
        if not (line.isdecimal() and which in SETS and row["centre"] in CENTRES):
            raise SchemaError(
                f"{path}: line {reader.line_num}: not a centre, a line number and train or test"
            )
        if row["centre"] == centre:
            sets[int(line)] = which
    return sets
