"""What a regression's report says, from the sums at the last point: coefficients, errors, tests, and fit.

Errors by the model (inverse information) or robust (Huber 1967; White 1980, Econometrica 48:817; HC1 as
MacKinnon and White 1985). A linear model's statistics have Student's t, all others the normal distribution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.glm.newton import Scaling, inverse, solved
from fedcohort.analyses.glm.sums import NewtonSums
from fedcohort.analyses.tails import chi_squared_p, normal_p, normal_quantile, t_p, t_quantile

Floats = NDArray[np.float64]
COVERAGE = 0.975


@dataclass(frozen=True, eq=False)
class Fit:
    """A regression at its end, in standardised columns.

    Attributes:
        theta: where the sums were taken.
        penalty: (p,) of each squared coefficient, twice.
        n: rows; `n_intercepts` beside the coefficients, one a hospital under fixed effects.
        constant, saturated: sums of what the log-likelihood leaves out, and of the saturated model's.
        null: log-likelihood of the model without columns; None where nothing is compared.
        pearson: Pearson's chi-squared; None where it was not asked for.
    """

    family: str
    theta: Floats
    sums: NewtonSums
    scaling: Scaling
    penalty: Floats
    n: float
    n_intercepts: float
    constant: float
    saturated: float
    null: float | None
    pearson: float | None = None

    @property
    def coefficients(self) -> Floats:
        """Standardised, one step after the last point."""
        score = self.sums.score - self.penalty * self.theta
        found: Floats = self.theta + solved(self.bread_inverse, score)
        return found

    @property
    def bread_inverse(self) -> Floats:
        """The information, with what a ridge adds."""
        information: Floats = self.sums.information + np.diag(self.penalty)
        return information

    @property
    def degrees(self) -> float:
        """Rows beyond the coefficients and the hospitals' intercepts."""
        return self.n - len(self.theta) - self.n_intercepts

    @property
    def dispersion(self) -> float:
        """The residual variance of a linear model, else 1."""
        if self.family != "gaussian":
            return 1.0
        return -2.0 * self.sums.loglik / self.degrees if self.degrees > 0 else math.nan

    def covariance(self, se: str) -> Floats:
        """(p, p) in the columns' own units."""
        bread = inverse(self.bread_inverse) if len(self.theta) else np.zeros((0, 0))
        if se == "model":
            middle = bread * self.dispersion
        else:
            middle = bread @ self.sums.meat @ bread
            if se == "HC1":
                middle = middle * (self.n / self.degrees if self.degrees > 0 else math.nan)
        covariance: Floats = self._back @ middle @ self._back.T
        return covariance

    @property
    def _back(self) -> Floats:
        """To the columns' own units; a dispersion has none."""
        p = len(self.scaling.scale)
        back = np.eye(len(self.theta))
        back[:p, :p] = self.scaling.back()
        return back

    def own_units(self) -> Floats:
        """The coefficients in the columns' own units."""
        found: Floats = self._back @ self.coefficients
        return found

    def fit(self) -> dict[str, object]:
        """Log-likelihood, deviance, AIC and the likelihood-ratio test against the model without columns."""
        n_parameters = len(self.theta) + self.n_intercepts + (self.family == "gaussian")
        loglik, null = self._loglik(self.sums.loglik), None if self.null is None else self._loglik(self.null)
        found: dict[str, object] = {
            "loglik": _finite(loglik),
            **self._deviances(),
            "aic": _finite(-2.0 * loglik + 2.0 * n_parameters),
            "bic": _finite(-2.0 * loglik + math.log(max(self.n, 1.0)) * n_parameters),
            "model_degrees": int(len(self.scaling.scale) + self.n_intercepts) - 1,
            "residual_degrees": int(self.degrees),
        }
        if self.family == "gaussian":
            found["residual_sd"] = _finite(
                math.sqrt(max(self.dispersion, 0.0)) if self.degrees > 0 else math.nan
            )
        n_slopes = len(self.scaling.scale) - self.scaling.has_intercept
        if null is not None and n_slopes:
            statistic = max(2.0 * (loglik - null), 0.0)
            found["null_loglik"] = _finite(null)
            p = chi_squared_p(statistic, n_slopes) if math.isfinite(statistic) else math.nan
            found["likelihood_ratio"] = {
                "statistic": _finite(statistic), "degrees": n_slopes, "p": _finite(p)
            }  # fmt: skip
        return found

    def _deviances(self) -> dict[str, object]:
        """Of the model, of the one without columns, and Pearson's chi-squared."""
        found: dict[str, object] = {}
        # A dispersion that is estimated has no saturated model.
        if len(self.theta) == len(self.scaling.scale):
            found["deviance"] = _finite(self._deviance(self.sums.loglik))
            if self.null is not None:
                found["null_deviance"] = _finite(self._deviance(self.null))
        if self.pearson is not None:
            found["pearson_chi2"] = _finite(self.pearson)
        return found

    def _deviance(self, kernel: float) -> float:
        """Of a log-likelihood; of a linear model the residual sum of squares."""
        if self.family == "gaussian":
            return -2.0 * kernel
        return 2.0 * (self.saturated - kernel - self.constant)

    def penalised(self) -> dict[str, object]:
        """Firth's penalised log-likelihood, in the columns' own units."""
        determinant = np.linalg.slogdet(self.sums.information)[1] + 2.0 * np.log(self.scaling.scale).sum()
        return {"penalised_loglik": _finite(self.sums.loglik + float(determinant) / 2)}

    def _loglik(self, kernel: float) -> float:
        """Of a linear model at the variance that fits best."""
        if self.family != "gaussian":
            return kernel + self.constant
        variance = -2.0 * kernel / self.n if self.n else 0.0
        if variance <= 0:
            return math.nan
        return self.constant - self.n / 2 * (math.log(2 * math.pi * variance) + 1.0)


def coefficient_rows(
    names: Sequence[str], coefficients: Floats, errors: Floats, degrees: float | None = None
) -> list[dict[str, object]]:
    """A row a coefficient with its test and its 95 % interval.

    Args:
        degrees: of Student's t; None: the normal distribution.
    """
    statistic = "z" if degrees is None else "t"
    rows: list[dict[str, object]] = []
    for name, coefficient, error in zip(names, coefficients.tolist(), errors.tolist(), strict=True):
        row: dict[str, object] = {"name": name, "coef": coefficient, "se": None, statistic: None, "p": None}
        if math.isfinite(error) and error > 0 and (degrees is None or degrees > 0):
            ratio = coefficient / error
            far = normal_quantile(COVERAGE) if degrees is None else t_quantile(COVERAGE, degrees)
            row |= {
                "se": error,
                statistic: ratio,
                "p": normal_p(ratio) if degrees is None else t_p(ratio, degrees),
                "low": coefficient - far * error,
                "high": coefficient + far * error,
            }
        rows.append({"low": None, "high": None, **row})
    return rows


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
