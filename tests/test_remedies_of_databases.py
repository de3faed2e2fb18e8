# mypy: disable-error-code="func-returns-value"
# A row does one thing after another, and what each returns is nothing to it.
"""What is said of a database, a cohort, a backup or a demo's files, obeyed: the deed then succeeds."""

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy.engine import make_url

import fedcohort as fc
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.node.records import Stored
from fedcohort.node.store import SqlNodeStore
from fedcohort.quickstart.config import read_config
from fedcohort.quickstart.demo import free_port
from fedcohort.quickstart.federation_files import join_token
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.catalogue.schema import RECORDS, Base, wide_table
from fedcohort.sources.cohort.dialects import sql_dialect
from fedcohort.sources.cohort.explicit import check_explicit
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.resolve import resolve_cohort
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.cohort.where.kinds import check_kinds
from fedcohort.sources.cohort.where.parse import parse_where
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows
from fedcohort.storage import timeouts
from fedcohort.storage.backup import back_up
from fedcohort.storage.database import reading, writing
from fedcohort.storage.durable import lock_folder, owner_only_folder
from fedcohort.storage.files import read_or_make_key
from fedcohort.storage.redo import begin_log
from fedcohort.study import Cohort
from tests.quickstart.test_config import write as write_config

from .postgres import Postgres, postgres
from .remedies_obeyed_data import NOBODY, open_folder, unprivileged
from .remedy_rows import Row, obey, refusal
from .sources.conftest import RECORD_COLUMNS, WARD, WARD_ROWS
from .storage.test_migrate import version
from .test_remedies_of_imports import bring
from .test_remedies_of_sites import SITE, bad, policy, write
from .test_remedies_of_sites import WARD as CSV
from .test_remedies_of_studies import asked, levels, numeric, sites

OFFERED = {"ward": list(WARD)}
AGES = Cohort(table="ward", columns={"age": fc.Numeric(0, 120)}, split=None)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "4000")
    with open_folder():
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


def ward(name: str = "ward.db", **changed: object) -> Path:
    """The small ward; changed in its first patient."""
    rows = [{**WARD_ROWS[0], **changed}, *WARD_ROWS[1:]]
    write_rows(name, wide_table("ward", WARD), WARD, rows, MADE_UP)
    return Path(name)


def load(
    database: str | Path = "ward.db", offered: Mapping[str, list[str]] = OFFERED, **changes: Any
) -> object:
    """The rows of a cohort of the ward."""
    return load_cohort(database, Cohort.model_validate({**AGES.model_dump(), **changes}), 0, offered)


def run(database: str | Path, *statements: str) -> None:
    """As another program does with its own database."""
    with writing(database) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def ask(database: str | Path, statement: str) -> None:
    with reading(database) as connection:
        connection.exec_driver_sql(statement).all()


