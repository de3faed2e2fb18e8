"""The words of a formula: explicit terms, which a study holds and its hash covers.

A person writes `death ~ age + C(sex)`, which is parsed where it is read (`parse`); what stands in the
study's canonical JSON is the terms. A term is a product of factors, and a factor is computed from one column.
Printed, a formula is its text again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedcohort.analyses.formula.parse import MOST_FACTORS, MOST_TERMS, parse
from fedcohort.columns import Categorical, Column, Frozen, Identifier, Level, Numeric, Real
from fedcohort.texts import say

MOST_COLUMNS = 500
"""Of a design: a site's sum is as long as their number squared."""
MOST_KNOTS = 50

Knots = Annotated[Sequence[Real], AfterValidator(tuple), Field(max_length=MOST_KNOTS)]
Columns = Mapping[str, Column]
Interval = tuple[float, float]


class Plain(Frozen):
    """A column as it stands: a number, or an indicator of each level but the first."""

    kind: Literal["column"] = "column"
    column: Identifier

    def __str__(self) -> str:
        return _written(self.column)

    def check(self, column: Column, explicit: bool) -> None:
        """Nothing but an image is refused."""


class Levels(Frozen):
    """C(x), C(x, ref="level"): an indicator of each level but the reference, by default the first."""

    kind: Literal["levels"] = "levels"
    column: Identifier
    reference: Level | None = Field(default=None, exclude_if=lambda value: value is None)

    def __str__(self) -> str:
        if self.reference is None:
            return f"C({_written(self.column)})"
        reference = self.reference if isinstance(self.reference, int) else _quoted(self.reference)
        return f"C({_written(self.column)}, ref={reference})"

    def check(self, column: Column, explicit: bool) -> None:
        """Refuse a column without levels, and a reference that is none of them."""
        if not isinstance(column, Categorical):
            if explicit:
                raise ValueError(
                    say(
                        "{factor}: {column} has no levels; declare it in cohort.columns as "
                        "fc.Categorical([…])",
                        factor=self,
                        column=self.column,
                    )
                )
            return
        if self.reference is not None and self.reference not in column.levels:
            raise ValueError(
                say(
                    "{factor}: the reference is not among the levels of {column}; name one of them",
                    factor=self,
                    column=self.column,
                )
            )


