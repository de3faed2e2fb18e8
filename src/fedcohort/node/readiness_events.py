"""Readiness of a study of events: the site's tables, counts of each column's events, units and codes.

Counts are for the site's own engineer, and of fewer than `min_patients` rows only that they are fewer.
"""

from collections.abc import Iterator

from sqlalchemy import func, select

from fedcohort.errors import DataError, FedcohortError
from fedcohort.event_words import OMOP, SYSTEMS
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness_rows import Observed, as_columns, observe, too_small
from fedcohort.node.readiness_words import Line, Verdict
from fedcohort.node.site_events import site_events
from fedcohort.sources.cohort.events.cohort import Census, SiteEvents, check_offered, table_of_events
from fedcohort.sources.cohort.events.plan import COHORT, OBSERVED, PATIENTS, asked_of, kinds_of_events, uses
from fedcohort.sources.omop.quality import Fault, faults
from fedcohort.storage.database import reading
from fedcohort.study import Cohort, Study
from fedcohort.texts import Text, say

MUCH = 0.2
"""Share of events of which a study may know nothing before that is a warning."""


def event_lines(policy: SitePolicy, study: Study) -> Iterator[Line]:
    """All lines about a study of events, in the order in which it would meet them."""
    what = say("events")
    events = site_events(policy)
    try:
        check_offered(study.cohort, None if events is None else events.kinds)
    except FedcohortError as error:
        yield Line(what, "not ready", str(error), say('write events = "*" under [tables] in site.toml'))
        return
    if events is None:
        return
    yield Line(what, "ready", say("{kinds} offered", kinds=", ".join(kinds_of_events(study.cohort))), "")
    try:
        if policy.layout == "omop":
            with reading(policy.data) as connection:
                found = list(faults(connection, study.cohort))
            yield from map(_omop_line, found)
        yield from _unmapped(policy, study.cohort, events)
        yield from _row_lines(policy, study, events)
    except DataError as error:
        yield Line(
            say("cohort"), "not ready", str(error), say("correct site.toml, or the study's code lists")
        )
    except FedcohortError as error:
        yield Line(say("cohort"), "not ready", str(error), "")


def _omop_line(fault: Fault) -> Line:
    verdict: Verdict = "not ready" if fault.fatal and fault.rows is None else "warning"
    told = (
        say("{check} fails", check=fault.check)
        if fault.rows is None
        else say("{check} fails for {n:,} rows", check=fault.check, n=fault.rows)
    )
    remedy = say("correct the warehouse, or take into account that such rows are read as they stand")
    return Line(say("omop {place}", place=fault.table), verdict, told, remedy)


def _row_lines(policy: SitePolicy, study: Study, events: SiteEvents) -> Iterator[Line]:
    cohort, census = study.cohort, Census()
    columns = {"columns": as_columns(cohort), "label": None}
    part = Cohort.model_validate({**dict(cohort), **columns})
    table = table_of_events(policy.data, part, study.seed, events, census=census)
    if table.n_patients < policy.min_patients:
        yield too_small(policy.min_patients)
        return
    yield from _counts(cohort, census, policy.min_patients)
    yield from observe(Observed(cohort, table), policy.min_patients, study.analysis.splits)


def _counts(cohort: Cohort, census: Census, least: int) -> Iterator[Line]:
    for place, _ in uses(cohort):
        if place not in census.there:
            continue
        n = census.there[place]
        there, without = _both(n, census.rows - n, least)
        values = {"there": there, "without": without}
        found = say("{there} rows with such an event, {without} without", **values)
        remedy = say("compare the code list with the site's codes") if n == 0 else ""
        yield Line(say("events of {place}", place=place), "warning" if n == 0 else "ready", found, remedy)
    for (place, unit), n in sorted(census.unconverted.items()):
        yield Line(
            say("units of {place}", place=place),
            "warning",
            say("{n} values in {unit} do not convert", n=_number(n, least), unit=unit or say("no unit")),
            say('say the unit of such a code by unit = "…" under [codes] in site.toml'),
        )


def _both(there: int, without: int, least: int) -> tuple[Text, Text]:
    """Two counts of which either tells the other: where one is small, neither is told."""
    small, all_but = (
        say("fewer than {least}", least=least),
        say("all but fewer than {least}", least=least),
    )
    if 0 < there < least:
        return small, all_but
    if 0 < without < least:
        return all_but, small
    return _number(there, least), _number(without, least)


def _number(n: int, least: int) -> Text:
    return say("fewer than {least}", least=least) if 0 < n < least else say("{n:,}", n=n)


def _unmapped(policy: SitePolicy, cohort: Cohort, events: SiteEvents) -> Iterator[Line]:
    """Events that no code list can mean: of concept 0, or of code systems that no study knows."""
    asked = [one for one in asked_of(cohort) if one.kind not in (COHORT, OBSERVED, PATIENTS, "death")]
    with reading(policy.data) as connection:
        source = events.find(connection, asked)
        for one in asked:
            view = source.views[one.kind]
            if policy.layout == OMOP:
                column, known = view.columns["code"], None
            elif "system" in view.columns:
                column, known = view.columns["system"], {*SYSTEMS.values()}
            else:
                continue
            query = select(column, func.count()).select_from(view.selectable)
            query = query.where(column == 0) if known is None else query
            counts = connection.execute(query.group_by(column)).all()
            total = connection.execute(select(func.count()).select_from(view.selectable)).scalar() or 0
            n = sum(count for value, count in counts if known is None or value not in known)
            if n and len(one.sets):
                yield Line(
                    say("codes of {kind}", kind=one.kind),
                    "warning" if n >= MUCH * total else "ready",
                    say(
                        "{n} events have no code of a system that studies know",
                        n=_number(n, policy.min_patients),
                    ),
                    say("say what they mean by [codes.{kind}] in site.toml, or map them", kind=one.kind),
                )
