"""What messages change in the event tables; times are days since 1970-01-01, and 20463 is 2026-01-10."""

import dataclasses
import datetime
from zoneinfo import ZoneInfo

import pytest

from fedcohort.sources.events.change import KEEP
from fedcohort.sources.hl7v2.mapping import read_message
from fedcohort.sources.hl7v2.reading import Hl7Options

from .build import PID, PV1, groups, merges, message, refusals, rows, segment

NOON = 20463.5
"""Of MSH-7, as `message` writes it."""
SNOMED, V2 = "http://snomed.info/sct", "http://terminology.hl7.org/CodeSystem/v2"
OBR = "OBR|1|ORD1^P|F7^L|24331-1^Lipids^LN|||20260109080000"


def obx(
    kind: str, value: str, unit: str = "", status: str = "F", sub: str = "", at: str = "", flag: str = ""
) -> str:
    return f"OBX|1|{kind}|2093-3^Cholesterol^LN|{sub}|{value}|{unit}||{flag}|||{status}|||{at}"


def result(*segments: str, at: str = "20260110120000") -> bytes:
    return message("ORU^R01", PID, OBR, *segments, at=at)


# -- patients ------------------------------------------------------------------------------------------------


def test_a_patient_is_told_of_with_birth_sex_and_death() -> None:
    dead = PID + segment("", {21: "20260101", 22: "Y"})
    (group,) = groups(message("ADT^A31", dead), "patients")
    assert (group.key, group.patient, group.as_of) == ("P1^HOSP", "P1^HOSP", NOON)
    assert group.rows == ({"birth_date": -2493.0, "sex": "female", "died": 1.0, "death_time": 20454.0},)


def test_an_empty_field_keeps_what_is_stored_and_two_quotes_delete_it() -> None:
    (row,) = rows(message("ADT^A08", 'PID|1||P1^^^HOSP^MR||||""|'), "patients")
    assert row == {"birth_date": None, "sex": KEEP, "died": KEEP, "death_time": KEEP}
    (row,) = rows(message("ADT^A08", "PID|1||P1^^^HOSP^MR||||" + "|" * 22 + '""|""'), "patients")
    assert (row["died"], row["death_time"]) == (None, None)


@pytest.mark.parametrize(
    ("identifiers", "options", "patient"),
    [
        ("P1^^^HOSP^MR", Hl7Options(), "P1^HOSP"),
        ("77^^^STATE^SS~P1^^^HOSP^MR", Hl7Options(), "P1^HOSP"),
        ("9^^^HOSP^PI~P1^^^HOSP^MR", Hl7Options(), "P1^HOSP"),
        ("9^^^HOSP^PI~P1^^^HOSP^MR", Hl7Options(types=("PI",)), "9^HOSP"),
        ("P9^^^OTHER^MR~P1^^^HOSP&1.2&ISO^MR", Hl7Options(authority="HOSP"), "P1"),
        ("P1", Hl7Options(), "P1"),
        ('""~P2^^^^MR', Hl7Options(), "P2"),
    ],
)
def test_a_patient_is_known_by_the_authority_and_type_of_an_identifier(
    identifiers: str, options: Hl7Options, patient: str
) -> None:
    (group,) = groups(message("ADT^A08", f"PID|1||{identifiers}"), "patients", options)
    assert group.patient == patient


@pytest.mark.parametrize("identifiers", ["", "77^^^STATE^SS", "P1^^^OTHER^MR", '""'])
def test_a_message_without_an_identifier_of_this_hospital_is_refused(identifiers: str) -> None:
    data = message("ORU^R01", f"PID|1||{identifiers}", OBR, obx("NM", "5"))
    assert refusals(data, Hl7Options(authority="HOSP")) == [("PID-3", "no-patient")]
    assert len(read_message(data, Hl7Options(authority="HOSP"))) == 1


