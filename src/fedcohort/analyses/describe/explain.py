"""What a description says of itself to whoever approves it."""

from collections.abc import Mapping

from fedcohort.analyses.contract import Analysis
from fedcohort.analyses.describe.question import Describe
from fedcohort.analyses.intervals import NORMAL
from fedcohort.analyses.sentences import numbers_of, rows_of
from fedcohort.columns import Image, Survival
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: Describe) -> list[Text]:
    """The question."""
    return [say("Counts, mean, deviation, and histogram or levels of each column, over all hospitals.")]


def released(study: Study, question: Describe) -> list[Text]:
    """What leaves the hospital."""
    if study.privacy is not None:
        return [
            say(
                "Once, all with noise: how many patients there are; for each number how many are known, a "
                "sum, a sum of squares, and how many lie in each tenth of its range; for each level how many "
                "have it."
            ),
            say(
                "A patient counts with {rows}; a value beyond its bounds counts as the bound.",
                rows=rows_of(study.privacy.rows_per_patient),
            ),
            *_noise_of_bounds(study),
        ]
    images = [name for name, kind in study.cohort.schema_.items() if isinstance(kind, Image)]
    none = say("Nothing of {images}: images are not described.", images=", ".join(images))
    return [*_described(study), *([none] if images else [])]


def _described(study: Study) -> list[Text]:
    survival = isinstance(study.cohort.label, Survival)
    if not survival and all(kind.bounds for kind in numbers_of(study)):
        return [
            say(
                "Once: how many rows and patients there are; for each number how many are known, a sum, a "
                "sum of squares, and how many lie in each twentieth of its range; or a count for each level."
            )
        ]
    return [
        say(
            "Once: how many rows and patients there are; for each number how many are known, a sum and a sum "
            "of squares; or a count for each level."
        ),
        say(
            "Then once: for each number how many lie in each twentieth of its range; of a number without "
            "declared bounds the range lies about the mean of all hospitals, and how many lie beyond it is "
            "told too."
        ),
    ]


def _noise_of_bounds(study: Study) -> list[Text]:
    """Only of numbers: a mean's and deviation's noise is a share of what the bounds allow."""
    words = say(
        "The noise on a number goes with its declared bounds: bounds ten times as wide make its mean and "
        "deviation ten times as uncertain."
    )
    return [words] if numbers_of(study) else []


def expected(study: Study, analysis: Analysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well figures will be known."""
    count = {"n": patients, "x": NORMAL * sigma["patients"]}
    if "sum" not in sigma:
        template = "With {n:,} patients a count will be known to about {x:,.2g}, as far as the noise goes."
        return say(template, **count)
    return say(
        "With {n:,} patients a count will be known to about {x:,.2g}, and a mean to about {y:.2g} of its "
        "declared range, as far as the noise goes.",
        **count,
        y=min(1.0, NORMAL * sigma["sum"] / patients / 2),
    )
