"""What a researcher reads of a Cox regression, from its sums alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Sums
from fedcohort.analyses.cox.newton import Likelihood, inverse, solved
from fedcohort.analyses.cox.risk_sets import Proportions
from fedcohort.analyses.exact_sums import floats_of
from fedcohort.analyses.intervals import NORMAL_EXACT
from fedcohort.analyses.tails import chi_squared_p, normal_p

NOTHING = 1e-10
"""Of an event's information, what is rounding."""

Floats = NDArray[np.float64]
Json = dict[str, object]


@dataclass(frozen=True)
class Fit:
    """A maximum of the likelihood, over columns that are centred and scaled.

    Attributes:
        names: of the columns.
        n: by column, the patients behind it: of a level those who have it.
        centre, scale: (p,) of the columns.
        at: (p,) coefficients of the scaled columns.
        here: the likelihood there; `null` where all coefficients are 0.
    """

    names: Sequence[str]
    n: Sequence[int]
    centre: Floats
    scale: Floats
    at: Floats
    here: Likelihood
    null: Likelihood

    @cached_property
    def covariance(self) -> Floats:
        """(p, p) of the scaled columns' coefficients."""
        return inverse(self.here.information)

    @cached_property
    def scaled(self) -> Floats:
        """(p,): one more step from `at`, which is as near as numbers go."""
        found: Floats = self.at + self.covariance @ self.here.score
        return found

    @property
    def coefficients(self) -> Floats:
        """(p,) in the columns' own units."""
        found: Floats = self.scaled / self.scale
        return found

    @property
    def errors(self) -> Floats:
        """(p,): their standard errors."""
        found: Floats = np.sqrt(np.diag(self.covariance)) / self.scale
        return found

    @property
    def loglik(self) -> float:
        """At the maximum."""
        return self.here.loglik + float(self.here.score @ (self.scaled - self.at)) / 2

    def rows(self) -> list[Json]:
        """A coefficient each, with its interval."""
        return coefficient_rows(self.names, self.coefficients, self.errors, self.n)

    def tests(self) -> Json:
        """Of all coefficients together (Kalbfleisch and Prentice 2002, section 4.2)."""
        p = len(self.names)
        statistics = {
            "likelihood_ratio": 2 * (self.loglik - self.null.loglik),
            "wald": float(self.scaled @ self.here.information @ self.scaled),
            "score": float(self.null.score @ solved(self.null.information, self.null.score)),
        }
        return {name: tested(value, p) for name, value in statistics.items()}

    def proportional(self, sums: Proportions) -> Json:
        """The score test of each coefficient that may change with time, and of all of them together."""
        left = sums.information - sums.mixed @ self.covariance @ sums.mixed
        score = sums.score - sums.mixed @ (self.scaled - self.at)
        own = np.diag(left)
        # Where all events are of one time, nothing can change with it.
        known = own > NOTHING * np.maximum(np.diag(self.here.information), 1.0)
        single = np.where(known, score**2 / np.where(known, own, 1.0), np.nan)
        together = float(score @ solved(left, score)) if known.all() else math.nan
        each = {name: tested(value, 1) for name, value in zip(self.names, single.tolist(), strict=True)}
        return {"each": each, "all": tested(together, len(self.names))}


def coefficient_rows(
    names: Sequence[str], coefficients: Floats, errors: Floats, n: Sequence[int]
) -> list[Json]:
    """As `coefficient_table` reads them; intervals of 95 % are Wald's."""
    rows: list[Json] = []
    for name, coefficient, error, patients in zip(
        names, coefficients.tolist(), errors.tolist(), n, strict=True
    ):
        z = coefficient / error
        half = NORMAL_EXACT * error
        row = {"name": name, "coef": coefficient, "se": error, "z": z, "p": normal_p(z)}
        rows.append({**row, "low": coefficient - half, "high": coefficient + half, "n": patients})
    return rows


def tested(statistic: float, degrees: int) -> Json:
    """A statistic that has a chi-squared distribution; None where there is none."""
    if math.isnan(statistic):
        return {"statistic": None, "degrees": degrees, "p": None}
    return {"statistic": statistic, "degrees": degrees, "p": chi_squared_p(statistic, degrees)}