def frame(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(
        {"patient_id": ["a", "b"], **{n: pd.Series(v, dtype=object) for n, v in columns.items()}}
    )


def read_frame(of: pd.DataFrame, column: Any = None, **changes: Any) -> object:
    return table_from_frame(of, Cohort(columns={"x": column or fc.Numeric(0, 9)}, split=None, **changes), 0)


def vectors(name: str, features: object) -> None:
    rows: list[dict[str, object]] = [
        {"patient_id": "a", "diagnosis": "I10", "features": features, "label": 0.0}
    ]
    write_rows(name, Base.metadata.tables[RECORDS], RECORD_COLUMNS, rows, MADE_UP)


def read_vectors(name: str) -> None:
    load_cohort(name, Cohort(columns={"bp": fc.Numeric(0, 300)}, split=None), 0, {"records": ["bp"]})


def declared(name: str, change: str) -> None:
    ward(name)
    run(name, f"UPDATE fedcohort_columns SET {change} WHERE column_name = 'sex'")
    catalogue(name, None)


SEX: dict[str, Any] = {"columns": {"sex": fc.Categorical(("f", "m"))}}
TIME: dict[str, Any] = {"columns": {"sex": fc.Categorical(("f", "m"))}, "label": fc.Survival("age", "ill")}
SHORT = Cohort(columns=["x"], label="ill", split=None)
ANY = sites(numeric(0, 9))
UNREADABLE = {
    "a": {"tables": {"records": {"columns": {"x": {"kind": "numeric", "low": "much"}, "ill": levels(0, 1)}}}}
}

COHORTS = [
    Row("site.toml offers table {}, which the database lacks; correct either",
        lambda: (ward(), catalogue("ward.db", {"wrad": ["age"]})), lambda: catalogue("ward.db",
        {"ward": ["age"]})),
    Row("site.toml offers table {}, which the database lacks; correct either",
        lambda: (ward(), catalogue("ward.db", {"labs": ["age"]})),
        lambda: (run("ward.db", "CREATE VIEW labs AS SELECT * FROM ward"), catalogue("ward.db",
        {"labs": ["age"]}))),
    Row("site.toml offers column {}.{}, which the database lacks or cannot analyse; correct either",
        lambda: (ward(), catalogue("ward.db", {"ward": ["agee"]})), lambda: catalogue("ward.db",
        {"ward": ["age"]})),
    Row("{}: what is declared about {} is damaged; import again into a new database",
        lambda: declared("ward.db", "levels = '[\"f\"'"), lambda: (ward("new.db"), catalogue("new.db",
        None))),
    Row("{}: what is declared about {}.{} cannot be read; import again into a new database",
        lambda: declared("ward.db", "levels = '[]'"), lambda: (ward("new.db"), catalogue("new.db", None))),
    Row("site {}: what its catalogue says of column {} cannot be read; ask the site to import again",
        lambda: resolve_cohort(asked(), UNREADABLE), lambda: resolve_cohort(asked(), ANY)),
    Row("{}: holds a level that is not among {}; name every level",
        lambda: (ward(), load(columns={"sex": fc.Categorical(("f", "x"))})), lambda: load(**SEX)),
    Row("{}: holds a level that is not among {}; name every level, or narrow `where`",
        lambda: (ward(), load(columns={"sex": fc.Categorical(("f", "x"))})),
        lambda: load(columns={"sex": fc.Categorical(("f", "x"))}, where="sex = 'f'")),
    Row("{}: holds a negative time; correct it", lambda: (ward(age=-1.0), load(**TIME)),
        lambda: load(ward("new.db"), **TIME)),
    Row("{}: holds a negative time; correct it or make it missing", lambda: (ward(age=-1.0), load(**TIME)),
        lambda: load(ward("new.db", age=None), **TIME)),
    Row("{}: holds text where numbers are needed; use fc.Categorical", lambda: read_frame(frame(x=["lo",
        "hi"])),
        lambda: read_frame(frame(x=["lo", "hi"]), fc.Categorical(("lo", "hi")))),
    Row("{}: holds text where numbers are needed; use fc.Categorical, or correct it",
        lambda: read_frame(frame(x=["lo", 5])), lambda: read_frame(frame(x=[1, 5]))),
    *[Row("{}: holds an infinite or too large number; correct it or make it missing",
          lambda: read_frame(frame(x=[float("inf"), 5])), partial(read_frame, frame(x=[right, 5])))
      for right in (1, None)],
    Row("holds something that is neither text nor number; correct it",
        lambda: read_frame(frame(x=[object(), "hi"]), fc.Categorical(("lo", "hi"))),
        lambda: read_frame(frame(x=["lo", "hi"]), fc.Categorical(("lo", "hi")))),
    *[Row("a number with a decimal point of 16 digits or more, which was rounded, so that two patients may "
          "be one (pandas "
          "makes such numbers of whole ones beside missing ones): give whole numbers or texts",
          lambda: read_frame(frame(x=[1, 5]).assign(patient_id=[1e17, 2e17])),
          partial(read_frame, frame(x=[1, 5]).assign(patient_id=right)))
      for right in ([10**17, 2 * 10**17], [str(10**17), str(2 * 10**17)])],
    *[Row("no SQL can be written for {}; use one of {}", lambda: sql_dialect("db2"),
        partial(sql_dialect, one))
      for one in ("sqlite", "postgresql", "mysql", "mariadb", "mssql", "oracle", "duckdb")],
    Row("columns {}: write [cohort.columns] with a kind each, such as age = ",
        lambda: check_explicit(Cohort(columns=["age"])),
        lambda: check_explicit(Cohort.model_validate({"columns": {"age": {"low": 18, "high": 90}}}))),
    Row("label {}: write such as label = {column = \"{}\"}",
        lambda: check_explicit(Cohort(columns={"age": fc.Numeric(18, 90)}, label="ill")),
        lambda: check_explicit(Cohort.model_validate(
            {"columns": {"age": {"low": 18, "high": 90}}, "label": {"column": "ill"}}))),
    Row("or take what a site declares (by --site site.toml, or by running the study over sites)",
        lambda: check_explicit(SHORT), lambda: check_explicit(resolve_cohort(SHORT, ANY))),
    Row("{}: the cohort selects nothing, no row at all or none that has a label; widen cohort.where if the "
        "study has one",
        lambda: (ward(), load(where="age > 200")), lambda: load(where="age > 20")),
    Row("or check that the table holds patients",
        lambda: (run(ward(), "DELETE FROM ward"), load()),
        lambda: load(ward("new.db"))),
    Row("site {}: column {} holds no images; see its catalogue",
        lambda: resolve_cohort(asked(columns={"x": {"height": 8, "width": 8}}), ANY),
        lambda: resolve_cohort(asked(columns={"x": {"low": 0, "high": 9}}), ANY)),
    Row("label {}: the sites do not declare two levels of which {} is one; give fc.Binary its negative "
        "level, too",
        lambda: resolve_cohort(asked(columns=["ill"], label={"column": "x", "positive": "c"}),
        sites(levels("a", "b", "c"))),
        lambda: resolve_cohort(asked(columns=["ill"], label={"column": "x", "positive": "c",
        "negative": "a"}),
                               sites(levels("a", "b", "c")))),
    Row("table {}: this site does not offer it; see the site's catalogue", lambda: (ward(),
        load(table="labs")),
        lambda: load(table=next(iter(catalogue("ward.db", OFFERED)["tables"])))),
    Row("column {}.{}: this site does not offer it; see the site's catalogue",
        lambda: (ward(), load(offered={"ward": ["age"]}, **SEX)), lambda: load(offered={"ward": ["age"]})),
    Row("table {}: not in this database; check the address", lambda: (run("other.db", "CREATE TABLE a (b)"),
        load("other.db")),
        lambda: load(ward())),
    Row("table {}: not in this database; check the address and the site's policy",
        lambda: (ward(), load(table="labs", offered={"labs": ["age"]})), load),
    *[Row("table {}: has no column {}; check names or import again into a new database",
          lambda: (ward(), load(columns={"aeg": fc.Numeric(0, 9)}, offered={"ward": ["aeg"]})),
          right) for right in (
        load,
        lambda: (write_rows("new.db", wide_table("ward", {"aeg": WARD["age"]}), {"aeg": WARD["age"]},
                            [{"patient_id": "a", "aeg": 5.0}], MADE_UP),
                 load("new.db", columns={"aeg": fc.Numeric(0, 9)}, offered={"ward": ["aeg"]})))],
    Row("table {}: its patients are in {}; leave cohort.patient_id out",
        lambda: (ward(), load(patient_id="set", offered={"ward": ["age", "set"]})), load),
    Row("{}.{}: a row is not a JSON list of {} or more values; import again into a new database",
        lambda: (vectors("ward.db", [40]), read_vectors("ward.db")),
        lambda: (vectors("new.db", [40, 120]), read_vectors("new.db"))),
    Row("compare a date with one such as '2024-02-01' or '2024-02-01 08:30:00'",
        lambda: check_kinds(parse_where("seen > 5", "t", ["seen"]), {"seen": "moment"}),
        lambda: [check_kinds(parse_where(f"seen > {one}", "t", ["seen"]), {"seen": "moment"})
                 for one in ("'2024-02-01'", "'2024-02-01 08:30:00'")]),
    Row("where: nested more than {} deep; write it flatter, such as with IN (...)",
        lambda: parse_where("NOT (" * 200 + "age = 1" + ")" * 200, "t", ["age"]),
        lambda: parse_where("age IN (1, 2, 3)", "t", ["age"])),
]  # fmt: skip


@pytest.mark.parametrize("row", COHORTS, ids=lambda row: row.said[:50])
def test_a_cohort_is_read_once_it_is_done_as_told(row: Row) -> None:
    obey(row)


def stopped(deed: Callable[[], object]) -> None:
    """While another program writes to the ward."""
    with closing(sqlite3.connect("ward.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        deed()


def closed(mode: int, *paths: str) -> None:
    for path in paths:
        Path(path).chmod(mode)


def as_nobody(deed: Callable[[], object]) -> None:
    with unprivileged():
        deed()


def full() -> None:
    run(
        ward(),
        "PRAGMA max_page_count = 1",
        "CREATE TABLE big (x)",
        "INSERT INTO big VALUES (zeroblob(1000000))",
    )


def own_store(path: str) -> None:
    SqlNodeStore(Path(path), exclusive=True).close()


def held_twice() -> None:
    with closing(lock_folder(Path("state"))), closing(lock_folder(Path("state"))):
        pass


def newer() -> None:
    """An upgrade, after a backup, and the way back."""
    own_store("node.db")
    back_up(Path("copy"), [], Path("node.db"))
    version(Path("node.db"), "0999")
    own_store("node.db")


def broken(content: bytes) -> None:
    """A database of which there is a copy, damaged."""
    rows = [{**WARD_ROWS[0], "patient_id": f"p{n}"} for n in range(2000)]
    write_rows("ward.db", wide_table("ward", WARD), WARD, rows, MADE_UP)
    back_up(Path("copy"), [], Path("ward.db"))
    if content:
        Path("ward.db").write_bytes(content)
    else:
        os.truncate("ward.db", 12_288)
    ask("ward.db", "SELECT * FROM ward ORDER BY age")


def restored() -> None:
    shutil.copy("copy/ward.db", "ward.db")
    ask("ward.db", "SELECT * FROM ward ORDER BY age")


TEXT = b"these are not the bytes of a database" * 100
DUCK = "duckdb:///hospital.duckdb"


def duck(*statements: str) -> None:
    pytest.importorskip("duckdb_engine", reason="needs the extra [duckdb]")
    run(DUCK, *statements)


def earlier() -> None:
    """The database that the first release has left behind."""
    dump = Path(__file__).parent / "deploy" / "stored" / "node-0001.sql"
    with closing(sqlite3.connect("node.db")) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))


def reads_at_home() -> None:
    duck("INSERT INTO ward VALUES ('p1', 50)")
    assert bad("database", policy(SITE.replace('data = "ward.db"', f'data = "{DUCK}"'))) == ""


def begun(full: bool) -> None:
    """A redo log, on a disk without room or with some."""
    path = Path("node.db-redo")
    if full:
        path.symlink_to("/dev/full")
    else:
        path.unlink()
    with closing(sqlite3.connect("node.db")) as connection:
        log = begin_log(connection, path)
        assert log is not None
        log.close()


def cut_off() -> None:
    """The database of a node that was killed, and its backup, without the redo log that belongs to it."""
    Path("killed").mkdir()
    with closing(SqlNodeStore(Path("killed/node.db"), exclusive=True)) as node:
        node.keep(Stored("ab" * 32, 0, bytes(32), b"integers", "shape", "a", b""))
        back_up(Path("copy"), [], Path("killed/node.db"))
        for name in ("node.db", "node.db-wal"):
            shutil.copy(Path("killed", name), name)
        shutil.copy("killed/node.db-redo", "kept-redo")
    SqlNodeStore(Path("node.db"))


def last_round_is_there() -> None:
    with closing(SqlNodeStore(Path("node.db"))) as node:
        assert node.last("ab" * 32) is not None


def put_back() -> None:
    shutil.copy("kept-redo", "node.db-redo")
    last_round_is_there()


def back_from_backup() -> None:
    Path("node.db-wal").unlink(missing_ok=True)
    shutil.copy("copy/node.db", "node.db")
    last_round_is_there()


DATABASES = [
    Row("{}: {}; check the disk, its free space and the file's permissions", lambda: begun(full=True),
        lambda: begun(full=False)),
    Row("{}: is missing or belongs to another copy of {}, which holds its newest rounds there; put the two "
        "files that belong together back", cut_off, put_back),
    Row("put the two files that belong together back, or restore a backup", cut_off, back_from_backup),
    Row("{}: is not empty; name a new folder for each backup",
        lambda: (Path("copy").mkdir(), write("copy/earlier", ""), back_up(Path("copy"), [ward()], None)),
        lambda: back_up(Path("copy2"), [Path("ward.db")], None)),
    Row("{}: {}; check the path and its permissions", lambda: back_up(Path("copy"), [Path("node.key")], None),
        lambda: back_up(Path("copy"), [write("site.key", "x")], None)),
    Row("{}: no such database; check the path, or start the process once",
        lambda: (ward(), back_up(Path("copy"), [], Path("wrad.db"))),
        lambda: back_up(Path("copy"), [], Path("ward.db"))),
    Row("{}: no such database; check the path, or start the process once",
        lambda: back_up(Path("copy"), [], Path("node.db")),
        lambda: (own_store("node.db"), back_up(Path("copy"), [], Path("node.db")))),
    Row("{}: imports are written to SQLite and PostgreSQL; a node reads another database where it is: name "
        "it in site.toml",
        lambda: (duck("CREATE TABLE ward (patient_id VARCHAR, age INT)"), write("ward.csv", CSV),
                 bring(f"import csv --from ward.csv --into {DUCK} --keep-identifiers")),
        reads_at_home),
    Row("{}: no such file; write such as duckdb:///folder/hospital.duckdb",
        lambda: (Path("folder").mkdir(), duck("SELECT 1"),
        Path("hospital.duckdb").replace("folder/hospital.duckdb"),
                 ask(DUCK, "SELECT 1")),
        lambda: ask("duckdb:///folder/hospital.duckdb", "SELECT 1")),
    Row("the database address names no file; write a path such as hospital.db", lambda: ask("sqlite://",
        "SELECT 1"),
        lambda: ask(ward("hospital.db"), "SELECT 1")),
    Row("the database address is not a URL; write a path", lambda: ask("://ward.db", "SELECT 1"),
        lambda: ask(ward(), "SELECT 1")),
    Row("{}: {}; check the database address", lambda: ask("sqlight:///ward.db", "SELECT 1"),
        lambda: (ward(), ask("sqlite:///ward.db", "SELECT 1"))),
    Row("{}: cannot be made ({}); check the folder's permissions and space",
        lambda: (closed(0o555, "."), as_nobody(ward)), lambda: (closed(0o777, "."), as_nobody(ward))),
    Row("{}: {} cannot be used here; use SQLite", lambda: CoordinatorStore(DUCK),
        lambda: CoordinatorStore(Path("c.db")).close()),
    Row("{}: in use by another process, or read-only; stop the other one first", held_twice,
        lambda: lock_folder(Path("state")).close()),
    Row("is locked by another program; close it, or wait, and try again",
        lambda: (ward(), stopped(lambda: ask("ward.db", "SELECT * FROM ward"))),
        lambda: ask("ward.db", "SELECT * FROM ward")),
    Row("is read-only; make the file and its folder writable",
        lambda: (ward(), closed(0o444, "ward.db"), closed(0o555, "."), as_nobody(lambda: run("ward.db",
        "DELETE FROM ward"))),
        lambda: (closed(0o777, ".", "ward.db"), as_nobody(lambda: run("ward.db", "DELETE FROM ward")))),
    Row("is read-only; make the file and its folder writable, or choose another file",
        lambda: (ward(), closed(0o444, "ward.db"), closed(0o777, "."), as_nobody(lambda: run("ward.db",
        "DELETE FROM ward"))),
        lambda: as_nobody(lambda: run(ward("other.db"), "DELETE FROM ward"))),
    Row("cannot be opened; check the path and that this user may read it",
        lambda: (ward(), closed(0o600, "ward.db"), closed(0o755, "."), as_nobody(lambda: ask("ward.db",
        "SELECT * FROM ward"))),
        lambda: (closed(0o644, "ward.db"), as_nobody(lambda: ask("ward.db", "SELECT * FROM ward")))),
    Row("has no space left; free disk space and try again", full, lambda: run("ward.db",
        "CREATE TABLE big (x)")),
    Row("is damaged; restore it from a backup", lambda: broken(b""), restored),
    Row("is not a SQLite database, or is damaged; check the path", lambda: broken(TEXT),
        lambda: ask("copy/ward.db", "SELECT * FROM ward")),
    Row("is not a SQLite database, or is damaged; check the path or restore a backup", lambda: broken(TEXT),
        restored),
    Row("refused the query ({}); check that its tables are whole", lambda: ask(ward(), "SELECT * FROM labs"),
        lambda: (run("ward.db", "CREATE TABLE labs (x)"), ask("ward.db", "SELECT * FROM labs"))),
    Row("cannot be opened: another program writes to it, or it is no DuckDB database; check both",
        lambda: (write("hospital.duckdb", "no database " * 1000), ask(DUCK, "SELECT 1")),
        lambda: (Path("hospital.duckdb").unlink(), duck("CREATE TABLE t (x INT)"), ask(DUCK,
        "SELECT * FROM t"))),
    Row("is read-only here; use another program to write",
        lambda: (duck("CREATE TABLE t (x INT)"), ask(DUCK, "INSERT INTO t VALUES (1)")),
        lambda: duck("INSERT INTO t VALUES (1)")),
    Row("refused the query; check that its tables are whole", lambda: (duck("SELECT 1"), ask(DUCK,
        "SELECT * FROM t")),
        lambda: (duck("CREATE TABLE t (x INT)"), ask(DUCK, "SELECT * FROM t"))),
    Row("compares a text with a number in `where`; write texts in quotes, and numbers without",
        lambda: (duck("CREATE TABLE t (x INT, word VARCHAR)"), ask(DUCK,
        "SELECT x FROM t WHERE word = female")),
        lambda: ask(DUCK, "SELECT x FROM t WHERE word = 'female' AND x = 1")),
    Row("holds a value that cannot be read as the study's column kind; check its values",
        lambda: (duck("CREATE TABLE t (word VARCHAR)", "INSERT INTO t VALUES ('many')"),
                 ask(DUCK, "SELECT word::INT FROM t")),
        lambda: (duck("UPDATE t SET word = '5'"), ask(DUCK, "SELECT word::INT FROM t"))),
    Row("{}: {}; check the folder's permissions",
        lambda: (Path("keys").mkdir(), closed(0o755, "."), closed(0o555, "keys"),
                 as_nobody(lambda: read_or_make_key(Path("keys/a.key"), lambda: b"x"))),
        lambda: (closed(0o777, "keys"),
                 as_nobody(lambda: read_or_make_key(Path("keys/a.key"), lambda: b"x")))),
    Row("{}: is not the database of a {}; check the path or address",
        lambda: (own_store("node.db"), CoordinatorStore(Path("node.db"), exclusive=True)),
        lambda: CoordinatorStore(Path("coordinator.db"), exclusive=True).close()),
    Row("was written by a newer fedcohort (revision {}; this one knows {}); update this program, or restore "
        "the backup from "
        "before the upgrade", newer, lambda: (shutil.copy("copy/node.db", "node.db"), own_store("node.db"))),
    Row("{}: was written by an earlier fedcohort (revision {}; this one writes {}); start the {}, which "
        "brings it up to date",
        lambda: (earlier(), SqlNodeStore(Path("node.db"))), lambda: (own_store("node.db"),
        SqlNodeStore(Path("node.db")).close())),
    Row("{}: {}; make the folder writable", lambda: (closed(0o555, "."),
        as_nobody(lambda: owner_only_folder(Path("state")))),
        lambda: (closed(0o777, "."), as_nobody(lambda: owner_only_folder(Path("state"))))),
    Row("{}: {}; make the folder writable", lambda: (closed(0o555, "."),
        as_nobody(lambda: join_token(Path("state"), "a"))),
        lambda: (closed(0o777, "."), as_nobody(lambda: join_token(Path("state"), "a")))),
    Row("{}: {}; write one", lambda: read_config(Path("config.json")),
        lambda: read_config(write_config(Path.cwd()))),
    Row("{}: {}; write one, or name another by --config", lambda: (Path("other").mkdir(),
        read_config(Path("config.json"))),
        lambda: read_config(write_config(Path("other")))),
]  # fmt: skip


@pytest.mark.parametrize("row", DATABASES, ids=lambda row: row.said[:50])
def test_a_database_is_used_once_it_is_done_as_told(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "LOCK_SECONDS", 0.01)
    if "DuckDB" in row.said or "another program to write" in row.said:
        pytest.importorskip("duckdb_engine", reason="needs the extra [duckdb]")
    obey(row)


UNREAD = "column {}.{}: is {}, which is not read; cast it to a number or a text in a view, and offer that"
SLOW_DUCK = "took longer to answer than a query may; narrow the cohort or add an index"
SLOW = "took longer than {} s to answer; narrow the cohort or add an index"


def test_a_column_that_is_not_read_is_cast_in_a_view_as_told() -> None:
    duck(
        "CREATE TABLE ward (patient_id VARCHAR, stay INTERVAL)",
        "INSERT INTO ward VALUES ('a', INTERVAL 3 DAY)",
    )
    stay = {"columns": {"stay": fc.Numeric(0, 99)}, "table": "ward"}
    refusal(UNREAD, lambda: load(DUCK, {"ward": ["stay"]}, **stay))
    duck("CREATE VIEW stays AS SELECT patient_id, date_part('day', stay) AS stay FROM ward")
    load(DUCK, {"stays": ["stay"]}, **{**stay, "table": "stays"})


def test_a_query_that_takes_too_long_is_narrowed_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    duck("CREATE TABLE t (x INT)", "INSERT INTO t SELECT * FROM range(100000)")
    crossed = "SELECT sum(a.x * b.x) FROM t a, t b"
    with monkeypatch.context() as patience:
        patience.setattr(timeouts, "QUERY_SECONDS", 0.2)
        refusal(SLOW_DUCK, lambda: ask(DUCK, crossed))
    ask(DUCK, f"{crossed} WHERE a.x < 2 AND b.x < 2")


def test_another_user_s_folder_is_given_or_closed_as_told() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    said = (
        "{}: open to others, and another user's (number {}); give it to the user that runs fedcohort "
        "(chown), or let "
        "its owner close it: chmod go= {}"
    )
    Path("state").mkdir(mode=0o755)
    Path("state").chmod(0o755)
    os.chown("state", NOBODY, -1)
    message = refusal(said, lambda: owner_only_folder(Path("state")))
    assert message.endswith("chmod go= state")
    Path("state").chmod(0o700)
    owner_only_folder(Path("state"))
    Path("state").chmod(0o755)
    os.chown("state", 0, -1)
    owner_only_folder(Path("state"))


TAKEN = "port {} for the {} is in use; give another, or stop what listens there"


def test_the_demo_takes_a_port_that_is_free_as_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refusal(TAKEN, lambda: free_port(8760, "page", port))
        with socket.create_server(("127.0.0.1", 0)) as another:
            other = another.getsockname()[1]
        assert free_port(8760, "page", other) == other
    assert free_port(8760, "page", port) == port


def as_role(server: Postgres, database: str, role: str) -> str:
    url = make_url(server.url(database)).set(username=role, password="p")
    return url.render_as_string(hide_password=False)


DRIVER = "write postgresql+psycopg://, and pip install -c constraints.txt '.[postgresql]'"
URL = "the database address is not a URL; write a path, or such as postgresql+psycopg://user@host/name"
STORE = "{}: {} cannot be used here; use SQLite or PostgreSQL"
READ_ONLY = "is read-only; use an account that may write"
NO_SELECT = "does not let this account read the table; grant it SELECT"
UNFIT = "holds a value that cannot be read as the study's column kind; check the column's values"
KINDS = "compares a text with a number in `where`; write texts in quotes, and numbers without"
REFUSED = "cannot be reached or refused the query; check address, account, and the server's own log"
STOPPING = "is starting or stopping; wait a moment, and try again"


@pytest.mark.processes
def test_postgresql_answers_once_it_is_asked_as_told(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.create("remedies")
    run(url, "CREATE ROLE looker LOGIN PASSWORD 'p'", "CREATE TABLE t (n int, word text)",
        "CREATE ROLE keeper LOGIN PASSWORD 'p'", "ALTER ROLE keeper SET default_transaction_read_only = on",
        "GRANT ALL ON t TO keeper", "INSERT INTO t VALUES (1, 'many')",
        "CREATE VIEW v AS SELECT word::int AS n FROM t")  # fmt: skip
    refusal(DRIVER, lambda: ask(url.replace("+psycopg", "+psycopg2"), "SELECT 1"))
    refusal(URL, lambda: ask(url.replace("postgresql+psycopg", ""), "SELECT 1"))
    ask(url, "SELECT 1")
    refusal(STORE, lambda: CoordinatorStore(DUCK))
    CoordinatorStore(server.create("store")).close()
    refusal(READ_ONLY, lambda: run(as_role(server, "remedies", "keeper"), "INSERT INTO t VALUES (2, 'x')"))
    refusal(NO_SELECT, lambda: ask(as_role(server, "remedies", "looker"), "SELECT * FROM t"))
    run(url, "GRANT SELECT ON t TO looker")
    ask(as_role(server, "remedies", "looker"), "SELECT * FROM t")
    refusal(UNFIT, lambda: ask(url, "SELECT n FROM v"))
    run(url, "UPDATE t SET word = '5'")
    ask(url, "SELECT n FROM v")
    refusal(KINDS, lambda: ask(url, "SELECT n FROM t WHERE word = 5"))
    ask(url, "SELECT n FROM t WHERE word = '5'")
    refusal(REFUSED, lambda: ask(url, "SELECT * FROM labs"))
    run(url, "CREATE TABLE labs (n int)")
    ask(url, "SELECT * FROM labs")
    with monkeypatch.context() as patience:
        patience.setattr(timeouts, "QUERY_SECONDS", 0.2)
        refusal(SLOW, lambda: ask(url, "SELECT pg_sleep(30) FROM t"))
    ask(url, "SELECT pg_sleep(30) FROM t WHERE n < 0")


UNSEEN = "{}: this account cannot read {}; grant it SELECT on that table"


@pytest.mark.processes
def test_an_account_that_imports_is_granted_what_it_is_told(server: Postgres) -> None:
    url = server.create("granted")
    write("ward.csv", CSV)
    bring(f"import csv --from ward.csv --into {url} --keep-identifiers")
    run(url, "CREATE ROLE bringer LOGIN PASSWORD 'p'", "GRANT ALL ON SCHEMA public TO bringer",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO bringer", "GRANT ALL ON ALL SEQUENCES IN SCHEMA public "
                                                               "TO bringer",
        "REVOKE SELECT ON fedcohort_identity FROM bringer")  # fmt: skip
    write("more.csv", CSV.replace("p1", "q1").replace("p2", "q2"))
    line = f"import csv --from more.csv --into {as_role(server, 'granted', 'bringer')} --keep-identifiers"
    message = refusal(UNSEEN, lambda: bring(line))
    run(url, f"GRANT SELECT ON {message.partition('cannot read ')[2].partition(';')[0]} TO bringer")
    assert "2 into records" in bring(line)


@pytest.mark.processes
def test_a_server_that_stops_is_asked_again_as_told() -> None:
    with postgres() as own:
        url = own.url("postgres")
        with reading(url) as connection:
            connection.exec_driver_sql("SELECT 1")
            own.run("pg_ctl", "stop", "-D", own.data, "-W", "-m", "smart", check=False)
            refusal(STOPPING, lambda: stopping(url))
        own.stop()
        own.start()
        ask(url, "SELECT 1")


def stopping(url: str) -> None:
    """Until the server has read the signal."""
    for _ in range(10_000):
        ask(url, "SELECT 1")


SAID = {
    "test_a_cohort_is_read_once_it_is_done_as_told": [row.said for row in COHORTS],
    "test_a_database_is_used_once_it_is_done_as_told": [row.said for row in DATABASES],
    "test_a_column_that_is_not_read_is_cast_in_a_view_as_told": [UNREAD],
    "test_a_query_that_takes_too_long_is_narrowed_as_told": [SLOW_DUCK],
    "test_another_user_s_folder_is_given_or_closed_as_told": ["or let its owner close it: chmod go= {}"],
    "test_the_demo_takes_a_port_that_is_free_as_told": [TAKEN],
    "test_postgresql_answers_once_it_is_asked_as_told": [
        DRIVER, URL, STORE, READ_ONLY, NO_SELECT, UNFIT, KINDS, REFUSED, SLOW,
    ],
    "test_an_account_that_imports_is_granted_what_it_is_told": [UNSEEN],
    "test_a_server_that_stops_is_asked_again_as_told": [STOPPING],
}  # fmt: skip
