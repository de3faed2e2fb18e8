"""Opening a database: read-only is read-only, and every failure is put in plain words."""

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.errors import StoreError
from fedcohort.storage import timeouts
from fedcohort.storage.database import (
    database_url,
    display,
    read_only_statements,
    reading,
    remedy_of,
    select_only,
    writing,
)

WriteWard = Callable[..., Path]
MANY = [{"patient_id": f"p{i}", "age": 1.0, "sex": "f", "ill": 0, "set": "test"} for i in range(2000)]


def write(path: Path, *statements: str) -> None:
    with writing(path) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def read(path: Path, statement: str, *, restricted: bool = False) -> list[tuple[object, ...]]:
    with reading(path) as connection:
        if restricted:
            select_only(connection)
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


def test_a_path_means_sqlite_and_a_password_is_never_shown() -> None:
    assert display(database_url("mimic_a.db")) == "mimic_a.db"
    url = database_url("postgresql+psycopg://node:secret@db.example/ward")
    assert display(url) == "postgresql+psycopg://node:***@db.example/ward"


def test_text_that_is_no_url_is_refused() -> None:
    with pytest.raises(StoreError, match="not a URL; write a path"):
        database_url("nonsense://:x:y:z:/")


def test_postgresql_is_asked_for_a_read_only_transaction_with_a_time_limit() -> None:
    assert read_only_statements("postgresql", 600) == (
        "SET TRANSACTION READ ONLY",
        "SET LOCAL statement_timeout = 600000",
    )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ward",
        "INSERT INTO ward (patient_id) VALUES ('x')",
        "UPDATE ward SET age = 1",
        "DROP TABLE ward",
        "CREATE TABLE other (x)",
        "VACUUM",
        "PRAGMA user_version = 7",
    ],
)
def test_reading_cannot_write(write_ward: WriteWard, statement: str) -> None:
    path = write_ward()
    before = path.read_bytes()
    with pytest.raises(StoreError):
        read(path, statement)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA query_only = OFF",
        "PRAGMA table_info(ward)",
        "ATTACH ':memory:' AS other",
        "CREATE TEMP TABLE t (x)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    ],
)
def test_once_restricted_a_connection_only_selects(write_ward: WriteWard, statement: str) -> None:
    path = write_ward()
    with pytest.raises(StoreError, match="refused the query"):
        read(path, statement, restricted=True)
    assert len(read(path, "SELECT age FROM ward", restricted=True)) == 4


def test_reading_never_makes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "absent.db"
    with pytest.raises(StoreError, match=r"absent\.db: no such database; check the path"):
        read(path, "SELECT 1")
    assert not path.exists()


def test_a_folder_an_absent_folder_and_memory_are_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a file"):
        read(tmp_path, "SELECT 1")
    with pytest.raises(StoreError, match="not a file in an existing folder"):
        write(tmp_path / "no" / "x.db", "SELECT 1")
    with pytest.raises(StoreError, match="names no file"), reading("sqlite://"):
        pass


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(b"these are not the bytes of a database" * 100)
    with pytest.raises(StoreError, match=r"damaged\.db: is not a SQLite database, or is damaged"):
        read(path, "SELECT * FROM sqlite_master")


def test_a_truncated_database_is_named(write_ward: WriteWard) -> None:
    path = write_ward(MANY)
    os.truncate(path, 12_288)
    with pytest.raises(StoreError, match=r"ward\.db: is damaged; restore it from a backup"):
        read(path, "SELECT * FROM ward ORDER BY age")


def test_a_locked_database_is_named(write_ward: WriteWard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "LOCK_SECONDS", 0.01)
    path = write_ward()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"ward\.db: is locked by another program"):
            read(path, "SELECT * FROM ward")
        with pytest.raises(StoreError, match=r"ward\.db: is locked by another program"):
            write(path, "DELETE FROM ward")


def test_a_full_disk_is_named_and_nothing_is_half_written(write_ward: WriteWard) -> None:
    path = write_ward()
    big = "INSERT INTO big VALUES (zeroblob(1000000))"
    with pytest.raises(StoreError, match=r"ward\.db: has no space left; free disk space"):
        write(path, "PRAGMA max_page_count = 1", "CREATE TABLE big (x)", big)
    assert read(path, "SELECT name FROM sqlite_master WHERE name = 'big'") == []


def test_a_read_only_database_is_named(write_ward: WriteWard) -> None:
    with pytest.raises(StoreError, match=r"ward\.db: is read-only; make the file"):
        write(write_ward(), "PRAGMA query_only = ON", "DELETE FROM ward")


def test_a_query_that_takes_too_long_is_stopped(
    write_ward: WriteWard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "QUERY_SECONDS", 0.0)
    slow = "SELECT COUNT(*) FROM ward AS a, ward AS b WHERE a.age < b.age"
    with pytest.raises(StoreError, match="took longer than"):
        read(write_ward(MANY), slow, restricted=True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("oracle+oracledb://x@host/name", "needs the Python package oracledb; pip install oracledb"),
        (
            "postgresql+psycopg2://x@host/name",
            r"write postgresql\+psycopg://, and "
            r"pip install -c constraints.txt '\.\[postgresql\]' in fedcohort's folder",
        ),
    ],
)
def test_a_missing_driver_is_named(url: str, words: str) -> None:
    with pytest.raises(StoreError, match=words), reading(url):
        pass


def test_a_server_that_is_not_there_is_named_without_the_drivers_text() -> None:
    class Unreachable(Exception):
        sqlstate = "08001"

    class Unknown(Exception):
        pass

    assert remedy_of(Unreachable("password=hunter2")).startswith("cannot be reached; check host")
    assert "hunter2" not in remedy_of(Unknown("password=hunter2"))


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX")
def test_a_new_database_is_readable_by_its_owner_only(write_ward: WriteWard) -> None:
    assert write_ward().stat().st_mode & 0o777 == 0o600
