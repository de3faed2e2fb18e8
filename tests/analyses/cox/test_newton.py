"""Newton's method by sums: it halves a step that goes too far, and says where there is nothing to find."""

from typing import Any

import numpy as np
import pytest

from fedcohort.analyses.cox.newton import MOST_ROUNDS, Likelihood, climb, inverse
from fedcohort.errors import StudyError

NOTHING: dict[str, Any] = {}


def quartic(b: np.ndarray) -> Likelihood:
    """-b^4 / 4 - b^2 / 2 + b: far away Newton's step is short of a maximum at about 0.68."""
    (x,) = b
    return Likelihood(float(-(x**4) / 4 - x**2 / 2 + x), np.array([1 - x - x**3]), np.array([[1 + 3 * x**2]]))


def cusp(b: np.ndarray) -> Likelihood:
    """-log cosh(b - 5), from whose slope Newton's step goes far beyond the maximum."""
    (x,) = b - 5
    return Likelihood(
        float(-np.log(np.cosh(x))), np.array([-np.tanh(x)]), np.array([[1 / np.cosh(x) ** 2 + 1e-6]])
    )


@pytest.mark.parametrize(("likelihood", "maximum"), [(quartic, 0.6823278038280193), (cusp, 5.0)])
def test_it_settles_at_the_maximum(likelihood: Any, maximum: float) -> None:
    at, kept = np.array([0.0]), NOTHING
    for _ in range(MOST_ROUNDS):
        step = climb(likelihood(at), at, kept, ["x"])
        at, kept = step.coefficients, dict(step.kept)
        if step.settled:
            break
    assert step.settled
    assert at[0] == pytest.approx(maximum, abs=1e-9)


def endless() -> None:
    at, kept = np.array([0.0]), NOTHING
    for _ in range(MOST_ROUNDS):
        x = at[0] + 1
        here = Likelihood(float(np.sqrt(x)), 0.5 / np.sqrt([x]), 0.25 / np.sqrt([[x]]) ** 3)
        step = climb(here, at, kept, ["x"])
        at, kept = step.coefficients, dict(step.kept)


def test_a_likelihood_without_a_maximum_ends_in_words() -> None:
    """It rises with the root of the coefficient, by ever longer steps; with a maximum it ends (above)."""
    said = "no maximum of the likelihood in 40 rounds, of x; leave out columns that hardly vary"
    with pytest.raises(StudyError, match=said):
        endless()


def test_of_a_direction_that_is_not_known_the_covariance_is_large_and_finite() -> None:
    covariance = inverse(np.array([[1.0, 1.0], [1.0, 1.0]]))
    assert np.isfinite(covariance).all()
    assert covariance[0, 0] > 1e12
    np.testing.assert_allclose(inverse(np.array([[4.0, 0.0], [0.0, 1e-20]])), [[0.25, 0.0], [0.0, 1e20]])
