"""The words of `fc.Validate(model=...)`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedcohort.analyses.trained.question import SavedModel, TrainedModel, as_trained, at_hand
from fedcohort.columns import Binary, Frozen, Identifier, Real
from fedcohort.questions import Privacy, Question, levels_of, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_CELLS = 1_000_000
FARTHEST = 16.0
"""Log-odds that scores are counted to: a probability of 1e-7 from 0 and 1."""
STEP = 0.01
Threshold = Annotated[Real, Field(gt=0, lt=1)]
HospitalName = Annotated[str, Field(min_length=1, max_length=64)]
SITE, ALL, OTHERS = "site", "all", ""
"""The word by which a question asks of each hospital; all patients; those of hospitals that are not told."""


class Validate(Question):
    """How well a published score or a trained model predicts a yes-or-no label, and for whom.

    `model` is a result, its folder, or `fc.Coefficients`. `by` is a column of levels: the same for each
    group, and whether groups differ. `by="site"`, where the cohort has no such column, is by hospital: of
    `sites`, or of all, those that let figures of themselves be told. `thresholds` are probabilities at which
    patients are called positive. Scores are counted in steps of `grid` on the log-odds scale. A trained model
    is measured on held-out patients where the cohort has any, coefficients on all, or as `held_out` says. A
    patient counts with one row.
    """

    kind: Literal["validate"] = "validate"
    model: TrainedModel
    by: Identifier | None = Field(default=None, exclude_if=lambda value: value is None)
    thresholds: Annotated[Sequence[Threshold], AfterValidator(tuple), Field(min_length=1, max_length=30)] = (
        0.05,
        0.1,
        0.15,
        0.2,
        0.25,
        0.3,
        0.4,
        0.5,
    )
    sites: Annotated[Sequence[HospitalName], AfterValidator(tuple)] = Field(
        default=(), exclude_if=lambda value: not value
    )
    grid: Annotated[Real, Field(ge=0.001, le=0.5)] = STEP
    held_out: Annotated[bool, Field(strict=True)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )

    def __init__(self, model: object = None, **extra: object) -> None:
        Frozen.__init__(self, model=at_hand(model), **extra)

    @model_validator(mode="before")
    @classmethod
    def _saved(cls, data: object) -> object:
        return as_trained(data)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(after <= before for before, after in pairwise(self.thresholds)):
            raise ValueError("thresholds: write them in order, each once, such as [0.1, 0.2, 0.5]")
        if self.sites and self.by != SITE:
            raise ValueError('sites: they go with by = "site"; leave them out')
        if len(set(self.sites)) != len(self.sites) or ALL in self.sites:
            raise ValueError("sites: name each hospital once, and none that is called all")
        return self

    @property
    def by_hospital(self) -> bool:
        """Whether hospitals are named of which figures are asked."""
        return bool(self.sites)

    def asks_of_hospitals(self, study: "Study") -> bool:
        """Whether groups are hospitals, and not the levels of a column."""
        return self.by == SITE and SITE not in study.cohort.every_column

    def at_hospitals(self, study: "Study", sites: Sequence[str]) -> "Question":
        """Of all hospitals, where it names none."""
        if self.sites or not self.asks_of_hospitals(study):
            return self
        return self.model_copy(update={"sites": tuple(sites)})

    @property
    def asked_model(self) -> object:
        """The model that is measured."""
        return self.model.asked

    @property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]
        """Held-out patients alone, or all alike."""
        return ("test",) if self._of_held_out else ()

    @property
    def _of_held_out(self) -> bool:
        return isinstance(self.model, SavedModel) if self.held_out is None else self.held_out

    def part(self, study: "Study") -> str:
        """Of which patients."""
        return "test" if self._of_held_out and study.cohort.split is not None else "all"

    def check(self, study: "Study") -> None:
        """A yes-or-no label, a model that fits the cohort, and groups that are levels.

        Raises:
            ValueError: names the field.
        """
        cohort = study.cohort
        if self.held_out and cohort.split is None:
            raise ValueError(
                "analysis.held_out: the cohort holds nobody out; give it a split, such as fc.Holdout(0.2), "
                "or leave it out"
            )
        levels = self.groups(study)
        if self.by is not None and self.by in cohort.label_columns:
            raise ValueError("analysis.by: this is the label; name a column that makes groups of patients")
        cells = 2 * (2 * FARTHEST / self.grid + 1) * max(len(levels), 1)
        if cells > MOST_CELLS:
            raise ValueError(
                say(
                    "analysis.grid: scores and levels make over {most:,} cells; take a wider grid",
                    most=MOST_CELLS,
                )
            )
        if cohort.label is None or (cohort.is_explicit and not isinstance(cohort.label, Binary)):
            raise ValueError("cohort.label: a validation is of a yes-or-no label; take fc.Binary(column)")
        if cohort.is_explicit:
            self.model.check(cohort)

    def groups(self, study: "Study") -> Sequence[str | int]:
        """Levels, or hospitals and all others as one.

        Raises:
            ValueError: names the field.
        """
        if self.asks_of_hospitals(study):
            return (*self.sites, OTHERS) if self.sites else ()
        if self.sites:
            raise ValueError("analysis.sites: the cohort has a column site; leave the one or the other out")
        return () if self.by is None else levels_of(study, "by", self.by) or ()

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """One release, of a patient with one row.

        Raises:
            ValueError: privacy or the question says what is not heeded.
        """
        super().check_private(study, privacy)
        one_row_a_patient(self.kind, privacy)
        if self.asks_of_hospitals(study):
            raise ValueError(
                "analysis.by: figures of each hospital are not told under [privacy]; name a column of "
                "levels, or leave [privacy] out"
            )
        if self.grid != STEP:
            raise ValueError("analysis.grid: private scores are counted in coarse parts; leave it out")
