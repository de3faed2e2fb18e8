"""What an error of events says to do helps."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fedcohort.errors import ConfigError, SchemaError, StoreError, ValueRangeError
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.events.change import Group, refused
from fedcohort.sources.events.feed import EventFeed
from fedcohort.sources.events.pipeline import import_events
from fedcohort.sources.events.reading import Wanted, opened
from fedcohort.sources.events.views import EventTable, fault_of_event_tables
from tests.sources.events.feeds import KEY, bring, part, result, stored


def read(database: Path, tables: dict[str, EventTable]) -> list[str]:
    with opened(database, tables, ["reports"]) as reader:
        return [name for one in reader.chunks([Wanted("reports", {"any": None})]) for name in one.patients]


def test_events_that_stand_elsewhere_are_found_once_site_toml_is_corrected(tmp_path: Path) -> None:
    database = tmp_path / "site.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            """CREATE TABLE notes (patient_id TEXT, pid INTEGER, at FLOAT, packed JSON);
            INSERT INTO notes VALUES ('p1', 1, 1.0, '2.0');
            CREATE TABLE mixed (who TEXT COLLATE NOCASE, at FLOAT);
            INSERT INTO mixed VALUES ('a', 1.0), ('B', 1.0);"""
        )
    right = {"reports": EventTable(table="notes", columns={"time": "at"})}
    wrong: list[tuple[dict[str, EventTable], str]] = [
        ({}, r"import HL7 v2 or FHIR, or name another table under \[events.reports\]"),
        ({"reports": EventTable(table="note", columns={"time": "at"})}, "table note is not in this database"),
        ({"reports": EventTable(table="notes", columns={"time": "when"})}, "has no column when; correct"),
        (
            {"reports": EventTable(table="notes", patient_id="pid", columns={"time": "at"})},
            "are in patient_id; leave events.reports.patient_id out",
        ),
    ]
    for tables, words in wrong:
        with pytest.raises(SchemaError, match=words):
            read(database, tables)
        assert read(database, right) == ["p1"]
    packed = {"reports": EventTable(table="notes", columns={"time": "packed"})}
    with pytest.raises(SchemaError, match="cast it to a number or a text in a view, and name that"):
        read(database, packed)
    mixed = {"reports": EventTable(table="mixed", patient_id="who", columns={"time": "at"})}
    with pytest.raises(SchemaError, match="make a view in which they are texts"):
        read(database, mixed)
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            """CREATE VIEW unpacked AS SELECT patient_id, CAST(packed AS FLOAT) AS at FROM notes;
            CREATE VIEW texts AS SELECT who || '' AS patient_id, at FROM mixed;
            CREATE TABLE reports (patient_id TEXT, at FLOAT); INSERT INTO reports VALUES ('p9', 1.0);"""
        )
    assert read(database, {"reports": EventTable(table="unpacked", columns={"time": "at"})}) == ["p1"]
    assert read(database, {"reports": EventTable(table="texts", columns={"time": "at"})}) == ["B", "a"]
    with pytest.raises(SchemaError, match=r"name the table of these events under \[events.reports\]"):
        read(database, {})
    assert read(database, {"reports": EventTable(table="reports", columns={"time": "at"})}) == ["p9"]


def test_a_mapping_that_contradicts_itself_is_right_once_one_word_is_left() -> None:
    time = {"time": "t"}
    for name, mapped, words, corrected in (
        ("notes", EventTable(table="a", columns=time), "choose one of", "orders"),
        ("orders", EventTable(table="a", columns={"code": "c"}), "name the column of its time", "orders"),
        ("orders", EventTable(table="a", system="x", columns={**time, "system": "s"}), "keep one", "orders"),
    ):
        assert words in str(fault_of_event_tables({name: mapped}))
        assert fault_of_event_tables({corrected: EventTable(table="a", columns=time)}) is None


def test_what_a_source_corrects_is_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="choose one of patients, encounters"):
        Group("notes", "K", 1.0, "P", ())
    with pytest.raises(ValueRangeError) as raised:
        Group("orders", "K", 1.0, "P", ({"code": "a text, and no code of a list"},))
    assert "the record is left out: correct it in the source" in refused("OBR-4", raised.value).sentence
    named = Group("orders", "K", 1.0, "P", ({"code": "MRN 1234567", "time": 1.0},))
    [told] = bring(tmp_path / "s.db", named).refusals
    assert told.reason.endswith("it is left out: correct it in the source")
    corrected = replace(named, rows=({"code": "CBC", "time": 1.0},))
    assert bring(tmp_path / "s.db", corrected, name="corrected").refusals == []
    assert [row["code"] for row in stored(tmp_path / "s.db", "orders")] == ["CBC"]


def test_rules_that_are_not_of_events_are_replaced(tmp_path: Path) -> None:
    feed = EventFeed("adt", [part("a", [result("O", 1.0, "P", 1.0)])])
    for rules, words in (
        ({"dates": "year"}, 'write dates = "shift" for a database of events'),
        ({"columns": {"code": "keep"}}, r"\[columns\]: .*give events a rules file without it"),
        ({"tables": {"orders": {"code": "keep"}}}, r"\[tables.orders\]: .*give events a rules file without"),
    ):
        with pytest.raises(ConfigError, match=words):
            import_events(feed, tmp_path / "s.db", RuleSet(Rules.model_validate(rules), KEY))
    right = Rules.model_validate({"dates": "shift", "tables": {"visits": {"code": "keep"}}})
    assert import_events(feed, tmp_path / "s.db", RuleSet(right, KEY)).written.total() == 1


def test_another_table_of_the_name_wants_a_new_database(tmp_path: Path) -> None:
    bring(tmp_path / "s.db", result("O", 1.0, "P", 1.0))
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        connection.executescript("DROP TABLE orders; CREATE TABLE orders (patient_id TEXT)")
    with pytest.raises(StoreError, match="import events into a new database"):
        bring(tmp_path / "s.db", result("O", 2.0, "P", 1.0), name="b")
    assert bring(tmp_path / "new.db", result("O", 2.0, "P", 1.0), name="b").written.total() == 1


def test_damaged_times_of_groups_come_back_with_the_database(tmp_path: Path) -> None:
    bring(tmp_path / "s.db", result("O", 1.0, "P", 1.0))
    shutil.copy(tmp_path / "s.db", tmp_path / "backup.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection, connection:
        connection.execute("UPDATE fedcohort_event_groups SET clock = x'00112233445566778899aabbccddeeff'")
    with pytest.raises(StoreError, match="restore the database and its key"):
        bring(tmp_path / "s.db", result("O", 2.0, "P", 2.0), name="b")
    shutil.copy(tmp_path / "backup.db", tmp_path / "s.db")
    bring(tmp_path / "s.db", result("O", 2.0, "P", 2.0), name="b")
    assert [row["value"] for row in stored(tmp_path / "s.db", "observations")] == [2.0]