def test_a_message_without_pid_is_refused() -> None:
    assert refusals(message("ORU^R01", OBR, obx("NM", "5"))) == [("MSH-9", "no-patient")]


def test_what_a_result_says_of_a_patient_never_counts_as_newer_than_an_adt_message() -> None:
    admitted = message("ADT^A01", PID, PV1, at="20260101000000")
    early, late = (result(PV1, at=at) for at in ("20260202120000", "20260203120000"))
    for kind in ("patients", "encounters"):
        (adt,), (first,), (second,) = (groups(data, kind) for data in (admitted, early, late))
        assert adt.key == first.key
        assert first.as_of is not None
        assert second.as_of is not None
        assert adt.as_of is not None
        assert first.as_of < second.as_of < adt.as_of


def test_a_late_older_message_has_the_older_time_of_writing() -> None:
    old, new = (groups(message("ADT^A08", PID, at=at), "patients")[0] for at in ("20260110", "20260111"))
    assert old.as_of is not None
    assert new.as_of is not None
    assert old.key == new.key
    assert old.as_of < new.as_of


def test_two_messages_of_one_control_number_are_two_messages() -> None:
    one, other = (message("ADT^A08", PID.replace("|F", f"|{sex}"), control="7") for sex in "FM")
    assert [rows(data, "patients")[0]["sex"] for data in (one, other)] == ["female", "male"]


# -- visits --------------------------------------------------------------------------------------------------


def test_an_admission_and_a_discharge_make_one_visit() -> None:
    (visit,) = groups(message("ADT^A01", PID, PV1), "encounters")
    assert visit.key == "V1"
    assert visit.rows == (
        {
            "encounter_id": "V1", "class": "IMP", "system": KEEP, "code": KEEP, "start": 20458 + 10.25 / 24,
            "end": KEEP, "discharge": KEEP, "status": "in-progress", "precision": "second",
        },
    )  # fmt: skip
    discharged = PV1.replace("|20260105101500", "|20260105101500|20260109120000")
    (row,) = rows(message("ADT^A03", PID, discharged), "encounters")
    assert (row["end"], row["status"]) == (20462.5, "finished")


def test_an_admission_or_discharge_without_its_time_has_that_of_its_event() -> None:
    bare, event = segment("PV1", {2: "I", 19: "V1"}), "EVN||20260110115500||||20260109070000"
    (row,) = rows(message("ADT^A01", event, PID, bare), "encounters")
    assert (row["start"], row["precision"]) == (20462 + 7 / 24, "second")
    (row,) = rows(message("ADT^A03", event, PID, bare), "encounters")
    assert (row["start"], row["end"], row["status"]) == (KEEP, 20462 + 7 / 24, "finished")
    (row,) = rows(message("ADT^A08", event, PID, bare), "encounters")
    assert (row["start"], row["end"], row["status"]) == (KEEP, KEEP, KEEP)


def test_a_cancelled_admission_deletes_the_visit_and_a_cancelled_discharge_opens_it_again() -> None:
    cancelled = message("ADT^A11", PID, PV1)
    assert [(one.key, one.rows) for one in groups(cancelled, "encounters")] == [("V1", ())]
    assert [(one.key, one.rows) for one in groups(cancelled, "conditions")] == [("V1|ADT", ())]
    (row,) = rows(message("ADT^A13", PID, PV1), "encounters")
    assert (row["end"], row["discharge"], row["status"]) == (None, None, "in-progress")


def test_a_deleted_person_goes() -> None:
    (group,) = groups(message("ADT^A29", PID), "patients")
    assert (group.key, group.rows) == ("P1^HOSP", ())


@pytest.mark.parametrize("event", ["A18", "A30", "A34", "A36", "A39", "A40", "A43", "A46", "A47"])
def test_merges_say_who_is_one_patient(event: str) -> None:
    data = message(f"ADT^{event}", PID, "MRG|OLD^^^HOSP^MR", "PID|1||P2^^^HOSP^MR", "MRG|OLD2^^^HOSP^MR")
    assert [(one.patient, one.into, one.as_of) for one in merges(data)] == [
        ("OLD^HOSP", "P1^HOSP", NOON),
        ("OLD2^HOSP", "P2^HOSP", NOON),
    ]


