"""A linear regression with a random intercept of each hospital, from sums over hospitals.

With theta the variance between hospitals over the residual one, a hospital of n rows has the covariance I +
theta 11', whose inverse takes c = theta / (1 + n theta) times the products of its totals off its sums (Laird
and Ware 1982, Biometrics 38:963). The profiled criterion, REML's or the likelihood's (Bates et al. 2015, J.
Stat. Softw. 67), is a function of lambda = sqrt(theta) alone, and Newton needs its sums with two derivatives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import log, pi, sqrt

import numpy as np

from fedcohort.analyses.carried_sums import carried, from_limbs, symmetric, to_limbs, triangle
from fedcohort.analyses.contract import Contribution, Draw, Floats, Proved, State, Sums
from fedcohort.analyses.design_rows import parts
from fedcohort.analyses.glm.newton import NEAR, Scaling, check_collinear, inverse
from fedcohort.analyses.glm.regression import Regression
from fedcohort.analyses.glm.scaled import scaling_in
from fedcohort.analyses.rows import Rows
from fedcohort.errors import StudyError, WireError
from fedcohort.vector import Block

START = 1.0
LARGEST = 1e6
"""Of lambda: hospitals that differ by more, in residual deviations, differ by something else."""


@dataclass(frozen=True)
class Mixed:
    """The criterion at one theta, from its sums; (y, y) stands last in each matrix.

    Attributes:
        products: three matrices (p + 1, p + 1): of x and y by the inverse covariance, and its derivatives.
        determinants: of log(1 + n theta), and its derivatives.
    """

    products: tuple[Floats, Floats, Floats]
    determinants: Floats
    n: float
    reml: bool

    @property
    def p(self) -> int:
        """Columns."""
        return len(self.products[0]) - 1

    @property
    def degrees(self) -> float:
        """Of the residual variance."""
        return self.n - self.p * self.reml

    @cached_property
    def covariance(self) -> Floats:
        """(p, p): inverse of the weighted products."""
        return inverse(self.products[0][:-1, :-1])

    @cached_property
    def beta(self) -> Floats:
        """Generalised least squares."""
        found: Floats = self.covariance @ self.products[0][:-1, -1]
        return found

    @property
    def residual(self) -> tuple[float, float, float]:
        """The weighted sum of squared residuals, with two derivatives by theta."""
        signed = np.append(-self.beta, 1.0)
        zeroth, first, second = (float(signed @ matrix @ signed) for matrix in self.products)
        moved = self.products[1][:-1] @ signed
        return zeroth, first, second - 2.0 * float(moved @ self.covariance @ moved)

    @property
    def variance(self) -> float:
        """Of the residuals."""
        return self.residual[0] / self.degrees

    def criterion(self) -> tuple[float, float, float]:
        """Minus twice the profiled log-likelihood or REML criterion, with two derivatives by theta."""
        r, r1, r2 = self.residual
        value = self.degrees * (log(2 * pi * r / self.degrees) + 1.0) + self.determinants[0]
        first = self.degrees * r1 / r + self.determinants[1]
        second = self.degrees * (r2 / r - (r1 / r) ** 2) + self.determinants[2]
        if self.reml:
            once = self.covariance @ self.products[1][:-1, :-1]
            twice = self.covariance @ self.products[2][:-1, :-1]
            value -= float(np.linalg.slogdet(self.covariance)[1])
            first += float(np.trace(once))
            second += float(np.trace(twice) - np.trace(once @ once))
        return value, first, second


@dataclass(frozen=True)
class MixedStage:
    """Products of the columns and the outcome by the inverse covariance of a hospital's rows."""

    regression: Regression
    name: str = "mixed"

    @property
    def times(self) -> int:
        """As often as the question allows."""
        return self.regression.question.rounds

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Three matrices, and three sums of the determinant's."""
        p = self.regression.p + 1
        return (carried("mixed", 3, p * (p + 1) // 2 + 1),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """This hospital's part at the coordinator's theta."""
        (ratio, centre, unit), scaling = asked_of(state, self.regression)
        ours = self.regression.standardised(rows, scaling)
        n, theta = len(ours.y), ratio**2
        both, totals = np.zeros((self.regression.p + 1,) * 2), np.zeros(self.regression.p + 1)
        for chunk, x in parts(ours.x):
            part = np.column_stack([x, (ours.y[chunk] - centre) / unit])
            both += part.T @ part
            totals += part.sum(0)
        by = 1.0 + n * theta
        outer = np.outer(totals, totals)
        products = (both - theta / by * outer, -outer / by**2, 2 * n / by**3 * outer)
        determinants = (np.log(by), n / by, -((n / by) ** 2))
        values = [
            np.append(triangle(matrix), last) for matrix, last in zip(products, determinants, strict=True)
        ]
        return {"mixed": Proved(to_limbs(np.array(values)))}

    def update(self, state: State, sums: Sums) -> State:
        """The next lambda, by Newton; halved where the criterion rises.

        Raises:
            StudyError: columns are collinear, or it does not converge.
        """
        (ratio, centre, unit), _ = asked_of(state, self.regression)
        mixed = mixed_of(sums, state.kept, self.regression)
        kept = dict(state.kept)
        if "ratio" not in kept:
            check_collinear(mixed.products[0][:-1, :-1], self.regression.names)
        value, first, second = mixed.criterion()
        before = kept.get("ratio")
        if before is not None and value > before[1] + 1e-10 * (1 + abs(before[1])):
            step = before[2] / 2
            following = before[0] + step
            kept["ratio"] = np.array([before[0], before[1], step])
        else:
            slope, bend = 2 * ratio * first, 2 * first + 4 * ratio**2 * second
            step = -slope / bend if bend > 0 else -np.sign(slope) * max(ratio, 0.1)
            # Lambda is no less than 0, and goes there by halves.
            step = float(
                np.clip(step, -ratio if first >= 0 and ratio < 1e-4 else -ratio / 2, max(1.0, ratio))
            )
            following = ratio + step
            kept["ratio"] = np.array([ratio, value, step])
            if abs(step) <= NEAR * max(1.0, ratio):
                return replace(state, kept=kept, settled=True)
        if state.round >= self.times or following > LARGEST:
            raise StudyError(
                "analysis.rounds: after {rounds} rounds the coefficients still change; write more rounds, or "
                "name fewer terms",
                rounds=self.regression.question.rounds,
            )
        arrays = {**state.arrays, "ratio": np.array([following, centre, unit])}
        return replace(state, arrays=arrays, kept=kept)


def asked_of(state: State, regression: Regression) -> tuple[tuple[float, float, float], Scaling]:
    """Lambda, the outcome's centre and unit, and the columns' scaling.

    Raises:
        WireError: the coordinator has sent others than the formula's.
    """
    asked = np.asarray(state.arrays.get("ratio", ()), np.float64)
    if (
        asked.shape != (3,)
        or not np.isfinite(asked).all()
        or not 0 <= asked[0] <= 2 * LARGEST
        or asked[2] <= 0
    ):
        raise WireError("a state without a ratio of variances, and a centre and unit of the outcome")
    ratio, centre, unit = asked.tolist()
    return (ratio, centre, unit), scaling_in(state, regression)


def mixed_of(sums: Sums, kept: Mapping[str, Floats], regression: Regression) -> Mixed:
    """The criterion's sums, as they came."""
    values = from_limbs(sums["mixed"])
    zeroth, first, second = (symmetric(line[:-1], regression.p + 1) for line in values)
    n = float(np.asarray(kept["counts"], np.float64)[0])
    return Mixed((zeroth, first, second), values[:, -1], n, regression.question.reml)


def mixed_report(state: State, regression: Regression) -> tuple[Floats, Floats, dict[str, object]]:
    """Coefficients and errors in the columns' own units, the variances, and the criterion."""
    sums = state.sums or Sums({})
    (ratio, centre, unit), scaling = asked_of(state, regression)
    mixed = mixed_of(sums, state.kept, regression)
    back = scaling.back() * unit
    coefficients = back @ mixed.beta
    coefficients[0] += centre
    errors = np.sqrt(np.maximum(np.diag(back @ mixed.covariance @ back.T) * mixed.variance, 0.0))
    residual = sqrt(mixed.variance) * unit
    value = mixed.criterion()[0] + 2 * mixed.n * log(unit)
    if regression.question.reml:
        # Of the columns in their own units.
        value += -2 * regression.p * log(unit) + 2 * float(np.log(scaling.scale).sum())
    more: dict[str, float] = {
        "hospital_sd": ratio * residual,
        "residual_sd": residual,
        "reml_criterion" if regression.question.reml else "loglik": value
        if regression.question.reml
        else -value / 2,
    }
    if not regression.question.reml:
        more["aic"] = value + 2.0 * (regression.p + 2)
    return coefficients, errors, {name: float(number) for name, number in more.items()}
