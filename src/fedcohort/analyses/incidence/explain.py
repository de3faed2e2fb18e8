"""What cumulative incidence says of itself to whoever approves it."""

from collections.abc import Mapping

from fedcohort.analyses.incidence.question import CumulativeIncidence
from fedcohort.analyses.incidence.stages import IncidenceAnalysis
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: CumulativeIncidence) -> list[Text]:
    """The question."""
    if question.by is None:
        return [say("Incidence over time of each competing event, and numbers at risk, over all hospitals.")]
    return [
        say(
            "Incidence over time of each competing event by {by}, numbers at risk and Gray's test, over all "
            "hospitals.",
            by=question.by,
        )
    ]


def released(study: Study, question: CumulativeIncidence) -> list[Text]:
    """What leaves the hospital."""
    n = len(question.grid)
    if study.privacy is None:
        template = (
            "Once: for each group and each of {n} times, how many patients left then, without an event and "
            "by each cause, how many were observed for longer, and how many are left out for a missing value."
        )
        return [say(template, n=n), _FEW]
    template = (
        "Once, with noise: for each group and each of {n} times, how many patients left then, without an "
        "event and by each cause, how many were observed for longer, and how many are left out for a missing "
        "value; a patient counts with one row."
    )
    return [say(template, n=n)]


_FEW = say(
    "Where few patients leave at one time, these counts say when single patients left, and why; a coarser "
    "grid, or [privacy], says less."
)


def expected(study: Study, analysis: IncidenceAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well a curve will be known half-way, where half of the patients have an event within the grid."""
    template = "With {n:,} patients an incidence will be known to about {x:.2g}, as far as the noise goes."
    return say(template, n=patients, x=analysis.width(patients, sigma["exits"]))
