"""Units by UCUM: its own cases, what laboratories write, and texts of strangers."""

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ucumvert", reason="units of events need the extra ucum")

from fedcohort.sources.catalogue.ucum import conversion, is_valid

CASES = Path(os.environ.get("FEDCOHORT_DATA", "-")) / "official" / "ucum" / "UcumFunctionalTests.xml"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("mmol/L", "umol/L", (1000.0, 0.0)),
        ("g/L", "mg/dL", (100.0, 0.0)),
        ("10*9/L", "10*3/uL", (1.0, 0.0)),
        ("mmHg", "mm[Hg]", (1.0, 0.0)),
        ("Cel", "K", (1.0, 273.15)),
        ("mg/dl", "mg/dL", (1.0, 0.0)),
        ("mg/dL", "umol/L", None),
        ("apples", "mg/dL", None),
        ("", "1", None),
    ],
)
def test_units_convert_as_laboratories_mean_them(
    source: str, target: str, expected: tuple[float, float] | None
) -> None:
    assert conversion(source, target) == expected


@given(st.text(alphabet="mgdLku/.*[]{}()^0123456789 -+%'\u00b5", max_size=70))
def test_no_text_is_more_than_no_unit(text: str) -> None:
    conversion(text, "mg/dL")


@pytest.mark.skipif(not CASES.is_file(), reason="FEDCOHORT_DATA has no official/ucum")
def test_ucums_own_cases_hold() -> None:
    root = ET.parse(CASES).getroot()
    cases = root.findall("validation/*")
    wrong = [case for case in cases if is_valid(str(case.get("unit"))) != (case.get("valid") == "true")]
    assert len(cases) >= 525
    assert len(wrong) <= 3
    off = []
    for case in root.findall("conversion/*"):
        converts = conversion(str(case.get("srcUnit")), str(case.get("dstUnit")))
        outcome = float(str(case.get("outcome")))
        given_value = float(str(case.get("value")))
        if converts is None or abs(given_value * converts[0] + converts[1] - outcome) > 0.02 * abs(outcome):
            off.append(case.get("id"))
    assert off == []
