"""The noise that this site adds to what it releases: solved here for the whole study, drawn from the OS."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Analysis, PrivateAnalysis, State
from fedcohort.errors import PolicyError
from fedcohort.privacy.events import GaussianRelease
from fedcohort.privacy.noise import discrete_gaussian
from fedcohort.privacy.plan import NoisePlan, plan_noise
from fedcohort.study import Study


def noise_plan(study: Study, analysis: Analysis, n_sites: int) -> NoisePlan:
    """What a private study releases, and with how much noise.

    Raises:
        PolicyError: the analysis has not said what it releases.
        StudyError: no amount of noise keeps the study within its epsilon.
    """
    if not isinstance(analysis, PrivateAnalysis):
        raise PolicyError("this analysis does not say beforehand what it releases, so it cannot be private")
    return plan_noise(study, analysis.planned(), n_sites)


@dataclass(frozen=True)
class Drawn:
    """This site's noise for every block of a sum, in integer steps, and what its release costs."""

    noise: Mapping[str, NDArray[np.int64]] = field(repr=False)
    releases: tuple[GaussianRelease, ...]


def draw_noise(study: Study, analysis: Analysis, state: State, n_sites: int) -> Drawn:
    """Draw the noise of the next sum.

    Raises:
        StudyError: a block of the layout was not planned.
    """
    plan = noise_plan(study, analysis, n_sites)
    step = analysis.step(state) if isinstance(analysis, PrivateAnalysis) else 0
    blocks = analysis.layout(state)
    noise = {block.name: discrete_gaussian(plan.site_sigma(block.name, step), block.size) for block in blocks}
    return Drawn(noise, tuple(plan.release(block.name, step) for block in blocks))
