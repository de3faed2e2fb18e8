"""An analysis that computes nothing: sites echo the state, so that a round is all road and no work.

`python -m benchmarks.echo SIZE ROUNDS COMMAND …` is `fedcohort COMMAND …` in which `describe` means this.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedcohort.analyses import ANALYSES
from fedcohort.analyses.contract import Draw, Local, Report, SiteState, State
from fedcohort.table import Table
from fedcohort.vector import Block, Layout, Vector

STEP = np.float32(1e-3)


@dataclass(frozen=True)
class Echo:
    """`size` float32 to each site and back, `rounds` times; a bound of 1/2 makes them integers of 22 bits."""

    size: int
    rounds: int
    bound: float = 16.0

    def start(self) -> State:
        """A vector of zeros."""
        return State("echo", 0, {"weights": np.zeros(self.size, np.float32)})

    def phases(self) -> Mapping[str, int]:
        """One, all the time."""
        return {"echo": self.rounds}

    def layout(self, state: State) -> Layout:
        """One block, as an update of a model has it."""
        return (Block("update", (self.size,), self.bound, 2.0**-22),)

    def prepare(self, table: Table) -> Local:
        """Nothing to prepare."""

        def local(state: State, site_state: SiteState, draw: Draw) -> tuple[Vector, SiteState]:
            return {"update": state.arrays["weights"] * np.float32(0.25) + STEP}, site_state

        return local

    def update(self, state: State, total: Vector) -> State:
        """The sum is the next state."""
        weights = np.clip(total["update"], -1.0, 1.0).astype(np.float32)
        row: dict[str, float | int | str | None] = {"round": state.round, "split": "train", "loss": 0.0}
        return State(
            "echo",
            state.round + 1,
            {"weights": weights},
            rows=(row,),
            finished=state.round + 1 >= self.rounds,
        )

    def report(self, state: State) -> Report:
        """Nothing to report."""
        return {}


def main() -> None:
    """Run the command line with this analysis in place of `describe`."""
    size, rounds = int(sys.argv[1]), int(sys.argv[2])
    ANALYSES["describe"] = lambda study: Echo(size, rounds)
    sys.argv = ["fedcohort", *sys.argv[3:]]
    from fedcohort.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
