"""What an imputation says of itself to whoever approves it."""

from fedcohort.analyses.cox.explain import asked as asked_of_cox
from fedcohort.analyses.glm.explain import asked as asked_of_regression
from fedcohort.analyses.impute.question import Impute
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: Impute) -> list[Text]:
    """The regression, and what is filled in."""
    filled = say(
        "Missing values of {columns} are filled in {m} times, at each hospital, by what other columns say of "
        "them over all hospitals; the results are combined (multiple imputation by chained equations, "
        "Rubin's rules). No value that is filled in leaves the hospital.",
        columns=", ".join(question.columns),
        m=question.m,
    )
    if question.is_cox:
        return [*asked_of_cox(study, question.hazards), filled]
    return [*asked_of_regression(study, question.model), filled]


def released(study: Study, question: Impute) -> list[Text]:
    """What leaves the hospital."""
    steps = say(
        "Then in {cycles} cycles, for each of {n} columns and each of {m} filled-in data sets: of a number, "
        "the sums of the products of each two columns; of levels, a few times, the sums of each column "
        "times what its model leaves unexplained, of the products of each two columns, and the "
        "log-likelihood.",
        cycles=question.cycles,
        n=len(question.columns),
        m=question.m,
    )
    last = say(
        "Last, of each filled-in data set: the sums of the formula's columns, of their squares and of their "
        "products with the outcome, of the first also the columns' third and fourth powers and how many have "
        "each combination of levels, and then at most {rounds} times, at coefficients that the coordinator "
        "asks about, the sums of each column times what the model leaves unexplained, of the products of "
        "each two columns, and the log-likelihood. Where few patients have a level, or lack a value, these "
        "sums say it of them.",
        rounds=question.rounds,
    )
    if not question.is_cox:
        return [_FIRST, steps, last]
    hazards = say(
        "Last, of each filled-in data set: the sums of the formula's columns and of their squares, of the "
        "first also the columns' third and fourth powers and how many have each combination of levels, how "
        "many have the event, and then at most {rounds} times the logarithm of the partial likelihood over "
        "this hospital's own risk sets, with its first and second derivatives by the coefficients. Where few "
        "patients have a level or the event, or lack a value, these sums say it of them.",
        rounds=question.rounds,
    )
    return [_FIRST, steps, hazards]


_FIRST = say(
    "Once: how many rows there are, of how many patients, how many are left out, how many values of each "
    "column are missing, and the sums of each column's values and of their squares."
)
