"""The words of `fc.Cox(...)`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fedcohort.analyses.formula.words import Formula, coded_columns
from fedcohort.columns import Frozen, Identifier, Real, Survival
from fedcohort.questions import Privacy, Question, levels_of, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

SITE = "site"
"""Among strata: each hospital is one of its own."""
MOST_LEVELS = 1_000
"""Of all columns of strata together."""
MOST_CELLS = 1_000
"""Of a grid, by level of the strata."""
MOST_POOLED = 20_000
"""Sums by time, of all risk sets of all hospitals together."""
Times = Annotated[Sequence[Annotated[Real, Field(gt=0)]], AfterValidator(tuple)]


Pieces = (
    Annotated[int, Field(strict=True, ge=1, le=20)] | Annotated[Times, Field(min_length=1, max_length=20)]
)


def _listed(strata: object) -> object:
    """A single name as a list; "none" is the empty one."""
    if isinstance(strata, str):
        return () if strata == "none" else (strata,)
    return strata


class Cox(Question):
    """Cox's proportional hazards regression: hazard ratios of what the formula names.

    The cohort's label is `fc.Survival(time, event)`, so that the formula has a right-hand side alone: "age +
    C(sex)". A patient is compared with those of the same stratum who are still observed: `strata` is "site"
    (each hospital), or a list of it and columns of levels, such as ["site", "sex"]. With a `grid` of times
    the baseline is shown. With "none", or columns of levels alone, patients of all hospitals are compared on
    the grid, of which much leaves: a coarse one is due. `pieces`, with "none", is one baseline of all
    hospitals with a hazard in each piece of time: how many pieces there are up to the label's horizon, the
    first the shortest, or where they end; privacy needs them. A patient counts with one row; who has no value
    of a column is left out.
    """

    kind: Literal["cox"] = "cox"
    formula: Formula
    strata: Annotated[Sequence[Identifier], BeforeValidator(_listed), AfterValidator(tuple)] = (SITE,)
    ties: Literal["efron", "breslow"] = "efron"
    grid: Annotated[Times, Field(max_length=MOST_CELLS)] = ()
    # Left out of the hash where there are none, as are all fields that came after the first version.
    pieces: Pieces | None = Field(default=None, exclude_if=lambda value: value is None)

    def __init__(self, formula: object = None, **extra: object) -> None:
        Frozen.__init__(self, **(extra if formula is None else {"formula": formula, **extra}))

    @property
    def by_site(self) -> bool:
        """Whether patients are compared within hospitals alone."""
        return SITE in self.strata

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
        if self.pieces is not None:
            self._check_pieces_alone()
        elif not self.by_site and not self.grid:
            raise ValueError(
                "grid: patients of different hospitals are compared on a grid of times; write one, as coarse "
                'as can be, such as [90, 180, 365], or pieces; or strata = "site"'
            )
        if not self.formula.terms or not self.formula.intercept:
            raise ValueError(
                "formula: name what the hazard depends on, such as age + C(sex), without - 1: the baseline "
                "takes the place of an intercept"
            )
        return self

    def _check_pieces_alone(self) -> None:
        if self.strata or self.grid or self.ties != "efron":
            raise ValueError(
                'pieces: they are one baseline of all hospitals, on their own times: write strata = "none", '
                "and leave out grid and ties"
            )
        if any(after <= before for before, after in pairwise(self._ends)):
            raise ValueError("pieces: write their ends in order, each once, such as [30, 60, 90]")

    @property
    def _ends(self) -> tuple[float, ...]:
        """Times at which pieces are said to end."""
        return () if self.pieces is None or isinstance(self.pieces, int) else tuple(self.pieces)

    def edges(self, horizon: float | None) -> tuple[float, ...]:
        """Where pieces begin and end, from 0 to the horizon, or without one to their last end.

        Of a number of pieces the first are shorter, as events are more frequent soon after the beginning.
        """
        if isinstance(self.pieces, int):
            if horizon is None:
                raise ValueError("a number of pieces without a horizon")
            return tuple(horizon * (place / self.pieces) ** 2 for place in range(self.pieces + 1))
        ends = self._ends
        return (0.0, *(ends if horizon is None or ends[-1] == horizon else (*ends, horizon)))

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
        if self.pieces is not None:
            self._check_pieces(label)

    def _check_pieces(self, label: Survival) -> None:
        if isinstance(self.pieces, int) and label.horizon is None:
            raise ValueError(
                "analysis.pieces: a number of pieces needs fc.Survival(time, event, horizon=…), where the "
                "last ends; or write where they end, such as [90, 365, 1825]"
            )
        if label.horizon is not None and any(end > label.horizon for end in self._ends):
            raise ValueError("analysis.pieces: one ends beyond the label's horizon; write ends before it")

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
        if self.pieces is None and not self.by_site and study.cohort.is_explicit:
            p = coded_columns(self.formula, study.cohort.schema_) - 1
            if levels * (len(self.grid) + 1) * (1 + p) * (2 + p) // 2 > MOST_POOLED:
                raise ValueError(
                    say(
                        "analysis.grid: sums by time of {p} columns are too many; write a coarser grid, or "
                        'strata = "site"',
                        p=p,
                    )
                )

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """A hazard in pieces, over a time that is bounded.

        Raises:
            ValueError: names the field.
        """
        super().check_private(study, privacy)
        if self.pieces is None:
            raise ValueError(
                "analysis.pieces: a risk set mixes patients, so that privacy needs a hazard in pieces: write "
                'pieces = 5 and strata = "none"'
            )
        one_row_a_patient(self.kind, privacy)
