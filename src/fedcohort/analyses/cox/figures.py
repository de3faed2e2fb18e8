"""What a Cox regression shows: hazard ratios, tests, and the baseline."""

from collections.abc import Mapping
from typing import Any

from fedcohort.analyses.coefficient_table import coefficient_table, forest_plot
from fedcohort.analyses.curves_told import at_risk_below, points, shown_places
from fedcohort.figures import Axis, Column, Curve, Figure, Key, Line, Point, Row, Table, Value

SECTION = "cox"
RATIO = Key("coefficients.hazard_ratio")

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """Coefficients as a table and a forest plot, tests, and the baseline where there is one."""
    cox = report["cox"]
    shown = (
        coefficient_table(cox["coefficients"], SECTION, RATIO, _notes(report, cox)),
        forest_plot(cox["coefficients"], SECTION, RATIO),
        _tests(cox),
        _baseline(cox["baseline"]) if "baseline" in cox else None,
    )
    return tuple(figure for figure in shown if figure is not None)


def _notes(report: Json, cox: Json) -> tuple[Key, ...]:
    counted = {"n": report["patients"], "events": cox["events"], "missing": report["missing"]}
    notes = [Key("cox.patients", counted)]
    if cox.get("concordance", {}).get("c") is not None:
        values = {"c": f"{cox['concordance']['c']:.3f}", "pairs": cox["concordance"]["pairs"]}
        notes.append(Key("cox.concordance", values))
    return tuple(notes)


def _tests(cox: Json) -> Table | None:
    """Of all coefficients together, and of proportional hazards."""
    rows = [_row(name, test, Key(f"cox.{name}")) for name, test in cox.get("tests", {}).items()]
    proportional = cox.get("proportional_hazards")
    if proportional is not None:
        rows.append(_row("proportional_hazards", proportional["all"], Key("cox.proportional")))
        for name, test in proportional["each"].items():
            said = Key("cox.proportional_of", {"column": name})
            rows.append(_row(f"proportional_hazards {name}", test, said))
    if not rows:
        return None
    return Table(
        name="tests",
        section=SECTION,
        title=Key("cox.tests"),
        index=Column("test", Key("cox.test")),
        columns=(
            Column("statistic", Key("cox.statistic")),
            Column("degrees", Key("cox.degrees"), "count"),
            Column("p", format="p"),
        ),
        rows=tuple(rows),
    )


def _row(name: str, test: Json, title: Key) -> Row:
    return Row(name, tuple(Value(test[part]) for part in ("statistic", "degrees", "p")), title)


def _baseline(baseline: Json) -> Curve:
    grid, strata = baseline["grid"], baseline["strata"]
    lines = tuple(Line(_name(level), _points(grid, one)) for level, one in strata.items())
    at_risk = at_risk_below(
        SECTION,
        Key("cox.at_risk"),
        Column("stratum", Key("cox.stratum")),
        grid,
        shown_places(grid),
        [(level, _name(level), one) for level, one in strata.items() if "at_risk" in one],
    )
    return Curve(
        name="baseline",
        section=SECTION,
        title=Key("cox.baseline"),
        x=Axis(Key("cox.time"), 0.0, grid[-1]),
        y=Axis(Key("cox.share"), 0.0, 1.0, "share"),
        lines=lines,
        steps="pieces" not in baseline,
        below=at_risk if at_risk.rows else None,
        spoken=Key("cox.spoken"),
    )


def _points(grid: list[float], stratum: Json) -> tuple[Point, ...]:
    nothing = [None] * len(grid)
    low, high, at_risk = (stratum.get(name, nothing) for name in ("low", "high", "at_risk"))
    return points(1.0, stratum.get("n"), grid, stratum["survival"], low, high, at_risk)


def _name(level: str) -> str | Key:
    return Key("cox.everyone") if level == "all" else level
