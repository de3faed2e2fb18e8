"""An upgrade as an operator meets it: the process brings its database up to date, a command does not."""

import contextlib
import re
import sqlite3
from pathlib import Path

import pytest

from fedcohort.node.store import SqlNodeStore
from tests.build import ward_rows, write_ward
from tests.patience import until
from tests.processes.support import Group, cli, healthy
from tests.storage.test_migrate import STORED, rows

pytestmark = pytest.mark.processes


def restore(dump: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((STORED / dump).read_text(encoding="utf-8"))


def test_coordinator_and_node_of_the_first_release_come_up_with_all_they_had(tmp_path: Path) -> None:
    with Group(tmp_path) as group:
        restore("coordinator-0001.sql", group.state / "coordinator.db")
        restore("node-0001.sql", tmp_path / "a" / "node.db")
        early = cli("coordinator", "audit", "--state", group.state, cwd=tmp_path)
        assert early.returncode == 1
        assert "earlier fedcohort" in early.stderr
        assert "start the coordinator" in early.stderr
        group.coordinator.start()
        until(lambda: healthy(group.url), "the coordinator listens")
        told = group.coordinator.text
        assert "has taken studies without a token; since this version every call needs one" in told
        assert f"`fedcohort coordinator invite --researcher NAME --state {group.state}`" in told
        assert "nobody has a token" in told
        (study,) = group.connect().studies()["id"]
        assert group.connect().study(study).state == "finished"
        path = group.site_file("a", write_ward(tmp_path / "ward.db", ward_rows(0)))
        with contextlib.closing(sqlite3.connect(tmp_path / "a" / "node.db")) as connection:
            entries = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        node = group.node(path).start()
        group.others.append(node)
        until(lambda: "alembic_version" in rows(tmp_path / "a" / "node.db"), "the node has upgraded")
        audit = cli("node", "audit", "--site", path, cwd=tmp_path)
        assert audit.returncode == 0, audit.stderr
        found = re.search(r"^(\d+) entries, the chain is whole$", audit.stdout, re.MULTILINE)
        assert found is not None
        assert int(found[1]) >= entries
        with contextlib.closing(SqlNodeStore(tmp_path / "a" / "node.db")) as store:
            assert [one.epsilon for one in store.reservations()] == [2.0]


def test_a_coordinator_does_not_start_on_a_newer_database(tmp_path: Path) -> None:
    with Group(tmp_path) as group:
        group.members(lambda members: members.invite_site("a"))
        with contextlib.closing(sqlite3.connect(group.state / "coordinator.db")) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '0999'")
        assert group.coordinator.start().wait() == 1
        assert "written by a newer fedcohort (revision 0999" in group.coordinator.text