class _Spline(Frozen):
    """Knots within two boundaries, which are the column's declared bounds where they are left out."""

    column: Identifier
    knots: Knots = ()
    lower_bound: Real | None = Field(default=None, exclude_if=lambda value: value is None)
    upper_bound: Real | None = Field(default=None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(after <= before for before, after in pairwise(self.knots)):
            raise ValueError("knots: write them in order, each once, such as [50, 65]")
        return self

    def boundaries(self, column: Column) -> Interval | None:
        """Where the spline begins and ends; None where nobody says."""
        declared = column.bounds if isinstance(column, Numeric) else None
        low, high = declared or (None, None)
        low = low if self.lower_bound is None else self.lower_bound
        high = high if self.upper_bound is None else self.upper_bound
        return None if low is None or high is None else (low, high)

    def check(self, column: Column, explicit: bool) -> None:
        """Refuse levels, boundaries that nobody gives, and knots beyond them."""
        _check_number(self, self.column, column)
        ends = self.boundaries(column)
        if ends is None:
            if explicit:
                raise ValueError(
                    say(
                        "{factor}: {column} has no declared bounds; say where the spline begins and ends: "
                        "lower_bound=…, upper_bound=…",
                        factor=self,
                        column=self.column,
                    )
                )
            return
        places = (ends[0], *self.knots, ends[1])
        if any(after <= before for before, after in pairwise(places)):
            raise ValueError(
                say(
                    "{factor}: knots lie between {low:g} and {high:g}, where the spline begins and ends; "
                    "choose others",
                    factor=self,
                    low=ends[0],
                    high=ends[1],
                )
            )

    def _options(self) -> Iterator[str]:
        yield f"knots=[{', '.join(map(_number, self.knots))}]"
        for name in ("lower_bound", "upper_bound"):
            value = getattr(self, name)
            if value is not None:
                yield f"{name}={_number(value)}"


class BSpline(_Spline):
    """bs(x, knots=[…], degree=3): B-splines but the first; beyond its ends x is held there."""

    kind: Literal["bs"] = "bs"
    degree: Annotated[int, Field(strict=True, ge=1, le=5)] = 3

    def __str__(self) -> str:
        knots, *bounds = self._options()
        degree = [] if self.degree == 3 else [f"degree={self.degree}"]
        return f"bs({', '.join([_written(self.column), knots, *degree, *bounds])})"


class NaturalSpline(_Spline):
    """ns(x, knots=[…]): cubic, and a straight line beyond its ends; the basis of R's splines::ns."""

    kind: Literal["ns"] = "ns"

    def __str__(self) -> str:
        return f"ns({', '.join([_written(self.column), *self._options()])})"


class Log(Frozen):
    """log(x), the natural logarithm; a value that has none is missing."""

    kind: Literal["log"] = "log"
    column: Identifier

    def __str__(self) -> str:
        return f"log({_written(self.column)})"

    def check(self, column: Column, explicit: bool) -> None:
        """Refuse levels, and bounds of which a part has no logarithm."""
        _check_number(self, self.column, column)
        if isinstance(column, Numeric) and column.low is not None and column.low <= 0:
            raise ValueError(
                say(
                    "{factor}: the declared bounds of {column} begin at {low:g}, which has no logarithm; let "
                    "them begin above 0",
                    factor=self,
                    column=self.column,
                    low=column.low,
                )
            )


class Power(Frozen):
    """I(x**2)."""

    kind: Literal["power"] = "power"
    column: Identifier
    power: Annotated[int, Field(strict=True, ge=2, le=9)]

    def __str__(self) -> str:
        return f"I({_written(self.column)} ** {self.power})"

    def check(self, column: Column, explicit: bool) -> None:
        """Refuse levels."""
        _check_number(self, self.column, column)


Factor = Plain | Levels | BSpline | NaturalSpline | Log | Power
AnyFactor = Annotated[Factor, Field(discriminator="kind")]


class Term(Frozen):
    """A product of factors."""

    factors: Annotated[
        Sequence[AnyFactor], AfterValidator(tuple), Field(min_length=1, max_length=MOST_FACTORS)
    ]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(map(str, self.factors))) != len(self.factors):
            raise ValueError("factors: one is named twice; name each once")
        return self

    def __str__(self) -> str:
        return ":".join(map(str, self.factors))


