"""Exact discrete Gaussian and Laplace noise, and samples of patients, from cryptographic randomness.

Canonne, Kamath, Steinke 2020 (arXiv 2004.00010): a discrete Laplace variable (algorithm 2) is kept with
a probability exp(-gamma) (algorithm 1) that makes it a discrete Gaussian (algorithm 3). All rejections of
a batch are decided at once, in floating point, by comparing 64 random bits with an interval that surely
contains exp(-gamma), if numpy's exp errs by less than 2^-41 of itself; the few (one in about 2^40) that
lie inside the interval are decided by drawing more bits (`Uniform`) and bracketing exp(-gamma) by partial
sums of its alternating series, in rationals of any length. So the
distribution is the discrete Gaussian's own, not an approximation: no floating-point number ever decides
by itself. Sigma, a float, is a rational number and is taken as exactly that number. Whether numpy's exp
is as exact as that is tested before a process first draws; where it is not, OpenDP's sampler draws.

Randomness: AES-256-CTR with a key from the operating system, new for every call, so that nothing is
shared by processes after a fork. No seed exists.

Timing: every candidate of a batch costs the same work, and how many are rejected is independent of the
values kept, so the time of a call tells nothing about its values except where the rare exact decision, a
processor's variable-time division or its caches do. A program on the same machine that measures those is
not guarded against (Jin et al. 2022, arXiv 2112.05307).
"""

import logging
import math
import os
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any, Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from fedcohort.errors import StudyError


