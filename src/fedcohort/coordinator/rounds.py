"""Where a study's progress is kept: in the store, with news for the pages after each round."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from fedcohort.analyses.contract import Row, State
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.coordinator.telemetry import Stopwatch
from fedcohort.wire.messages import SiteId


@dataclass(frozen=True)
class StoredRounds:
    """A `RoundLog`; `wake` is called after each round, and `watch` times the rounds."""

    store: CoordinatorStore
    wake: Callable[[], None]
    watch: Stopwatch

    def load_state(self, study_id: str) -> State | None:
        """Where the study is, or None before its first round."""
        return self.store.load_state(study_id)

    def save_round(
        self, study_id: str, state: State, survivors: tuple[SiteId, ...], rows: list[Row], spent: Row
    ) -> None:
        """Make a round's outcome durable."""
        began = time.monotonic()
        self.store.save_round(study_id, state, survivors, rows, spent)
        self.watch.stored(spent, time.monotonic() - began)
        self.wake()

    def load_kept(self, study_id: str, what: str) -> bytes | None:
        """What `keep` has kept."""
        return self.store.load_kept(study_id, what)

    def keep(self, study_id: str, what: str, data: bytes) -> None:
        """Make durable what a restart must not lose."""
        self.store.keep(study_id, what, data)
