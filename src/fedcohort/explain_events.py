"""A cohort of events in plain words: time zero, who is kept, and what each column and the label are."""

from collections.abc import Iterator, Mapping

from fedcohort.event_words import Criterion, Events, Index, Outcome, Taken
from fedcohort.study import Cohort
from fedcohort.texts import Text, say

NAMES: Mapping[str, Text] = {
    "condition": say("condition"),
    "observation": say("observation"),
    "medication": say("medication"),
    "procedure": say("procedure"),
    "immunization": say("immunization"),
    "encounter": say("encounter"),
    "order": say("order"),
    "report": say("report"),
    "death": say("death"),
}
"""Kinds of events."""
MOST_CODES = 12
"""Of a list, that are read aloud; all of them are in the study."""


def event_lines(cohort: Cohort) -> Iterator[Text]:
    """The sentences about a cohort of events, its label last."""
    if cohort.index is None:
        return
    yield from _index(cohort.index)
    yield from (_criterion(name, word, needed=True) for name, word in cohort.need.items())
    yield from (_criterion(name, word, needed=False) for name, word in cohort.exclude.items())
    yield from (_column(name, word) for name, word in cohort.taken.items())
    if cohort.sequence is not None:
        yield say(
            "Of {names}, the last value of each of {n} steps of {step}, from {begin} to before {end}.",
            names=", ".join(cohort.sequence.columns),
            n=cohort.sequence.n_steps,
            step=cohort.sequence.step,
            begin=cohort.sequence.window[0],
            end=cohort.sequence.window[1],
        )
    if cohort.outcome is not None:
        yield _label(cohort.outcome)
    yield from (_codes(name, codes) for name, codes in cohort.codes.items())


def _index(index: Index) -> Iterator[Text]:
    what = (
        _events(index)
        if index.kinds
        else say("entry into this hospital's cohort {n}", n=index.cohort_definition or 0)
    )
    if index.which == "every":
        yield say(
            "A row for every {what}, the first {most} of a patient at most; time zero is when it {at}.",
            what=what,
            most=index.rows_per_patient,
            at=_at(index),
        )
    elif index.which == "last":
        yield say("A row a patient; time zero is when the last {what} {at}.", what=what, at=_at(index))
    else:
        yield say("A row a patient; time zero is when the first {what} {at}.", what=what, at=_at(index))
    if index.observed is not None:
        begin, end = index.observed
        words = "Kept only where the hospital has observed the patient all the time from {begin} to {end}."
        yield say(words, begin=begin, end=end)


def _at(index: Index) -> Text:
    return say("ends") if index.at == "end" else say("begins")


def _events(word: Events) -> Text:
    """A kind of event, and the list that it is of."""
    kind = NAMES[word.kind]
    return kind if word.code_set is None else say("{kind} of {list}", kind=kind, list=word.code_set)


def _criterion(name: str, word: Criterion, *, needed: bool) -> Text:
    what = _events(word)
    if word.low is not None or word.high is not None:
        low = "-∞" if word.low is None else f"{word.low:g}"
        high = "∞" if word.high is None else f"{word.high:g}"
        what = say(
            "{what} between {low} and {high} {unit}", what=what, low=low, high=high, unit=word.unit or ""
        )
    values = {"name": name, "what": what, "begin": word.window[0], "end": word.window[1]}
    if needed:
        return say("Kept only with {what} from {begin} to before {end} ({name}).", **values)
    return say("Left out with {what} from {begin} to before {end} ({name}).", **values)


def _column(name: str, word: Taken) -> Text:
    if word.patient == "age":
        return say(
            "{name}: age in whole years at time zero, from {low:g} to {high:g}",
            name=name, low=word.low or 0.0, high=word.high or 0.0,
        )  # fmt: skip
    if word.patient == "sex":
        return say("{name}: sex, one of {levels}", name=name, levels=", ".join(map(str, word.column.levels)))  # type: ignore[union-attr]
    return say("{what}: {why}", what=name, why=_taken(word, str(word.take), word.window or ("", "")))


def _taken(word: Taken | Outcome, take: str, window: tuple[str, str]) -> Text:
    values = {"what": _events(word), "begin": window[0], "end": window[1]}
    if take == "any":
        return say("whether there is {what} from {begin} to before {end}", **values)
    if take == "count":
        return say(
            "how many {what} from {begin} to before {end}, up to {most:g}", **values, most=word.high or 0
        )
    if take == "days_since":
        return say("days since the last {what} from {begin} to before {end}", **values)
    return say(
        "{take} value of {what} from {begin} to before {end}, of those from {low:g} to {high:g} {unit}",
        **values,
        take=TAKES[take],
        low=word.low or 0.0,
        high=word.high or 0.0,
        unit=word.unit or "",
    )


TAKES: Mapping[str, Text] = {
    "first": say("first"),
    "last": say("last"),
    "min": say("least"),
    "max": say("greatest"),
    "mean": say("mean"),
}


def _label(word: Outcome) -> Text:
    if word.take == "time_to":
        return say(
            "Label: days from {begin} to the first {what} before {end}; without one, until that, the end of "
            "observation or death",
            what=_events(word), begin=word.window[0], end=word.window[1],
        )  # fmt: skip
    return say("Label: {what}", what=_taken(word, word.take, word.window))


def _codes(name: str, codes: Mapping[str, tuple[str, ...]]) -> Text:
    parts = []
    for system, listed in codes.items():
        more = f", … ({len(listed)})" if len(listed) > MOST_CODES else ""
        parts.append(f"{system} {', '.join(listed[:MOST_CODES])}{more}")
    return say("List {name}: {codes}", name=name, codes="; ".join(parts))
