"""What every analysis is: stages, each of which says what rows add to a sum, and what follows from the sum.

No stage does I/O, reads a clock or draws noise. What its blocks declare is held to, clipped, rounded and
noised below, once for all (`site_sum`, `privacy.plan`): the same stages serve with and without privacy.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import masked_sums
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.errors import StudyError
from fedcohort.texts import Text
from fedcohort.vector import Array, Block, Layout

if TYPE_CHECKING:
    from fedcohort.analyses.rows import Rows
    from fedcohort.study import Privacy

Row = Mapping[str, float | int | str | None]
Report = dict[str, object]
SiteState = Mapping[str, Array]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """Each row falls into a cell, and adds a short vector to it.

    What one row adds has the norm of its vector, whatever the number of cells.

    Attributes:
        values: (n, d), what each row adds; None: 1 in its cell, or in its cell of each column of `cell`.
        cell: (n,) the cell of each row, whose block is (cells, d) long; or (n, d), a cell for each of its
            numbers, whose block is (d, cells) long; None: there is one cell. -1: the row adds nothing there.
        rows: (n,) indices in the table of the rows that are meant, each with its patient; None: all.
    """

    values: NDArray[np.floating | np.integer | np.bool_] | None = None
    cell: NDArray[np.integer] | None = None
    rows: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class Gram:
    """Each row adds its weight times the outer product with itself; all rows are one matrix product.

    The block is (d, d), and `row` bounds the weight times the square of the row's length.

    Attributes:
        values: (n, d).
        weights: (n,), none of them negative; None: all are 1.
        rows: as of a Tally.
    """

    values: NDArray[np.floating]
    weights: NDArray[np.floating] | None = None
    rows: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class Proved:
    """A sum that the stage has made itself: it proves its norm, or the block declares none.

    Attributes:
        values: of the block's shape.
    """

    values: Array


Contribution = Tally | Gram | Proved


@dataclass(frozen=True)
class Sums:
    """What one round's sum over all sites shows.

    Attributes:
        values: by block, of its shape.
        sigma: by block, the standard deviation of the noise in one coordinate, in the block's own units; a
            block without noise has none.
        n_sites: how many sites' contributions it is of.
    """

    values: Mapping[str, Array]
    sigma: Mapping[str, float] = field(default_factory=dict)
    n_sites: int = 1

    def __getitem__(self, block: str) -> Array:
        """A block's sum."""
        return self.values[block]

    def __contains__(self, block: object) -> bool:
        return block in self.values

    def noise(self, block: str) -> float:
        """Standard deviation of the noise in each coordinate of a block; 0 where there is none."""
        return self.sigma.get(block, 0.0)

    def to_arrays(self) -> dict[str, Array]:
        """As a store keeps them."""
        sigmas = {f"{name}/sigma": np.array(value) for name, value in self.sigma.items()}
        return {**self.values, **sigmas, "sites": np.array([self.n_sites])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Sums":
        """What `to_arrays` made; other arrays among them count as sums."""
        # A column may be called sigma, and its block `levels/sigma`: there is no block `levels`.
        sigma_of = {
            name: block
            for name in arrays
            if (block := name.removesuffix("/sigma")) != name and block in arrays
        }
        values = {name: v for name, v in arrays.items() if name not in sigma_of and name != "sites"}
        sigma = {block: float(arrays[name].reshape(-1)[0]) for name, block in sigma_of.items()}
        return cls(values, sigma, int(arrays["sites"][0]) if "sites" in arrays else 1)


@dataclass(frozen=True)
class State:
    """Where a study is: `arrays` travel to the sites, `kept` stays at the coordinator.

    Attributes:
        phase: the stage whose sum is next.
        round: its place in the analysis' sequence, which is asked once.
        rows: metrics that the last update produced.
        settled: the stage needs no more of its rounds; what is left of them is never asked.
        sums: at the end, the last sum.
    """

    phase: str
    round: int = 0
    arrays: Mapping[str, Array] = field(default_factory=dict)
    kept: Mapping[str, Array] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    finished: bool = False
    settled: bool = False
    sums: Sums | None = None


@dataclass(frozen=True)
class Disclosed:
    """A finished state as a report may read it, and what is hidden of it.

    Attributes:
        state: hidden numbers are NaN.
        suppressed: how many, of which figure, by which rule.
    """

    state: State
    suppressed: tuple[Suppressed, ...] = ()


@dataclass(frozen=True)
class Draw:
    """Randomness handed to a site's part: batches and dropout follow from the study's seed."""

    seed: int
    site: str
    round: int
    noise: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of a site's own noisy steps, by block: (steps, size) integers of its resolution, a slice at a time."""
    sample: Callable[[int, float], NDArray[np.bool_]] | None = None
    """Under privacy: which of so many patients are drawn, each with this probability, from the OS."""

    def number(self, purpose: str) -> int:
        """A number below 2^63 that is the same whenever this round is computed again."""
        text = f"fedcohort-draw|{self.seed}|{self.round}|{purpose}|{self.site}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

    def generator(self, purpose: str) -> np.random.Generator:
        """A seeded generator for batches and permutations; never for secrets or noise."""
        return np.random.Generator(np.random.PCG64(self.number(purpose)))


class Stage(Protocol):
    """One kind of sum, asked `times` times at most, one round after the other."""

    @property
    def name(self) -> str:
        """Of the phase, in tasks and states."""
        ...

    @property
    def times(self) -> int:
        """How often it is asked at most."""
        ...

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What its sums hold."""
        ...

    def contribute(self, state: State, rows: "Rows", draw: Draw) -> Mapping[str, Contribution]:
        """What a site's rows add."""
        ...

    def update(self, state: State, sums: Sums) -> State:
        """What follows from the sum: other arrays, what is kept, metrics. It sets no phase or round."""
        ...


@dataclass(frozen=True)
class Parallel:
    """Stages that share a round: their blocks stand side by side, and the sum updates one after the other."""

    name: str
    times: int
    stages: tuple[Stage, ...]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of all of them."""
        return tuple(block for stage in self.stages for block in stage.blocks)

    def contribute(self, state: State, rows: "Rows", draw: Draw) -> Mapping[str, Contribution]:
        """What rows add to each."""
        return {
            name: part for stage in self.stages for name, part in stage.contribute(state, rows, draw).items()
        }

    def update(self, state: State, sums: Sums) -> State:
        """Each sees the same sum; a later one the state that an earlier one left."""
        for stage in self.stages:
            state = stage.update(state, sums)
        return state


class Analysis:
    """A question as a sequence of stages. Subclasses are frozen dataclasses."""

    privacy: "Privacy | None" = None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """In the order in which they are asked; one may stand there several times."""
        raise NotImplementedError

    def first_arrays(self) -> Mapping[str, Array]:
        """What the sites are told before the first sum.

        Raises:
            StudyError: the study cannot be carried out, whatever the data.
        """
        return {}

    def prepare(self, rows: "Rows") -> None:
        """Make ready at a site, once a process, what can be: encode, compile, check values."""

    def remembered(self, site_state: SiteState, released: Callable[[], Mapping[str, Array]]) -> SiteState:
        """What a site keeps for its later rounds.

        Args:
            released: its own part of a sum as it leaves, noise included.
        """
        return site_state

    def for_privacy(self, privacy: "Privacy") -> "Analysis":
        """The same question with another grain.

        Raises:
            StudyError: it cannot be asked privately.
        """
        raise StudyError(
            "privacy: {analysis} cannot be asked privately; leave out [privacy]", analysis=type(self).__name__
        )

    def at_site(self, site_state: SiteState) -> "Analysis":
        """The same analysis, as what a site has remembered makes it."""
        return self

    def report(self, state: State) -> Report:
        """What the researcher reads, from the finished state, of which numbers may be hidden (NaN)."""
        raise NotImplementedError

    # --- what may be shown without privacy (`fedcohort.disclosure`) ---------------------------

    def under(self, rules: Disclosure) -> "Analysis":
        """The same at the coordinator, asking no more than these rules let be shown."""
        return self

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """The finished state, without the numbers that must not leave.

        Here by the blocks' declarations alone; an analysis overrides it where more is known: which totals a
        report shows, which cells are in order, which figures follow from which.
        """
        blocks = [block for stage in self.stages for block in stage.blocks]
        kept, suppressed = masked_sums(state.kept, blocks, rules)
        sums = state.sums or Sums({})
        values, more = masked_sums(sums.values, blocks, rules)
        shown = replace(state, kept=kept, sums=replace(sums, values=values))
        return Disclosed(shown, gathered([*suppressed, *more]))

    def disclosed_rows(self, state: State, sums: Sums, rules: Disclosure) -> tuple[Row, ...]:
        """The metrics of a round as they may be shown: none, where an analysis does not say which.

        Args:
            state: before the round.
        """
        return ()

    def objection(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """Why a study must end with this sum: what follows from counts of all hospitals together.

        Args:
            state: before the round.
        """
        return None

    def objection_at_site(self, state: State, sums: Sums, rows: "Rows", rules: Disclosure) -> Text | None:
        """Why a hospital does not send its own part where it can be seen by itself, without a protection.

        Here what would end the study if it were the first sum of all hospitals.
        """
        return self.objection(state, sums, rules) if state.round == 0 else None

    # --- what follows from the stages ---------------------------------------------------------

    @cached_property
    def _stage_ends(self) -> tuple[int, ...]:
        return tuple(accumulate(stage.times for stage in self.stages))

    @property
    def n_rounds(self) -> int:
        """How many sums the analysis asks for at most."""
        return self._stage_ends[-1]

    def stage_at(self, number: int) -> Stage | None:
        """The stage that a round belongs to; None where the sequence has no such round."""
        return self.stages[bisect_right(self._stage_ends, number)] if 0 <= number < self.n_rounds else None

    def layout(self, state: State) -> Layout:
        """The integers of a round, which coordinator and sites derive alike."""
        if not 0 <= state.round < self.n_rounds:
            return ()
        run = bisect_right(self._stage_ends, state.round)
        if run not in self._layouts:
            blocks = self.stages[run].blocks
            self._layouts[run] = tuple(block.fixed_point(self.privacy is not None) for block in blocks)
        return self._layouts[run]

    @cached_property
    def _layouts(self) -> dict[int, Layout]:
        """By run of a stage: a small round is all calls, and each asks."""
        return {}

    @cached_property
    def planned(self) -> Mapping[Block, int]:
        """Every block of the whole study, and how often it is released at most."""
        releases: dict[Block, int] = {}
        for stage in self.stages:
            for block in stage.blocks:
                releases[block] = releases.get(block, 0) + stage.times
        return releases

    @property
    def foreseen(self) -> Mapping[Block, int]:
        """The releases by which it can be said beforehand how well the result will be known."""
        return self.planned

    @cached_property
    def _scheduled(self) -> tuple[int, ...]:
        """How many rounds of the noise schedule came before each run of a stage."""
        counts = [stage.times * any(block.scheduled for block in stage.blocks) for stage in self.stages]
        return tuple(accumulate(counts, initial=0))

    def schedule_step(self, number: int) -> int:
        """How many rounds of the noise schedule came before a round."""
        run = bisect_right(self._stage_ends, number)
        begin = self._stage_ends[run - 1] if run else 0
        before = self._scheduled[run]
        return before + (number - begin if self._scheduled[run + 1] > before else 0)

    def start(self) -> State:
        """The state before the first round."""
        return State(self.stages[0].name, 0, self.first_arrays())

    def update(self, state: State, sums: Sums) -> State:
        """The state after a round's sum; `finished` ends the study, with the sum that ended it."""
        run = bisect_right(self._stage_ends, state.round)
        after = self.stages[run].update(replace(state, rows=()), sums)
        number = self._stage_ends[run] if after.settled else state.round + 1
        stage = self.stage_at(number)
        if stage is None:
            return replace(after, phase="done", round=number, finished=True, settled=False, sums=sums)
        return replace(after, phase=stage.name, round=number, settled=False)
