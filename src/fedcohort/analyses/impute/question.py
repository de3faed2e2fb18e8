"""The words of `fc.Impute(...)`."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedcohort.analyses.cox.question import Cox
from fedcohort.analyses.formula.words import Formula
from fedcohort.analyses.glm.question import GLM
from fedcohort.columns import Categorical, Column, Identifier, Numeric, Survival
from fedcohort.questions import Privacy, Question
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_DRAWS = 2_000
"""Imputation models of a study, over columns, cycles and data sets: each round carries what they drew."""
MOST_NUMBERS = 250_000
"""Of one round's sum, and of the parameters that a state carries."""


class Impute(Question):
    """A regression with missing values filled in several times: multiple imputation by chained equations.

    `formula` and `family` are those of `fc.GLM`; a formula without an outcome, of a cohort whose label is
    `fc.Survival(time, event)`, is that of `fc.Cox`, stratified by hospital. `columns` are those whose missing
    values are filled in: numbers, or columns of levels; one that the formula does not name helps to fill in
    the others. Each is explained by all other columns and the outcome, `cycles` times in turn, in each of `m`
    data sets; the regression is fitted to each, and the results are combined by Rubin's rules. Rows that lack
    the outcome, or a value of a column that is not filled in, are left out; of survival a patient counts with
    one row. The regressions take at most `rounds` steps.
    """

    kind: Literal["impute"] = "impute"
    formula: Formula
    family: Literal["gaussian", "binomial", "poisson"] | None = None
    columns: Annotated[Sequence[Identifier], AfterValidator(tuple), Field(min_length=1, max_length=20)]
    m: Annotated[int, Field(strict=True, ge=2, le=100)] = 5
    cycles: Annotated[int, Field(strict=True, ge=1, le=50)] = 5
    rounds: Annotated[int, Field(strict=True, ge=1, le=200)] = 50

    def __init__(self, formula: object = None, **extra: Any) -> None:  # noqa: ANN401
        given: dict[str, Any] = {} if formula is None else {"formula": formula}
        super().__init__(**given, **extra)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.is_cox and self.family is not None:
            raise ValueError(
                say(
                    "family: a formula without an outcome is of a Cox regression, which has none; leave it "
                    "out"
                )
            )
        if self.is_cox and (not self.formula.terms or not self.formula.intercept):
            raise ValueError(
                "formula: name what the hazard depends on, such as age + C(sex), without - 1: the baseline "
                "takes the place of an intercept"
            )
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("columns: a column is named twice; name it once")
        if not self.is_cox and self.outcome in self.columns:
            raise ValueError(
                "columns: a row whose outcome is filled in says nothing of the regression; leave the outcome "
                "out"
            )
        if len(self.columns) * self.cycles * self.m > MOST_DRAWS:
            raise ValueError(
                say(
                    "m: columns, cycles and data sets make over {most:,} imputation models; choose fewer",
                    most=MOST_DRAWS,
                )
            )
        return self

    @property
    def outcome(self) -> str:
        """The column that is explained."""
        return str(self.formula.outcome)

    @property
    def is_cox(self) -> bool:
        """Whether hazards are regressed: the label is what is explained."""
        return self.formula.outcome is None

    @cached_property
    def model(self) -> GLM:
        """The regression that each data set is given, where an outcome is explained."""
        return GLM(self.formula, family=self.family)

    @cached_property
    def hazards(self) -> Cox:
        """The regression that each data set is given, where hazards are explained."""
        return Cox(self.formula)

    def outcomes(self, label: object) -> tuple[str, ...]:
        """The columns that are explained: the outcome, or the label's event and time."""
        return (label.event, label.time) if isinstance(label, Survival) and self.is_cox else (self.outcome,)

    def check(self, study: "Study") -> None:
        """Columns that are there, and can be filled in.

        Raises:
            ValueError: names the field.
        """
        if self.is_cox and not isinstance(study.cohort.label, Survival):
            raise ValueError(
                say(
                    "analysis.formula: nothing is explained; write an outcome on the left, such as death ~ "
                    "age, or give the cohort the label fc.Survival(time, event)"
                )
            )
        (self.hazards if self.is_cox else self.model).check(study)
        columns = study.cohort.schema_
        for name in self.columns:
            if name not in columns:
                raise ValueError(
                    say(
                        "analysis.columns: {name} is not among the cohort's columns; name it in "
                        "cohort.columns",
                        name=name,
                    )
                )
            kind = columns[name]
            if study.cohort.is_explicit and not isinstance(kind, Numeric | Categorical):
                raise ValueError(
                    say("analysis.columns: {name} is neither a number nor of levels; leave it out", name=name)
                )

        if study.cohort.is_explicit:
            self._check_size(study.cohort.every_column, self.outcomes(study.cohort.label))

    def _check_size(self, columns: dict[str, Column], outcomes: tuple[str, ...]) -> None:
        names = {*outcomes, *self.formula.columns, *self.columns}
        kinds = [columns[name] for name in names]
        k = sum(_n_numbers(kind) for kind in kinds)
        # Of the widest model: a number's deviation is one more; of levels each but the first has its own.
        n_own = [_n_numbers(columns[name]) for name in self.columns]
        width = 1 + max(n * (k - n + 1) for n in n_own)
        sums = self.m * (width + 1) * (width + 2) // 2
        if max(sums, len(self.columns) * self.cycles * self.m * width) > MOST_NUMBERS:
            raise ValueError(
                say(
                    "analysis.m: {m} data sets of {k} columns and levels are over {most:,} numbers a round; "
                    "choose fewer data sets, or name fewer columns",
                    m=self.m,
                    k=k,
                    most=MOST_NUMBERS,
                )
            )

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """Refuse: the sums of each imputation model would have to be paid for.

        Raises:
            ValueError: says what to do.
        """
        raise ValueError(
            "analysis: imputation asks for so many sums that noise would hide them; leave out [privacy], or "
            "ask fc.GLM of the complete rows"
        )


def _n_numbers(kind: Column) -> int:
    """How many numbers of imputation models a column is."""
    return len(kind.levels) - 1 if isinstance(kind, Categorical) else 1
