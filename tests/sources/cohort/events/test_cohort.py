"""A cohort of events from event tables, as an ordinary Table with the same bits on each engine."""

import hashlib
import sqlite3
import tomllib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ucumvert", reason="units of events need the extra ucum")

from fedcohort.errors import EmptyCohortError, PolicyError, SchemaError
from fedcohort.sources.cohort.events.cohort import Census, LocalCode, SiteEvents, table_of_events
from fedcohort.sources.cohort.events.tables import in_event_tables
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort
from fedcohort.table import Table as Rows
from tests.postgres import Postgres

from .rows import Event, filled, ill, lab, person, stay

HOUR = 1 / 24
HERE = SiteEvents(in_event_tables({}))
_number = iter(range(1000))
Fill = Callable[[Sequence[Event]], str]

WORDS = """
[codes]
creatinine = { loinc = ["2160-0", "14682-9"] }
infarction = { icd10 = ["I21*"] }
[index]
encounter = true
which = "first"
[columns.last]
observation = "creatinine"
take = "last"
window = ["-24h", "0h"]
low = 10
high = 2000
unit = "umol/L"
[columns.mean]
observation = "creatinine"
take = "mean"
window = ["-30d", "0d"]
low = 10
high = 2000
unit = "umol/L"
[columns.n]
observation = "creatinine"
take = "count"
window = ["-30d", "0d"]
high = 50
[columns.age]
patient = "age"
low = 0
high = 120
[columns.sex]
patient = "sex"
levels = ["female", "male"]
[label]
condition = "infarction"
take = "any"
window = ["0d", "366d"]
"""


def cohort(*changes: tuple[str, str]) -> Cohort:
    text = WORDS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return Cohort(**tomllib.loads(text))


