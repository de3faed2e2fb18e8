"""The noise that this site adds to what it releases: solved here for the whole study, drawn from the OS."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Analysis, PrivateAnalysis, SiteState, State
from fedcohort.errors import PolicyError, WireError
from fedcohort.privacy.events import GaussianRelease
from fedcohort.privacy.plan import NoisePlan, plan_noise
from fedcohort.privacy.samplers import discrete_gaussian
from fedcohort.study import Study


def noise_plan(study: Study, analysis: Analysis, site_state: SiteState, n_sites: int) -> NoisePlan:
    """What a private study releases, and with how much noise.

    Raises:
        PolicyError: the analysis has not said what it releases.
        StudyError: no amount of noise keeps the study within its epsilon.
    """
    if not isinstance(analysis, PrivateAnalysis):
        raise PolicyError("this analysis does not say beforehand what it releases, so it cannot be private")
    return plan_noise(study, analysis.planned(site_state), n_sites)


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


def draw_noise(
    study: Study, analysis: Analysis, state: State, site_state: SiteState, step: int, n_sites: int
) -> Drawn:
    """Draw the noise of the next sum.

    Args:
        step: rounds of the noise schedule before this one, as this site has counted them.
    Raises:
        StudyError: a block of the layout was not planned.
    """
    plan = noise_plan(study, analysis, site_state, n_sites)
    noise, inside = {}, {}
    for block in analysis.layout(state):
        sigma, hidden = plan.site_sigma(block.name, step), plan.inside.get(block.name)
        if hidden is None:
            noise[block.name] = discrete_gaussian(sigma, block.size)
        else:
            inside[hidden.block.name] = StepNoise(sigma, hidden.a_round, hidden.block.size)
    return Drawn(noise, inside, tuple(plan.release(block.name, step) for block in analysis.layout(state)))


def step_of(analysis: Analysis, phases: Mapping[str, int], state: State) -> int:
    """How many rounds of the noise schedule came before this one: by this site's own count.

    Raises:
        WireError: the coordinator's state says otherwise; less noise may go with another round.
    """
    if not isinstance(analysis, PrivateAnalysis):
        return 0
    before = dict(phases)
    before[state.phase] -= 1
    asked = analysis.steps_asked(before)
    if analysis.steps_asked(phases) != asked and analysis.step(state) != asked:
        raise WireError(f"the state is of step {analysis.step(state)} where {asked} have been taken")
    return asked
