"""A hospital's data sets: tables and columns as declared, and whether a study could read them."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Flask, render_template
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.hospital.proposals import HospitalSite
from fedcohort.errors import FedcohortError, NotFoundError
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness import check_table, declared_columns
from fedcohort.sources.catalogue.sql_types import Facts

MOST_LEVELS = 12


@dataclass(frozen=True)
class OfferedTable:
    """A table of site.toml: the declaration of each column, or why it cannot be read."""

    name: str
    columns: Mapping[str, str]
    fault: str = ""


def add_data(app: Flask, hospital: HospitalSite) -> None:
    """Route of one table: whether its rows could be read, as in `fedcohort data check`."""

    @app.get("/data/<table>")
    def data(table: str) -> ResponseReturnValue:
        if table not in hospital.policy.tables:
            raise NotFoundError("site.toml offers no such table")
        with hospital.turn:
            readiness = check_table(hospital.policy, table)
        return render_template("data.html", table=table, readiness=readiness)


def offered_tables(policy: SitePolicy) -> list[OfferedTable]:
    """Every table of site.toml; no row is read."""
    return [_offered(policy, table) for table in sorted(policy.tables)]


def _offered(policy: SitePolicy, table: str) -> OfferedTable:
    try:
        columns = declared_columns(policy, table)
    except FedcohortError as error:
        return OfferedTable(table, {}, str(error))
    return OfferedTable(table, {name: _words(facts) for name, facts in columns.items()})


def _words(facts: Facts) -> str:
    """Range, levels or size, as far as they are declared; the same in every language."""
    match facts:
        case {"kind": "image", "height": height, "width": width}:
            return f"{height} × {width}"
        case {"levels": [*levels]}:
            more = " | …" if len(levels) > MOST_LEVELS else ""
            return " | ".join(str(level) for level in levels[:MOST_LEVELS]) + more
        case {"low": float(low), "high": float(high)}:
            return f"{low:g} – {high:g} {facts.get('unit') or ''}".rstrip()
    return ""
