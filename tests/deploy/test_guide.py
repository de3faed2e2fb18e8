"""The guide's steps for backup, restore and rotation, on real processes, as they stand in docs/deploy.md."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fedcohort.node.keys import enrol
from fedcohort.researcher.client import connect
from fedcohort.researcher.result import Result
from fedcohort.sources.catalogue.schema import wide_table
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows
from tests.build import COLUMNS, describe_study, free_port, ward_rows, write_ward
from tests.dashboard.accounts import csrf_in
from tests.deploy.guide import Machine
from tests.patience import until
from tests.processes.support import Group, Process, cli, healthy, random_name

pytestmark = [pytest.mark.processes, pytest.mark.slow]

SITES = ("hospital_a", "hospital_b")


@dataclass
class Federation:
    """A coordinator's machine, two hospitals', and the page; `ada` is a researcher's token."""

    group: Group
    centre: Machine
    hospitals: dict[str, Machine]
    page: str
    ada: str

    def run(self) -> Result:
        """One describe study of both hospitals, under masks, sent by ada."""
        with connect(self.group.url, self.ada, key_file=self.group.folder / "ada.key") as federation:
            result = federation.run(describe_study(random_name(), min_sites=2), progress=False)
        assert isinstance(result, Result)
        assert result.report["patients"] == 120
        return result

    def state(self, site: str) -> Path:
        """A hospital's folder of keys and database."""
        return self.hospitals[site].folder / "node" / "state"


def hospital(group: Group, site: str, index: int) -> Machine:
    """A hospital's machine as the guide lays it out; its node is not started."""
    home = group.folder / site
    (home / "etc").mkdir(parents=True)
    (home / "backup").mkdir()
    database = write_ward(home / "ward.db", ward_rows(index))
    write_rows(database, wide_table("other", COLUMNS), COLUMNS, ward_rows(index, 5), MADE_UP)
    path = home / "etc" / "site.toml"
    path.write_text(
        f'id = "{site}"\ndata = "{database}"\ncoordinator = "ws://127.0.0.1:{group.port}"\n'
        f'state = "{home}/node/state"\nroster = "{home}/node/roster"\napproval = "auto"\n'
        '[budget.other]\nepsilon = 1.0\ntables = ["other"]\n[budget.ward]\nepsilon = inf\n'
        '[tables]\nward = "*"\nother = "*"\n'
    )
    (home / "etc" / "join-token").write_text("")
    more = {"FEDCOHORT_JOIN_TOKEN_FILE": str(home / "etc" / "join-token")}
    node = Process(["node", "--site", str(path)], home, home / "node.log", more)
    group.nodes[site] = node
    places = {
        "/var/lib/fedcohort-node": str(home / "node"),
        "/etc/fedcohort": str(home / "etc"),
        "/backup": str(home / "backup"),
    }
    return Machine(home, places, {"fedcohort-node": node})


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder, port = tmp_path_factory.mktemp("guide"), free_port()
    with Group(folder) as group:
        etc = folder / "etc"
        for made in (etc, folder / "backup"):
            made.mkdir()
        secrets = {
            f"FEDCOHORT_{name}_FILE": str(etc / file)
            for name, file in (("TOKEN", "token"), ("DASHBOARD_TOKEN", "dashboard-token"))
        }
        arguments = ["dashboard", "--port", str(port), "--coordinator", group.url]
        arguments += ["--people", str(folder / "page" / "people.db")]
        dashboard = Process(arguments, folder, folder / "dashboard.log", secrets)
        group.others.append(dashboard)
        places = {
            "/var/lib/fedcohort": str(group.state),
            "/var/lib/fedcohort-dashboard": str(folder / "page"),
            "/etc/fedcohort": str(etc),
            "/backup": str(folder / "backup"),
        }
        units = {"fedcohort-coordinator": group.coordinator, "fedcohort-dashboard": dashboard}
        centre = Machine(folder / "machine", places, units)
        group.coordinator.start()
        until(lambda: healthy(group.url), "the coordinator listens")
        joins = {"hospital_a": (said := centre.run("first tokens"))[0]}
        joins["hospital_b"] = group.members(lambda members: members.invite_site("hospital_b"))
        hospitals = {site: hospital(group, site, index) for index, site in enumerate(SITES)}
        made_all = Federation(group, centre, hospitals, f"http://127.0.0.1:{port}", said[1])
        group.given = said[1]
        for site, machine in hospitals.items():
            for other in set(SITES) - {site}:
                enrol(machine.folder / "node" / "roster", other, made_all.state(other) / "site.key")
            (machine.folder / "etc" / "join-token").write_text(joins[site] + "\n")
            group.nodes[site].start()
        group.wait_linked()
        yield made_all