def concordance(concordant: int, tied: int, compared: int) -> Json:
    """Harrell's C with the pairs behind it; None where nobody can be compared."""
    c = (concordant + tied / 2) / compared if compared else None
    return {"c": c, "pairs": compared, "concordant": concordant, "tied": tied}


def shown_baseline(
    grid: Sequence[float], levels: Sequence[str], exits: Floats, risk: Floats, ends: NDArray[np.int64]
) -> Json:
    """The same of windows of times, which end where `ends`, (levels, times), is 1; None within one.

    Who leaves within a window is at risk for all of it.
    """
    strata: dict[str, Json] = {}
    for level, name in enumerate(levels):
        places = np.flatnonzero(ends[level])
        told: dict[str, list[object]] = {key: [None] * len(grid) for key in SHOWN}
        if places.size:
            times = [grid[place] for place in places.tolist()]
            begins = np.append(0, places + 1)
            left, weight = (np.add.reduceat(part[level], begins, axis=0)[None] for part in (exits, risk))
            strata_of: Json = baseline(times, [name], left, weight)["strata"]  # type: ignore[assignment]
            found: dict[str, list[float]] = strata_of[name]  # type: ignore[assignment]
            for key in SHOWN:
                where = begins[:-1] if key == "at_risk" else places
                for place, value in zip(where.tolist(), found[key], strict=True):
                    told[key][place] = value
        shown = bool(places.size)
        strata[name] = {**told, "n": int(exits[level].sum()) if shown else None}
    return {"grid": list(grid), "strata": strata}


SHOWN = ("hazard", "survival", "at_risk", "events")


def baseline(grid: Sequence[float], levels: Sequence[str], exits: Floats, risk: Floats) -> Json:
    """Breslow's estimate (1974) for a patient with the mean of every column, by stratum.

    Args:
        exits: (levels, times + 1, 2): patients that leave without and with the event; the last leave later.
        risk: (levels, times + 1): exp(coefficients x) of those who leave, added up.
    """
    at_risk, events = still(exits.sum(-1))[:, :-1], exits[:, :-1, 1]
    share = np.where(events > 0, events / np.maximum(still(risk)[:, :-1], 1e-300), 0.0)
    hazard = share.cumsum(1)
    strata = {
        level: {
            "hazard": hazard[place].tolist(),
            "survival": np.exp(-hazard[place]).tolist(),
            "at_risk": at_risk[place].astype(int).tolist(),
            "events": events[place].astype(int).tolist(),
            "n": int(exits[place].sum()),
        }
        for place, level in enumerate(levels)
    }
    return {"grid": list(grid), "strata": strata}


def still(leaving: Floats) -> Floats:
    """Sums over all who leave at a time or later."""
    found: Floats = np.flip(np.flip(leaving, -1).cumsum(-1), -1)
    return found


def fit_report(fit: Fit, kept: Mapping[str, Floats]) -> Json:
    """What every Cox regression says."""
    return {
        "events": int(kept["events"][0]),
        "coefficients": fit.rows(),
        "means": dict(zip(fit.names, fit.centre.tolist(), strict=True)),
        "log_likelihood": fit.loglik,
        "log_likelihood_null": fit.null.loglik,
        "aic": 2 * len(fit.names) - 2 * fit.loglik,
        "tests": fit.tests(),
    }


def shown_of_fit(fit: Fit, sums: Sums, grid: Sequence[float], levels: Sequence[str]) -> Json:
    """Proportional hazards, concordance, and the baseline where there is a grid."""
    p = len(fit.names)
    proportions = Proportions.unpacked(floats_of(sums["proportions"]), p)
    shown: Json = {
        "proportional_hazards": fit.proportional(proportions),
        "concordance": concordance(*(int(count) for count in sums["pairs"])),
    }
    if grid:
        shape = (len(levels), len(grid) + 1)
        exits = np.asarray(sums["exits"], np.float64).reshape(*shape, 2)
        risk = floats_of(sums["risk"]).reshape(shape)
        ends = sums.values.get("shown/ends")
        whole = ends is None or bool(ends.all())
        shown["baseline"] = (
            baseline(grid, levels, exits, risk)
            if whole or ends is None
            else shown_baseline(grid, levels, exits, risk, ends)
        )
    return shown
