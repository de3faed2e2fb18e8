"""The words of a cohort that is made of events: code lists, time zero, needs, columns, a label, a sequence.

A hospital's event tables say what happened to a patient and when; a study wants one row a patient (or a few).
`Index` says which event is time zero. `need` and `exclude` keep or drop rows by what happened in a window
around it, `Taken` makes a column of what did, and `Outcome` the label. A window is half open, [from, to), and
counts from time zero in whole milliseconds. What comes out are columns of an ordinary cohort, with the bounds
that are declared here, so that every question can be asked of them.

Studies come from strangers: every list is bounded, and nothing here is ever looked up in anybody's data.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedcohort.columns import (
    Binary,
    Categorical,
    Frozen,
    Identifier,
    Label,
    Level,
    Number,
    Numeric,
    Real,
    Survival,
    Unit,
)
from fedcohort.errors import FedcohortError
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Cohort

EVENTS = "events"
"""What a cohort of events has for a table: all of a site's event tables are one account of its ledger."""
Kind = Literal[
    "condition",
    "observation",
    "medication",
    "procedure",
    "immunization",
    "encounter",
    "order",
    "report",
    "death",
]
KINDS: tuple[Kind, ...] = (
    "condition",
    "observation",
    "medication",
    "procedure",
    "immunization",
    "encounter",
    "order",
    "report",
    "death",
)
VALUES = ("first", "last", "min", "max", "mean")
"""What is taken of the values of observations."""
SYSTEMS: Mapping[str, str] = {
    "atc": "http://www.whocc.no/atc",
    "cpt": "http://www.ama-assn.org/go/cpt",
    "cvx": "http://hl7.org/fhir/sid/cvx",
    "icd9cm": "http://hl7.org/fhir/sid/icd-9-cm",
    "icd10": "http://hl7.org/fhir/sid/icd-10",
    "icd10cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "icd10pcs": "http://www.cms.gov/Medicare/Coding/ICD10",
    "icpc2": "http://hl7.org/fhir/sid/icpc-2",
    "loinc": "http://loinc.org",
    "ndc": "http://hl7.org/fhir/sid/ndc",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "snomed": "http://snomed.info/sct",
}
"""Code systems by the names that a study may use for their URIs, as HL7's terminology lists them."""
OMOP, CLASS = "omop", "class"
"""Concepts of OMOP's vocabularies, and the class of an encounter, such as IMP or EMER."""
MOST_SETS, MOST_CODES, MOST_EVENTS = 50, 5_000, 200
MOST_CELLS = 10_000
"""Of a sequence: steps by columns."""
DAY_MS = 86_400_000
LONGEST_MS = 200 * 366 * DAY_MS
_UNITS_MS = {"min": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS, "y": 365 * DAY_MS + DAY_MS // 4}
_DURATION = re.compile(r"([+-]?\d{1,6})(min|h|d|w|y)", re.ASCII)
_CONCEPT = re.compile(r"[1-9]\d{0,9}\+?", re.ASCII)
_URI = re.compile(r"(?:https?://|urn:)[^\x00-\x20\x7f\"<>\\^`{|}]{1,200}", re.ASCII)


def milliseconds_of(duration: str) -> int:
    """A duration such as -24h or 365d in milliseconds; a year has 365.25 days.

    Raises:
        ValueError: it is none, or longer than anybody lives.
    """
    match = _DURATION.fullmatch(duration)
    size = 0 if match is None else int(match[1]) * _UNITS_MS[match[2]]
    if match is None or abs(size) > LONGEST_MS:
        raise ValueError(say("write a whole number of min, h, d, w or y, such as -24h, 0d or 365d"))
    return size


def _duration(text: str) -> str:
    milliseconds_of(text)
    return text


Duration = Annotated[str, Field(max_length=12), AfterValidator(_duration)]


def _ordered(window: tuple[str, str]) -> tuple[str, str]:
    if milliseconds_of(window[0]) >= milliseconds_of(window[1]):
        raise ValueError(say("a window is [from, to): from must be before to"))
    return window


Window = Annotated[tuple[Duration, Duration], AfterValidator(_ordered)]


def _system(name: str) -> str:
    if name in SYSTEMS or name in (OMOP, CLASS) or _URI.fullmatch(name):
        return name
    raise ValueError(
        say(
            "no code system has this name; known are {names}, or write its URI",
            names=", ".join((*sorted(SYSTEMS), OMOP, CLASS)),
        )
    )


System = Annotated[str, Field(max_length=210), AfterValidator(_system)]
Code = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
CodeList = Annotated[tuple[Code, ...], Field(min_length=1, max_length=MOST_CODES)]


def _readable_codes(codes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Check what a code of each system looks like: OMOP's concepts are numbers, others end in * at most."""
    for system, listed in codes.items():
        for code in listed:
            if system == OMOP and not _CONCEPT.fullmatch(code):
                raise ValueError(
                    say("a concept of omop is a number, with + behind it for its descendants, too")
                )
            if system != OMOP and "*" in code and not re.fullmatch(r"[^*]+\*", code):
                raise ValueError(say("a * stands at the end of a code only, and means all that begin so"))
    return codes


CodeSet = Annotated[
    dict[System, CodeList], Field(min_length=1, max_length=20), AfterValidator(_readable_codes)
]
Codes = Annotated[dict[Identifier, CodeSet], Field(max_length=MOST_SETS)]
Named = Identifier | Literal[True]
"""A code list of `codes`, or every event of the kind."""


def _unsaid(value: object) -> bool:
    return value is None


Chosen = Annotated[Named | None, Field(exclude_if=_unsaid)]
Bound = Annotated[Real | None, Field(exclude_if=_unsaid)]
InUnit = Annotated[Unit | None, Field(exclude_if=_unsaid)]
MaybeWindow = Annotated[Window | None, Field(exclude_if=_unsaid)]


class Events(Frozen):
    """Events of one kind; what every other word here begins with."""

    condition: Chosen = None
    observation: Chosen = None
    medication: Chosen = None
    procedure: Chosen = None
    immunization: Chosen = None
    encounter: Chosen = None
    order: Chosen = None
    report: Chosen = None
    death: Annotated[Literal[True] | None, Field(exclude_if=_unsaid)] = None

    @property
    def kinds(self) -> list[Kind]:
        """The kinds that are named: one, or the words contradict themselves."""
        return [kind for kind in KINDS if getattr(self, kind) is not None]

    @property
    def kind(self) -> Kind:
        """The kind of event."""
        return self.kinds[0]

    @property
    def code_set(self) -> str | None:
        """The code list that it names; None: every event of the kind."""
        named = getattr(self, self.kind)
        return None if named is True else str(named)

    def _one_kind(self) -> None:
        if len(self.kinds) != 1:
            raise ValueError(
                say(
                    'name one kind of event, such as condition = "…"; kinds are {kinds}',
                    kinds=", ".join(KINDS),
                )
            )


class Criterion(Events):
    """A need or an exclusion: whether such an event lies in the window.

    With `low` or `high` it is an observation whose value, in `unit`, is not below or above that.
    """

    window: Window
    low: Bound = None
    high: Bound = None
    unit: InUnit = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self._one_kind()
        bounded = self.low is not None or self.high is not None
        if bounded and (self.kind != "observation" or self.unit is None):
            raise ValueError(say("low and high are of an observation's value; name its unit, too"))
        if self.unit is not None and not bounded:
            raise ValueError(say("a unit says what low and high are in; give one of them, or leave it out"))
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(say("low {low:g} must not be above high {high:g}", low=self.low, high=self.high))
        return self


class Index(Events):
    """Time zero: which event of each patient, and whether its begin or its end.

    `cohort_definition` is a cohort that an OMOP site has generated (ATLAS). `which = "every"` gives a row an
    event, at most `at_most` a patient, the first ones. `observed` keeps a row only where the site has
    observed the patient throughout this stretch, of which the ends are in it.
    """

    cohort_definition: Annotated[int, Field(strict=True, ge=1, lt=2**31)] | None = Field(
        default=None, exclude_if=_unsaid
    )
    which: Literal["first", "last", "every"] = "first"
    at: Literal["start", "end"] = "start"
    at_most: Annotated[int, Field(strict=True, ge=1, le=1_000)] | None = Field(
        default=None, exclude_if=_unsaid
    )
    observed: MaybeWindow = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self.kinds) + (self.cohort_definition is not None) != 1:
            raise ValueError(
                say(
                    "name one kind of event, such as encounter = true, or cohort_definition; kinds are "
                    "{kinds}",
                    kinds=", ".join(KINDS),
                )
            )
        if (self.which == "every") != (self.at_most is not None):
            raise ValueError(
                say('which = "every" needs at_most, the most rows of one patient, and only that takes it')
            )
        return self

    @property
    def rows_per_patient(self) -> int:
        """The most rows that one patient has."""
        return self.at_most or 1


class _Valued(Events):
    """What a column and a label share: which events, which window, what is taken, and its declared range."""

    low: Bound = None
    high: Bound = None
    unit: InUnit = None

    def _checked(self, take: str, window: tuple[str, str]) -> None:
        """Refuse words that do not go together.

        Raises:
            ValueError: says what to write.
        """
        self._one_kind()
        if take in VALUES:
            if self.kind != "observation":
                raise ValueError(
                    say(
                        "take = {take!r} is of the values of an observation; take any, count or days_since",
                        take=take,
                    )
                )
            if self.low is None or self.high is None or self.unit is None:
                raise ValueError(
                    say('a value needs low, high and unit, such as low = 10, high = 2000, unit = "umol/L"')
                )
        elif take == "count":
            if self.high is None:
                raise ValueError(say("a count needs high, the most that counts, such as high = 20"))
        elif self.low is not None or self.high is not None:
            raise ValueError(say("{take} has its bounds by itself; leave low and high out", take=take))
        if take not in VALUES and self.unit is not None:
            raise ValueError(say("{take} has no unit; leave it out", take=take))

    def _number(self, take: str, window: tuple[str, str]) -> Numeric:
        if take == "any":
            return Numeric(0.0, 1.0)
        if take == "count":
            return Numeric(self.low or 0.0, self.high)
        if take == "days_since":
            begin, end = (milliseconds_of(edge) / DAY_MS for edge in window)
            return Numeric(max(0.0, -end), -begin, unit="d")
        return Numeric(self.low, self.high, unit=self.unit)


class Taken(_Valued):
    """A column: what is taken of the events in a window, or what is known of the patient.

    `any` is 1 where there is such an event and 0 where there is none; `count` how many; `first`, `last`,
    `min`, `max` and `mean` are of the values of observations that lie from `low` to `high` in `unit`, others
    being none; `days_since` is the time since the last one. `patient = "age"` is whole years at time zero,
    `patient = "sex"` one of `levels`.
    """

    patient: Literal["age", "sex"] | None = Field(default=None, exclude_if=_unsaid)
    take: Literal["any", "count", "first", "last", "min", "max", "mean", "days_since"] | None = Field(
        default=None, exclude_if=_unsaid
    )
    window: MaybeWindow = None
    levels: Annotated[tuple[Level, ...], Field(max_length=8)] | None = Field(default=None, exclude_if=_unsaid)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.patient is not None:
            self._of_patient()
        elif self.take is None or self.window is None:
            raise ValueError(
                say(
                    'a column of events needs take and window, such as take = "last", window = ["-24h", "0h"]'
                )
            )
        else:
            self._checked(self.take, self.window)
            if self.levels is not None and (self.take != "any" or self.levels != (0, 1)):
                raise ValueError(say('levels are [0, 1], of take = "any" alone; leave them out otherwise'))
            if self.take == "days_since" and milliseconds_of(self.window[0]) >= 0:
                raise ValueError(say("days_since looks back: its window begins before time zero"))
        _ = self.column
        return self

    def _of_patient(self) -> None:
        if self.kinds or self.take is not None or self.window is not None or self.unit is not None:
            raise ValueError(say("what is known of the patient has no event, take, window or unit"))
        if self.patient == "age" and (self.low is None or self.high is None or self.levels is not None):
            raise ValueError(say("an age needs low and high in years, such as low = 18, high = 100"))
        if self.patient == "sex" and (self.low is not None or self.high is not None):
            raise ValueError(say('a sex has levels, such as levels = ["female", "male"]'))

    @property
    def column(self) -> Numeric | Categorical:
        """The ordinary column that it is."""
        if self.patient == "sex":
            return Categorical(self.levels or ("female", "male"))
        if self.patient == "age":
            return Numeric(self.low, self.high)
        if self.levels is not None:
            return Categorical(self.levels)
        return self._number(str(self.take), self.window or ("0d", "0d"))


class Outcome(_Valued):
    """The label: whether such an event lies in the window, a number, or the time until it.

    `time_to` counts days from the window's begin to the first event in it. Without one a patient counts until
    the window's end, the end of observation or death, whichever comes first.
    """

    take: Literal["any", "time_to", "count", "first", "last", "min", "max", "mean"] = "any"
    window: Window

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self._checked(self.take, self.window)
        _ = self.label
        return self

    @property
    def label(self) -> Label:
        """The ordinary label that it is."""
        if self.take == "any":
            return Binary(LABEL)
        if self.take == "time_to":
            begin, end = map(milliseconds_of, self.window)
            return Survival(LABEL_TIME, LABEL_EVENT, horizon=(end - begin) / DAY_MS)
        number = self._number(self.take, self.window)
        return Number(LABEL, number.low, number.high, unit=number.unit)


LABEL, LABEL_TIME, LABEL_EVENT = "label", "label_time", "label_event"
"""The columns that a label of events is read from."""


class TimeSeries(Frozen):
    """A time series: of each step of the window the last value of some columns, for models of sequences.

    Step s of column c is an ordinary column `t000.c`; sorted by name they are steps by columns, as
    `keras.layers.Reshape((steps, columns))` puts them. Column c stays one, too. With `hold = "last"` a step
    without a value has that of the step before.
    """

    window: Window
    step: Duration
    columns: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=100)]
    hold: Literal["last"] | None = Field(default=None, exclude_if=_unsaid)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        begin, end = map(milliseconds_of, self.window)
        step = milliseconds_of(self.step)
        if step <= 0 or (end - begin) % step:
            raise ValueError(say("step: the window must be a whole number of steps, such as 48 of 1h"))
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(say("columns: a column is named twice"))
        if self.n_steps > 1_000 or self.n_steps * len(self.columns) > MOST_CELLS:
            raise ValueError(
                say(
                    "step: at most 1,000 steps, and {most:,} steps by columns; take longer ones",
                    most=MOST_CELLS,
                )
            )
        return self

    @property
    def n_steps(self) -> int:
        """How many steps the window has."""
        begin, end = map(milliseconds_of, self.window)
        return (end - begin) // milliseconds_of(self.step)

    def name_of(self, step: int, column: str) -> str:
        """The ordinary column of one step."""
        return f"t{step:03d}.{column}"


