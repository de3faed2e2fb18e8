"""The noise that this site adds to what it releases: solved here for the whole study, drawn from the OS."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Analysis, SiteState, State
from fedcohort.privacy.events import GaussianRelease
from fedcohort.privacy.plan import NoisePlan, plan_noise
from fedcohort.privacy.samplers import discrete_gaussian
from fedcohort.study import Study


def noise_plan(study: Study, analysis: Analysis, site_state: SiteState, n_sites: int) -> NoisePlan:
    """What a private study releases, and with how much noise.

    Raises:
        StudyError: no amount of noise keeps the study within its epsilon.
    """
    return plan_noise(study, analysis.at_site(site_state).planned, n_sites)


@dataclass(frozen=True)
class StepNoise:
    """Noise of a site's own steps, drawn when a part of them is taken: all at once would fill the memory.

    Take each step once; taken again it would be drawn anew.
    """

    sigma: float
    n_steps: int
    size: int

    def __getitem__(self, steps: slice) -> NDArray[np.int64]:
        """(steps, size) of the next steps."""
        return discrete_gaussian(self.sigma, (len(range(*steps.indices(self.n_steps))), self.size))


@dataclass(frozen=True)
class Drawn:
    """This site's noise for a sum, in integer steps, and what its release costs.

    Attributes:
        noise: by block of the sum.
        inside: by block, for the site's own steps.
    """

    noise: Mapping[str, NDArray[np.int64]] = field(repr=False)
    inside: Mapping[str, StepNoise] = field(repr=False)
    releases: tuple[GaussianRelease, ...]


NOT_DRAWN = Drawn(MappingProxyType({}), MappingProxyType({}), ())
"""Without privacy."""


def draw_noise(study: Study, analysis: Analysis, state: State, site_state: SiteState, n_sites: int) -> Drawn:
    """Draw the noise of the next sum.

    Raises:
        StudyError: a block of the layout was not planned.
    """
    plan, step = noise_plan(study, analysis, site_state, n_sites), analysis.schedule_step(state.round)
    layout, noise, inside = analysis.layout(state), {}, {}
    for block in layout:
        sigma, steps = plan.site_sigma(block.name, step), plan.steps.get(block.name)
        if steps is None:
            noise[block.name] = discrete_gaussian(sigma, block.size)
        else:
            inside[steps.block.name] = StepNoise(sigma, steps.a_round, steps.block.size)
    return Drawn(noise, inside, tuple(plan.release(block.name, step) for block in layout))
