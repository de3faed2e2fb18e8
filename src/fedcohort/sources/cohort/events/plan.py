"""What a cohort of events asks of a site: of each kind which code lists, and whether values and ends."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fedcohort.event_words import VALUES, Criterion, Events, Kind
from fedcohort.study import Cohort

COHORT, OBSERVED, PATIENTS = "cohort", "observed", "patients"
"""What else is asked for: a generated cohort, periods of observation, births and sexes."""


@dataclass(frozen=True)
class Asked:
    """One ordered SELECT.

    Attributes:
        kind: of event, or one of the words above.
        sets: the code lists, in the order of their bits.
        every: whether events of no list are asked for, too.
        value: whether values, and their units, are read.
        end: whether ends are read.
        number: of a generated cohort.
        implied: no word names it, and a site without it has no such event.
    """

    kind: str
    sets: tuple[str, ...] = ()
    every: bool = False
    value: bool = False
    end: bool = False
    number: int | None = None
    implied: bool = False

    @property
    def bits(self) -> Mapping[str, int]:
        """The bit of each code list."""
        return {name: bit for bit, name in enumerate(self.sets)}


def uses(cohort: Cohort) -> Iterator[tuple[str, Events]]:
    """Every word that reads events, by the place where a person writes it."""
    if cohort.index is not None and cohort.index.kinds:
        yield "index", cohort.index
    yield from ((f"need.{name}", word) for name, word in cohort.need.items())
    yield from ((f"exclude.{name}", word) for name, word in cohort.exclude.items())
    yield from ((f"columns.{name}", word) for name, word in cohort.taken.items() if word.patient is None)
    if cohort.outcome is not None:
        yield "label", cohort.outcome


def kinds_of_events(cohort: Cohort) -> list[str]:
    """The kinds of events that a cohort names, each once."""
    return sorted({word.kind for _, word in uses(cohort)})


def asked_of(cohort: Cohort) -> list[Asked]:
    """The SELECTs of a cohort, one a kind."""
    found = [word for _, word in uses(cohort)]
    kinds: dict[Kind, list[Events]] = {}
    for word in found:
        kinds.setdefault(word.kind, []).append(word)
    asked = [_of_kind(kind, words, cohort) for kind, words in kinds.items()]
    index, outcome = cohort.index, cohort.outcome
    timed = outcome is not None and outcome.take == "time_to"
    if timed and "death" not in kinds:
        asked.append(Asked("death", every=True, implied=True))
    if timed or (index is not None and index.observed is not None):
        asked.append(Asked(OBSERVED, every=True, end=True))
    if any(word.patient is not None for word in cohort.taken.values()):
        asked.append(Asked(PATIENTS))
    if index is not None and index.cohort_definition is not None:
        asked.append(Asked(COHORT, every=True, end=index.at == "end", number=index.cohort_definition))
    return asked


def _of_kind(kind: Kind, words: list[Events], cohort: Cohort) -> Asked:
    sets = tuple(sorted({word.code_set for word in words if word.code_set is not None}))
    every = any(word.code_set is None for word in words)
    index = cohort.index
    ends = index is not None and index.at == "end" and kind in index.kinds
    return Asked(kind, sets, every, any(map(has_value, words)), ends)


def has_value(word: Events) -> bool:
    """Whether a word reads values."""
    if isinstance(word, Criterion):
        return word.unit is not None
    return getattr(word, "take", None) in VALUES


def bounds_of(word: Events) -> tuple[float, float, str] | None:
    """The range and the unit of the values that a word reads; None where it reads none."""
    if not has_value(word):
        return None
    low, high = getattr(word, "low", None), getattr(word, "high", None)
    return (
        float("-inf") if low is None else float(low),
        float("inf") if high is None else float(high),
        str(getattr(word, "unit", "")),
    )
