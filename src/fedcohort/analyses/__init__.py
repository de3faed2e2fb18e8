"""Pure mathematics: each folder is one question as sums over patients, and what follows from the sums."""

from collections.abc import Callable

from fedcohort.analyses.contract import Analysis
from fedcohort.analyses.describe.stages import describe
from fedcohort.analyses.evaluate.stages import evaluate
from fedcohort.analyses.train.stages import train
from fedcohort.study import Study

ANALYSES: dict[str, Callable[[Study], Analysis]] = {
    "describe": describe,
    "train": train,
    "evaluate": evaluate,
}


def build_analysis(study: Study) -> Analysis:
    """The analysis that a study asks for.

    Raises:
        StudyError: it cannot be asked, or not privately.
    """
    analysis = ANALYSES[study.analysis.kind](study)
    return analysis if study.privacy is None else analysis.for_privacy(study.privacy)
