"""What a crosstab says of itself to whoever approves it."""

from collections.abc import Mapping

from fedcohort.analyses.crosstab.question import Crosstab
from fedcohort.analyses.crosstab.stages import CrosstabAnalysis
from fedcohort.analyses.intervals import NORMAL
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: Crosstab) -> list[Text]:
    """The question."""
    told = [
        say(
            "How {columns} differs by {rows}: counts, tests of independence, odds and risk ratios and risk "
            "differences, over all hospitals.",
            columns=question.columns,
            rows=question.rows,
        )
    ]
    if question.strata is not None:
        told.append(
            say(
                "Within each level of {strata}, and pooled over its levels (Mantel-Haenszel).",
                strata=question.strata,
            )
        )
    return told


def released(study: Study, question: Crosstab) -> list[Text]:
    """What leaves the hospital."""
    names = " x ".join(question.named.values())
    if study.privacy is None:
        return [
            say(
                "Once: how many patients have which levels of {names} together, and how many lack one of "
                "them; a patient counts with one row.",
                names=names,
            )
        ]
    return [
        say(
            "Once, with noise: how many patients have which levels of {names} together, and how many lack "
            "one of them; a patient counts with one row.",
            names=names,
        )
    ]


def expected(study: Study, analysis: CrosstabAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well counts will be known."""
    template = (
        "With {n:,} patients the count in a cell will be known to about {x:,.2g}, as far as the noise goes."
    )
    return say(template, n=patients, x=NORMAL * sigma["cells"])