def test_what_is_merged_into_itself_or_names_nobody_merges_nothing() -> None:
    assert merges(message("ADT^A40", PID, "MRG|P1^^^HOSP^MR")) == []
    assert refusals(message("ADT^A40", PID, "MRG|77^^^X^SS")) == [("MRG-1", "no-patient")]


@pytest.mark.parametrize("event", ["A24", "A37", "A41", "A44", "A45", "A50"])
def test_links_and_moved_visits_are_told_and_not_followed(event: str) -> None:
    data = message(f"ADT^{event}", PID, "MRG|OLD^^^HOSP^MR||A1")
    assert merges(data) == []
    assert refusals(data) == [("MSH-9", "not-followed")]


# -- diagnoses, procedures, problems -------------------------------------------------------------------------


def test_a_visit_s_diagnoses_are_one_list_and_none_in_a_message_says_nothing_of_it() -> None:
    two = message("ADT^A08", PID, PV1, "DG1|1||I21.0^x^I10||20260105|A", "DG1|2|I9|410.1|MI|202601||")
    (group,) = groups(two, "conditions")
    assert group.key == "V1|ADT"
    told = [(row["system"], row["code"], row["time"], row["precision"], row["role"]) for row in group.rows]
    assert told == [
        ("http://hl7.org/fhir/sid/icd-10", "I21.0", 20458.0, "day", "AD"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "410.1", 20454.0, "month", None),
    ]
    assert groups(message("ADT^A08", PID, PV1), "conditions") == []


def test_an_emptied_list_is_empty() -> None:
    (group,) = groups(message("ADT^A08", PID, PV1, 'DG1|1||""'), "conditions")
    assert (group.key, group.rows) == ("V1|ADT", ())


def test_a_bill_s_diagnoses_are_a_list_of_their_own() -> None:
    (group,) = groups(message("BAR^P01", PID, PV1, "DG1|1||I21^x^I10"), "conditions")
    assert group.key == "V1|BAR"


def test_a_diagnosis_with_an_identifier_is_deleted_by_it() -> None:
    dg1 = "DG1|1||I21^x^I10||2026|F" + "|" * 14 + "D7^X|{}"
    (added,), (gone,) = (
        groups(message("ADT^A08", PID, PV1, dg1.format(action)), "conditions") for action in "AD"
    )
    assert added.key == gone.key == "DG1|D7^X"
    assert [(row["code"], row["precision"]) for row in added.rows] == [("I21", "year")]
    assert gone.rows == ()


def test_every_coding_of_a_diagnosis_is_a_row_of_one_event() -> None:
    both = rows(
        message("ADT^A08", PID, PV1, "DG1|1||I21^x^I10^22298006^y^SCT" + "|" * 17 + "D7"), "conditions"
    )
    assert {row["condition_id"] for row in both} == {"D7"}
    assert [row["system"] for row in both] == ["http://hl7.org/fhir/sid/icd-10", "http://snomed.info/sct"]


def test_words_of_no_code_system_are_no_code() -> None:
    data = message("ADT^A08", PID, PV1, "DG1|1||MARKER PATIENT", "DG1|2||chest pain^x^L", "DG1|3||R07")
    assert [row["code"] for row in rows(data, "conditions")] == ["chest pain", "R07"]
    assert refusals(data) == [("DG1[1]-3", "no-code")]


def test_procedures_end_after_their_minutes() -> None:
    (row,) = rows(message("ADT^A08", PID, PV1, "PR1|1||47.0^x^I9C||202601061200||90"), "procedures")
    assert (row["time"], row["end"], row["encounter_id"]) == (20459.5, 20459.5625, "V1")


