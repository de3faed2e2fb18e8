"""The noise of a whole study, solved before its first round, alike by every node and the coordinator.

From what the study will release follow the noise multipliers: one for each part of the
patients, so that all releases about any one patient cost at most the study's epsilon. With
shared noise every site adds a share; with noise at each site all of it.

A patient may have data at k = `sites_per_patient` sites. With shared noise there is one sum, which
such a patient moves k times as far: every sensitivity is k times that of one site. With noise at
each site there are k releases of what one site releases. All sites add the same noise to the same
plan where nobody is sampled, so that Gaussian releases compose exactly as k times one of them
(Dong, Roth, Su 2019, corollary 3.3: the squares of sensitivity over sigma add up; training at one
site and held out at another is no worse than the costlier part k times). Where each site samples by
a count of its own the sites' plans differ, and each keeps to 1/k of epsilon and delta (basic
composition, Dwork and Roth 2014, theorem 3.16).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fedcohort.errors import StudyError
from fedcohort.privacy.accounting import check_budget, epsilon, noise_multiplier
from fedcohort.privacy.events import GaussianRelease, Schedule
from fedcohort.privacy.shares import honest_shares, integer_sensitivity, seen_by_colluders, share_sigma
from fedcohort.study import Privacy, Study
from fedcohort.vector import Block, Noisy

Made = Callable[[float], tuple[GaussianRelease, ...]]

TEST_STEPS = 2**10
"""Integer steps of one patient in a site's test, so that its noise is fine enough to be accounted."""

ROOM = 40.0
"""A block has room for so many standard deviations of noise: one in 10^340 would not fit (below 2^-40)."""


@dataclass(frozen=True)
class NoisePlan:
    """Noise by block, in integer steps of the block's resolution.

    Attributes:
        inside: by block of a sum, the releases that it is computed from.
        releases: all that the study releases, for the ledger.
        epsilon: what they cost at the study's delta; `epsilon_alone` if all other sites colluded.
        sigmas: by block, of the sum of all honest shares, for a schedule's first rounds.
        n_shares: how many equal shares make up such a sigma.
        fold: sites that release the same of one patient, each with noise of its own; `releases` count
            them all.
        test: of a site that insists on it, whether its cohort is large enough: the number of patients in
            steps of 1 / TEST_STEPS, with all of the noise; among `releases` where the study leaves room.
    """

    releases: tuple[GaussianRelease, ...]
    epsilon: float
    epsilon_alone: float
    sigmas: dict[str, float]
    schedules: dict[str, Schedule]
    inside: dict[str, Noisy]
    n_shares: int
    fold: int = 1
    test: GaussianRelease | None = None

    def release(self, block: str, step: int) -> GaussianRelease:
        """What one sum releases of a block, in round `step` of the schedule.

        Raises:
            StudyError: the study did not plan it.
        """
        hidden = self.inside.get(block)
        name, count = (hidden.block.name, hidden.a_round) if hidden else (block, 1)
        if name not in self.sigmas:
            raise StudyError(f"block {block}: not among the releases that the study has planned")
        schedule = self.schedules.get(name)
        sigma = self.sigmas[name] * (schedule.share(step * count) if schedule else 1.0)
        planned = next(one for one in self.releases if one.what == name)
        return replace(planned, sigma=sigma, count=count * self.fold)

    def site_sigma(self, block: str, step: int) -> float:
        """Sigma of what one site adds in round `step` of the schedule."""
        return share_sigma(self.release(block, step).sigma, self.n_shares)


def plan_noise(study: Study, noisy: Sequence[Noisy], n_sites: int) -> NoisePlan:
    """Solve a private study's noise; remembered, since every site of a simulation asks the same.

    Args:
        noisy: every release, as the study's analysis has planned it.
    Raises:
        StudyError: no amount of noise is enough, or no share of it would be sure.
    """
    if study.privacy is None:
        raise StudyError("a study without [privacy] has no noise")
    return _plan(study.privacy, tuple(noisy), n_sites, study.colluders, study.shares_noise)