def bracket_exp(gamma: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Rationals on both sides of exp(-gamma), at most gamma + 1 times 2^(1 - bits) apart.

    Args:
        gamma: not negative.
        bits: of precision.
    """
    pieces = max(1, math.ceil(gamma))
    part = gamma / pieces
    # On [0, 1] the terms of exp(-part) alternate and shrink: neighbouring partial sums bracket it.
    low, high, term, power = Fraction(0), Fraction(1), Fraction(1), 0
    while high - low > Fraction(1, 2**bits):
        power += 1
        term = term * part / power
        if power % 2:
            low = high - term
        else:
            high = low + term
    return low**pieces, high**pieces


def floor_exp(gamma: Fraction, bits: int) -> int:
    """floor(2^bits exp(-gamma)), exactly; gamma is rational and not zero, so the product is no integer."""
    precision = bits + 16
    while True:
        low, high = bracket_exp(gamma, precision)
        floor = math.floor(low * (1 << bits))
        if floor == math.floor(high * (1 << bits)):
            return floor
        precision *= 2


class Uniform:
    """One uniform number in [0, 1), whose bits are drawn when a comparison asks for them."""

    def __init__(self, first: int) -> None:
        self._value, self._bits = first, 64

    def below_exp(self, gamma: Fraction) -> bool:
        """Whether the number is below exp(-gamma)."""
        if gamma == 0:
            return True
        while True:
            low, high = bracket_exp(gamma, self._bits + 16)
            if Fraction(self._value + 1, 2**self._bits) <= low:
                return True
            if Fraction(self._value, 2**self._bits) >= high:
                return False
            self._value = self._value << 64 | int.from_bytes(os.urandom(8), "little")
            self._bits += 64


log = logging.getLogger("fedcohort.node")

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Backend = Literal["own", "opendp"]

MIN_SCALE, MAX_SCALE = 2.0**-20, 2.0**40
"""Below, noise would be zero; above, it would not fit 64-bit integers."""

MARGIN = 2.0**-40
"""Relative error allowed to exp(-gamma) in floating point; the analysis in `_keep` bounds it by 2^-43."""

_HALF = Fraction(MARGIN) / 2
_PROBES = np.round(np.geomspace(2.0**-20, 128.0, 67) * 2**20) / 2**20
"""Enough to fill vector instructions and leave a rest, over all gammas that are asked."""

_POWERS = np.array([floor_exp(Fraction(power), 64) for power in range(45, 0, -1)], np.uint64)
"""floor(2^64 exp(-v)) for v = 45, ..., 1: ascending, from 0."""

_LARGEST = 2**10
"""A Laplace variable of more scales (probability below exp(-1000)) is drawn again, lest it overflow."""

_CHUNK = 2**16
"""Candidates at once, so that a batch stays in the processor's cache."""


def discrete_gaussian(sigma: float, shape: int | tuple[int, ...], backend: Backend = "own") -> Integers:
    """Draw from the discrete Gaussian: P(x) proportional to exp(-x^2 / (2 sigma^2)), x integer.

    Args:
        sigma: in steps of the integers; taken as exactly this number.
        shape: of the result.
        backend: "own", or "opendp" for OpenDP's sampler (the same distribution, far slower).
    Returns:
        independent 64-bit integers.
    Raises:
        StudyError: sigma is not a number within [MIN_SCALE, MAX_SCALE].
    Source: Canonne, Kamath, Steinke 2020, algorithm 3.
    """
    sigma, size = _checked(sigma, "sigma", shape)
    if backend == "opendp" or not exp_is_close():
        return _opendp("gaussian", sigma, size)
    scale = math.floor(sigma) + 1

    def candidates(count: int) -> Integers:
        drawn = _laplace(scale, 0, count)
        return drawn[_keep(drawn, sigma, scale)]

    return _draw(candidates, size)


def discrete_laplace(scale: float, shape: int | tuple[int, ...], backend: Backend = "own") -> Integers:
    """Draw from the discrete Laplace: P(x) proportional to exp(-|x| / scale), x integer.

    Args:
        scale: in steps of the integers; taken as exactly this number.
        shape: of the result.
        backend: "own", or "opendp" for OpenDP's sampler (the same distribution, far slower).
    Raises:
        StudyError: scale is not a number within [MIN_SCALE, MAX_SCALE].
    Source: Canonne, Kamath, Steinke 2020, algorithm 2.
    """
    scale, size = _checked(scale, "scale", shape)
    if backend == "opendp" or not exp_is_close():
        return _opendp("laplace", scale, size)
    numerator, denominator = scale.as_integer_ratio()
    shift = denominator.bit_length() - 1
    return _draw(lambda count: _laplace(numerator, shift, count), size)


@cache
def exp_is_close() -> bool:
    """Whether numpy's exp on this machine errs by less than MARGIN / 2 of itself, wherever it is asked.

    Where it does not (a processor or a build of numpy that nobody has tried), the interval would not surely
    contain exp(-gamma), and the distribution would be another one: OpenDP's sampler, slow and exact, draws.
    """
    powers = [Fraction(float(power)) for power in np.exp(-_PROBES)]
    for gamma, power in zip(_PROBES, powers, strict=True):
        low, high = bracket_exp(Fraction(float(gamma)), 64 + 2 * math.ceil(gamma))
        if not low * (1 - _HALF) < power < high * (1 + _HALF):
            log.warning("numpy's exp is too inexact on this machine for noise; OpenDP's sampler draws it")
            return False
    return True


def poisson_sample(count: int, probability: float) -> NDArray[np.bool_]:
    """Which of `count` patients are in a sample: each of them independently, by the system's randomness.

    Args:
        probability: of each; taken down to a multiple of 2^-64, which never costs more privacy.
    Raises:
        StudyError: probability is not in (0, 1].
    """
    if not 0 < probability <= 1:
        raise StudyError(
            "patients are sampled with probability {value!r}; it must be in (0, 1]", value=probability
        )
    if probability == 1:
        return np.ones(count, np.bool_)
    chosen: NDArray[np.bool_] = _words(count) < np.uint64(math.floor(Fraction(probability) * 2**64))
    return chosen


def _checked(value: float, name: str, shape: int | tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
    if not MIN_SCALE <= value <= MAX_SCALE:
        raise StudyError(
            "noise: {name} is {value!r} steps; it must be a number from {least:.2g} to {most:.2g}",
            name=name,
            value=value,
            least=MIN_SCALE,
            most=MAX_SCALE,
        )
    size = (shape,) if isinstance(shape, int) else shape
    if any(length < 0 for length in size):
        raise ValueError(f"noise: a shape of {size}")
    return float(value), size


def _draw(candidates: Callable[[int], Integers], shape: tuple[int, ...]) -> Integers:
    """Fill an array with the independent candidates that are accepted, in their order."""
    wanted = math.prod(shape)
    parts: list[Integers] = []
    missing = wanted
    while missing > 0:
        # 0.48 of the candidates survive where sigma is large; a little more, so that one batch suffices.
        enough = int(2.1 * missing + 4 * math.sqrt(missing)) + 16
        parts.append(candidates(min(enough, _CHUNK))[:missing])
        missing -= len(parts[-1])
    return np.concatenate(parts or [np.zeros(0, np.int64)]).reshape(shape)


def _words(count: int) -> Words:
    """64-bit words from the operating system's randomness, stretched by AES-256-CTR."""
    stream = Cipher(AES256(os.urandom(32)), CTR(os.urandom(16))).encryptor()
    return np.frombuffer(stream.update(bytes(8 * count)), np.uint64)


def _uniform(limit: int, count: int) -> Words:
    """Exactly uniform in [0, limit), as many as survive of `count`."""
    words = _words(count)
    if limit & (limit - 1) == 0:
        return words & np.uint64(limit - 1)
    return words[words < np.uint64(2**64 - 2**64 % limit)] % np.uint64(limit)


def _laplace(numerator: int, shift: int, count: int) -> Integers:
    """Algorithm 2 with scale numerator / 2^shift: as many values as survive of `count`."""
    low = _uniform(numerator, count)
    # numpy's conversion to float64 is correctly rounded: gamma errs by at most 2^-52.
    gammas = low.astype(np.float64) / float(numerator)
    low = low[_bernoulli_exp(gammas, lambda i: Fraction(int(low[i]), numerator))]
    high = _geometric(len(low))
    fits = high < _LARGEST
    size = (low[fits].astype(np.int64) + np.int64(numerator) * high[fits]) >> min(shift, 63)
    bits = _words(len(size) // 64 + 1).view(np.uint8)
    negative = np.unpackbits(bits, count=len(size)).astype(bool)
    # Zero has one sign only, else it would be drawn twice as often.
    once = ~(negative & (size == 0))
    signed: Integers = np.where(negative, -size, size)[once]
    return signed


def _geometric(count: int) -> Integers:
    """P(v) = (1 - 1/e) e^-v: v is the number of powers e^-1, e^-2, ... above a uniform number."""
    words = _words(count)
    rank = np.searchsorted(_POWERS, words)
    values: Integers = (len(_POWERS) - rank).astype(np.int64)
    undecided = np.flatnonzero(_POWERS[np.minimum(rank, len(_POWERS) - 1)] == words)
    for index in undecided:
        values[index] = _exact_geometric(int(words[index]))
    return values


def _exact_geometric(word: int) -> int:
    uniform, value = Uniform(word), 0
    while uniform.below_exp(Fraction(value + 1)):
        value += 1
    return value


def _keep(values: Integers, sigma: float, scale: int) -> NDArray[np.bool_]:
    """Algorithm 3's decision: keep y with probability exp(-(|y| - sigma^2 / t)^2 / (2 sigma^2)).

    With z = ||y| - sigma^2 / t| / sigma, gamma = z^2 / 2. |y| < 2^52 and sigma^2 / t < sigma are rounded
    once each, so z errs by at most 2^-53 (1 + 2 z) and gamma by 2^-53 (z + 2.5 z^2): below 2^-43 for z <= 16.
    Beyond, exp(-gamma) < 2^-184, and so says the interval of z = 16: all words but the smallest decide.
    """
    variance = Fraction(sigma) ** 2
    shift = variance / scale
    sizes = np.abs(values)
    distances = np.minimum(np.abs(sizes.astype(np.float64) - float(shift)) / sigma, 16.0)
    return _bernoulli_exp(distances * distances / 2, lambda i: (int(sizes[i]) - shift) ** 2 / (2 * variance))


def _bernoulli_exp(gammas: Floats, exact: Callable[[int], Fraction]) -> NDArray[np.bool_]:
    """Algorithm 1 for many at once: True with probability exp(-exact(i)), for every i.

    Args:
        gammas: `exact` in floating point, such that exp(-gamma) errs by less than MARGIN of itself.
    """
    words = _words(len(gammas))
    # The uniform number lies in [word, word + 1) / 2^64; so does the float of word, give or take 2^-53 of it.
    uniforms = words.astype(np.float64)
    powers = np.exp(-gammas) * 2.0**64
    surely: NDArray[np.bool_] = uniforms + 2.0 < powers * (1 - MARGIN)
    perhaps = uniforms - 2.0 < powers * (1 + MARGIN)
    for index in np.flatnonzero(perhaps & ~surely):
        surely[index] = Uniform(int(words[index])).below_exp(exact(int(index)))
    return surely


def _opendp(kind: Literal["gaussian", "laplace"], scale: float, shape: tuple[int, ...]) -> Integers:
    """OpenDP's sampler, the reference."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    domain: Any = dp.vector_domain(dp.atom_domain(T="i64"))
    if kind == "gaussian":
        measurement = dp.m.make_gaussian(domain, dp.l2_distance(T="f64"), scale)
    else:
        measurement = dp.m.make_laplace(domain, dp.l1_distance(T="f64"), scale)
    return np.array(measurement([0] * math.prod(shape)), np.int64).reshape(shape)
