"""Cox regression under privacy: a hazard in pieces, noisy scores of patients who are followed for a while.

First a noisy Gram matrix, which whitens the columns, and a life table; then rounds of noisy scores, of which
`filter` believes as much as they tell, with one noisy information among them. A patient far from the mean
is shortened by a weight that depends on x alone, and followed until one event is expected, so that neither
biases a model that is right (Mallows weights: Avella-Medina, Bradshaw and Loh 2023, arXiv 2103.11003;
optional stopping). Intervals come of going the rounds again with other noise and other patients (Ferrando,
Wang and Sheldon 2022, arXiv 2006.07749).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
from fedcohort.analyses.cox.cases import Asked, Cases, array_of
from fedcohort.analyses.cox.filter import (
    Belief,
    Course,
    believed_information,
    blended,
    first_belief,
    uncertain,
)
from fedcohort.analyses.cox.pieces import LARGEST_LOG, Followed
from fedcohort.analyses.cox.report import coefficient_rows
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.intervals import DRAWS, centred
from fedcohort.analyses.rows import Rows
from fedcohort.study import Privacy
from fedcohort.vector import Array, Block

MOST = 1.0
"""Events that are expected of a patient before observation ends."""
ROUNDS, BEFORE = 8, 3
"""Of scores; so many before the information is asked."""
GRAM, LIFE, INFORMATION, SCORES = 0.12, 0.10, 0.06, 0.72
"""Of the privacy loss."""
WIDER = 1.2
"""Noise is redrawn so much larger than it is: rounds are gone again over a likelihood that does not bend."""
SIX_DEVIATIONS = 3.0
"""A number's declared range is taken for six deviations at first, and a level for half of the patients."""


@dataclass(frozen=True, eq=False)
class Private:
    """What the stages have in common: columns in units of their declared ranges, and norms.

    Attributes:
        edges: of the pieces.
    """

    asked: Asked
    edges: tuple[float, ...]

    @property
    def p(self) -> int:
        """Number of columns."""
        return len(self.asked.names)

    @property
    def k(self) -> int:
        """Number of pieces."""
        return len(self.edges) - 1

    @property
    def reach(self) -> float:
        """Of a whitened row, the length beyond which it counts for less."""
        return math.sqrt(self.p)

    @cached_property
    def scaling(self) -> tuple[Floats, Floats]:
        """(p,) each: what is taken off a column, and by what it is divided."""
        middle, half = (ends[1:] for ends in self.asked.design.scaling())
        return middle, half / np.where(self.asked.are_levels, 1.0, SIX_DEVIATIONS)

    def scaled(self, cases: Cases) -> Floats:
        """(n, p) in these units."""
        middle, unit = self.scaling
        found: Floats = (cases.x[:] - middle) / unit
        return found

    def followed(self, cases: Cases) -> Followed:
        """Patients over the pieces."""
        return Followed(cases.time, cases.event, self.edges)

    def whitened(self, state: State, rows: Rows) -> tuple[Cases, Followed, Floats, Floats]:
        """A site's patients, their whitened columns, and a weight each; made once for one whitening."""
        centre = array_of(state, "centre", (self.p,))
        whiten = array_of(state, "whiten", (self.p, self.p))

        def make() -> tuple[Cases, Followed, Floats, Floats]:
            cases = self.asked.cases(rows)
            with np.errstate(over="ignore", invalid="ignore"):
                z = (self.scaled(cases) - centre) @ whiten
                length = np.sqrt(np.einsum("ij,ij->i", z, z))
                weight = np.minimum(1.0, self.reach / np.maximum(length, 1e-300))
            return cases, self.followed(cases), z, weight

        return rows.latest("whitened", centre.tobytes() + whiten.tobytes(), make)

    def stopped(self, state: State, rows: Rows) -> tuple[Cases, Floats, Floats, Floats, Floats]:
        """Patients, whitened columns, weights, events and expected events, at the state's parameters."""
        log_hazard, at = array_of(state, "hazard", (self.k,)), array_of(state, "at", (self.k + self.p,))
        cases, followed, z, weight = self.whitened(state, rows)
        with np.errstate(over="ignore", invalid="ignore"):
            eta = np.nan_to_num(np.clip(z @ at[self.k :], -LARGEST_LOG, LARGEST_LOG))
            events, cut = followed.stopped(log_hazard + at[: self.k], eta, MOST)
        return cases, z, weight, events, cut


