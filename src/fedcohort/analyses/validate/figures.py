"""What a validation shows: figures by group, calibration, decisions, and whether groups differ."""

from collections.abc import Iterator, Mapping
from typing import Any

from fedcohort.analyses.validate.question import ALL
from fedcohort.figures import Axis, Column, Curve, Figure, Key, Line, Point, Row, Said, Table, Value
from fedcohort.known import MOST

SECTION = "validate"
FIGURES = ("auc", "brier", "oe", "intercept", "slope")
SHARES = ("auc", "brier")
AT_THRESHOLD = ("net_benefit", "treat_all", "sensitivity", "specificity", "ppv", "npv")

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """Whatever of it the report shows."""
    found = report["validate"]
    made = [
        _groups(report, found),
        _calibration(found),
        _benefit(found),
        _thresholds(found),
        _differences(found),
        _recalibrated(found),
    ]
    return tuple(figure for figure in made if figure is not None)


def _name(found: Json, level: str) -> Said:
    if level == ALL:
        return Key("validate.everyone")
    if "hospitals" not in found:
        return f"{found['by']} = {level}"
    return level if found["groups"][level]["n"] is not None else Key("validate.not_told", {"site": level})


def _value(group: Json, name: str) -> Value:
    number, low, high = (group.get(f"{name}{end}") for end in ("", "_low", "_high"))
    known = name not in SHARES or low is None or high is None or high - low <= MOST
    return Value(number, low, high, group.get(f"{name}_error"), known and number is not None)


def _groups(report: Json, found: Json) -> Table:
    columns = [Column("n", format="count"), Column("events", Key("validate.events"), "count")]
    columns += [Column(name, Key(f"validate.{name}"), "metric") for name in FIGURES]
    rows = (
        Row(
            level,
            (Value(group["n"]), Value(group["events"]), *(_value(group, name) for name in FIGURES)),
            _name(found, level),
        )
        for level, group in found["groups"].items()
    )
    return Table(
        name="validation",
        section=SECTION,
        notes=tuple(_notes(report, found)),
        index=Column("group", Key("validate.group")),
        columns=tuple(columns),
        rows=tuple(rows),
    )


def _notes(report: Json, found: Json) -> Iterator[Key]:
    yield Key(f"validate.part.{found['part']}")
    counts = {"n": report["patients"], "missing": report["missing"]}
    if None not in counts.values():
        yield Key("validate.patients", counts)
    if any("auc_error" in group for group in found["groups"].values()):
        yield Key("validate.error")


def _calibration(found: Json) -> Curve | None:
    lines = []
    for level, group in found["groups"].items():
        points = [
            Point(one["predicted"], one["observed"], one["low"], one["high"], one["n"])
            for one in group.get("calibration") or ()
            if one["observed"] is not None
        ]
        if points:
            lines.append(Line(_name(found, level), tuple(points)))
    if not lines:
        return None
    return Curve(
        name="calibration",
        section=SECTION,
        title=Key("document.calibration"),
        x=Axis(Key("document.predicted"), 0.0, 1.0, "share"),
        y=Axis(Key("document.observed"), 0.0, 1.0, "share"),
        lines=tuple(lines),
        marked=True,
        diagonal=True,
    )


def _benefit(found: Json) -> Curve | None:
    decided = found["groups"][ALL].get("decisions")
    if not decided:
        return None
    lines = []
    for name, low, high in (("net_benefit", "net_benefit_low", "net_benefit_high"), ("treat_all", "", "")):
        values = zip(
            found["thresholds"],
            decided[name],
            decided.get(low) or [None] * len(found["thresholds"]),
            decided.get(high) or [None] * len(found["thresholds"]),
            strict=True,
        )
        points = tuple(Point(*one) for one in values if one[1] is not None)
        if points:
            lines.append(Line(Key(f"validate.{name}"), points))
    if not lines:
        return None
    return Curve(
        name="net-benefit",
        section=SECTION,
        title=Key("validate.decision_curve"),
        notes=(Key("validate.treat_none"),),
        x=Axis(Key("validate.threshold"), 0.0, 1.0, "share"),
        y=Axis(Key("validate.net_benefit"), format="metric"),
        lines=tuple(lines),
    )


def _thresholds(found: Json) -> Table:
    rows = []
    for level, group in found["groups"].items():
        decided = group.get("decisions") or {}
        for place, threshold in enumerate(found["thresholds"]):
            cells = (Value(decided[name][place] if decided else None) for name in AT_THRESHOLD)
            said = f"{threshold:g}" if len(found["groups"]) == 1 else f"{level}, {threshold:g}"
            rows.append(Row(said, tuple(cells)))
    return Table(
        name="thresholds",
        section=SECTION,
        title=Key("validate.thresholds"),
        index=Column("threshold", Key("validate.threshold")),
        columns=tuple(Column(name, Key(f"validate.{name}"), "metric") for name in AT_THRESHOLD),
        rows=tuple(rows),
    )


def _differences(found: Json) -> Table | None:
    if "differences" not in found:
        return None
    columns = (
        Column("statistic", Key("validate.statistic")),
        Column("degrees", Key("validate.degrees"), "count"),
        Column("p", format="p"),
    )
    rows = (
        Row(name, tuple(Value(test[column.name]) for column in columns), Key(f"validate.{name}"))
        for name, test in found["differences"].items()
    )
    return Table(
        name="differences",
        section=SECTION,
        title=Key("validate.differences"),
        index=Column("figure", Key("validate.figure")),
        columns=columns,
        rows=tuple(rows),
    )


def _recalibrated(found: Json) -> Table | None:
    anew = found.get("recalibrated")
    if not anew or anew["intercept"] is None:
        return None
    rows = [Row("intercept", (Value(anew["intercept"]),), Key("validate.intercept_of_score"))]
    rows += [Row(name, (Value(value),)) for name, value in anew["coefficients"].items()]
    return Table(
        name="recalibrated",
        section=SECTION,
        title=Key("validate.recalibrated"),
        index=Column("term", Key("validate.term")),
        columns=(Column("coef", Key("validate.coefficient")),),
        rows=tuple(rows),
    )
