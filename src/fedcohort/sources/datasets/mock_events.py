"""`fedcohort data mock` of a study of events: event tables of nobody, from declarations and code lists alone.

Nothing here can read a patient. Each made-up patient has the index event, what the cohort needs and nothing
that it excludes; of each column's events a few or none, with values evenly from their declared range; and the
label's event likelier the more of them there are: a rule of no disease.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedcohort.errors import CohortError, ConfigError, StoreError
from fedcohort.event_words import (
    CLASS,
    DAY_MS,
    OMOP,
    SYSTEMS,
    Criterion,
    Events,
    Index,
    Outcome,
    Taken,
    milliseconds_of,
)
from fedcohort.sources.cohort.events.plan import bounds_of
from fedcohort.sources.cohort.events.tables import TABLES
from fedcohort.sources.events.tables import KINDS
from fedcohort.sources.importer.whole_dataset import ImportReport
from fedcohort.storage.database import writing
from fedcohort.study import Cohort

MAX_PATIENTS = 1_000_000
DAYS = (15_000.0, 20_000.0)
"""When a made-up patient's time zero may be: from 2011 to 2024."""
CHANCE, STEEPNESS = 0.6, 3.0
MOST = 3
"""Events of a column, and of a need."""
Row = dict[str, Any]


def make_mock_events(path: Path, cohort: Cohort, patients: int, missing: float, seed: int) -> ImportReport:
    """Write event tables of made-up patients, all of whom the cohort selects.

    Args:
        path: a SQLite file that is not there yet.
        missing: how much less likely a column has an event, 0 to 0.95.
    Raises:
        ConfigError: a number is out of range.
        CohortError: a code list has only concepts of OMOP, which event tables do not have.
        StoreError: the file is there already, or cannot be written.
    """
    if not 1 <= patients <= MAX_PATIENTS or not 0 <= missing <= 0.95 or seed < 0:
        raise ConfigError(f"mock: patients from 1 to {MAX_PATIENTS:,}, missing from 0 to 0.95, seed from 0")
    if path.exists():
        raise StoreError(f"{path}: is there already; name a new file")
    draw = np.random.default_rng(seed)
    tables: dict[str, list[Row]] = {name: [] for name in KINDS}
    for number in range(patients):
        name = f"mock-{hashlib.sha256(f'{seed}/{number}'.encode()).hexdigest()[:12]}"
        for table, row in _patient(cohort, missing, draw):
            empty = dict.fromkeys(KINDS[table].table.c.keys())
            own = {"patient_id": name, "source": "mock", "group_id": number}
            tables[table].append({**empty, **own, **row})
    with writing(path) as connection:
        for table, rows in tables.items():
            KINDS[table].table.create(connection)
            if rows:
                connection.execute(KINDS[table].table.insert(), rows)
    return ImportReport(str(path), cohort.table, patients, patients, patients)


def _patient(cohort: Cohort, missing: float, draw: np.random.Generator) -> Iterator[tuple[str, Row]]:
    zero = float(np.floor(draw.uniform(*DAYS)))
    index = cohort.index
    if index is None:
        raise ValueError("a cohort of events has an index")
    death = None
    yield from _around(index, zero, cohort)
    for word in cohort.need.values():
        yield from _some(word, word.window, zero, cohort, draw, 1)
    total = 0
    for column in cohort.taken.values():
        if column.patient is None and column.kind != "death" and draw.random() < CHANCE * (1 - missing):
            found = list(_some(column, column.window or ("0d", "1d"), zero, cohort, draw, MOST))
            total += len(found)
            yield from found
    columns = max(1, sum(column.patient is None for column in cohort.taken.values()))
    chance = 1 / (1 + np.exp(-STEEPNESS * (total / columns / 2 - 0.5)))
    if cohort.outcome is not None and draw.random() < chance:
        if cohort.outcome.kind == "death":
            death = _time(cohort.outcome.window, zero, draw)
        else:
            yield from _some(cohort.outcome, cohort.outcome.window, zero, cohort, draw, 1)
    yield "patients", {**_born(cohort, zero, draw), "death_time": death}


def _around(index: Index, zero: float, cohort: Cohort) -> Iterator[tuple[str, Row]]:
    """The index event, and encounters before and after it that let the hospital have observed the patient."""
    edges = [milliseconds_of(edge) / DAY_MS for edge in index.observed or ("0d", "0d")]
    if cohort.outcome is not None:
        edges += [milliseconds_of(edge) / DAY_MS for edge in cohort.outcome.window]
    every = index.kinds and index.kind == "encounter" and index.code_set is None
    first = [] if every else [min(0.0, *edges)]
    for day in [*first, max(0.0, *edges)]:
        yield "encounters", {"start": zero + day, "end": zero + day, "class": "AMB"}
    if index.kinds and index.kind != "death":
        table, row = _event(index, zero, cohort)
        yield table, {**row, "end": zero} if "end" in KINDS[table].columns else row


def _some(
    word: Criterion | Taken | Outcome,
    window: tuple[str, str],
    zero: float,
    cohort: Cohort,
    draw: np.random.Generator,
    most: int,
) -> Iterator[tuple[str, Row]]:
    if word.kind == "death":
        return
    for _ in range(int(draw.integers(1, most, endpoint=True))):
        table, row = _event(word, _time(window, zero, draw), cohort)
        yield table, {**row, **_value(word, draw)}


def _time(window: tuple[str, str], zero: float, draw: np.random.Generator) -> float:
    """A time in a window, of whole minutes where there are any."""
    begin, end = (milliseconds_of(edge) for edge in window)
    minutes = int(draw.integers(0, max(1, (end - begin) // 60_000)))
    return zero + (begin + minutes * 60_000) / DAY_MS


def _event(word: Events, time: float, cohort: Cohort) -> tuple[str, Row]:
    """An event of a word's kind, with the first code of its list."""
    table = TABLES[word.kind]
    row: Row = {KINDS[table].time or "time": time}
    if word.code_set is None:
        return table, row
    for system, codes in cohort.codes[word.code_set].items():
        code = codes[0].removesuffix("*")
        if system == CLASS and "class" in KINDS[table].columns:
            return table, {**row, "class": code}
        if system not in (OMOP, CLASS):
            return table, {**row, "system": SYSTEMS.get(system, system), "code": code}
    raise CohortError(
        "codes.{name}: has concepts of omop alone, and made-up event tables have other codes; add one of "
        "loinc, snomed or icd10",
        name=word.code_set,
    )


def _value(word: Events, draw: np.random.Generator) -> Mapping[str, object]:
    bounds = bounds_of(word)
    if bounds is None:
        return {}
    low, high, unit = bounds
    low, high = (low if np.isfinite(low) else high - 1.0), (high if np.isfinite(high) else low + 1.0)
    return {"value": float(draw.uniform(low, high)), "unit": unit}


def _born(cohort: Cohort, zero: float, draw: np.random.Generator) -> Mapping[str, object]:
    """A birth and a sex within what columns declare of them."""
    low, high = 18.0, 90.0
    sexes: tuple[str, ...] = ("female", "male")
    for column in cohort.taken.values():
        if column.patient == "age" and column.low is not None and column.high is not None:
            low, high = column.low, column.high
        if column.patient == "sex" and column.levels:
            sexes = tuple(map(str, column.levels))
    age = float(draw.uniform(low + 0.1, max(low + 0.2, high)))
    return {"birth_date": float(np.floor(zero - age * 365.25)), "sex": str(draw.choice(np.array(sexes)))}
