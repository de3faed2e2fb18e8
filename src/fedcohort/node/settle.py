"""What exact studies count that were answered before there was a budget.

No finite epsilon bounds what an exact answer tells. So it counts as infinite, and nothing else is released,
until the operator has said in words why less will do: what was asked, of whom, and who read it.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from fedcohort.errors import ConfigError, NotFoundError
from fedcohort.node.records import Reservation
from fedcohort.node.store import SqlNodeStore

ALL = "all"
LEAST_WORDS = 3


def unsettled(reserved: Iterable[Reservation]) -> list[Reservation]:
    """Exact studies that were answered, and of which nobody has said what they count."""
    return [one for one in reserved if math.isinf(one.epsilon)]


def settle(store: SqlNodeStore, which: str, words: str, epsilon: float = 0.0) -> list[Reservation]:
    """Let exact studies count what the operator says; the words stand in the event log for good.

    Only for a node that is not running, which holds its releases to what it read.

    Args:
        which: the beginning of a study's hash, or `all`.
        words: why, in the operator's own words.
        epsilon: what each of them counts.
    Raises:
        ConfigError: words or epsilon are none.
        NotFoundError: no such study counts as infinite.
    """
    if len(words.split()) < LEAST_WORDS:
        raise ConfigError(
            f"--because: say in {LEAST_WORDS} words or more why these answers do not count as infinite, such "
            'as "ward counts, published 2024"'
        )
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ConfigError("--as-epsilon: give a number that is 0 or more")
    waiting = unsettled(store.reservations())
    found = [one for one in waiting if which == ALL or one.study_hash.startswith(which)]
    if not found or (which != ALL and len(found) > 1):
        raise NotFoundError(
            f"{len(found)} studies that count as infinite begin with {which!r}; `fedcohort ledger` lists them"
        )
    settled = [replace(one, epsilon=epsilon) for one in found]
    for one in settled:
        store.settle(one, words)
    return settled
