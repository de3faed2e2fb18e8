"""The coordinator on a PostgreSQL server: whole studies, kill -9 of either, backup and restore."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.build import describe_study, train_study
from tests.deploy.guide import Machine
from tests.patience import until
from tests.postgres import Postgres, postgres, program
from tests.processes.support import Group, Process, comparable, random_name, simulate_wards, wards

pytestmark = [pytest.mark.processes, pytest.mark.slow]

ROUNDS = 60
ROLE = "a-password-of-the-role"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(scope="module")
def machine(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Where the guide's commands meet the server; its database and role are made by them."""
    folder, psql = tmp_path_factory.mktemp("machine"), program("psql")
    assert psql is not None
    (folder / "backup").mkdir()
    more = {**server.environment, "PATH": str(Path(psql).parent)}
    more["FEDCOHORT_DATABASE"] = server.url("fedcohort").replace(
        f"postgres:{server.password}@", f"fedcohort:{ROLE}@"
    )
    here = Machine(folder, {"/backup": str(folder / "backup")}, more=more)
    here.run("postgresql")
    server.run("psql", "-c", f"ALTER ROLE fedcohort PASSWORD '{ROLE}'")
    return here


@pytest.fixture(scope="module")
def group(machine: Machine) -> Iterator[Group]:
    folder, database = machine.folder / "group", machine.more["FEDCOHORT_DATABASE"]
    policy = 'protections = ["none", "masks"]\n'
    with wards(folder, n_sites=2, preload=True, policy=policy, database=database) as running:
        yield running


def status(group: Group, path: str) -> int:
    return httpx.get(f"{group.url}{path}", headers=group.bearer, trust_env=False).status_code


def database_errors(group: Group) -> float:
    """What Prometheus would read."""
    lines = httpx.get(f"{group.url}/metrics", headers=group.bearer, trust_env=False).text.splitlines()
    return float(
        next(line for line in lines if line.startswith("fedcohort_database_errors_total")).split()[1]
    )


def test_the_coordinator_says_where_its_database_is_not(group: Group) -> None:
    assert not (group.state / "coordinator.db").exists()
    assert ROLE not in group.coordinator.text


def test_a_study_in_which_server_and_coordinator_are_killed_gives_the_same_bits_as_ever(
    group: Group, server: Postgres
) -> None:
    study = train_study(random_name(), ROUNDS, min_sites=2, round_timeout_seconds=60.0)
    handle = group.connect().submit(study)
    group.wait_round(handle, 10)
    server.kill()
    until(lambda: status(group, "/readyz") == 503, "the coordinator says that it is not ready")
    assert status(group, "/healthz") == 200
    assert group.coordinator.lives
    server.start()
    until(lambda: status(group, "/readyz") == 200, "it is ready")
    assert database_errors(group) > 0
    assert "cannot be reached" in group.coordinator.text
    group.wait_round(handle, 30)
    group.coordinator.kill()
    server.kill()
    server.start()
    group.coordinator.start()
    group.wait_linked()
    result = handle.wait(progress=False)
    assert comparable(result) == comparable(simulate_wards(study, n_sites=2))
    assert not result.metrics.duplicated(["round", "split"]).any()
    assert ROLE not in group.coordinator.text


def test_a_second_coordinator_with_a_folder_of_its_own_is_turned_away(group: Group) -> None:
    more = {"FEDCOHORT_DATABASE": str(group.database)}
    arguments = ["coordinator", "--port", "1", "--state", str(group.folder / "second")]
    second = Process(arguments, group.folder, group.folder / "second.log", more)
    group.others.append(second)
    assert second.start().wait() == 1
    assert "is locked by another program" in second.text
    assert group.linked() == {"a", "b"}


def test_backup_and_restore_by_the_guide(group: Group, machine: Machine) -> None:
    before = group.run(describe_study(random_name(), min_sites=2))
    units = {"fedcohort-coordinator": group.coordinator}
    places = {**machine.places, "/var/lib/fedcohort": str(group.state)}
    here = Machine(machine.folder, places, units, machine.more)
    said = here.run("postgresql backup")
    assert said[0].splitlines()[0].endswith("coordinator.key")
    assert "pg_dump" in said[0]
    lost = group.run(describe_study(random_name(), min_sites=2))
    assert here.run("postgresql restore")[-1].endswith("entries, the chain is whole")
    group.wait_linked()
    known = set(group.connect().studies()["id"])
    assert before.report["study"] in known
    assert lost.report["study"] not in known
    after = group.run(describe_study(random_name(), min_sites=2))
    assert after.report["patients"] == 120