@lru_cache(maxsize=64)
def _plan(
    privacy: Privacy, noisy: tuple[Noisy, ...], n_sites: int, colluders: int, shared: bool
) -> NoisePlan:
    check_budget(privacy.epsilon, privacy.delta)
    n_shares = honest_shares(n_sites, privacy.dropouts, colluders) if shared else 1
    fold = 1 if shared else privacy.sites_per_patient
    farther = privacy.sites_per_patient if shared else 1
    sampled = any(one.sampling_probability < 1 or one.inside is not None for one in noisy)
    paid = fold if sampled else 1
    test = _test(privacy)
    kept = 1.0 - privacy.cohort_test
    releases: list[GaussianRelease] = [] if test is None else [test]
    sigmas: dict[str, float] = {}
    for part in dict.fromkeys(one.part for one in noisy):
        for share, ours in _paid_together([one for one in noisy if one.part == part]):

            def of(multiplier: float, ours: tuple[Noisy, ...] = ours) -> tuple[GaussianRelease, ...]:
                found = (_releases(privacy, one, multiplier, n_shares, farther) for one in ours)
                return tuple(made for some in found for made in some)

            def solved(multiplier: float, of: Made = of) -> tuple[GaussianRelease, ...]:
                return of(multiplier) if sampled else _folded(of(multiplier), fold)

            multiplier = noise_multiplier(
                solved, privacy.epsilon * kept * share / paid, privacy.delta * kept * share / paid
            )
            releases += _folded(of(multiplier), fold)
            sigmas |= {one.block.name: _sigma(one, multiplier, farther) for one in ours}
    for one in noisy:
        if one.inside is None:
            _check_room(one.block, share_sigma(sigmas[one.block.name], n_shares))
    return NoisePlan(
        tuple(releases),
        epsilon(releases, privacy.delta),
        epsilon(seen_by_colluders(releases), privacy.delta),
        sigmas,
        {one.block.name: _schedule(privacy, one) for one in noisy if one.steps},
        {one.inside: one for one in noisy if one.inside is not None},
        n_shares,
        fold,
        test,
    )


def _test(privacy: Privacy) -> GaussianRelease | None:
    """Each site's own test of a patient's cohort, beside which the rest of the study composes (basic)."""
    if not privacy.cohort_test:
        return None
    k, share = privacy.sites_per_patient, privacy.cohort_test

    def of(multiplier: float) -> tuple[GaussianRelease, ...]:
        return (GaussianRelease("cohort-test", TEST_STEPS, TEST_STEPS * multiplier, count=k),)

    return of(noise_multiplier(of, privacy.epsilon * share, privacy.delta * share))[0]


def _folded(releases: tuple[GaussianRelease, ...], fold: int) -> tuple[GaussianRelease, ...]:
    return tuple(replace(one, count=one.count * fold) for one in releases)


def _paid_together(noisy: Sequence[Noisy]) -> list[tuple[float, tuple[Noisy, ...]]]:
    """Shares of a part's budget: each release that is paid apart, and what is left for all others."""
    apart = [(one.apart, (one,)) for one in noisy if one.apart]
    others = tuple(one for one in noisy if not one.apart)
    return [*apart, (1.0 - sum(share for share, _ in apart), others)]


def _schedule(privacy: Privacy, one: Noisy) -> Schedule:
    return Schedule(one.count, one.sampling_probability, privacy.schedule)


def _sensitivity(one: Noisy, farther: int) -> float:
    """In integer steps, rounding at each of `farther` sites included."""
    block = one.block
    if block.sensitivity is None:
        raise StudyError(f"block {block.name}: it has no bound on what one patient can change")
    if one.whole:
        return farther * block.sensitivity / block.resolution
    return farther * integer_sensitivity(block.sensitivity, block.resolution, block.size)


def _sigma(one: Noisy, multiplier: float, farther: int) -> float:
    return multiplier * _sensitivity(one, farther) / math.sqrt(one.weight)


def _releases(
    privacy: Privacy, one: Noisy, multiplier: float, n_shares: int, farther: int
) -> tuple[GaussianRelease, ...]:
    schedule = _schedule(privacy, one) if one.steps else Schedule(one.count, one.sampling_probability)
    return schedule.releases(
        multiplier / math.sqrt(one.weight),
        one.block.name,
        _sensitivity(one, farther),
        one.block.size,
        n_shares,
        one.part,
    )


def _check_room(block: Block, sigma: float) -> None:
    if ROOM * sigma * block.resolution > block.bound:
        raise StudyError(
            f"block {block.name}: noise of {sigma * block.resolution:.3g} has no room beside values up to "
            f"{block.bound:g}; ask for fewer releases, or for a larger epsilon"
        )
