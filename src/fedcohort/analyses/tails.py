"""Tails of the distributions that test statistics have, from `scipy.special`.

scipy.special is imported where it is called: it takes a tenth of a second, which a process that only asks
should not wait for.
"""

import math


def normal_p(z: float) -> float:
    """Two-sided p-value of a standard normal statistic."""
    from scipy.special import ndtr

    return float(2 * ndtr(-abs(z)))


def t_p(t: float, degrees: float) -> float:
    """Two-sided p-value of Student's t."""
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(t)))


def f_p(f: float, degrees: float, degrees_within: float) -> float:
    """Probability of a larger value of F."""
    from scipy.special import fdtrc

    return float(fdtrc(degrees, degrees_within, max(f, 0.0)))


def chi_squared_p(statistic: float, degrees: float) -> float:
    """Probability of a larger value of chi-squared."""
    from scipy.special import chdtrc

    return float(chdtrc(degrees, max(statistic, 0.0)))


def normal_quantile(probability: float) -> float:
    """Below which a standard normal number lies with a probability."""
    from scipy.special import ndtri

    return float(ndtri(probability))


def t_quantile(probability: float, degrees: float) -> float:
    """Below which Student's t lies with a probability."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def binomial_quantile(probability: float, n: int, share: float) -> int:
    """The least count that a binomial one of `n` with this share exceeds with at most 1 - probability."""
    from scipy.special import bdtr, bdtrik

    count = math.ceil(float(bdtrik(probability, n, share)))
    return count - 1 if count > 0 and float(bdtr(count - 1, n, share)) >= probability else count
