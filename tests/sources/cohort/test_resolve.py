"""A researcher's short cohort is made explicit from what the sites declare."""

from typing import Any

import pytest

from fedcohort.columns import Binary, Categorical, Classes, Holdout, Number, Numeric, Survival
from fedcohort.errors import CohortError, SchemaError
from fedcohort.sources.cohort.resolve import check_units, resolve_cohort
from fedcohort.study import Cohort


def numeric(low: float | None = None, high: float | None = None) -> dict[str, object]:
    return {"kind": "numeric", "low": low, "high": high}


def levels(*values: int | str) -> dict[str, object]:
    return {"kind": "categorical", "levels": list(values)}


def site(**columns: dict[str, object]) -> dict[str, object]:
    return {"tables": {"records": {"columns": columns}}}


SITES = {
    "a": site(
        age=numeric(18, 90),
        sex=levels(0, 1),
        ward=levels("b", "a"),
        ill=levels(0, 1),
        set=levels("test", "train"),
    ),
    "b": site(
        age=numeric(0, 80),
        sex=levels(1, 0),
        ward=levels("c", "a"),
        ill=levels(0, 1),
        set=levels("test", "train"),
    ),
}


def short(**fields: Any) -> Cohort:
    return Cohort.model_validate({"columns": ["age", "sex", "ward"], "label": "ill"} | fields)


def one(column: dict[str, object], **fields: Any) -> Cohort:
    return resolve_cohort(short(columns=["x"], label=None, **fields), {"a": site(x=column)})


def test_bare_columns_take_the_union_of_what_the_sites_declare() -> None:
    cohort = resolve_cohort(short(), SITES)
    assert cohort.is_explicit
    assert cohort.columns == {
        "age": Numeric(0, 90),
        "sex": Categorical((0, 1)),
        "ward": Categorical(("a", "b", "c")),
    }
    assert cohort.label == Binary("ill", negative=0, positive=1)
    assert cohort.split == Holdout(0.2)


def test_the_studys_bounds_are_folded_into_the_columns() -> None:
    cohort = resolve_cohort(short(bounds={"age": (20.0, 70.0), "sex": (0.0, 1.0)}), SITES)
    assert cohort.bounds == {}
    assert cohort.schema_["age"] == Numeric(20, 70)
    assert cohort.schema_["sex"] == Numeric(0, 1)


def test_an_explicit_cohort_comes_back_as_it_was() -> None:
    given = short(
        columns={"age": Numeric(20, 70), "sex": Numeric(), "ward": Categorical(("a", "b"))},
        label=Binary("ill"),
        where="age > 3 AND ward = 'a'",
        split="set",
    )
    assert resolve_cohort(given, SITES) == given
    once = resolve_cohort(short(bounds={"age": (20.0, 70.0)}), SITES)
    assert resolve_cohort(once, SITES) == once


def test_without_bounds_at_one_site_there_are_none() -> None:
    sites = {"a": site(x=numeric(0, 1)), "b": site(x=numeric())}
    assert resolve_cohort(short(columns=["x"], label=None), sites).columns == {"x": Numeric()}


@pytest.mark.parametrize(
    ("declared", "label"),
    [
        (levels(0, 1), Binary("ill")),
        (levels("no", "yes"), Binary("ill", negative="no", positive="yes")),
        (numeric(0, 1), Binary("ill")),
        (numeric(), Binary("ill")),
        (levels(2, 0, 1), Classes("ill", (0, 1, 2))),
        (numeric(0, 30), Number(column="ill", low=0, high=30)),
    ],
)
def test_a_bare_label_takes_its_meaning_from_the_declaration(
    declared: dict[str, object], label: object
) -> None:
    sites = {"a": site(x=numeric(), ill=declared), "b": site(x=numeric(), ill=declared)}
    assert resolve_cohort(short(columns=["x"]), sites).label == label


