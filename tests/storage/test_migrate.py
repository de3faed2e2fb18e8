"""Databases of earlier programs come up to date with every row; those of newer ones are left alone."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from fedcohort.coordinator import tables as coordinator_tables
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import StoreError
from fedcohort.node import tables as node_tables
from fedcohort.node.ledger import epsilons
from fedcohort.node.store import SqlNodeStore
from fedcohort.storage.migrate import Schema

STORED = Path(__file__).parent.parent / "deploy" / "stored"
SCHEMAS = {"coordinator": coordinator_tables.SCHEMA, "node": node_tables.SCHEMA}
STORES: dict[str, type[CoordinatorStore] | type[SqlNodeStore]] = {
    "coordinator": CoordinatorStore,
    "node": SqlNodeStore,
}
GONE = {"contributions": {"phases"}}
"""Columns that the newest program keeps no longer."""
EVERY = [(path.stem.partition("-")[0], path) for path in sorted(STORED.glob("*.sql"))]


def restored(dump: Path, folder: Path) -> Path:
    """The database that an earlier program has left behind."""
    path = folder / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
    return path


def rows(path: Path) -> dict[str, list[Any]]:
    """Every row of every table, but for the columns that are GONE."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = {}
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = [column for _, column, *_ in connection.execute(f"PRAGMA table_info({name})")]
            kept = ", ".join(column for column in columns if column not in GONE.get(name, ()))
            found[name] = sorted(connection.execute(f"SELECT {kept} FROM {name}"), key=repr)
        return found


def version(path: Path, number: str) -> None:
    """Write another revision into a database."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (number,))


@pytest.mark.parametrize(("owner", "dump"), EVERY, ids=lambda value: getattr(value, "stem", None))
def test_a_stored_database_comes_up_to_date_with_every_row_it_had(
    owner: str, dump: Path, tmp_path: Path
) -> None:
    path = restored(dump, tmp_path)
    before = rows(path)
    assert len(before["events"]) > 8
    STORES[owner](path, exclusive=True).close()
    after = rows(path)
    assert after["alembic_version"] == [(SCHEMAS[owner].revision,)]
    for table, found in before.items():
        if table != "alembic_version":
            assert after[table] == found, table


@pytest.mark.parametrize("owner", SCHEMAS)
def test_migrations_lead_to_the_tables_that_the_program_makes_anew(owner: str, tmp_path: Path) -> None:
    path = restored(STORED / f"{owner}-0001.sql", tmp_path)
    STORES[owner](path, exclusive=True).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SCHEMAS[owner].metadata) == [], "write a migration: CONTRIBUTING.md"
    engine.dispose()


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_the_tables_name_the_newest_migration_and_each_follows_the_one_before(schema: Schema) -> None:
    scripts = ScriptDirectory(str(schema.migrations), version_locations=[str(schema.migrations)])
    assert scripts.get_current_head() == schema.revision
    numbers = [step.revision for step in scripts.walk_revisions()][::-1]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    stored = {path.stem.partition("-")[2] for owner, path in EVERY if owner == schema.owner}
    assert stored >= set(numbers[:-1]), "keep a small database of every revision in tests/deploy/stored"


def test_the_ledger_and_the_event_log_of_a_node_are_whole_after_the_upgrade(tmp_path: Path) -> None:
    store = SqlNodeStore(restored(STORED / "node-0001.sql", tmp_path), exclusive=True)
    (reserved,), (cost,) = store.reservations(), store.costs()
    assert (reserved.dataset, reserved.epsilon, reserved.delta) == ("ward", 2.0, 1e-4)
    assert 1.9 < epsilons(cost)[0] <= 2.0
    assert store.verify() == store.newest()[0]
    assert store.heads.all() == {}
    store.close()


def test_the_coordinators_studies_and_members_are_there_after_the_upgrade(tmp_path: Path) -> None:
    store = CoordinatorStore(restored(STORED / "coordinator-0001.sql", tmp_path), exclusive=True)
    (study,) = store.studies()
    assert (study["name"], study["state"]) == ("Who is ill?", "finished")
    assert set(Members(store).sites()) == {"a", "b", "c"}
    assert store.verify() > 8
    store.close()


def test_only_who_works_alone_upgrades_and_a_command_says_who_does(tmp_path: Path) -> None:
    path = restored(STORED / "node-0001.sql", tmp_path)
    before = rows(path)
    with pytest.raises(StoreError, match=r"earlier fedcohort \(revision 0001.*start the node"):
        SqlNodeStore(path)
    assert rows(path) == before


@pytest.mark.parametrize("found", ["0999", "", "later"])
def test_a_newer_database_is_refused_in_words_and_left_as_it_is(found: str, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    SqlNodeStore(path).close()
    version(path, found)
    before = rows(path)
    with pytest.raises(StoreError, match=r"node\.db: was written by a newer fedcohort.*update this program"):
        SqlNodeStore(path, exclusive=True)
    assert rows(path) == before


def test_the_database_of_another_process_is_refused(tmp_path: Path) -> None:
    SqlNodeStore(tmp_path / "node.db").close()
    with pytest.raises(StoreError, match="is not the database of a coordinator"):
        CoordinatorStore(tmp_path / "node.db", exclusive=True)


def test_an_upgrade_that_fails_midway_leaves_the_old_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(node_tables.SCHEMA.migrations, folder)
    newest = node_tables.SCHEMA.revision
    following = f"{int(newest) + 1:04}"
    (folder / f"r{following}_broken.py").write_text(
        f"from alembic import op\nrevision = '{following}'\ndown_revision = '{newest}'\n\n\n"
        "def upgrade() -> None:\n    op.drop_table('costs')\n    op.drop_table('not_there')\n"
    )
    broken = Schema("node", node_tables.metadata, "proposals", following, folder)
    monkeypatch.setattr(node_tables, "SCHEMA", broken)
    path = restored(STORED / "node-0001.sql", tmp_path)
    before = rows(path)
    with pytest.raises(StoreError):
        SqlNodeStore(path, exclusive=True)
    assert rows(path) == before


@pytest.mark.processes
def test_a_database_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom fedcohort.node.store import SqlNodeStore\n"
        f"for _ in range(2): SqlNodeStore(Path({str(tmp_path / 'node.db')!r}), exclusive=True).close()\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('alembic', 'mako')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