def columns_of_events(
    taken: Mapping[str, Taken], sequence: TimeSeries | None
) -> dict[str, Numeric | Categorical]:
    """The ordinary columns that the words make; of a sequence those that it may name."""
    columns = {name: one.column for name, one in taken.items()}
    steps: dict[str, Numeric | Categorical] = {}
    for step in range(sequence.n_steps if sequence else 0):
        named = (name for name in (sequence.columns if sequence else ()) if name in taken)
        steps |= {f"t{step:03d}.{name}": columns[name] for name in named}
    return {**columns, **steps}


def kinds_of_label(label: Label | None) -> dict[str, Numeric | Categorical]:
    """The columns that a label of events is read from, as columns of their own."""
    match label:
        case Binary(column=column, positive=positive, negative=negative):
            return {column: Categorical((negative, positive))}
        case Number(column=column, low=low, high=high):
            return {column: Numeric(low, high)}
        case Survival(time=time, event=event, events=events):
            return {time: Numeric(), event: Categorical(events)}
        case _:
            return {}


_OF_EVENTS = frozenset({*KINDS, "patient", "take", "window"})
"""Keys by which a column or a label is known to be of events."""


def is_of_events(value: object) -> bool:
    """Whether a column or a label is written in the words of events."""
    return isinstance(value, Taken | Outcome) or (
        isinstance(value, Mapping) and bool(_OF_EVENTS & set(value))
    )


