"""For each kind of question a study over hospitals of which some cells hold few patients."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

import fedcohort as fc

Json = Mapping[str, Any]
Line = tuple[float | None, list[float | None]]
"""A total, and the counts of which it is the sum; None where a number is hidden."""


def hospital(n: int, seed: int) -> pd.DataFrame:
    """Patients of whom few are of group c, have the rare disease, or no age."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "patient_id": [f"{seed}-{place}" for place in range(n)],
        "age": draw.integers(30, 80, n).astype(float),
        "weight": draw.normal(75, 12, n).round(1),
        "rare": (np.arange(n) % 67 == 0).astype(float),
        "group": draw.choice(["a", "b", "c"], n, p=[0.6, 0.38, 0.02]),
        "time": np.ceil(draw.exponential(100, n)),
        "event": draw.integers(0, 2, n),
        "ill": draw.integers(0, 2, n),
    })  # fmt: skip
    frame.loc[frame.index[:1], "age"] = np.nan
    frame["cause"] = frame["event"] * draw.integers(1, 3, n)
    return frame


HOSPITALS = {
    site: hospital(n, seed) for seed, (site, n) in enumerate([("north", 90), ("south", 70), ("west", 45)])
}
COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(0, 100),
    "weight": fc.Numeric(),
    "rare": fc.Numeric(0, 1),
    "group": fc.Categorical(["a", "b", "c"]),
}
GRID = [float(time) for time in range(5, 401, 5)]


@dataclass(frozen=True)
class Case:
    """A question about these patients.

    Attributes:
        lines: totals and their parts, as the report shows them.
    """

    analysis: Any
    label: Any = None
    columns: Mapping[str, Any] | None = None
    lines: Callable[[Json], Iterator[Line]] = lambda _: iter(())

    @property
    def study(self) -> fc.Study:
        cohort = fc.Cohort(columns=self.columns or COLUMNS, label=self.label)
        return fc.Study(name="few", cohort=cohort, analysis=self.analysis)


def described_lines(report: Json) -> Iterator[Line]:
    """Levels or parts of a range, and the missing, are all rows."""
    for column in report["describe"].values():
        yield report["rows"], [column["n"], column["missing"]]
        if "levels" in column:
            yield report["rows"], [*column["levels"].values(), column["missing"]]
        else:
            histogram = column["histogram"]
            ends = [histogram.get("below", 0), histogram.get("above", 0)]
            yield report["rows"], [*histogram["counts"], *ends, column["missing"]]


def survival_lines(report: Json) -> Iterator[Line]:
    """Groups are all patients; between two times at which numbers at risk are shown some leave."""
    groups = report["survival"]["groups"].values()
    yield report["patients"], [group["n"] for group in groups]
    for group in groups:
        risk = [n for n in group["at_risk"] if n is not None]
        for before, after in pairwise(risk):
            yield before, [after, float(before - after)]


def incidence_lines(report: Json) -> Iterator[Line]:
    """As of survival; events of causes and those without one are all patients of a group."""
    groups = report["incidence"]["groups"].values()
    yield report["patients"], [group["n"] for group in groups]
    for group in groups:
        risk = [n for n in group["at_risk"] if n is not None]
        for before, after in pairwise(risk):
            yield before, [after, float(before - after)]
        events = [cause["events"] for cause in group["causes"].values()]
        if None not in events and group["n"] is not None:
            yield group["n"], [*events, float(group["n"] - sum(events))]


def measured_lines(report: Json) -> Iterator[Line]:
    """Cells of a confusion matrix are all rows, and those on its diagonal the right ones."""
    held = report.get("test")
    if held is None:
        return
    cells = [count for row in held["confusion"] for count in row]
    yield held["rows"], cells
    if held["accuracy"] is not None:
        right = round(held["accuracy"] * held["rows"])
        yield held["rows"], [float(right), float(held["rows"] - right)]


def crosstab_lines(report: Json) -> Iterator[Line]:
    """Rows and columns whose totals are known of the patients themselves, but for small ones."""
    counts, patients = report["crosstab"]["counts"], pd.concat(HOSPITALS.values())
    table = pd.crosstab(patients["group"], patients["ill"])
    for total, row in zip(table.sum(axis=1), counts, strict=True):
        yield float(total) if total >= 10 else None, row
    for place, total in enumerate(table.sum(axis=0)):
        yield float(total), [row[place] for row in counts]


def baseline_lines(report: Json) -> Iterator[Line]:
    """Between two times at which numbers at risk are shown some leave, with the event and without."""
    yield report["patients"], [report["cox"]["events"], report["patients"] - report["cox"]["events"]]
    for stratum in report["cox"]["baseline"]["strata"].values():
        risk = [n for n in stratum["at_risk"] if n is not None]
        events = [n for n in stratum["events"] if n is not None]
        for (before, after), died in zip(pairwise(risk), events, strict=False):
            yield before - after, [float(died), float(before - after - died)]


