"""Locked, missing, read-only and full: a clear word on both sides, nothing lost, and the study goes on."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from fedcohort.errors import FedcohortError
from fedcohort.node.keys import enrol
from fedcohort.researcher.client import Handle
from tests.build import describe_study, ward_rows, write_ward
from tests.patience import PATIENCE_SECONDS, until
from tests.processes.support import Group, cli, random_name, wards

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with wards(tmp_path_factory.mktemp("faults"), n_sites=2) as running:
        yield running


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold a database as another program's long transaction would."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def small_disk(folder: Path, options: str = "size=1m") -> Iterator[Path]:
    """A file system of one megabyte."""
    folder.mkdir(exist_ok=True)
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a disk of its own can only be mounted by root on Linux")
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return path


def submit_many(group: Group) -> None:
    for number in range(200):
        group.connect().submit(describe_study(f"too many {number}"))


def waits(group: Group, handle: Handle, reason: str) -> None:
    status = group.wait_state(handle, "waiting")
    assert status["error"]["code"] == "too-few-sites"
    assert reason in status["error"]["message"]


def test_a_locked_hospital_database_keeps_the_study_waiting_until_it_is_free(group: Group) -> None:
    with locked(group.folder / "data" / "b.db"):
        handle = group.connect().submit(describe_study(random_name()))
        waits(group, handle, "1 of the 2 sites that the round needs have answered (b: store)")
        assert "b.db: is locked by another program; close it" in group.nodes["b"].text
    result = handle.wait(progress=False)
    assert (result.report["patients"], result.report["refused"]) == (120, {})


def test_a_hospital_database_that_is_away_keeps_the_study_waiting_until_it_is_back(group: Group) -> None:
    database = group.folder / "data" / "b.db"
    database.rename(database.with_suffix(".away"))
    handle = group.connect().submit(describe_study(random_name()))
    waits(group, handle, "b: store")
    assert "b.db: no such database; check the path" in group.nodes["b"].text
    database.with_suffix(".away").rename(database)
    assert handle.wait(progress=False).report["patients"] == 120
    assert group.nodes["b"].lives


def test_a_locked_coordinator_database_is_told_as_a_code_and_loses_nothing(group: Group) -> None:
    study = describe_study(random_name())
    rest = group.connect().rest
    with locked(group.state / "coordinator.db"):
        response = httpx.get(
            f"{group.url}/api/studies", headers=group.bearer, timeout=PATIENCE_SECONDS, trust_env=False
        )
        assert (response.status_code, response.json()["code"]) == (503, "store")
        assert "locked by another program" in response.json()["message"]
    assert rest.get("/api/studies")["studies"]
    group.wait_linked("a", "b")
    assert group.run(study).report["patients"] == 120


def test_a_full_disk_under_a_nodes_store_lets_nothing_leave_and_the_study_goes_on_when_there_is_room(
    group: Group, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        database = write_ward(group.folder / "data" / "full.db", ward_rows(2))
        path = group.site_file("full", database)
        path.write_text(path.read_text().replace('state = "full"', f'state = "{disk}/state"'))
        token = group.members(lambda members: members.invite_site("full"))
        enrol(group.folder / "roster", "full", disk / "state" / "site.key")
        node = group.node(path, token)
        group.others.append(node.start())
        group.wait_linked("full")
        filler = fill(disk)
        study = describe_study(random_name(), min_sites=3)
        handle = group.connect().submit(study)
        until(lambda: "has no space left; free disk space" in node.text, "the remedy in the node's log")
        assert node.lives
        assert handle.state == "proposed"
        filler.unlink()
        assert handle.wait(progress=False).report["patients"] == 180
        node.kill()
        group.members(lambda members: str(members.remove_site("full")))


def test_a_full_disk_under_the_coordinator_is_told_as_a_code_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=2m") as disk, Group(tmp_path / "group") as group:
        group.state.symlink_to(disk, target_is_directory=True)
        for index, site in enumerate("ab"):
            group.add(site, write_ward(tmp_path / f"{site}.db", ward_rows(index)))
        group.coordinator.start()
        group.wait_linked()
        before = group.run(describe_study("before")).report
        filler = fill(disk)
        with pytest.raises(FedcohortError, match="no space left") as caught:
            submit_many(group)
        assert caught.value.code == "store"
        assert group.coordinator.lives
        assert group.connect().study(before["study"]).result().report == before
        filler.unlink()
        group.wait_linked()
        assert group.run(describe_study("after")).report["patients"] == 120
        assert {row["state"] for row in group.connect().rest.get("/api/studies")["studies"]} >= {"finished"}


def test_read_only_data_are_enough_for_a_node_but_its_own_store_must_be_writable(
    group: Group, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        database = write_ward(disk / "ward.db", ward_rows(2))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        token = group.members(lambda members: members.invite_site("ro"))
        enrol(group.folder / "roster", "ro", group.folder / "ro" / "site.key")
        path = group.site_file("ro", database)
        reader = group.node(path, token).start()
        group.others.append(reader)
        group.wait_linked("ro")
        assert group.run(describe_study(random_name(), min_sites=3)).report["patients"] == 180
        reader.kill()
        group.members(lambda members: str(members.remove_site("ro")))
        path.write_text(path.read_text().replace('state = "ro"', f'state = "{disk}/state"'))
        done = cli("node", "--site", path, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error (store): {disk}/state: ")
        assert "make the folder writable" in done.stderr


def test_a_full_disk_while_data_are_written_leaves_no_half_a_database(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        wanted = ("data", "synthesize", "--sites", "1", "--patients", "9000", "--into", disk)
        done = cli(*wanted, cwd=tmp_path)
        assert done.returncode == 1
        assert "error (store):" in done.stderr
        assert "no space left" in done.stderr
        fits = cli(*wanted[:5], "500", "--into", disk, cwd=tmp_path)
        assert "500 written" in fits.stdout, fits.stderr
