"""A formula becomes explicit terms, whoever wrote it, and nothing of it is ever evaluated."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedcohort as fc
from fedcohort.analyses.formula.parse import MOST_CHARACTERS
from fedcohort.analyses.formula.words import Formula
from fedcohort.columns import Column, validated
from fedcohort.errors import StudyError

COLUMNS: dict[str, Column] = {
    "age": fc.Numeric(18, 90),
    "dose": fc.Numeric(-1, 1),
    "free": fc.Numeric(),
    "sex": fc.Categorical(["f", "m"]),
    "scan": fc.Image(2, 2),
    "death": fc.Categorical([0, 1]),
}


def terms(text: str) -> list[str]:
    return [str(term) for term in Formula(text).terms]


def test_what_a_person_writes_becomes_terms() -> None:
    formula = Formula('death ~ age + C(sex, ref="m")')
    assert formula.model_dump(mode="json") == {
        "outcome": "death",
        "terms": [
            {"factors": [{"kind": "column", "column": "age"}]},
            {"factors": [{"kind": "levels", "column": "sex", "reference": "m"}]},
        ],
        "intercept": True,
    }
    spline = Formula("~ bs(age, knots=[40, 60], degree=2, lower_bound=20)").terms[0].factors[0]
    assert spline.model_dump(mode="json") == {
        "kind": "bs",
        "column": "age",
        "knots": [40.0, 60.0],
        "degree": 2,
        "lower_bound": 20.0,
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a*b", ["a", "b", "a:b"]),
        ("a*b*c", ["a", "b", "c", "a:b", "a:c", "b:c", "a:b:c"]),
        ("(a + b):c", ["a:c", "b:c"]),
        ("a:b + a", ["a", "a:b"]),
        ("a:b + b:a + a:a", ["a", "a:b"]),
        ("a + b*(c + a:b)", ["a", "b", "c", "a:b", "b:c"]),
        ("`Creatinine (mg/dl)`:ph.ecog", ["`Creatinine (mg/dl)`:ph.ecog"]),
        ("log(a) + I(a**2) + I(a ** 3)", ["log(a)", "I(a ** 2)", "I(a ** 3)"]),
        ("ns(a, knots=[1, -2.5e-1])", None),
        ("1", []),
    ],
)
def test_products_and_sums(written: str, meant: list[str] | None) -> None:
    if meant is None:
        with pytest.raises(StudyError, match="write them in order"):
            Formula(written)
        return
    assert terms(written) == meant


@pytest.mark.parametrize("written", ["y ~ a - 1", "y ~ 0 + a", "y ~ a + 0", "y ~ -1 + a"])
def test_no_intercept(written: str) -> None:
    formula = Formula(written)
    assert (formula.intercept, terms(written), str(formula)) == (False, ["a"], "y ~ a - 1")


FACTORS = st.sampled_from(
    [
        "a",
        "b",
        "`c d`",
        "C(s)",
        'C(s, ref="it\\"s")',
        "log(a)",
        "I(b ** 2)",
        "ns(a, knots=[1.5, 2])",
        "bs(b, knots=[], degree=2, lower_bound=-1, upper_bound=3)",
    ]
)
SIGNS = st.sampled_from([" + ", ":", " * "])
SUMS = st.recursive(
    FACTORS,
    lambda part: st.tuples(part, SIGNS, part).map("({0[0]}{0[1]}{0[2]})".format),
    max_leaves=6,
)


@given(SUMS, st.sampled_from(["", " - 1", " + 0", " + 1"]), st.sampled_from(["y ~ ", "~ ", ""]))
def test_a_printed_formula_is_read_again(right: str, end: str, left: str) -> None:
    formula = Formula(left + right + end)
    assert Formula(str(formula)) == formula
    assert Formula.model_validate(json.loads(formula.model_dump_json())) == formula


@pytest.mark.parametrize(
    "written",
    [
        'y ~ {__import__("os").getcwd()}',
        "y ~ a.__class__()",
        "y ~ Q('a')",
        "y ~ np.log(a)",
        "y ~ exp(a)",
        "y ~ a + ",
        "y ~ a - b",
        "y ~ 2",
        "y ~ a + 2",
        "y ~ (a",
        "y ~ a)",
        "~ ~ a",
        "y + z ~ a",
        "log(y) ~ a",
        "y ~ a ~ b",
        "",
        "y ~ C(a, 3)",
        "y ~ C(a, levels=[1])",
        "y ~ bs(a, 3)",
        "y ~ bs(a, df=4)",
        "y ~ bs(log(a), knots=[1])",
        "y ~ I(a**b)",
        "y ~ I(a + 1)",
        "y ~ a | b",
        "y ~ a^2",
        "y ~ 'a'",
        "y ~ (a - 1)",
        "y ~ a:1",
        "y ~ I(a**2.5)",
        "y ~ bs(a, degree=2, degree=3)",
        "y ~ C(a, ref=[1])",
        "y ~ bs(a, knots=[1)",
        'y ~ "',
        "y ~ `",
        "y ~ a\x00",
    ],
)
def test_more_than_the_grammar_is_refused_in_words(written: str) -> None:
    with pytest.raises(StudyError, match=r"formula|in backticks|write"):
        Formula(written)


@given(st.text(alphabet="ab0129 ~+-*:(),=[]`'\"CIlogbskntref{}._\\é", max_size=60))
def test_any_text_is_a_formula_or_refused(text: str) -> None:
    try:
        formula = Formula(text)
    except StudyError:
        return
    assert Formula(str(formula)) == formula


def test_length_depth_and_terms_are_bounded() -> None:
    for written in (
        "y ~ " + "+".join(["a"] * MOST_CHARACTERS),
        "(" * 3000 + "a" + ")" * 3000,
        "*".join(f"x{place}" for place in range(20)),
        ":".join(f"x{place}" for place in range(20)),
        "(" + "+".join(f"x{place}" for place in range(300)) + "):(y + z)",
    ):
        with pytest.raises(StudyError, match=r"write fewer"):
            Formula(written)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("death ~ weight", "weight is not among the cohort's columns"),
        ("gone ~ age", "gone is not among the cohort's columns"),
        ("death ~ scan", "scan is an image"),
        ("death ~ C(age)", "age has no levels"),
        ('death ~ C(sex, ref="x")', "not among the levels of sex"),
        ("death ~ log(sex)", r"use C\(sex\)"),
        ("death ~ I(sex**2)", r"use C\(sex\)"),
        ("death ~ bs(sex, knots=[1])", r"use C\(sex\)"),
        ("death ~ log(dose)", "begin at -1"),
        ("death ~ bs(age, knots=[10])", "knots lie between 18 and 90"),
        ("death ~ ns(age, knots=[60], upper_bound=50)", "knots lie between 18 and 50"),
        ("death ~ ns(free, knots=[60], lower_bound=0)", "no declared bounds"),
        ("death ~ 0", "nothing explains the outcome"),
    ],
)
def test_what_columns_cannot_give_is_refused_in_words(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Formula(written).check(COLUMNS, explicit=True)


def test_too_many_columns_are_refused() -> None:
    many = {name: fc.Categorical(range(100)) for name in ("a", "b", "y")}
    with pytest.raises(ValueError, match="more than 500 columns"):
        Formula("y ~ a*b").check(many, explicit=True)


@pytest.mark.parametrize(
    "plain",
    [
        {"terms": [{"factors": []}]},
        {"terms": [{"factors": [{"kind": "call", "column": "a"}]}]},
        {"terms": [{"factors": [{"kind": "power", "column": "a", "power": 2.5}]}]},
        {"terms": [{"factors": [{"kind": "column", "column": "a"}] * 2}]},
        {"terms": [{"factors": [{"kind": "column", "column": "a"}]}] * 2},
        {"terms": [], "intercept": 1},
        {"outcome": "a", "terms": [{"factors": [{"kind": "column", "column": "a"}]}]},
        {"terms": [{"factors": [{"kind": "bs", "column": "a", "knots": [2, 1]}]}]},
        {"code": "import os"},
        [],
        3,
    ],
)
def test_terms_of_a_stranger_are_checked(plain: object) -> None:
    with pytest.raises(StudyError, match=r"^study: "):
        validated(Formula, plain, "study", StudyError)
