"""Where event tables, or others that `[events.KIND]` of site.toml names, keep what a study asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from fedcohort.errors import SchemaError
from fedcohort.event_words import Kind
from fedcohort.sources.cohort.events.cohort import Finder, Source, codes_by_system
from fedcohort.sources.cohort.events.plan import COHORT, OBSERVED, PATIENTS, Asked
from fedcohort.sources.events.tables import KINDS
from fedcohort.sources.events.views import EventTable, KindView, views_of

TABLES: Mapping[Kind | str, str] = {
    "condition": "conditions",
    "observation": "observations",
    "medication": "medications",
    "procedure": "procedures",
    "immunization": "immunizations",
    "encounter": "encounters",
    "order": "orders",
    "report": "reports",
    "death": "patients",
    OBSERVED: "encounters",
    PATIENTS: "patients",
}
"""The event table of each kind of event that a study names.

A patient is observed from the first encounter's begin to the last one's end.
"""
DEATHS = replace(KINDS["patients"], time="death_time")


def in_event_tables(tables: Mapping[str, EventTable]) -> Finder:
    """How a site finds its events.

    Args:
        tables: `[events]` of its site.toml.
    """
    return partial(_found, tables)


def _found(tables: Mapping[str, EventTable], connection: Connection, asked: Sequence[Asked]) -> Source:
    for one in asked:
        if one.kind == COHORT:
            raise SchemaError(
                "index.cohort_definition: generated cohorts are an OMOP site's, and this one has event "
                "tables; name the event that is time zero"
            )
    views = views_of(connection, tables, sorted({TABLES[one.kind] for one in asked}))
    return Source(
        {one.kind: _view(one.kind, views[TABLES[one.kind]]) for one in asked}, codes_by_system, False
    )


def _view(kind: str, view: KindView) -> KindView:
    return replace(view, kind=DEATHS) if kind == "death" else view
