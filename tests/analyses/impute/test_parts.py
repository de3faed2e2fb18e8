"""Rubin's rules, keyed draws and draws of parameters, on numbers that a person can check."""

import numpy as np
import pytest

from fedcohort.analyses.impute.draws import keys_of, normals, uniforms
from fedcohort.analyses.impute.posterior import linear, logistic
from fedcohort.analyses.impute.rubin import pooled


def test_rubins_rules_on_five_literal_estimates() -> None:
    estimates = np.array([[1.0], [1.2], [0.8], [1.1], [0.9]])
    variances = np.full((5, 1), 0.04)
    found = pooled(estimates, variances, complete_degrees=97.0)
    # Within 0.04, between 0.025, total 0.04 + 1.2 * 0.025 = 0.07, of which 3/7 is added.
    assert found.coefficients[0] == pytest.approx(1.0)
    assert found.errors[0] == pytest.approx(np.sqrt(0.07))
    old, observed = 4 / (3 / 7) ** 2, 98 / 100 * 97 * 4 / 7
    degrees = 1 / (1 / old + 1 / observed)
    assert found.degrees[0] == pytest.approx(degrees)
    ratio = 0.03 / 0.04
    assert found.missing_information[0] == pytest.approx((ratio + 2 / (degrees + 3)) / (1 + ratio))


def test_the_error_is_that_of_statsmodels() -> None:
    """Its MICEResults add within and between alike; degrees it leaves at Rubin's."""
    draw = np.random.default_rng(0)
    estimates, variances = draw.normal(0, 1, (7, 3)), draw.random((7, 3))
    between = np.diag(np.cov(estimates.T))
    total = variances.mean(0) + (1 + 1 / 7) * between
    found = pooled(estimates, variances, 500.0)
    np.testing.assert_allclose(found.errors, np.sqrt(total), rtol=1e-12)
    assert (found.degrees < 500).all()


def test_data_sets_that_agree_have_the_degrees_of_complete_data() -> None:
    found = pooled(np.ones((4, 1)), np.full((4, 1), 0.5), 20.0)
    assert found.degrees[0] == pytest.approx(21 / 23 * 20)
    assert found.missing_information[0] == 0


def test_a_patients_draw_is_the_same_wherever_the_patient_stands() -> None:
    ids = np.array([f"p{i}" for i in range(500)])
    drawn = normals(keys_of(ids), 1, "a")
    mixed = np.random.default_rng(0).permutation(500)
    assert np.array_equal(normals(keys_of(ids[mixed]), 1, "a"), drawn[mixed])
    wider = np.append(ids, "a name that is longer than all others")
    assert np.array_equal(normals(keys_of(wider), 1, "a")[:500], drawn)
    assert not np.any(normals(keys_of(ids), 2, "a") == drawn)
    assert not np.any(normals(keys_of(ids), 1, "b") == drawn)


def test_rows_of_one_patient_draw_each_for_itself() -> None:
    keys = keys_of(np.array(["a", "b", "a", "a"]))
    assert len(np.unique(keys)) == 4
    assert keys[0] == keys_of(np.array(["a"]))[0]
    assert len(keys_of(np.array([], dtype="U3"))) == 0


def test_draws_are_uniform_normal_and_independent() -> None:
    from scipy.stats import kstest

    keys = keys_of(np.array([f"p{i:05d}" for i in range(20_000)]))
    drawn = np.stack([normals(keys, 0, f"{step}") for step in range(6)])
    assert kstest(uniforms(keys, 0, "u"), "uniform").pvalue > 1e-3
    assert all(kstest(one, "norm").pvalue > 1e-3 for one in drawn)
    assert np.abs(np.corrcoef(drawn) - np.eye(6)).max() < 4 / np.sqrt(20_000)
    assert abs(np.corrcoef(drawn[0][1:], drawn[0][:-1])[0, 1]) < 4 / np.sqrt(20_000)


def test_parameters_of_a_linear_model_are_drawn_about_its_fit() -> None:
    draw = np.random.default_rng(0)
    x = np.column_stack([np.ones(200), draw.normal(0, 1, 200)])
    y = x @ [1.0, 2.0] + draw.normal(0, 0.5, 200)
    both = np.column_stack([x, y])
    drawn = np.stack([linear(both.T @ both, draw) for _ in range(4000)])
    fit, residuals = np.linalg.lstsq(x, y, rcond=None)[:2]
    variance = residuals[0] / 196 * np.linalg.inv(x.T @ x)
    np.testing.assert_allclose(drawn[:, :2].mean(0), fit, atol=0.01)
    np.testing.assert_allclose(np.cov(drawn[:, :2].T), variance, atol=1e-4)
    assert drawn[:, 2].mean() == pytest.approx(np.sqrt(residuals[0] / 198), rel=0.01)


def test_parameters_of_a_linear_model_of_columns_that_follow_from_each_other_are_finite() -> None:
    x = np.column_stack([np.ones(50), np.arange(50.0), np.arange(50.0), np.zeros(50)])
    both = np.column_stack([x, np.arange(50.0)])
    drawn = linear(both.T @ both, np.random.default_rng(0))
    assert np.isfinite(drawn).all()
    assert (x @ drawn[:4])[10] == pytest.approx(10, abs=0.1)
    assert drawn[3] == pytest.approx(0, abs=10)


def test_parameters_of_a_logistic_model_are_drawn_about_its_mode() -> None:
    draw, information = np.random.default_rng(0), np.array([[4.0, 1.0], [1.0, 2.0]])
    drawn = np.stack([logistic(np.array([1.0, -1.0]), information, draw) for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(0), [1.0, -1.0, 0.0], atol=0.05)
    np.testing.assert_allclose(np.cov(drawn[:, :2].T), np.linalg.inv(information), atol=0.05)
