"""What FHIR resources say: each trap of the format by the smallest resource that has it."""

import datetime
import json
from typing import Any

import pytest

from fedcohort.sources.events.change import Group, Merge, Refusal
from fedcohort.sources.events.times import iso_time
from fedcohort.sources.fhir.resource import deletion_of
from fedcohort.sources.fhir.views import read_views

from .support import LOINC, changes, observation, only_row, refusals


def days(text: str) -> float:
    time = iso_time(text)
    assert time is not None
    return time[0]


def test_an_observation_is_a_row_with_its_unit_by_code() -> None:
    assert only_row(observation(meta={"lastUpdated": "2020-03-02T00:00:00Z"})) == {
        "observation_id": "o1",
        "time": days("2020-03-01T08:00:00Z"),
        "precision": "second",
        "status": "final",
        "value": 5.5,
        "unit": "mmol/L",
        "system": LOINC,
        "code": "2345-7",
    }
    [group] = changes(observation(meta={"lastUpdated": "2020-03-02T00:00:00Z"}))
    assert group == Group(
        "observations",
        "Observation/o1",
        days("2020-03-02T00:00:00Z"),
        "p1",
        getattr(group, "rows"),  # noqa: B009
    )


def test_a_quantity_without_a_code_has_its_unit_as_it_is_written() -> None:
    assert only_row(observation(valueQuantity={"value": 1, "unit": "mmol/L"}))["unit"] == "mmol/L"


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_what_was_entered_in_error_takes_back_its_rows(status: str) -> None:
    assert changes(observation(status=status)) == (Group("observations", "Observation/o1", None, None),)


@pytest.mark.parametrize("verification", ["refuted", "entered-in-error"])
def test_a_refuted_condition_is_none(verification: str) -> None:
    condition = {
        "resourceType": "Condition",
        "id": "c1",
        "subject": {"reference": "Patient/p1"},
        "verificationStatus": {"coding": [{"code": verification}]},
        "code": {"coding": [{"code": "I21"}]},
        "onsetDateTime": "2020",
    }
    assert changes(condition) == (Group("conditions", "Condition/c1", None, None),)
    condition["verificationStatus"] = {"coding": [{"code": "confirmed"}]}
    row = only_row(condition)
    assert (row["code"], row["status"], row["precision"]) == ("I21", "confirmed", "year")


def test_a_value_that_is_absent_for_a_reason_is_no_observation() -> None:
    absent = {"coding": [{"code": "not-performed"}]}
    assert changes(observation(valueQuantity=None, dataAbsentReason=absent)) == (
        Group("observations", "Observation/o1", None, None),
    )


def test_components_are_rows_of_their_observation_and_absent_ones_are_none() -> None:
    def component(code: str, **value: Any) -> dict[str, Any]:
        return {"code": {"coding": [{"system": LOINC, "code": code}]}, **value}

    pressure = observation(
        code={"coding": [{"system": LOINC, "code": "85354-9"}]},
        valueQuantity=None,
        component=[
            component("8480-6", valueQuantity={"value": 120, "code": "mm[Hg]"}),
            component("8462-4", valueQuantity={"value": 80, "code": "mm[Hg]"}),
            component("8478-0", dataAbsentReason={"coding": [{"code": "unknown"}]}),
        ],
    )
    [group] = changes(pressure)
    assert isinstance(group, Group)
    values = {row["code"]: row.get("value") for row in group.rows}
    assert values == {"85354-9": None, "8480-6": 120.0, "8462-4": 80.0}
    assert {row["observation_id"] for row in group.rows} == {"o1"}


def test_several_codings_are_rows_of_one_id() -> None:
    codings = [{"system": LOINC, "code": "2345-7"}, {"code": "GLU"}]
    [group] = changes(observation(code={"coding": codings, "text": "sugar"}))
    assert isinstance(group, Group)
    assert [(row.get("system"), row["code"], row["observation_id"]) for row in group.rows] == [
        (LOINC, "2345-7", "o1"),
        (None, "GLU", "o1"),
    ]


