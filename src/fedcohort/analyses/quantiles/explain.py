"""What quantiles say of themselves to whoever approves them."""

from collections.abc import Mapping

from fedcohort.analyses.quantiles.question import Quantiles
from fedcohort.analyses.quantiles.stages import FIRST_BITS, ROUND_BITS, QuantilesAnalysis, build
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: Quantiles) -> list[Text]:
    """The question."""
    shares = ", ".join(f"{100 * probability:g} %" for probability in question.probabilities)
    if question.by is None:
        return [
            say(
                "The values below which {shares} of the patients lie, of each number, over all hospitals.",
                shares=shares,
            )
        ]
    return [
        say(
            "The values below which {shares} of the patients lie, of each number, together and by {by}.",
            shares=shares,
            by=question.by,
        )
    ]


def released(study: Study, question: Quantiles) -> list[Text]:
    """What leaves the hospital."""
    if study.privacy is not None:
        return [
            say(
                "Once, with noise: for each group how many patients there are, and for each number how many "
                "lie in each of 8, 64 and 512 equal parts of its bounds; a patient counts with one row, and "
                "a value beyond its bounds as the bound."
            )
        ]
    first = say(
        "First: for each group how many patients there are, and for each number how many lie in each of {n} "
        "equal parts of its bounds; and of a number with a grid how many values lie between its places.",
        n=1 << FIRST_BITS,
    )
    return [first, *_later(study)]


def _later(study: Study) -> list[Text]:
    rounds = build(study).n_rounds - 1 if study.cohort.is_explicit else 1
    if not rounds:
        return []
    template = (
        "Then in further rounds: of each part that holds a quantile or an end of its interval, how many "
        "patients lie in each of {n} equal parts of it, down to the values themselves."
    )
    return [say(template, n=1 << ROUND_BITS), _FEW]


_FEW = say(
    "The last of these counts say which single values patients have, though not who; a coarser grid, or "
    "[privacy], says less."
)


def expected(study: Study, analysis: QuantilesAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well a median will be known, where values lie evenly within the bounds."""
    return say(
        "With {n:,} patients a median will be known to about {x:.2g} of its declared range where values lie "
        "evenly in it, as far as noise and patients go.",
        n=patients,
        x=analysis.width(patients, sigma),
    )
