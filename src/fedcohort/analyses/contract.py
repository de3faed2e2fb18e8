"""What every analysis is: a state, its next sum's layout, a site's part, and what follows from the sum."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fedcohort.table import Table
from fedcohort.vector import Array, Layout, Noisy, Vector

Row = Mapping[str, float | int | str | None]
Report = dict[str, object]
SiteState = Mapping[str, Array]


@dataclass(frozen=True)
class State:
    """Where a study is: `arrays` travel to the sites, `kept` stays at the coordinator.

    Attributes:
        phase: what the next sum is for, such as `moments` or `train`.
        round: exchanges done so far, which is the number of the next one.
        rows: metrics that the last update produced.
    """

    phase: str
    round: int = 0
    arrays: Mapping[str, Array] = field(default_factory=dict)
    kept: Mapping[str, Array] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    finished: bool = False

    def ended(self, total: Vector, rows: tuple[Row, ...] = ()) -> "State":
        """What follows from the last sum: it is kept for the report, and nothing is asked any more."""
        kept = {name: np.asarray(values) for name, values in total.items()}
        return replace(self, phase="done", round=self.round + 1, kept=kept, rows=rows, finished=True)


@dataclass(frozen=True)
class Draw:
    """Randomness handed to a site's part: batches and dropout follow from the study's seed."""

    seed: int
    site: str
    round: int
    noise: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Under privacy, by block: integers in steps of its resolution, of the sum; or a slice at a time, (steps,
    size) of the site's own steps."""
    sample: Callable[[int, float], NDArray[np.bool_]] | None = None
    """Under privacy: which of so many patients are drawn, each with this probability, from the OS."""

    def number(self, purpose: str) -> int:
        """A number below 2^63 that is the same whenever this round is computed again."""
        text = f"fedcohort-draw|{self.seed}|{self.round}|{purpose}|{self.site}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

    def generator(self, purpose: str) -> np.random.Generator:
        """A seeded generator for batches and permutations; never for secrets or noise."""
        return np.random.Generator(np.random.PCG64(self.number(purpose)))


Local = Callable[[State, SiteState, Draw], tuple[Vector, SiteState]]


class Analysis(Protocol):
    """Pure mathematics: no I/O, no clock, no global."""

    def start(self) -> State:
        """The state before the first round."""
        ...

    def phases(self) -> Mapping[str, int]:
        """How often a study asks each phase: a site answers none more often."""
        ...

    def layout(self, state: State) -> Layout:
        """The blocks of the next sum, which coordinator and sites derive alike."""
        ...

    def prepare(self, table: Table) -> Local:
        """A site's part, made once a study: encode, compile, trace."""
        ...

    def update(self, state: State, total: Vector) -> State:
        """The state after the sum `total`; `finished` ends the study."""
        ...

    def report(self, state: State) -> Report:
        """What the researcher reads, from the finished state."""
        ...


@runtime_checkable
class PrivateAnalysis(Analysis, Protocol):
    """An analysis all of whose blocks have a sensitivity, and which knows beforehand what it releases."""

    def planned(self, site_state: SiteState) -> tuple[Noisy, ...]:
        """Every release of the whole study, at a site with this state; the coordinator's state is empty."""
        ...

    def step(self, state: State) -> int:
        """How many rounds of the noise schedule came before this one, as the state says."""
        ...

    def steps_asked(self, phases: Mapping[str, int]) -> int:
        """How many rounds of the noise schedule a site has been asked for, by phase."""
        ...
