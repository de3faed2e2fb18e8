"""What an evaluation says of itself to whoever approves it."""

from collections.abc import Mapping

from fedcohort.analyses.evaluate.question import Evaluate
from fedcohort.analyses.evaluate.stages import EvaluateAnalysis
from fedcohort.analyses.sentences import evaluated, expected_metric
from fedcohort.columns import Number
from fedcohort.study import Study
from fedcohort.texts import Text, in_a_row, say


def asked(study: Study, evaluation: Evaluate) -> list[Text]:
    """The question."""
    return [evaluation.model.said]


def released(study: Study, evaluation: Evaluate) -> list[Text]:
    """What leaves the hospital."""
    if study.privacy is not None:
        parts = [
            say("by split, patients by outcome and score, or by how far the model is off"),
            *(
                [say("of held-out patients the same with each column hidden")]
                if evaluation.importance
                else []
            ),
            say("a patient counts with one row"),
            say("a value beyond its bounds counts as the bound"),
        ]
        template = "Once, for the model in the study, all with noise: {parts}."
        return [say(template, parts=in_a_row("; ", parts))]
    first = say("First: rows of the measured split by score and outcome, to place finer parts of the scores.")
    once = say("Once, for the model in the study: {parts}.", parts=evaluated(study, evaluation.importance))
    return [once] if isinstance(study.cohort.label, Number) else [first, once]


def expected(study: Study, analysis: EvaluateAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well the model's metric will be known."""
    return expected_metric(study, analysis.evaluation, patients, sigma)
