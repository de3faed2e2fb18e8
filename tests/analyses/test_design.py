"""The design of a formula is formulaic's, column by column; natural splines are R's."""

from typing import Any

import formulaic
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedcohort as fc
from fedcohort.analyses.design import Design, design_of
from fedcohort.analyses.formula.words import Formula
from fedcohort.table import Table

COHORT = fc.Cohort(
    columns={
        "x": fc.Numeric(0.5, 9.0),
        "z": fc.Numeric(-4.0, 4.0),
        "s": fc.Categorical(("f", "m", "other")),
        "t": fc.Categorical((1, 2)),
        "free": fc.Numeric(),
    },
    label=fc.Number(column="y", low=0, high=1),
)
DRAW = np.random.default_rng(0)
N = 60


def table(n: int = N, **columns: Any) -> Table:
    made = {
        "x": DRAW.uniform(0.5, 9, n),
        "z": DRAW.uniform(-4, 4, n),
        "s": np.append([0, 1, 2], DRAW.integers(0, 3, n - 3)),
        "t": np.append([0, 1], DRAW.integers(0, 2, n - 2)),
        "free": DRAW.normal(0, 1e6, n),
        **columns,
    }
    ids = np.array([f"p{row}" for row in range(n)])
    return Table(ids, made, np.zeros(n, np.int8), DRAW.uniform(0, 1, n))


TABLE = table()
FRAME = pd.DataFrame(
    {name: TABLE.columns[name] for name in ("x", "z", "free")}
    | {
        "s": pd.Categorical(np.array(["f", "m", "other"])[TABLE.columns["s"].astype(int)]),
        "t": pd.Categorical(np.array([1, 2])[TABLE.columns["t"].astype(int)]),
    }
)


def design(written: str) -> Design:
    return design_of(COHORT, Formula(written))


def check(written: str, theirs: str | None = None) -> None:
    """Values to 1e-12 of the largest, and names."""
    ours, reference = design(written), formulaic.model_matrix(theirs or written, FRAME)
    expected = np.asarray(reference, np.float64)
    scale = np.maximum(np.abs(expected).max(0, initial=1.0), 1.0)
    np.testing.assert_allclose(ours.matrix(TABLE, COHORT) / scale, expected / scale, rtol=0, atol=1e-12)
    if theirs is None:
        assert list(ours.names) == list(reference.columns)


@pytest.mark.parametrize(
    "written",
    [
        "x",
        "x + s",
        "s - 1",
        "C(s) + C(t)",
        "C(s):x",
        "s*t",
        "s:t",
        "s:t + s",
        "x:s:t",
        "x*z*s",
        "x + 0",
        "1",
        "I(x ** 2) + I(z ** 3)",
        "log(x)*z",
        "free",
        "free:C(t)",
        "0 + s + t",
        "0 + s:t + x",
        "t:x + t - 1",
    ],
)
def test_each_construct_is_formulaics(written: str) -> None:
    check(written)


def test_another_reference_is_formulaics_treatment_contrast() -> None:
    check('C(s, ref="m")*x', "C(s, contr.treatment(base='m'))*x")
    check("C(t, ref=2) + x", "C(t, contr.treatment(base=2)) + x")
    assert design('C(s, ref="m")').names[1:] == ('C(s, ref="m")[T.f]', 'C(s, ref="m")[T.other]')


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize("knots", [[], [4], [2, 2.5, 7]])
def test_b_splines_are_formulaics(degree: int, knots: list[float]) -> None:
    theirs = f"bs(x, knots={knots}, degree={degree}, lower_bound=0.5, upper_bound=9)"
    check(theirs, theirs)
    check(f"bs(x, knots={knots}, degree={degree})", theirs)
    assert design(f"bs(x, knots={knots})").names[1] == f"bs(x, knots={knots})[1]"


def test_a_number_beyond_a_b_splines_ends_is_held_there() -> None:
    check(
        "bs(x, knots=[4], lower_bound=2, upper_bound=8)",
        "bs(x, knots=[4], lower_bound=2, upper_bound=8, extrapolation='clip')",
    )


def test_natural_splines_are_those_of_r() -> None:
    """Heights and weights of women, as R's help page of splines::ns prints the coefficients."""
    weight = np.array([115, 117, 120, 123, 126, 129, 132, 135, 139, 142, 146, 150, 154, 159, 164.0])
    cohort = fc.Cohort(
        columns={"height": fc.Numeric(58, 72)}, label=fc.Number(column="weight", low=100, high=200)
    )
    women = Table(
        np.array([str(row) for row in range(15)]),
        {"height": np.arange(58, 73.0)},
        np.zeros(15, np.int8),
        weight,
    )
    natural = design_of(cohort, Formula("weight ~ ns(height, knots=[60.8, 63.6, 66.4, 69.2])"))
    found = np.linalg.lstsq(natural.matrix(women, cohort), weight, rcond=None)[0]
    assert found.round(4).tolist() == [114.7447, 15.9474, 25.1695, 33.2582, 50.7894, 45.0363]


