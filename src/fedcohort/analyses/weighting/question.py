"""The words of `fc.Weighting(...)`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, Tag, model_validator

from fedcohort.analyses.formula.words import Formula, coded_columns
from fedcohort.analyses.grids import Grid, ShownTimes, check_in_order
from fedcohort.columns import Categorical, Column, Identifier, Numeric, Survival, tag_by_key
from fedcohort.questions import Choice, Privacy, Question, kind_of
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

Estimand = Literal["ate", "att", "overlap"]
Outcome = Annotated[
    Annotated[Identifier, Tag("bare")] | Annotated[Survival, Tag("survival")], tag_by_key({"": "survival"})
]
MOST_SUMS = 100_000
"""Of the last round of curves: by group and time one number, and two of each column of the formula."""


class Weighting(Question):
    """What a treatment does to an outcome, patients being weighted by their propensity score.

    `formula` is that of the treatment, `treated ~ age + C(sex)`: a logistic regression of a column of two
    levels, of which the second is the treatment. `outcome` is a number, or has two levels, of which the
    second counts as yes; or it is the cohort's label `fc.Survival(time, event)`: then survival curves of both
    groups are shown on a `grid` of times, `at` some of which they are compared, and the hazard ratio within
    hospitals. Weights answer for all patients (`"ate"`), for the treated (`"att"`), or for those who might as
    well have had the other treatment (`"overlap"`). Every row counts, of survival one row a patient; at most
    `rounds` Newton steps are taken.
    """

    kind: Literal["weighting"] = "weighting"
    tells_causes: ClassVar[bool] = True
    formula: Formula
    outcome: Outcome
    estimand: Estimand = "ate"
    rounds: Annotated[int, Field(strict=True, ge=1, le=200)] = 50
    # Left out of the hash where there are none, so that a study of an earlier version keeps its hash.
    grid: Grid | None = Field(default=None, exclude_if=lambda value: value is None)
    at: ShownTimes = Field(default=(), exclude_if=lambda value: not value)

    def __init__(self, formula: object = None, outcome: object = None, **extra: Any) -> None:  # noqa: ANN401
        given: dict[str, Any] = {"formula": formula, "outcome": outcome}
        super().__init__(**{name: value for name, value in given.items() if value is not None}, **extra)

    @property
    def treated(self) -> str:
        """The column that says who is treated."""
        return str(self.formula.outcome)

    @property
    def survival(self) -> Survival | None:
        """The outcome, where it is a time and an event."""
        return self.outcome if isinstance(self.outcome, Survival) else None

    @property
    def read(self) -> str:
        """The column that is summed by group: the outcome, or the event."""
        return self.outcome.event if isinstance(self.outcome, Survival) else self.outcome

    @property
    def choosing(self) -> Mapping[str, Choice]:
        """Of whom nobody knows whether they are treated, the row does not count."""
        return {self.treated: "value"}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        formula = self.formula
        if formula.outcome is None or not formula.terms or not formula.intercept:
            raise ValueError(
                say(
                    "formula: write who is treated on the left, and what the choice depended on on the "
                    "right, such as treated ~ age + C(sex)"
                )
            )
        own = (self.read,) if self.survival is None else (self.survival.time, self.read)
        for name in own:
            if name in (formula.outcome, *formula.columns):
                raise ValueError(
                    say(
                        "outcome: {name} is in the formula of the treatment, too, and has to come after it; "
                        "leave it out there",
                        name=name,
                    )
                )
        self._check_grid()
        return self

    def _check_grid(self) -> None:
        if self.survival is None and (self.grid is not None or self.at):
            raise ValueError(
                say("grid: it is of an outcome over time, fc.Survival(time, event); leave grid and at out")
            )
        if self.survival is not None and self.grid is None:
            raise ValueError(
                say("grid: survival is shown at times of a grid; write one, such as [30, 60, 90]")
            )
        if self.grid is not None:
            check_in_order(self.grid, self.at)

    def check(self, study: "Study") -> None:
        """Columns that are there and are what the question needs.

        Raises:
            ValueError: names the field.
        """
        columns, explicit = study.cohort.every_column, study.cohort.is_explicit
        try:
            self.formula.check(columns, explicit)
        except ValueError as error:
            raise ValueError(say("analysis.{name}: {why}", name="formula", why=error.args[0])) from None
        outcome = None if self.survival else kind_of(study, "outcome", self.read)
        if self.survival is not None and study.cohort.label != self.survival:
            raise ValueError(
                say(
                    "analysis.outcome: a time and an event are the cohort's label; write the same "
                    "fc.Survival(...) as cohort.label"
                )
            )
        if not explicit:
            return
        kind = columns[self.treated]
        if not isinstance(kind, Categorical) or len(kind.levels) != 2:
            raise ValueError(
                say(
                    "analysis.formula: {name} is not of two levels, untreated and treated; declare it as "
                    "fc.Categorical([0, 1])",
                    name=self.treated,
                )
            )
        if self.survival is not None:
            return self._check_sums(columns)
        is_pair = isinstance(outcome, Categorical) and len(outcome.levels) == 2
        if not isinstance(outcome, Numeric) and not is_pair:
            raise ValueError(
                say(
                    "analysis.outcome: {name} is neither a number nor of two levels; declare another one",
                    name=self.outcome,
                )
            )

    def _check_sums(self, columns: dict[str, Column]) -> None:
        n = 2 * (len(self.grid or ()) + 1) + 1
        if n * (1 + 2 * coded_columns(self.formula, columns)) > MOST_SUMS:
            raise ValueError(
                say(
                    "analysis.grid: times and columns of the formula make over {most:,} sums; write a "
                    "coarser grid, or name fewer columns",
                    most=MOST_SUMS,
                )
            )

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """Refuse.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            say(
                "privacy: a weighted comparison cannot be asked privately, as one patient's weight has no "
                "bound; leave out [privacy]"
            )
        )