def moved_apart(cohort: Mapping[str, Any]) -> dict[str, Any]:
    """A cohort as it is written, with events' columns and label under `taken` and `outcome`.

    In their places come the ordinary columns and the label that they make, which every analysis reads. Of
    what cannot be read a column only stands there, until pydantic has said why.
    """
    words, columns, label = dict(cohort), cohort.get("columns"), cohort.get("label")
    moved = {name: value for name, value in _items(columns) if is_of_events(value)}
    if moved:
        words["taken"] = {**dict(_items(cohort.get("taken"))), **moved}
        plain = {name: value for name, value in _items(columns) if name not in moved}
        words["columns"] = {**_made(words["taken"], words.get("sequence")), **plain}
    if is_of_events(label):
        outcome = _read(Outcome, label)
        words |= {"outcome": label, "label": None if outcome is None else outcome.label}
    return words


def _items(columns: object) -> list[tuple[Any, Any]]:
    return list(columns.items()) if isinstance(columns, Mapping) else []


def _made(taken: Mapping[str, Any], sequence: object) -> dict[str, Any]:
    """The ordinary columns; of what cannot be read one that only stands there until that is said."""
    read = {name: _read(Taken, value) for name, value in taken.items()}
    whole = {name: value for name, value in read.items() if value is not None}
    columns = columns_of_events(whole, _read(TimeSeries, sequence))
    return {**{name: Numeric() for name in taken}, **columns}