@pytest.fixture(params=("sqlite", "duckdb", "postgresql"))
def fill(request: pytest.FixtureRequest, tmp_path: Path) -> Fill:
    """What fills an empty database of each engine."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        address = server.create(f"cohort_{next(_number)}")
    elif request.param == "duckdb":
        pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")
        address = f"duckdb:///{tmp_path}/events.duckdb"
    else:
        address = str(tmp_path / "events.db")
    return lambda rows: filled(address, rows)


FEW = [
    person("b", -7300.0, "male"),
    person("a", -3650.0, "female"),
    stay("a", 100.0, 105.0),
    stay("a", 300.0, 301.0),
    stay("b", 200.0, 210.0),
    stay("c", 50.0, 51.0),
    lab("a", 100 - HOUR, 90.0),
    lab("a", 100 - 2 * HOUR, 0.08, "mmol/L", "14682-9"),
    lab("a", 100 - 3 * HOUR, 9.0, "mg/dL"),
    lab("a", 100.0, 500.0),
    lab("b", 200 - 24 * HOUR, 70.0),
    lab("b", 200 - 25 * HOUR, 5.0),
    lab("b", 199.0, 70.0, "umol/L", "9999-9"),
    ill("b", 230.0),
    ill("c", 49.0),
    ill("c", 60.0, "I25.2"),
]


def test_columns_are_what_a_person_would_take(fill: Fill) -> None:
    table = load_cohort(fill(FEW), cohort(), 0, {}, events=HERE)
    assert table.patient_ids.tolist() == ["a", "b", "c"]
    assert table.columns["last"].tolist()[:2] == [90.0, 70.0]
    assert table.columns["mean"].tolist()[:2] == [
        85.0,
        70.0,
    ]  # 80 in mmol/L; mg/dL does not convert; 5 is too low
    assert table.columns["n"].tolist() == [3, 2, 0]
    assert np.isnan([table.columns["last"][2], table.columns["age"][2]]).all()
    assert table.columns["age"].tolist()[:2] == [10, 20]
    assert table.columns["sex"].tolist() == [0, 1, -1]
    assert table.label is not None
    assert table.label.tolist() == [0, 1, 0]


def test_the_bits_are_the_same_on_every_engine(fill: Fill) -> None:
    draw = np.random.default_rng(3)
    rows = []
    for number in range(300):
        patient = f"p{draw.integers(0, 40)}"
        time = float(draw.integers(0, 4000)) / 24
        rows.append(
            lab(patient, time, float(draw.normal(90, 30)), ["umol/L", "mmol/L", "mg/dL", None][number % 4])
        )
        if number % 3 == 0:
            rows += [stay(patient, time, time + 3.25), ill(patient, time + float(draw.random()) * 100)]
    table = load_cohort(
        fill(rows), cohort(('which = "first"', 'which = "every"\nat_most = 3')), 0, {}, events=HERE
    )
    assert table.n_rows > table.n_patients > 20
    assert digest(table) == "5fc5b4bfe1d6e455"


def digest(table: Rows) -> str:
    whole = hashlib.sha256("".join(table.patient_ids.tolist()).encode())
    for name in sorted(table.columns):
        whole.update(np.ascontiguousarray(table.columns[name]).tobytes())
    whole.update(np.ascontiguousarray(table.label).tobytes())
    return whole.hexdigest()[:16]


def test_who_is_kept_and_left_out(fill: Fill) -> None:
    database = fill(FEW)

    def who(*changes: tuple[str, str]) -> list[str]:
        table = load_cohort(database, cohort(*changes), 0, {}, events=HERE)
        return [str(one) for one in table.patient_ids]

    before = '[exclude.ill]\ncondition = "infarction"\nwindow = ["-3650d", "0d"]\n'
    assert who(("[columns.last]", f"{before}[columns.last]")) == ["a", "b"]
    high = '[need.high]\nobservation = "creatinine"\nwindow = ["-30d", "0d"]\nlow = 80\nunit = "umol/L"\n'
    assert who(("[columns.last]", f"{high}[columns.last]")) == ["a"]
    assert who(('which = "first"', 'which = "last"\nobserved = ["-200d", "0d"]')) == ["a"]
    ends = cohort(('which = "first"', 'which = "last"\nat = "end"'), ('["-24h", "0h"]', '["-10000h", "0h"]'))
    assert load_cohort(database, ends, 0, {}, events=HERE).columns["last"].tolist()[0] == 500.0


def test_the_time_to_an_event_ends_with_it_or_with_observation_or_death(fill: Fill) -> None:
    rows = [
        *(stay(patient, 0.0, 1.0) for patient in ("dead", "event", "long", "short")),
        *(stay(patient, 300.0, 300.5) for patient in ("dead", "event", "long")),
        stay("short", 40.0, 41.0),
        ill("event", 100.0),
        ill("event", 120.0),
        ill("short", 90.0),  # after the end of what is observed
        person("dead", 0.0, "male", 30.0),
    ]
    timed = cohort(
        ('take = "any"\nwindow = ["0d", "366d"]', 'take = "time_to"\nwindow = ["0d", "200d"]'),
        ("[columns.age]", "[columns.years]"),
    )
    table = load_cohort(fill(rows), timed, 0, {}, events=HERE)
    assert table.patient_ids.tolist() == ["dead", "event", "long", "short"]
    assert table.label is not None
    assert table.event is not None
    assert table.label.tolist() == [30, 100, 200, 41]
    assert table.event.tolist() == [0, 1, 0, 0]


def test_a_time_series_holds_the_last_value_where_it_is_asked_to(fill: Fill) -> None:
    database = fill(
        [stay("a", 100.0, 101.0), lab("a", 100 - 3 * HOUR, 50.0), lab("a", 100 - 1.5 * HOUR, 60.0)]
    )
    series = '[sequence]\nwindow = ["-4h", "0h"]\nstep = "1h"\ncolumns = ["last"]\nhold = "last"\n[label]'

    def steps(words: str) -> list[float]:
        table = load_cohort(database, cohort(("[label]", words)), 0, {}, events=HERE)
        return [float(table.columns[f"t00{step}.last"][0]) for step in range(4)]

    np.testing.assert_array_equal(steps(series), [np.nan, 50, 60, 60])
    np.testing.assert_array_equal(steps(series.replace('hold = "last"\n', "")), [np.nan, 50, 60, np.nan])


def test_a_hospitals_own_codes_mean_what_its_site_toml_says(fill: Fill) -> None:
    own = (
        "observations",
        {"patient_id": "a", "system": "lab", "code": "KREA", "time": 99.9, "value": 0.1, "unit": "foo"},
    )
    database = fill([stay("a", 100.0, 101.0), own])
    said = LocalCode("KREA", {"loinc": "2160-0"}, None, "mmol/L")
    here = SiteEvents(in_event_tables({}), {"observation": [said]})
    assert load_cohort(database, cohort(), 0, {}, events=here).columns["last"].tolist() == [100.0]
    other = SiteEvents(
        in_event_tables({}), {"observation": [LocalCode("KREA", {"loinc": "2160-0"}, "snomed")]}
    )
    assert np.isnan(load_cohort(database, cohort(), 0, {}, events=other).columns["last"]).all()


def test_counts_are_made_for_the_sites_own_engineer(tmp_path: Path) -> None:
    census = Census()
    table_of_events(filled(str(tmp_path / "e.db"), FEW), cohort(), 0, HERE, census=census)
    assert census.rows == 3
    assert census.there == {"columns.last": 2, "columns.mean": 2, "columns.n": 2, "label": 1}
    assert census.unconverted == {("columns.last", "mg/dL"): 1, ("columns.mean", "mg/dL"): 1}


def test_nobody_is_an_error_only_without_privacy(tmp_path: Path) -> None:
    database = filled(str(tmp_path / "e.db"), [])
    with pytest.raises(EmptyCohortError):
        load_cohort(database, cohort(), 0, {}, events=HERE)
    assert load_cohort(database, cohort(), 0, {}, private=True, events=HERE).n_rows == 0


def test_what_a_site_does_not_offer_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none.db")
    with pytest.raises(PolicyError, match="offers none to studies"):
        load_cohort(nowhere, cohort(), 0, {})
    with pytest.raises(PolicyError, match="does not offer observation"):
        load_cohort(nowhere, cohort(), 0, {}, events=offering("condition", "encounter"))
    there = filled(str(tmp_path / "there.db"), FEW)
    more = offering("condition", "encounter", "observation")
    assert load_cohort(there, cohort(), 0, {}, events=more).n_rows == 3


def offering(*kinds: str) -> SiteEvents:
    return SiteEvents(in_event_tables({}), {}, kinds)


def test_lists_and_indexes_that_are_of_omop_alone_are_refused_with_what_to_add(tmp_path: Path) -> None:
    database = filled(str(tmp_path / "e.db"), FEW)
    concepts = cohort(('{ loinc = ["2160-0", "14682-9"] }', '{ omop = ["3016723"] }'))
    with pytest.raises(SchemaError, match=r"codes\.creatinine: has no code of a system"):
        load_cohort(database, concepts, 0, {}, events=HERE)
    generated = cohort(("encounter = true", "cohort_definition = 7"))
    with pytest.raises(SchemaError, match="generated cohorts are an OMOP site's"):
        load_cohort(database, generated, 0, {}, events=HERE)
    assert load_cohort(database, cohort(), 0, {}, events=HERE).n_rows == 3


def test_a_text_that_is_no_utf_8_tells_nothing_of_whose_it_is(tmp_path: Path) -> None:
    """As of an ordinary cohort: a study that failed would tell that somebody in its code list has it."""
    address = filled(str(tmp_path / "events.db"), FEW)
    with closing(sqlite3.connect(address)) as raw, raw:
        raw.execute("UPDATE observations SET unit = CAST(x'ff' AS TEXT) WHERE patient_id = 'a'")
        raw.execute("INSERT INTO observations SELECT * FROM observations WHERE patient_id = 'a' LIMIT 1")
    assert table_of_events(address, cohort(), 0, HERE).patient_ids.tolist() == ["a", "b", "c"]
