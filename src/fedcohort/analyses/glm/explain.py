"""What a regression says of itself to whoever approves it."""

from collections.abc import Mapping

from fedcohort.analyses.glm.private import BURN, DEAR, PrivateGLMAnalysis
from fedcohort.analyses.glm.question import GLM
from fedcohort.study import Study
from fedcohort.texts import Text, say

_FAMILIES = {
    "gaussian": say("linear"),
    "binomial": say("logistic"),
    "poisson": say("Poisson"),
    "negative_binomial": say("negative binomial"),
}


def asked(study: Study, question: GLM) -> list[Text]:
    """The question, and its columns."""
    family = _FAMILIES[question.family_of(study.cohort.every_column)]
    said = [
        say(
            "A {family} regression over all hospitals: {formula}",
            family=family,
            formula=str(question.formula),
        )
    ]
    if question.site == "fixed":
        said.append(say("Each hospital has an intercept of its own, which is fitted there and stays there."))
    if question.site == "random":
        said.append(
            say("Each hospital has an intercept of its own, normal among hospitals; none of them is shown.")
        )
    if question.site == "meta":
        said.append(say("Each hospital fits a model of its own; what they find is combined."))
    if question.se != "model":
        said.append(say("Standard errors are robust (sandwich)."))
    if question.offset is not None:
        said.append(say("Offset: {offset}", offset=str(question.offset).removeprefix("~ ")))
    if question.weights is not None:
        said.append(say("Rows are weighted by {column}.", column=question.weights))
    if question.firth:
        said.append(say("The likelihood is penalised as Firth's, so that no coefficient grows without end."))
    if question.ridge:
        said.append(say("Coefficients are held small by a ridge of {ridge:g}.", ridge=question.ridge))
    return said


def released(study: Study, question: GLM) -> list[Text]:
    """What leaves the hospital."""
    if study.privacy is not None:
        return _released_privately()
    once = say(
        "Once: how many rows have all values and how many lack one, of how many patients, and of each column "
        "of the formula the sums of its values, of their squares, and of their products with the outcome."
    )
    if question.site == "meta":
        own = say(
            "Then twice, of each coefficient that this hospital finds alone: its weight and its square, and "
            "the estimate and its square times the weight. Of two or three hospitals these sums tell what "
            "each has found; of one that cannot fit the model alone, nothing leaves."
        )
        return [once, own, _FEW]
    if question.site == "random" and question.family_of(study.cohort.every_column) == "gaussian":
        mixed = say(
            "Then at most {rounds} times, at a ratio of variances that the coordinator asks about: the sums "
            "of the products of each two columns and the outcome, less a share of the products of this "
            "hospital's totals. Of few hospitals these sums tell each one's means.",
            rounds=question.rounds,
        )
        return [once, mixed, _FEW]
    steps = say(
        "Then at most {rounds} times, at coefficients that the coordinator asks about: the sums of each "
        "column times what the model leaves unexplained, of the products of each two columns, the "
        "log-likelihood, and the sum of what is left unexplained, squared and over its variance.",
        rounds=question.rounds,
    )
    return [once, steps, _FEW]


def _released_privately() -> list[Text]:
    first = say(
        "Once, with noise: how many rows have all values and how many lack one, the outcome's sum and that "
        "of its squares, and the sum of the products of each two columns of the formula."
    )
    scores = say(
        "Then {n} times, with noise, at coefficients that the coordinator asks about: the sums of each "
        "column times what the model leaves unexplained; a row counts with no more than a bound.",
        n=BURN + DEAR,
    )
    last = say("Last, with noise: the sum of the products of each two columns, weighted by the model.")
    return [first, scores, last]


_FEW = say(
    "Where few patients have a level or a value, these sums say it of them; fewer terms and larger levels, "
    "or [privacy], say less."
)


def expected(study: Study, analysis: PrivateGLMAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """By how much noise widens the intervals of coefficients."""
    template = (
        "With {n:,} patients noise makes the intervals of coefficients about {x:.2g} times as wide as "
        "without it, where columns vary over their bounds."
    )
    return say(template, n=patients, x=analysis.width(patients, sigma))
