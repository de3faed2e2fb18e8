"""What survival curves say of themselves to whoever approves them."""

from collections.abc import Mapping

from fedcohort.analyses.survival.question import KaplanMeier
from fedcohort.analyses.survival.stages import SurvivalAnalysis
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: KaplanMeier) -> list[Text]:
    """The question."""
    if question.by is None:
        return [say("Survival over time, numbers at risk and the median, over all hospitals.")]
    if question.strata is None:
        alone = (
            "Survival over time by {by}, numbers at risk, medians and the log-rank test, over all hospitals."
        )
        return [say(alone, by=question.by)]
    within = (
        "Survival over time by {by}, numbers at risk, medians and the log-rank test within each level of "
        "{strata}, over all hospitals."
    )
    return [say(within, by=question.by, strata=question.strata)]


def released(study: Study, question: KaplanMeier) -> list[Text]:
    """What leaves the hospital."""
    n, whom = len(question.grid), say("each group")
    if question.strata is not None:
        whom = say("each group and level of {strata}", strata=question.strata)
    if study.privacy is None:
        template = (
            "Once: for {whom} and each of {n} times, how many patients left then, with the event and "
            "without, how many were observed for longer, and how many are left out for a missing value."
        )
        return [say(template, n=n, whom=whom), _FEW]
    template = (
        "Once, with noise: for {whom} and each of {n} times, how many patients left then, with the event "
        "and without, how many were observed for longer, and how many are left out for a missing value; a "
        "patient counts with one row."
    )
    return [say(template, n=n, whom=whom)]


_FEW = say(
    "Where few patients leave at one time, these counts say when single patients left; a coarser grid, or "
    "[privacy], says less."
)


def expected(study: Study, analysis: SurvivalAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well a curve will be known half-way, where half of the patients have the event within the grid."""
    template = "With {n:,} patients a curve will be known to about {x:.2g}, as far as the noise goes."
    return say(template, n=patients, x=analysis.width(patients, sigma["exits"]))
