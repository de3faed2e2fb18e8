"""What the measure of a model shows: metrics, ROC curve, calibration, confusion matrix, importance."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedcohort.figures import (
    Axis,
    Bars,
    Column,
    Curve,
    Figure,
    Key,
    Line,
    Matrix,
    Named,
    Point,
    Row,
    Table,
    Value,
)
from fedcohort.known import IN_LABEL_UNITS, METRICS, ends_of, is_known
from fedcohort.sampling_intervals import sampling_interval

SECTION = "figures"
SPLITS = ("train", "test", "valid")
HELD_OUT = ("test", "train")
"""Curves and matrix are of held-out patients where there are any."""
ENDS = ("_low", "_high", "_error")

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """Whatever of it the report has."""
    label = study.get("cohort", {}).get("label")
    label = label if isinstance(label, Mapping) else {}
    split = next((name for name in HELD_OUT if isinstance(report.get(name), Mapping)), None)
    measured: Json = {} if split is None else report[split]
    made = (
        _metrics(report, measured, label.get("unit") or ""),
        _roc(measured, split),
        _calibration(measured, split),
        _confusion(measured, split, label),
        _importance(report),
    )
    return tuple(figure for figure in made if figure is not None)


def _metrics(report: Json, measured: Json, unit: str) -> Table | None:
    splits = [name for name in SPLITS if isinstance(report.get(name), Mapping)]
    given = {
        name: None
        for split in splits
        for name, value in report[split].items()
        if isinstance(value, float) and not name.endswith(ENDS)
    }
    if not given:
        return None
    return Table(
        name="metrics",
        section=SECTION,
        notes=_notes(report.get("label"), measured),
        index=Column("metric", Key("document.metric")),
        columns=tuple(Column(split, Key(f"split.{split}"), "metric") for split in splits),
        rows=tuple(
            Row(
                name,
                tuple(_value(report[split], name) for split in splits),
                Key(f"metric.{name}") if name in METRICS else name,
                unit if name in IN_LABEL_UNITS else "",
            )
            for name in given
        ),
    )


def _notes(label: Json | None, measured: Json) -> tuple[Key, ...]:
    """Which level counts as yes, and how far the area under the curve may be off."""
    error = measured.get("auc_error")
    named = {} if label is None else {name: str(label[name]) for name in ("column", "positive", "negative")}
    said = [Key("figures.positive", named)] if named else []
    return (*said, *([Key("figures.auc_error", {"error": error})] if error else []))


def _value(row: Json, name: str) -> Value | None:
    if row.get(name) is None:
        return None
    ends, sampling = ends_of(row, name), sampling_interval(name, row)
    number = float(row[name])
    low, high = ends or (None, None)
    of_patients = (
        Value(number, *sampling, known=is_known(row, name, sampling)) if sampling and not ends else None
    )
    return Value(number, low, high, row.get(f"{name}_error"), is_known(row, name), of_patients)


def _measured_on(split: str | None) -> tuple[Key, ...]:
    return () if split is None else (Key("figures.note", {"split": Key(f"split.short.{split}")}),)


def _roc(measured: Json, split: str | None) -> Curve | None:
    roc = measured.get("roc") or {}
    if not roc.get("true_positive"):
        return None
    pairs = zip(roc["false_positive"], roc["true_positive"], strict=True)
    title = Key("document.roc")
    return Curve(
        name="roc",
        section=SECTION,
        title=title,
        notes=_measured_on(split),
        spoken=Key("figures.roc_label", {"auc": _spoken_auc(measured)}),
        x=Axis(Key("document.false_positive"), 0.0, 1.0, "share"),
        y=Axis(Key("document.true_positive"), 0.0, 1.0, "share"),
        lines=(Line(title, tuple(Point(x, y) for x, y in pairs)),),
        diagonal=True,
    )


def _spoken_auc(measured: Json) -> float | Key:
    is_told = measured.get("auc") is not None and is_known(measured, "auc")
    return round(float(measured["auc"]), 3) if is_told else Key("figure.unknown_word")


def _calibration(measured: Json, split: str | None) -> Curve | None:
    bins = measured.get("calibration")
    if not bins:
        return None
    title = Key("document.calibration")
    return Curve(
        name="calibration",
        section=SECTION,
        title=title,
        notes=_measured_on(split),
        spoken=Key("figures.calibration_label"),
        x=Axis(Key("document.predicted"), 0.0, 1.0, "share"),
        y=Axis(Key("document.observed"), 0.0, 1.0, "share"),
        lines=(
            Line(title, tuple(Point(bin["predicted"], bin["observed"], n=bin.get("rows")) for bin in bins)),
        ),
        marked=True,
        diagonal=True,
    )


def _confusion(measured: Json, split: str | None, label: Json) -> Matrix | None:
    counts = measured.get("confusion")
    if not isinstance(counts, Sequence) or not counts or any(None in row for row in counts):
        return None
    levels = _levels(label, len(counts))
    return Matrix(
        name="confusion",
        section=SECTION,
        title=Key("figures.confusion"),
        notes=_measured_on(split),
        rows=tuple(Key("figures.true", {"level": level}) for level in levels),
        columns=tuple(Key("figures.predicted", {"level": level}) for level in levels),
        counts=tuple(tuple(row) for row in counts),
    )


def _levels(label: Json, n_classes: int) -> list[str]:
    """What the classes are called, in the order of the matrix; a number names its column, too."""
    levels, column = label.get("levels"), label.get("column")
    if levels is None and n_classes == 2:
        levels = [label.get("negative", 0), label.get("positive", 1)]
    classes = levels if levels and len(levels) == n_classes else range(n_classes)
    return [
        f"{level}" if isinstance(level, str) or column is None else f"{column} = {level}" for level in classes
    ]


def _importance(report: Json) -> Bars | None:
    """The most important column first; with the interval of the noise where a study is private."""
    entries = report.get("importance")
    named = [
        Named(column, _increase(entry, "loss_increase"), _drop(entry))
        for column, entry in (entries if isinstance(entries, Mapping) else {}).items()
        if isinstance(entry, Mapping) and isinstance(entry.get("loss_increase"), int | float)
    ]
    if not named:
        return None
    return Bars(
        name="importance",
        section="importance",
        notes=(Key("importance.axis"),),
        spoken=Key("importance.label"),
        interval="tile.interval",
        bars=tuple(sorted(named, key=lambda bar: (-(bar.value.number or 0.0), str(bar.name)))),
        measure=Key("importance.loss"),
        format="metric",
    )


def _drop(entry: Json) -> tuple[Named, ...]:
    is_measured = isinstance(entry.get("auc_drop"), int | float)
    return (Named(Key("importance.auc"), _increase(entry, "auc_drop")),) if is_measured else ()


def _increase(entry: Json, name: str) -> Value:
    """A difference has no range that it could cover most of."""
    low, high = ends_of(entry, name) or (None, None)
    return Value(float(entry[name]), low, high)
