"""Newton's ascent over sums, as the coordinator takes it: steps, halving, convergence.

Pure functions of sums: no rows. Coefficients are of standardised columns here, `Scaling` takes them back. A
step that lowers the (penalised) log-likelihood is halved (Jorgensen 1984, Biometrika 71:55).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.design import INTERCEPT
from fedcohort.errors import StudyError

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.float64]]
NEAR = 1e-9
"""Of a standardised coefficient: a step so short is the last, and what is left is its square."""
SLACK = 1e-10
"""Of the log-likelihood: rounding, and no descent."""
COLLINEAR = 1e-11
"""Least eigenvalue of the information, its diagonal being 1."""
FLAT, ENDLESS = 1e-8, 0.05
"""A log-likelihood that changes by less, of itself, while a coefficient still goes farther: it has no end."""


@dataclass(frozen=True)
class Scaling:
    """Standardised columns are (x - centre) / scale; the intercept's are 0 and 1."""

    centre: Floats
    scale: Floats
    has_intercept: bool

    def back(self) -> Floats:
        """(p, p): the matrix that takes standardised coefficients to the columns' own units."""
        matrix = np.diag(1.0 / self.scale)
        if self.has_intercept:
            matrix[0, 1:] = -(self.centre / self.scale)[1:]
        return matrix


def scaling_of(n: float, sums: Floats, squares: Floats, has_intercept: bool) -> Scaling:
    """By columns' sums and sums of squares; without an intercept nothing is centred."""
    n = max(n, 1.0)
    mean = sums / n if has_intercept else np.zeros(len(sums))
    square = squares / n
    spread = np.sqrt(np.maximum(square - mean**2, 1e-14 * square))
    scale = np.where(spread > 0, spread, 1.0)
    if has_intercept:
        mean[0], scale[0] = 0.0, 1.0
    return Scaling(mean, scale, has_intercept)


@dataclass(frozen=True)
class Ascent:
    """The best point so far, and the step that was taken from there.

    Attributes:
        change: of the objective, by which it came there; infinite at the first.
    """

    theta: Floats
    objective: float
    step: Floats
    change: float = np.inf

    def to_arrays(self) -> dict[str, Floats]:
        """As a state keeps it."""
        return {"theta": self.theta, "step": self.step, "objective": np.array([self.objective, self.change])}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Ascent | None":
        """What `to_arrays` made; None of nothing."""
        if "theta" not in arrays:
            return None
        objective, change = (float(number) for number in arrays["objective"])
        return cls(arrays["theta"], objective, arrays["step"], change)

    @property
    def next(self) -> Floats:
        """Where the next sums are asked."""
        theta: Floats = self.theta + self.step
        return theta


def advance(
    before: Ascent | None, theta: Floats, objective: float, score: Floats, information: Floats
) -> Ascent:
    """Take Newton's step, or half of the last where it led down."""
    if before is not None and not is_ascent(before, objective):
        return Ascent(before.theta, before.objective, before.step / 2, before.change)
    change = np.inf if before is None else objective - before.objective
    return Ascent(theta, objective, solved(information, score), change)


def is_ascent(before: Ascent | None, objective: float) -> bool:
    """Whether a point is no lower than the best so far, but for rounding."""
    return before is None or objective >= before.objective - SLACK * (1.0 + abs(before.objective))


def solved(information: Floats, score: Floats) -> Floats:
    """Newton's step: where the information is not positive, uphill all the same."""
    if not len(score):
        return score
    root = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
    values, vectors = np.linalg.eigh(information / np.outer(root, root))
    values = np.maximum(np.abs(values), 1e-14)
    step: Floats = vectors @ (vectors.T @ (score / root) / values) / root
    return step


def is_near(step: Floats, unit: float) -> bool:
    """Whether a step is the last; a coefficient of 1 is in `unit`, as the deviation of the outcome."""
    return not step.size or float(np.max(np.abs(step))) <= NEAR * unit


def inverse(information: Floats) -> Floats:
    """Of a positive definite matrix, scaled by its diagonal so that units cost no digits."""
    root = np.sqrt(np.diag(information))
    found: Floats = np.linalg.inv(information / np.outer(root, root)) / np.outer(root, root)
    return found


def check_collinear(information: Floats, names: Sequence[str], penalised: bool = True) -> None:
    """Refuse columns of which one follows from others.

    Args:
        penalised: whether the question could be asked with a penalty.
    Raises:
        StudyError: names those that take part.
    """
    diagonal = np.diag(information)
    least = COLLINEAR * float(np.max(diagonal, initial=0.0))
    part = [name for name, value in zip(names, diagonal, strict=True) if not value > least]
    if not part and len(names):
        root = np.sqrt(diagonal)
        values, vectors = np.linalg.eigh(information / np.outer(root, root))
        if values[0] < COLLINEAR:
            far = np.abs(vectors[:, 0])
            part = [name for name, share in zip(names, far, strict=True) if share > 0.05 * far.max()]
    if part and not penalised:
        raise StudyError(
            "analysis.formula: over all hospitals one of {names} can be computed from the others, or is the "
            "same for every patient; leave it out",
            names=", ".join(part),
        )
    if part:
        raise StudyError(
            "analysis.formula: over all hospitals one of these columns follows from the others, or has one "
            "value alone: {names}; leave one out, or take ridge = 1",
            names=", ".join(part),
        )


def separated(family: str, ascent: Ascent, names: Sequence[str]) -> list[str]:
    """Columns whose coefficients grow while nothing changes any more: the likelihood has no largest value."""
    if family == "gaussian" or not ascent.change <= FLAT * (1.0 + abs(ascent.objective)):
        return []
    far = np.abs(ascent.step[: len(names)])
    if not far.size or far.max() < ENDLESS:
        return []
    grown = [name for name, step in zip(names, far, strict=True) if step > 0.5 * far.max()]
    # The intercept of centred columns goes along with them.
    return [name for name in grown if name != INTERCEPT] or grown


def check_separated(family: str, ascent: Ascent, names: Sequence[str], penalised: bool = True) -> None:
    """Refuse a likelihood that has no largest value.

    Args:
        penalised: whether the question could be asked with a penalty.
    Raises:
        StudyError: names the columns, and the remedy.
    """
    grown = separated(family, ascent, names)
    if not grown:
        return
    if family == "binomial" and not penalised:
        raise StudyError(
            "analysis.formula: separation: {names} tells of nearly all patients who is treated, so that "
            "nobody is like them with the other treatment; merge levels, leave the column out, or narrow "
            "`where`",
            names=", ".join(grown),
        )
    if family == "binomial":
        raise StudyError(
            "analysis.formula: separation: {names} tells the outcome of all or nearly all of its patients, "
            "so that the coefficient has no end; take firth = true, merge levels, or leave the column out",
            names=", ".join(grown),
        )
    raise StudyError(
        "analysis.formula: where {names} applies nothing was counted, so that the coefficient has no end; "
        "merge levels, take ridge = 1, or leave the column out",
        names=", ".join(grown),
    )
