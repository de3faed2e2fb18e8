"""Whether OMOP's tables are what a study reads them as: the fatal checks of OHDSI's Data Quality Dashboard.

https://ohdsi.github.io/DataQualityDashboard/articles/CheckTypeDescriptions.html: cdmTable, cdmField,
cdmDatatype, isRequired, isPrimaryKey, isForeignKey, measureObservationPeriodOverlap; and of its checks of
plausibility plausibleAfterBirth and plausibleStartBeforeEnd; on the tables and fields that a study reads.
Counts are for the site's own engineer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, cast, func, select
from sqlalchemy import types as sql

from fedcohort.event_words import OMOP
from fedcohort.sources.cohort.events.plan import OBSERVED, PATIENTS, asked_of
from fedcohort.sources.omop.specification import fields, missing_fields
from fedcohort.sources.omop.views import PLACES, Model, Place, columns_of, model_of
from fedcohort.study import Cohort


@dataclass(frozen=True)
class Fault:
    """What a check has found.

    Attributes:
        check: its name.
        table: with the field where it is of one.
        rows: that fail; None where it is not of rows.
        fatal: whether what is read is not what a study takes it for.
    """

    check: str
    table: str
    rows: int | None = None
    fatal: bool = True


def faults(connection: Connection, cohort: Cohort) -> Iterator[Fault]:
    """All faults of what a cohort reads.

    Raises:
        StoreError: the database failed.
    """
    model = model_of(connection)
    kinds = [one.kind for one in asked_of(cohort)]
    places = [place for kind in kinds for place in PLACES.get(kind, ())]
    people = list(_fields(model, "person"))
    yield from people
    is_person = not any(fault.fatal for fault in people)
    for place in dict.fromkeys(places):
        if not model.has(place.table):
            yield Fault("cdmTable", place.table, fatal=place.table != "observation")
            continue
        found = list(_fields(model, place.table))
        yield from found
        if is_person and not any(fault.fatal for fault in found):
            yield from _rows(model, place)
    if OBSERVED in kinds and model.has("observation_period"):
        yield from _overlaps(model)
    if "observation" in kinds and model.has("measurement"):
        yield from _values(model)
    if any(code.endswith("+") for codes in cohort.codes.values() for code in codes.get(OMOP, ())):
        yield from _ancestors(model)
    if is_person and PATIENTS in kinds:
        yield from _nulls(model, "person", ["year_of_birth", "gender_concept_id"])


def _fields(model: Model, table: str) -> Iterator[Fault]:
    """cdmTable, cdmField and cdmDatatype."""
    if not model.has(table):
        yield Fault("cdmTable", table)
        return
    columns = columns_of(model.table(table))
    lacks = missing_fields(table, frozenset(columns))
    for name in sorted(set.intersection(*map(set, lacks.values()))):
        yield Fault("cdmField", f"{table}.{name}", fatal=name in _read(table))
    for name, one in fields()[table].items():
        is_text = name in columns and isinstance(columns[name].type, sql.String)
        if one.kind == "integer" and is_text and name in _read(table):
            yield Fault("cdmDatatype", f"{table}.{name}", fatal=False)


def _read(table: str) -> set[str]:
    """The fields of a table that studies read, but for times, of which either will do."""
    of_table = [place for places in PLACES.values() for place in places if place.table == table]
    own = {"person_id", "year_of_birth", "gender_concept_id"} if table == "person" else set()
    return own | {name for place in of_table for name in (place.patient, place.concept) if name}


def _rows(model: Model, place: Place) -> Iterator[Fault]:
    """isRequired, isPrimaryKey, isForeignKey, plausibleStartBeforeEnd and plausibleAfterBirth."""
    table, person = model.table(place.table), model.table("person")
    columns, people = columns_of(table), columns_of(person)
    begin, end = f"{place.time}_date", f"{place.end}_date" if place.end else ""
    patient, key = columns[place.patient], f"{place.table}_id"
    needed = [name for name in (place.patient, place.concept, begin) if name and name in columns]
    yield from _nulls(model, place.table, needed)
    if key in columns:
        twice = select(columns[key]).group_by(columns[key]).having(func.count() > 1).subquery()
        query = select(func.count()).select_from(twice)
        yield from _counted(model, "isPrimaryKey", f"{place.table}.{key}", query)
    known = select(_text(people["person_id"]))
    strangers = select(func.count()).select_from(table).where(_text(patient).not_in(known))
    yield from _counted(model, "isForeignKey", f"{place.table}.{place.patient}", strangers)
    if end and end in columns:
        wrong = select(func.count()).select_from(table).where(_text(columns[end]) < _text(columns[begin]))
        yield from _counted(model, "plausibleStartBeforeEnd", f"{place.table}.{end}", wrong, fatal=False)
    if begin in columns and "year_of_birth" in people:
        both = table.join(person, _text(people["person_id"]) == _text(patient))
        unborn = func.substr(_text(columns[begin]), 1, 4) < _text(people["year_of_birth"])
        query = select(func.count()).select_from(both).where(unborn)
        yield from _counted(model, "plausibleAfterBirth", f"{place.table}.{begin}", query, fatal=False)


def _text(column: ColumnElement[Any]) -> ColumnElement[str]:
    """A whole number or a date as a text, which every engine and every wrong type has."""
    return cast(column, sql.String)


def _nulls(model: Model, name: str, needed: Sequence[str]) -> Iterator[Fault]:
    table = model.table(name)
    columns = columns_of(table)
    for field in needed:
        if field in columns:
            query = select(func.count()).select_from(table).where(columns[field].is_(None))
            yield from _counted(model, "isRequired", f"{name}.{field}", query)


def _overlaps(model: Model) -> Iterator[Fault]:
    """Persons with two periods of observation that overlap."""
    table = model.table("observation_period")
    one, other = table.alias("a"), table.alias("b")
    a, b = ({column.name.lower(): column for column in alias.c} for alias in (one, other))
    begin, end, key = (
        "observation_period_start_date",
        "observation_period_end_date",
        "observation_period_id",
    )
    if not {"person_id", begin, end, key} <= a.keys():
        return  # which has been told
    both = and_(a["person_id"] == b["person_id"], a[key] < b[key], a[begin] <= b[end], b[begin] <= a[end])
    query = select(func.count(a["person_id"].distinct())).select_from(one.join(other, both))
    yield from _counted(model, "measureObservationPeriodOverlap", "observation_period", query, fatal=False)


def _values(model: Model) -> Iterator[Fault]:
    """measureValueCompleteness of the only field that values are read from, where it has none at all."""
    columns = columns_of(model.table("measurement"))
    value = columns.get("value_as_number")
    if value is None:
        yield Fault("cdmField", "measurement.value_as_number")
        return
    there, rows = model.connection.execute(select(func.count(value), func.count())).one()
    if rows and not there:
        yield Fault("measureValueCompleteness", "measurement.value_as_number", int(rows))


def _ancestors(model: Model) -> Iterator[Fault]:
    """Descendants without a vocabulary: a code list has its own concepts alone."""
    if not model.has("concept_ancestor"):
        yield Fault("cdmTable", "concept_ancestor")
        return
    table = model.table("concept_ancestor")
    if (
        model.connection.execute(select(func.count()).select_from(select(table).limit(1).subquery())).scalar()
        == 0
    ):
        yield Fault("descendants", "concept_ancestor", 0)


def _counted(
    model: Model, check: str, place: str, query: Select[Any], *, fatal: bool = True
) -> Iterator[Fault]:
    n = int(model.connection.execute(query).scalar() or 0)
    if n:
        yield Fault(check, place, n, fatal)
