"""Regression under privacy: whitened Newton steps with Mallows weights, and intervals that hold noise.

One noisy matrix of products whitens the columns; it only chooses coordinates, so that its error does no harm.
A few cheap noisy scores find the place, a few dear ones the estimate. A long row is shortened by a weight
that depends on its columns alone (Mallows weights), so that shortening biases nothing while the model is
right (Avella-Medina, Bradshaw, Loh 2023, Biometrika 110:1; arXiv 2103.11003). A count's bounded residual has
its expectation taken off (Cantoni and Ronchetti 2001, J. Am. Stat. Assoc. 96). At the last point one noisy
information matrix is released. The estimate is the mean over the dear points of one Newton step from there,
whose noise is known; intervals draw every released sum again, noise and patients.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt

import numpy as np

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Draw,
    Floats,
    Gram,
    Report,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.design import by_rows
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.glm.newton import Scaling
from fedcohort.analyses.glm.regression import Regression
from fedcohort.analyses.intervals import Estimates, centred, drawn
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.tails import normal_p
from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Privacy
from fedcohort.vector import MAX_ROWS, Block

BURN, DEAR = 3, 6
"""Scores that find the place, and those that make the estimate."""
SHARES = {"sizes": 0.01, "gram": 0.07, "early": 0.12, "scores": 0.70, "information": 0.10}
"""Of the privacy loss, all releases of a kind together."""
OF_NUMBERS = {**SHARES, "sizes": 0.08, "scores": 0.63}
"""The same of an outcome that is a number, whose moments say how far residuals reach and steps go."""
DEVIATIONS = 3.0
"""Before anything is looked at, half of a declared range counts as so many deviations."""
DAMPING = 1.2
NORMAL_RANGE = 2.0
"""Of a linear model's outcome, beyond how many deviations a residual counts as no larger."""


@dataclass(frozen=True, eq=False)
class UnitRows:
    """A site's rows that count, in columns of about mean 0 and deviation 1.

    Attributes:
        x, y: (n, d) and (n,), 0 where a row lacks a value.
        there: (n,) whether it has all.
        rows: (n,) indices in the table.
    """

    x: Floats
    y: Floats
    there: Floats
    rows: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]"


