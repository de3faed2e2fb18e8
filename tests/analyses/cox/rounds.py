"""A private study round by round in this process, with noise that is drawn from a seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, Sums
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.site_sum import site_sum
from fedcohort.privacy.plan import plan_noise
from fedcohort.table import Table
from tests.analyses.at_site import SITES


def table_of(frame: pd.DataFrame, study: fc.Study) -> Table:
    """A site's table of a frame with `time` and `event`."""
    columns: dict[str, Any] = {}
    for name, kind in study.cohort.schema_.items():
        if isinstance(kind, fc.Categorical):
            columns[name] = pd.Categorical(frame[name], categories=list(kind.levels)).codes.astype(np.int64)
        else:
            columns[name] = frame[name].to_numpy(np.float64)
    label = study.cohort.label
    assert isinstance(label, fc.Survival)
    time, event = frame["time"].to_numpy(np.float64), frame["event"].to_numpy(np.float64)
    if label.horizon is not None:
        time, event = np.minimum(time, label.horizon), np.where(time > label.horizon, 0.0, event)
    ids = np.array([f"p{row:06d}" for row in range(len(frame))])
    return Table(ids, columns, np.zeros(len(frame), np.int8), time, event)


def played(study: fc.Study, tables: Sequence[Table], draw: np.random.Generator | None) -> dict[str, Any]:
    """The report of a study of four hospitals, whose rows may be given as one table; None: no noise."""
    analysis = build_analysis(study)
    plan = plan_noise(study, analysis.planned, SITES)
    rows, state = [Rows(table, 1) for table in tables], analysis.start()
    while not state.finished:
        stage = analysis.stage_at(state.round)
        assert stage is not None
        parts = [
            site_sum(stage.blocks, stage.contribute(state, one, Draw(0, "a", 0)), one, True) for one in rows
        ]
        values: dict[str, Any] = {}
        sigma: dict[str, float] = {}
        for block in stage.blocks:
            of_site = plan.site_sigma(block.name, 0) * block.fixed_point(private=True).resolution
            sigma[block.name] = of_site * np.sqrt(SITES) if draw is not None else 1e-6
            noise = 0.0 if draw is None else draw.standard_normal(block.shape) * sigma[block.name]
            values[block.name] = sum(part[block.name] for part in parts) + noise
        state = analysis.update(state, Sums(values, sigma, SITES))
    report: dict[str, Any] = dict(analysis.report(state))
    return report
