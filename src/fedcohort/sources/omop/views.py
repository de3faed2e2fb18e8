"""Where an OMOP site keeps each kind of event: its tables as they stand, whatever the case of their names.

A time is `*_datetime`, or `*_date` where that is null; a code is a concept, of which 0 is none; descendants
are those of the site's own `concept_ancestor`; a unit is UCUM's code of its concept, or the source's text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    case,
    cast,
    false,
    func,
    inspect,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy import types as sql

from fedcohort.errors import SchemaError
from fedcohort.event_words import OMOP
from fedcohort.sources.catalogue.sql_types import reflected
from fedcohort.sources.cohort.events.cohort import CodeSet, Source
from fedcohort.sources.cohort.events.plan import COHORT, OBSERVED, PATIENTS, Asked
from fedcohort.sources.events.reading import Test
from fedcohort.sources.events.tables import EventKind, Role
from fedcohort.sources.events.views import KindView


@dataclass(frozen=True)
class Place:
    """One table of a kind of event.

    Attributes:
        table: of the model.
        time, end: the fields' names without `_date` and `_datetime`.
        concept: the field of its code.
    """

    table: str
    time: str
    end: str | None = None
    concept: str | None = None
    patient: str = "person_id"


_DRUGS = Place("drug_exposure", "drug_exposure_start", "drug_exposure_end", "drug_concept_id")
PLACES: Mapping[str, tuple[Place, ...]] = {
    "condition": (Place("condition_occurrence", "condition_start", "condition_end", "condition_concept_id"),),
    "medication": (_DRUGS,),
    "immunization": (_DRUGS,),
    "observation": (
        Place("measurement", "measurement", None, "measurement_concept_id"),
        Place("observation", "observation", None, "observation_concept_id"),
    ),
    "procedure": (Place("procedure_occurrence", "procedure", "procedure_end", "procedure_concept_id"),),
    "encounter": (Place("visit_occurrence", "visit_start", "visit_end", "visit_concept_id"),),
    "death": (Place("death", "death"),),
    OBSERVED: (Place("observation_period", "observation_period_start", "observation_period_end"),),
    COHORT: (Place("cohort", "cohort_start", "cohort_end", None, "subject_id"),),
}
"""The tables of each kind; vaccines are drugs of OMOP, told apart by their concepts."""
_ROLES: Mapping[str, Role] = {
    "code": "code", "time": "time", "end": "time", "value": "number", "unit": "unit",
    "birth_date": "day", "sex": "word",
}  # fmt: skip
_TIMED = EventKind("omop", _ROLES, end="end", value="value")
_PEOPLE = EventKind("person", _ROLES, time=None)
NUMBER = "cohort_definition_id"
ANCESTOR, DESCENDANT = "ancestor_concept_id", "descendant_concept_id"
SEXES: Mapping[int, str] = {8507: "male", 8532: "female", 8521: "other"}
"""Concepts of OMOP's vocabulary Gender."""
MOST_UNITS = 20_000


@dataclass(frozen=True)
class Model:
    """A site's tables by their names in small letters."""

    connection: Connection
    names: Mapping[str, str]
    read: dict[str, Table] = field(default_factory=dict, repr=False)

    def table(self, name: str) -> Table:
        """One table of the model.

        Raises:
            SchemaError: the site has none.
        """
        if name not in self.names:
            raise SchemaError(
                "omop: this database has no table {table}; correct data in site.toml, or take "
                'layout = "omop" out of it',
                table=name,
            )
        if name not in self.read:
            self.read[name] = reflected(self.connection, self.names[name], None)
        return self.read[name]

    def has(self, name: str) -> bool:
        """Whether the site has a table."""
        return name in self.names


def model_of(connection: Connection) -> Model:
    """The tables of a database by their names in small letters."""
    inspector = inspect(connection)
    names = [*inspector.get_table_names(), *inspector.get_view_names()]
    return Model(connection, {name.lower(): name for name in sorted(names, reverse=True)})


def columns_of(table: Table) -> dict[str, ColumnElement[object]]:
    """A table's columns by their names in small letters."""
    return {column.name.lower(): column for column in table.columns}


