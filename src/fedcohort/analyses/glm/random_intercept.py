"""A random intercept of each hospital in a logistic or Poisson regression, integrated out at the hospital.

A hospital's part of the likelihood is one integral over its intercept sigma z, z being standard normal:
adaptive Gauss-Hermite quadrature about its mode (Pinheiro and Bates 1995, J. Comp. Graph. Stat. 4:12; Liu
and Pierce 1994, Biometrika 81:624). Score and information follow from the same nodes (Louis 1982, J. R. Stat.
Soc. B 44:226), so that sigma is one more coefficient, of the column z, for Newton's steps.
"""

import numpy as np

from fedcohort.analyses.design_rows import gram, totals
from fedcohort.analyses.glm.families import Family
from fedcohort.analyses.glm.sums import Floats, NewtonSums, Rows, predictor

NODES = 25
MOST_STEPS, NEAR = 100, 1e-13


def random_sums(family: Family, rows: Rows, theta: Floats) -> NewtonSums:
    """One hospital's part of the marginal likelihood, with score and observed information.

    Args:
        theta: the coefficients, and then sigma.
    """
    p, sigma = rows.x.shape[1], float(theta[-1])
    prior = np.ones(len(rows.y)) if rows.weights is None else rows.weights
    if not len(rows.y):
        return NewtonSums(np.zeros(p + 1), np.zeros((p + 1, p + 1)), 0.0, np.zeros((0, 0)))
    eta = predictor(rows, theta[:-1])
    mode, scale = _mode(family, rows.y, eta, prior, sigma)
    points, weights = np.polynomial.hermite.hermgauss(NODES)
    nodes = mode + np.sqrt(2.0) * scale * points
    parts = [family.rows(eta + sigma * z, rows.y) for z in nodes]
    joint = np.array([float(prior @ part[2]) for part in parts]) - nodes**2 / 2
    logs = joint + np.log(weights) + points**2
    largest = float(logs.max())
    share = np.exp(logs - largest)
    total = float(share.sum())
    share /= total
    loglik = largest + np.log(total) + np.log(scale) - 0.5 * np.log(np.pi)
    residuals = np.array([prior * part[0] for part in parts])
    sums = residuals.sum(1)
    scores = np.column_stack([totals(rows.x, residuals), nodes * sums])
    score = share @ scores
    off = scores - score
    curved = np.array([prior * part[1] for part in parts])
    information = np.zeros((p + 1, p + 1))
    information[:p, :p] = gram(rows.x, share @ curved)
    information[p, :p] = information[:p, p] = totals(rows.x, (share * nodes)[None] @ curved)[0]
    information[p, p] = float((share * nodes**2) @ curved.sum(1))
    information -= (off * share[:, None]).T @ off
    return NewtonSums(score, information, float(loglik), np.zeros((0, 0)))


def _mode(family: Family, y: Floats, eta: Floats, prior: Floats, sigma: float) -> tuple[float, float]:
    """Where the integrand is largest, and how wide it is there."""
    z = 0.0
    for _ in range(MOST_STEPS):
        residual, weight, _ = family.rows(eta + sigma * z, y)
        curvature = sigma**2 * float(prior @ weight) + 1.0
        step = float(np.clip((sigma * float(prior @ residual) - z) / curvature, -2.0, 2.0))
        z += step
        if abs(step) < NEAR:
            break
    weight = family.rows(eta + sigma * z, y)[1]
    return z, float(1.0 / np.sqrt(sigma**2 * float(prior @ weight) + 1.0))
