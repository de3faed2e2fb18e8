"""What weights say: balance before and after, and the effect with its error, from sums alone."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.glm.estimates import coefficient_rows
from fedcohort.analyses.weighting.weights import ArmSums

Floats = NDArray[np.float64]
Report = dict[str, object]


def balance(sums: ArmSums, names: Sequence[str], indicators: NDArray[np.bool_]) -> list[Report]:
    """By column its standardised mean difference, treated less untreated, before and after weighting.

    Both are in deviations of the arms as they are, sqrt((s1^2 + s0^2) / 2), so that weights change the
    difference alone (Austin and Stuart 2015, Stat Med 34:3661); of a share the variance is p (1 - p).
    """
    n = sums.n[:, None]
    mean = sums.x / n
    spread = np.maximum(sums.x_squared / n - mean**2, 0.0)
    spread = np.where(indicators, spread, spread * n / np.maximum(n - 1, 1))
    deviation = np.sqrt(spread.mean(0))
    weighted = sums.weighted_x / sums.weight[:, None]
    known = deviation > 0
    rows: list[Report] = []
    for place, name in enumerate(names):
        row: Report = {"name": name, "smd": None, "weighted_smd": None}
        if known[place]:
            row["smd"] = float((mean[1] - mean[0])[place] / deviation[place])
            row["weighted_smd"] = float((weighted[1] - weighted[0])[place] / deviation[place])
        rows.append(row)
    return rows


def effects(means: Floats, covariance: Floats, is_share: bool) -> list[Report]:
    """The difference of two means, and of shares the logarithms of the risk ratio and the odds ratio.

    Args:
        covariance: (2, 2), of the untreated's mean and the treated's.
    """
    estimates = [("difference", means[1] - means[0], np.array([-1.0, 1.0]))]
    if is_share and np.all((means > 0) & (means < 1)):
        odds = means * (1 - means)
        estimates += [
            ("risk_ratio", np.log(means[1] / means[0]), np.array([-1.0, 1.0]) / means),
            (
                "odds_ratio",
                np.log(means[1] / (1 - means[1])) - np.log(means[0] / (1 - means[0])),
                np.array([-1.0, 1.0]) / odds,
            ),
        ]
    names, values, gradients = zip(*estimates, strict=True)
    errors = [error_of(gradient, covariance) for gradient in gradients]
    return coefficient_rows(names, np.array(values), np.array(errors))


def error_of(gradient: Floats, covariance: Floats) -> float:
    """Standard error by the delta method."""
    return math.sqrt(max(float(gradient @ covariance @ gradient), 0.0))
