"""FHIRPath of views: what it answers, and what it refuses before it reads anything."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.errors import ConfigError, DataError
from fedcohort.sources.fhir.path.compiled import compile_path
from fedcohort.sources.fhir.path.syntax import MAX_CHARS, MAX_DEPTH
from fedcohort.sources.fhir.path.values import Scope

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "gender": "female",
    "name": [{"family": "Ng", "given": ["Mei", "An"]}, {"family": "Ong"}],
    "multipleBirthInteger": 2,
    "deceasedBoolean": False,
}


def found(path: str, resource: Any = PATIENT, steps: int = 10_000) -> list[Any]:
    return list(
        compile_path(path)([resource], Scope({"resource": resource, "context": resource}, 3, [steps]))
    )


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("name.given", ["Mei", "An"]),
        ("name[1].family", ["Ong"]),
        ("name[2].family", []),
        ("name.where(given.count() = 2).family", ["Ng"]),
        ("name.select(family & '!')", ["Ng!", "Ong!"]),
        ("name.all(family.exists())", [True]),
        ("name.exists(family = 'Ong')", [True]),
        ("multipleBirth is integer", [True]),
        ("multipleBirth as integer", [2]),
        ("multipleBirth.ofType(integer) * 3 - 1", [5]),
        ("1 + 2 * 3", [7]),
        ("-(2) + 5 div 2 + 5 mod 2", [1]),
        ("-5 div 2", [-2]),
        ("1 / 0", []),
        ("deceased.not()", [True]),
        ("photo.exists() or true", [True]),
        ("photo and false", [False]),
        ("photo and true", []),
        ("false implies photo", [True]),
        ("true xor photo", []),
        ("photo = photo", []),
        ("photo ~ photo", [True]),
        ("true = 1", [False]),
        ("'a' in name.family", [False]),
        ("name.family contains 'Ng'", [True]),
        ("(name.family | name.family).count()", [2]),
        ("iif(gender = 'female', 'f', 'm')", ["f"]),
        ("name.first().given.join('-').upper()", ["MEI-AN"]),
        ("%rowIndex", [3]),
        ("%resource.id", ["p1"]),
        ("{}.empty()", [True]),
        ("'it\\'s \\u0041'", ["it's A"]),
        ("`gender`", ["female"]),
        ("@2020-01-01T08:00:00+08:00 = @2020-01-01T00:00:00Z", [True]),
        ("@2020-01 < @2020-02-03", [True]),
        ("@2020 < @2020-02-03", []),
        ("@2020-01-01T10:00:00.5Z > @2020-01-01T10:00:00Z", [True]),
    ],
)
def test_a_path_gives_what_the_specification_says(path: str, answer: list[Any]) -> None:
    assert found(path) == answer


def test_a_choice_element_is_read_by_its_type() -> None:
    both = {"valueQuantity": {"value": 1}, "valueString": "no"}
    assert found("value.ofType(Quantity).value", both) == [1]
    assert found("value.ofType(CodeableConcept)", both) == []
    assert found("value", {"valueSet": "v", "valueBoolean": False}) == [False]


@pytest.mark.parametrize(
    "path",
    ["", " ", "@@", "a b", "a.", "a..b", "a[", "(a", "a)", "f(", "%nobody", "matches('(a+)+$')", "first(1)",
     "is.", "a is", "where()", "getReferenceKey('x')", "1 +", "'open", None, 7, "a" * (MAX_CHARS + 1),
     "(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), "-" * (MAX_DEPTH + 1) + "1"],
)  # fmt: skip
def test_what_is_no_offered_path_is_refused_before_any_data_are_read(path: object) -> None:
    with pytest.raises(ConfigError):
        compile_path(path)


@pytest.mark.parametrize(
    "path", ["name.family < 'a'", "name.family and true", "gender < 1", "gender + 1", "name[gender]", "1 & 2"]
)
def test_a_path_that_does_not_apply_refuses_the_resource(path: str) -> None:
    with pytest.raises(DataError):
        found(path)


def test_steps_are_bounded_whatever_a_path_multiplies() -> None:
    wide = {"a": [{"b": number} for number in range(100)]}
    cubed = "a.where(%resource.a.where(%resource.a.where(b = 0).exists()).exists())"
    with pytest.raises(DataError, match="takes more than"):
        found(cubed, wide, 10_000)
    assert len(found("a.where(b = 0)", wide, 10_000)) == 1


def test_a_text_that_doubles_itself_is_bounded() -> None:
    doubled = "gender" + ".select($this & $this)" * 35
    with pytest.raises(DataError, match="takes more than"):
        found(doubled)


@given(st.text(alphabet="aname.()[]{}'\"\\%$@0123-+*/&|=~<>, `isofType", max_size=60))
def test_any_text_is_a_path_or_a_sentence(path: str) -> None:
    try:
        compiled = compile_path(path)
    except ConfigError:
        return
    try:
        compiled([PATIENT], Scope({"resource": PATIENT, "context": PATIENT}, 0, [1000]))
    except DataError:
        return
