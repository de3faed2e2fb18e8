"""What a survival analysis shows: the curves with the numbers at risk below, and a table of the groups."""

from collections.abc import Mapping
from typing import Any

from fedcohort.analyses.curves_told import at_risk_below, points, shown_places, value_at
from fedcohort.figures import Axis, Column, Curve, Figure, Key, Line, Point, Row, Table, Value

SECTION = "survival"
COLUMNS = (
    Column("n", format="count"),
    Column("events", Key("survival.events"), "count"),
    Column("median", Key("survival.median")),
)

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """Curves, and what is known of each group."""
    survival = report["survival"]
    places = shown_places(survival["grid"], study["analysis"].get("at", ()))
    return _curves(survival, places), _groups(report, survival, places)


def _curves(survival: Json, places: list[int]) -> Curve:
    grid, groups = survival["grid"], survival["groups"]
    lines = tuple(Line(_name(survival, name), _points(grid, group)) for name, group in groups.items())
    at_risk = at_risk_below(
        SECTION,
        Key("survival.at_risk"),
        Column("group", Key("survival.group")),
        grid,
        places,
        [(name, _name(survival, name), group) for name, group in groups.items()],
    )
    return Curve(
        name="survival",
        section=SECTION,
        x=Axis(Key("survival.time"), 0.0, grid[-1]),
        y=Axis(Key("survival.share"), 0.0, 1.0, "share"),
        lines=lines,
        steps=True,
        below=at_risk,
        spoken=Key("survival.spoken"),
    )


def _points(grid: list[float], group: Json) -> tuple[Point, ...]:
    curve = (group["survival"], group["low"], group["high"], group["at_risk"])
    return points(1.0, group["n"], grid, *curve)


def _groups(report: Json, survival: Json, places: list[int]) -> Table:
    mean = Column("rmst", Key("survival.rmst", {"time": f"{survival['grid'][-1]:g}"}))
    times = tuple(
        Column(f"survival_{survival['grid'][p]:g}", _at(survival["grid"][p]), "share") for p in places
    )
    rows = []
    for name, group in survival["groups"].items():
        cells = [Value(group["n"]), Value(group["events"])]
        cells.append(Value(group["median"], group["median_low"], group["median_high"]))
        cells.append(Value(group.get("rmst"), group.get("rmst_low"), group.get("rmst_high")))
        curve = (group["survival"], group["low"], group["high"])
        cells += [value_at(*curve, place, start=1.0) for place in places]
        rows.append(Row(name, tuple(cells), _name(survival, name)))
    told = {"n": report["patients"], "missing": report["missing"]}
    notes = [] if None in told.values() else [Key("survival.patients", told)]
    if survival.get("logrank", {}).get("p") is not None:
        notes.append(_logrank(survival["logrank"]))
    return Table(
        name="groups",
        section=SECTION,
        notes=tuple(notes),
        index=Column("group", Key("survival.group")),
        columns=(*COLUMNS, mean, *times),
        rows=tuple(rows),
    )


def _logrank(test: Json) -> Key:
    p = f"{test['p']:.2g}"
    if "strata" in test:
        return Key("survival.logrank_strata", {"p": p, "strata": test["strata"]})
    return Key("survival.logrank", {"p": p})


def _at(time: float) -> Key:
    return Key("survival.at", {"time": f"{time:g}"})


def _name(survival: Json, level: str) -> str | Key:
    """A group by its column and level."""
    return f"{survival['by']} {level}" if "by" in survival else Key("survival.everyone")
