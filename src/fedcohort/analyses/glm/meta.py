"""Each hospital fits its own model, and what they find is combined: random-effects meta-analysis in two sums.

DerSimonian and Laird 1986 (Controlled Clinical Trials 7:177) need of each coefficient sums over hospitals
alone, so that of four hospitals or more no single estimate is seen; I-squared is that of Higgins and Thompson
2002 (Statistics in Medicine 21:1539). A hospital that cannot fit the model alone, as rows are few or outcomes
separated, adds nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedcohort.analyses.carried_sums import carried, from_limbs, to_limbs
from fedcohort.analyses.contract import Contribution, Draw, Floats, Proved, State, Sums
from fedcohort.analyses.glm.estimates import Fit, coefficient_rows
from fedcohort.analyses.glm.newton import Ascent, Scaling, advance, check_collinear, check_separated, is_near
from fedcohort.analyses.glm.regression import Regression
from fedcohort.analyses.glm.scaled import scaling_in
from fedcohort.analyses.glm.sums import Rows as Complete
from fedcohort.analyses.glm.sums import newton_sums
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.tails import chi_squared_p
from fedcohort.disclosure.cells import small
from fedcohort.errors import StudyError, WireError
from fedcohort.vector import Block

ROUNDS = 50
LEAST_DEGREES = 10
"""Rows beyond the coefficients; of a hospital with fewer the estimate would tell of its patients."""


def own_fit(regression: Regression, ours: Complete, scaling: Scaling) -> tuple[Floats, Floats] | None:
    """A hospital's own coefficients and their variances, in the columns' units; None where it has none."""
    p, family = regression.p, regression.family
    if (
        len(ours.y) - p < LEAST_DEGREES
        or has_few(regression, ours)
        or (family.name != "gaussian" and np.all(ours.y == ours.y[0]))
    ):
        return None
    unit = float(ours.y.std()) or 1.0 if family.name == "gaussian" else 1.0
    beta = np.zeros(p)
    if scaling.has_intercept:
        weights = np.ones_like(ours.y) if ours.weights is None else ours.weights
        beta[0] = family.link(float(weights @ ours.y / max(float(weights.sum()), 1e-300)))
    before: Ascent | None = None
    try:
        for _ in range(ROUNDS):
            sums = newton_sums(family, ours, beta, regression.meat)
            if before is None:
                check_collinear(sums.information, regression.names)
            ascent = advance(before, beta, sums.loglik, sums.score, sums.information)
            if ascent.theta is beta and is_near(ascent.step, unit):
                fit = Fit(
                    family.name, beta, sums, scaling, np.zeros(p), float(len(ours.y)), 0.0, 0.0, 0.0, None
                )
                return fit.own_units(), np.diag(fit.covariance(regression.question.se))
            check_separated(family.name, ascent, regression.names)
            before, beta = ascent, ascent.next
    except StudyError:
        return None
    return None


def has_few(regression: Regression, ours: Complete) -> bool:
    """Whether one of a hospital's combinations of levels has few rows: its coefficient would be theirs."""
    if ours.cells is None:
        return False
    return any(
        bool(small(np.bincount(cell).astype(np.float64), LEAST_DEGREES).any()) for cell in ours.cells.T
    )


@dataclass(frozen=True)
class OwnStage:
    """Of each coefficient, sums over hospitals of what each found: weights, their squares, and estimates."""

    regression: Regression
    name: str = "own"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Five sums a coefficient."""
        return (carried("own", 5, self.regression.p),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """This hospital's part; nothing where it cannot fit the model alone."""
        found = fitted(state, self.regression, rows)
        sums = np.zeros((5, self.regression.p))
        if found is not None:
            b, v = found
            sums = np.stack([np.ones_like(b), 1 / v, 1 / v**2, b / v, b**2 / v])
        return {"own": Proved(to_limbs(sums))}

    def update(self, state: State, sums: Sums) -> State:
        """How far hospitals differ.

        Raises:
            StudyError: no hospital can fit the model alone.
        """
        own = from_limbs(sums["own"])
        if own[0, 0] < 1:
            raise StudyError(
                'analysis.site: no hospital can fit the model alone; take site = "fixed", or name fewer terms'
            )
        tau2, _ = heterogeneity(own)
        arrays = {**state.arrays, "tau2": tau2}
        return replace(state, arrays=arrays, kept={**state.kept, "own": np.asarray(sums["own"], np.float64)})


@dataclass(frozen=True)
class CombinedStage:
    """Of each coefficient, the sums of weights that hold what hospitals differ by."""

    regression: Regression
    name: str = "combined"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Two sums a coefficient."""
        return (carried("combined", 2, self.regression.p),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """This hospital's part."""
        tau2 = np.asarray(state.arrays.get("tau2", ()), np.float64)
        if tau2.shape != (self.regression.p,) or not np.all(tau2 >= 0):
            raise WireError("a state without a variance between hospitals of each coefficient")
        found = fitted(state, self.regression, rows)
        sums = np.zeros((2, self.regression.p))
        if found is not None:
            b, v = found
            sums = np.stack([1 / (v + tau2), b / (v + tau2)])
        return {"combined": Proved(to_limbs(sums))}

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the sum."""
        return state


def fitted(state: State, regression: Regression, rows: Rows) -> tuple[Floats, Floats] | None:
    """A hospital's own fit, made once.

    Raises:
        WireError: the coordinator has sent another scaling than the formula's.
    """
    scaling = scaling_in(state, regression)
    asked = scaling.centre.tobytes() + scaling.scale.tobytes()
    standardised = regression.standardised(rows, scaling)
    return rows.latest("own fit", asked, lambda: own_fit(regression, standardised, scaling))


def heterogeneity(own: Floats) -> tuple[Floats, Floats]:
    """(p,) each: DerSimonian and Laird's variance between hospitals, and Cochran's Q."""
    k, weights, squares, first, second = own
    q = np.maximum(second - first**2 / np.maximum(weights, 1e-300), 0.0)
    spread = weights - squares / np.maximum(weights, 1e-300)
    there = (k > 1) & (spread > 0)
    tau2: Floats = np.where(there, np.maximum(q - (k - 1), 0.0) / np.where(there, spread, 1.0), 0.0)
    return tau2, q


def meta_rows(names: Sequence[str], own: Floats, combined: Floats) -> list[dict[str, object]]:
    """A row a coefficient: the combined estimate, and how far hospitals differ."""
    tau2, q = heterogeneity(own)
    rows = coefficient_rows(names, combined[1] / combined[0], np.sqrt(1 / combined[0]))
    k = int(own[0, 0])
    for place, row in enumerate(rows):
        row |= {"hospitals": k}
        if k > 1:
            i2 = max(0.0, 1.0 - (k - 1) / q[place]) if q[place] > 0 else 0.0
            p = chi_squared_p(float(q[place]), k - 1)
            row |= {"tau2": float(tau2[place]), "i2": float(i2), "q": float(q[place]), "q_p": p}
    return rows
