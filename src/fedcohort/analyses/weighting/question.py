"""The words of `fc.Weighting(...)`."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fedcohort.analyses.formula.words import Formula
from fedcohort.columns import Categorical, Identifier, Numeric
from fedcohort.questions import Privacy, Question, kind_of
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

Estimand = Literal["ate", "att", "overlap"]


class Weighting(Question):
    """What a treatment does to an outcome, patients being weighted by their propensity score.

    `formula` is that of the treatment, `treated ~ age + C(sex)`: a logistic regression of a column of two
    levels, of which the second is the treatment. `outcome` is a number, or has two levels, of which the
    second counts as yes. Weights answer for all patients (`"ate"`), for the treated (`"att"`), or for those
    who might as well have had the other treatment (`"overlap"`). Every row counts; at most `rounds` Newton
    steps are taken.
    """

    kind: Literal["weighting"] = "weighting"
    tells_causes: ClassVar[bool] = True
    formula: Formula
    outcome: Identifier
    estimand: Estimand = "ate"
    rounds: Annotated[int, Field(strict=True, ge=1, le=200)] = 50

    def __init__(self, formula: object = None, outcome: object = None, **extra: Any) -> None:  # noqa: ANN401
        given: dict[str, Any] = {"formula": formula, "outcome": outcome}
        super().__init__(**{name: value for name, value in given.items() if value is not None}, **extra)

    @property
    def treated(self) -> str:
        """The column that says who is treated."""
        return str(self.formula.outcome)

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
        if self.outcome in (formula.outcome, *formula.columns):
            raise ValueError(
                say(
                    "outcome: {name} is in the formula of the treatment, too, and has to come after it; "
                    "leave it out there",
                    name=self.outcome,
                )
            )
        return self

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
        outcome = kind_of(study, "outcome", self.outcome)
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
        if not isinstance(outcome, Numeric) and not (
            isinstance(outcome, Categorical) and len(outcome.levels) == 2
        ):
            raise ValueError(
                say(
                    "analysis.outcome: {name} is neither a number nor of two levels; declare another one",
                    name=self.outcome,
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
