"""The sum of a site's rows: what one row, and one patient, may add to it, and who is refused."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedcohort.analyses.contract import Contribution, Gram, Proved, Tally
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.site_sum import site_sum
from fedcohort.errors import ValueRangeError
from fedcohort.table import TEST, TRAIN, Table
from fedcohort.vector import MAX_ROWS, Block, counts

IDS = ("a", "a", "a", "b", "b", "c")
SPLIT = (TRAIN, TRAIN, TEST, TEST, TRAIN, TRAIN)
"""Patient a is first seen in training, b among the held-out."""
PLAIN = Block("sum", (2,), row=1.0, bound=MAX_ROWS)


def rows(most: int | None = 2) -> Rows:
    return Rows(Table(np.array(IDS), {"x": np.arange(6.0)}, np.array(SPLIT, np.int8)), most)


def added(block: Block, part: Contribution, private: bool = True, most: int | None = 2) -> NDArray[Any]:
    return site_sum((block,), {block.name: part}, rows(most), private)[block.name]


def ints(*places: int) -> NDArray[np.int64]:
    return np.array(places, np.int64)


def test_a_row_falls_into_a_cell_and_adds_its_vector_there() -> None:
    cells, values = ints(0, 2, 2, -1), np.array([[0.5, 0.0], [0.25, 0.5], [0.25, -0.5], [1.0, 0.0]])
    block = Block("cells", (3, 2), row=1.0, bound=MAX_ROWS)
    for private in (False, True):
        found = added(block, Tally(values, cells, ints(0, 3, 5, 1)), private)
        assert found.tolist() == [[0.5, 0.0], [0.0, 0.0], [0.5, 0.0]]


def test_a_row_may_fall_into_a_cell_of_each_of_several_columns() -> None:
    block = counts("cells", 2, 3)
    cells = np.array([[0, 2], [0, -1], [1, 2]])
    for private in (False, True):
        found = added(replace(block, row=math.sqrt(2)), Tally(cell=cells, rows=ints(0, 3, 5)), private)
        assert found.tolist() == [[2, 1, 0], [0, 0, 2]]


def test_rows_without_values_are_counted() -> None:
    for private in (False, True):
        assert added(counts("rows", 1), Tally(rows=ints(0, 1, 3)), private).tolist() == [3]


def test_what_is_true_of_a_row_is_counted() -> None:
    hits = replace(counts("hits", 2), row=math.sqrt(2))
    for private in (False, True):
        part = Tally(np.array([[True, False], [True, True]]), rows=ints(0, 3))
        assert added(hits, part, private).tolist() == [2, 1]


@pytest.mark.parametrize("n", range(1, 65))
def test_ones_in_many_columns_stay_ones_whatever_the_root_of_their_number_rounds_to(n: int) -> None:
    """sqrt(3)^2 is less than 3: three ones were taken to be longer than they may be, and came out as less."""
    block = Block("ones", (n,), row=math.sqrt(n), bound=MAX_ROWS)
    assert added(block, Tally(np.ones((1, n)), rows=ints(0))).tolist() == [1.0] * n


def test_under_privacy_a_longer_row_is_shortened_and_keeps_its_direction() -> None:
    found = added(PLAIN, Tally(np.array([[30.0, 40.0]]), rows=ints(0)))
    np.testing.assert_allclose(found, [0.6, 0.8], atol=2.0**-16)
    assert np.linalg.norm(found) <= 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_adds_nothing_under_privacy_and_is_an_error_without(value: float) -> None:
    part = Tally(np.array([[value, 0.5]]), rows=ints(0))
    assert added(PLAIN, part).tolist() == [0.0, 0.5]
    with pytest.raises(ValueRangeError, match="block sum: a row adds more than 1"):
        added(PLAIN, part, private=False)


@pytest.mark.parametrize("value", [1e154, 1e200, 1e308])
def test_a_number_whose_square_no_double_holds_is_shortened_too(value: float) -> None:
    found = added(PLAIN, Tally(np.array([[value, 0.0]]), rows=ints(0)))
    assert np.linalg.norm(found) <= 1.0


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    size=st.integers(1, 40),
    row=st.sampled_from([1e-3, 0.1, 0.5, 1.0, math.sqrt(3), math.sqrt(7), 5.0, 17.0]),
    scale=st.sampled_from([0.5, 1 - 1e-12, 1.0, 1 + 1e-12, 3.0]),
)
def test_rounding_cannot_lengthen_a_row(seed: int, size: int, row: float, scale: float) -> None:
    block = Block("sum", (size,), row=row, bound=MAX_ROWS)
    values = np.random.default_rng(seed).standard_normal((1, size))
    values *= row * scale / np.linalg.norm(values)
    steps = added(block, Tally(values, rows=ints(0))) / block.derived_resolution
    assert np.array_equal(steps, np.rint(steps))
    assert np.linalg.norm(steps) <= row / block.derived_resolution
    np.testing.assert_allclose(
        steps * block.derived_resolution, values[0] * min(1.0, 1 / scale), atol=block.derived_resolution
    )


def test_each_row_is_rounded_before_it_is_added_so_that_none_depends_on_another() -> None:
    """Were floating-point numbers added, the last bits of a sum would be those of all patients together."""
    third = np.full((3000, 2), 1 / 3)
    table = Table(np.array([f"p{i:04}" for i in range(3000)]), {}, np.zeros(3000, np.int8))
    found = site_sum((PLAIN,), {"sum": Tally(third)}, Rows(table, 1), True)["sum"]
    assert found.tolist() == [3000 * round(2**16 / 3) / 2**16] * 2


def test_more_rows_of_a_patient_than_may_count_are_refused() -> None:
    values = np.full((3, 2), 0.5)
    assert added(PLAIN, Tally(values[:2], rows=ints(0, 1))).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="block sum: a patient has more than 2 rows in it"):
        added(PLAIN, Tally(values, rows=ints(0, 1, 2)))
    with pytest.raises(ValueError, match="block sum: a patient has more than 2 rows in it"):
        added(PLAIN, Tally(values, rows=ints(0, 0, 0)))
    with pytest.raises(ValueError, match="block sum: a patient has more than 1 rows in it"):
        added(PLAIN, Tally(values[:2], rows=ints(0, 1)), most=1)
    with pytest.raises(ValueError, match="block sum: a patient has more than 1 rows in it"):
        added(replace(PLAIN, once=True), Tally(values[:2], rows=ints(0, 1)))


def test_a_patient_of_another_part_is_refused() -> None:
    values = np.full((1, 2), 0.5)
    train, test = replace(PLAIN, part="train"), replace(PLAIN, part="test")
    assert added(train, Tally(values, rows=ints(0))).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="block sum: a patient of another part than test"):
        added(test, Tally(values, rows=ints(0)))
    # The third row is a held-out one, of a patient who is not; the fifth the other way round.
    with pytest.raises(ValueError, match="block sum: a patient of another part than test"):
        added(test, Tally(values, rows=ints(2)))
    with pytest.raises(ValueError, match="block sum: a patient of another part than train"):
        added(train, Tally(values, rows=ints(4)))


def test_a_sum_over_sites_is_refused_under_privacy_and_taken_without() -> None:
    of_sites = Block("sum", (2,), resolution=1.0, bound=MAX_ROWS)
    part = Tally(np.full((1, 2), 5.0), rows=ints(0))
    assert added(of_sites, part, private=False).tolist() == [5.0, 5.0]
    with pytest.raises(ValueError, match="block sum: a sum over sites, under privacy"):
        added(of_sites, part)


def test_a_sum_that_a_stage_has_made_of_rows_is_refused_under_privacy_unless_it_proves_its_norm() -> None:
    part = Proved(np.array([0.5, 7.0]))
    assert added(PLAIN, part, private=False).tolist() == [0.5, 7.0]
    assert added(replace(PLAIN, proved=True), part).tolist() == [0.5, 7.0]
    with pytest.raises(ValueError, match="block sum: a sum of rows, of which the stage has made the sum"):
        added(PLAIN, part)


def test_without_privacy_a_row_beyond_its_norm_is_an_error_and_one_within_rounding_is_not() -> None:
    for scale in (1.0, 1 + 1e-12):
        added(PLAIN, Tally(np.array([[0.6, 0.8]]) * scale, rows=ints(0)), private=False)
    with pytest.raises(ValueRangeError, match="block sum: a row adds more than 1, which it declares"):
        added(PLAIN, Tally(np.array([[0.0, 0.1], [0.6, 0.81]]), rows=ints(0, 3)), private=False)


def test_values_of_other_rows_than_are_named_are_refused() -> None:
    with pytest.raises(ValueError, match="block sum: not as many values as the 2 rows"):
        added(PLAIN, Tally(np.full((1, 2), 0.5), rows=ints(0, 3)))


def test_nobody_adds_nothing() -> None:
    for private in (False, True):
        assert added(PLAIN, Tally(np.zeros((0, 2)), rows=ints()), private).tolist() == [0, 0]
        assert added(counts("rows", 1), Tally(rows=ints()), private).tolist() == [0]
        cells = Tally(cell=np.zeros((0, 2), np.int64), rows=ints())
        assert added(replace(counts("c", 2, 3), row=math.sqrt(2)), cells, private).tolist() == [[0] * 3] * 2


PRODUCT = Block("product", (2, 2), row=1.0, outer=True, bound=MAX_ROWS)


def test_weighted_outer_products_are_added() -> None:
    part = Gram(np.array([[0.5, 0.25], [0.0, 1.0]]), np.array([0.25, 0.25]), ints(0, 3))
    for private in (False, True):
        assert added(PRODUCT, part, private).tolist() == [[0.0625, 0.03125], [0.03125, 0.265625]]
    with pytest.raises(ValueRangeError, match="block product: a row adds more than 1, which it declares"):
        added(PRODUCT, replace(part, weights=np.array([0.5, 1.01])), private=False)
    with pytest.raises(ValueError, match="block product: not as many values as the 2 rows"):
        added(PRODUCT, replace(part, weights=np.ones(1)))
    with pytest.raises(ValueError, match="block product: a patient has more than 1 rows in it"):
        added(PRODUCT, replace(part, rows=ints(0, 1)), most=1)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    size=st.integers(1, 12),
    row=st.sampled_from([1e-3, 0.5, 1.0, 2.0, 3.0, 17.0]),
    scale=st.sampled_from([0.5, 1 - 1e-12, 1.0, 3.0]),
)
def test_rounding_cannot_lengthen_an_outer_product(seed: int, size: int, row: float, scale: float) -> None:
    block = Block("product", (size, size), row=row, outer=True, bound=MAX_ROWS)
    draw = np.random.default_rng(seed)
    values, weights = draw.standard_normal((1, size)), draw.uniform(0.1, 2, 1)
    values *= math.sqrt(row * scale / weights[0]) / np.linalg.norm(values)
    steps = added(block, Gram(values, weights, ints(0))) / block.derived_resolution
    assert np.array_equal(steps, np.rint(steps))
    assert np.linalg.norm(steps) <= row / block.derived_resolution * (1 + 2.0**-50)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e154, 1e308])
def test_an_outer_product_of_no_number_or_with_no_weight_stays_within_its_norm(value: float) -> None:
    for part in (
        Gram(np.array([[value, 0.5]]), None, ints(0)),
        Gram(np.array([[value, 0.5]]), np.array([1e308]), ints(0)),
        Gram(np.array([[value, 0.5]]), np.array([0.0]), ints(0)),
        Gram(np.array([[0.5, 0.5]]), np.array([value]), ints(0)),
    ):
        found = added(PRODUCT, part)
        assert np.isfinite(found).all()
        assert np.linalg.norm(found) <= 1.0 + 2.0**-50
    assert added(PRODUCT, Gram(np.array([[0.5, 0.5]]), np.array([-1.0]), ints(0))).tolist() == [[0, 0]] * 2


def test_an_outer_product_s_rows_are_rounded_to_a_four_thousandth_of_their_length() -> None:
    draw = np.random.default_rng(1)
    values = draw.standard_normal((500, 2))
    values /= np.linalg.norm(values, axis=1, keepdims=True) * 1.01
    block = replace(PRODUCT, once=True)
    found = np.asarray([added(block, Gram(one[None], None, ints(0))) for one in values])
    exact = np.einsum("ni,nj->nij", values, values)
    assert np.abs(found - exact).max() < 2.0**-11
    with pytest.raises(ValueError, match="none are declared"):
        added(replace(PRODUCT, outer=False), Gram(values[:1], None, ints(0)))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_a_row_that_has_no_norm_changes_nothing_of_what_another_adds(value: float) -> None:
    far = [1e120, 1e110]
    alone = added(PLAIN, Tally(np.array([far]), rows=ints(0)))
    beside = added(PLAIN, Tally(np.array([far, [0.0, value]]), rows=ints(0, 3)))
    assert alone.tolist() == [1.0, 0.0]
    assert np.linalg.norm(beside - alone) <= 1.0


def test_nobody_s_outer_products_are_nothing() -> None:
    for private in (False, True):
        part = Gram(np.zeros((0, 2)), np.zeros(0), ints())
        assert added(PRODUCT, part, private).tolist() == [[0, 0], [0, 0]]


def test_a_patient_is_in_one_part_and_counts_with_some_rows() -> None:
    ids = np.array(["b", "a", "b", "c", "b", "a"])
    split = np.array([TRAIN, TEST, TRAIN, TRAIN, TEST, TRAIN], np.int8)
    order = np.argsort(ids, kind="stable")
    found = Rows(Table(ids[order], {"x": np.arange(6.0)}, split[order], np.zeros(6)), 2)
    # a is first seen in the test split, so the row of a in the training split is left out.
    assert found.patients("test").tolist() == [0]
    assert found.of("test").tolist() == [0]
    assert found.by_patient("train").tolist() == [[2, 3], [5, -1]]
    assert found.of("train").tolist() == [2, 3, 5]
    assert found.patients("train").tolist() == [2, 5]
    assert found.by_patient("all").tolist() == [[0, 1], [2, 3], [5, -1]]