def test_a_problem_is_added_and_deleted() -> None:
    prb = "PRB|{}|20260105|E11^Diabetes^I10|PR7^L|||20260105|||||||ACTIVE||20200101"
    (row,) = rows(message("PPR^PC1", PID, prb.format("AD")), "conditions")
    assert (row["code"], row["time"], row["role"], row["status"]) == (
        "E11",
        18262.0,
        "problem-list-item",
        "ACTIVE",
    )
    (gone,) = groups(message("PPR^PC3", PID, prb.format("DE")), "conditions")
    assert (gone.key, gone.rows) == ("PRB|PR7^L", ())


# -- observations --------------------------------------------------------------------------------------------


def test_a_result_has_its_order_and_a_time_of_its_own_or_the_order_s() -> None:
    (first, second) = rows(
        result(obx("NM", "5.2", "mmol/L", flag="H"), obx("NM", "7", sub="2", at="20260108")), "observations"
    )
    assert first == {
        "observation_id": "F7^L|2093-3|", "order_id": "F7^L", "encounter_id": None, "system": "http://loinc.org",
        "code": "2093-3", "time": 20462 + 8 / 24, "value": 5.2, "unit": "mmol/L", "interpretation": "H",
        "status": "final", "precision": "second",
    }  # fmt: skip
    assert (second["time"], second["precision"], second["value"]) == (20461.0, "day", 7.0)


def test_a_specimen_s_collection_stands_in_for_a_missing_time() -> None:
    data = message(
        "OUL^R22", PID, "SPM|1|S1||BLD|||||||||||||20260107", "OBR|1||F1|1^T^L", "ORC|RE", obx("NM", "4")
    )  # fmt: skip
    (row,) = rows(data, "observations")
    assert (row["time"], row["order_id"]) == (20460.0, "F1")


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("NM", "5.2", {"value": 5.2}),
        ("NM", " +.5 ", {"value": 0.5}),
        ("NM", "-0", {"value": -0.0}),
        ("SN", "^182", {"value": 182.0}),
        ("SN", "<^0.5", {"value": 0.5, "comparator": "<"}),
        ("SN", ">=^60", {"value": 60.0, "comparator": ">="}),
        ("SN", "=^3", {"value": 3.0}),
        ("SN", "<>^3", {}),
        ("SN", "^1^-^3", {}),
        ("SN", "^1^:^128", {}),
        ("SN", "^2^+", {}),
        ("CE", "POS^Positive^HL70136", {"value_system": f"{V2}-0136", "value_code": "POS"}),
        ("CWE", "^MARKER PATIENT", {}),
        ("CWE", "^^^260373001^Detected^SCT", {"value_system": SNOMED, "value_code": "260373001"}),
        ("IS", "R", {"value_code": "R"}),
        ("IS", "MARKER PATIENT", {}),
        ("ST", "5.2", {}),
        ("TX", "MARKER PATIENT", {}),
        ("FT", "MARKER PATIENT", {}),
        ("ED", "^AP^PDF^Base64^AAAA", {}),
        ("RP", "http://x^^AP^PDF", {}),
        ("TS", "20260101", {}),
        ("", "5.2", {}),
    ],
)  # fmt: skip
def test_a_value_is_read_by_the_type_of_its_own_segment(
    kind: str, value: str, stored: dict[str, object]
) -> None:
    (row,) = rows(result(obx(kind, value)), "observations")
    names = ("value", "comparator", "value_system", "value_code")
    assert {name: row[name] for name in names if row.get(name) is not None} == stored


def test_each_segment_of_one_order_has_its_own_type() -> None:
    segments = [obx("NM", "5", sub="1"), obx("ST", "5", sub="2"), obx("SN", ">^5", sub="3")]
    told = rows(result(*segments), "observations")
    assert [(row.get("value"), row.get("comparator")) for row in told] == [
        (5.0, None),
        (None, None),
        (5.0, ">"),
    ]


