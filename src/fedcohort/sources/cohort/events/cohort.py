"""A cohort of events from a site's database: what is read, chunk by chunk, as an ordinary cohort's rows."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection, or_

from fedcohort.errors import PolicyError, RowsError, SchemaError, StoreError
from fedcohort.event_words import CLASS, KINDS, OMOP, SYSTEMS
from fedcohort.sources.catalogue import ucum
from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.cohort.convert import convert, needed_columns, nobody
from fedcohort.sources.cohort.events.evaluate import Chunk, Made, People, Site, evaluated, factors_to
from fedcohort.sources.cohort.events.plan import (
    COHORT,
    PATIENTS,
    Asked,
    asked_of,
    bounds_of,
    kinds_of_events,
    uses,
)
from fedcohort.sources.cohort.events.timeline import NEVER, NO_UNIT, Floats, Ints, Timeline
from fedcohort.sources.cohort.order import in_order
from fedcohort.sources.cohort.values import Raw
from fedcohort.sources.events import reading as events_reading
from fedcohort.sources.events.reading import Code, EventReader, Events, Test, Wanted, test_of
from fedcohort.sources.events.times import milliseconds
from fedcohort.sources.events.views import KindView
from fedcohort.storage.database import reading, select_only
from fedcohort.storage.drivers import read_every_value
from fedcohort.study import Cohort
from fedcohort.table import Table
from fedcohort.texts import say

CodeSet = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class LocalCode:
    """A hospital's own code, as `[codes.KIND."CODE"]` of site.toml says what it means.

    Attributes:
        to: code system and code that a study knows.
        system: that the data name beside it; None: whatever they name.
        unit: what its values are in, whatever the data say.
    """

    code: str
    to: Mapping[str, str] = field(default_factory=dict)
    system: str | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Source:
    """A site's events, found for one connection.

    Attributes:
        views: of each kind that was asked for, where it stands.
        codes: the codes of a list that its tables could hold, or a condition; None where they know none of
            its systems.
        periods: whether `observed` has periods of observation, or events of which the first begins and the
            last ends the only one.
        units: what a unit means that stands in the data, where that is none by itself.
    """

    views: Mapping[str, KindView]
    codes: Callable[[CodeSet], Sequence[Code] | Test | None]
    periods: bool
    units: Mapping[str, str] = field(default_factory=dict)


Finder = Callable[[Connection, Sequence[Asked]], Source]


@dataclass(frozen=True)
class SiteEvents:
    """Where a site keeps events, and what its own codes mean: what a node knows of itself.

    Attributes:
        find: looks for what a study asks for, and raises SchemaError where it is not there.
        local: by kind.
        kinds: that it offers to studies.
    """

    find: Finder
    local: Mapping[str, Sequence[LocalCode]] = field(default_factory=dict)
    kinds: Collection[str] = KINDS


@dataclass
class Census:
    """Counts over a cohort, for the site's own engineer alone.

    Attributes:
        rows: of the cohort.
        there: rows with such an event, by place of its word.
        unconverted: events of values that were asked for whose unit does not convert, by word and unit.
    """

    rows: int = 0
    there: Counter[str] = field(default_factory=Counter)
    unconverted: Counter[tuple[str, str]] = field(default_factory=Counter)


def codes_by_system(codes: CodeSet) -> list[Code] | None:
    """The codes of a list for tables that have each code's system by its URI."""
    found = []
    for system, listed in codes.items():
        if system != OMOP:
            column = CLASS if system == CLASS else "code"
            uri = None if system == CLASS else SYSTEMS.get(system, system)
            found += [Code(uri, code.removesuffix("*"), code.endswith("*"), column) for code in listed]
    return found or None


def rows_of_events(
    connection: Connection, cohort: Cohort, events: SiteEvents, census: Census | None = None
) -> Iterator[Raw]:
    """An ordinary cohort's rows, a chunk of patients at a time.

    Raises:
        SchemaError: the site has no such table, or the study's code lists have nothing that it could hold.
        ConfigError: units are to be read, and ucumvert is not installed.
    """
    asked = asked_of(cohort)
    if any(one.value for one in asked):
        ucum.check_installed()
    source = events.find(connection, asked)
    wanted = [_wanted(one, cohort, source, events.local.get(one.kind, ())) for one in asked]
    select_only(connection)
    read_every_value(connection)  # whether a study fails would tell that one of its events has such a value
    site = Site({one.kind: one for one in asked}, source.periods)
    needed = needed_columns(cohort)
    for read in EventReader(connection, source.views).chunks(wanted):
        chunk = _chunk(cohort, read, asked, events, source.units)
        if chunk is None:
            continue
        made = evaluated(cohort, chunk, site)
        if census is not None:
            _count(census, cohort, chunk, site, made)
        if len(made.patient):
            columns = {name: made.columns[name] for name in needed}
            yield Raw(cohort.table, {PATIENT_ID: chunk.ids[made.patient], **columns})


