"""Where a maximum is, by noisy scores: each moves what is believed by as much as it tells (Kalman 1960).

A score s at a place t is information (maximum - t), but for noise of known deviation and for what the
likelihood bends between the two. Before the first round little is believed of the coefficients, which stand
for columns of deviation 1, and a little of the hazards' shape, which a noisy life table has told. So a study
of many patients goes as Newton's method would, and in one of few, noise as large as the scores moves little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL, SHAPE, EFFECT = 1.0, 0.5, 1.0
"""Deviations of what is believed at first: of all hazards together, of each, and of each coefficient."""
BENT = 0.5
"""What a score tells wrong as the likelihood bends, as a share of what it tells."""
LONGEST = 1.0
"""No parameter moves farther in one round."""
LEANING, MOST_LEANING = 0.7, 0.75
"""By how much of a coefficient who has the event lies beyond the mean of all, and the most of it."""
SPREAD = 0.25
"""How far an information may differ from the one that is believed at first, in its own scale."""
LEAST = 0.15
"""Of the eigenvalues of an information, scaled to 1 on its diagonal: less is noise."""


@dataclass(frozen=True)
class Belief:
    """What is believed of the parameters: hazards of pieces, then coefficients.

    Attributes:
        at: (k + p,) where they are.
        covariance: how uncertain that is.
    """

    at: Floats
    covariance: Floats

    def after(self, score: Floats, information: Floats, sigma: float) -> tuple["Belief", Floats]:
        """What is believed once a score is known at `at`, with noise of deviation sigma; and the gain."""
        gain, covariance = gain_of(self.covariance, information, sigma)
        return Belief(self.at + held(gain @ score), covariance), gain


def first_belief(n_pieces: int, p: int) -> Belief:
    """Before the first round."""
    own: Floats = np.repeat([SHAPE**2, EFFECT**2], [n_pieces, p])
    level = np.where(np.arange(n_pieces + p) < n_pieces, LEVEL, 0.0)
    return Belief(np.zeros(n_pieces + p), np.outer(level, level) + np.diag(own))


def gain_of(covariance: Floats, information: Floats, sigma: float) -> tuple[Floats, Floats]:
    """By how much a score moves the parameters, and their covariance then; of one, or (…, d, d) of many."""
    told = information @ covariance @ information
    noise = max(sigma, 1e-6) ** 2 * np.eye(told.shape[-1])
    solved = np.linalg.solve(told * (1 + BENT**2) + noise, information @ covariance).astype(np.float64)
    gain: Floats = solved.swapaxes(-1, -2)
    after = covariance - gain @ information @ covariance
    return gain, (after + after.swapaxes(-1, -2)) / 2


def uncertain(covariance: Floats, gains: Sequence[Floats], information: Floats, sigma: float) -> Floats:
    """What is not known after rounds whose gains took another information for true; of one, or of many.

    Where the true one is smaller, as in a direction whose rows are shortened, the rounds have found less of
    the maximum than they believed, and later ones that believed it would hardly move.
    """
    for gain in gains:
        off = np.eye(information.shape[-1]) - gain @ information
        bent = BENT * gain @ information
        covariance = (
            off @ covariance @ off.swapaxes(-1, -2)
            + bent @ covariance @ bent.swapaxes(-1, -2)
            + sigma**2 * gain @ gain.swapaxes(-1, -2)
        )
    return covariance


def held(step: Floats) -> Floats:
    """Steps, (…, d), of at most LONGEST."""
    farthest = np.abs(step).max(-1, keepdims=True)
    short: Floats = step * np.minimum(1.0, LONGEST / np.maximum(farthest, 1e-300))
    return short


def believed_information(at: Floats, events: Floats) -> Floats:
    """Of whitened columns, before it is asked: by events of each piece, and the coefficients.

    Of normal columns whose risk is exp(b x), those who have the event lie beyond the mean of all by b.
    """
    k, p = len(events), len(at) - len(events)
    beyond = at[k:] * LEANING
    beyond = beyond * min(1.0, MOST_LEANING / max(float(np.linalg.norm(beyond)), 1e-300))
    information = np.zeros((k + p,) * 2)
    information[range(k), range(k)] = events
    information[:k, k:] = events[:, None] * beyond
    information[k:, :k] = information[:k, k:].T
    information[k:, k:] = events.sum() * np.eye(p)
    return positive(information)


def blended(released: Floats, believed: Floats, sigma: Floats) -> Floats:
    """An information that was released with noise, where that is small, and else the believed one.

    Args:
        sigma: (k + p, k + p) of the noise in each number.
    """
    scale = np.sqrt(np.diag(believed))
    spread = (SPREAD * scale[:, None] * scale) ** 2
    return positive(believed + spread / (spread + sigma**2) * (released - believed))


def positive(information: Floats) -> Floats:
    """The nearest that is surely positive, in its own scale; of one, or (…, d, d) of many."""
    diagonal = np.diagonal(information, axis1=-2, axis2=-1)
    scale = np.sqrt(np.maximum(diagonal, 1.0))
    both = scale[..., :, None] * scale[..., None, :]
    values, vectors = np.linalg.eigh(information / both)
    kept: Floats = (vectors * np.maximum(values, LEAST)[..., None, :]) @ vectors.swapaxes(-1, -2) * both
    return kept


@dataclass(frozen=True)
class Course:
    """The rounds of a study, to go them again with other noise and other patients.

    Attributes:
        found: (k + p,) where they ended.
        events: (k,) as `believed_information` takes them.
        information: which rounds after the first `before` went by; `believed` is what it was blended with.
        sigma: of a score's noise; `sigma_information`, (k + p, k + p), of the information's.
    """

    found: Floats
    events: Floats
    information: Floats
    believed: Floats
    sigma: float
    sigma_information: Floats
    before: int
    rounds: int

    def again(self, draw: np.random.Generator, n: int, wider: float) -> Floats:
        """(n, k + p): where they would have ended.

        Args:
            wider: by how much noise is drawn larger than it is, for what the likelihood bends.
        """
        size = len(self.found)
        covariance = first_belief(len(self.events), size - len(self.events)).covariance
        early = believed_information(self.found, self.events)
        noise = np.triu(draw.standard_normal((n, size, size)))
        noise += np.triu(noise, 1).swapaxes(1, 2)
        later = blended(
            self.information + noise * self.sigma_information, self.believed, self.sigma_information
        )
        root: Floats = np.linalg.cholesky(self.information).astype(np.float64)
        patients = draw.standard_normal((n, size)) @ root.T
        off, gains = np.tile(-self.found, (n, 1)), list[Floats]()
        first = covariance
        for place in range(self.rounds):
            if place == self.before:
                covariance = uncertain(first, gains, later, self.sigma)
            gain, covariance = gain_of(covariance, early if place < self.before else later, self.sigma)
            score = patients - off @ self.information + wider * self.sigma * draw.standard_normal((n, size))
            off = off + held((gain @ score[..., None])[..., 0])
            gains.append(gain)
        return self.found + off
