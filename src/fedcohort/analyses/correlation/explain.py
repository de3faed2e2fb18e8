"""What correlations say of themselves to whoever approves them."""

from collections.abc import Mapping

from fedcohort.analyses.correlation.question import Correlation
from fedcohort.analyses.correlation.stages import CorrelationAnalysis
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: Correlation) -> list[Text]:
    """The question."""
    if question.method == "spearman":
        first = say("Correlations between the ranks of all numbers (Spearman), over all hospitals.")
    else:
        first = say("Correlations between all numbers (Pearson), over all hospitals.")
    if question.pca is None:
        return [first]
    return [first, say("And the first {n} principal components of them.", n=question.pca)]


def released(study: Study, question: Correlation) -> list[Text]:
    """What leaves the hospital; of patients who have every number."""
    if study.privacy is None:
        return _exact(question)
    one_row = say("A patient counts with one row, and a value beyond its bounds as the bound.")
    tree = say(
        "First, with noise: how many patients have every number and how many do not; for each number how "
        "many lie in each of 8, 64 and 512 equal parts of its bounds."
    )
    if question.method == "pearson":
        then = say(
            "Then, with noise: the sum of each number, and for each pair of numbers the sum of their "
            "products, scaled by where most of them lie; a value far beyond counts as less far."
        )
    else:
        then = say(
            "Then, with noise: for each pair of numbers the sum of the products of their scaled ranks."
        )
    return [tree, then, one_row]


def _exact(question: Correlation) -> list[Text]:
    if question.method == "pearson":
        return [
            say(
                "First: how many patients have every number and how many do not; of the first a sum and a "
                "sum of squares of each number."
            ),
            say(
                "Then: for each pair of numbers the sum of their products, about the means of all hospitals."
            ),
        ]
    return [
        say(
            "First: how many patients have every number and how many do not; for each number how many have "
            "each value of its grid, or lie in each of 4,096 equal parts of its bounds, and how many values "
            "lie between the places of the grid."
        ),
        say("Then: for each pair of numbers the sum of the products of their scaled ranks."),
        say(
            "The first of these counts say which single values patients have, though not who; a coarser "
            "grid, or [privacy], says less."
        ),
    ]


def expected(study: Study, analysis: CorrelationAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well a coefficient will be known, where values lie evenly within the bounds."""
    return say(
        "With {n:,} patients a correlation will be known to about {x:.2g} where values lie evenly in their "
        "declared ranges, as far as noise and patients go.",
        n=patients,
        x=analysis.width(patients, sigma),
    )