def table_one_lines(report: Json) -> Iterator[Line]:
    """Groups are all patients; levels and the missing are a group, and groups a level of all of them."""
    table = report["table_one"]
    yield report["patients"], list(table["groups"].values())
    for column in table["columns"].values():
        cells = [column["overall"], *column["groups"].values()]
        for cell, size in zip(cells, [report["patients"], *table["groups"].values()], strict=True):
            yield size, [cell["n"], cell["missing"]]
            if "levels" in cell:
                yield cell["n"], list(cell["levels"].values())
        if "levels" in column["overall"]:
            for level, total in column["overall"]["levels"].items():
                yield total, [cell["levels"][level] for cell in column["groups"].values()]


def weighted_lines(report: Json) -> Iterator[Line]:
    """Scores are those of a group's rows, and groups all rows."""
    told = report["weighting"]
    yield told["n"], [group["n"] for group in told["groups"].values()]
    for level, group in told["groups"].items():
        yield group["n"], told["scores"]["counts"][level]


def weighted_survival_lines(report: Json) -> Iterator[Line]:
    """As of another outcome; between two times at which numbers at risk are shown some leave."""
    yield from weighted_lines(report)
    told = report["weighting"]
    for level, group in told["survival"]["groups"].items():
        sizes = told["groups"][level]
        if sizes["events"] is not None:
            yield sizes["n"], [sizes["events"], float(sizes["n"] - sizes["events"])]
        risk = [n for n in group["at_risk"] if n is not None]
        for before, after in pairwise(risk):
            yield before, [after, float(before - after)]


BOUNDED = {**COLUMNS, "weight": fc.Numeric(0, 200)}


def validated_lines(report: Json) -> Iterator[Line]:
    """Groups are all patients; bins of calibration are a group, with the outcome and without."""
    groups = report["validate"]["groups"]
    yield groups["all"]["n"], [group["n"] for name, group in groups.items() if name != "all"]
    for group in groups.values():
        bins = group.get("calibration") or []
        yield group["n"], [one["n"] for one in bins]
        yield group["events"], [one["events"] for one in bins]


BY_COEFFICIENT = fc.Coefficients(
    intercept=-1.0,
    coefficients={"age": 0.02, "weight": 0.0},
    missing={"age": 55.0, "weight": 75.0},
)
NUMBERS = {name: COLUMNS[name] for name in ("age", "weight")}
CASES: dict[str, Case] = {
    "describe": Case(fc.Describe(), lines=described_lines),
    "survival": Case(
        fc.KaplanMeier(grid=GRID, by="group"), fc.Survival("time", "event"), lines=survival_lines
    ),
    "incidence": Case(
        fc.CumulativeIncidence(grid=GRID, by="group"),
        fc.Survival("time", "cause", causes=(1, 2)),
        lines=incidence_lines,
    ),
    "evaluate": Case(fc.Evaluate(model=BY_COEFFICIENT), fc.Binary("ill"), NUMBERS, lines=measured_lines),
    "crosstab": Case(
        fc.Crosstab("group", "ill"),
        columns={**COLUMNS, "ill": fc.Categorical([0, 1])},
        lines=crosstab_lines,
    ),
    "compare": Case(fc.Compare("weight", by="group"), columns=BOUNDED),
    "quantiles": Case(fc.Quantiles(by="group"), columns=BOUNDED),
    "table_one": Case(
        fc.TableOne(by="group", nonnormal=["age"], grid={"age": 1.0}),
        columns={**BOUNDED, "ill": fc.Categorical([0, 1])},
        lines=table_one_lines,
    ),
    "glm": Case(fc.GLM("ill ~ age + weight"), columns=BOUNDED, label=fc.Binary("ill")),
    "impute": Case(
        fc.Impute("ill ~ age + weight", columns=["age"], m=2, cycles=1),
        columns=BOUNDED,
        label=fc.Binary("ill"),
    ),
    "cox": Case(
        fc.Cox("age + weight", grid=GRID), fc.Survival("time", "event"), BOUNDED, lines=baseline_lines
    ),
    "impute for cox": Case(
        fc.Impute("age + weight", columns=["age"], m=2, cycles=1), fc.Survival("time", "event"), BOUNDED
    ),
    "correlation": Case(fc.Correlation(pca=1), columns=NUMBERS),
    "weighting": Case(
        fc.Weighting("ill ~ age + weight", "event"),
        columns={**BOUNDED, "event": fc.Categorical([0, 1])},
        label=fc.Binary("ill"),
        lines=weighted_lines,
    ),
    "weighting of survival": Case(
        fc.Weighting("ill ~ age + weight", fc.Survival("time", "event"), grid=GRID, at=[100.0, 200.0]),
        fc.Survival("time", "event"),
        {**BOUNDED, "ill": fc.Categorical([0, 1])},
        lines=weighted_survival_lines,
    ),
    "validate": Case(
        fc.Validate(BY_COEFFICIENT, by="group"),
        fc.Binary("ill"),
        {**NUMBERS, "group": COLUMNS["group"]},
        lines=validated_lines,
    ),
    "train": Case(fc.Train(model="logistic", rounds=2), fc.Binary("ill"), NUMBERS, lines=measured_lines),
}
