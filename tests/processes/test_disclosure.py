"""Rules of disclosure between processes: each site's own go with its approval, and the strictest hold."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator

import httpx
import pytest

import fedcohort as fc
from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.client import simulate
from tests.build import cohort, describe_study, frame_of, ward_rows, with_units, write_ward
from tests.disclosure.test_every_kind import MIN_CELL, counts
from tests.patience import until

from .support import Group, comparable, healthy

pytestmark = pytest.mark.processes
RULES = {"a": 5, "b": 10, "c": 20}


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    folder = tmp_path_factory.mktemp("rules")
    with Group(folder) as running:
        for index, (site, least) in enumerate(RULES.items()):
            ward = write_ward(folder / "data" / f"{site}.db", ward_rows(index))
            running.add(site, ward, f"[disclosure]\nmin_cell = {least}\n")
        running.coordinator.start()
        until(lambda: healthy(running.url), "the coordinator listens")
        running.wait_linked()
        yield running


def test_the_strictest_sites_rules_hold_in_report_and_rest(group: Group) -> None:
    study = describe_study("three rules")
    live = group.run(study)
    frames = {site: frame_of(ward_rows(index)) for index, site in enumerate(RULES)}
    hospitals = simulate(frames, disclosure=fc.Disclosure(min_cell=20))
    assert comparable(live) == comparable(hospitals.run(with_units(study), progress=False))
    told = live.report["disclosure"]
    assert told["applied"]
    assert told["rules"]["min_cell"] == 20
    assert told["suppressed"]
    study_id = group.connect().studies().query("name == 'three rules'").iloc[0]["id"]
    for path in ("report",):
        answer = httpx.get(f"{group.url}/api/studies/{study_id}/{path}", headers=group.bearer)
        if answer.status_code == httpx.codes.OK:
            small = [(place, n) for place, n in counts({"answer": answer.json()}) if 0 < n < MIN_CELL]
            assert small == []


def test_the_coordinator_keeps_no_sum_of_a_study_that_has_ended(group: Group) -> None:
    handle = group.connect().submit(describe_study("forgotten"))
    handle.wait(progress=False)
    with contextlib.closing(sqlite3.connect(group.state / "coordinator.db")) as database:
        query = "SELECT arrays, kept FROM states WHERE study_id = ?"
        rows = database.execute(query, (handle.id,)).fetchall()
    assert [(bytes(arrays), bytes(kept)) for arrays, kept in rows] in ([], [(b"", b"")])


def test_a_sum_that_a_site_opens_is_the_same_report_and_no_sum_at_the_coordinator(group: Group) -> None:
    at_site = {"protection": "paillier", "key_bits": 2048, "opened_at": "site"}
    study = describe_study("opened at a site", **at_site)
    live = group.run(study)
    frames = {site: frame_of(ward_rows(index)) for index, site in enumerate(RULES)}
    hospitals = simulate(frames, disclosure=fc.Disclosure(min_cell=20))
    assert comparable(live) == comparable(hospitals.run(with_units(study), progress=False))
    assert live.report["disclosure"]["rules"]["min_cell"] == 20
    helped = []
    for site in RULES:
        with contextlib.closing(SqlNodeStore(group.folder / site / "node.db")) as store:
            help_ = store.help_given(live.study.hash)
        helped += [] if help_ is None else [json.loads(help_.body)]
    assert len(helped) == 1, "one site has opened it"
    assert [(place, n) for place, n in counts(helped[0]["report"]) if 0 < n < MIN_CELL] == []
    report = group.connect().study(live.study.hash).result().report
    assert report["describe"] == helped[0]["report"]["describe"]


def test_a_study_that_differs_by_one_patient_waits_for_a_person(group: Group) -> None:
    group.run(describe_study("everybody"))
    oldest = max(float(str(row["age"])) for index in range(3) for row in ward_rows(index))
    study = describe_study("all but the oldest", cohort=cohort(where=f"age < {oldest}"))
    handle = group.connect().submit(study)

    def waits() -> bool:
        states = {site["id"]: site["state"] for site in handle.status["sites"]}
        return set(states.values()) == {"asked"}

    until(waits, "every hospital waits for a person")
    assert handle.state in ("proposed", "waiting")
    assert "cohort" not in json.dumps(handle.status["sites"])
    handle.cancel()
