"""What a weighted comparison says of itself to whoever approves it."""

from fedcohort.analyses.weighting.question import Weighting
from fedcohort.study import Study
from fedcohort.texts import Text, say

_ESTIMANDS = {
    "ate": say("all patients"),
    "att": say("the treated"),
    "overlap": say("those who might as well have had the other treatment"),
}


def asked(study: Study, question: Weighting) -> list[Text]:
    """The question, and its columns."""
    return [
        say(
            "What {treated} does to {outcome}, over all hospitals, for {whom}: patients are weighted so that "
            "those with and without it are alike.",
            treated=question.treated,
            outcome=question.outcome,
            whom=_ESTIMANDS[question.estimand],
        ),
        say(
            "How likely the treatment was follows from a logistic regression: {formula}",
            formula=str(question.formula),
        ),
    ]


def released(study: Study, question: Weighting) -> list[Text]:
    """What leaves the hospital."""
    once = say(
        "Once: how many rows have all values and how many lack one, of how many patients, and of each column "
        "of the formula the sums of its values, of their squares, and of their products with the treatment."
    )
    steps = say(
        "Then at most {rounds} times, at coefficients that the coordinator asks about: the sums of each "
        "column times what the model leaves unexplained, of the products of each two columns, and the "
        "log-likelihood.",
        rounds=question.rounds,
    )
    means = say(
        "Then once, of the treated and of the others: how many there are in each tenth of the scores, and "
        "the sums, plain and weighted, of the outcome and of each column; no patient's score leaves."
    )
    errors = say(
        "Then once: the sums of the products of each two columns and the outcome, weighted, for standard "
        "errors."
    )
    return [once, steps, means, errors, _FEW]


_FEW = say(
    "Where few patients have a level, a value or a treatment, these sums say it of them; fewer terms and "
    "larger levels say less."
)
