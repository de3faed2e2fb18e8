"""What is said of a formula, obeyed: a row is a fault, its message, and the formula as it says."""

from collections.abc import Callable

import pytest

import fedcohort as fc
from fedcohort.analyses.formula.words import Formula
from fedcohort.columns import Column

from .remedy_rows import Row, obey

COLUMNS: dict[str, Column] = {
    "age": fc.Numeric(18, 90),
    "dose": fc.Numeric(-1, 1),
    "free": fc.Numeric(),
    "sex": fc.Categorical(["f", "m"]),
    "stage": fc.Categorical(range(600)),
    "death": fc.Categorical([0, 1]),
}


def formula(written: str) -> Callable[[], object]:
    return lambda: Formula(written)


def checked(written: str, **more: fc.Numeric | fc.Categorical) -> Callable[[], object]:
    return lambda: Formula(written).check({**COLUMNS, **more}, explicit=True)


def names(n: int, between: str = " + ") -> str:
    return between.join(f"x{place}" for place in range(n))


ROWS = [
    Row("{} is not expected there; a formula is written as", formula("y ~ bs(age, 3)"),
        formula("y ~ bs(age, knots=[3])")),
    Row("is not among what a formula may compute", formula("y ~ sqrt(age)"), formula("y ~ `sqrt(age)`")),
    Row("has no meaning in a formula", formula("y ~ age % of norm"), formula("y ~ `age % of norm`")),
    Row("characters at most; write fewer terms", formula("y ~ " + "a + " * 4000 + "a"), formula("y ~ a")),
    Row("a formula has {} terms at most; write fewer", formula("~ " + names(501)),
        formula("~ " + names(500))),
    Row("a term is a product of {} factors at most", formula(names(9, ":")), formula(names(8, ":"))),
    Row("parentheses more than {} deep; write fewer", formula("(" * 21 + "a" + ")" * 21),
        formula("(" * 20 + "a" + ")" * 20)),
    Row("has no levels; declare it in cohort.columns", checked("death ~ C(age)"),
        checked("death ~ C(age)", age=fc.Categorical([40, 60]))),
    Row("the reference is not among the levels of {}", checked('death ~ C(sex, ref="x")'),
        checked('death ~ C(sex, ref="m")')),
    Row("knots: write them in order", formula("~ bs(age, knots=[65, 50])"),
        formula("~ bs(age, knots=[50, 65])")),
    Row("is levels and no number; use C(", checked("death ~ log(sex)"), checked("death ~ C(sex)")),
    Row("say where the spline begins and ends", checked("death ~ bs(free, knots=[1])"),
        checked("death ~ bs(free, knots=[1], lower_bound=0, upper_bound=2)")),
    Row("knots lie between {} and {}, where the spline", checked("death ~ ns(age, knots=[10])"),
        checked("death ~ ns(age, knots=[20])")),
    Row("which has no logarithm; let them begin above 0", checked("death ~ log(dose)"),
        checked("death ~ log(dose)", dose=fc.Numeric(0.1, 1))),
    Row("factors: one is named twice; name each once",
        lambda: Formula(terms=[{"factors": [{"kind": "log", "column": "a"}] * 2}]),
        lambda: Formula(terms=[{"factors": [{"kind": "log", "column": "a"}]}])),
    Row("terms: one is named twice; name each once",
        lambda: Formula(terms=[{"factors": [{"kind": "log", "column": "a"}]}] * 2),
        lambda: Formula(terms=[{"factors": [{"kind": "log", "column": "a"}]}])),
    Row("is the outcome and cannot explain itself; leave it out", formula("death ~ age + death"),
        formula("death ~ age")),
    Row("{} is not among the cohort's columns; name it in cohort.columns", checked("death ~ bmi"),
        checked("death ~ bmi", bmi=fc.Numeric(10, 60))),
    Row("nothing explains the outcome; name a column", checked("death ~ 0"), checked("death ~ age")),
    Row("it makes more than {} columns; name fewer terms or levels", checked("death ~ stage"),
        checked("death ~ sex")),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.said)
def test_a_remedy_obeyed_is_the_end_of_its_fault(row: Row) -> None:
    obey(row)