class Formula(Frozen):
    """An outcome and the terms that explain it; written as text, or as explicit terms."""

    outcome: Identifier | None = Field(default=None, exclude_if=lambda value: value is None)
    terms: Annotated[Sequence[Term], AfterValidator(tuple), Field(max_length=MOST_TERMS)] = ()
    intercept: Annotated[bool, Field(strict=True)] = True

    def __init__(self, formula: str | None = None, **extra: object) -> None:
        super().__init__(**(extra if formula is None else {"formula": formula, **extra}))

    @model_validator(mode="before")
    @classmethod
    def _parsed(cls, value: object) -> object:
        if isinstance(value, dict) and [*value] == ["formula"]:
            value = value["formula"]
        return parse(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        keys = [frozenset(map(str, term.factors)) for term in self.terms]
        if len(set(keys)) != len(keys):
            raise ValueError("terms: one is named twice; name each once")
        if self.outcome is not None and self.outcome in self.columns:
            raise ValueError(
                say("{outcome} is the outcome and cannot explain itself; leave it out", outcome=self.outcome)
            )
        return self

    def __str__(self) -> str:
        terms = " + ".join(map(str, self.terms)) or ("1" if self.intercept else "0")
        right = terms if self.intercept or not self.terms else f"{terms} - 1"
        return f"~ {right}" if self.outcome is None else f"{_written(self.outcome)} ~ {right}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that the terms read, in order."""
        return tuple(dict.fromkeys(factor.column for term in self.terms for factor in term.factors))

    def check(self, columns: Columns, explicit: bool) -> None:
        """Refuse what cannot be computed from these columns, before anything is computed.

        Args:
            columns: by name, those that the cohort has.
            explicit: whether they carry their kinds; else the sites' are checked once they are known.
        Raises:
            ValueError: names the factor, and what to do.
        """
        for name in (*((self.outcome,) if self.outcome else ()), *self.columns):
            if name not in columns:
                raise ValueError(
                    say("{name} is not among the cohort's columns; name it in cohort.columns", name=name)
                )
            if not isinstance(columns[name], Numeric | Categorical):
                raise ValueError(say("{name} is an image, which a formula cannot use", name=name))
        for term in self.terms:
            for factor in term.factors:
                factor.check(columns[factor.column], explicit)
        if not self.terms and not self.intercept:
            raise ValueError("nothing explains the outcome; name a column, such as death ~ age")
        if explicit and coded_columns(self, columns) > MOST_COLUMNS:
            raise ValueError(
                say("it makes more than {most} columns; name fewer terms or levels", most=MOST_COLUMNS)
            )


# --- which indicators a term needs --------------------------------------------------------------


Coded = tuple[tuple[Factor, bool], ...]
"""Factors of one product, each with whether its reference level is left out."""


def has_levels(factor: Factor, columns: Columns) -> bool:
    """Whether a factor stands for levels."""
    return isinstance(factor, Levels | Plain) and isinstance(columns[factor.column], Categorical)


def coded(formula: Formula, columns: Columns) -> list[Coded]:
    """The products that the design consists of, without one that follows from others by its structure.

    A factor of levels spans an intercept beside its contrasts; what earlier terms span is left out, and a
    contrast beside the same product without it is one indicator of every level (as R, patsy, formulaic).
    """
    spanned: set[frozenset[tuple[str, bool]]] = set()
    products: list[Coded] = []
    if formula.intercept:
        spanned.add(frozenset())
        products.append(())
    for term in sorted(formula.terms, key=lambda term: len(term.factors)):
        choices = [
            ((factor, True), None) if has_levels(factor, columns) else ((factor, False),)
            for factor in term.factors
        ]
        spans: dict[frozenset[tuple[str, bool]], Coded] = {}
        for choice in product(*choices):
            scoped: Coded = tuple(part for part in choice if part is not None)
            spans.setdefault(_span(scoped), scoped)
        new = [scoped for span, scoped in spans.items() if span not in spanned]
        spanned.update(map(_span, new))
        products += _simplified(new)
    return products


def _span(scoped: Coded) -> frozenset[tuple[str, bool]]:
    return frozenset((str(factor), reduced) for factor, reduced in scoped)


def _simplified(products: Sequence[Coded]) -> list[Coded]:
    """As few products as span the same: a contrast times P, and P, are all levels times P."""
    simple: list[Coded] = []
    for scoped in sorted(products, key=len):
        for place, other in enumerate(simple):
            beyond = _span(scoped) - _span(other)
            if len(scoped) - 1 != len(other) or len(beyond) != 1:
                continue
            ((name, reduced),) = beyond
            if reduced:
                full = tuple((f, r and str(f) != name) for f, r in scoped)
                simple = _simplified([*simple[:place], *simple[place + 1 :], full])
                break
        else:
            simple.append(scoped)
    return simple


def n_columns(factor: Factor, reduced: bool, columns: Columns) -> int:
    """How many columns a factor makes."""
    if isinstance(factor, BSpline):
        return len(factor.knots) + factor.degree
    if isinstance(factor, NaturalSpline):
        return len(factor.knots) + 1
    column = columns[factor.column]
    return len(column.levels) - reduced if isinstance(column, Categorical) else 1


def coded_columns(formula: Formula, columns: Columns) -> int:
    """How many columns the design has."""
    total = 0
    for scoped in coded(formula, columns):
        n = 1
        for factor, reduced in scoped:
            n *= n_columns(factor, reduced, columns)
        total += n
    return total


# --- writing ------------------------------------------------------------------------------------


def _check_number(factor: Any, name: str, column: Column) -> None:  # noqa: ANN401
    if isinstance(column, Categorical):
        raise ValueError(
            say("{factor}: {column} is levels and no number; use C({column})", factor=factor, column=name)
        )


def _written(column: str) -> str:
    """A column's name as a formula has it."""
    return column if re.fullmatch(r"[^\W\d][\w.]*", column) else f"`{column}`"


def _quoted(level: str) -> str:
    return '"' + level.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")