@pytest.mark.parametrize(
    ("value", "row"),
    [
        ({"valueInteger": 3}, {"value": 3.0}),
        ({"valueBoolean": True}, {"value": 1.0}),
        ({"valueString": "Ng, Mei: positive"}, {}),
        (
            {"valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": "10828004"}]}},
            {"value_system": "http://snomed.info/sct", "value_code": "10828004"},
        ),
        (
            {"valueQuantity": {"value": 0.1, "comparator": "<", "code": "1"}},
            {"value": 0.1, "comparator": "<", "unit": "1"},
        ),
        ({"valueQuantity": {"value": 1.10}}, {"value": 1.1}),
        ({"valueSampledData": {"data": "1 2 3"}}, {}),
    ],
)  # fmt: skip
def test_each_type_of_value_has_its_columns_and_free_text_none(value: Any, row: Any) -> None:
    made = only_row(observation(valueQuantity=None) | value)
    names = ("value", "unit", "comparator", "value_system", "value_code")
    assert {name: made[name] for name in names if name in made} == row


@pytest.mark.parametrize(
    ("reference", "patient"),
    [
        ("Patient/p1", "p1"),
        ("Patient/p1/_history/3", "p1"),
        ("https://fhir.example/r4/Patient/p1", "p1"),
        ("urn:uuid:6f1b", "6f1b"),
    ],
)
def test_a_reference_names_its_patient_however_it_is_written(reference: str, patient: str) -> None:
    [group] = changes(observation(subject={"reference": reference}))
    assert isinstance(group, Group)
    assert group.patient == patient


@pytest.mark.parametrize(
    "reference", ["#p1", "Group/g1", "Device/d", "Patient?identifier=7", "Patient/", "", 7, None]
)
def test_what_refers_to_no_patient_is_refused(reference: object) -> None:
    assert refusals(observation(subject={"reference": reference})) == [("subject", "no-patient")]


def test_a_local_time_is_the_hospital_s() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=8))
    [group] = changes(observation(effectiveDateTime="2020-03-01"), zone=zone)
    assert isinstance(group, Group)
    assert group.rows[0]["time"] == days("2020-02-29T16:00:00Z")
    assert group.rows[0]["precision"] == "day"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"effectiveDateTime": None}, ("time", "no-time")),
        ({"effectiveDateTime": "yesterday"}, ("Observation", "value")),
        ({"effectiveDateTime": 7}, ("Observation", "value")),
        ({"code": {"text": "sugar"}}, ("code", "no-code")),
        ({"code": {"coding": [{"code": "the sugar of Mei Ng"}]}}, ("Observation", "value")),
        ({"valueQuantity": {"value": "5.5"}}, ("Observation", "value")),
        ({"valueQuantity": {"value": 10**400}}, ("Observation", "value")),
        ({"id": None}, ("id", "no-id")),
        ({"status": ["final", "x"]}, ("observations", "view")),
    ],
)
def test_what_cannot_be_read_is_refused_by_place_and_never_by_value(
    change: Any, told: tuple[str, str]
) -> None:
    found = [one for one in changes(observation(**change)) if isinstance(one, Refusal)]
    assert [(one.place, one.code) for one in found] == [told]
    assert "Ng" not in found[0].sentence
    assert "yesterday" not in found[0].sentence


def test_a_patient_who_was_replaced_is_merged_and_has_no_row() -> None:
    link = {"other": {"reference": "Patient/new"}, "type": "replaced-by"}
    assert changes({"resourceType": "Patient", "id": "old", "gender": "male", "link": [link]}) == (
        Group("patients", "Patient/old", None, None),
        Merge("old", "new", None),
    )
    link = {"other": {"reference": "Patient/old"}, "type": "replaces"}
    group, merge = changes({"resourceType": "Patient", "id": "new", "gender": "male", "link": [link]})
    assert merge == Merge("old", "new", None)
    assert isinstance(group, Group)
    assert group.rows == ({"sex": "male"},)
    seen = {"other": {"reference": "Patient/else"}, "type": "seealso"}
    assert len(changes({"resourceType": "Patient", "id": "new", "link": [seen]})) == 1


