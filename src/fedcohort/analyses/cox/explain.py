"""What a Cox regression says of itself to whoever approves it."""

from fedcohort.analyses.cox.question import Cox
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: Cox) -> list[Text]:
    """The question."""
    lines = [
        say(
            "How the hazard of the event depends on {formula} (Cox regression), over all hospitals: hazard "
            "ratios with intervals, tests, and concordance.",
            formula=str(question.formula).removeprefix("~ "),
        )
    ]
    if question.by:
        template = "A patient is compared with those of the same hospital and the same {columns}."
        lines.append(say(template, columns=", ".join(question.by)))
    else:
        lines.append(say("A patient is compared with those of the same hospital alone."))
    return lines


def released(study: Study, question: Cox) -> list[Text]:
    """What leaves the hospital."""
    return [_FIRST, _EACH, _LAST, *([_grid(question)] if question.grid else []), _FEW]


_FIRST = say(
    "First: how many patients there are, how many with the event and how many left out for a missing value, "
    "and for each column of the formula the sum of its values and of their squares."
)
_EACH = say(
    "In each of about 5 to 10 rounds: the logarithm of the partial likelihood over this hospital's own risk "
    "sets, with its first and second derivatives by the coefficients: sums over all of its events."
)
_LAST = say(
    "Last: the same at the coefficients that were found, the sums of the test of proportional hazards, and "
    "how many pairs of this hospital's patients are in the order of their risk."
)
_FEW = say(
    "Where this hospital has few events, its sums say much about those few patients: the protection hides "
    "them in the sum over hospitals."
)


def _grid(question: Cox) -> Text:
    template = (
        "Last, for each of {n} times: how many patients left then, how many of them with the event, and the "
        "sum of their risks."
    )
    return say(template, n=len(question.grid))
