"""Evaluate under privacy: measure a trained model on the cohort, in one sum with noise.

Patients of the splits are different patients, so that each split may spend the whole epsilon
(parallel composition). A patient counts with one row; what can be known of a model is a
histogram of scores by outcome, as in private training, and the same with each column hidden.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import numeric_columns
from fedcohort.analyses.contract import Draw, Local, Report, SiteState, State
from fedcohort.analyses.encode import Encoder
from fedcohort.analyses.evaluate.stages import EvaluateAnalysis, evaluate
from fedcohort.analyses.private_metrics import (
    Metrics,
    check_enough,
    measure,
    measured_block,
    noisy_importance,
    noisy_metrics,
    noisy_rows,
    sigma_of,
)
from fedcohort.errors import StudyError
from fedcohort.study import Cohort, Study, missing_bounds
from fedcohort.table import SPLITS, Table
from fedcohort.vector import Layout, Noisy, Vector

IMPORTANCE = "importance"


@dataclass(frozen=True)
class PrivateEvaluate(EvaluateAnalysis):
    """As without privacy in what it is made of; other sums, and noise."""

    def start(self) -> State:
        """One round, which needs nothing but the study: under privacy bins stay where they are."""
        return State("evaluate")

    def phases(self) -> Mapping[str, int]:
        """How often each phase is asked."""
        return {"evaluate": 1}

    def layout(self, state: State) -> Layout:
        """A histogram of scores by split, and one for each column hidden."""
        task, columns = self.evaluation.task, self.evaluation.columns
        scores = tuple(measured_block(_scores(split), task) for split in task.splits)
        return (*scores, measured_block(IMPORTANCE, task, len(columns))) if columns else scores

    def planned(self, site_state: SiteState) -> tuple[Noisy, ...]:
        """Every block, once."""
        splits = (*self.evaluation.task.splits, self.evaluation.split)
        blocks = self.layout(self.start())
        return tuple(Noisy(block, part, 1, whole=True) for block, part in zip(blocks, splits, strict=False))

    def step(self, state: State) -> int:
        """There is no schedule."""
        return 0

    def steps_asked(self, phases: Mapping[str, int]) -> int:
        """There is no schedule."""
        return 0

    def prepare(self, table: Table) -> Local:
        """Encode as the model was trained, one row a patient."""
        from fedcohort.models.saved import weights_from_base64

        _, first = np.unique(table.patient_ids, return_index=True)
        side = table.split[first]
        encoder = Encoder(self.study.cohort, np.array(self.saved.mean), np.array(self.saved.deviation))
        x, y = encoder.inputs(_within_bounds(table, self.study.cohort)), encoder.targets(table)
        weights = weights_from_base64(self.saved.weights, self.model.n_weights)
        predict = partial(self.model.predict_apart, weights)
        task, columns = self.evaluation.task, self.evaluation.columns

        def local(state: State, site_state: SiteState, draw: Draw) -> tuple[Vector, SiteState]:
            vector: dict[str, NDArray[np.float64]] = {}
            for split in task.splits:
                rows = first[side == SPLITS[split]]
                vector[_scores(split)] = measure(task, predict(x[rows]), y[rows])[None]
            held = first[side == SPLITS[self.evaluation.split]]
            hidden = (x[held].hidden(name, part) for name, part in columns.items())
            if columns:
                vector[IMPORTANCE] = np.stack([measure(task, predict(one), y[held]) for one in hidden])
            return vector, site_state

        return local

    def update(self, state: State, total: Vector) -> State:
        """One sum, and it is done; a row of metrics for each split.

        Raises:
            CohortTooSmallError: too few patients, by the noisy counts.
        """
        kept = {name: np.asarray(values) for name, values in total.items()}
        blocks = [_scores(split) for split in self.evaluation.task.splits]
        bins = sum(kept[block].size for block in blocks)
        n = sum(noisy_rows(self.evaluation.task, kept[block][0]) for block in blocks)
        check_enough(n, sigma_of(kept, blocks[0]) * math.sqrt(bins))
        rows = tuple({"round": 1, "split": split, **found} for split, found in self._metrics(kept).items())
        return state.ended(kept, rows)

    def report(self, state: State) -> Report:
        """Metrics by split, and importance, with what the noise leaves uncertain."""
        task, kept = self.evaluation.task, state.kept
        found: Report = {**task.told, **self._metrics(kept)}
        if self.evaluation.columns:
            held = _scores(self.evaluation.split)
            hidden = dict(zip(self.evaluation.columns, kept[IMPORTANCE], strict=True))
            sigmas = sigma_of(kept, held), sigma_of(kept, IMPORTANCE)
            found["importance"] = noisy_importance(task, kept[held][0], hidden, sigmas)
        return found

    def _metrics(self, kept: Vector) -> dict[str, Metrics]:
        task = self.evaluation.task
        return {
            split: noisy_metrics(task, np.asarray(kept[block])[0], sigma_of(kept, block), seed)
            for seed, (split, block) in enumerate((split, _scores(split)) for split in task.splits)
        }


def _scores(split: str) -> str:
    return f"scores/{split}"


def _within_bounds(table: Table, cohort: Cohort) -> Table:
    """A value beyond its declared bounds counts as the bound; without privacy it would be refused."""
    columns = dict(table.columns)
    for name, kind in numeric_columns(cohort.schema_).items():
        if kind.bounds is not None:
            columns[name] = np.clip(columns[name].astype(np.float64), *kind.bounds)
    return replace(table, columns=columns)


def private_evaluate(study: Study) -> PrivateEvaluate:
    """The analysis of `fc.Evaluate(model=...)` under `[privacy]`.

    Raises:
        StudyError: a number has no declared bounds, or the model was made for other columns.
    """
    plain = evaluate(study)
    if study.privacy is None:
        raise StudyError("analysis: not a private evaluation")
    if missing := missing_bounds(study.cohort):
        raise StudyError(missing)
    return PrivateEvaluate(study, plain.saved, plain.evaluation)