def table_of_events(
    url: str | Path,
    cohort: Cohort,
    seed: int,
    events: SiteEvents | None,
    private: bool = False,
    census: Census | None = None,
) -> Table:
    """A cohort of events from a site's database, as `load_cohort` gives any other.

    Raises:
        PolicyError: the site offers no events, or not of each kind that the study names.
        SchemaError, ConfigError, StoreError: as `rows_of_events`.
        EmptyCohortError: nobody is in the cohort, and that may be said.
    """
    check_offered(cohort, None if events is None else events.kinds)
    if events is None:
        raise PolicyError(NO_EVENTS)
    begun = False
    try:
        with reading(url) as connection:
            rows = rows_of_events(connection, cohort, events, census)
            begun = True
            tables = (convert(raw, cohort, seed, private=private) for raw in rows)
            return in_order(tables, cohort.table, nobody(cohort, seed) if private else None)
    except StoreError as error:
        raise RowsError(*error.args) if begun else error from None


NO_EVENTS = say(
    'events: this site offers none to studies; its site.toml says which by [tables] events = "*", or a list '
    "of kinds"
)


def check_offered(cohort: Cohort, kinds: Collection[str] | None) -> None:
    """Refuse kinds of events that a site does not offer.

    Raises:
        PolicyError: names them.
    """
    if kinds is None:
        raise PolicyError(NO_EVENTS)
    missing = [kind for kind in kinds_of_events(cohort) if kind not in kinds]
    if missing:
        raise PolicyError(
            "events: this site does not offer {names}; add it to tables.events in its site.toml, or leave it "
            "out of the study",
            names=", ".join(missing),
        )


def _wanted(asked: Asked, cohort: Cohort, source: Source, local: Sequence[LocalCode]) -> Wanted:
    """What is read of a kind: its code lists, and the columns that their words need."""
    sets: dict[str, Sequence[Code] | Test | None] = {}
    for name in asked.sets:
        codes = _codes(cohort.codes[name], source, local)
        if codes is None:
            raise SchemaError(
                "codes.{name}: has no code of a system that this site's tables of {kind} have; add one, such "
                "as concepts of omop for an OMOP site, and of loinc, snomed or icd10 for others",
                name=name,
                kind=asked.kind,
            )
        sets[name] = codes
    if asked.every or not sets:
        sets[""] = None  # the last bit, which nobody asks about
    if asked.kind == PATIENTS:
        return Wanted(PATIENTS, sets, ["birth_date", "sex"])
    columns = ["end"] if asked.end else []
    if asked.value:
        columns += ["unit", *(["code", "system"] if any(one.unit for one in local) else [])]
    return Wanted(asked.kind, sets, columns)


def _codes(codes: CodeSet, source: Source, local: Sequence[LocalCode]) -> Sequence[Code] | Test | None:
    own = [
        Code(None if one.system is None else SYSTEMS.get(one.system, one.system), one.code)
        for one in local
        if any(_holds(codes, *pair) for pair in one.to.items())
    ]
    found = source.codes(codes)
    if not own:
        return found
    if callable(found):
        known = found
        return lambda view: or_(known(view), test_of(view, own))
    return [*(found or ()), *own]


def _holds(codes: CodeSet, system: str, code: str) -> bool:
    """Whether a code list has a code, by itself or by its beginning."""
    listed = codes.get(system, ())
    return any(code == one or (one.endswith("*") and code.startswith(one[:-1])) for one in listed)