@dataclass(frozen=True)
class Private:
    """A regression with what declared bounds say of its columns and its outcome."""

    regression: Regression

    @property
    def d(self) -> int:
        """Columns."""
        return self.regression.p

    @property
    def reach(self) -> float:
        """No row is longer: the root of the mean squared length, were deviations 1."""
        return sqrt(self.d)

    @property
    def family(self) -> str:
        """Its name."""
        return self.regression.family.name

    @property
    def shares(self) -> Mapping[str, float]:
        """Of the privacy loss, by release."""
        return SHARES if self.family == "binomial" else OF_NUMBERS

    @cached_property
    def units(self) -> Scaling:
        """From a column's own unit to about mean 0 and deviation 1, by its declared bounds."""
        design = self.regression.design
        centre, half = design.scaling()
        levels = np.array([design.is_indicator(column) for column in design.columns])
        scale = np.where(levels, half, half / DEVIATIONS)
        if design.has_intercept:
            centre[0], scale[0] = 0.0, 1.0
        else:
            centre, scale = np.zeros(self.d), design.bound() / DEVIATIONS
        return Scaling(centre, scale, design.has_intercept)

    @cached_property
    def outcome(self) -> tuple[float, float]:
        """Centre and unit of the outcome: what it is scaled by."""
        kind = self.regression.cohort.every_column[self.regression.question.outcome]
        low, high = (0.0, 1.0)
        if isinstance(kind, Numeric) and kind.bounds is not None and self.family != "binomial":
            low, high = kind.bounds
        if self.family != "gaussian":
            return 0.0, high if self.family == "poisson" else 1.0
        if not self.regression.design.has_intercept:
            return 0.0, max(abs(low), abs(high))
        return (low + high) / 2, (high - low) / 2

    def rows(self, rows: Rows) -> UnitRows:
        """A site's rows, made once."""
        return rows.once("private regression", lambda: self._rows(rows))

    def _rows(self, rows: Rows) -> UnitRows:
        regression, table, ours = self.regression, rows.table, rows.of("all")
        x = regression.design.matrix(table, regression.cohort, held=True)[ours]
        y = values_of(table, regression.cohort, regression.question.outcome).astype(np.float64)[ours]
        centre, unit = self.outcome
        low = 0.0 if self.family != "gaussian" else -1.0
        with np.errstate(over="ignore", invalid="ignore"):
            y = np.clip((y - centre) / unit, low, 1.0)
        there = ~np.isnan(y) & np.isfinite(x).all(1)
        x = np.where(there[:, None], (x - self.units.centre) / self.units.scale, 0.0)
        return UnitRows(x, np.where(there, y, 0.0), there.astype(np.float64), ours)

    # --- what a row adds at a point -----------------------------------------------------------

    def weighted(self, rows: Rows, whiten: Floats) -> tuple[Floats, Floats]:
        """(n, d) whitened columns, and (n,) the weight by which a long row is shortened; made once."""

        def make() -> tuple[Floats, Floats]:
            ours = self.rows(rows)
            x = by_rows(ours.x, whiten)
            length = np.sqrt(np.einsum("ij,ij->i", x, x))
            return x, np.minimum(1.0, self.reach / np.maximum(length, 1e-300)) * ours.there

        return rows.latest("whitened", whiten.tobytes(), make)

    def residuals(self, ours: UnitRows, eta: Floats, clip: float) -> Floats:
        """(n,) in [-1, 1]: what the model leaves unexplained, in units of `clip`."""
        y = ours.y * (self.outcome[1] if self.family == "poisson" else 1.0)
        residual = self.regression.family.rows(eta, y)[0] / clip
        held = np.clip(np.nan_to_num(residual), -1.0, 1.0)
        if self.family == "poisson" and clip < self.outcome[1]:
            held = held - _expected_poisson(self.regression.family.mean(eta), clip)
        return np.clip(held, -1.0, 1.0)

    def curvatures(self, ours: UnitRows, eta: Floats, clip: float, largest: float) -> Floats:
        """(n,) in [0, 1]: of the information, in units of `largest`."""
        if self.family == "gaussian":
            return (np.abs(self.regression.family.rows(eta, ours.y)[0]) <= clip).astype(np.float64)
        weight = np.nan_to_num(self.regression.family.rows(eta, ours.y)[1])
        return np.clip(weight / largest, 0.0, 1.0)


def _expected_poisson(mean: Floats, clip: float) -> Floats:
    """Of a Poisson count, what its residual in units of `clip`, held to [-1, 1], is on average."""
    from scipy.special import gammainc, gammaincc, gammaln

    mean = np.minimum(np.maximum(mean, 1e-12), 1e9)
    below, above = np.floor(mean - clip), np.floor(mean + clip)

    def at(count: Floats) -> Floats:
        found: Floats = np.exp(count * np.log(mean) - mean - gammaln(np.maximum(count, 0.0) + 1.0))
        return np.where(count >= 0, found, 0.0)

    left = np.where(below >= 0, gammaincc(np.maximum(below, 0.0) + 1.0, mean), 0.0)
    right = gammainc(above + 1.0, mean)
    expected: Floats = right - left + mean / clip * (at(below) - at(above))
    return expected


