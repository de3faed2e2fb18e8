"""From a study to its analysis: the stages of its kind's folder, with the grain that it asks for."""

from importlib import import_module

from fedcohort.analyses.contract import Analysis
from fedcohort.study import Study


def build_analysis(study: Study) -> Analysis:
    """The analysis that a study asks for.

    Raises:
        StudyError: it cannot be asked, or not privately.
    """
    analysis: Analysis = import_module(f"fedcohort.analyses.{study.analysis.kind}.stages").build(study)
    return analysis if study.privacy is None else analysis.for_privacy(study.privacy)