def _with(model: Model, name: str, *needed: str) -> dict[str, ColumnElement[object]]:
    """A table's columns.

    Raises:
        SchemaError: the site has no such table, or it lacks one of these.
    """
    columns = columns_of(model.table(name))
    if missing := [each for each in needed if each not in columns]:
        raise SchemaError("omop: table {table} has no field {names}", table=name, names=", ".join(missing))
    return columns


def in_omop(connection: Connection, asked: Sequence[Asked]) -> Source:
    """Find what a study asks for in OMOP's tables.

    Raises:
        SchemaError: a table or a field is not there.
    """
    model = model_of(connection)
    views = {one.kind: _people(model) if one.kind == PATIENTS else _view(model, one) for one in asked}
    units = unit_codes(model) if any(one.value for one in asked) else {}
    return Source(views, partial(_codes, model), True, units)


def _view(model: Model, asked: Asked) -> KindView:
    places = PLACES.get(asked.kind)
    if places is None:
        raise SchemaError(
            "omop: the model has no table of {kind}; leave it out of the study", kind=asked.kind
        )
    if asked.implied and not _is_whole(model, places[0]):
        return _nothing()
    selects = [
        _select(model, place, asked) for place in places if place is places[0] or model.has(place.table)
    ]
    whole: FromClause = union_all(*selects).subquery() if len(selects) > 1 else selects[0].subquery()
    names = ("code", "time", "end", "value", "unit")
    return KindView(_TIMED, whole, whole.c.patient, {name: whole.c[name] for name in names})


def _is_whole(model: Model, place: Place) -> bool:
    """Whether a table is there with patients and times."""
    columns = columns_of(model.table(place.table)) if model.has(place.table) else {}
    return place.patient in columns and f"{place.time}_date" in columns


def _nothing() -> KindView:
    """A kind without events."""
    kinds = {
        "code": sql.BigInteger,
        "time": sql.Date,
        "end": sql.Date,
        "value": sql.Double,
        "unit": sql.String,
    }
    columns: list[ColumnElement[Any]] = [cast(null(), kind).label(name) for name, kind in kinds.items()]
    none = select(cast(null(), sql.BigInteger).label("patient"), *columns).where(false())
    whole = none.subquery()
    return KindView(_TIMED, whole, whole.c.patient, {name: whole.c[name] for name in kinds})


def _select(model: Model, place: Place, asked: Asked) -> Select[Any]:
    needed = [place.patient, *([place.concept] if place.concept else [])]
    columns = _with(model, place.table, *needed, *([NUMBER] if asked.number is not None else []))
    time = _moment(columns, place.time, place.table)
    selected: list[ColumnElement[Any]] = [
        _whole(columns[place.patient]).label("patient"),
        (_whole(columns[place.concept]) if place.concept else cast(null(), sql.BigInteger)).label("code"),
        time.label("time"),
        (_moment(columns, place.end, place.table) if place.end and asked.end else time).label("end"),
        _value(columns).label("value"),
        _unit(columns).label("unit"),
    ]
    query = select(*selected)
    if asked.number is not None:
        number = columns[NUMBER]
        is_text = isinstance(number.type, sql.String)
        query = query.where(number == str(asked.number) if is_text else _whole(number) == asked.number)
    return query


def _whole(column: ColumnElement[object]) -> ColumnElement[object]:
    """A field of whole numbers; one that was imported as broken ones is cast, one of texts stays."""
    if isinstance(column.type, sql.Numeric | sql.Float):
        return cast(column, sql.BigInteger)
    return column


def _moment(columns: Mapping[str, ColumnElement[object]], name: str, table: str) -> ColumnElement[object]:
    """`*_datetime`, or `*_date` where that is null."""
    found = [columns[each] for each in (f"{name}_datetime", f"{name}_date") if each in columns]
    if not found:
        raise SchemaError("omop: table {table} has no field {name}_date", table=table, name=name)
    if len(found) == 1:
        return found[0]
    moments = (sql.Date, sql.DateTime)
    if not all(isinstance(column.type, moments) for column in found):
        found = [cast(column, sql.String) for column in found]
    return func.coalesce(*found)


