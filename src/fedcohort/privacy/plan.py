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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fedcohort.errors import StudyError
from fedcohort.privacy.accounting import check_budget, epsilon, noise_multiplier
from fedcohort.privacy.events import GaussianRelease, Schedule
from fedcohort.privacy.shares import honest_shares, integer_sensitivity, seen_by_colluders, share_sigma
from fedcohort.study import Privacy, Study
from fedcohort.vector import ULPS, Block, FixedPoint, Steps

Made = Callable[[float], tuple[GaussianRelease, ...]]

TEST_STEPS = 2**10
"""Integer steps of one patient in a site's test, so that its noise is fine enough to be accounted."""

ROOM = 40.0
"""A block has room for so many standard deviations of noise: one in 10^340 would not fit (below 2^-40)."""


@dataclass(frozen=True)
class NoisePlan:
    """Noise by block, in integer steps of the block's resolution.

    Attributes:
        releases: all that the study releases, for the ledger.
        epsilon: what they cost at the study's delta; `epsilon_alone` if all other sites colluded.
        sigmas: by block, of the sum of all honest shares, for a schedule's first rounds.
        steps: by block that is the outcome of noisy steps, those steps: the noise is in each of them.
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
    steps: dict[str, Steps]
    n_shares: int
    fold: int = 1
    test: GaussianRelease | None = None

    def release(self, block: str, step: int) -> GaussianRelease:
        """What one sum releases of a block, in round `step` of the schedule.

        Raises:
            StudyError: the study did not plan it.
        """
        steps = self.steps.get(block)
        name, count = (steps.block.name, steps.a_round) if steps else (block, 1)
        if name not in self.sigmas:
            raise StudyError("block {block}: not among the releases that the study has planned", block=block)
        schedule = self.schedules.get(name)
        sigma = self.sigmas[name] * (schedule.share(step * count) if schedule else 1.0)
        planned = next(release for release in self.releases if release.what == name)
        return replace(planned, sigma=sigma, count=count * self.fold)

    def site_sigma(self, block: str, step: int) -> float:
        """Sigma of what one site adds in round `step` of the schedule."""
        return share_sigma(self.release(block, step).sigma, self.n_shares)


@dataclass(frozen=True)
class _Planned:
    """Releases of one block, all with the same noise: of a sum, or of the noisy steps that it comes from.

    Attributes:
        block: what noise is added to.
        count: how many times it is released.
        probability: of each patient, each time.
        steps: the steps, where it is one of them.
    """

    block: Block
    count: int
    probability: float = 1.0
    steps: Steps | None = None


def plan_noise(study: Study, blocks: Mapping[Block, int], n_sites: int) -> NoisePlan:
    """Solve a private study's noise; remembered, since every site of a simulation asks the same.

    Args:
        blocks: all that the study's analysis sums, and how often.
    Raises:
        StudyError: no amount of noise is enough, no share of it would be sure, or a block has no bound on
            what one patient can change.
        ValueError: the analysis sums all patients beside some of them, or names two blocks alike.
    """
    if study.privacy is None:
        raise StudyError("a study without [privacy] has no noise")
    return _plan(study.privacy, tuple(blocks.items()), n_sites, study.colluders, study.shares_noise)


def _planned(block: Block, times: int) -> _Planned:
    if block.steps is None:
        return _Planned(block, times)
    return _Planned(block.steps.block, times * block.steps.a_round, block.steps.probability, block.steps)


@lru_cache(maxsize=64)
def _plan(
    privacy: Privacy, blocks: tuple[tuple[Block, int], ...], n_sites: int, colluders: int, shared: bool
) -> NoisePlan:
    check_budget(privacy.epsilon, privacy.delta)
    planned = [_planned(block, times) for block, times in blocks]
    _check_declared([part.block for part in planned])
    n_shares = honest_shares(n_sites, privacy.dropouts, colluders) if shared else 1
    fold = 1 if shared else privacy.sites_per_patient
    farther = privacy.sites_per_patient if shared else 1
    sampled = any(part.steps is not None for part in planned)
    paid = fold if sampled else 1
    test = _test(privacy)
    kept = 1.0 - privacy.cohort_test
    releases: list[GaussianRelease] = [] if test is None else [test]
    sigmas: dict[str, float] = {}
    for patients in dict.fromkeys(part.block.part for part in planned):
        for share, together in _paid_together([part for part in planned if part.block.part == patients]):

            def of(
                multiplier: float, together: tuple[_Planned, ...] = together
            ) -> tuple[GaussianRelease, ...]:
                made = (_releases(privacy, part, multiplier, n_shares, farther) for part in together)
                return tuple(release for some in made for release in some)

            def solved(multiplier: float, of: Made = of) -> tuple[GaussianRelease, ...]:
                return of(multiplier) if sampled else _folded(of(multiplier), fold)

            multiplier = noise_multiplier(
                solved, privacy.epsilon * kept * share / paid, privacy.delta * kept * share / paid
            )
            releases += _folded(of(multiplier), fold)
            sigmas |= {part.block.name: _sigma(privacy, part, multiplier, farther) for part in together}
    for part in planned:
        if part.steps is None:
            _check_room(part.block.fixed_point(private=True), share_sigma(sigmas[part.block.name], n_shares))
    return NoisePlan(
        tuple(releases),
        epsilon(releases, privacy.delta),
        epsilon(seen_by_colluders(releases), privacy.delta),
        sigmas,
        {part.block.name: _schedule(privacy, part) for part in planned if part.block.scheduled},
        {block.name: block.steps for block, _ in blocks if block.steps is not None},
        n_shares,
        fold,
        test,
    )


def _check_declared(blocks: Sequence[Block]) -> None:
    """Each part is given the whole epsilon, and each block's noise is looked up by its name.

    Raises:
        ValueError: parts share patients, or blocks a name.
    """
    parts = {block.part for block in blocks}
    if "all" in parts and len(parts) > 1:
        some = ", ".join(sorted(parts - {"all"}))
        raise ValueError(f"a sum over all patients beside sums over some ({some}): a patient would pay twice")
    if len({block.name for block in blocks}) < len(blocks):
        raise ValueError("two blocks of one name, and not of one declaration")


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


def _paid_together(planned: Sequence[_Planned]) -> list[tuple[float, tuple[_Planned, ...]]]:
    """Shares of a part's budget: each release that is paid apart, and what is left for all others."""
    apart = [(part.block.apart, (part,)) for part in planned if part.block.apart]
    others = tuple(part for part in planned if not part.block.apart)
    return [*apart, (1.0 - sum(share for share, _ in apart), others)]


