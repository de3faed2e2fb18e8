"""Tails of distributions against scipy.stats."""

import pytest
from scipy import stats

from fedcohort.analyses import tails


@pytest.mark.parametrize("statistic", [0.0, 0.3, 1.96, 7.5, 40.0])
def test_tails_are_those_of_scipy_stats(statistic: float) -> None:
    assert tails.normal_p(-statistic) == pytest.approx(2 * stats.norm.sf(statistic), rel=1e-12)
    assert tails.t_p(-statistic, 7.5) == pytest.approx(2 * stats.t.sf(statistic, 7.5), rel=1e-12)
    assert tails.f_p(statistic, 3, 17) == pytest.approx(stats.f.sf(statistic, 3, 17), rel=1e-12)
    assert tails.chi_squared_p(statistic, 4) == pytest.approx(stats.chi2.sf(statistic, 4), rel=1e-12)


@pytest.mark.parametrize("probability", [0.025, 0.5, 0.9])
def test_quantiles_are_those_of_scipy_stats(probability: float) -> None:
    assert tails.normal_quantile(probability) == pytest.approx(stats.norm.ppf(probability), abs=1e-12)
    assert tails.t_quantile(probability, 7.5) == pytest.approx(stats.t.ppf(probability, 7.5), abs=1e-9)
