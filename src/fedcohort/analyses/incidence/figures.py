"""What cumulative incidence shows: a curve a cause, the first with the numbers at risk, and a table."""

from collections.abc import Mapping
from typing import Any

from fedcohort.analyses.curves_told import at_risk_below, points, shown_places, value_at
from fedcohort.figures import Axis, Column, Curve, Figure, Key, Line, Point, Row, Said, Table, Value

SECTION = "incidence"

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """Curves by cause, and what is known of each group and cause."""
    incidence = report["incidence"]
    places = shown_places(incidence["grid"], study["analysis"].get("at", ()))
    curves = [_curves(incidence, cause, places) for cause in incidence["causes"]]
    return *curves, _groups(report, incidence, places)


def _curves(incidence: Json, cause: str, places: list[int]) -> Curve:
    grid, groups = incidence["grid"], incidence["groups"]
    is_first = cause == incidence["causes"][0]
    return Curve(
        name=f"incidence-{cause}",
        section=SECTION,
        title=Key("incidence.of_cause", {"cause": cause}),
        x=Axis(Key("incidence.time"), 0.0, grid[-1]),
        y=Axis(Key("incidence.share"), 0.0, None, "share"),
        lines=tuple(
            Line(_name(incidence, name), _points(grid, group, cause)) for name, group in groups.items()
        ),
        steps=True,
        below=_at_risk(incidence, places) if is_first else None,
    )


def _points(grid: list[float], group: Json, cause: str) -> tuple[Point, ...]:
    curve = group["causes"][cause]
    return points(0.0, group["n"], grid, curve["incidence"], curve["low"], curve["high"], group["at_risk"])


def _at_risk(incidence: Json, places: list[int]) -> Table:
    return at_risk_below(
        SECTION,
        Key("incidence.at_risk"),
        Column("group", Key("incidence.group")),
        incidence["grid"],
        places,
        [(name, _name(incidence, name), group) for name, group in incidence["groups"].items()],
    )


def _groups(report: Json, incidence: Json, places: list[int]) -> Table:
    """A row a group and cause."""
    grid, rows = incidence["grid"], []
    for name, group in incidence["groups"].items():
        for cause, curve in group["causes"].items():
            cells = [cause, Value(group["n"]), Value(curve["events"])]
            line = (curve["incidence"], curve["low"], curve["high"])
            cells += [value_at(*line, place, start=0.0) for place in places]
            rows.append(Row(name, tuple(cells), _name(incidence, name)))
    times = (Column(f"incidence_{grid[p]:g}", _at(grid[p]), "share") for p in places)
    told = {"n": report["patients"], "missing": report["missing"]}
    notes = [] if None in told.values() else [Key("incidence.patients", told)]
    notes += [
        Key("incidence.gray", {"cause": cause, "p": f"{test['p']:.2g}"})
        for cause, test in incidence.get("gray", {}).items()
        if test["p"] is not None
    ]
    return Table(
        name="groups",
        section=SECTION,
        notes=tuple(notes),
        index=Column("group", Key("incidence.group")),
        columns=(
            Column("cause", Key("incidence.cause")),
            Column("n", format="count"),
            Column("events", Key("incidence.events"), "count"),
            *times,
        ),
        rows=tuple(rows),
    )


def _at(time: float) -> Key:
    return Key("incidence.at", {"time": f"{time:g}"})


def _name(incidence: Json, level: str) -> Said:
    """A group by its column and level."""
    return f"{incidence['by']} {level}" if "by" in incidence else Key("incidence.everyone")
