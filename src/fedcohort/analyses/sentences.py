"""What several analyses say of a study for whoever approves it."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Sums
from fedcohort.analyses.evaluation import Evaluation
from fedcohort.analyses.measure import BINS, EDGES
from fedcohort.analyses.metrics import Outcome
from fedcohort.columns import Binary, Classes, Holdout, Number, Numeric
from fedcohort.known import IN_LABEL_UNITS
from fedcohort.study import Study
from fedcohort.texts import Text, in_a_row, say

METRICS = {"auc": say("AUC"), "accuracy": say("accuracy"), "mae": say("mean absolute error")}
"""By which a model is foreseen: the first that it has."""
_SEPARATION = 1.2
"""Distance of the log-odds of the two outcomes in their deviations: a model with an AUC of about .8."""
_HELD_OUT = 0.2
"""Of the patients, where a column of the data says which are held out."""


def rows_of(most: int) -> Text:
    """With how many rows a patient counts."""
    return say("one row") if most == 1 else say("at most {n} rows", n=most)


def numbers_of(study: Study) -> list[Numeric]:
    """The cohort's numeric columns."""
    return [kind for kind in study.cohort.schema_.values() if isinstance(kind, Numeric)]


def measured(study: Study) -> Text:
    """What is counted of predictions on one split."""
    if isinstance(study.cohort.label, Number):
        return say("rows, sums of squared and absolute errors, sum and sum of squares of the label")
    return say("the sum of losses, correct rows, and rows by score and outcome")


def evaluated(study: Study, importance: bool) -> Text:
    """What is counted of a finished model."""
    parts = [say("by split, {measured}", measured=measured(study))]
    shuffled = say("for each column the loss after shuffling it")
    match study.cohort.typed_label:
        case Binary():
            parts.append(
                say("rows by predicted and true class, and by calibration bin with the sum of scores")
            )
            shuffled = say("for each column the loss, and rows by score and outcome, after shuffling it")
        case Classes():
            parts.append(say("rows by predicted and true class"))
    return in_a_row("; ", [*parts, shuffled] if importance else parts)


def expected_metric(study: Study, evaluation: Evaluation, patients: int, sigma: Mapping[str, float]) -> Text:
    """How well a model's metric will be known, with so many patients at all hospitals together."""
    split, measure = study.cohort.split, evaluation.measure
    share = split.fraction if isinstance(split, Holdout) else 1.0 if split is None else _HELD_OUT
    n, name = round(share * patients), f"scores/{evaluation.splits[0]}"
    sums = Sums({name: _made_up(measure.outcome, n)[None]}, {name: sigma[name]})
    metrics = measure.metrics(sums, evaluation.splits[0]) or {}
    metric = next(metric for metric in METRICS if metric in metrics)
    counts = {"n": patients, "m": n, "metric": METRICS[metric]}
    low, high = metrics.get(f"{metric}_low"), metrics.get(f"{metric}_high")
    if low is None or high is None:
        return say("With {n:,} patients, {m:,} of them measured, the {metric} will not be known.", **counts)
    label = study.cohort.label
    unit = label.unit if isinstance(label, Number) and metric in IN_LABEL_UNITS else None
    return say(
        "With {n:,} patients, {m:,} of them measured, the {metric} will be known to about {x:.2g}{unit}, as "
        "far as the noise goes.",
        **counts,
        x=(high - low) / 2,
        unit=f" {unit}" if unit else "",
    )


def _made_up(outcome: Outcome, n: int) -> NDArray[np.float64]:
    """Counts of patients of made-up patients: half of them with each outcome, or most of them right."""
    if not outcome.is_binary:
        return np.array([0.7 * n if outcome.n_classes else 0.1 * n, float(n)])
    edges = np.log(EDGES[0].astype(np.float64)) - np.log1p(-EDGES[0].astype(np.float64))
    below = [
        np.array([0.5 * (1 + math.erf((edge - centre) / math.sqrt(2))) for edge in edges])
        for centre in (-_SEPARATION / 2, _SEPARATION / 2)
    ]
    counts = np.array([np.diff(np.concatenate([[0.0], share_below, [1.0]])) for share_below in below]) * n / 2
    return counts.reshape(2, BINS)
