"""The 18 identifiers of 45 CFR 164.514(b)(2)(i), by columns' names in four languages and values' shapes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.sources.catalogue.identifier_names import KINDS, kind_of_name, tells_elapsed_time
from fedcohort.sources.catalogue.identifier_shapes import SMALL_ZIP3, cap_age, shape_of, zip3

# Letter of the rule to names of columns, at least one in each language.
NAMED = {
    "A": "name first_name LastName patientname maiden-name nachname Vorname nom prénom 姓名 患者姓名",
    "B": "address HomeAddress street city county PLZ Straße Wohnort rue ville code_postal 地址 邮编 latitude",
    "C": "admit_date AdmitDate discharge_date dischtime Aufnahmedatum jour 住院日期 timestamp dod",
    "birth": "dob birth_date DateOfBirth Geburtsdatum date_de_naissance 出生日期 year_of_birth",
    "age": "age AGE age_years Alter 年龄 anchor_age",
    "zip": "zip zip_code ZIP5",
    "D": "phone phone_number mobile Telefonnummer handy téléphone 电话 手机",
    "E": "fax FaxNumber Telefax télécopie 传真",
    "F": "email e_mail_address EMail E-Mail-Adresse courriel 邮箱 電子郵件",
    "G": "ssn SocialSecurityNumber Sozialversicherungsnummer numero_secu NIR 身份证号 passport",
    "H": "mrn MRN medical_record_number hospital_no Fallnummer IPP numero_dossier 病历号 住院号 就诊号",
    "I": "insurance_no policy_number Versichertennummer krankenkasse mutuelle 医保卡 MemberID",
    "J": "account_number IBAN Kontonummer compte 银行 bank",
    "K": "license_no drivers_license Führerschein permis 驾照 certificate",
    "L": "vehicle VIN license_plate Kennzeichen immatriculation 车牌",
    "M": "device_id serial_number Seriennummer UDI numéro_de_série 设备",
    "N": "url website homepage site_web 网址",
    "O": "ip ip_address IPAddress IP-Adresse ip地址",
    "P": "fingerprint voiceprint Fingerabdruck empreinte 指纹",
    "Q": "photo face portrait Lichtbild photographie 照片",
    "R": "visit_id hadm_id uuid accession_number Kennnummer identifiant 编号 barcode patientunitstayid "
    "pid visitid csn hadmid rowid",
}
CLINICAL = """sex bp chol trestbps restecg thalach oldpeak cp num slope ca thal label disease diagnosis
    smoking bmi hemoglobin platelets platelet_count creatinine stage dosage mean_radius worst_area malignant
    ethnicity language marital_status state country gender admission_type hospital_expire_flag update
    set candidate icd_code
    los_days cell_count lipid uric_acid thyroid opioid covid carotid steroid fluid amyloid
    性别 收缩压 Geschlecht Blutdruck sexe tension"""


def test_all_eighteen_kinds_are_there() -> None:
    assert "".join(KINDS) == "ABCDEFGHIJKLMNOPQR"
    assert set(NAMED) - {"birth", "age", "zip"} == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "column"), [(kind, one) for kind, text in NAMED.items() for one in text.split()]
)
def test_a_column_is_known_by_its_name(kind: str, column: str) -> None:
    assert kind_of_name(column) == kind


@pytest.mark.parametrize("column", CLINICAL.split())
def test_a_clinical_column_is_no_identifier(column: str) -> None:
    assert kind_of_name(column) is None


@given(st.text(max_size=200))
def test_any_name_has_an_answer(column: str) -> None:
    assert kind_of_name(column) in {None, "zip", "birth", "age", *KINDS}


def test_how_long_is_not_when() -> None:
    assert all(
        tells_elapsed_time(name)
        for name in ("days_to_death", "survival_time", "LengthOfStay", "jours_depuis")
    )
    assert not any(tells_elapsed_time(name) for name in ("death_date", "admittime", "Datum"))


SHAPES = [
    ("write to jane@example.org", "an e-mail address"),
    ("see https://example.org/jane", "a web address"),
    ("WWW.example.org", "a web address"),
    ("from 192.168.1.20", "an IP address"),
    ("2001:db8::1", "an IP address"),
    ("00:1a:2b:3c:4d:5e", "an IP address"),
    ("123-45-6789", "a social security or national number"),
    ("11010519491231002X", "a social security or national number"),
    ("MRN 4711", "a medical record number"),
    ("Patient no. 12345", "a medical record number"),
    ("Fallnr: 99812", "a medical record number"),
    ("病历号:00123", "a medical record number"),
    ("call (555) 123-4567", "a telephone number"),
    ("555-123-4567", "a telephone number"),
    ("+49 170 1234567", "a telephone number"),
    ("0170/1234567", "a telephone number"),
    ("01 23 45 67 89", "a telephone number"),
    ("13812345678", "a telephone number"),
    ("Tel. 42 17 08", "a telephone number"),
    ("seen 2019-03-04", "a date"),
    ("am 4.3.2019", "a date"),
    ("2019年3月4日", "a date"),
    ("05-01-1950", "a date"),
    ("2024/01/05", "a date"),
    ("2024.1.5", "a date"),
    ("born 5 Jan 2024", "a date"),
    ("5-Jan-24", "a date"),
    ("3. März 2019", "a date"),
    ("1er août 1950", "a date"),
    ("January 5, 2024", "a date"),
    ("20240105", "a date"),
    ("x" * 10_001, "more than 10,000 characters of text"),
]


@pytest.mark.parametrize(("text", "shape"), SHAPES)
def test_a_text_is_known_by_its_shape(text: str, shape: str) -> None:
    assert shape_of(text) == shape


@pytest.mark.parametrize(
    "text",
    [
        "I25.1",
        "120/80",
        "5.5 mmol/l",
        "44054006",
        "LOINC 2345-7",
        "SARS-CoV-2",
        "1.2.840.10008.5.1",
        "10:30",
        "stage IIb",
        "C50.9 left",
        "1-2-3",
        "grade 3 of 5",
        "",
        "atorvastatin 40 mg",
        "NYHA III",
        "97 %",
        "1,234.5",
        "T2 N1 M0",
        "may 10 mg be given",
        "grade 2 mars",
        "20241399",
    ],
)
def test_a_code_or_a_measurement_is_no_identifier(text: str) -> None:
    assert shape_of(text) is None


@given(st.text(max_size=300))
def test_any_text_has_an_answer(text: str) -> None:
    assert shape_of(text) is None or isinstance(shape_of(text), str)


@pytest.mark.parametrize("piece", ["a@", "1.", "0 ", "+1", "mrn ", "::", "tel 0", "123-", "a:"])
def test_no_text_takes_long_to_look_at(piece: str) -> None:
    # Quadratic expressions would take minutes here; 10,000 characters is the longest text that is looked at.
    shape_of(piece * (10_000 // len(piece)))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("02139", "021"),
        (2139, "021"),
        (2139.0, "021"),
        ("02139-4307", "021"),
        ("021394307", "021"),
        ("606", "606"),
        ("03601", "000"),
        (3601, "000"),
        ("893", "000"),
        ("", None),
        ("K1A 0B1", None),
        ("123", "123"),
        (-5, None),
    ],
)
def test_a_zip_code_keeps_three_digits_where_many_live(value: object, kept: str | None) -> None:
    assert zip3(value) == kept


def test_seventeen_areas_are_small() -> None:
    assert len(SMALL_ZIP3) == 17
    assert all(zip3(area + "01") == "000" for area in SMALL_ZIP3)


@pytest.mark.parametrize(
    ("age", "kept"), [(0.5, 0.5), (89, 89), (89.0, 89.0), (89.5, 90.0), (90, 90), (104, 90)]
)
def test_ages_over_89_are_one(age: float, kept: float) -> None:
    assert cap_age(age) == kept
