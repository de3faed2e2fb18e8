"""What a reader may say of a patient: bounded, and never a free text."""

import math

import pytest

from fedcohort.errors import ValueRangeError
from fedcohort.sources.events.change import KEEP, MOST_ROWS, Group, Merge, Record, Refusal, Value, refused
from fedcohort.sources.events.tables import KINDS


def observation(**columns: Value) -> Group:
    row: dict[str, Value] = {"system": "http://loinc.org", "code": "2345-7", "time": 18000.5, **columns}
    return Group("observations", "ORD-7", 18000.75, "P1", (row,))


def test_an_observation_is_a_group_of_its_order() -> None:
    group = observation(value=5.5, unit="mmol/L", comparator="<", status="final", observation_id="R1")
    assert group.rows[0]["value"] == 5.5
    assert Record("message 3", (group,)).changes == (group,)


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"note": "x"}, "observations"),
        ({"value": "5.5"}, "observations.value"),
        ({"value": math.inf}, "observations.value"),
        ({"value": True}, "observations.value"),
        ({"time": 1e9}, "observations.time"),
        ({"time": math.nan}, "observations.time"),
        ({"code": "the patient said that it hurts"}, "observations.code"),
        ({"code": "x" * 129}, "observations.code"),
        ({"code": "a\nb"}, "observations.code"),
        ({"code": " a"}, "observations.code"),
        ({"system": "two words"}, "observations.system"),
        ({"status": "two words"}, "observations.status"),
        ({"unit": "u" * 65}, "observations.unit"),
        ({"observation_id": ""}, "observations.observation_id"),
    ],
)
def test_what_no_column_holds_is_refused_by_its_name_alone(columns: dict[str, Value], names: str) -> None:
    with pytest.raises(ValueRangeError, match=f"^{names}") as raised:
        observation(**columns)
    said = str(refused("OBX-5", raised.value))
    assert not any(isinstance(value, str) and len(value) > 4 and value in said for value in columns.values())


def test_codes_in_any_script_and_units_with_a_blank_are_codes() -> None:
    observation(
        code="血糖", unit="mm Hg", value_system="urn:oid:2.16.840.1.113883.6.96", value_code="260373001"
    )


@pytest.mark.parametrize(
    ("kind", "key", "as_of", "patient", "rows"),
    [
        ("notes", "K", 1.0, "P1", ()),
        ("orders", "", 1.0, "P1", ()),
        ("orders", "k" * 513, 1.0, "P1", ()),
        ("orders", "K\ud800", 1.0, "P1", ()),  # half a character, which no database can hold
        ("orders", "K", math.inf, "P1", ()),
        ("orders", "K", 1.0, None, ({"code": "a"},)),
        ("orders", "K", 1.0, " ", ({"code": "a"},)),
        ("orders", "K", 1.0, "p" * 129, ()),
        ("orders", "K", 1.0, "P1", ({"code": "a"},) * (MOST_ROWS + 1)),
        ("orders", "K", 1.0, "P1", ({"code": KEEP}, {"code": "a"})),
    ],
)
def test_a_group_is_bounded(
    kind: str, key: str, as_of: float, patient: str | None, rows: tuple[dict[str, Value], ...]
) -> None:
    with pytest.raises(ValueRangeError):
        Group(kind, key, as_of, patient, rows)


def test_a_deletion_need_not_know_whose_rows_they_are() -> None:
    assert Group("observations", "R1", None, None).rows == ()


def test_a_merge_names_two_patients() -> None:
    assert Merge("A", "B", 18000.0).into == "B"
    for pair in (("", "B"), ("A", ""), ("A", "B" * 129)):
        with pytest.raises(ValueRangeError):
            Merge(*pair, 18000.0)


def test_a_refusal_is_a_place_a_word_and_a_sentence() -> None:
    assert Refusal("PID-3", "no-patient", "has no identifier; send one").code == "no-patient"
    for code, sentence in (("no patient", "x"), ("", "x"), ("value", "x" * 1001)):
        with pytest.raises(ValueRangeError):
            Refusal("PID-3", code, sentence)


def test_every_kind_has_its_time_and_value_among_its_columns() -> None:
    for kind in KINDS.values():
        for name in (kind.time, kind.end, kind.value):
            assert name is None or name in kind.columns, kind.name
        assert {"patient_id", "source", "as_of", "group_id"} <= set(kind.table.c.keys())
        assert not any("text" in name or "name" in name for name in kind.columns)
