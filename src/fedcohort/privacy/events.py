"""Privacy events: a release is data, namely its sensitivity to one patient and its noise.

Its cost is computed in `accounting`, so that a ledger can store releases and account them again. After
dp_accounting's DpEvent (Google, Apache 2.0): frozen records, and a kind that accounting does not know is
refused rather than guessed.

Parts of patients: a release of `part` None may show any patient; releases of differently named parts
show different patients (the held-out ones are drawn by a keyed hash of patient_id, whoever else takes
part), so that they compose in parallel: a patient pays for the patient's own part only.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from fedcohort.errors import StudyError

LEVELS = 5
"""The number of noise multipliers of a decaying schedule."""

_GRID = 2**11


@dataclass(frozen=True)
class GaussianRelease:
    """A vector that one patient moves by an L2 distance, with Gaussian noise in every coordinate.

    Attributes:
        what: in words, for the ledger.
        sensitivity: L2 distance that one patient can move the vector, rounding included.
        sigma: of the noise in one coordinate, in the same units; with shared noise, of all honest shares.
        dimension: coordinates of the vector.
        count: how often this is released, each time with fresh noise and a fresh sample.
        sampling_probability: of each patient, independently (Poisson), each time; 1 is everybody.
        part: the patients it may show; None is all.
        shares: equal independent discrete Gaussians that the noise is the sum of.
        discrete: integers with discrete Gaussian noise; False is the textbook's real numbers.
    """

    what: str
    sensitivity: float
    sigma: float
    dimension: int = 1
    count: int = 1
    sampling_probability: float = 1.0
    part: str | None = None
    shares: int = 1
    discrete: bool = True

    def __post_init__(self) -> None:
        _positive(self.what, sensitivity=self.sensitivity, sigma=self.sigma)
        _whole(self.what, dimension=self.dimension, count=self.count, shares=self.shares)
        _probability(self.what, self.sampling_probability)


@dataclass(frozen=True)
class LaplaceRelease:
    """A vector that one patient moves by an L1 distance, with Laplace noise in every coordinate.

    Attributes:
        sensitivity: L1 distance that one patient can move the vector, rounding included.
        scale: of the noise, in the same units; discrete or sampled exactly otherwise.
        what, count, sampling_probability, part: as in GaussianRelease.
    """

    what: str
    sensitivity: float
    scale: float
    count: int = 1
    sampling_probability: float = 1.0
    part: str | None = None

    def __post_init__(self) -> None:
        _positive(self.what, sensitivity=self.sensitivity, scale=self.scale)
        _whole(self.what, count=self.count)
        _probability(self.what, self.sampling_probability)


@dataclass(frozen=True)
class NoiselessRelease:
    """A release without noise: it costs infinity."""

    what: str
    part: str | None = None


Release = GaussianRelease | LaplaceRelease | NoiselessRelease

_KINDS: dict[str, type[GaussianRelease] | type[LaplaceRelease] | type[NoiselessRelease]] = {
    "gaussian": GaussianRelease,
    "laplace": LaplaceRelease,
    "noiseless": NoiselessRelease,
}


@dataclass(frozen=True)
class Schedule:
    """How much noise each round gets, declared before the first.

    Attributes:
        rounds: noisy releases in all; where sites take several noisy steps a round, all steps.
        sampling_probability: of each patient in each of them.
        kind: "constant": the same noise multiplier throughout; "decaying": falling in LEVELS equal runs.
        final: where it decays, the last noise multiplier as a share of the first.
    """

    rounds: int
    sampling_probability: float = 1.0
    kind: Literal["constant", "decaying"] = "constant"
    final: float = 0.5

    def __post_init__(self) -> None:
        _whole("the schedule", rounds=self.rounds)
        _probability("the schedule", self.sampling_probability)
        if self.kind not in ("constant", "decaying"):
            raise StudyError("noise schedule {kind!r}: it must be constant or decaying", kind=self.kind)
        if not 0.01 <= self.final <= 1:
            raise StudyError(
                "the noise of a decaying schedule ends at {final!r}; from 0.01 to 1 are allowed",
                final=self.final,
            )

    def levels(self) -> tuple[tuple[float, int], ...]:
        """Pairs of a share of the first noise multiplier and a number of rounds; the same at every site."""
        if self.kind == "constant":
            return ((1.0, self.rounds),)
        runs = min(LEVELS, self.rounds)
        shares = [self.final ** (run / max(1, runs - 1)) for run in range(runs)]
        ends = [self.rounds * run // runs for run in range(runs + 1)]
        # Powers may differ in the last bit between machines; the grid makes them equal.
        return tuple(
            (round(share * _GRID) / _GRID, ends[run + 1] - ends[run]) for run, share in enumerate(shares)
        )

    def share(self, index: int) -> float:
        """The noise multiplier of round `index` (from 0), as a share of the first.

        Raises:
            StudyError: the schedule has no such round.
        """
        if not 0 <= index < self.rounds:
            raise StudyError(
                "round {round}: the noise schedule has {rounds}, and none beyond",
                round=index + 1,
                rounds=self.rounds,
            )
        return self._begun(index + 1)[-1][0]

    def _begun(self, rounds: int) -> list[tuple[float, int]]:
        """The levels of the first `rounds` rounds."""
        levels: list[tuple[float, int]] = []
        left = rounds
        for share, count in self.levels():
            levels += [(share, min(count, left))] if left > 0 else []
            left -= count
        return levels

    def releases(
        self,
        noise_multiplier: float,
        what: str,
        sensitivity: float,
        dimension: int,
        shares: int = 1,
        part: str | None = None,
        begun: int | None = None,
    ) -> tuple[GaussianRelease, ...]:
        """All its releases, when the first noise multiplier is this one.

        Args:
            noise_multiplier: sigma of the first rounds over `sensitivity`.
            begun: only so many first rounds, where a study ended early; None is all.
            what, sensitivity, dimension, shares, part: as in GaussianRelease.
        """
        return tuple(
            GaussianRelease(
                what=what,
                sensitivity=sensitivity,
                sigma=noise_multiplier * share * sensitivity,
                dimension=dimension,
                count=count,
                sampling_probability=self.sampling_probability,
                part=part,
                shares=shares,
            )
            for share, count in self._begun(self.rounds if begun is None else begun)
        )


def to_record(release: Release) -> dict[str, object]:
    """A release as JSON's types, for a ledger."""
    kind = next(kind for kind, form in _KINDS.items() if isinstance(release, form))
    return {"kind": kind, **asdict(release)}