@dataclass(frozen=True, eq=False)
class StartStage:
    """A life table, with those who are left out at its end, and the products of each two columns."""

    model: Private
    name: str = "start"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of a patient: a row of length sqrt(p + 1) at most, and where and how observation ended."""
        d = self.model.p + 1
        return (
            Block("gram", (d, d), float(d), GRAM, once=True, outer=True),
            Block("life", (self.model.k + 1, 3), math.sqrt(3), LIFE, once=True),
        )

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each complete case, and each patient who is left out."""
        cases = self.model.asked.cases(rows)
        followed, x = self.model.followed(cases), self.model.scaled(cases)
        known = np.column_stack([np.ones(len(x)), followed.share, followed.died])
        unknown = np.zeros((len(cases.missing), 3))
        unknown[:, 0] = 1.0
        place = np.append(followed.place, np.full(len(unknown), self.model.k))
        return {
            "gram": Gram(np.column_stack([np.ones(len(x)), x]), rows=cases.rows),
            "life": Tally(np.vstack([known, unknown]), place, np.append(cases.rows, cases.missing)),
        }

    def update(self, state: State, sums: Sums) -> State:
        """Columns are whitened, and hazards begin at the life table's.

        Raises:
            CohortTooSmallError: too few patients, by noisy counts.
        """
        life, sigma = np.asarray(sums["life"], np.float64), sums.noise("life")
        missing, life = float(life[-1, 0]), life[:-1]
        n = float(life[:, 0].sum())
        check_enough(n, sigma * math.sqrt(self.model.k))
        n = max(n, 2.0)
        events, log_hazard = hazards(life, n, np.diff(self.model.edges))
        centre, whiten = whitening(np.asarray(sums["gram"], np.float64), sums.noise("gram"), n)
        first = first_belief(self.model.k, self.model.p)
        arrays = {"centre": centre, "whiten": whiten, "hazard": log_hazard, "at": first.at}
        kept = {
            "patients": np.array([n]),
            "missing": np.array([max(0.0, missing)]),
            "events": events,
            "died": np.array([life[:, 2].sum()]),
            "covariance": first.covariance,
        }
        return replace(state, arrays=arrays, kept=kept)


def hazards(life: Floats, n: float, widths: Floats) -> tuple[Floats, Floats]:
    """(k,) each: events, and the logarithm of the hazard, of a noisy life table.

    Args:
        life: (k, 3): patients who leave in a piece, the shares of it that they spend there, events.
    """
    left, share, died = life.T
    there = np.maximum(left[::-1].cumsum()[::-1] - left + share, n / 50) * widths
    total = max(float(died.sum()), n / 20)
    events = np.maximum(died, total / (5 * len(died)))
    events *= total / events.sum()
    return events, np.log(events / there)


def whitening(gram: Floats, sigma: float, n: float) -> tuple[Floats, Floats]:
    """The columns' mean (p,), and what makes their deviations 1 and uncorrelated, (p, p)."""
    gram = (gram + gram.T) / 2
    first = max(float(gram[0, 0]), n / 2)
    centre = gram[0, 1:] / first
    values, vectors = np.linalg.eigh(gram[1:, 1:] / first - np.outer(centre, centre))
    whiten: Floats = vectors / np.sqrt(np.maximum(values, max(4 * sigma / n, 1e-9)))
    return centre, whiten