@pytest.mark.parametrize("value", ["<5", "5,2", "1e5", "five", "NaN", "inf", "0x1", "1_000", "٣"])
def test_a_number_that_is_none_is_told_and_has_no_value(value: str) -> None:
    data = result(obx("NM", value))
    assert refusals(data) == [("OBX-5", "number")]
    assert [row["value"] for row in rows(data, "observations")] == [None]


def test_repetitions_are_values_of_their_own() -> None:
    told = rows(result(obx("NM", "27~25")), "observations")
    assert [(row["observation_id"], row["value"]) for row in told] == [
        ("F7^L|2093-3|", 27.0),
        ("F7^L|2093-3||1", 25.0),
    ]


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("F", "final"), ("C", "corrected"), ("P", "preliminary"), ("R", "preliminary"), ("A", "amended"),
        ("", None),
    ],
)  # fmt: skip
def test_a_correction_replaces_what_it_corrects(status: str, word: str | None) -> None:
    (first,), (second,) = (
        groups(result(obx("NM", value, status=said)), "observations")
        for value, said in (("5", "P"), ("6", status))
    )
    assert first.key == second.key
    assert [(row["value"], row["status"]) for row in second.rows] == [(6.0, word)]


@pytest.mark.parametrize("status", ["D", "W", "X", "I", "N", "O"])
def test_a_deleted_wrong_or_unobtainable_result_goes(status: str) -> None:
    (group,) = groups(result(obx("NM", "5", status=status)), "observations")
    assert (group.key, group.rows) == ("F7^L|2093-3|", ())


def test_a_result_made_final_without_being_sent_again_keeps_its_value() -> None:
    (row,) = rows(result(obx("NM", "", status="U")), "observations")
    assert (row["value"], row["unit"], row["status"]) == (KEEP, KEEP, "final")


def test_results_are_told_apart_by_their_sub_identifiers() -> None:
    told = groups(result(obx("NM", "1", sub="1"), obx("NM", "2", sub="2")), "observations")
    assert [(one.key, len(one.rows)) for one in told] == [("F7^L|2093-3|1", 1), ("F7^L|2093-3|2", 1)]


def test_one_bad_result_leaves_the_others() -> None:
    bad = "OBX|2|NM|one two three four five^x^L||5|||||F"
    data = result(obx("NM", "5"), bad)
    assert refusals(data) == [("OBX[2]-3", "value")]
    assert len(rows(data, "observations")) == 1


def test_orders_within_one_message_do_not_mix() -> None:
    data = message(
        "ORU^R01", PID, "ORC|RE|A1|F1", "OBR|1|A1|F1|1^T^L|||20260101", obx("NM", "1"),
        "OBR|2|A2|F2|2^T^L|||20260102", "NTE|1||x", obx("NM", "2"), "ORC|RE|A3|F3",
        "OBR|3|A3||3^T^L|||20260103", obx("NM", "3"),
    )  # fmt: skip
    assert [(row["order_id"], row["time"]) for row in rows(data, "observations")] == [
        ("F1", 20454.0),
        ("F2", 20455.0),
        ("F3", 20456.0),
    ]
    assert [row["code"] for row in rows(data, "reports")] == ["1", "2", "3"]


def test_an_admission_s_own_observations_are_read() -> None:
    (row,) = rows(message("ADT^A01", PID, PV1, obx("NM", "80", "kg", at="20260105")), "observations")
    assert (row["value"], row["encounter_id"], row["order_id"]) == (80.0, "V1", None)


# -- orders, medications, vaccines, documents ----------------------------------------------------------------


