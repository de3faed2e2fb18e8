"""The airlock between processes: an answer waits through kill -9, and leaves as it was looked at."""

import re
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.client import Handle, awaited
from tests.build import describe_study, ward_rows, with_units, write_ward
from tests.patience import until

from .support import Group, cli, comparable, healthy, random_name, simulate_wards

pytestmark = pytest.mark.processes

SHORT_HOURS = 8 / 3600
ASKS = 'release = "person"\nrelease_hours = {hours}\n'


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Sites a and b answer by themselves, and at c a person lets each answer go."""
    folder = tmp_path_factory.mktemp("airlock")
    with Group(folder) as running:
        for index, site in enumerate("abc"):
            ward = write_ward(folder / "data" / f"{site}.db", ward_rows(index))
            running.add(site, ward, ASKS.format(hours=2.0) if site == "c" else "")
        running.coordinator.start()
        until(lambda: healthy(running.url), "the coordinator listens")
        running.wait_linked()
        yield running


def release(group: Group, *words: str, typed: str = "") -> tuple[int, str]:
    done = cli("release", *words, "--site", group.folder / "c.toml", cwd=group.folder, typed=typed)
    return done.returncode, done.stdout + done.stderr


def wait_held(group: Group, handle: Handle) -> str:
    """Wait until c holds an answer, and return what it is."""
    until(lambda: handle.id[:12] in release(group)[1], "an answer that waits")
    code, text = release(group, handle.id, "--csv")
    assert code == 0, text
    return text


def logged(group: Group, study: str, *kinds: str) -> list[tuple[str, dict[str, object]]]:
    """What c's event log says of a study: kinds, and details."""
    with closing(SqlNodeStore(group.folder / "c" / "node.db")) as store:
        assert store.verify()
        return [(str(one["kind"]), store.read_detail(one)) for one in store.events(kinds, study)]


def test_an_answer_waits_through_kill_9_of_node_and_coordinator_until_it_is_let_go(group: Group) -> None:
    study = describe_study(random_name())
    handle = group.connect().submit(study)
    shown = wait_held(group, handle)
    assert "levels/sex" in shown
    assert handle.state == "running"
    hours = {site["id"]: site["release_hours"] for site in handle.status["sites"]}
    assert hours == {"a": 0.0, "b": 0.0, "c": 2.0}
    assert awaited(handle.status) == "a person lets each answer go at c (within 2 hours)"
    for process in (group.nodes["c"], group.coordinator):
        process.kill()
        process.start()
    until(lambda: healthy(group.url), "the coordinator listens again")
    group.wait_linked()
    time.sleep(1.5)
    assert (handle.state, int(handle.status["round"])) == ("running", 0)
    assert wait_held(group, handle) == shown, "computed once"
    code, text = release(group, handle.id, typed="n\n")
    assert (code, "it goes on waiting" in text) == (1, True)
    assert group.survivors(handle.id) == []
    digest = re.findall(r"SHA-256 ([0-9a-f]{64})", text)
    assert release(group, handle.id, "--yes")[0] == 0
    group.wait_state(handle, "finished")
    assert group.survivors(handle.id) == [["a", "b", "c"]]
    assert comparable(handle.result()) == comparable(simulate_wards(with_units(study)))
    told = logged(group, handle.id, "held", "let-go", "release")
    assert [kind for kind, _ in told] == ["held", "let-go", "release"]
    assert {detail["digest"] for _, detail in told} == {*digest}


def test_a_no_and_a_silence_cost_the_study_this_site_and_look_alike(group: Group) -> None:
    file = group.folder / "c.toml"
    file.write_text(file.read_text().replace("release_hours = 2.0", f"release_hours = {SHORT_HOURS}"))
    group.nodes["c"].kill()
    group.nodes["c"].start()
    group.wait_linked()
    # With no colluders two of three sites can open a sum.
    studies = [describe_study(random_name(), min_sites=2, colluders=0) for _ in range(2)]
    handles = [group.connect().submit(study) for study in studies]
    wait_held(group, handles[0])
    assert release(group, handles[0].id, "--withhold", "--yes")[0] == 0
    assert handles[0].state == "running", "nobody is told yet"
    for handle in handles:
        group.wait_state(handle, "finished")
        assert group.survivors(handle.id) == [["a", "b"]]
    told = [{site["id"]: (site["state"], site["code"]) for site in one.status["sites"]} for one in handles]
    assert told[0] == told[1]
    assert told[0]["c"] == ("refused", "not-released")
    kinds = [[kind for kind, _ in logged(group, handle.id)] for handle in handles]
    assert kinds[0] == kinds[1]
    assert kinds[0][-2:] == ["withheld", "refused"]


def test_a_private_study_is_refused_in_words_of_site_toml(group: Group) -> None:
    study = describe_study(random_name())
    path = group.folder / "private.toml"
    path.write_text(
        f'name = "{study.name}"\n[cohort]\ntable = "ward"\ncolumns = ["age", "sex"]\n'
        '[analysis]\nkind = "describe"\n[privacy]\nepsilon = 1.0\n',
        encoding="utf-8",
    )
    checked = cli("data", "check", path, "--site", group.folder / "c.toml", cwd=group.folder)
    assert "under [privacy] the person's no would tell of patients" in checked.stdout
    assert "not ready" in checked.stdout