def _schedule(privacy: Privacy, part: _Planned) -> Schedule:
    return Schedule(part.count, part.probability, privacy.schedule)


def _sensitivity(privacy: Privacy, block: Block, farther: int) -> float:
    """L2 distance in integer steps that one patient moves the block, at `farther` sites."""
    if block.row is None:
        raise StudyError("block {block}: it has no bound on what one patient can change", block=block.name)
    resolution = block.derived_resolution
    if block.proved:
        return farther * integer_sensitivity(block.row, resolution, block.size)
    rows = 1 if block.once else privacy.rows_per_patient
    return farther * rows * block.row / resolution * ULPS


def _sigma(privacy: Privacy, part: _Planned, multiplier: float, farther: int) -> float:
    return multiplier * _sensitivity(privacy, part.block, farther) / math.sqrt(part.block.share)


def _releases(
    privacy: Privacy, part: _Planned, multiplier: float, n_shares: int, farther: int
) -> tuple[GaussianRelease, ...]:
    block = part.block
    schedule = _schedule(privacy, part) if block.scheduled else Schedule(part.count, part.probability)
    return schedule.releases(
        multiplier / math.sqrt(block.share),
        block.name,
        _sensitivity(privacy, block, farther),
        block.size,
        n_shares,
        block.part,
    )


def _check_room(block: FixedPoint, sigma: float) -> None:
    if ROOM * sigma * block.resolution > block.bound:
        raise StudyError(
            "block {block}: noise of {sigma:.3g} has no room beside values up to {bound:g}; ask for fewer "
            "releases, or for a larger epsilon",
            block=block.name,
            sigma=sigma * block.resolution,
            bound=block.bound,
        )
