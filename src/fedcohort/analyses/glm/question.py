"""The words of `fc.GLM(...)`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fedcohort.analyses.formula.words import Formula, Log
from fedcohort.columns import Categorical, Column, Identifier, Numeric
from fedcohort.questions import Choice, Privacy, Question
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

FamilyName = Literal["gaussian", "binomial", "poisson", "negative_binomial"]


class GLM(Question):
    """A generalised linear model: linear, logistic or Poisson regression over all hospitals.

    `formula` is as in R, `death ~ age + C(sex, ref="f") + ns(bmi, knots=[25, 30]) + age:dose`; each of its
    columns is one of the cohort's or its label. `family` is by the outcome where it is left out: binomial of
    two levels, of which the second counts as yes, gaussian of a number; `negative_binomial` also estimates
    how far counts vary beyond Poisson's (alpha). `se` is by the model, or robust: the sandwich HC0
    (`"robust"`), or HC1 with its correction for few rows. `site` is "none", or "fixed" for an intercept of
    each hospital, which stays there, "random" for one that is normal among hospitals (by REML in a linear
    regression, or by the likelihood with `reml = false`), or "meta": each hospital fits a model of its own,
    and their coefficients are combined (DerSimonian and Laird), with I-squared and tau-squared. `offset` is a
    column or its logarithm, `log(years)`; `weights` a column of prior weights; `ridge` penalises half of so
    many times the squared coefficients of standardised columns. `firth` is Firth's penalised likelihood of a
    logistic regression, which is finite where outcomes are separated. Every row counts; at most `rounds`
    Newton steps are taken.
    """

    kind: Literal["glm"] = "glm"
    tells_causes: ClassVar[bool] = True
    formula: Formula
    family: FamilyName | None = None
    se: Literal["model", "robust", "HC1"] = "model"
    site: Literal["none", "fixed", "random", "meta"] = "none"
    offset: Formula | None = None
    weights: Identifier | None = None
    ridge: Annotated[float, Field(strict=True, ge=0, le=1e9)] = 0.0
    firth: Annotated[bool, Field(strict=True)] = False
    reml: Annotated[bool, Field(strict=True)] = True
    rounds: Annotated[int, Field(strict=True, ge=1, le=200)] = 50

    def __init__(self, formula: object = None, **extra: Any) -> None:  # noqa: ANN401
        given: dict[str, Any] = {} if formula is None else {"formula": formula}
        super().__init__(**given, **extra)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.formula.outcome is None:
            raise ValueError("formula: it has no outcome; write one on the left, such as death ~ age")
        if self.site == "fixed" and not self.formula.intercept:
            raise ValueError('formula: site = "fixed" gives each hospital its intercept; leave out - 1')
        if self.family == "negative_binomial" and self.site != "none":
            raise ValueError(
                'site: a negative binomial regression is of all hospitals alike; take site = "none"'
            )
        if self.site == "random" and (self.se != "model" or self.ridge or not self.formula.intercept):
            raise ValueError(
                'site: "random" goes with se = "model", without a ridge and with an intercept; leave the '
                "others out"
            )
        if self.site == "meta" and self.ridge:
            raise ValueError(
                'ridge: site = "meta" combines what each hospital finds without one; leave it out'
            )
        if self.firth and (self.site != "none" or self.ridge):
            raise ValueError('firth: it goes with site = "none" and without a ridge; leave one of them out')
        if self.offset is not None and not _is_one_number(self.offset):
            raise ValueError('offset: write one column or its logarithm, such as "log(years)"')
        return self

    @property
    def outcome(self) -> str:
        """The column that is explained."""
        return str(self.formula.outcome)

    @property
    def choosing(self) -> Mapping[str, Choice]:
        """A row without a weight, or without an offset, does not count."""
        chosen: dict[str, Choice] = {}
        if self.offset is not None:
            factor = self.offset.terms[0].factors[0]
            chosen[factor.column] = "above 0" if isinstance(factor, Log) else "value"
        return chosen if self.weights is None else {**chosen, self.weights: "above 0"}

    def family_of(self, columns: dict[str, Column]) -> FamilyName:
        """As it is asked, or by the outcome."""
        if self.family is not None:
            return self.family
        return "binomial" if isinstance(columns[self.outcome], Categorical) else "gaussian"

    def check(self, study: "Study") -> None:
        """Columns that are there and are what the formula needs.

        Raises:
            ValueError: names the field.
        """
        columns, explicit = study.cohort.every_column, study.cohort.is_explicit
        for name, formula in (("formula", self.formula), ("offset", self.offset)):
            try:
                if formula is not None:
                    formula.check(columns, explicit)
            except ValueError as error:
                raise ValueError(say("analysis.{name}: {why}", name=name, why=error.args[0])) from None
        if self.weights is not None and not isinstance(columns.get(self.weights), Numeric):
            raise ValueError(
                say("analysis.weights: {name} is no number of the cohort; name one", name=self.weights)
            )
        if explicit:
            _check_outcome(self, columns[self.outcome])
            linear = self.site == "random" and self.family_of(columns) == "gaussian"
            if linear and (self.offset or self.weights):
                raise ValueError(
                    'analysis.site: a linear regression with site = "random" takes no offset or weights; '
                    "leave them out"
                )
            if not self.reml and not linear:
                raise ValueError(
                    'analysis.reml: it is of a linear regression with site = "random"; leave it out'
                )
            if self.firth and self.family_of(columns) != "binomial":
                raise ValueError("analysis.firth: it is of a logistic regression; leave it out")

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """Declared bounds, and none of what has no private sums.

        Raises:
            ValueError: names the field.
        """
        Question.check_private(self, study, privacy)
        if self.family == "negative_binomial":
            raise ValueError(
                'analysis.family: a negative binomial regression cannot be asked privately; take "poisson"'
            )
        for name in ("se", "site", "offset", "weights", "ridge", "firth", "reml", "rounds"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    say("analysis.{name}: a private regression does not heed it; leave it out", name=name)
                )


def _check_outcome(question: GLM, kind: Column) -> None:
    n_levels = len(kind.levels) if isinstance(kind, Categorical) else None
    family = question.family
    if n_levels is not None and n_levels > 2:
        raise ValueError(
            say(
                "analysis.formula: {outcome} has {n} levels, and a regression explains two or a number; "
                "declare another outcome",
                outcome=question.outcome,
                n=n_levels,
            )
        )
    if family == "binomial" and isinstance(kind, Numeric) and kind.bounds not in ((0.0, 1.0), None):
        raise ValueError(
            say(
                "analysis.formula: {outcome} is a number beyond 0 and 1, and binomial explains yes or no; "
                'declare its two levels, or take family = "gaussian"',
                outcome=question.outcome,
            )
        )
    if (
        family in ("poisson", "negative_binomial")
        and isinstance(kind, Numeric)
        and kind.low is not None
        and kind.low < 0
    ):
        raise ValueError(
            say(
                "analysis.formula: the bounds of {outcome} begin below 0, and a count does not; let them "
                "begin at 0",
                outcome=question.outcome,
            )
        )


def _is_one_number(offset: Formula) -> bool:
    terms = offset.terms
    return (
        offset.outcome is None
        and len(terms) == 1
        and len(terms[0].factors) == 1
        and terms[0].factors[0].kind in ("column", "log")
    )