def _value(columns: Mapping[str, ColumnElement[object]]) -> ColumnElement[object]:
    value = columns.get("value_as_number")
    if value is None:
        return cast(null(), sql.Double)
    return value if isinstance(value.type, sql.String) else cast(value, sql.Double)


def _unit(columns: Mapping[str, ColumnElement[object]]) -> ColumnElement[object]:
    """The unit's concept as a text, or the source's own text."""
    concept, source = columns.get("unit_concept_id"), columns.get("unit_source_value")
    texts: list[ColumnElement[object]] = []
    if concept is not None:
        number = cast(_whole(concept), sql.String)
        texts.append(case((number == "0", None), else_=literal(CONCEPT) + number))
    if source is not None:
        texts.append(cast(source, sql.String))
    if not texts:
        return cast(null(), sql.String)
    return func.coalesce(*texts) if len(texts) > 1 else texts[0]


CONCEPT = "concept "
"""What a unit begins with that is a concept and no text."""


def unit_codes(model: Model) -> dict[str, str]:
    """UCUM's code of each unit's concept, as the site's vocabulary has it; none without one."""
    if not model.has("concept"):
        return {}
    columns = columns_of(model.table("concept"))
    if not {"concept_id", "concept_code", "vocabulary_id"} <= columns.keys():
        return {}
    query = select(cast(columns["concept_id"], sql.String), columns["concept_code"])
    query = query.where(columns["vocabulary_id"] == "UCUM").limit(MOST_UNITS)
    return {f"{CONCEPT}{number}": str(code) for number, code in model.connection.execute(query)}


def _codes(model: Model, codes: CodeSet) -> Test | None:
    """A condition on a concept: one of these, or of their descendants."""
    listed = codes.get(OMOP, ())
    if not listed:
        return None
    whole = sorted({int(code.removesuffix("+")) for code in listed})
    above = sorted({int(code[:-1]) for code in listed if code.endswith("+")})
    # Looked up before anything is read: from then on the connection may only SELECT.
    ancestry = _with(model, "concept_ancestor", ANCESTOR, DESCENDANT) if above else {}
    return partial(_is_concept, ancestry, whole, above)


def _is_concept(
    ancestry: Mapping[str, ColumnElement[Any]], whole: Sequence[int], above: Sequence[int], view: KindView
) -> ColumnElement[bool]:
    code = view.columns["code"]
    is_text = isinstance(code.type, sql.String)
    tests = [code.in_([str(one) for one in whole] if is_text else list(whole))]
    if above:
        ancestor, descendant = ancestry[ANCESTOR], ancestry[DESCENDANT]
        ancestors = [str(one) for one in above] if isinstance(ancestor.type, sql.String) else list(above)
        below = _whole(descendant)
        if is_text and not isinstance(descendant.type, sql.String):
            below = cast(below, sql.String)
        elif isinstance(descendant.type, sql.String) and not is_text:
            code = cast(code, sql.String)
        tests.append(code.in_(select(below).where(_whole(ancestor).in_(ancestors))))
    return or_(*tests)


def _people(model: Model) -> KindView:
    columns = _with(model, "person", "person_id", "gender_concept_id", "year_of_birth")
    year = cast(_whole(columns["year_of_birth"]), sql.String)
    month, day = (_two_digits(columns.get(name)) for name in ("month_of_birth", "day_of_birth"))
    sex = cast(_whole(columns["gender_concept_id"]), sql.String)
    known = {
        "birth_date": year + "-" + month + "-" + day,
        "sex": case(*((sex == str(concept), word) for concept, word in SEXES.items()), else_=None),
    }
    table = columns["person_id"].table
    return KindView(_PEOPLE, table, _whole(columns["person_id"]), known)


def _two_digits(column: ColumnElement[object] | None) -> ColumnElement[str]:
    """A month or day of birth, the first where nobody knows it."""
    if column is None:
        return literal("01")
    text = cast(_whole(column), sql.String)
    return case((column.is_(None), "01"), (func.length(text) == 1, literal("0") + text), else_=text)
