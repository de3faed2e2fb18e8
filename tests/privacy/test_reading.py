"""Whether a private study can be read tells nothing of one patient: a code would be a release, too."""

import math
import sqlite3
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.engines.local import Simulated, simulated_node
from fedcohort.errors import CohortError, DataError
from fedcohort.node.answer import answer
from fedcohort.node.policy import SitePolicy, check_study
from fedcohort.sources.catalogue.stored_images import encode_image
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.cohort.where.parse import check_plain
from fedcohort.study import Cohort, Study
from fedcohort.wire.messages import Contribution, Event, Task

PATIENTS = 40
PICTURE = encode_image(np.zeros((2, 2), np.uint8))
COHORT = fc.Cohort(
    columns={
        "age": fc.Numeric(18, 90),
        "blood": fc.Categorical(("a", "b")),
        "scan": fc.Image(2, 2),
    },
    label=fc.Binary("ill"),
    split="set",
)
ODD: dict[str, tuple[str, object]] = {
    "a level that is not named": ("blood", "hiv"),
    "bytes among levels": ("blood", b"\x00"),
    "a text among numbers": ("age", "unknown"),
    "an infinite number": ("age", math.inf),
    "a label that is neither": ("ill", 2),
    "a split that is none": ("set", "later"),
    "no patient": ("patient_id", None),
    "no picture": ("scan", None),
    "half a picture": ("scan", PICTURE[:40]),
}


