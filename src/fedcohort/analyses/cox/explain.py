"""What a Cox regression says of itself to whoever approves it."""

import math
from collections.abc import Mapping

from fedcohort.analyses.cox.private import BEFORE, ROUNDS, PrivateCox
from fedcohort.analyses.cox.question import Cox
from fedcohort.analyses.intervals import NORMAL
from fedcohort.columns import Survival
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: Cox) -> list[Text]:
    """The question."""
    lines = [
        say(
            _ASKED if study.privacy is None else _ASKED_PRIVATELY,
            formula=str(question.formula).removeprefix("~ "),
        )
    ]
    if question.pieces is not None:
        lines.append(say("One baseline of all hospitals, with a hazard in each of {n} pieces of time.",
                         n=n_pieces(study, question)))  # fmt: skip
    else:
        lines.append(_compared(question))
    return lines


def _compared(question: Cox) -> Text:
    columns = ", ".join(question.by)
    if question.by_site:
        if not columns:
            return say("A patient is compared with those of the same hospital alone.")
        template = "A patient is compared with those of the same hospital and the same {columns}."
        return say(template, columns=columns)
    if not columns:
        return say("A patient is compared with those of all hospitals.")
    return say(
        "A patient is compared with those of all hospitals who have the same {columns}.", columns=columns
    )


_ASKED = (
    "How the hazard of the event depends on {formula} (Cox regression), over all hospitals: hazard ratios "
    "with intervals, tests, and concordance."
)
_ASKED_PRIVATELY = (
    "How the hazard of the event depends on {formula} (Cox regression), over all hospitals: hazard ratios "
    "and a baseline, with intervals."
)


def n_pieces(study: Study, question: Cox) -> int:
    """How many pieces of time there are."""
    label = study.cohort.label
    return len(question.edges(label.horizon if isinstance(label, Survival) else None)) - 1


def released(study: Study, question: Cox) -> list[Text]:
    """What leaves the hospital."""
    if study.privacy is not None:
        return [_FIRST_PRIVATE, _EACH_PRIVATE]
    if question.pieces is not None:
        return [_FIRST, _PIECES, _EACH_PIECEWISE, _LAST_PIECEWISE, _FEW]
    if not question.by_site:
        exits = "With them, for each of {n} times: how many patients leave then, with the event and without."
        return [_FIRST, say(exits, n=len(question.grid)), _EACH_POOLED, _ALONE]
    return [_FIRST, _EACH, _LAST, *([_grid(question)] if question.grid else []), _FEW]


_FIRST = say(
    "First: how many patients there are, how many with the event and how many left out for a missing value, "
    "and for each column of the formula the sum of its values and of their squares."
)
_FIRST_PRIVATE = say(
    "First, with noise: for each piece of time how many patients leave in it, for how much of it they are "
    "observed and how many have the event; how many are left out for a missing value; and the sums of the "
    "products of each two columns of the formula. A patient counts with one row."
)
_EACH_PRIVATE = say(
    "Then in {n} rounds, with noise: how many events there are beyond those that are expected, by piece, and "
    "times each column; and once, after {before} of them, how these change with the hazards and "
    "coefficients. A patient is followed until one event is expected.",
    n=ROUNDS,
    before=BEFORE,
)
_PIECES = say(
    "With them, for each piece of time: how many patients have the event in it, and the time observed."
)
_EACH = say(
    "In each of about 5 to 10 rounds: the logarithm of the partial likelihood over this hospital's own risk "
    "sets, with its first and second derivatives by the coefficients: sums over all of its events."
)
_EACH_PIECEWISE = say(
    "In each of about 5 to 10 rounds: the logarithm of the likelihood of this hospital's patients, with its "
    "first and second derivatives by the hazards of the pieces and the coefficients."
)
_LAST = say(
    "Last: the same at the coefficients that were found, the sums of the test of proportional hazards, and "
    "how many pairs of this hospital's patients are in the order of their risk."
)
_LAST_PIECEWISE = say(
    "Last: the same at the coefficients that were found, and how many pairs of this hospital's patients are "
    "in the order of their risk."
)
_EACH_POOLED = say(
    "In each of about 5 to 10 rounds, and last: for each time, of all patients who leave then and of those "
    "with the event, the sums of their risks, of each column times them, and of the products of each two "
    "columns times them."
)
_ALONE = say(
    "Where one patient leaves at a time alone, these sums are that patient's columns, exactly: on all "
    "distinct times of public data sets they show the columns of 14 to 69 % of patients. Approve a grid only "
    "where many leave at each time; strata of hospitals show far less."
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


def expected(study: Study, analysis: PrivateCox, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well a coefficient will be known where half of the patients have the event.

    A coefficient of a column's deviation has an error of 1 / sqrt(events), and noise / events beside it: the
    scores of all rounds together have the noise of one that had all of their share.
    """
    events = max(patients / 2, 1.0)
    noise = sigma["score"] / math.sqrt(ROUNDS) / events
    template = (
        "With {n:,} patients, half of them with the event, the logarithm of a hazard ratio of one deviation "
        "of a column will be known to about {x:.2g}, of which patients alone are {alone:.2g}."
    )
    alone = NORMAL / math.sqrt(events)
    return say(template, n=patients, x=math.hypot(alone, NORMAL * noise), alone=alone)