@dataclass(frozen=True)
class SizesStage:
    """How many rows, the outcome's moments, and products of each two columns, by which they are whitened."""

    private: Private
    name: str = "sizes"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A row lacks a value, or has an outcome of at most 1 and columns of at most `reach`."""
        d = self.private.d
        sizes = Block("sizes", (4,), sqrt(3.0), self.private.shares["sizes"], bound=MAX_ROWS)
        return sizes, Block("gram", (d, d), float(d), self.private.shares["gram"], outer=True)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each row's outcome, and its columns, shortened."""
        ours = self.private.rows(rows)
        sizes = np.column_stack([ours.there, ours.y, ours.y**2, 1.0 - ours.there])
        length = np.sqrt(np.einsum("ij,ij->i", ours.x, ours.x))
        short = ours.x * np.minimum(1.0, self.private.reach / np.maximum(length, 1e-300))[:, None]
        return {"sizes": Tally(sizes, rows=ours.rows), "gram": Gram(short, rows=ours.rows)}

    def update(self, state: State, sums: Sums) -> State:
        """Coordinates, a start, and how far residuals reach.

        Raises:
            CohortTooSmallError: too few rows, by the noisy count.
        """
        private, d = self.private, self.private.d
        check_enough(float(sums["sizes"][0]), sums.noise("sizes"))
        n = max(float(sums["sizes"][0]), 2.0)
        gram = _symmetric(np.asarray(sums["gram"], np.float64)) / n
        values, vectors = np.linalg.eigh(gram)
        whiten = vectors / np.sqrt(np.maximum(values, 4 * sums.noise("gram") / n))
        mean, clip, largest, curvature = _outcome_of(private, sums, n)
        start = np.zeros(d)
        if private.regression.design.has_intercept:
            start[0] = private.regression.family.link(mean)
        arrays = {
            "whiten": whiten,
            "gamma": np.linalg.solve(whiten, start),
            "scales": np.array([clip, largest]),
        }
        kept = {"sizes": np.asarray(sums["sizes"], np.float64), "curvature": np.array([curvature])}
        return replace(state, arrays=arrays, kept=kept)


def _outcome_of(private: Private, sums: Sums, n: float) -> tuple[float, float, float, float]:
    """The outcome's mean, how far residuals reach, the information's largest weight, and the curvature."""
    mean, square = float(sums["sizes"][1]) / n, float(sums["sizes"][2]) / n
    if private.family == "binomial":
        share = min(max(mean, 1.0 / n), 1.0 - 1.0 / n)
        return share, 1.0, 0.25, n * share * (1.0 - share)
    if private.family == "gaussian":
        error = 2 * sums.noise("sizes") / n
        deviation = sqrt(max(square - mean**2, error, 1e-4))
        return mean, min(NORMAL_RANGE * deviation, 2.0), 1.0, n
    high = private.outcome[1]
    error = sums.noise("sizes") / n
    count = high * min(max(mean, error, 1e-4), 1.0)
    # Too long a step may lead astray, and too short a one does not.
    return count, min(high, 1.0 + 3.0 * sqrt(count)), 4.0 * count, n * (count + high * error)


@dataclass(frozen=True)
class ScoreStage:
    """The score at one point, a row's part of which is no longer than `reach`."""

    private: Private
    name: str
    times: int

    @property
    def blocks(self) -> tuple[Block, ...]:
        """One number a column."""
        share = self.private.shares[self.name] / self.times
        return (
            Block(
                self.name, (self.private.d,), self.private.reach, share, bound=MAX_ROWS * self.private.reach
            ),
        )

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each row's weight times what the model leaves unexplained of it."""
        whiten, gamma, (clip, _) = asked_of(state, self.private)
        ours = self.private.rows(rows)
        x, weight = self.private.weighted(rows, whiten)
        residual = self.private.residuals(ours, by_rows(x, gamma[:, None])[:, 0], clip)
        return {self.name: Tally(x * (weight * residual)[:, None], rows=ours.rows)}

    def update(self, state: State, sums: Sums) -> State:
        """The next point; of dear scores the points and the scores are kept."""
        _, gamma, (clip, _) = asked_of(state, self.private)
        score = np.asarray(sums[self.name], np.float64) * clip
        kept = dict(state.kept)
        if self.name == "scores":
            for name, value in (("points", gamma), ("found", score)):
                kept[name] = np.vstack([kept.get(name, np.zeros((0, self.private.d))), value])
            kept["noise"] = np.array([sums.noise(self.name) * clip / sqrt(DEAR)])
        longer = DAMPING * float(kept["curvature"][0])
        # A step of noise alone goes no farther than a coefficient that is worth asking about.
        step = np.clip(score / longer, -2.0, 2.0)
        following = gamma + step
        if self.name == "scores" and len(kept["points"]) == DEAR:
            following = kept["points"].mean(0)
        return replace(state, arrays={**state.arrays, "gamma": following}, kept=kept)


