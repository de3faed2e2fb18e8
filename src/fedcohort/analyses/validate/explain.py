"""What a validation says of itself to whoever approves it."""

from collections.abc import Mapping

import numpy as np

from fedcohort.analyses.validate.question import Validate
from fedcohort.analyses.validate.stages import ValidateAnalysis, private_scale
from fedcohort.study import Study
from fedcohort.texts import Text, say


def asked(study: Study, question: Validate) -> list[Text]:
    """The question."""
    lines = [question.model.said]
    if question.sites:
        lines.append(say("Together, and for each hospital of {sites}.", sites=", ".join(question.sites)))
    elif question.by is not None:
        lines.append(say("Together, and for each group of {by}.", by=question.by))
    if question.part(study) == "test":
        lines.append(say("Of held-out patients alone."))
    return lines


def released(study: Study, question: Validate) -> list[Text]:
    """What leaves the hospital."""
    if study.privacy is not None:
        return [
            say(
                "Once, with noise: for each group how many patients have each outcome, by score in {n} "
                "parts, and of how many the group or the outcome is missing; a patient counts with one row, "
                "and a value beyond its bounds as the bound.",
                n=len(private_scale(np.array(question.thresholds)).middles),
            )
        ]
    return [
        say(
            "Once: for each group how many patients have each outcome, by score in steps of {step:g} "
            "of its log-odds, of how many the group or the outcome is missing, and how many scores lie "
            "between steps.",
            step=question.grid,
        ),
        say(
            "Where few patients have a score, these counts say what outcome single patients have; a wider "
            "grid, or [privacy], says less."
        ),
    ]


def expected(study: Study, analysis: ValidateAnalysis, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well the area under the ROC curve will be known, of a model with an area of about .8."""
    return say(
        "With {n:,} patients, half of them with each outcome, the AUC of all will be known to about {x:.2g}, "
        "as far as noise and patients go.",
        n=patients,
        x=analysis.width(patients, sigma["scores"]),
    )