@pytest.mark.parametrize("knots", [[4], [2, 2.5, 7], [1, 2, 3, 4, 8]])
def test_natural_splines_span_what_patsys_do(knots: list[float]) -> None:
    theirs = formulaic.model_matrix(f"cr(x, knots={knots}, lower_bound=0.5, upper_bound=9) - 1", FRAME)
    ours = design(f"ns(x, knots={knots})").matrix(TABLE, COHORT)
    assert ours.shape[1] == len(knots) + 2
    one, other = (np.linalg.qr(matrix)[0] for matrix in (ours, np.asarray(theirs, np.float64)))
    np.testing.assert_allclose(one @ one.T, other @ other.T, atol=1e-10)


def test_a_natural_spline_is_straight_beyond_its_ends() -> None:
    x = np.array([-2.0, -1.0, 0.5, 9.0, 10.0, 11.0])
    values = design("ns(x, knots=[4])").matrix(table(6, x=x), COHORT)
    left, right = (values[1] - values[0]), (values[5] - values[4])
    np.testing.assert_allclose(values[2] - values[1], 1.5 * left, atol=1e-12)
    np.testing.assert_allclose(values[4] - values[3], right, atol=1e-12)
    inside = np.array([0.5, 0.5 + 1e-6, 9.0 - 1e-6, 9.0, 1.0, 1.0])
    near = design("ns(x, knots=[4])").matrix(table(6, x=inside), COHORT)
    np.testing.assert_allclose((near[1] - near[0]) / 1e-6, left, atol=1e-4)
    np.testing.assert_allclose((near[3] - near[2]) / 1e-6, right, atol=1e-4)


FACTORS = ["x", "z", "s", "t", "C(s)", "C(t)", "log(x)", "I(z ** 2)"]
FACTORS += ["bs(x, knots=[3, 5], degree=2, lower_bound=0.5, upper_bound=9)"]
SIGNS = st.sampled_from([" + ", ":", " * "])
SUMS = st.recursive(
    st.sampled_from(FACTORS),
    lambda part: st.tuples(part, SIGNS, part).map("({0[0]}{0[1]}{0[2]})".format),
    max_leaves=5,
)


@given(SUMS, st.sampled_from(["", " - 1", " + 0"]))
def test_random_formulas_are_formulaics(right: str, end: str) -> None:
    check(right + end)


def test_what_is_missing_makes_its_own_columns_missing() -> None:
    holes = table(4, x=np.array([1.0, np.nan, 2.0, -3.0]), s=np.array([0, 1, -1, 2]))
    found = np.isnan(design("x + s + log(x) + bs(x, knots=[4]):s").matrix(holes, COHORT))
    assert found[0].sum() == 0
    assert found[1].tolist() == [False, True, False, False, True] + [True] * (found.shape[1] - 5)
    assert found[2].tolist() == [False, False, True, True, False] + [True] * (found.shape[1] - 5)
    assert found[3].sum() == 1, "a logarithm of a negative number"


@given(SUMS)
def test_no_value_within_the_declared_bounds_lies_beyond_a_columns_interval(right: str) -> None:
    shape = design(right)
    low, high = shape.intervals
    wild = table(12, x=DRAW.uniform(-30, 30, 12), z=DRAW.choice([-1e9, -4, 0, 3, 1e9], 12))
    matrix = shape.matrix(wild, COHORT, held=True)
    matrix = matrix[~np.isnan(matrix).any(1)]
    slack = 1e-9 * np.maximum(np.abs(low), np.abs(high))
    assert np.all((matrix >= low - slack) & (matrix <= high + slack))
    assert np.all(shape.bound() == np.maximum(np.abs(low), np.abs(high)))


def test_intervals_follow_from_declared_bounds() -> None:
    low, high = design("x + s + I(z ** 2) + z:x + log(x) + free - 1").intervals
    named = dict(
        zip(
            design("x + s + I(z ** 2) + z:x + log(x) + free - 1").names,
            zip(low, high, strict=True),
            strict=True,
        )
    )
    assert named["x"] == (0.5, 9.0)
    assert named["s[f]"] == (0.0, 1.0)
    assert named["I(z ** 2)"] == (0.0, 16.0)
    assert named["z:x"] == (-36.0, 36.0)
    assert named["free"] == (-np.inf, np.inf)
    centre, scale = design("x + free").scaling()
    assert (centre.tolist(), scale.tolist()) == ([0.0, 4.75, 0.0], [1.0, 4.25, 1.0])


def test_a_natural_spline_beyond_its_ends_is_bounded_by_the_declared_bounds() -> None:
    inner = design("ns(x, knots=[4], lower_bound=3, upper_bound=5)")
    x = np.linspace(0.5, 9, 50)
    assert np.all(np.abs(inner.matrix(table(50, x=x), COHORT)) <= inner.bound() + 1e-9)
    assert inner.bound()[1:].max() > 1
