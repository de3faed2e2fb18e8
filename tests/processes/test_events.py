"""Studies of events between processes: each hospital makes columns of its event tables."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.columns import Binary, Numeric, Survival
from fedcohort.disclosure.rules import OPEN
from fedcohort.errors import SchemaError
from fedcohort.sources.cohort.events.cohort import SiteEvents
from fedcohort.sources.cohort.events.tables import in_event_tables
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort, Study, parse_study
from tests.patience import until
from tests.sources.cohort.events.rows import Event, filled, ill, person, stay

from .support import Group, cli, comparable, healthy

pytestmark = pytest.mark.processes

WORDS = """
[cohort.codes]
diabetes = { icd10 = ["E11*"] }
infarction = { icd10 = ["I21*"] }
[cohort.index]
encounter = true
which = "first"
[cohort.exclude.earlier]
condition = "infarction"
window = ["-3650d", "0d"]
[cohort.columns.diabetes]
condition = "diabetes"
take = "any"
window = ["-365d", "1d"]
levels = [0, 1]
[cohort.columns.age]
patient = "age"
low = 18
high = 100
[cohort.columns.stays]
encounter = true
take = "count"
window = ["-365d", "1d"]
high = 10
[cohort.label]
condition = "infarction"
"""
TIMED = 'take = "time_to"\nwindow = ["1d", "366d"]\n'
YES = 'take = "any"\nwindow = ["1d", "366d"]\n'


def patients(site: int) -> list[Event]:
    draw = np.random.default_rng([11, site])
    rows: list[Event] = []
    for number in range(80):
        name, zero = f"s{site}p{number:03}", float(draw.integers(0, 500))
        rows += [person(name, zero - 365.25 * float(draw.integers(20, 95)), "female")]
        rows += [stay(name, zero, zero + 3), stay(name, zero + float(draw.integers(30, 700)), zero + 900)]
        rows += [ill(name, zero - 10, "E11.9")] if number % 3 == 0 else []
        rows += [ill(name, zero + float(draw.integers(2, 400)))] if draw.random() < 0.5 else []
        rows += [ill(name, zero - 5)] if number % 11 == 0 else []
    return rows


def study(name: str, label: str, analysis: Mapping[str, Any]) -> Study:
    return parse_study({"name": name, **tomllib.loads(WORDS + label), "analysis": dict(analysis)})


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    folder = tmp_path_factory.mktemp("events")
    with Group(folder) as running:
        (folder / "data").mkdir()
        for index, site in enumerate("abc"):
            database = filled(str(folder / "data" / f"{site}.db"), patients(index))
            running.add(site, database, "", 'events = "*"')
        running.coordinator.start()
        until(lambda: healthy(running.url), "the coordinator listens")
        running.wait_linked()
        yield running


def frames(group: Group, cohort: Cohort) -> dict[str, pd.DataFrame]:
    """What each site's event tables make, as ordinary rows."""
    made = {}
    for site in "abc":
        database = group.folder / "data" / f"{site}.db"
        table = load_cohort(database, cohort, 0, {}, events=SiteEvents(in_event_tables({})))
        columns: dict[str, Any] = {**table.columns}
        columns |= {"patient_id": table.patient_ids, "label": table.label}
        if table.event is not None:
            columns |= {"label_time": table.label, "label_event": table.event.astype(int)}
        made[site] = pd.DataFrame(columns)
    return made


def answers(result: fc.Result) -> dict[str, object]:
    """All of a report that is not the study itself."""
    return {**comparable(result)["report"]}


def ordinary(study: Study) -> Study:
    """The same question of a table with the same columns."""
    cohort = study.cohort
    return study.model_copy(update={"cohort": Cohort(columns=dict(cohort.schema_), label=cohort.label)})


def test_a_description_of_events_is_that_of_the_columns_that_they_make(group: Group) -> None:
    asked = study("columns of events", YES, {"kind": "describe"})
    assert isinstance(asked.cohort.label, Binary)
    result = group.run(asked)
    pooled = fc.simulate(frames(group, asked.cohort), disclosure=OPEN).run(ordinary(asked), progress=False)
    assert answers(result) == answers(pooled)


def test_survival_to_an_event_is_that_of_the_times_that_it_makes(group: Group) -> None:
    asked = study("time to infarction", TIMED, {"kind": "survival", "grid": [90, 180, 365], "by": "diabetes"})
    assert isinstance(asked.cohort.label, Survival)
    assert asked.cohort.schema_["age"] == Numeric(18, 100)
    result = group.run(asked)
    pooled = fc.simulate(frames(group, asked.cohort), disclosure=OPEN).run(ordinary(asked), progress=False)
    assert answers(result) == answers(pooled)


def test_a_kind_that_a_site_does_not_offer_is_told_before_the_study_is_sent(group: Group) -> None:
    database = group.folder / "data" / "a.db"
    group.add("d", database, "", 'events = ["encounter", "condition"]')
    group.wait_linked("d")
    catalogue = group.connect().catalogue()
    assert set(catalogue["d"]["tables"]["events"]["columns"]) == {"encounter", "condition"}
    deaths = WORDS.replace(
        "[cohort.label]", '[cohort.need.alive]\ndeath = true\nwindow = ["0d", "9y"]\n[cohort.label]'
    )
    asked = parse_study({"name": "d", **tomllib.loads(deaths + YES), "analysis": {"kind": "describe"}})
    with pytest.raises(SchemaError, match="site d: does not offer events of death"):
        group.connect().submit(asked)
    without = parse_study({"name": "e", **tomllib.loads(WORDS + YES), "analysis": {"kind": "describe"}})
    assert group.run(without).report["sites"]


def test_the_hospital_reads_the_study_aloud_and_checks_it(group: Group) -> None:
    path = group.folder / "study.toml"
    path.write_text('name = "aloud"\n' + WORDS + YES + '[analysis]\nkind = "describe"\n', encoding="utf-8")
    told = cli("explain", str(path), "--site", str(group.folder / "a.toml"), cwd=group.folder)
    assert "time zero is when the first encounter begins" in told.stdout, told.stdout + told.stderr
    checked = cli(
        "data", "check", str(path), "--site", str(group.folder / "a.toml"), "--json", cwd=group.folder
    )
    document = json.loads(checked.stdout)
    assert document["verdict"] != "not ready", document