def status(url: str, token: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(url, headers=headers, trust_env=False).status_code


def page_is_ready(federation: Federation) -> bool:
    try:
        return status(f"{federation.page}/readyz") == 200
    except httpx.HTTPError:
        return False


def test_the_first_tokens_open_what_they_are_for(federation: Federation) -> None:
    until(lambda: page_is_ready(federation), "the page has the coordinator's token")
    token = (federation.group.folder / "etc" / "dashboard-token").read_text().strip()
    assert len(token) == 32
    assert status(f"{federation.page}/api/federation") == 401
    assert status(f"{federation.page}/api/federation", token) == 200
    assert status(f"{federation.group.url}/api/federation", federation.ada) == 200
    federation.run()


def test_the_first_operator_of_the_page_sets_a_password_by_the_link_that_is_printed(
    federation: Federation,
) -> None:
    (said,) = federation.centre.run("people")
    assert said.startswith("https://dashboard.example/password?token=")
    token = said.partition("token=")[2]
    password = "the sea is calm tonight"
    with httpx.Client(
        base_url=federation.page, headers={"Origin": federation.page}, trust_env=False
    ) as client:
        form = {"csrf": csrf_in(client.get(f"/password?token={token}").text)}
        assert client.post(
            f"/password?token={token}", data={**form, "password": password, "again": password}
        ).is_redirect
        form = {"csrf": csrf_in(client.get("/login").text), "name": "grace", "password": password}
        assert client.post("/login", data=form).is_redirect
        assert client.get("/people").is_success


def test_a_coordinator_is_copied_while_it_runs_and_restored_as_it_was(federation: Federation) -> None:
    before = federation.run().report["study"]
    written = federation.centre.run("coordinator backup")[0].splitlines()
    assert [Path(line).name for line in written] == ["coordinator.key", "coordinator.db"]
    assert {Path(line).stat().st_mode & 0o777 for line in written} == {0o600}
    lost = federation.run().report["study"]
    assert federation.centre.run("coordinator restore")[-1].endswith("entries, the chain is whole")
    federation.group.wait_linked()
    known = set(federation.group.connect().studies()["id"])
    assert before in known
    assert lost not in known
    federation.run()


def test_a_backup_never_goes_into_a_folder_that_holds_something(federation: Federation) -> None:
    group = federation.group
    done = cli("coordinator", "backup", "--state", group.state, "--into", group.state, cwd=group.folder)
    assert done.returncode == 1
    assert "is not empty; name a new folder" in done.stderr


def test_a_node_is_restored_from_its_newest_copy(federation: Federation) -> None:
    machine, node = federation.hospitals["hospital_a"], federation.group.nodes["hospital_a"]
    federation.run()
    written = machine.run("node backup")[0].splitlines()
    names = [Path(line).name for line in written]
    kept = ["site.toml", "site.key", "agreement.key", "cohorts.key", "hospital_b.pub", "node.db"]
    assert [name for name in names if not name.endswith(".patients")] == kept
    assert len(names) > len(kept)
    assert not any(name.endswith(".snapshot") for name in names)
    machine.run("node restore")
    federation.group.wait_linked()
    assert machine.run("node restored")[-1].endswith("entries, the chain is whole")
    assert node.lives
    federation.run()


def test_a_node_does_not_start_on_an_older_copy_until_it_is_written_off(federation: Federation) -> None:
    machine, node = federation.hospitals["hospital_a"], federation.group.nodes["hospital_a"]
    for leftover in (machine.folder / "backup" / "node", machine.folder / "node.lost"):
        shutil.rmtree(leftover)
    machine.run("node backup")
    federation.run()
    machine.run("node restore")
    assert node.wait() == 1
    assert "ledger-behind" in node.text
    audit = cli("node", "audit", "--site", machine.folder / "etc" / "site.toml", cwd=machine.folder)
    assert "error (ledger-behind)" in audit.stderr
    done = cli("ledger", "--site", machine.folder / "etc" / "site.toml", "--write-off", cwd=machine.folder)
    assert "are written off" in done.stdout, done.stderr
    node.start()
    federation.group.wait_linked()
    federation.run()


def test_a_researchers_new_token_ends_the_old_one(federation: Federation) -> None:
    old = federation.ada
    federation.ada = federation.centre.run("researcher token")[-1]
    assert status(f"{federation.group.url}/api/federation", old) == 401
    assert status(f"{federation.group.url}/api/federation", federation.ada) == 200
    connection, federation.group.federation = federation.group.federation, None
    if connection is not None:
        connection.rest.client.close()
    federation.group.given = federation.ada
    federation.run()


def test_the_pages_new_tokens_end_the_old_ones(federation: Federation) -> None:
    etc = federation.group.folder / "etc"
    old, visitors = (etc / "token").read_text().strip(), (etc / "dashboard-token").read_text().strip()
    federation.centre.run("dashboard tokens")
    until(lambda: page_is_ready(federation), "the page has the new token")
    assert status(f"{federation.group.url}/api/federation", old) == 401
    assert status(f"{federation.page}/api/federation", visitors) == 401
    assert status(f"{federation.page}/api/federation", (etc / "dashboard-token").read_text().strip()) == 200


def test_hospitals_learn_the_coordinators_new_key_and_keep_what_they_had(federation: Federation) -> None:
    study = federation.run().report["study"]
    group = federation.group
    before = group.connect().rest.get("/api/federation")["coordinator"]["fingerprint"]
    tokens = {"hospital_a": federation.centre.run("coordinator key")[-1]}
    until(lambda: "wrong-key" in group.nodes["hospital_a"].text, "the old hospital turns the new key away")
    assert group.linked() == set()
    state = ["--state", str(group.state)]
    invited = cli("coordinator", "invite", "--site", "hospital_b", "--again", *state, cwd=group.folder)
    tokens["hospital_b"] = invited.stdout.strip()
    for site, machine in federation.hospitals.items():
        machine.run("coordinator key at a hospital", TOKEN=tokens[site])
    group.wait_linked()
    assert group.connect().rest.get("/api/federation")["coordinator"]["fingerprint"] != before
    assert study in set(group.connect().studies()["id"])
    federation.run()
    path = federation.hospitals["hospital_a"].folder / "etc" / "site.toml"
    audit = cli("node", "audit", "--site", path, cwd=group.folder)
    assert "the chain is whole" in audit.stdout


def test_a_token_to_learn_a_new_key_admits_no_other_key(federation: Federation) -> None:
    state = ["--state", str(federation.group.state)]
    folder = federation.group.folder
    never = cli("coordinator", "invite", "--site", "hospital_z", "--again", *state, cwd=folder)
    assert "has never joined" in never.stderr
    joined = cli("coordinator", "invite", "--site", "hospital_a", *state, cwd=folder)
    assert "has already joined" in joined.stderr
    token = federation.group.members(lambda members: members.invite_site("hospital_b", again=True))
    write_ward(folder / "data" / "a.db", ward_rows(0))
    thief = federation.group.stranger("hospital_b", "thief", token)
    until(lambda: "refused: wrong-key" in thief.text, "another key is turned away")
    thief.kill()


def test_a_hospital_with_new_keys_takes_part_when_the_others_have_confirmed_them(
    federation: Federation,
) -> None:
    group, machine = federation.group, federation.hospitals["hospital_a"]
    token = federation.centre.run("site keys at the coordinator")[-1]
    machine.run("site keys", TOKEN=token)
    group.wait_linked()
    own = cli("roster", "--site", machine.folder / "etc" / "site.toml", cwd=machine.folder).stdout
    (print_,) = re.findall(r"^((?:[0-9a-f]{4} ?){8}) +this site", own, re.MULTILINE)
    other = federation.hospitals["hospital_b"]
    (other.folder / "node" / "roster" / "hospital_a.pub").unlink()
    other._systemctl("restart", group.nodes["hospital_b"])
    group.wait_linked()
    words = ["--confirm", "hospital_a", "--fingerprint", print_.strip()]
    confirmed = cli("roster", "--site", other.folder / "etc" / "site.toml", *words, cwd=other.folder)
    assert confirmed.returncode == 0, confirmed.stderr
    federation.run()
