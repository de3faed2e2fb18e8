"""From a cohort to a Table: values, labels, splits, order, and what is refused."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedcohort.columns import Binary, Categorical, Classes, Holdout, Number, Numeric, Survival
from fedcohort.errors import (
    CohortError,
    PolicyError,
    SchemaError,
    StudyError,
)
from fedcohort.sources.catalogue.schema import Declared
from fedcohort.sources.cohort.patients import held_out
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort
from fedcohort.table import TEST, TRAIN, VALID
from tests.build import changed

WriteWard = Callable[..., Path]
OFFERED = {"ward": ["age", "sex", "ill", "set"]}
WARD = Cohort(
    table="ward",
    columns={"age": Numeric(0, 120), "sex": Categorical(("f", "m"))},
    label=Binary("ill"),
    split="set",
)
RECORDS = Cohort(columns={"age": Numeric(0, 120), "bp": Numeric(0, 300)}, label=Binary("label"), split=None)
RECORDS_OFFERED = {"records": ["age", "bp", "diagnosis", "label"]}


def ids(path: Path, cohort: Cohort, offered: dict[str, list[str]] | None = None) -> list[str]:
    return [str(patient) for patient in load_cohort(path, cohort, 0, offered or OFFERED).patient_ids]


def test_rows_come_sorted_by_patient_with_their_values(write_ward: WriteWard) -> None:
    table = load_cohort(write_ward(), WARD, 0, OFFERED)
    assert table.patient_ids.tolist() == ["p1", "p2", "p3"]
    np.testing.assert_array_equal(table.columns["age"], [20.0, np.nan, 50.0])
    assert table.columns["sex"].tolist() == [0, -1, 1]
    assert table.label is not None
    assert table.label.tolist() == [0.0, 1.0, 1.0]
    assert table.split.tolist() == [TRAIN, TRAIN, TEST]
    assert [values.dtype.name for values in table.columns.values()] == ["float64", "int64"]


def test_a_row_without_a_label_is_left_out_and_stays_without_a_label_asked_for(write_ward: WriteWard) -> None:
    path = write_ward()
    assert ids(path, WARD) == ["p1", "p2", "p3"]
    assert ids(path, changed(WARD, label=None)) == ["p1", "p2", "p3", "p4"]


def test_where_selects(write_ward: WriteWard) -> None:
    path = write_ward()
    assert ids(path, changed(WARD, where="age >= 18 AND sex = 'm'")) == ["p3"]
    assert ids(path, changed(WARD, where="age is null or ward.Age / 3 < 7")) == ["p1", "p2"]


def test_like_tells_cases_apart_as_on_postgresql_and_ilike_does_not(write_ward: WriteWard) -> None:
    path = write_ward()
    assert ids(path, changed(WARD, where="sex ILIKE 'M'")) == ["p3"]
    with pytest.raises(CohortError, match="selects nothing"):
        load_cohort(path, changed(WARD, where="sex LIKE 'M'"), 0, OFFERED)


def test_elements_of_the_json_vector_are_columns_and_can_be_asked_about(records: Path) -> None:
    table = load_cohort(
        records, changed(RECORDS, where="age > 50 AND (bp IS NULL OR bp >= 150)"), 0, RECORDS_OFFERED
    )
    assert table.patient_ids.tolist() == ["b", "c"]
    np.testing.assert_array_equal(table.columns["bp"], [np.nan, 150.0])
    with pytest.raises(CohortError, match="puts a number beside a text"):
        ids(records, changed(RECORDS, where="age >= '60'"), RECORDS_OFFERED)
    assert ids(records, changed(RECORDS, where="diagnosis = 'I20'"), RECORDS_OFFERED) == ["b"]


def test_ordinary_and_vector_columns_mix(records: Path) -> None:
    columns = {"diagnosis": Categorical(("I10", "I20")), "age": Numeric()}
    table = load_cohort(records, changed(RECORDS, columns=columns), 0, RECORDS_OFFERED)
    assert list(table.columns) == ["diagnosis", "age"]
    assert table.columns["diagnosis"].tolist() == [0, 1, -1]
    assert table.columns["age"].tolist() == [40.0, 60.0, 80.0]


def test_the_same_patients_give_the_same_table_whatever_their_order(write_ward: WriteWard) -> None:
    rows = [
        {"patient_id": f"p{i // 2}", "age": float(i % 7), "sex": "fm"[i % 2], "ill": i % 2, "set": "train"}
        for i in range(60)
    ]
    first = load_cohort(write_ward(rows, name="a.db"), WARD, 0, OFFERED)
    random.Random(1).shuffle(rows)
    second = load_cohort(write_ward(rows, name="b.db"), WARD, 0, OFFERED)
    assert (first.n_rows, first.n_patients) == (60, 30)
    assert first.patient_ids.tolist() == second.patient_ids.tolist()
    for name in first.columns:
        assert first.columns[name].tobytes() == second.columns[name].tobytes()
    assert first.label is not None
    assert second.label is not None
    assert first.label.tobytes() == second.label.tobytes()


def test_a_patients_rows_are_always_on_one_side_of_the_holdout(write_ward: WriteWard) -> None:
    rows = [
        {"patient_id": f"p{i % 200}", "age": float(i), "sex": "f", "ill": 1, "set": "train"}
        for i in range(600)
    ]
    path = write_ward(rows, {**_ward(), "age": Declared(Numeric(0, 600))})
    cohort = changed(WARD, split=Holdout(0.25))
    table = load_cohort(path, cohort, 7, OFFERED)
    sides = {(str(patient), int(side)) for patient, side in zip(table.patient_ids, table.split, strict=True)}
    assert len(sides) == 200
    assert 30 <= sum(side == TEST for _, side in sides) <= 70
    assert table.split.tolist() == load_cohort(path, cohort, 7, OFFERED).split.tolist()
    assert table.split.tolist() != load_cohort(path, cohort, 8, OFFERED).split.tolist()


def _ward() -> dict[str, Declared]:
    return {
        "age": Declared(Numeric(0, 120)),
        "sex": Declared(Categorical(("f", "m"))),
        "ill": Declared(Categorical((0, 1))),
        "set": Declared(Categorical(("train", "test", "valid"))),
    }


def test_the_holdout_is_a_fixed_function_of_seed_and_patient() -> None:
    patients = [f"p{i}" for i in range(100)]
    assert held_out(patients, 0.5, 0).tolist() == held_out(patients, 0.5, 0).tolist()
    assert held_out(patients, 0.5, 3)[held_out(patients, 0.2, 3)].all()
    assert not held_out(patients, 0.0, 3).any()
    assert held_out(patients, 1.0, 3).all()


def test_the_side_of_a_patient_is_keyed_blake2b_as_a_fraction() -> None:
    digest = hashlib.blake2b(
        "Müller".encode(), digest_size=8, key=bytes(7) + b"\x03", person=b"fedcohort-split"
    ).digest()
    fraction = int.from_bytes(digest, "big") / 2**64
    assert held_out(["Müller"], fraction + 1e-9, 3).tolist() == [True]
    assert held_out(["Müller"], fraction - 1e-9, 3).tolist() == [False]


def test_without_a_split_every_row_is_for_training(write_ward: WriteWard) -> None:
    assert load_cohort(write_ward(), changed(WARD, split=None), 0, OFFERED).split.tolist() == [TRAIN] * 3


def test_the_split_column_knows_valid(write_ward: WriteWard) -> None:
    table = load_cohort(write_ward(), changed(WARD, label=None), 0, OFFERED)
    assert table.split.tolist() == [TRAIN, TRAIN, TEST, VALID]


def labels(path: Path, label: object) -> list[float]:
    table = load_cohort(path, changed(WARD, columns={"age": Numeric()}, label=label, split=None), 0, OFFERED)
    assert table.label is not None
    return [float(value) for value in table.label]


def test_every_kind_of_label(write_ward: WriteWard) -> None:
    path = write_ward()
    assert labels(path, Binary("sex", positive="m", negative="f")) == [0.0, 1.0, 0.0]
    assert labels(path, Binary("ill", positive="1", negative="0")) == [0.0, 1.0, 1.0]
    assert labels(path, Binary("ill", positive=0, negative=1)) == [1.0, 0.0, 0.0]
    assert labels(path, Classes("set", ("test", "train", "valid"))) == [1.0, 1.0, 0.0, 2.0]
    cohort = changed(
        WARD, columns={"sex": Categorical(("f", "m"))}, label=Number(column="age", low=0, high=120)
    )
    table = load_cohort(path, cohort, 0, OFFERED)
    assert table.label is not None
    assert table.label.tolist() == [20.0, 50.0, 70.0]


def test_a_survival_label_is_a_time_and_an_event(write_ward: WriteWard) -> None:
    cohort = changed(WARD, columns={"sex": Categorical(("f", "m"))}, label=Survival("age", "ill"))
    table = load_cohort(write_ward(), cohort, 0, OFFERED)
    assert table.label is not None
    assert table.event is not None
    assert table.patient_ids.tolist() == ["p1", "p3"]
    assert (table.label.tolist(), table.event.tolist()) == ([20.0, 50.0], [0.0, 1.0])


def test_whoever_is_observed_beyond_the_horizon_counts_until_then(write_ward: WriteWard) -> None:
    label = Survival("age", "ill", horizon=30.0)
    cohort = changed(WARD, columns={"sex": Categorical(("f", "m"))}, label=label)
    times, ill = [29.0, 30.0, 31.0, 99.0, None], [1, 1, 1, 0, 1]
    rows = [
        {"patient_id": f"p{row}", "age": time, "sex": "f", "ill": event, "set": "train"}
        for row, (time, event) in enumerate(zip(times, ill, strict=True))
    ]
    table = load_cohort(write_ward(rows), cohort, 0, OFFERED)
    assert table.label is not None
    assert table.event is not None
    assert table.label.tolist() == [29.0, 30.0, 30.0, 30.0]
    assert table.event.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_competing_causes_are_read_as_levels_and_beyond_the_horizon_none_is_seen(
    write_ward: WriteWard,
) -> None:
    label = Survival("age", "ill", horizon=30.0, causes=(1, 3))
    cohort = changed(WARD, columns={"sex": Categorical(("f", "m"))}, label=label)
    times, ill = [29.0, 30.0, 31.0, 20.0, 9.0], [1, 3, 3, 0, None]
    rows = [
        {"patient_id": f"p{row}", "age": time, "sex": "f", "ill": event, "set": "train"}
        for row, (time, event) in enumerate(zip(times, ill, strict=True))
    ]
    table = load_cohort(write_ward(rows), cohort, 0, OFFERED)
    assert table.label is not None
    assert table.event is not None
    assert table.label.tolist() == [29.0, 30.0, 30.0, 20.0]
    assert table.event.tolist() == [1.0, 2.0, 0.0, 0.0]


def test_a_short_cohort_must_be_made_explicit_first(write_ward: WriteWard) -> None:
    short = Cohort(table="ward", columns=("age",), label="ill")
    with pytest.raises(StudyError, match="label ill: write such as label = "):
        load_cohort(write_ward(), short, 0, OFFERED)


@pytest.mark.parametrize(
    ("fields", "offered", "message"),
    [
        ({}, {"other": ["age"]}, "table ward: this site does not offer it"),
        ({}, {"ward": ["age", "ill", "set"]}, "column ward.sex: this site does not offer it"),
        ({}, {"ward": ["age", "sex", "set"]}, "column ward.ill: this site does not offer it"),
        ({}, {"ward": ["age", "sex", "ill"]}, "column ward.set: this site does not offer it"),
        ({"patient_id": "sex"}, OFFERED, "column ward.sex: this site does not offer it"),
        ({"patient_id": "id"}, OFFERED, "does not offer it as patient_id"),
        (
            {"columns": {"patient_id": Categorical(("p1", "p2"))}},
            {"ward": ["patient_id", "ill", "set"]},
            "column ward.patient_id: this site does not offer it",
        ),
    ],
)
def test_only_what_the_site_offers_is_read(
    write_ward: WriteWard, fields: dict[str, object], offered: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(PolicyError, match=message):
        load_cohort(write_ward(), changed(WARD, **fields), 0, offered)


def test_where_cannot_ask_for_what_is_not_offered(write_ward: WriteWard) -> None:
    with pytest.raises(CohortError, match="'age' is not a column that every site offers in ward"):
        load_cohort(
            write_ward(),
            changed(WARD, columns={"sex": Categorical(("f", "m"))}, where="age > 1"),
            0,
            {"ward": ["sex", "ill", "set"]},
        )


def test_another_column_cannot_stand_in_for_the_patient(write_ward: WriteWard) -> None:
    cohort = changed(WARD, columns={"sex": Categorical(("f", "m"))}, patient_id="age")
    with pytest.raises(SchemaError, match="its patients are in patient_id"):
        load_cohort(write_ward(), cohort, 0, OFFERED)


def test_a_table_and_columns_that_are_not_there_are_named(write_ward: WriteWard) -> None:
    path = write_ward()
    with pytest.raises(SchemaError, match="table yard: not in this database"):
        load_cohort(path, changed(WARD, table="yard"), 0, {"yard": ["age", "sex", "ill", "set"]})
    cohort = changed(WARD, columns={"height": Numeric()})
    with pytest.raises(SchemaError, match="table ward: has no column height"):
        load_cohort(path, cohort, 0, {"ward": ["height", "ill", "set"]})
    with pytest.raises(SchemaError, match="table ward: has no column height"):
        load_cohort(path, changed(WARD, where="height = 'height'"), 0, {"ward": [*OFFERED["ward"], "height"]})


def test_an_empty_cohort_says_so_without_counts(write_ward: WriteWard) -> None:
    with pytest.raises(CohortError) as caught:
        load_cohort(write_ward(), changed(WARD, where="age > 100"), 0, OFFERED)
    assert str(caught.value) == (
        "ward: the cohort selects nothing, no row at all or none that has a label; widen cohort.where "
        "if the study has one, or check that the table holds patients"
    )


def test_many_chunks_are_one_table(write_ward: WriteWard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedcohort.sources.cohort.select.CHUNK_ROWS", 2)
    assert ids(write_ward(), WARD) == ["p1", "p2", "p3"]
