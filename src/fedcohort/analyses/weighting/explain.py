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
    effect = say(
        "What {treated} does to {outcome}, over all hospitals, for {whom}: patients are weighted so that "
        "those with and without it are alike.",
        treated=question.treated,
        outcome=question.read,
        whom=_ESTIMANDS[question.estimand],
    )
    if question.survival is not None:
        effect = say(
            "What {treated} does to the time until {event}, over all hospitals, for {whom}: weighted "
            "survival curves of patients with and without it, who are alike then, and the hazard ratio "
            "within hospitals.",
            treated=question.treated,
            event=question.read,
            whom=_ESTIMANDS[question.estimand],
        )
    return [
        effect,
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
    if question.survival is not None:
        return [once, steps, *_of_survival(len(question.grid or ())), _FEW]
    means = say(
        "Then once, of the treated and of the others: how many there are in each tenth of the scores, and "
        "the sums, plain and weighted, of the outcome and of each column; no patient's score leaves."
    )
    errors = say(
        "Then once: the sums of the products of each two columns and the outcome, weighted, for standard "
        "errors."
    )
    return [once, steps, means, errors, _FEW]


def _of_survival(n_times: int) -> list[Text]:
    means = say(
        "Then once, of the treated and of the others: how many there are in each tenth of the scores, the "
        "sums, plain and weighted, of events and of each column, and for each of {n} times how many patients "
        "left then, with the event and without.",
        n=n_times,
    )
    curves = say(
        "Then once, of each group and of those times, put together until each holds enough patients: the "
        "summed weights of those who left. Where rules of disclosure are switched off, and one patient left "
        "at a time alone, that is the patient's weight, which follows from the score."
    )
    hazard = say(
        "Then a few times, at hazard ratios that the coordinator asks about: the logarithm of the weighted "
        "partial likelihood over this hospital's own risk sets, and its first and second derivatives."
    )
    errors = say(
        "Last: for the curves at each time, the mean times and the hazard ratio, how much patients' weights "
        "change in them, squared and added up, and the sums of these changes times each column."
    )
    return [means, curves, hazard, errors]


_FEW = say(
    "Where few patients have a level, a value or a treatment, these sums say it of them; fewer terms and "
    "larger levels say less."
)
