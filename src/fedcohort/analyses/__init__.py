"""Pure mathematics: each file is one family of sums over patients, and what follows from the sum."""

from collections.abc import Callable

from fedcohort.analyses.contract import Analysis
from fedcohort.analyses.describe.private import private_describe
from fedcohort.analyses.describe.stages import describe
from fedcohort.analyses.evaluate.private import private_evaluate
from fedcohort.analyses.evaluate.stages import evaluate
from fedcohort.analyses.train.private import private_train
from fedcohort.analyses.train.stages import train
from fedcohort.study import Study

ANALYSES: dict[str, Callable[[Study], Analysis]] = {
    "describe": describe,
    "train": train,
    "evaluate": evaluate,
}
PRIVATE: dict[str, Callable[[Study], Analysis]] = {
    "describe": private_describe,
    "train": private_train,
    "evaluate": private_evaluate,
}


def build_analysis(study: Study) -> Analysis:
    """The analysis that a study asks for."""
    return (ANALYSES if study.privacy is None else PRIVATE)[study.analysis.kind](study)
