"""Reading events: the same arrays from SQLite, PostgreSQL and DuckDB, a chunk of patients at a time."""

import datetime
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Column, Date, DateTime, Float, Integer, MetaData, Numeric, String, Table, quoted_name

from fedcohort.errors import SchemaError
from fedcohort.sources.events.reading import Chunk, Code, EventReader, Wanted, opened
from fedcohort.sources.events.tables import KINDS
from fedcohort.sources.events.views import EventTable, TimeUnit, fault_of_event_tables
from fedcohort.storage.database import writing
from tests.postgres import Postgres

LOINC = "http://loinc.org"
GLUCOSE = Wanted("observations", {"glucose": (Code(LOINC, "2345-7"),), "any": None}, ("unit", "code"))
ENGINES = ("sqlite", "duckdb", "postgresql")
Database = Callable[[], str]
_number = iter(range(1000))


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each engine."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        yield server.create(f"events_{next(_number)}")
    elif request.param == "duckdb":
        pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")
        yield f"duckdb:///{tmp_path}/events.duckdb"
    else:
        yield str(tmp_path / "events.db")


def fill(database: str, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    with writing(database) as connection:
        bare = Table(table.name, MetaData(), *(Column(one.name, one.type) for one in table.c))
        (bare if database.startswith("duckdb") else table).create(connection)
        if rows:
            connection.execute(bare.insert(), list(rows))


def event(kind: str, patient: str, **columns: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(KINDS[kind].table.c.keys())
    return {**row, "patient_id": patient, "source": "lab", "group_id": 1, **columns}


def observation(
    patient: str, time: float | None, value: float | None, code: str = "2345-7"
) -> dict[str, object]:
    return event(
        "observations", patient, system=LOINC, code=code, time=time, value=value, unit="mmol/L"
    )  # fmt: skip


def chunks(
    database: str,
    wanted: Sequence[Wanted],
    tables: Mapping[str, EventTable] | None = None,
    block_rows: int = 50_000,
) -> list[Chunk]:
    with opened(database, tables or {}, [one.kind for one in wanted]) as reader:
        return list(reader.chunks(wanted, block_rows))


def test_events_come_by_patient_millisecond_and_value(database: str) -> None:
    rows = [
        observation("p2", 2.0, 5.0),
        observation("p10", 1.0, None),
        observation("p10", 1.0, 7.0),
        observation("p10", 1.0 + 1e-9, 6.0),  # within the same millisecond
        observation("p10", 0.5, 9.0, "other"),
        observation("P3", 0.5, 1.0),
        observation("p2", None, 1.0),
    ]
    fill(database, KINDS["observations"].table, rows)
    [chunk] = chunks(database, [GLUCOSE])
    [events] = chunk.events
    assert chunk.patients == ("P3", "p10", "p2")
    assert events.patient.tolist() == [0, 1, 1, 1, 1, 2]
    assert events.milliseconds.tolist() == [43_200_000, 43_200_000, *[86_400_000] * 3, 172_800_000]
    np.testing.assert_array_equal(events.value, [1.0, 9.0, 6.0, 7.0, np.nan, 5.0])
    assert events.sets.tolist() == [3, 2, 3, 3, 3, 3]
    assert events.columns["code"].tolist() == ["2345-7", "other", *["2345-7"] * 4]
    assert set(events.columns["unit"]) == {"mmol/L"}


def test_duckdb_without_arrow_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")
    pytest.importorskip("pyarrow", reason="needs the extra arrow")
    table = Table(
        "labs",
        MetaData(),
        Column("patient_id", Integer),
        Column(quoted_name("at", quote=True), DateTime),  # a word of DuckDB's
        Column("day", Date),
        Column("n", Integer),
        Column("size", Numeric(9, 3)),
        Column("code", String(8)),
    )
    at = datetime.datetime(2020, 2, 29, 12, 30, 0, 123456)
    rows: list[dict[str, object]] = [
        {"patient_id": i // 3, "at": at + datetime.timedelta(i), "n": i if i % 2 else None, "code": "a"}
        | {"day": None if i % 4 == 1 else at.date(), "size": Decimal(i) / 8 if i % 5 else None}
        for i in range(30)
    ]
    database = f"duckdb:///{tmp_path}/labs.duckdb"
    fill(database, table, rows)
    asked = [Wanted("conditions", {"a": (Code(None, "a"),)}, ("code", "end", "recorded"))]
    asked += [Wanted("observations", {"any": None})]
    columns = {"time": "at", "end": "day", "code": "code", "recorded": "day"}
    mapped = {
        "conditions": EventTable(table="labs", columns=columns),
        "observations": EventTable(table="labs", columns={"time": "at", "value": "size"}),
    }
    with_arrow = chunks(database, asked, mapped, block_rows=7)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    without = chunks(database, asked, mapped, block_rows=7)
    assert [part.patients for part in with_arrow] == [part.patients for part in without]
    for one, other in zip(with_arrow, without, strict=True):
        for events, same in zip(one.events, other.events, strict=True):
            np.testing.assert_array_equal(events.milliseconds, same.milliseconds)
            np.testing.assert_array_equal(events.value, same.value)
            np.testing.assert_array_equal(events.patient, same.patient)
            assert {*events.columns} == {*same.columns}
            for name, column in events.columns.items():
                assert column.dtype == same.columns[name].dtype
                np.testing.assert_array_equal(column, same.columns[name])


def test_any_block_size_gives_the_same_events_of_whole_patients(database: str) -> None:
    labs = [observation(f"p{i % 7}", float(i), float(i)) for i in range(60)]
    stays = [event("encounters", f"p{i}", start=float(i), **{"class": "IMP"}) for i in (0, 3, 6, 8)]
    fill(database, KINDS["observations"].table, labs)
    fill(database, KINDS["encounters"].table, stays)
    wanted = [GLUCOSE, Wanted("encounters", {"inpatient": (Code(None, "IMP", column="class"),)}, ("end",))]

    def flat(parts: Sequence[Chunk]) -> list[tuple[int, str, int, int]]:
        return [
            (kind, part.patients[who], at, which)
            for part in parts
            for kind, events in enumerate(part.events)
            for who, at, which in zip(
                events.patient.tolist(), events.milliseconds.tolist(), events.sets.tolist(), strict=True
            )
        ]

    whole = chunks(database, wanted)
    assert len(whole) == 1
    assert len(flat(whole)) == 64
    for size in (1, 2, 9):
        parts = chunks(database, wanted, block_rows=size)
        assert sorted(flat(parts)) == sorted(flat(whole))
        named = [name for part in parts for name in part.patients]
        assert named == sorted(set(named)), "each patient in one chunk"
        assert len(parts) > 1


def test_only_the_wanted_codes_are_read(database: str) -> None:
    codes = ["I21", "I21.0", "I210", "i21", "I22", "X", "I2_", "I2%"]
    rows = [
        event("conditions", "p1", system="icd10", code=code, time=float(i)) for i, code in enumerate(codes)
    ]
    fill(database, KINDS["conditions"].table, rows)

    def read(*wanted: Code) -> list[str]:
        asked = Wanted("conditions", {"set": wanted}, ("code",))
        return [code for part in chunks(database, [asked]) for code in part.events[0].columns["code"]]

    assert read(Code("icd10", "I21")) == ["I21"]
    assert read(Code("icd10", "I21", begins=True)) == ["I21", "I21.0", "I210"]
    assert read(Code(None, "I2_", begins=True), Code("icd10", "X")) == ["X", "I2_"]
    assert read(Code("icd9", "I21")) == []
    assert read() == []


def test_other_tables_are_mapped_to_kinds(database: str) -> None:
    """MIMIC-IV's laboratory: numbers for patients and items, texts or timestamps for times."""
    labs = Table(
        "labevents",
        MetaData(),
        Column("subject_id", Integer),
        Column("itemid", Integer),
        Column("charttime", DateTime),
        Column("valuenum", Float(53)),
    )
    at = datetime.datetime(1970, 1, 2, 6)
    rows = [
        {"subject_id": 10, "itemid": 50931, "charttime": at, "valuenum": 100.0},
        {"subject_id": 9, "itemid": 50931, "charttime": at + datetime.timedelta(hours=1), "valuenum": 90.0},
        {"subject_id": 9, "itemid": 50912, "charttime": at, "valuenum": None},
    ]
    fill(database, labs, rows)
    mapped = EventTable(
        table="labevents",
        patient_id="subject_id",
        system="mimic",
        columns={"code": "itemid", "time": "charttime", "value": "valuenum"},
    )
    glucose = (Code("mimic", "50931"), Code("mimic", "no number"))
    wanted = Wanted(
        "observations", {"glucose": glucose, "begin": (Code("mimic", "509", begins=True),)}, ("code",)
    )
    [chunk] = chunks(database, [wanted], {"observations": mapped})
    assert chunk.patients == ("9", "10")
    [events] = chunk.events
    assert events.milliseconds.tolist() == [108_000_000, 111_600_000, 108_000_000]
    assert events.sets.tolist() == [2, 3, 3]
    assert events.columns["code"].tolist() == ["50912", "50931", "50931"]
    assert (
        chunks(database, [Wanted("observations", {"x": (Code("other", "50931"),)})], {"observations": mapped})
        == []
    )


def test_times_are_read_from_whatever_type_they_have(database: str) -> None:
    table = Table(
        "notes",
        MetaData(),
        Column("who", String(8)),
        Column("written", String(40)),
        Column("day", Date),
        Column("seconds", Integer),
    )
    rows: list[dict[str, object]] = [
        {"who": "a", "written": "1970-01-02T06:00:00", "day": datetime.date(1970, 1, 3), "seconds": 86_400},
        {"who": "b", "written": "soon", "day": None, "seconds": None},
    ]
    fill(database, table, rows)
    cases: tuple[tuple[str, TimeUnit, int], ...] = (
        ("written", "days", 108_000_000),
        ("day", "days", 172_800_000),
        ("seconds", "seconds", 86_400_000),
    )
    for name, unit, milliseconds in cases:
        mapped = EventTable(table="notes", patient_id="who", times=unit, columns={"time": name})
        with opened(database, {"reports": mapped}, ["reports"]) as reader:
            [chunk] = reader.chunks([Wanted("reports", {"any": None})])
            assert chunk.patients == ("a",)
            assert chunk.events[0].milliseconds.tolist() == [milliseconds]
            assert dict(reader.unread) == ({"reports.time": 1} if name == "written" else {})


def test_patients_have_no_time_and_numbers_may_be_missing(database: str) -> None:
    rows = [event("patients", "p1", birth_date=-7305.0, sex="female", died=0.0), event("patients", "p0")]
    fill(database, KINDS["patients"].table, rows)
    wanted = Wanted("patients", {"all": None}, ("birth_date", "sex", "death_time"))
    [chunk] = chunks(database, [wanted])
    assert chunk.patients == ("p0", "p1")
    [patients] = chunk.events
    np.testing.assert_array_equal(patients.columns["birth_date"], [np.nan, -7305.0])
    assert patients.columns["sex"].tolist() == [None, "female"]
    assert np.isnan(patients.columns["death_time"].astype(float)).all()
    assert patients.milliseconds.tolist() == [0, 0]


def test_of_several_rows_of_one_patient_the_newest_is_read(database: str) -> None:
    rows = [
        event("patients", "p1", as_of=1.0, sex="male"),
        event("patients", "p1", as_of=3.0, sex="female"),
        event("patients", "p1", as_of=2.0, sex="unknown"),
        event("patients", "p2", as_of=None, sex="male"),
        event("patients", "p2", as_of=5.0, sex="a"),
        event("patients", "p2", as_of=5.0, sex="b"),
    ]
    for turn in (rows, rows[::-1]):
        fill(database, KINDS["patients"].table, turn)
        [chunk] = chunks(database, [Wanted("patients", {"all": None}, ("sex",))])
        assert chunk.events[0].columns["sex"].tolist() == ["female", "b"]
        assert chunk.events[0].patient.tolist() == [0, 1]
        with writing(database) as connection:
            KINDS["patients"].table.drop(connection)


def test_identifiers_of_two_types_are_compared_as_texts(database: str) -> None:
    numbered = Table("stays", MetaData(), Column("subject", Integer), Column("t", Float(53)))
    fill(database, numbered, [{"subject": 9, "t": 1.0}, {"subject": 10, "t": 2.0}])
    fill(database, KINDS["observations"].table, [observation("10", 1.0, 1.0), observation("9", 1.0, 1.0)])
    mapped = EventTable(table="stays", patient_id="subject", columns={"start": "t"})
    wanted = [GLUCOSE, Wanted("encounters", {"any": None})]
    found = chunks(database, wanted, {"encounters": mapped}, block_rows=1)
    assert [name for part in found for name in part.patients] == ["10", "9"]
    assert [part.events[1].milliseconds.tolist() for part in found] == [[172_800_000], [86_400_000]]


NAMES = {
    Integer(): ("1", "'x7'", "x'ff'", "1.5", "2"),
    String(8): ("'a'", "x'ff'", "CAST(x'ff' AS TEXT)", "CAST(x'80' AS TEXT)", "'\u00e9'"),
}


@pytest.mark.parametrize("kind", NAMES, ids=str)
def test_an_identifier_of_another_kind_is_nobody_s_and_tells_nothing_of_its_events(
    tmp_path: Path, kind: Integer | String
) -> None:
    """A study that failed would tell that somebody so named has an event of its code list."""
    database, names = str(tmp_path / "mixed.db"), NAMES[kind]
    stays = Table("stays", MetaData(), Column("subject", kind), Column("t", Float(53)))
    with writing(database) as connection:
        stays.create(connection)
        for name in names:
            connection.exec_driver_sql(f"INSERT INTO stays VALUES ({name}, 1.0), ({name}, 2.0)")
    mapped = EventTable(table="stays", patient_id="subject", columns={"start": "t"})
    for rows in (1, 2, 3, 100):
        with opened(database, {"encounters": mapped}, ["encounters"]) as reader:
            found = list(reader.chunks([Wanted("encounters", {"any": None})], rows))
            assert [one for part in found for one in part.patients] == [
                names[0].strip("'"),
                names[4].strip("'"),
            ]
            assert sum(len(part.events[0].sets) for part in found) == 4
            assert dict(reader.unread) == {"encounters.patient_id": 6}


def test_what_is_not_there_is_told_with_the_line_to_correct(database: str) -> None:
    fill(database, KINDS["orders"].table, [])
    for tables, kind, words in (
        ({}, "reports", r"no such event table; .*\[events.reports\]"),
        (
            {"reports": EventTable(table="r", columns={"time": "t"})},
            "reports",
            "table r is not in this database",
        ),
        ({"reports": EventTable(table="orders", columns={"time": "t"})}, "reports", "has no column t"),
        (
            {"reports": EventTable(table="orders", patient_id="code", columns={"time": "time"})},
            "reports",
            "are in patient_id",
        ),
    ):
        with pytest.raises(SchemaError, match=words), opened(database, tables, [kind]):
            pass
    with opened(database, {}, ["orders"]) as reader:
        for wanted in (
            Wanted("orders", {"any": None}, ("value",)),
            Wanted("orders", dict.fromkeys(map(str, range(63)))),
        ):
            with pytest.raises(SchemaError):
                list(reader.chunks([wanted]))
        assert list(reader.chunks([Wanted("orders", {"any": None})])) == []
        assert isinstance(reader, EventReader)


def test_a_mapping_is_checked_before_any_database() -> None:
    time = {"time": "t"}
    assert fault_of_event_tables({"orders": EventTable(table="a", columns=time)}) is None
    for name, mapped, words in (
        ("notes", EventTable(table="a", columns=time), "no such kind"),
        ("orders", EventTable(table="a", columns={**time, "text": "t"}), "has no text"),
        ("orders", EventTable(table="a", columns={"code": "c"}), "name the column of its time"),
        (
            "orders",
            EventTable(table="a", system="x", columns={**time, "system": "s"}),
            "a constant or a column",
        ),
        ("patients", EventTable(table="a", system="x", columns={"sex": "s"}), "a constant or a column"),
    ):
        assert words in str(fault_of_event_tables({name: mapped}))
