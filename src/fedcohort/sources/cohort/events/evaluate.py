"""A cohort of events, chunk by chunk: rows around time zero, who stays, and columns of an ordinary cohort."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedcohort.event_words import (
    DAY_MS,
    LABEL,
    LABEL_EVENT,
    LABEL_TIME,
    Events,
    Outcome,
    Taken,
    TimeSeries,
    milliseconds_of,
)
from fedcohort.sources.catalogue import ucum
from fedcohort.sources.cohort.events import timeline
from fedcohort.sources.cohort.events.plan import COHORT, OBSERVED, Asked, bounds_of
from fedcohort.sources.cohort.events.timeline import NEVER, Bools, Floats, Ints, Rows, Timeline
from fedcohort.sources.cohort.values import Coded, Values
from fedcohort.study import Cohort


@dataclass(frozen=True)
class People:
    """Births and sexes of a chunk's patients.

    Attributes:
        birth: (n_patients,) days since 1970, NaN where unknown.
        sex: (n_patients,) places in `sexes`, -1 where unknown.
    """

    birth: Floats
    sex: Ints
    sexes: tuple[str, ...]


@dataclass(frozen=True)
class Chunk:
    """All that was read of some patients.

    Attributes:
        ids: (n_patients,) in order.
        events: by kind, or word of `plan`.
        units: of a kind with values, the units that events name by their places.
    """

    ids: NDArray[np.generic]
    events: Mapping[str, Timeline]
    units: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    people: People | None = None


@dataclass(frozen=True)
class Site:
    """What holds for all chunks.

    Attributes:
        asked: by kind, its code lists with their bits.
        periods: whether `observed` gives periods, rather than events of which the first begins the only one.
    """

    asked: Mapping[str, Asked]
    periods: bool = True


@dataclass(frozen=True)
class Made:
    """Rows of a cohort, by column; `label` among them.

    Attributes:
        patient: (n,) numbers of the chunk's patients.
        zero: (n,) milliseconds.
        there: by place of a word, whether there was such an event in the row's window.
    """

    patient: Ints
    zero: Ints
    columns: Mapping[str, Values]
    there: Mapping[str, Bools]


def evaluated(cohort: Cohort, chunk: Chunk, site: Site) -> Made:
    """The rows of a chunk of patients."""
    rows = _kept(cohort, chunk, site, _index(cohort, chunk, site))
    if cohort.index is not None and cohort.index.at_most is not None:
        rows = timeline.at_most(rows, cohort.index.at_most)
    columns: dict[str, Values] = {}
    there: dict[str, Bools] = {}
    for name, word in cohort.taken.items():
        if word.patient is None:
            columns[name], there[f"columns.{name}"] = _column(word, chunk, site, rows)
        elif chunk.people is not None:
            columns[name] = _of_patient(word, chunk.people, rows)
    if cohort.sequence is not None:
        columns |= _steps(cohort.sequence, cohort.taken, chunk, site, rows)
    if cohort.outcome is not None:
        label, there["label"] = _label(cohort.outcome, chunk, site, rows)
        columns |= label
    return Made(rows.patient, rows.zero, columns, there)


def chosen(word: Events, chunk: Chunk, site: Site) -> Timeline:
    """The events that a word means: of its kind and code list, with a value in its range where it has one."""
    events = chunk.events[word.kind].of_set(timeline.sets_of(site.asked[word.kind].bits, word.code_set))
    bounds = bounds_of(word)
    if bounds is None:
        return events
    low, high, unit = bounds
    return timeline.converted(events, *factors_to(unit, chunk.units.get(word.kind, ())), low, high)


def factors_to(unit: str, texts: Sequence[str]) -> tuple[Floats, Floats]:
    """Factors and offsets from each of these units to one, NaN where there is none; the last of no unit."""
    none = (1.0, 0.0) if unit == ucum.ONE else None
    pairs = [*(ucum.conversion(text, unit) for text in texts), none]
    numbers = np.array([pair or (np.nan, np.nan) for pair in pairs])
    return numbers[:, 0], numbers[:, 1]


def _index(cohort: Cohort, chunk: Chunk, site: Site) -> Rows:
    """Time zero of every row, before anybody is left out."""
    index = cohort.index
    if index is None:
        raise ValueError("a cohort of events has an index")
    events = chosen(index, chunk, site) if index.kinds else chunk.events[COHORT]
    rows = Rows(events.patient, events.time)
    if index.at == "end" and events.end is not None:
        ended = events.only(events.end != NEVER)
        ends = ended.end if ended.end is not None else ended.time
        order = np.lexsort([ends, ended.patient])
        rows = Rows(ended.patient[order], ends[order])
    if index.which == "first":
        return timeline.first_of_each(rows)
    return timeline.last_of_each(rows) if index.which == "last" else timeline.distinct(rows)


def _kept(cohort: Cohort, chunk: Chunk, site: Site, rows: Rows) -> Rows:
    """The rows that `observed`, `need` and `exclude` leave."""
    stays = np.ones(len(rows), np.bool_)
    if cohort.index is not None and cohort.index.observed is not None:
        begin, end = map(milliseconds_of, cohort.index.observed)
        stays &= timeline.observed(_periods(chunk, site), rows, begin, end)
    for needed, words in ((True, cohort.need), (False, cohort.exclude)):
        for word in words.values():
            begin, end = map(milliseconds_of, word.window)
            first, after = timeline.window(chosen(word, chunk, site), rows, begin, end)
            stays &= (after > first) == needed
    return rows.only(stays)


def _periods(chunk: Chunk, site: Site) -> Timeline:
    events = chunk.events[OBSERVED]
    return events if site.periods else timeline.stretches(events)


def _column(word: Taken | Outcome, chunk: Chunk, site: Site, rows: Rows) -> tuple[Floats, Bools]:
    """A column's numbers, and whether there was an event for each."""
    begin, end = map(milliseconds_of, word.window or ("0d", "0d"))
    events = chosen(word, chunk, site)
    first, after = timeline.window(events, rows, begin, end)
    numbers = timeline.taken(str(word.take), events, rows, first, after)
    if word.take == "mean":  # rounding may carry a mean beyond values that are all within
        numbers = np.clip(numbers, word.low, word.high)
    return numbers, after > first


