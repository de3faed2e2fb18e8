"""What a researcher writes: a study, frozen and validated once.

The same words stand in Python, TOML and JSON. A study is its canonical JSON:
`Study.hash` is SHA-256 over it, and is what a hospital approves, what every
message names, and what cannot change afterwards.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    field_validator,
    model_validator,
)

from fedcohort.analyses.describe.question import Describe
from fedcohort.analyses.evaluate.question import Evaluate
from fedcohort.analyses.kinds import KINDS
from fedcohort.analyses.train.question import Train
from fedcohort.analyses.trained.question import Coefficients, SavedModel, Trained, read_saved_model
from fedcohort.columns import (
    AnyLabel,
    AnySplit,
    Binary,
    Categorical,
    Classes,
    Column,
    Frozen,
    Holdout,
    Identifier,
    Image,
    Label,
    Name,
    Number,
    Numeric,
    Real,
    Survival,
    validated,
)
from fedcohort.disclosure.rules import Disclosure
from fedcohort.errors import StudyError
from fedcohort.event_words import (
    EVENTS,
    MOST_EVENTS,
    Codes,
    Criterion,
    Index,
    Outcome,
    Taken,
    TimeSeries,
    check_events,
    moved_apart,
)
from fedcohort.field_faults import one_of
from fedcohort.protection.words import WORDS
from fedcohort.questions import MAX_STUDY_BYTES, Privacy, Question
from fedcohort.texts import Text, say

__all__ = [
    "Binary",
    "Categorical",
    "Classes",
    "Coefficients",
    "Cohort",
    "Column",
    "Describe",
    "Disclosure",
    "Evaluate",
    "Holdout",
    "Image",
    "Label",
    "Number",
    "Numeric",
    "Privacy",
    "SavedModel",
    "Study",
    "Survival",
    "Train",
    "Trained",
    "parse_study",
    "read_saved_model",
]


def _nothing(value: object) -> bool:
    return not value


Criteria = Annotated[dict[Identifier, Criterion], Field(max_length=MOST_EVENTS, exclude_if=_nothing)]


class Cohort(Frozen):
    """The patients and columns that a study selects at every site.

    With `index` it is made of events (`event_words`): a column or a label in words of events stands in
    `taken` and `outcome`, and what it makes among `columns` and in `label`.
    """

    table: Identifier = "records"
    columns: Annotated[
        Annotated[Sequence[Identifier], AfterValidator(tuple), Tag("list")]
        | Annotated[Mapping[Identifier, Column], AfterValidator(dict), Tag("mapping")],
        Discriminator(lambda value: "mapping" if isinstance(value, Mapping) else "list"),
    ]
    label: AnyLabel | None = None
    where: Annotated[str, Field(max_length=10_000)] | None = None
    bounds: dict[Identifier, tuple[Real, Real]] = Field(default_factory=dict)
    split: AnySplit | None = Holdout(0.2)
    patient_id: Identifier = "patient_id"
    # Left out of the hash of a cohort that is not made of events, as every one of an earlier version is.
    codes: Annotated[Codes, Field(exclude_if=_nothing)] = Field(default_factory=dict)
    index: Annotated[Index | None, Field(exclude_if=_nothing)] = None
    need: Criteria = Field(default_factory=dict)
    exclude: Criteria = Field(default_factory=dict)
    taken: Annotated[dict[Identifier, Taken], Field(max_length=MOST_EVENTS, exclude_if=_nothing)] = Field(
        default_factory=dict
    )
    outcome: Annotated[Outcome | None, Field(exclude_if=_nothing)] = None
    sequence: Annotated[TimeSeries | None, Field(exclude_if=_nothing)] = None

    @model_validator(mode="before")
    @classmethod
    def _of_events(cls, words: object) -> object:
        """Put events' columns and label in their own places; an index makes it a cohort of events."""
        if not isinstance(words, Mapping):
            return words
        moved = moved_apart(words)
        return {"table": EVENTS, **moved} if moved.get("index") is not None else moved

    @field_validator("split")
    @classmethod
    def _nobody_held_out(cls, split: object) -> object:
        """TOML has no word for None; a hold-out of nobody is no split."""
        return None if isinstance(split, Holdout) and split.fraction == 0 else split

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = list(self.columns)
        if not names:
            raise ValueError("columns: name at least one column")
        if len(set(names)) != len(names):
            raise ValueError("columns: a column is named twice")
        unknown = set(self.bounds) - set(names)
        if unknown:
            raise ValueError(
                say("bounds: {names} is not among the columns", names=", ".join(sorted(unknown)))
            )
        for name, (low, high) in self.bounds.items():
            if low >= high:
                raise ValueError(
                    say(
                        "bounds.{name}: low {low:g} must be below high {high:g}",
                        name=name,
                        low=low,
                        high=high,
                    )
                )
        kinds = self.columns if isinstance(self.columns, dict) else {}
        if any(isinstance(kinds.get(name), Categorical | Image) for name in self.bounds):
            raise ValueError("bounds: a categorical column or an image has none")
        overlap = set(self.label_columns) & set(names)
        if overlap:
            raise ValueError(
                say("label: {names} is also among the columns", names=", ".join(sorted(overlap)))
            )
        check_events(self)
        return self

    @property
    def schema_(self) -> dict[str, Column]:
        """Every column with its kind; `bounds` narrow or give a numeric column's range."""
        kinds = self.columns if isinstance(self.columns, dict) else {name: Numeric() for name in self.columns}
        return {
            name: kind
            if name not in self.bounds
            else Numeric(*self.bounds[name], unit=kind.unit if isinstance(kind, Numeric) else None)
            for name, kind in kinds.items()
        }

    @property
    def every_column(self) -> dict[str, Column]:
        """The cohort's columns and then the label's, each with its kind; images are among them."""
        columns: dict[str, Column] = dict(self.schema_)
        match self.typed_label:
            case Binary(column=name, negative=negative, positive=positive):
                columns[name] = Categorical((negative, positive))
            case Classes(column=name, levels=levels):
                columns[name] = Categorical(levels)
            case Number(column=name, low=low, high=high, unit=unit):
                columns[name] = Numeric(low, high, unit=unit)
            case Survival(time=time, event=event) as label:
                columns |= {time: label.number, event: Categorical(label.events)}
        return columns

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns that the label reads; empty without a label."""
        match self.label:
            case None:
                return ()
            case str():
                return (self.label,)
            case Survival():
                return (self.label.time, self.label.event)
            case _:
                return (self.label.column,)

    @property
    def typed_label(self) -> Label | None:
        """The label with its kind; a bare name means binary, 1 against 0."""
        return Binary(self.label) if isinstance(self.label, str) else self.label

    @property
    def is_explicit(self) -> bool:
        """True when columns and label carry their kinds, so that every site reads them alike."""
        return isinstance(self.columns, dict) and not isinstance(self.label, str)


ProtectionName = Annotated[str, PlainValidator(partial(one_of, WORDS))]
"""One of `protection.words`."""


if TYPE_CHECKING:
    AnyQuestion = Question
else:
    AnyQuestion = Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007


class Study(Frozen):
    """One question to all sites.

    `protection` hides each site's vector from the coordinator; `colluders` is how many sites may
    tell the coordinator all they know without harm; `key_bits` is the size of a `paillier` key.
    `disclosure` asks for stricter rules of what may be shown than the sites have; the strictest hold.
    `opened_at = "site"` has a site apply them to the sum that it opens; the coordinator then has no sum.
    """

    name: Name
    cohort: Cohort
    analysis: AnyQuestion
    privacy: Privacy | None = None
    protection: ProtectionName = "masks"
    colluders: Annotated[int, Field(strict=True, ge=0, le=1_000)] = 1
    key_bits: Literal[2048, 3072] = 3072
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    min_sites: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 2
    round_timeout_seconds: Annotated[float, Field(strict=True, gt=0, le=86_400)] = 120.0
    # Left out of the hash where there is none, so that a study of an earlier version keeps its hash.
    disclosure: Disclosure | None = Field(default=None, exclude_if=lambda value: value is None)
    opened_at: Literal["coordinator", "site"] = Field(
        default="coordinator", exclude_if=lambda value: value == "coordinator"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.privacy is not None:
            _check_private(self, self.privacy)
        if not WORDS[self.protection].sized_key and self.key_bits != 3072:
            raise ValueError(
                say(
                    "key_bits: {protection} has no key of a size to choose; leave it out",
                    protection=self.protection,
                )
            )
        label = self.cohort.label
        if isinstance(label, Survival) and label.causes and not self.analysis.tells_causes:
            raise ValueError(
                say(
                    "cohort.label: {kind} does not tell causes apart; leave causes out of fc.Survival(...)",
                    kind=self.analysis.kind,
                )
            )
        self.analysis.check(self)
        return self

    @property
    def shares_noise(self) -> bool:
        """Whether the sites' noise is private only as a sum."""
        if self.privacy is None:
            return False
        possible = WORDS[self.protection].hides and self.analysis.one_sum
        return possible if self.privacy.noise is None else self.privacy.noise == "shared"

    def least_sites(self, n_sites: int) -> int:
        """Fewer of `n_sites` are never summed: what the researcher said, and what shared noise needs."""
        if self.privacy is None or not self.shares_noise:
            return self.min_sites
        return max(self.min_sites, n_sites - self.privacy.dropouts)

    @property
    def canonical(self) -> bytes:
        """The study as canonical JSON: sorted keys, no white space, UTF-8."""
        data = self.model_dump(mode="json")
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hex: what a hospital approves."""
        return hashlib.sha256(self.canonical).hexdigest()


def _check_private(study: Study, privacy: Privacy) -> None:
    study.analysis.check_private(study, privacy)
    if privacy.noise == "shared" and not WORDS[study.protection].hides:
        raise ValueError(
            'privacy.noise: without a protection the coordinator would see a share alone; take noise = "site"'
        )
    if study.cohort.is_explicit and (missing := missing_bounds(study.cohort)):
        raise ValueError(missing)


def missing_bounds(cohort: Cohort) -> Text | None:
    """Which numbers privacy has no declared bounds for, and what to do; nothing where all have."""
    names = [k for k, kind in cohort.schema_.items() if isinstance(kind, Numeric) and kind.bounds is None]
    if not names:
        return None
    return say(
        "cohort.bounds: privacy needs declared bounds for {names}, such as the clinical range; bounds that "
        "are looked up in the data would tell about patients",
        names=", ".join(names),
    )


def parse_study(data: bytes | Mapping[str, Any], where: str = "study") -> Study:
    """Make a study from JSON bytes or a mapping.

    Raises:
        StudyError: names each wrong field of `where`.
    """
    if isinstance(data, bytes):
        if len(data) > MAX_STUDY_BYTES:
            raise StudyError("{place}: larger than {size} MiB", place=where, size=MAX_STUDY_BYTES >> 20)
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise StudyError("{place}: not JSON: {error}", place=where, error=error) from None
    if not isinstance(data, Mapping):
        raise StudyError(
            "{place}: must be a table of keys, such as name, [cohort] and [analysis]", place=where
        )
    return validated(Study, dict(data), where, StudyError)