@pytest.mark.parametrize("family", ["ORM^O01", "OML^O21", "OMG^O19"])
def test_an_order_is_active_and_then_cancelled(family: str) -> None:
    orc = "ORC|{}|A1^P|F1^L||{}||||20260109"
    segments = [orc.format("NW", ""), "OBR|1|A1^P|F1^L|58410-2^CBC^LN"]
    (row,) = rows(message(family, PID, *segments), "orders")
    assert (row["order_id"], row["code"], row["status"], row["time"]) == (
        "F1^L",
        "58410-2",
        "active",
        20462.0,
    )
    segments[0] = orc.format("OC", "CA")
    assert [row["status"] for row in rows(message(family, PID, *segments), "orders")] == ["revoked"]


def test_an_encoded_prescription_is_a_request_with_dose_and_route() -> None:
    data = message(
        "RDE^O11", PID, PV1, "ORC|NW|A1|F1|||||||", "RXE||00071015523^Atorvastatin^NDC|20||mg^mg^UCUM",
        "RXR|PO^oral^HL70162", "TQ1|1||||||20260106|20260406",
    )  # fmt: skip
    assert rows(data, "medications") == [
        {
            "medication_id": "F1", "encounter_id": "V1", "system": "http://hl7.org/fhir/sid/ndc",
            "code": "00071015523", "time": 20459.0, "end": 20549.0, "precision": "day", "kind": "request",
            "dose": 20.0, "dose_unit": "mg", "route": "PO", "status": "active",
        }
    ]  # fmt: skip


def test_a_dispense_is_no_request() -> None:
    data = message("RDS^O13", PID, "ORC|RE|A1|F1", "RXD|1|313782^Paracetamol^RXNORM|202601071200|20|tab||RX7")
    (row,) = rows(data, "medications")
    assert (row["kind"], row["time"], row["dose"], row["status"]) == ("dispense", 20460.5, 20.0, "completed")


def test_a_vaccination_is_given_deleted_refused_or_not_given() -> None:
    given = {3: "20260105", 5: "08^HepB^CVX", 6: "0.5", 7: "mL^^UCUM", 20: "{}", 21: "{}"}
    rxa = segment("RXA", given)
    orc = "ORC|RE||I7^L"
    (row,) = rows(message("VXU^V04", PID, orc, rxa.format("", "A"), "RXR|IM^^HL70162"), "immunizations")
    assert (row["system"], row["code"], row["status"]) == ("http://hl7.org/fhir/sid/cvx", "08", "completed")
    assert (row["dose"], row["dose_unit"], row["route"]) == (0.5, "mL", "IM")
    (row,) = rows(message("VXU^V04", PID, orc, rxa.format("RE", "A")), "immunizations")
    assert row["status"] == "not-done"
    (group,) = groups(message("VXU^V04", PID, orc, rxa.format("CP", "D")), "immunizations")
    assert (group.key, group.rows) == ("I7^L", ())
    none = rxa.format("NA", "A").replace("08^HepB", "998^none").replace("|0.5|", "|999|")
    assert rows(message("VXU^V04", PID, orc, none), "immunizations") == []


def test_vaccinations_that_nobody_ordered_here_are_told_apart() -> None:
    rxa = "RXA|0|1|{}|{}|08^HepB^CVX|999"
    days = ("20200101", "20210101")
    segments = [part for day in days for part in ("ORC|RE||9999^L", rxa.format(day, day))]
    data = message("VXU^V04", PID, *[part.replace("9999^L", "9999") for part in segments])
    assert [group.key for group in groups(data, "immunizations")] == [f"P1^HOSP|08|{day}" for day in days]
    assert [row["dose"] for row in rows(data, "immunizations")] == [None, None]


def test_a_document_is_a_report_without_its_text_and_one_that_replaces_it_deletes_it() -> None:
    txa = "TXA|1|DS|TX|20260109||20260108||||||{}|{}||||AU"
    (row,) = rows(message("MDM^T02", PID, txa.format("D1^X", ""), obx("TX", "MARKER PATIENT")), "reports")
    assert (row["report_id"], row["code"], row["time"], row["status"]) == ("D1^X", "DS", 20461.0, "final")
    replaced = groups(message("MDM^T10", PID, txa.format("D2^X", "D1^X")), "reports")
    assert [(one.key, len(one.rows)) for one in replaced] == [("D1^X", 0), ("D2^X", 1)]
    (gone,) = groups(message("MDM^T11", PID, txa.format("D1^X", "")), "reports")
    assert gone.rows == ()