def frame() -> pd.DataFrame:
    columns: dict[str, list[Any]] = {
        "patient_id": [f"p{index:03}" for index in range(PATIENTS)],
        "age": np.linspace(20, 80, PATIENTS).tolist(),
        "blood": ["a", "b"] * (PATIENTS // 2),
        "scan": [PICTURE] * PATIENTS,
        "ill": [0, 1] * (PATIENTS // 2),
        "set": ["train", "train", "test", "valid"] * (PATIENTS // 4),
    }
    return pd.DataFrame(columns, dtype=object)


def odd(column: str, value: object) -> pd.DataFrame:
    columns = {str(name): list(values) for name, values in frame().items()}
    columns[column][7] = value
    return pd.DataFrame(columns, dtype=object)


def private(cohort: Cohort, analysis: Any = None) -> Study:
    return fc.Study(
        name="asks", cohort=cohort, analysis=analysis or fc.Describe(), privacy=fc.Privacy(epsilon=1.0),
        protection="none",
    )  # fmt: skip


def reply(asked: Study, rows: pd.DataFrame) -> str:
    analysis = build_analysis(asked)
    node = simulated_node(Simulated(), "a", asked, partial(table_from_frame, rows), analysis, 10)
    phase = analysis.start().phase
    found = answer(node, Task(asked.hash, 0, 0, phase, {}, bytes(32), ("a",)))
    return found.code if isinstance(found, Event) else type(found).__name__


@pytest.mark.parametrize(("column", "value"), ODD.values(), ids=ODD)
@pytest.mark.parametrize(
    "analysis",
    [fc.Describe(), pytest.param(fc.Train.private(rounds=2), marks=pytest.mark.training)],
    ids=["describe", "train"],
)
def test_one_patient_whose_values_do_not_fit_changes_no_answer(
    column: str, value: object, analysis: Any
) -> None:
    columns = {name: kind for name, kind in COHORT.schema_.items() if name != "scan" or column == "scan"}
    model = {"model": "image_and_record"} if column == "scan" and isinstance(analysis, fc.Train) else {}
    chosen = analysis.model_copy(update=model)
    asked = private(COHORT.model_copy(update={"columns": columns}), chosen)
    assert reply(asked, frame()) == reply(asked, odd(column, value)) == Contribution.__name__


@pytest.mark.parametrize(("column", "value"), ODD.values(), ids=ODD)
def test_without_privacy_the_same_value_is_named_so_that_somebody_corrects_it(
    column: str, value: object
) -> None:
    with pytest.raises(DataError, match=f"records.{column}"):
        table_from_frame(odd(column, value), COHORT, 0)


@pytest.mark.parametrize(("column", "value"), ODD.values(), ids=ODD)
def test_a_database_is_read_like_a_frame_and_only_the_odd_value_is_missing(
    column: str, value: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, names = tmp_path / "ward.db", list(frame().columns)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE records ({})".format(", ".join(f'"{name}"' for name in names)))
        marks = ", ".join("?" * len(names))
        rows = odd(column, value).itertuples(index=False)
        connection.executemany(f"INSERT INTO records VALUES ({marks})", [tuple(row) for row in rows])
    with pytest.raises(DataError):
        load_cohort(path, COHORT, 0, {"records": names})
    found = load_cohort(path, COHORT, 0, {"records": names}, private=True)
    same = table_from_frame(odd(column, value), COHORT, 0, private=True)
    assert found.patient_ids.tolist() == same.patient_ids.tolist()
    others = table_from_frame(frame().drop(index=7), COHORT, 0)
    mine = found.patient_ids == "p007"
    assert found.patient_ids[~mine].tolist() == others.patient_ids.tolist()
    for name, values in found.columns.items():
        np.testing.assert_array_equal(values[~mine], others.columns[name])
        if mine.any() and name == column:
            assert np.isnan(values[mine]).all() if name == "age" else (values[mine] == -1).all()
    assert "what does not fit counts as missing" in caplog.text
    assert "hiv" not in caplog.text


@pytest.mark.parametrize(
    "where",
    [
        "abs(-9223372036854775807 - (CASE WHEN blood = 'hiv' THEN 1 ELSE 0 END)) > 0",
        "(CASE WHEN blood = 'hiv' THEN age ELSE 0 END) * 1e308 > 0",
        "1 / (age - 63) > 0",
        "age % 2 = 0",
        "-age < 0",
        "round(age, 2) > 3",
    ],
)
def test_nothing_is_reckoned_of_patients_under_privacy(where: str) -> None:
    asked = private(COHORT.model_copy(update={"where": where}))
    assert reply(asked, frame()) == reply(asked, odd("blood", "hiv")) == "cohort-refused"
    site = SitePolicy(
        id="a", data="a.db", tables={"records": "*"}, coordinator="ws://x", protections=("none",)
    )
    with pytest.raises(CohortError, match="how long it takes to reckon can depend on one patient"):
        check_study(site, asked)


@pytest.mark.parametrize(
    "where",
    [
        "age >= -5 AND age < 1e400 AND (blood IN ('a', 'b') OR blood IS NULL)",
        "coalesce(lower(blood), '') LIKE '%a%' OR length(blood) BETWEEN 1 AND 2",
        "CASE WHEN age > 40 THEN blood ELSE 'a' END = 'a' OR nullif(age, 3) > 1 OR (age > 1) IS TRUE",
    ],
)
def test_comparing_is_allowed(where: str) -> None:
    check_plain(where)
    asked = private(COHORT.model_copy(update={"where": where}))
    assert reply(asked, frame()) == Contribution.__name__


def read_from(path: Path, asked: Study) -> str:
    """What a node says that reads a database."""
    load = partial(load_cohort, path, offered={"records": list(frame().columns)})
    analysis = build_analysis(asked)
    node = simulated_node(
        Simulated(), "a", asked, lambda cohort, seed, of: load(cohort, seed, private=of), analysis, 10
    )
    phase = analysis.start().phase
    found = answer(node, Task(asked.hash, 0, 0, phase, {}, bytes(32), ("a",)))
    return found.code if isinstance(found, Event) else type(found).__name__


def database(path: Path, statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(statements)
    return path


NUMBERS = fc.Cohort(columns={"age": fc.Numeric(18, 90)}, label=fc.Binary("ill"))
ROWS = "CREATE TABLE t (patient_id TEXT, age REAL, ill INTEGER);" + "".join(
    f"INSERT INTO t VALUES ('p{n}', {20 + n}, {n % 2});" for n in range(PATIENTS)
)


@pytest.mark.parametrize("is_private", [True, False])
@pytest.mark.parametrize("what", ["too slow", "a view that fails for one patient", "missing"])
def test_whether_rows_can_be_read_in_time_tells_nothing_of_them_under_privacy(
    what: str, is_private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time-out and a view's own expression depend on who is in the table; that it is missing does not."""
    age = "abs(-9223372036854775807 - (patient_id = 'p7'))" if what.startswith("a view") else "age"
    path = database(
        tmp_path / "ward.db", f"{ROWS} CREATE VIEW records AS SELECT patient_id, {age} AS age, ill FROM t;"
    )
    if what == "too slow":
        monkeypatch.setattr("fedcohort.storage.timeouts.QUERY_SECONDS", -1.0)
        monkeypatch.setattr("fedcohort.storage.database._STEPS_BETWEEN_CLOCKS", 1)
        # The thread that reads by columns may have read so small a table before anybody waits for it.
        monkeypatch.setattr("fedcohort.sources.cohort.columnar._fetch", lambda *_: None)
    asked = private(NUMBERS)
    asked = asked if is_private else asked.model_copy(update={"privacy": None})
    told = read_from(tmp_path / "none.db" if what == "missing" else path, asked)
    assert told == ("reason-withheld" if is_private and what != "missing" else "store")


@pytest.mark.parametrize("picture", [None, PICTURE])
def test_a_site_that_cannot_read_pictures_says_so_whether_anybody_has_one(
    picture: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ward.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE records (patient_id TEXT, scan BLOB, age REAL)")
        connection.execute("INSERT INTO records VALUES ('p1', ?, 20.0)", (picture,))
    monkeypatch.setitem(sys.modules, "PIL", None)
    asked = private(fc.Cohort(columns={"scan": fc.Image(2, 2), "age": fc.Numeric(18, 90)}))
    assert read_from(path, asked) == "config-invalid"


@pytest.mark.parametrize("n", [0, 1, 9, 10, PATIENTS])
def test_a_cohort_of_nobody_looks_like_any_other(n: int) -> None:
    rows = odd("blood", "b")
    rows["blood"] = ["a" if index < n else "b" for index in range(PATIENTS)]
    asked = private(COHORT.model_copy(update={"where": "blood = 'a'"}))
    assert reply(asked, rows) == Contribution.__name__