@pytest.mark.parametrize(
    ("deceased", "row"),
    [
        ({"deceasedBoolean": False}, {"died": 0.0}),
        ({"deceasedBoolean": True}, {"died": 1.0}),
        ({"deceasedDateTime": "2020-01-02"}, {"died": 1.0, "death_time": days("2020-01-02")}),
        ({}, {}),
    ],
)
def test_a_patient_s_death_is_read_of_either_type(deceased: Any, row: Any) -> None:
    patient = {"resourceType": "Patient", "id": "p1", "birthDate": "1970-06-05", **deceased}
    assert only_row(patient) == {"birth_date": days("1970-06-05"), **row}


def test_nothing_that_names_a_patient_comes_out_of_one() -> None:
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "text": {"status": "generated", "div": "<div>Zebedee</div>"},
        "identifier": [{"system": "urn:mrn", "value": "Zebedee-1"}],
        "name": [{"text": "Zebedee", "family": "Zebedee"}],
        "telecom": [{"value": "Zebedee"}],
        "address": [{"line": ["Zebedee"]}],
        "contact": [{"name": {"family": "Zebedee"}}],
        "photo": [{"title": "Zebedee"}],
        "extension": [{"url": "x", "valueString": "Zebedee"}],
        "gender": "male",
    }
    assert "Zebedee" not in repr(changes(patient))
    noted = observation(
        note=[{"text": "Zebedee"}],
        valueQuantity=None,
        valueString="Zebedee",
        text={"div": "Zebedee"},
        performer=[{"display": "Zebedee"}],
        code={"coding": [{"system": LOINC, "code": "1", "display": "Zebedee"}], "text": "Zebedee"},
        subject={"reference": "Patient/p1", "display": "Zebedee", "identifier": {"value": "Zebedee"}},
    )
    assert "Zebedee" not in repr(changes(noted))


def request(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2020-03-01",
        **more,
    }


def test_a_request_has_the_code_of_the_medication_that_it_contains_or_refers_to() -> None:
    concept = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "310965"}]}
    contained = request(
        contained=[{"resourceType": "Medication", "id": "med", "code": concept}],
        medicationReference={"reference": "#med"},
    )
    beside = request(medicationReference={"reference": "Medication/med"})
    for made in (changes(contained), changes(beside, medications={"med": concept})):
        [group] = made
        assert isinstance(group, Group)
        assert [(row["code"], row["kind"]) for row in group.rows] == [("310965", "request")]
    assert refusals(beside) == [("code", "no-code")]


@pytest.mark.parametrize(
    "more", [{"status": "draft"}, {"intent": "plan"}, {"doNotPerform": True}, {"status": "entered-in-error"}]
)
def test_what_was_only_proposed_is_no_request(more: dict[str, Any]) -> None:
    coded = {"medicationCodeableConcept": {"coding": [{"code": "x"}]}}
    assert len(changes(request(**coded))[0].rows) == 1  # type: ignore[union-attr]
    assert changes(request(**coded, **more)) == (Group("medications", "MedicationRequest/m1", None, None),)


def test_a_deletion_takes_back_the_rows_of_its_kinds() -> None:
    views = read_views()
    assert deletion_of("Observation/o1", 7.0, views) == (Group("observations", "Observation/o1", 7.0, None),)
    assert deletion_of("Claim/c", None, views) == ()
    for url in ("Observation", "Observation?patient=1", None):
        [refusal] = deletion_of(url, None, views)
        assert isinstance(refusal, Refusal)


def test_types_that_no_view_reads_are_passed_over() -> None:
    assert changes({"resourceType": "Claim", "id": "c"}) == ()
    assert changes({"resourceType": ["x"], "id": "c"}) == ()


def test_every_view_is_read_from_a_resource_with_nothing_but_its_type() -> None:
    for kind in read_views():
        assert all(isinstance(one, Group | Refusal) for one in changes({"resourceType": kind, "id": "x"}))
        assert json.dumps(kind)