@dataclass(frozen=True)
class InformationStage:
    """The information at the mean of the dear points; of a linear model the squared residuals as well."""

    private: Private
    name: str = "information"
    times: int = 1

    @property
    def _largest(self) -> float:
        return 0.25 if self.private.family == "binomial" else 1.0

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A row's weight is at most a quarter of a yes or no, else 1."""
        d = self.private.d
        share = self.private.shares["information"]
        row = d * self._largest
        if self.private.family != "gaussian":
            return (Block("information", (d, d), row, share, outer=True),)
        information = Block("information", (d, d), row, share * 0.8, outer=True)
        return information, Block("squares", (1,), 1.0, share * 0.2, bound=MAX_ROWS)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each row's columns, weighted."""
        whiten, gamma, (clip, largest) = asked_of(state, self.private)
        ours = self.private.rows(rows)
        x, weight = self.private.weighted(rows, whiten)
        eta = by_rows(x, gamma[:, None])[:, 0]
        curved = self.private.curvatures(ours, eta, clip, largest) * weight * self._largest
        parts: dict[str, Contribution] = {"information": Gram(x, curved, rows=ours.rows)}
        if self.private.family == "gaussian":
            squares = self.private.residuals(ours, eta, clip) ** 2 * ours.there
            parts["squares"] = Tally(squares[:, None], rows=ours.rows)
        return parts

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the sum."""
        return state


def asked_of(state: State, private: Private) -> tuple[Floats, Floats, tuple[float, float]]:
    """Coordinates, coefficients in them, and how far residuals and weights reach.

    Raises:
        WireError: the coordinator has sent others than the formula's.
    """
    arrays = {name: np.asarray(value, np.float64) for name, value in state.arrays.items()}
    shapes = {"whiten": (private.d, private.d), "gamma": (private.d,), "scales": (2,)}
    if any(name not in arrays or arrays[name].shape != shape for name, shape in shapes.items()):
        raise WireError("a state without coordinates, coefficients and scales of each column")
    clip, largest = arrays["scales"].tolist()
    if not all(np.isfinite(arrays[name]).all() for name in shapes) or clip <= 0 or largest <= 0:
        raise WireError("a state whose coordinates are no numbers")
    return arrays["whiten"], arrays["gamma"], (clip, largest)


def _symmetric(matrix: Floats) -> Floats:
    return (matrix + matrix.T) / 2


def positive(matrix: Floats, floor: float) -> Floats:
    """The matrix with no eigenvalue below a floor."""
    values, vectors = np.linalg.eigh(matrix)
    found: Floats = (vectors * np.maximum(values, floor)) @ vectors.T
    return found


@dataclass(frozen=True)
class Released:
    """What a private regression has released, as its estimate reads it.

    Attributes:
        centre: mean of the dear points.
        back: from whitened coordinates to the columns' own units; `shift` beside it.
        largest: unit of the information; `clip` of residuals.
    """

    centre: Floats
    back: Floats
    shift: Floats
    clip: float
    largest: float
    family: str
    n: float

    def estimate(self, sums: Sums) -> Estimates:
        """One Newton step from the mean of the points."""
        return {
            "coef": self.back @ (self.centre + np.linalg.solve(self.information(sums), sums["score"]))
            + self.shift
        }

    def information(self, sums: Sums) -> Floats:
        """The released information, held positive by its noise."""
        scaled = self.largest if self.family == "poisson" else 1.0
        found = _symmetric(np.asarray(sums["information"], np.float64))
        return positive(found, max(sums.noise("information"), 1e-9)) * scaled

    def redraw(self, sums: Sums, generator: np.random.Generator) -> Sums:
        """Other patients of the same population: a score varies as its information says."""
        spread = np.linalg.cholesky(self.information(sums))
        variance = 1.0
        if self.family == "gaussian":
            variance = self.clip**2 * max(float(sums["squares"][0]) / self.n, sums.noise("squares") / self.n)
        score = sums["score"] + sqrt(variance) * spread @ generator.standard_normal(len(self.centre))
        return replace(sums, values={**sums.values, "score": score})


@dataclass(frozen=True)
class PrivateGLMAnalysis(Analysis):
    """A regression under privacy."""

    regression: Regression
    privacy: Privacy | None = None

    @cached_property
    def private(self) -> Private:
        """With what declared bounds say."""
        return Private(self.regression)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Sizes, scores, the information."""
        return (
            SizesStage(self.private),
            ScoreStage(self.private, "early", BURN),
            ScoreStage(self.private, "scores", DEAR),
            InformationStage(self.private),
        )

    def released(self, state: State) -> tuple[Released, Sums]:
        """What the estimate is made of, with the noise of each."""
        sums, private = state.sums or Sums({}), self.private
        whiten, _, (clip, largest) = asked_of(state, private)
        centre_y, unit = private.outcome if private.family == "gaussian" else (0.0, 1.0)
        shift = np.zeros(private.d)
        if private.regression.design.has_intercept:
            shift[0] = centre_y
        n = max(float(state.kept["sizes"][0]), 2.0)
        made = Released(
            state.kept["points"].mean(0), private.units.back() @ whiten * unit, shift, clip, largest,
            private.family, n,
        )  # fmt: skip
        values = {**sums.values, "score": state.kept["found"].mean(0)}
        return made, Sums(values, {**sums.sigma, "score": float(state.kept["noise"][0])}, sums.n_sites)

    def report(self, state: State) -> Report:
        """Coefficients with intervals that hold the noise."""
        made, sums = self.released(state)
        found = np.asarray(made.estimate(sums)["coef"])
        others = drawn(made.estimate, sums, made.redraw)["coef"]
        low, high = centred(found, others)
        errors = others.std(0)
        question, sizes = self.regression.question, state.kept["sizes"]
        n = max(0, round(float(sizes[0])))
        glm: dict[str, object] = {
            "formula": str(question.formula),
            "family": self.regression.family.name,
            "se": question.se,
            "site": question.site,
            "n": n,
        }
        if self.private.family == "binomial":
            glm["events"] = min(n, max(0, round(float(sizes[1]))))
        names = self.regression.names
        glm["coefficients"] = [
            {
                "name": name, "coef": float(found[at]), "se": float(errors[at]),
                "z": float(found[at] / errors[at]), "p": normal_p(float(found[at] / errors[at])),
                "low": float(low[at]), "high": float(high[at]),
            }
            for at, name in enumerate(names)
        ]  # fmt: skip
        return {"patients": n, "missing": max(0, round(float(sizes[3]))), "glm": glm}

    def width(self, n_patients: int, sigma: Mapping[str, float]) -> float:
        """By how much noise widens an interval, where a quarter have the outcome."""
        curvature = n_patients * (3 / 16 if self.private.family == "binomial" else 1.0)
        reach = NORMAL_RANGE if self.private.family == "gaussian" else 1.0
        return sqrt(1.0 + (sigma["scores"] * reach) ** 2 / DEAR / curvature)


def private_of(regression: Regression, privacy: Privacy) -> PrivateGLMAnalysis:
    """The same question, privately.

    Raises:
        StudyError: the outcome or a column has no declared bounds.
    """
    kind = regression.cohort.every_column[regression.question.outcome]
    bounded = isinstance(kind, Categorical) or (isinstance(kind, Numeric) and kind.bounds is not None)
    if not bounded or not np.isfinite(regression.design.bound()).all():
        raise StudyError(
            "cohort.bounds: privacy needs declared bounds for each column of the formula and its outcome; "
            "declare the clinical range"
        )
    return PrivateGLMAnalysis(regression, privacy)
