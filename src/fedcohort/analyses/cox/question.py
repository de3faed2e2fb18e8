"""The words of `fc.Cox(...)`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fedcohort.analyses.formula.words import Formula
from fedcohort.columns import Frozen, Identifier, Real, Survival
from fedcohort.questions import Privacy, Question, levels_of
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

SITE = "site"
"""Among strata: each hospital is one of its own."""
MOST_LEVELS = 1_000
"""Of all columns of strata together."""
MOST_CELLS = 1_000
"""Of a grid, by level of the strata."""
Times = Annotated[Sequence[Annotated[Real, Field(gt=0)]], AfterValidator(tuple)]


def _listed(strata: object) -> object:
    """A single name as a list."""
    return (strata,) if isinstance(strata, str) else strata


class Cox(Question):
    """Cox's proportional hazards regression: hazard ratios of what the formula names.

    The cohort's label is `fc.Survival(time, event)`, so that the formula has a right-hand side alone: "age +
    C(sex)". A patient is compared with those of the same stratum who are still observed: `strata` is "site"
    (each hospital), or a list of it and columns of levels, such as ["site", "sex"]. With a `grid` of times
    the baseline is shown. A patient counts with one row; who has no value of a column is left out.
    """

    kind: Literal["cox"] = "cox"
    formula: Formula
    strata: Annotated[Sequence[Identifier], BeforeValidator(_listed), AfterValidator(tuple)] = (SITE,)
    ties: Literal["efron", "breslow"] = "efron"
    grid: Annotated[Times, Field(max_length=MOST_CELLS)] = ()

    def __init__(self, formula: object = None, **extra: object) -> None:
        Frozen.__init__(self, **(extra if formula is None else {"formula": formula, **extra}))

    @property
    def by(self) -> tuple[str, ...]:
        """Columns of levels among the strata."""
        return tuple(name for name in self.strata if name != SITE)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if any(after <= before for before, after in pairwise(self.grid)):
            raise ValueError("grid: write times in order, each once, such as [30, 60, 90]")
        if len(set(self.strata)) != len(self.strata):
            raise ValueError("strata: a column is named twice; name each once")
        if SITE not in self.strata:
            raise ValueError(
                'strata: write "site", or a list with it, such as ["site", "sex"]: risk sets stay within a '
                "hospital"
            )
        if not self.formula.terms or not self.formula.intercept:
            raise ValueError(
                "formula: name what the hazard depends on, such as age + C(sex), without - 1: the baseline "
                "takes the place of an intercept"
            )
        return self

    def check(self, study: "Study") -> None:
        """A survival label, a formula over the cohort's columns, and strata that are levels.

        Raises:
            ValueError: names the field.
        """
        label = study.cohort.label
        if not isinstance(label, Survival):
            raise ValueError("cohort.label: cox needs fc.Survival(time, event)")
        self._check_formula(study, label)
        self._check_strata(study)

    def _check_formula(self, study: "Study", label: Survival) -> None:
        if self.formula.outcome is not None or {label.time, label.event} & {*self.formula.columns, *self.by}:
            raise ValueError(
                "analysis.formula: the label is what is explained; write the right-hand side alone, such as "
                "age + C(sex)"
            )
        try:
            self.formula.check(study.cohort.schema_, explicit=study.cohort.is_explicit)
        except ValueError as error:
            raise ValueError(say("analysis.formula: {why}", why=error.args[0])) from None

    def _check_strata(self, study: "Study") -> None:
        levels = 1
        for name in self.by:
            levels *= len(levels_of(study, "strata", name) or ())
            if name in self.formula.columns:
                raise ValueError(
                    say("analysis.strata: {name} is in the formula, too; leave it out of one", name=name)
                )
        if levels > MOST_LEVELS or levels * len(self.grid) > MOST_CELLS:
            raise ValueError("analysis.strata: levels and times make too many cells; name fewer")

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """Risk sets mix patients, so that no sum over them is private.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "privacy: a risk set mixes patients, so that one of them moves the terms of all; leave out "
            "[privacy]"
        )
