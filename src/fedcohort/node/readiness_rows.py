"""Readiness of the rows: sizes, missing values, bounds and classes, in bands too coarse to show a patient."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Binary, Categorical, Classes, Image, Numeric
from fedcohort.node.readiness_words import Line, Verdict
from fedcohort.sources.cohort.resolve import Kind, kinds_of_label
from fedcohort.study import Cohort
from fedcohort.table import SPLITS, Table
from fedcohort.texts import Text, in_a_row, say

BANDS = (
    (0.05, say("under {most} %", most=5)),
    (0.2, say("{least} to {most} %", least=5, most=20)),
    (0.5, say("{least} to {most} %", least=20, most=50)),
    (1.0, say("over {least} %", least=50)),
)
MUCH, MOST = 0.05, 0.5
SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Observed:
    """A cohort as it was read: explicit, with its label among the columns, so that missing labels show."""

    cohort: Cohort
    table: Table


def as_columns(cohort: Cohort) -> dict[str, Kind]:
    """The cohort's columns and those of its label."""
    return {**cohort.schema_, **kinds_of_label(cohort.label)}


def band(share: float) -> Text:
    """A share in words: none, all, or one of four bands."""
    if share in (0.0, 1.0):
        return say("all") if share else say("none")
    return next(words for limit, words in BANDS if share < limit)


def observe(observed: Observed, min_patients: int, splits: tuple[str, ...]) -> Iterator[Line]:
    """The lines about the rows; of a cohort that is too small, only that line."""
    labelled = _labelled(observed)
    patients = len(np.unique(observed.table.patient_ids[labelled]))
    if patients < min_patients:
        yield too_small(min_patients)
        return
    least = max([min_patients, *(size for size in SIZES if size <= patients)])
    yield Line(say("cohort size"), "ready", say("{n:,} patients or more", n=least), "")
    for name, kind in observed.cohort.schema_.items():
        if isinstance(kind, Image):
            yield Line(
                say("values of {name}", name=name), "ready", say("every image is there, and of its size"), ""
            )
        else:
            yield _values(name, kind, observed.table.columns[name][labelled])
    if observed.cohort.label is not None:
        yield _label_there(labelled)
        yield from _classes(observed, labelled)
    if splits and observed.cohort.split is not None:
        yield _sides(observed.table.split[labelled], splits)


def too_small(min_patients: int) -> Line:
    """The only line about the rows of a small cohort."""
    remedy = say("widen the cohort's `where`, import more patients, or lower min_patients in site.toml")
    return Line(
        say("cohort size"), "not ready", say("fewer than min_patients = {n} patients", n=min_patients), remedy
    )


def _missing(values: NDArray[np.float64] | NDArray[np.int64]) -> Bools:
    return values < 0 if values.dtype.kind == "i" else np.isnan(values)


def _labelled(observed: Observed) -> Bools:
    there = np.ones(observed.table.n_rows, dtype=np.bool_)
    for name in observed.cohort.label_columns:
        there &= ~_missing(observed.table.columns[name])
    return there


def _values(name: str, kind: Kind, values: NDArray[np.float64] | NDArray[np.int64]) -> Line:
    gone = _missing(values)
    text, remedies = say("missing: {share}", share=band(float(gone.mean()))), []
    verdict: Verdict = "warning" if gone.mean() >= MOST else "ready"
    if gone.mean() >= MOST:
        remedies.append(say("check the mapping, or leave the column out of the study"))
    if isinstance(kind, Numeric) and kind.bounds is not None:
        low, high = kind.bounds
        here = values[~gone]
        outside = float(((here < low) | (here > high)).mean()) if len(here) else 0.0
        beyond = {"low": low, "high": high, "outside": band(outside)}
        text = say("{missing}; outside {low:g} to {high:g}: {outside}", missing=text, **beyond)
        if outside >= MUCH:
            verdict = "not ready" if outside >= MOST else "warning"
            remedies.append(say("compare the unit with the study's: such values count as the bound"))
    return Line(say("values of {name}", name=name), verdict, text, in_a_row("; ", remedies))


def _label_there(labelled: Bools) -> Line:
    gone = 1 - float(labelled.mean())
    remedy = say("rows without a label are left out; complete it") if gone >= MOST else ""
    return Line(
        say("label"),
        "warning" if gone >= MOST else "ready",
        say("missing: {share}", share=band(gone)),
        remedy,
    )


def _classes(observed: Observed, labelled: Bools) -> Iterator[Line]:
    label = observed.cohort.label
    if not isinstance(label, Binary | Classes):
        return
    kind = as_columns(observed.cohort)[label.column]
    present = set(np.unique(observed.table.columns[label.column][labelled]).tolist())
    levels = kind.levels if isinstance(kind, Categorical) else ()
    absent = [str(level) for index, level in enumerate(levels) if index not in present]
    if not absent:
        yield Line(say("classes"), "ready", say("every class of the label is there"), "")
    else:
        remedy = say("check the label's codes in the mapping; this site alone cannot tell the classes apart")
        text = say("no patient of class {levels}", levels=", ".join(absent))
        yield Line(say("classes"), "not ready" if len(present) == 0 else "warning", text, remedy)


def _sides(split: NDArray[np.int8], splits: tuple[str, ...]) -> Line:
    absent = [name for name in splits if not (split == SPLITS[name]).any()]
    if not absent:
        return Line(say("split"), "ready", say("training and held-out patients are there"), "")
    text = say("no training patients") if "train" in absent else say("no held-out patients")
    text = say("no training and no held-out patients") if len(absent) > 1 else text
    remedy = say("correct the split column, or hold out a fraction (split in the study)")
    return Line(say("split"), "warning", text, remedy)
