"""What a comparison says of itself to whoever approves it."""

from collections.abc import Mapping

from fedcohort.analyses.compare.question import Compare
from fedcohort.analyses.compare.stages import CompareAnalysis
from fedcohort.analyses.intervals import NORMAL
from fedcohort.columns import Numeric
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: Compare) -> list[Text]:
    """The question."""
    return [
        say(
            "{column} by {by}: means with intervals, t-tests, analysis of variance and rank tests, over all "
            "hospitals.",
            column=question.column,
            by=question.by,
        )
    ]


def released(study: Study, question: Compare) -> list[Text]:
    """What leaves the hospital."""
    kind = study.cohort.every_column[question.column]
    bounded = isinstance(kind, Numeric) and kind.bounds is not None
    if study.privacy is not None:
        return [
            say(
                "Once, with noise: for each group how many patients it has, how many have a value, a sum and "
                "a sum of squares, and how many lie in each of a few parts of the declared range; a patient "
                "counts with one row."
            )
        ]
    told = [
        say(
            "Once: for each group how many patients it has, how many have a value, a sum and a sum of "
            "squares; a patient counts with one row."
        )
    ]
    return [*told, _counts(question)] if bounded else told


def _counts(question: Compare) -> Text:
    if question.grid is None:
        return say(
            "With it: for each group how many values lie in each of 1,024 parts of the declared range."
        )
    return say(
        "With it: for each group how many patients have each value, in steps of {step:g}.", step=question.grid
    )


def expected(study: Study, analysis: CompareAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well a mean will be known, in groups of one size."""
    group = max(patients / len(analysis.levels), 1.0)
    return say(
        "With {n:,} patients, as many in each group, a group's mean will be known to about {x:.2g} of the "
        "declared range, as far as the noise goes.",
        n=patients,
        x=min(1.0, NORMAL * sigma["moments"] / group / 2),
    )