def _chunk(
    cohort: Cohort,
    read: events_reading.Chunk,
    asked: Sequence[Asked],
    events: SiteEvents,
    known_units: Mapping[str, str],
) -> Chunk | None:
    """The chunk's patients are those of the index; nobody else can have a row."""
    index = cohort.index
    by_kind = {one.kind: found for one, found in zip(asked, read.events, strict=True)}
    first = by_kind[COHORT if index is None or not index.kinds else index.kind]
    places = np.unique(first.patient)
    if not len(places):
        return None
    number = np.full(len(read.patients), -1, np.int64)
    number[places] = np.arange(len(places))
    ids = np.array(read.patients)[places]
    timelines, units = {}, {}
    for one in asked:
        if one.kind != PATIENTS:
            local = events.local.get(one.kind, ())
            timelines[one.kind], texts = _timeline(by_kind[one.kind], number, one, local)
            units[one.kind] = tuple(known_units.get(text, text) for text in texts)
    people = _people(by_kind[PATIENTS], number, len(ids)) if PATIENTS in by_kind else None
    return Chunk(ids, timelines, units, people)


def _timeline(
    events: Events, number: Ints, asked: Asked, local: Sequence[LocalCode]
) -> tuple[Timeline, tuple[str, ...]]:
    """The events of the chunk's patients, numbered as its ids are, and the units that they name."""
    patient = number[events.patient]
    there = patient >= 0
    end, value, unit, texts = None, None, None, tuple[str, ...]()
    if asked.end:
        ends = _doubles(events, "end")
        known = np.isfinite(ends)
        end = np.where(known, milliseconds(np.where(known, ends, 0.0)), NEVER)
    if asked.value:
        value = events.value + 0.0  # minus zero is zero
        unit, texts = _units(events, local)
    timeline = Timeline(patient, events.milliseconds, events.sets, end, value, unit)
    return (timeline if there.all() else timeline.only(there)), texts


def _units(events: Events, local: Sequence[LocalCode]) -> tuple[Ints, tuple[str, ...]]:
    """The places of the events' units in a list, NO_UNIT where they have none."""
    units = _texts(events, "unit")
    for one in (one for one in local if one.unit is not None):
        same = _texts(events, "code") == one.code
        if one.system is not None:
            uri = SYSTEMS.get(one.system, one.system)
            same &= _texts(events, "system") == uri
        units[same] = one.unit
    places, texts = pd.factorize(units)
    return np.where(places < 0, NO_UNIT, places).astype(np.int64), tuple(str(text).strip() for text in texts)


def _doubles(events: Events, name: str) -> Floats:
    """A column of numbers; a chunk without such events has none."""
    return np.asarray(events.columns.get(name, ()), np.float64)


def _texts(events: Events, name: str) -> NDArray[Any]:
    """A column of texts, None where missing, as an array of its own."""
    return np.array(events.columns.get(name, ()), dtype=object)


def _people(events: Events, number: Ints, n: int) -> People:
    """Births and sexes by patient; where two rows of a patient differ, the earlier birth, the first sex."""
    patient = number[events.patient]
    there = patient >= 0
    patient, births = patient[there], _doubles(events, "birth_date")[there]
    words = _texts(events, "sex")[there]
    birth = np.full(n, np.inf)
    np.fmin.at(birth, patient, births)
    places, sexes = pd.factorize(words, sort=True)
    least = np.full(n, len(sexes))
    np.minimum.at(least, patient, np.where(places < 0, len(sexes), places))
    sex = np.where(least == len(sexes), -1, least).astype(np.int64)
    return People(np.where(np.isinf(birth), np.nan, birth), sex, tuple(map(str, sexes)))


def _count(census: Census, cohort: Cohort, chunk: Chunk, site: Site, made: Made) -> None:
    """Add a chunk's counts."""
    census.rows += len(made.patient)
    census.there.update({place: int(rows.sum()) for place, rows in made.there.items()})
    for place, word in uses(cohort):
        bounds = bounds_of(word)
        if bounds is None:
            continue
        texts = chunk.units[word.kind]
        factors, _ = factors_to(bounds[2], texts)
        bit = None if word.code_set is None else site.asked[word.kind].bits[word.code_set]
        events = chunk.events[word.kind].of_set(bit)
        for unit in np.flatnonzero(np.isnan(factors)).tolist():
            at = NO_UNIT if unit == len(texts) else unit
            n = int((events.unit == at).sum()) if events.unit is not None else 0
            if n:
                census.unconverted[(place, "" if at == NO_UNIT else texts[unit])] += n
