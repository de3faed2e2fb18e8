"""Made-up figures of every type, and a result of a kind that nothing in the package knows."""

from typing import Any

import fedcohort as fc
from fedcohort.columns import Frozen
from fedcohort.figures import (
    Axis,
    Bars,
    Column,
    Curve,
    Intervals,
    Key,
    Line,
    Matrix,
    Named,
    Point,
    Row,
    Table,
    Value,
)

AT_RISK = Table(
    name="at-risk",
    section="made",
    title="Numbers at risk",
    index=Column("group"),
    columns=(Column("0", format="count"), Column("12", format="count")),
    rows=(Row("drug", (Value(40), Value(31))), Row("placebo", (Value(41), Value(25)))),
)
COEFFICIENTS = Table(
    name="coefficients",
    section="made",
    index=Column("term"),
    columns=(Column("coef"), Column("se"), Column("p", format="p"), Column("low"), Column("high")),
    rows=(
        Row("age", (Value(0.031), Value(0.004), Value(0.00001), Value(0.023), Value(0.039)), unit="years"),
        Row("bmi", (Value(0.1, 0.05, 0.15), Value(), None, Key("figure.unknown_word"), "reference")),
    ),
)
SURVIVAL = Curve(
    name="survival",
    section="made",
    title="Survival",
    x=Axis("Months", 0.0, 24.0),
    y=Axis("Share alive", 0.0, 1.0, "share"),
    lines=(
        Line(
            "drug", (Point(0.0, 1.0, 1.0, 1.0, 40), Point(6.0, 0.9, 0.8, 0.96), Point(24.0, 0.7, 0.55, 0.8))
        ),
        Line("placebo", (Point(0.0, 1.0), Point(9.0, 0.75), Point(24.0, 0.5))),
    ),
    steps=True,
    below=AT_RISK,
)
EVERY_TYPE = (
    COEFFICIENTS,
    SURVIVAL,
    Bars(
        name="weights",
        section="made",
        title="Weights",
        measure=Key("importance.loss"),
        bars=(Named("age", Value(0.5, 0.4, 0.6), (Named("auc", Value(0.1)),)), Named("bmi", Value(-0.2))),
    ),
    Bars(name="spread", section="made", title="Spread", bars=(Named("", Value(3)), Named("", Value(5))),
         format="count", edges=(0.0, 10.0, 20.0)),
    Matrix(name="matrix", section="made", title="Matrix", rows=("true a", "true b"),
           columns=("said a", "said b"), counts=((5, 1), (2, 7))),
    Intervals(name="forest", section="made", title="Odds ratios", x=Axis("odds ratio", log=True),
              reference=1.0, rows=(Named("age", Value(1.2, 1.1, 1.3)), Named("bmi", Value(0.9, 0.7, 1.2)))),
)  # fmt: skip
"""One figure or two of every type, with all that they can hold; the pages' tests draw them, too."""


class Question(Frozen):
    """An analysis of a later version."""

    kind: str = "of_another_version"


def of_another_version(report: dict[str, Any]) -> fc.Result:
    """A result whose kind has no folder here."""
    cohort = fc.Cohort(columns={"age": fc.Numeric(0, 100)})
    study = fc.Study(name="later", cohort=cohort, analysis=fc.Describe())
    return fc.Result(study.model_copy(update={"analysis": Question()}), report, [])