def _of_patient(word: Taken, people: People, rows: Rows) -> Values:
    if word.patient == "age":
        return timeline.whole_years(people.birth[rows.patient], rows.zero)
    return Coded(people.sex[rows.patient], people.sexes)


def _steps(
    sequence: TimeSeries, taken: Mapping[str, Taken], chunk: Chunk, site: Site, rows: Rows
) -> dict[str, Values]:
    """A column for each step of each column of a time series: the last value in the step."""
    begin, step = milliseconds_of(sequence.window[0]), milliseconds_of(sequence.step)
    columns: dict[str, Values] = {}
    for name in sequence.columns:
        events = chosen(taken[name], chunk, site)
        before = np.full(len(rows), np.nan)
        for number in range(sequence.n_steps):
            at = begin + number * step
            first, after = timeline.window(events, rows, at, at + step)
            values = timeline.taken("last", events, rows, first, after)
            if sequence.hold == "last":
                values = before = np.where(np.isnan(values), before, values)
            columns[sequence.name_of(number, name)] = values
    return columns


def _label(outcome: Outcome, chunk: Chunk, site: Site, rows: Rows) -> tuple[dict[str, Values], Bools]:
    if outcome.take != "time_to":
        numbers, there = _column(outcome, chunk, site, rows)
        return {LABEL: numbers}, there
    begin, end = map(milliseconds_of, outcome.window)
    events = chosen(outcome, chunk, site)
    first, after = timeline.window(events, rows, begin, end)
    there = after > first
    until = np.minimum(timeline.observed_until(_periods(chunk, site), rows, begin), rows.zero + end)
    until = np.minimum(until, _died(chunk, rows))
    known = until >= rows.zero + begin  # observed and alive as the window begins
    at = np.append(events.time, 0)[np.where(there, first, len(events))]
    seen = there if outcome.kind == "death" else there & (at <= until)
    lived = np.where(known, np.where(seen, at, until), rows.zero) - rows.zero - begin
    time = np.where(known, lived / DAY_MS, np.nan)
    return {LABEL_TIME: time, LABEL_EVENT: np.where(known, seen.astype(np.float64), np.nan)}, there


def _died(chunk: Chunk, rows: Rows) -> Ints:
    """When each row's patient died, in the far future where nobody knows."""
    deaths = chunk.events["death"]
    result = np.full(len(rows), np.iinfo(np.int64).max)
    place = np.searchsorted(deaths.patient, rows.patient, "left")
    there = place < len(deaths)
    there[there] = deaths.patient[place[there]] == rows.patient[there]
    result[there] = deaths.time[place[there]]
    return result
