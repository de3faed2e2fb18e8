"""Newton's method with step halving, at the coordinator: where the coefficients go next, by sums over sites.

A likelihood that goes on rising while a coefficient grows without end (monotone likelihood; Heinze and
Schemper 2001) and columns that cannot be told apart are said in words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.vector import Array

Floats = NDArray[np.float64]

MOST_ROUNDS = 40
NEAR = 1e-5
"""A step shorter than this, in standard deviations of a column, is the last: the next has its square."""
FARTHEST = 20.0
"""Of one step, in standard deviations."""
SAME = 1e-9
"""Of 1 + the logarithm of the likelihood, what the rounding of sums may hide of it."""
ENOUGH = 1e-4
"""Of what the slope promises, the least that a step has to gain (Armijo 1966); else half of it is tried."""
COLLINEAR = 1e-9
"""Least share of a column's information that other columns leave."""
FLAT = 1e-3
"""What a step still gains where the likelihood is at its highest, or rises without end."""
WIDENED = 30.0
"""So many times as uncertain as at 0 is no coefficient that is found, but one that grows without end."""
MOST_NAMED = 6


@dataclass(frozen=True)
class Likelihood:
    """A log-likelihood at some coefficients.

    Attributes:
        loglik: its value.
        score: (p,) its gradient.
        information: (p, p) its negative second derivative.
    """

    loglik: float
    score: Floats
    information: Floats

    @property
    def packed(self) -> Floats:
        """(1 + p + p (p + 1) / 2,): as a site sends it."""
        half = self.information[np.triu_indices(len(self.score))]
        return np.concatenate([[self.loglik], self.score, half])

    @classmethod
    def unpacked(cls, packed: Floats, p: int) -> "Likelihood":
        """What `packed` made, or a sum of such."""
        return cls(float(packed[0]), packed[1 : p + 1], symmetric(packed[p + 1 :], p))

    @property
    def step(self) -> Floats:
        """Newton's."""
        return solved(self.information, self.score)


def symmetric(half: Floats, p: int) -> Floats:
    """(p, p) of its upper triangle."""
    matrix = np.zeros((p, p))
    matrix[np.triu_indices(p)] = half
    whole: Floats = matrix + np.triu(matrix, 1).T
    return whole


def inverse(information: Floats) -> Floats:
    """The covariance; of a direction about which nothing is known it is large, and no error."""
    root = np.sqrt(np.maximum(np.diag(information), 1e-200))
    values, vectors = np.linalg.eigh(information / root[:, None] / root)
    covariance: Floats = (vectors / np.maximum(values, 1e-14)) @ vectors.T / root[:, None] / root
    return covariance


def solved(information: Floats, vector: Floats) -> Floats:
    """information^-1 vector."""
    step: Floats = inverse(information) @ vector
    return step


@dataclass(frozen=True)
class Climb:
    """Where Newton's method is.

    Attributes:
        coefficients: (p,) at which the next sum is asked.
        kept: what it remembers.
        settled: they are the maximum's, but for the square of NEAR.
    """

    coefficients: Floats
    kept: Mapping[str, Array]
    settled: bool = False


def climb(here: Likelihood, at: Floats, kept: Mapping[str, Array], names: Sequence[str]) -> Climb:
    """The next step.

    Args:
        at: where `here` is.
        kept: as the step before returned it; empty before the first.
        names: of the coefficients, for messages.
    Raises:
        StudyError: columns cannot be told apart, or there is no maximum.
    """
    if "best" not in kept:
        check_distinct(here.information, names)
        kept = {
            "null_loglik": np.array([here.loglik]),
            "null_score": here.score,
            "null_information": here.information,
            "loglik": np.array([-np.inf]),
            "best": at,
            "best_score": here.score,
            "rounds": np.array([0]),
        }
    rounds = int(kept["rounds"][0]) + 1
    before = float(kept["loglik"][0])
    kept = {**kept, "rounds": np.array([rounds])}
    promised = float(np.asarray(kept["best_score"]) @ (at - np.asarray(kept["best"])))
    if here.loglik < before + ENOUGH * promised - SAME * (1 + abs(before)):
        _check_rounds(rounds, names)
        return Climb((kept["best"] + at) / 2, kept)
    kept = {**kept, "best": at, "best_score": here.score, "loglik": np.array([here.loglik])}
    step = here.step
    farthest = float(np.max(np.abs(step)))
    if farthest <= NEAR:
        return Climb(at + step, kept, settled=True)
    _check_maximum(here, step, np.asarray(kept["null_information"]), names)
    _check_rounds(rounds, names)
    return Climb(at + step * min(1.0, FARTHEST / farthest), kept)


def check_distinct(information: Floats, names: Sequence[str]) -> None:
    """Each column tells something that the others do not.

    Raises:
        StudyError: names the columns.
    """
    own = np.diag(information)
    # Of columns of deviation 1 each event tells about 1; what is left of less is rounding.
    still = own <= COLLINEAR * max(float(own.max(initial=0.0)), 1.0)
    if still.any():
        raise StudyError(
            "formula: {columns} have one value among the patients who are compared, so that nothing can be "
            "said of them; leave them out, or compare over hospitals",
            columns=_named(names, still),
        )
    root = np.sqrt(own)
    values, vectors = np.linalg.eigh(information / root[:, None] / root)
    if values[0] <= COLLINEAR:
        raise StudyError(
            "formula: {columns} follow from one another, so that their coefficients cannot be told apart; "
            "leave one of them out",
            columns=_named(names, np.abs(vectors[:, 0]) > 1e-3),
        )


def _check_maximum(here: Likelihood, step: Floats, null: Floats, names: Sequence[str]) -> None:
    if float(here.score @ step) > FLAT:
        return
    wide = np.diag(inverse(here.information)) > WIDENED**2 * np.diag(inverse(null))
    if wide.any():
        raise StudyError(
            "formula: the coefficients of {columns} grow without end: in part of their values nobody, or "
            "everybody, has the event first (monotone likelihood); leave them out, or join levels",
            columns=_named(names, wide),
        )


def _check_rounds(rounds: int, names: Sequence[str]) -> None:
    if rounds >= MOST_ROUNDS:
        raise StudyError(
            "formula: no maximum of the likelihood in {rounds} rounds, of {columns}; leave out columns that "
            "hardly vary, or join levels",
            rounds=rounds,
            columns=_named(names, np.ones(len(names), np.bool_)),
        )


def _named(names: Sequence[str], chosen: NDArray[np.bool_]) -> str:
    some = [name for name, is_one in zip(names, chosen, strict=True) if is_one]
    return ", ".join(some[:MOST_NAMED]) + (", …" if len(some) > MOST_NAMED else "")
