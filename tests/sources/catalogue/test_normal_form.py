"""One normal form of identifiers and levels, whatever type and source they come through."""

import datetime
import uuid
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.sources.catalogue.normal_form import UnreadableError, as_they_are, identifier, level_key
from fedcohort.sources.cohort.convert import levels

SPELLINGS: dict[str, list[object]] = {
    "23": [
        23, 23.0, "23", "23.0", "23.", "+23", " 23\n", b"23", bytearray(b"23.0"), memoryview(b"23"),
        Decimal("23.0000000000"), Decimal("2.3E+1"), np.int8(23), np.float32(23), np.str_("23"),
        "\ufeff23", "2\u200b3", "\u200e23\u200f", "\uff12\uff13", "\u0662\u0663",
    ],
    "9007199254740993": [2**53 + 1, "9007199254740993", "9007199254740993.0", Decimal("9007199254740993.00")],
    "1.5": [1.5, Decimal("1.50"), Decimal("1.5"), np.float64(1.5), "1.5"],
    "0.0000001": [1e-7, Decimal("1E-7"), "0.0000001"],
    "0": [0, 0.0, -0.0, "-0", "0.00", Decimal("-0.0"), False],
    "-7": [-7, "-7.0", Decimal("-7")],
    "M\u00fcller": ["M\u00fcller", "Mu\u0308ller", "M\u00fcller\u00ad", "M\u00fcller".encode()],
    "2026-01-02": [datetime.date(2026, 1, 2), "2026-01-02", np.datetime64("2026-01-02")],
    "6f9619ff-8b86-d011-b42d-00c04fc964ff": [uuid.UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF")],
}  # fmt: skip
NAN: list[object] = [float("nan"), Decimal("NaN"), Decimal("sNaN"), np.float32("nan")]
MISSING: list[object] = [None, "", " ", "\ufeff", b"", *NAN]
TEXTLESS: list[object] = [[1], {"a": 1}, b"\xff", b"a\0", "\ud800", object(), 1j, 10**2000]
MIXED: list[object] = [
    1.5,
    Decimal("1.50"),
    Decimal("1.5"),
    "1.50",
    "1.5",
    True,
    1,
    datetime.date(2026, 1, 1),
]


@pytest.mark.parametrize(("key", "values"), SPELLINGS.items(), ids=SPELLINGS)
def test_all_spellings_of_an_identifier_are_one(key: str, values: list[object]) -> None:
    assert {identifier(value) for value in values} == {key}


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_nothing_is_missing(value: object) -> None:
    assert identifier(value) is None


def test_codes_keep_their_zeros_and_their_case() -> None:
    values = ("7", "07", "007", "7a", "7A", "07.0", "1e1", "250.50", "250.5", "12_3", "1 2")
    assert [identifier(value) for value in values] == list(values)


@pytest.mark.parametrize("value", TEXTLESS, ids=range(len(TEXTLESS)))
def test_what_has_no_text_is_said_to_be_none(value: object) -> None:
    with pytest.raises(UnreadableError):
        identifier(value)


numbers = st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans())


@given(numbers, numbers)
def test_numbers_that_are_equal_to_python_are_one_level(one: float, other: float) -> None:
    """So that what is looked up once may be remembered by equality."""
    if one == other:
        assert level_key(one) == level_key(other)
    assert level_key(float(Decimal(repr(float(one))))) == level_key(float(one))


@given(st.permutations(MIXED))
def test_the_order_of_values_decides_no_level(values: list[object]) -> None:
    allowed = ("1.5", "1.50", 1, "2026-01-01")
    alone = [int(levels([value], allowed, "t.v")[0][0]) for value in values]
    assert levels(values, allowed, "t.v")[0].tolist() == alone


def test_form_1_is_what_earlier_versions_compared() -> None:
    assert [identifier(value, 1) for value in ("\ufeff23", b"23", "23.0", 1e16, Decimal("1.50"))] == [
        "\ufeff23", "23", "23", "1e+16", "1.50",
    ]  # fmt: skip


@given(st.lists(st.text(st.sampled_from("p7059-+._ \n\x00é٣７"), max_size=4), max_size=4))
def test_texts_that_are_taken_as_they_are_are_their_own_identifiers(values: list[str]) -> None:
    taken = as_they_are(values)
    assert taken is None or taken == [identifier(value) for value in values] == values


def test_most_identifiers_are_taken_as_they_are_and_others_one_by_one() -> None:
    assert as_they_are(["p7", "A-12_c", "0070", "70"]) == ["p7", "A-12_c", "0070", "70"]
    others = (
        "",
        " ",
        "p 7",
        " p7",
        "p7 ",
        "-7",
        "+7",
        "7.0",
        "p\n7",
        "p\x007",
        "é",
        "\uff17",
        None,
        7,
        b"p7",
    )
    for other in others:
        for values in ([other], ["p7", other], [other, "p7"], ["p7", other, "p8"]):
            assert as_they_are(values) is None
