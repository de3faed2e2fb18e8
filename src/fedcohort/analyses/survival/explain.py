"""What survival curves say of themselves to whoever approves them."""

from collections.abc import Mapping

from fedcohort.analyses.survival.question import KaplanMeier
from fedcohort.analyses.survival.stages import SurvivalAnalysis
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: KaplanMeier) -> list[Text]:
    """The question."""
    if question.by is not None:
        template = (
            "Survival over time by {by}, numbers at risk, medians and the log-rank test, over all hospitals."
        )
        return [say(template, by=question.by)]
    return [say("Survival over time, numbers at risk and the median, over all hospitals.")]


def released(study: Study, question: KaplanMeier) -> list[Text]:
    """What leaves the hospital."""
    n = len(question.grid)
    if study.privacy is None:
        template = (
            "Once: for each group and each of {n} times, how many patients left then, with the event and "
            "without, how many were observed for longer, and of how many time, event or group is missing."
        )
        return [say(template, n=n), _FEW]
    template = (
        "Once, with noise: for each group and each of {n} times, how many patients left then, with the event "
        "and without, how many were observed for longer, and of how many time, event or group is missing; a "
        "patient counts with one row."
    )
    return [say(template, n=n)]


_FEW = say(
    "Where few patients leave at one time, these counts say when single patients left; a coarser grid, or "
    "[privacy], says less."
)


def expected(study: Study, analysis: SurvivalAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well a curve will be known half-way, where half of the patients have the event within the grid."""
    template = "With {n:,} patients a curve will be known to about {x:.2g}, as far as the noise goes."
    return say(template, n=patients, x=analysis.width(patients, sigma["exits"]))