@dataclass(frozen=True, eq=False)
class ScoreStage:
    """A round: how far events are from those that are expected, by piece and column."""

    model: Private
    name: str = "score"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """A patient's events less the expected ones, by piece, and their sum times a row of length reach."""
        model = self.model
        row = math.sqrt(MOST**2 + 1 + max(1.0, MOST) ** 2 * model.reach**2)
        return (Block("score", (model.k + model.p,), row, SCORES / ROUNDS, once=True),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's."""
        cases, z, weight, events, cut = self.model.stopped(state, rows)
        left = events - cut
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.column_stack([left, z * (left.sum(1) * weight)[:, None]])
        return {"score": Tally(values, rows=cases.rows)}

    def update(self, state: State, sums: Sums) -> State:
        """What is believed after it."""
        kept, at = state.kept, np.asarray(state.arrays["at"])
        information = np.asarray(
            kept["information"] if "information" in kept else believed_information(at, kept["events"])
        )
        sigma = sums.noise("score")
        belief, gain = Belief(at, np.asarray(kept["covariance"])).after(sums["score"], information, sigma)
        kept = {**kept, "covariance": belief.covariance, "sigma": np.array([sigma])}
        if "information" not in kept:
            kept["gains"] = np.concatenate([kept.get("gains", np.zeros((0, *gain.shape))), gain[None]])
        return replace(state, arrays={**state.arrays, "at": belief.at}, kept=kept)


@dataclass(frozen=True, eq=False)
class InformationStage:
    """How the score changes with the parameters."""

    model: Private
    name: str = "information"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Between columns, and of pieces with columns; noise is the same in each number."""
        p, k, square = self.model.p, self.model.k, self.model.reach**2
        mixed = MOST * math.sqrt(1 + 2 * square)
        both = mixed**2 + (MOST * square) ** 2
        return (
            Block("columns", (p, p), MOST * square, INFORMATION * (MOST * square) ** 2 / both, once=True,
                  outer=True),
            Block("pieces", (k, 1 + p), mixed, INFORMATION * mixed**2 / both, once=True),
        )  # fmt: skip

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's; what stands in the matrix twice counts twice."""
        cases, z, weight, _, cut = self.model.stopped(state, rows)
        with np.errstate(over="ignore", invalid="ignore"):
            short = z * np.sqrt(weight)[:, None]
            row = np.column_stack([np.ones(len(short)), math.sqrt(2) * short])
            values = (cut[:, :, None] * row[:, None, :]).reshape(len(row), self.model.k * row.shape[1])
        return {
            "columns": Gram(short, cut.sum(1), cases.rows),
            "pieces": Tally(values, rows=cases.rows),
        }

    def update(self, state: State, sums: Sums) -> State:
        """Blended with what was believed of it."""
        k, p = self.model.k, self.model.p
        pieces, columns = np.asarray(sums["pieces"], np.float64), np.asarray(sums["columns"], np.float64)
        released, sigma = (np.zeros((k + p, k + p)) for _ in range(2))
        released[range(k), range(k)] = pieces[:, 0]
        released[:k, k:] = pieces[:, 1:] / math.sqrt(2)
        released[k:, k:] = (columns + columns.T) / 2
        released[k:, :k] = released[:k, k:].T
        sigma[range(k), range(k)] = sums.noise("pieces")
        sigma[:k, k:] = sums.noise("pieces") / math.sqrt(2)
        sigma[k:, :k] = sigma[:k, k:].T
        sigma[k:, k:] = sums.noise("columns") * np.where(np.eye(p) > 0, 1.0, math.sqrt(0.5))
        believed = believed_information(np.asarray(state.arrays["at"]), np.asarray(state.kept["events"]))
        information = blended(released, believed, sigma)
        first, kept = first_belief(k, p), state.kept
        more = {
            "believed": believed,
            "information": information,
            "sigma_information": sigma,
        }
        if "gains" in kept:
            more["covariance"] = uncertain(
                first.covariance, list(kept["gains"]), information, float(kept["sigma"][0])
            )
        return replace(state, kept={**state.kept, **more})


@dataclass(frozen=True, eq=False)
class PrivateCox(Analysis):
    """Hazard ratios and a baseline in pieces, with intervals that hold the noise."""

    asked: Asked
    edges: tuple[float, ...]
    privacy: Privacy | None = None

    @cached_property
    def model(self) -> Private:
        """What its stages compute with."""
        return Private(self.asked, self.edges)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """A life table, scores, the information, and more scores."""
        model = self.model
        return (
            StartStage(model),
            ScoreStage(model, times=BEFORE),
            InformationStage(model),
            ScoreStage(model, times=ROUNDS - BEFORE),
        )

    def report(self, state: State) -> Report:
        """Coefficients and baseline with intervals."""
        kept, k = state.kept, self.model.k
        found = np.asarray(state.arrays["at"])
        course = course_of(kept, found)
        others = course.again(np.random.default_rng(0), DRAWS, WIDER)
        _, unit = self.model.scaling
        back = (np.asarray(state.arrays["whiten"]) / unit[:, None]).T
        coefficients, drawn = found[k:] @ back, others[:, k:] @ back
        n = max(0, round(float(kept["patients"][0])))
        rows = coefficient_rows(self.asked.names, coefficients, drawn.std(0), [n] * len(coefficients))
        low, high = centred(coefficients, drawn)
        rows = [
            {**row, "low": ends[0], "high": ends[1]}
            for row, ends in zip(rows, zip(low.tolist(), high.tolist(), strict=True), strict=True)
        ]
        return {
            "patients": n,
            "missing": round(float(kept["missing"][0])),
            "cox": {
                "strata": [],
                "events": max(0, round(float(kept["died"][0]))),
                "coefficients": rows,
                "means": self._means(state),
                "baseline": self._baseline(state, found[:k], others[:, :k]),
            },
        }

    def _means(self, state: State) -> dict[str, float]:
        """At which the baseline is."""
        middle, unit = self.model.scaling
        means = middle + np.asarray(state.arrays["centre"]) * unit
        return dict(zip(self.asked.names, means.tolist(), strict=True))

    def _baseline(self, state: State, found: Floats, others: Floats) -> dict[str, object]:
        hazard, widths = np.asarray(state.arrays["hazard"]), np.diff(self.edges)

        def lived(at: Floats) -> Floats:
            """Logarithms of cumulative hazards."""
            rates = np.exp(np.clip(hazard + at, -LARGEST_LOG, LARGEST_LOG)) * widths
            logs: Floats = np.log(rates.cumsum(-1))
            return logs

        low, high = centred(lived(found), lived(others))
        cumulative = np.exp(lived(found))
        stratum = {
            "hazard": cumulative.tolist(),
            "survival": np.exp(-cumulative).tolist(),
            "low": np.exp(-np.exp(high)).tolist(),
            "high": np.exp(-np.exp(low)).tolist(),
        }
        return {"pieces": list(self.edges), "grid": list(self.edges[1:]), "strata": {"all": stratum}}


def course_of(kept: Mapping[str, Array], found: NDArray[np.float64]) -> Course:
    """The rounds of a finished study."""
    return Course(
        found,
        events=np.asarray(kept["events"]),
        information=np.asarray(kept["information"]),
        believed=np.asarray(kept["believed"]),
        sigma=float(kept["sigma"][0]),
        sigma_information=np.asarray(kept["sigma_information"]),
        before=BEFORE,
        rounds=ROUNDS,
    )
