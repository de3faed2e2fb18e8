"""An analysis that computes nothing: sites echo the state, so that a round is all road and no work.

`python -m benchmarks.echo SIZE ROUNDS COMMAND …` is `fedcohort COMMAND …` in which `describe` means this.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedcohort.analyses.contract import Analysis, Contribution, Draw, Proved, Report, Row, Stage, State, Sums
from fedcohort.analyses.describe import stages
from fedcohort.analyses.rows import Rows
from fedcohort.disclosure.rules import Disclosure
from fedcohort.vector import Array, Block

STEP = np.float32(1e-3)


@dataclass(frozen=True)
class EchoStage:
    """`size` float32 to each site and back, `times` times; a bound of 1/2 makes them integers of 22 bits."""

    size: int
    times: int
    bound: float
    name: str = "echo"

    @property
    def blocks(self) -> tuple[Block, ...]:
        """One block, as an update of a model has it."""
        return (Block("update", (self.size,), resolution=2.0**-22, bound=self.bound),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A quarter of the state, and a step."""
        # Another vector each round: SQLite does not write a page that is as it was.
        step = STEP * np.float32(1 + state.round % 7)
        return {"update": Proved(state.arrays["weights"] * np.float32(0.25) + step)}

    def update(self, state: State, sums: Sums) -> State:
        """The sum is the next state."""
        weights = np.clip(sums["update"], -1.0, 1.0).astype(np.float32)
        return replace(state, arrays={"weights": weights}, rows=(metrics(state),))


def metrics(state: State) -> Row:
    """What a round says of itself, which no patient has a part in."""
    return {"round": state.round, "split": "train", "loss": 0.0}


@dataclass(frozen=True)
class Echo(Analysis):
    """One stage, all the time."""

    size: int
    rounds: int
    bound: float = 16.0

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Its rounds."""
        return (EchoStage(self.size, self.rounds, self.bound),)

    def first_arrays(self) -> Mapping[str, Array]:
        """A vector of zeros."""
        return {"weights": np.zeros(self.size, np.float32)}

    def report(self, state: State) -> Report:
        """Nothing to report."""
        return {}

    def disclosed_rows(self, state: State, sums: Sums, rules: Disclosure) -> tuple[Row, ...]:
        """The same as without rules."""
        return (metrics(state),)


def main() -> None:
    """Run the command line with this analysis in place of `describe`."""
    size, rounds = int(sys.argv[1]), int(sys.argv[2])
    vars(stages)["build"] = lambda study: Echo(size, rounds)
    sys.argv = ["fedcohort", *sys.argv[3:]]
    from fedcohort.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