def from_record(record: Mapping[str, object]) -> Release:
    """The release of a record.

    Raises:
        StudyError: it is not one.
    """
    fields = dict(record)
    form = _KINDS.get(str(fields.pop("kind", None)))
    if form is None:
        raise StudyError(
            "a release of kind {kind!r} cannot be accounted; update this node", kind=record.get("kind")
        )
    try:
        return form(**fields)  # type: ignore[arg-type]
    except TypeError as error:
        raise StudyError("a release's record does not fit its kind: {error}", error=error) from error


def is_number(value: object) -> bool:
    """A number, whatever its value; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(what: str, **values: float) -> None:
    for name, value in values.items():
        if not (is_number(value) and 0 < value < math.inf):
            raise StudyError(
                "{what}: {name} is {value!r}; it must be a positive number", what=what, name=name, value=value
            )


def _whole(what: str, **values: int) -> None:
    for name, value in values.items():
        if not (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 2**40):
            raise StudyError(
                "{what}: {name} is {value!r}; it must be a whole number of at least 1",
                what=what,
                name=name,
                value=value,
            )


def _probability(what: str, value: float) -> None:
    if not (is_number(value) and 0 < value <= 1):
        raise StudyError(
            "{what}: patients are sampled with probability {value!r}; it must be in (0, 1]",
            what=what,
            value=value,
        )
