"""Variances of estimates by what each patient's weight changes in them, the weights being estimated.

An estimate changes with a patient's weight, and through all weights with the coefficients of the treatment's
regression, which change with the patient's score. The sum of squares of the whole is the sandwich of all
estimating equations (Shu, Young, Toh and Wang 2021, Biometrics 77:1101, of hazard ratios; Lunceford and
Davidian 2004 of means): a hospital adds up squares, and products with its patients' scores, and no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.carried_sums import symmetric, triangle
from fedcohort.analyses.glm.newton import inverse
from fedcohort.analyses.weighting.weights import Treated, scores_of, weights_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Parts:
    """What a patient's change of an estimate is multiplied by, (n, …).

    Attributes:
        squared: (n,) of the squared change, the squared weight.
        products: (n, 2 p) of the change: the weight times the score, and the weight's own slope times x.
    """

    squared: Floats
    products: Floats

    @classmethod
    def of(cls, estimand: str, rows: Treated, beta: Floats) -> "Parts":
        """At the coefficients of the treatment's regression."""
        score = scores_of(rows.x, beta)
        weight, slope = weights_of(estimand, rows.a, score)
        scored = rows.x * (weight * (rows.a - score))[:, None]
        return cls(weight**2, np.concatenate([scored, rows.x * slope[:, None]], axis=1))

    def sums(self, changes: Floats) -> Floats:
        """(1 + 2 p,): of one estimate."""
        return np.append(changes**2 @ self.squared, changes @ self.products)

    def by_cell(self, cell: Ints, n_cells: int) -> Floats:
        """(cells, 1 + 2 p): what estimates that change alike for all of a cell need."""
        columns = [self.squared, *self.products.T]
        return np.stack([np.bincount(cell, column, n_cells) for column in columns], axis=1)


def regression_sums(rows: Treated, beta: Floats) -> Floats:
    """(p (p + 1),): information and summed squared scores of the treatment's regression."""
    score = scores_of(rows.x, beta)
    information = rows.x.T @ (rows.x * (score * (1 - score))[:, None])
    scored = rows.x * (rows.a - score)[:, None]
    return np.concatenate([triangle(information), triangle(scored.T @ scored)])


@dataclass(frozen=True, eq=False)
class Influences:
    """Sums over all hospitals.

    Attributes:
        regression: as `regression_sums` made them.
        estimates: (estimates, 1 + 2 p), as `Parts` made them.
    """

    regression: Floats
    estimates: Floats

    @property
    def p(self) -> int:
        """Columns of the treatment's formula."""
        return (int(self.estimates.shape[1]) - 1) // 2

    @cached_property
    def _inverse(self) -> Floats:
        return inverse(symmetric(self.regression[: len(self.regression) // 2], self.p))

    @cached_property
    def coefficient_covariance(self) -> Floats:
        """(p, p): of the regression's coefficients, robust."""
        meat = symmetric(self.regression[len(self.regression) // 2 :], self.p)
        covariance: Floats = self._inverse @ meat @ self._inverse
        return covariance

    def variances(self) -> Floats:
        """(estimates,)."""
        squares = self.estimates[:, 0]
        places = np.arange(len(squares))
        variances: Floats = squares + self.covariances(places, places)
        return variances

    def covariances(self, one: Ints | Sequence[int], other: Ints | Sequence[int]) -> Floats:
        """(n,): between estimates that no patient's own weight has in common, such as of two groups."""
        scored, slope = self.estimates[:, 1 : self.p + 1], self.estimates[:, self.p + 1 :]
        through = slope[one] @ self._inverse
        back = slope[other] @ self._inverse
        crossed = np.einsum("ij,ij->i", through, scored[other]) + np.einsum("ij,ij->i", back, scored[one])
        shared = np.einsum("ij,ij->i", slope[one] @ self.coefficient_covariance, slope[other])
        covariances: Floats = crossed + shared
        return covariances