def _read(kind: type[Any], value: object) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, kind):
        return value
    try:
        return kind.model_validate(value)
    except (ValueError, FedcohortError):
        return None


def check_events(cohort: "Cohort") -> None:
    """Refuse a cohort of events that contradicts itself.

    Raises:
        ValueError: names the field, and what to write.
    """
    if cohort.index is None:
        _check_none(cohort)
        return
    if cohort.table != EVENTS:
        raise ValueError(say("table: a cohort of events has none of its own; leave it out"))
    if cohort.where is not None or cohort.bounds or isinstance(cohort.split, str):
        raise ValueError(
            say(
                "where, bounds and a column of splits are of a table's rows; a cohort of events has need and "
                "exclude, low and high, and a fraction to hold out"
            )
        )
    if cohort.patient_id != "patient_id":
        raise ValueError(say("patient_id: leave it out; event tables say whose they are"))
    _check_made(cohort)
    _check_codes(cohort)
    _check_windows(cohort)


def _check_none(cohort: "Cohort") -> None:
    words = ("codes", "need", "exclude", "taken", "outcome", "sequence")
    if any(getattr(cohort, name) for name in words):
        raise ValueError(
            say(
                "index: is missing; a cohort of events says which event is time zero, such as [cohort.index] "
                'with encounter = true, which = "first"'
            )
        )


