"""What a private study will find out, before anybody approves it: how wide its noise leaves the results.

From the study alone, for declared numbers of hospitals and patients: noise is solved as for the study
itself, and intervals come from the code that its report's come from, over made-up patients. No data are
asked.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Sums
from fedcohort.analyses.describe.stages import DescribeAnalysis
from fedcohort.analyses.evaluate.stages import EvaluateAnalysis
from fedcohort.analyses.measure import BINS, EDGES, Measure
from fedcohort.analyses.metrics import Task
from fedcohort.analyses.train.stages import TrainAnalysis
from fedcohort.columns import Holdout, Number
from fedcohort.errors import StudyError
from fedcohort.known import IN_LABEL_UNITS
from fedcohort.privacy.plan import NoisePlan, plan_noise
from fedcohort.study import Study, missing_bounds
from fedcohort.texts import Text, say
from fedcohort.vector import FixedPoint

PATIENTS = (300, 3_000, 30_000)
"""At all hospitals together: what is told where nobody says how many there are."""
SITES = 3
METRICS = {"auc": say("AUC"), "accuracy": say("accuracy"), "mae": say("mean absolute error")}
"""By which a model is foreseen: the first that it has."""
_SEPARATION = 1.2
"""Distance of the log-odds of the two outcomes in their deviations: a model with an AUC of about .8."""
_NORMAL = 1.96
_HELD_OUT = 0.2
"""Of the patients, where a column of the data says which are held out."""


def expected(study: Study, sites: int = SITES, patients: Sequence[int] = PATIENTS) -> list[Text]:
    """Sentences for a researcher and an approver; none for a study without [privacy].

    Args:
        patients: numbers of patients at all hospitals together, a sentence each.
    """
    if study.privacy is None or not patients:
        return []
    if missing := missing_bounds(study.cohort):
        return [say("Nothing can be released yet: {why}.", why=missing)]
    try:
        return _sentences(study, max(sites, study.min_sites), patients)
    except StudyError as error:
        return [say("With this epsilon nothing can be released: {why}.", why=error)]


def _sentences(study: Study, sites: int, patients: Sequence[int]) -> list[Text]:
    analysis, share = build_analysis(study), _held_out(study)
    match analysis:
        case DescribeAnalysis():
            plan = plan_noise(study, analysis.planned, sites)
            return [_described(analysis, plan, n, sites) for n in patients]
        case TrainAnalysis():
            if analysis.evaluation is None:
                return [say("No patient is held out, so that nobody will know how good the model is.")]
            evaluation, released = analysis.evaluation, analysis.measurements
        case EvaluateAnalysis():
            evaluation = analysis.evaluation
            released = dict.fromkeys(evaluation.blocks, 1)
        case _:
            return []
    scores = next(iter(released))
    ours = {block: times for block, times in released.items() if block.part == scores.part}
    sigma = _sigma(plan_noise(study, ours, sites), scores.fixed_point(private=True), sites)
    label = study.cohort.label
    unit = f" {label.unit}" if isinstance(label, Number) and label.unit else ""
    return [_measured(evaluation.measure, sigma, n, round(share * n), unit) for n in patients]


def _held_out(study: Study) -> float:
    split = study.cohort.split
    return split.fraction if isinstance(split, Holdout) else 1.0 if split is None else _HELD_OUT


def _sigma(plan: NoisePlan, block: FixedPoint, sites: int) -> float:
    """Of the sum over all sites, in the block's own units."""
    return plan.site_sigma(block.name, 0) * math.sqrt(sites) * block.resolution


def _measured(measure: Measure, sigma: float, patients: int, measured: int, unit: str) -> Text:
    sums = Sums({"scores/test": _made_up(measure.task, measured)[None]}, {"scores/test": sigma})
    found = measure.metrics(sums, "test") or {}
    name = next(name for name in METRICS if name in found)
    counts = {"n": patients, "m": measured, "metric": METRICS[name]}
    low, high = found.get(f"{name}_low"), found.get(f"{name}_high")
    if low is None or high is None:
        return say("With {n:,} patients, {m:,} of them measured, the {metric} will not be known.", **counts)
    return say(
        "With {n:,} patients, {m:,} of them measured, the {metric} will be known to about {x:.2g}{unit}, as "
        "far as the noise goes.",
        **counts,
        x=(high - low) / 2,
        unit=unit if name in IN_LABEL_UNITS else "",
    )


def _made_up(task: Task, n: int) -> NDArray[np.float64]:
    """Counts of patients of whom nobody is one: half of them with each outcome, or most of them right."""
    if not task.is_binary:
        return np.array([0.7 * n if task.n_classes else 0.1 * n, float(n)])
    edges = np.log(EDGES[0].astype(np.float64)) - np.log1p(-EDGES[0].astype(np.float64))
    below = [
        np.array([0.5 * (1 + math.erf((edge - centre) / math.sqrt(2))) for edge in edges])
        for centre in (-_SEPARATION / 2, _SEPARATION / 2)
    ]
    counts = np.array([np.diff(np.concatenate([[0.0], one, [1.0]])) for one in below]) * n / 2
    return counts.reshape(2, BINS)


def _described(analysis: DescribeAnalysis, plan: NoisePlan, patients: int, sites: int) -> Text:
    sigma = {block.name: _sigma(plan, block, sites) for block in analysis.layout(analysis.start())}
    count = {"n": patients, "x": _NORMAL * sigma["patients"]}
    if "sum" not in sigma:
        template = "With {n:,} patients a count will be known to about {x:,.2g}, as far as the noise goes."
        return say(template, **count)
    return say(
        "With {n:,} patients a count will be known to about {x:,.2g}, and a mean to about {y:.2g} of its "
        "declared range, as far as the noise goes.",
        **count,
        y=min(1.0, _NORMAL * sigma["sum"] / patients / 2),
    )
