"""Tails of the distributions that test statistics have, from `scipy.special`.

scipy.special is imported where it is called: it takes a tenth of a second, which a process that only asks
should not wait for.
"""


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
