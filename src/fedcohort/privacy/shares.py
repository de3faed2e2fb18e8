"""Shared noise: sigma of each site's share, and the sensitivity of the sum that it is added to.

With shared noise every site adds a discrete Gaussian of variance sigma^2 / (n - dropouts - colluders), so
that the sum still has variance sigma^2 when the announced number of sites drop out and as many as
announced reveal their own shares to the coordinator (Kairouz, Liu, Steinke 2021, arXiv 2102.06387). A
sum over fewer than n - dropouts sites must not be opened.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from fedcohort.errors import StudyError
from fedcohort.privacy.events import GaussianRelease, Release, is_number


def seen_by_colluders(releases: Iterable[Release]) -> tuple[Release, ...]:
    """The releases as seen by all other sites together, who know their own shares of the noise."""
    return tuple(
        replace(release, sigma=release.sigma / math.sqrt(release.shares), shares=1)
        if isinstance(release, GaussianRelease)
        else release
        for release in releases
    )


def honest_shares(n_sites: int, dropouts: int, colluders: int = 1) -> int:
    """How many shares of noise are sure to be in a sum and unknown to others.

    Raises:
        StudyError: none.
    """
    if min(dropouts, colluders) < 0 or n_sites - dropouts - colluders < 1:
        raise StudyError(
            "shared noise: of {sites} sites, {dropouts} may drop out and {colluders} may collude, so that no "
            'share of the noise is sure; use noise = "site", or allow fewer',
            sites=n_sites,
            dropouts=dropouts,
            colluders=colluders,
        )
    return n_sites - dropouts - colluders


def share_sigma(sigma: float, n_shares: int) -> float:
    """Sigma of each site's share, rounded up so that `n_shares` of them have at least variance sigma^2."""
    share = sigma / math.sqrt(n_shares)
    while n_shares * Fraction(share) ** 2 < Fraction(sigma) ** 2:
        share = math.nextafter(share, math.inf)
    return share


def integer_sensitivity(clip: float, resolution: float, dimension: int, error: float = 0.0) -> float:
    """L2 distance, in steps, that one patient moves a sum that its site rounds once.

    Adding a patient moves the real sum by at most `clip`, and each of the two roundings to the nearest step
    moves each coordinate by at most half a step: clip / resolution + sqrt(dimension). (Were each patient's
    vector rounded and integers summed, only one rounding would count, and half of that; Kairouz, Liu,
    Steinke 2021, section 4, lower it further by rounding at random.)

    Args:
        clip: L2 norm that a patient's vector is clipped to.
        resolution: the step between neighbouring integers, in the same units.
        error: L2 bound on what floating point made of either real sum before it was rounded.
    Raises:
        StudyError: an argument is out of range.
    """
    for name, value in (("clip", clip), ("resolution", resolution), ("dimension", dimension)):
        if not (is_number(value) and 0 < value < math.inf):
            raise StudyError("{name} is {value!r}; it must be a positive number", name=name, value=value)
    if not 0 <= error < math.inf:
        raise StudyError("error is {error!r}; it must be a number and not negative", error=error)
    return ((clip + 2 * error) / resolution + math.sqrt(dimension)) * (1 + 2.0**-50)