@pytest.mark.parametrize("family", ["SIU^S12", "DFT^P03", "BAR^P01"])
def test_of_appointments_charges_and_bills_patients_visits_diagnoses_and_procedures_are_read(
    family: str,
) -> None:
    segments = (PID, PV1, "DG1|1||I21^x^I10", "PR1|1||47.0^x^I9C", OBR, obx("NM", "5"))
    kinds = {
        change.kind
        for change in read_message(message(family, *segments), Hl7Options())
        if hasattr(change, "kind")
    }
    assert kinds == {"patients", "encounters", "conditions", "procedures"}


def test_a_diagnosis_that_explains_an_order_is_none_of_the_visit() -> None:
    assert rows(message("ORM^O01", PID, "ORC|NW|A1", OBR, "DG1|1||I21^x^I10"), "conditions") == []


# -- what is not read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ACK", "REF^I12", "MFN^M02", "QRY^A19", ""])
def test_other_messages_are_refused(kind: str) -> None:
    assert refusals(message(kind, PID)) == [("MSH-9", "type")]


@pytest.mark.parametrize("processing", ["T", "D"])
def test_messages_for_training_and_debugging_change_nothing(processing: str) -> None:
    assert refusals(message("ADT^A01", PID, PV1, processing=processing)) == [("MSH-11", "not-production")]


# -- times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "msh", "zone", "days", "precision"),
    [
        ("20260105100000+0200", "20260110+0500", "UTC", 20458 + 8 / 24, "second"),
        ("20260105100000", "20260110120000+0500", "UTC", 20458 + 5 / 24, "second"),
        ("20260105100000", "20260110120000", "Europe/Berlin", 20458 + 9 / 24, "second"),
        ("20260705100000", "20260710120000", "Europe/Berlin", 20639 + 8 / 24, "second"),
        ("202601051000", "20260110", "UTC", 20458 + 10 / 24, "minute"),
        ("2026010510", "20260110", "UTC", 20458 + 10 / 24, "hour"),
        ("20260105", "20260110", "UTC", 20458.0, "day"),
        ("202601", "20260110", "UTC", 20454.0, "month"),
        ("2026", "20260110", "UTC", 20454.0, "year"),
    ],
)
def test_times_have_the_zone_of_their_field_message_or_hospital_and_say_how_exact_they_are(
    written: str, msh: str, zone: str, days: float, precision: str
) -> None:
    options = Hl7Options(zone=ZoneInfo(zone))
    dg1 = f"DG1|1||I21^x^I10||{written}"
    (row,) = rows(message("ADT^A08", PID, PV1, dg1, at=msh), "conditions", options)
    assert row["time"] == pytest.approx(days, abs=1e-9)
    assert row["precision"] == precision


def test_a_birthday_has_no_zone() -> None:
    for written in ("19630306", "19630306233000-0800", "19630306+1400"):
        pid = PID.replace("19630306", written)
        (row,) = rows(message("ADT^A08", pid, at="20260110120000+0900"), "patients")
        assert row["birth_date"] == float((datetime.date(1963, 3, 6) - datetime.date(1970, 1, 1)).days)


@pytest.mark.parametrize("written", ["20261301", "yesterday", "2026-01-05", "20260105+9999"])
def test_a_time_that_is_none_is_told(written: str) -> None:
    data = message("ADT^A08", PID, PV1, f"DG1|1||I21^x^I10||{written}")
    assert refusals(data) == [("DG1-5", "time")]
    assert [row["time"] for row in rows(data, "conditions")] == [None]


def test_options_are_data() -> None:
    assert dataclasses.replace(Hl7Options(), charset="latin-1").charset == "latin-1"
