"""Hospitals answer an analysis together, without engine or protection: their integers added up by round."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Analysis, State, Sums
from fedcohort.analyses.rows import Rows
from fedcohort.privacy.plan import NoisePlan, plan_noise
from fedcohort.protection.fixed_point import add_ring, from_ring, to_ring
from fedcohort.sources.cohort.frame import table_from_frame

from .at_site import contributed, rows_of


def report_of(study: fc.Study, frames: Mapping[str, pd.DataFrame] | Sequence[pd.DataFrame]) -> dict[str, Any]:
    """What the study finds in the hospitals' frames."""
    analysis = build_analysis(study)
    return dict(analysis.report(finished(study, analysis, frames)))


def noisy(study: fc.Study, frames: Mapping[str, pd.DataFrame], seed: int) -> dict[str, Any]:
    """What a private study finds in them, with noise of this seed."""
    analysis = build_analysis(study)
    return dict(analysis.report(finished(study, analysis, frames, seed)))


def finished(
    study: fc.Study,
    analysis: Analysis,
    frames: Mapping[str, pd.DataFrame] | Sequence[pd.DataFrame],
    seed: int = 0,
) -> State:
    """The state after the last round; noise is drawn by a seed, as no patient is protected here."""
    parts = list(frames.values()) if isinstance(frames, Mapping) else list(frames)
    private = study.privacy is not None
    sites = [rows_of(analysis, table_from_frame(frame, study.cohort, study.seed, private)) for frame in parts]
    plan = plan_noise(study, analysis.planned, len(sites)) if private else None
    draw = np.random.default_rng(seed)
    state = analysis.start()
    while not state.finished:
        state = analysis.update(state, sums_of(analysis, sites, state, plan, draw))
    return state


def sums_of(
    analysis: Analysis, sites: Sequence[Rows], state: State, plan: NoisePlan | None, draw: np.random.Generator
) -> Sums:
    """What one round's sum over the sites shows."""
    layout = analysis.layout(state)
    rings = [to_ring(layout, contributed(analysis, site, state), len(sites)) for site in sites]
    total = rings[0]
    for ring in rings[1:]:
        add_ring(total, ring)
    values = dict(from_ring(layout, total, len(sites)))
    sigma: dict[str, float] = {}
    if plan is not None:
        for block in layout:
            if block.name in plan.steps:
                continue
            site_sigma = plan.site_sigma(block.name, analysis.schedule_step(state.round))
            sigma[block.name] = site_sigma * np.sqrt(len(sites)) * block.resolution
            noise = sigma[block.name] * draw.standard_normal(block.shape)
            values[block.name] = values[block.name] + noise
    return Sums(values, sigma, len(sites))
