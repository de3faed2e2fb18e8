"""How often a study has asked each of its phases: what it asks once is not asked again."""

import json
from functools import lru_cache

from fedcohort.analyses.contract import Analysis
from fedcohort.errors import WireError
from fedcohort.node.records import Stored


def count_phase(analysis: Analysis, before: Stored | None, phase: str) -> dict[str, int]:
    """How often each phase was asked at this site, with this one.

    Raises:
        WireError: it was asked more often than the study has it.
    """
    asked = dict(_read(before.phases)) if before else {}
    asked[phase] = asked.get(phase, 0) + 1
    if asked[phase] > analysis.phases().get(phase, 0):
        raise WireError(f"phase {phase[:64]!r} was asked {asked[phase]} times, more often than the study has")
    return asked


def phases_text(asked: dict[str, int]) -> str:
    """The counts as a store keeps them."""
    return _written(tuple(asked.items()))


# Read and written again every round, and by a thousand simulated sites alike.
@lru_cache(maxsize=64)
def _read(text: str) -> dict[str, int]:
    asked: dict[str, int] = json.loads(text)
    return asked


@lru_cache(maxsize=64)
def _written(asked: tuple[tuple[str, int], ...]) -> str:
    return json.dumps(dict(asked))
