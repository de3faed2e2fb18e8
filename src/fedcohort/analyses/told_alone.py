"""What a site's own rows tell of single patients, where nothing hides its part of the sums.

A sum of a design's columns may be one patient's though none of the columns is: of one who is far from all
others in two columns at once. Of the sum that picks a patient out best, x'(X'X)^-1 x_i, that patient's share
is the leverage (Hoaglin and Welsch 1978, The American Statistician 32, 17-22). The rules of dominance hold
for it as for a total (Hundepool et al. 2012, section 4.2.2). Over all hospitals together it is not looked
for: the first sums do not say it.
"""

import numpy as np

from fedcohort.analyses.contract import Floats
from fedcohort.analyses.design_rows import Matrix, parts
from fedcohort.disclosure.rules import Disclosure
from fedcohort.texts import Text, say

SINGULAR = 1e-10
"""Of the largest eigenvalue: a smaller one is rounding."""


def two_dominate(shares: Floats, rules: Disclosure) -> bool:
    """Whether the two largest of shares of a whole are too much of it, or leave the largest open.

    Args:
        shares: (n,), none of them negative, of 1 in all.
    """
    if shares.size < 2:
        return bool(shares.size) and rules.max_share < 1
    second, first = np.partition(shares, shares.size - 2)[-2:]
    both = first + second
    by_share = rules.max_share < 1 and both > rules.max_share
    return bool(by_share or 1 - both < rules.p_percent * first)


def told_by_leverage(x: Matrix, rules: Disclosure, weights: Floats | None = None) -> Text | None:
    """Whether a combination of columns is that of one patient, or two.

    Args:
        x: (n, p) the design's columns.
        weights: (n,), none of them negative; None: all are 1.
    """
    if rules.min_cell <= 1 or not len(x):
        return None
    root = np.ones(len(x)) if weights is None else np.sqrt(weights)
    whitened = _whitened(x, root)
    leverage = np.einsum("ij,ij->i", whitened, whitened)
    least = min(rules.max_share / 2, 1 / (2 + rules.p_percent))
    for place in np.flatnonzero(leverage > least):
        shares = np.square(whitened @ whitened[place]) / leverage[place]
        if two_dominate(shares, rules):
            return say(
                "one patient, or two, have nearly all of a combination of columns (max_share = {most:g}), "
                "being far from all others in several at once; leave a column out, or narrow cohort.bounds "
                "with `where`",
                most=rules.max_share,
            )
    return None


def _whitened(x: Matrix, root: Floats) -> Floats:
    """(n, rank): centred columns such that their products sum to the identity."""
    weight = np.square(root)
    centre, gram = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
    for rows, part in parts(x):
        centre += weight[rows] @ part
    centre /= max(weight.sum(), 1e-300)
    for rows, part in parts(x):
        centred = (part - centre) * root[rows, None]
        gram += centred.T @ centred
    scale = np.sqrt(np.diag(gram))
    scale[scale == 0] = 1.0
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    there = values > SINGULAR * max(values[-1], 1e-300)
    turn = vectors[:, there] / np.sqrt(values[there]) / scale[:, None]
    whitened = np.empty((len(x), int(there.sum())))
    for rows, part in parts(x):
        whitened[rows] = ((part - centre) * root[rows, None]) @ turn
    return whitened