def test_a_frames_catalogue_stands_for_every_table() -> None:
    sites = {"a": {"tables": {"*": {"columns": {"x": numeric(0, 1)}}}}}
    assert resolve_cohort(short(columns=["x"], label=None, table="ward"), sites).columns == {
        "x": Numeric(0, 1)
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"table": "ward"}, r"^site a: does not offer table ward"),
        ({"columns": ["height"]}, r"^site a: does not offer column height"),
        ({"label": "dead"}, r"^site a: does not offer column dead"),
        ({"split": "fold"}, r"^site a: does not offer column fold"),
        (
            {"bounds": {"age": (0.0, 200.0)}},
            r"^column age: the study's bounds 0 to 200 are wider than the sites",
        ),
        ({"bounds": {"sex": (0.0, 2.0)}}, r"^column sex: .* \(a 0 to 1, b 0 to 1\)"),
        ({"bounds": {"ward": (0.0, 2.0)}}, r"^site a: column ward holds words, not numbers"),
        ({"columns": {"ward": Categorical(("a", "z"))}}, r"^column ward: no site \(a, b\) declares level z"),
        (
            {"label": Binary("ill", positive="yes", negative="no")},
            r"^column ill: no site \(a, b\) declares level no, yes",
        ),
        ({"label": Classes("ill", (0, 1, 2))}, r"^column ill: no site \(a, b\) declares level 2"),
        (
            {"columns": ["sex"], "label": Number(column="age", low=0, high=99)},
            r"^column age: the study's bounds",
        ),
        ({"columns": ["sex"], "label": Survival("ward", "ill")}, r"^site a: column ward holds words"),
    ],
)
def test_what_does_not_fit_is_refused_by_site_and_column(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        resolve_cohort(short(**fields), SITES)


def test_sites_that_disagree_on_a_kind_are_named() -> None:
    sites = {"a": site(x=numeric(0, 1)), "b": site(x=levels("u", "v"))}
    with pytest.raises(SchemaError, match="column x: numeric at site a, categorical at site b"):
        resolve_cohort(short(columns=["x"], label=None), sites)
    with pytest.raises(SchemaError, match="column x: numeric at site a, categorical at site b"):
        resolve_cohort(
            short(columns=["y"], label="x"), {k: site(y=numeric(), x=c) for k, c in _kinds().items()}
        )


def _kinds() -> dict[str, dict[str, object]]:
    return {"a": numeric(0, 1), "b": levels(0, 1)}


def test_a_study_that_says_the_kind_settles_a_disagreement() -> None:
    sites = {name: site(x=column) for name, column in _kinds().items()}
    given = short(columns={"x": Categorical((0, 1))}, label=None)
    assert resolve_cohort(given, sites).columns == {"x": Categorical((0, 1))}


def test_a_site_without_the_column_is_named() -> None:
    with pytest.raises(SchemaError, match="site b: does not offer column x"):
        resolve_cohort(short(columns=["x"], label=None), {"a": site(x=numeric()), "b": site(y=numeric())})


def test_words_without_declared_levels_need_the_studys() -> None:
    with pytest.raises(SchemaError, match=r"column x: text without declared levels; give fc\.Categorical"):
        one(levels())
    with pytest.raises(SchemaError, match="label ill: a text without declared levels"):
        resolve_cohort(short(columns=["x"]), {"a": site(x=numeric(), ill=levels())})


def test_where_may_use_only_what_every_site_offers() -> None:
    assert (
        resolve_cohort(short(where="age > 3 and set = 'train'"), SITES).where == "age > 3 and set = 'train'"
    )
    with pytest.raises(CohortError, match="'height' is not a column that every site offers"):
        resolve_cohort(short(where="height > 3"), SITES)


@pytest.mark.parametrize(
    "facts",
    [
        {"kind": "picture"},
        {},
        [],
        "numeric",
        {"kind": "numeric", "low": 1, "high": 0},
        {"kind": "numeric", "low": float("nan"), "high": 1},
        {"kind": "numeric", "low": "0", "high": 1},
        {"kind": "numeric", "low": 0, "high": 1, "unit": 7},
        {"kind": "numeric", "low": 0, "high": 1, "unit": ""},
        {"kind": "numeric", "low": 0, "high": 1, "unit": "mg\n/dL"},
        {"kind": "numeric", "low": 0, "high": 1, "unit": "m" * 33},
        {"kind": "categorical", "levels": 3},
        {"kind": "categorical", "levels": [1, 1]},
        {"kind": "categorical", "levels": [[1], [2]]},
        {"kind": "categorical", "levels": ["x" * 1000, "y"]},
    ],
)
def test_a_catalogue_that_cannot_be_read_is_the_sites_fault(facts: Any) -> None:
    with pytest.raises(SchemaError, match="site a: what its catalogue says of column x cannot be read"):
        one(facts)


@pytest.mark.parametrize(
    "catalogue", [{}, {"tables": []}, {"tables": {"records": []}}, {"tables": {"records": {}}}]
)
def test_a_catalogue_without_tables_offers_nothing(catalogue: dict[str, object]) -> None:
    with pytest.raises(SchemaError, match="site a: does not offer table records"):
        resolve_cohort(short(), {"a": catalogue})


def test_no_site_is_no_cohort() -> None:
    with pytest.raises(SchemaError, match="no site told its catalogue"):
        resolve_cohort(short(), {})


def in_units(*units: str | None) -> dict[str, dict[str, object]]:
    told = [{} if unit is None else {"unit": unit} for unit in units]
    return {
        name: site(x=numeric(1, 700) | more, y=levels(0, 1)) for name, more in zip("abc", told, strict=False)
    }


def test_sites_that_declare_different_units_are_refused() -> None:
    words = "column x: in mmol/L at site a, in mg/dL at site c; .* unit and local_unit in its mapping file"
    for columns in (["x"], {"x": Numeric(1, 16)}):
        with pytest.raises(SchemaError, match=words):
            resolve_cohort(short(columns=columns, label=None), in_units("mmol/L", None, "mg/dL"))
    with pytest.raises(SchemaError, match="column x: in mmol/L at site a, in mg/dL at site b"):
        resolve_cohort(short(columns=["y"], label="x"), in_units("mmol/L", "mg/dL"))


def test_a_site_without_a_unit_and_another_spelling_of_one_are_allowed() -> None:
    for units in (("mg/dL", None), ("mg/dL", "mg/dl"), ("umol/L", "µmol / l", "μmol/L")):
        cohort = resolve_cohort(short(columns=["x"], label=None), in_units(*units))
        assert cohort.columns == {"x": Numeric(1, 700, unit=units[0])}


def test_a_study_takes_the_unit_that_sites_declare_and_no_other() -> None:
    told = in_units("mg/dL", "mg/dL")
    cohort = resolve_cohort(short(columns=["y"], label={"column": "x", "low": 1, "high": 9}), told)
    assert cohort.label == Number(column="x", low=1, high=9, unit="mg/dL")
    narrowed = resolve_cohort(short(columns=["x"], label=None, bounds={"x": (5, 9)}), told)
    assert narrowed.columns == {"x": Numeric(5, 9, unit="mg/dL")}
    assert resolve_cohort(narrowed, told) == narrowed
    wrong = short(columns={"x": Numeric(1, 9, unit="mmol/L")}, label=None)
    for check in (resolve_cohort, check_units):
        with pytest.raises(
            SchemaError, match=r"column x: in mmol/L in the study, in mg/dL at site a; leave unit"
        ):
            check(wrong, told)
    left_out = short(columns={"x": Numeric(1, 9)}, label=None)
    assert resolve_cohort(left_out, told).columns == {"x": Numeric(1, 9, unit="mg/dL")}
    earlier = resolve_cohort(left_out, told, take_units=False)
    assert earlier.columns == {"x": Numeric(1, 9)}, "a coordinator of an earlier version knows no units"


def test_an_explicit_cohort_is_held_against_the_units_that_sites_tell() -> None:
    asked = resolve_cohort(short(columns=["x"], label=None), in_units("mg/dL", "mg/dL"))
    check_units(asked, in_units("mg/dL", None, "mg/dl"))
    check_units(asked, {**in_units("mg/dL"), "b": {"tables": {"another": {"columns": {}}}}, "c": {}})
    with pytest.raises(SchemaError, match="column x: in mg/dL at site a, in mmol/L at site b"):
        check_units(asked, in_units("mg/dL", "mmol/L"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (levels("control", "case"), levels("control", "case")),
        (levels("control", "case"), levels("case")),
    ],
)
def test_of_two_levels_the_second_that_is_declared_counts_as_yes(
    one: dict[str, object], other: dict[str, object]
) -> None:
    """By alphabet "control" was the positive class of a study of cases."""
    sites = {"a": site(x=numeric(), ill=one), "b": site(x=numeric(), ill=other)}
    assert resolve_cohort(short(columns=["x"]), sites).label == Binary(
        "ill", negative="control", positive="case"
    )


def test_of_0_and_1_one_counts_as_yes_whatever_their_order() -> None:
    sites = {"a": site(x=numeric(), ill=levels(1, 0)), "b": site(x=numeric(), ill=levels("0", "1"))}
    label = resolve_cohort(short(columns=["x"]), sites).label
    assert isinstance(label, Binary)
    assert (str(label.negative), str(label.positive)) == ("0", "1")


UNORDERED = {"kind": "categorical", "levels": ["case", "control"], "ordered": False}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (levels("control", "case"), levels("case", "control")),
        (levels("case"), levels("control")),
        (UNORDERED, UNORDERED),
        (levels(1, 2), levels(2, 1)),
    ],
)
def test_where_no_order_is_declared_the_positive_level_is_asked_for_and_enough(
    one: dict[str, object], other: dict[str, object]
) -> None:
    sites = {"a": site(x=numeric(), ill=one), "b": site(x=numeric(), ill=other)}
    with pytest.raises(SchemaError, match=r'give fc\.Binary\("ill", positive=.*\) or positive='):
        resolve_cohort(short(columns=["x"]), sites)
    first, second = (1, 2) if one == levels(1, 2) else ("case", "control")
    for positive, negative in ((first, second), (second, first)):
        asked = short(columns=["x"], label=Binary("ill", positive=positive))
        assert resolve_cohort(asked, sites).label == Binary("ill", positive=positive, negative=negative)


def test_a_positive_level_whose_other_nobody_declares_is_not_taken_against_0() -> None:
    sites = {"a": site(x=numeric(), ill={"kind": "categorical", "levels": []})}
    with pytest.raises(SchemaError, match=r"give fc\.Binary its negative level, too"):
        resolve_cohort(short(columns=["x"], label=Binary("ill", positive="case")), sites)
    whole = Binary("ill", positive="case", negative="control")
    assert resolve_cohort(short(columns=["x"], label=whole), sites).label == whole
