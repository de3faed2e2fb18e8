"""What a table one says of itself to whoever approves it."""

from collections.abc import Mapping

from fedcohort.analyses.intervals import NORMAL
from fedcohort.analyses.table_one.question import TableOne
from fedcohort.analyses.table_one.stages import TableOneAnalysis
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: TableOne) -> list[Text]:
    """The question."""
    told = [_by(question)]
    if question.nonnormal:
        template = "Median and quartiles of {names}."
        told.append(say(template, names=", ".join(question.nonnormal)))
    if question.tests and question.by is not None:
        told.append(say("For each column a test of whether the groups differ."))
    if question.smd and question.by is not None:
        told.append(say("For each column the standardised difference between each two groups."))
    return told


def _by(question: TableOne) -> Text:
    if question.by is None:
        return say(
            "Of each column how many are known, mean and deviation, or its levels, over all hospitals."
        )
    return say(
        "Of each column by {by} how many are known, mean and deviation, or its levels, over all hospitals.",
        by=question.by,
    )


def released(study: Study, question: TableOne) -> list[Text]:
    """What leaves the hospital."""
    if study.privacy is not None:
        told = [
            say(
                "Once, all with noise: for each group how many patients it has; for each number how many are "
                "known, a sum and a sum of squares; for each level how many have it; a patient counts with "
                "one row."
            )
        ]
        if question.nonnormal:
            told.append(
                say(
                    "For {names} how many lie in each of 8, 64 and 512 parts of the declared range.",
                    names=_names(question),
                )
            )
        return told
    told = [
        say(
            "Once: for each group how many patients it has; for each number how many are known, a sum and a "
            "sum of squares; for each level how many have it; a patient counts with one row."
        )
    ]
    if question.nonnormal:
        told.append(
            say(
                "For {names} how many lie in each of 1,024 parts of the declared range; then, in a few "
                "rounds, how many in smaller and smaller parts about each quartile.",
                names=_names(question),
            )
        )
    return told


def _names(question: TableOne) -> str:
    return ", ".join(question.nonnormal)


def expected(study: Study, analysis: TableOneAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well counts and means will be known, in groups of one size."""
    known = {"n": patients, "x": NORMAL * sigma["groups"]}
    if "moments" not in sigma:
        template = "With {n:,} patients a count will be known to about {x:,.2g}, as far as the noise goes."
        return say(template, **known)
    group = max(patients / analysis.n_groups, 1.0)
    return say(
        "With {n:,} patients, as many in each group, a group's size will be known to about {x:,.2g}, and a "
        "mean to about {y:.2g} of its declared range, as far as the noise goes.",
        **known,
        y=min(1.0, NORMAL * sigma["moments"] / group / 2),
    )