def _check_made(cohort: "Cohort") -> None:
    """Whether ordinary columns and label are what the words of events make, so that all read the same."""
    sequence = cohort.sequence
    if sequence is not None:
        for name in sequence.columns:
            if name not in cohort.taken or cohort.taken[name].take not in VALUES:
                raise ValueError(
                    say("sequence.columns: {name} is no column of an observation's values", name=name)
                )
    made: dict[str, Any] = columns_of_events(cohort.taken, sequence)
    label = None if cohort.outcome is None else cohort.outcome.label
    made |= kinds_of_label(label)
    for name, kind in cohort.schema_.items():
        if name not in made:
            raise ValueError(
                say(
                    'columns.{name}: say which events it is made of, such as observation = "…", take = '
                    '"last", window = ["-24h", "0h"], or patient = "age"',
                    name=name,
                )
            )
        if kind != made[name]:
            raise ValueError(say("columns.{name}: is not what its events make; leave it out", name=name))
    if cohort.label is not None and cohort.label != label:
        raise ValueError(
            say(
                'label: say which event it is, such as condition = "…", take = "any", window = ["1d", "366d"]'
            )
        )


def _check_codes(cohort: "Cohort") -> None:
    """Every code list that is named is there, and every one that is there is named."""
    uses = {
        **{f"need.{name}": one for name, one in cohort.need.items()},
        **{f"exclude.{name}": one for name, one in cohort.exclude.items()},
        **{f"columns.{name}": one for name, one in cohort.taken.items() if one.patient is None},
        **({"label": cohort.outcome} if cohort.outcome else {}),
        **({"index": cohort.index} if cohort.index and cohort.index.kinds else {}),
    }
    for place, one in uses.items():
        if one.code_set is not None and one.code_set not in cohort.codes:
            raise ValueError(
                say("{place}.{kind}: codes has no list {name}", place=place, kind=one.kind, name=one.code_set)
            )
    unused = sorted(set(cohort.codes) - {one.code_set for one in uses.values()})
    if unused:
        raise ValueError(say("codes: {names} is used nowhere; leave it out", names=", ".join(unused)))


def _check_windows(cohort: "Cohort") -> None:
    """A label's window apart from every column's: what is to be told must not be seen before."""
    if cohort.outcome is None:
        return
    begin, end = map(milliseconds_of, cohort.outcome.window)
    windows = {f"columns.{name}": one.window for name, one in cohort.taken.items() if one.window}
    if cohort.sequence is not None:
        windows["sequence"] = cohort.sequence.window
    for place, window in windows.items():
        first, last = map(milliseconds_of, window)
        if first < end and begin < last:
            raise ValueError(
                say(
                    "{place}.window: overlaps the label's window, so that the column would tell the label; "
                    "let one end where the other begins",
                    place=place,
                )
            )
