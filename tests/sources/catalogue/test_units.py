"""Units are the same by what they mean, and what comes from outside is not reckoned with."""

import builtins
import time
from typing import Any

import pytest

from fedcohort.errors import ConfigError, StudyError
from fedcohort.sources.catalogue.units import conversion, same_unit
from fedcohort.sources.importer.mapping import MappedColumn
from tests.patience import PATIENCE_SECONDS


def without_pint(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pint":
            raise ModuleNotFoundError("No module named 'pint'")
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)


@pytest.mark.parametrize(
    ("one", "other"), [("g/L", "mg/mL"), ("years", "year"), ("1/min", "min^-1"), ("mg/dl", "mg / dL")]
)
def test_units_are_the_same_by_what_they_mean(one: str, other: str) -> None:
    assert same_unit(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mg/dL", "mmol/L"),
        ("mmol/L", "Mmol/L"),
        ("degC", "degF"),
        ("degC", "K"),
        ("IU/L", "kU/L"),
        ("a b", "c"),
    ],
)
def test_units_that_differ_are_not_the_same(one: str, other: str) -> None:
    assert not same_unit(one, other)


def test_without_pint_units_are_compared_as_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pint(monkeypatch)
    assert same_unit("mg/dl", "mg/dL")
    assert not same_unit("mg/dL", "mmol/L")


def test_a_power_from_another_site_is_never_reckoned() -> None:
    assert not same_unit("mg/dL", "mmol/L")  # imports pint, which is not timed
    began = time.process_time()
    for hostile in ("9^9^9^9", "9**9**9**9", "m^9^9^9^9", "10^99^9^9/L", "__import__('os')"):
        assert not same_unit(hostile, "mg/dL")
    assert time.process_time() - began < PATIENCE_SECONDS


@pytest.mark.parametrize("unit", [" ", "mg\n/dL", "m" * 33])
def test_a_unit_that_no_catalogue_could_tell_is_refused_in_the_mapping(unit: str) -> None:
    with pytest.raises(StudyError, match="unit"):
        MappedColumn(unit=unit)


def test_a_mapping_with_units_says_what_to_install_where_pint_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_pint(monkeypatch)
    with pytest.raises(
        ConfigError,
        match=r"units need pint: "
        r"pip install -c constraints.txt '\.\[files\]' in fedcohort's folder",
    ):
        MappedColumn(unit="mmol/L", local_unit="mg/dL", substance="glucose")


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [
        ("10^3/uL", "10^9/L", 1.0),
        ("10*3/uL", "10^9/L", 1.0),
        ("10³/µL", "10⁹/L", 1.0),
        ("x10^9/L", "10^9/L", 1.0),
        ("1/uL", "10^9/L", 1e-3),
        ("/uL", "10^9/L", 1e-3),
        ("cells/uL", "10^9/L", 1e-3),
        ("10^12/L", "10^6/uL", 1.0),
        ("10^9/L", "1/L", 1e9),
        ("10(9)/L", "1e9/L", 1.0),
        ("10^9 cells/L", "10^9/L", 1.0),
    ],
)
def test_counts_of_cells_are_converted_with_their_powers_of_ten(
    source: str, target: str, factor: float
) -> None:
    assert conversion(source, target) == (factor, 0.0)
    assert MappedColumn(local_unit=source, unit=target).affine == (factor, 0.0)


@pytest.mark.parametrize("one", ["10^3/uL", "10*9/L", "10³/µL", "x10^9/L", "1e9/L", "10^6/mL"])
def test_counts_of_cells_are_the_same_unit_however_they_are_written(one: str) -> None:
    assert same_unit(one, "10^9/L")
    assert not same_unit(one, "10^9/mL")


@pytest.mark.parametrize(
    ("source", "target"), [("10E9/L", "10^9/L"), ("K/uL", "10^9/L"), ("mEq/L", "mmol/L")]
)
def test_what_pint_cannot_convert_names_factor_which_does(source: str, target: str) -> None:
    with pytest.raises(StudyError, match="factor in place of local_unit"):
        MappedColumn(local_unit=source, unit=target)
    assert MappedColumn(factor=1.0, unit=target).affine == (1.0, 0.0)
