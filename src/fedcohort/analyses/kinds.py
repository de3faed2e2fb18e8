"""The kinds of question there are, each in a folder of its name.

A folder holds `question` (its words), `stages` (the sums, and `build`), `figures` (what is drawn of its
report) and `explain` (its sentences). Only the words are read here: all of the package knows them.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fedcohort.analyses.compare.question import Compare
from fedcohort.analyses.correlation.question import Correlation
from fedcohort.analyses.cox.question import Cox
from fedcohort.analyses.crosstab.question import Crosstab
from fedcohort.analyses.describe.question import Describe
from fedcohort.analyses.evaluate.question import Evaluate
from fedcohort.analyses.glm.question import GLM
from fedcohort.analyses.impute.question import Impute
from fedcohort.analyses.incidence.question import CumulativeIncidence
from fedcohort.analyses.quantiles.question import Quantiles
from fedcohort.analyses.survival.question import KaplanMeier
from fedcohort.analyses.table_one.question import TableOne
from fedcohort.analyses.train.question import Train
from fedcohort.analyses.validate.question import Validate
from fedcohort.analyses.weighting.question import Weighting
from fedcohort.questions import Question

__all__ = [
    "GLM",
    "Compare",
    "Correlation",
    "Cox",
    "Crosstab",
    "CumulativeIncidence",
    "Describe",
    "Evaluate",
    "Impute",
    "KaplanMeier",
    "Quantiles",
    "TableOne",
    "Train",
    "Validate",
    "Weighting",
]

KINDS: Mapping[str, type[Question]] = MappingProxyType(
    {
        "describe": Describe,
        "train": Train,
        "evaluate": Evaluate,
        "survival": KaplanMeier,
        "incidence": CumulativeIncidence,
        "crosstab": Crosstab,
        "quantiles": Quantiles,
        "correlation": Correlation,
        "validate": Validate,
        "cox": Cox,
        "compare": Compare,
        "glm": GLM,
        "impute": Impute,
        "table_one": TableOne,
        "weighting": Weighting,
    }
)
