"""A site's mapping file: its own column names, units and codes against the words of studies.

    [tables.labs]
    patient_id = "subject_id"
    key = ["labevent_id"]
    decimal = ","
    thousands = "."

    [tables.labs.columns.glucose]
    from = "GLU_MGDL"
    low = 1.0
    high = 60.0
    unit = "mmol/L"
    local_unit = "mg/dL"
    substance = "glucose"

    [tables.labs.columns.sex]
    from = "gender"
    levels = ["f", "m"]
    codes = { F = "f", M = "m" }

Units are converted by pint; between mass and amount of substance it needs the molar mass.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field as Limits
from pydantic import model_validator

from fedcohort.columns import Categorical, Frozen, Identifier, Level, Numeric, Real, validated
from fedcohort.errors import ConfigError
from fedcohort.sources.catalogue.schema import PATIENT_ID, Declared
from fedcohort.sources.catalogue.units import MAX_UNIT, conversion, is_unit
from fedcohort.sources.importer.numbers import PLAIN, Decimal, Thousands, Writing
from fedcohort.sources.importer.values import Field

MOLAR_MASSES = {
    "albumin": 66_500.0,
    "bilirubin": 584.66,
    "calcium": 40.078,
    "cholesterol": 386.65,
    "creatinine": 113.12,
    "glucose": 180.156,
    "haemoglobin": 64_458.0,
    "hdl cholesterol": 386.65,
    "iron": 55.845,
    "lactate": 89.07,
    "ldl cholesterol": 386.65,
    "magnesium": 24.305,
    "phosphate": 94.971,
    "potassium": 39.098,
    "sodium": 22.990,
    "triglycerides": 885.4,
    "urate": 168.11,
    "urea": 60.056,
}
"""Grams a mole, of what laboratories report in both ways."""

Text = Annotated[str, Limits(min_length=1, max_length=256)]


class MappedColumn(Frozen):
    """One column of the study's table: where it comes from, and what it may hold."""

    source: Text | None = Limits(default=None, alias="from")
    low: Real | None = None
    high: Real | None = None
    levels: tuple[Level, ...] | None = None
    text: bool = False
    unit: Annotated[str, Limits(min_length=1, max_length=MAX_UNIT)] | None = None
    local_unit: Text | None = None
    substance: Text | None = None
    molar_mass: Annotated[float, Limits(gt=0)] | None = None
    """Grams a mole; needed where `substance` is not in the list."""
    factor: Annotated[float, Limits(gt=0)] | None = None
    """Instead of units: what the source's numbers are multiplied by."""
    codes: dict[str, Level | Real] = Limits(default_factory=dict)
    """The source's texts to levels; or to numbers, in the source's unit."""
    missing: tuple[str, ...] = ()
    decimal: Decimal | None = None
    thousands: Thousands | None = None
    """Of this column, where it is not written as its table is."""
    outside: Literal["refuse", "missing"] = "refuse"
    """What becomes of a value outside the bounds, a limit such as <0.5, or a level that is not declared."""

    later: ClassVar[tuple[str, ...]] = ("decimal", "thousands", "outside")
    """What older versions do not know: left out of what decides an import's sameness where nobody said it."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        bounds = (self.low, self.high, self.local_unit, self.substance, self.molar_mass, self.factor)
        numeric = (*bounds, self.decimal, self.thousands)
        if (self.levels is not None or self.text) and any(value is not None for value in numeric):
            raise ValueError("bounds and units are for numbers; a column with levels or text has none")
        if self.levels is not None and self.text:
            raise ValueError("give levels, or text = true, not both")
        if self.codes and self.text:
            raise ValueError("codes need levels or numbers, which they are translated to; a text has none")
        if self.levels is None and any(isinstance(code, str) for code in self.codes.values()):
            raise ValueError("codes need levels where they are translated to texts")
        if self.outside == "missing" and (self.text or (self.levels is None and self.low is None)):
            raise ValueError('outside = "missing" needs low and high, or levels, to be outside of')
        if self.unit is not None and not is_unit(self.unit):
            raise ValueError("unit: a short text that prints on one line, such as mmol/L")
        if self.local_unit is not None and self.unit is None:
            raise ValueError("local_unit needs unit, which it is converted to")
        if self.factor is not None and self.local_unit is not None:
            raise ValueError("give factor, or local_unit, not both")
        if self.substance is not None and self.molar_mass is None and self.substance not in MOLAR_MASSES:
            raise ValueError(f"substance: known are {', '.join(MOLAR_MASSES)}; for others give molar_mass")
        _ = self.affine, self.declared
        return self

    @property
    def unsaid(self) -> set[str]:
        """Those of `later` that are at their defaults."""
        fields = type(self).model_fields
        return {name for name in self.later if getattr(self, name) == fields[name].get_default()}

    @cached_property
    def declared(self) -> Declared | None:
        """What the site's database declares; None for a text."""
        if self.text:
            return None
        if self.levels is not None:
            return Declared(Categorical(self.levels))
        return Declared(Numeric(self.low, self.high), self.unit)

    @cached_property
    def affine(self) -> tuple[float, float]:
        """(factor, offset) from the source's numbers to the declared unit."""
        if self.factor is not None:
            return self.factor, 0.0
        if self.local_unit is None or self.local_unit == self.unit:
            return 1.0, 0.0
        mass = self.molar_mass or MOLAR_MASSES.get(self.substance or "")
        return conversion(self.local_unit, str(self.unit), mass)

    def field(self, name: str, table: Writing) -> Field:
        """How its values are read.

        Args:
            table: how numbers are written in its table's other columns.
        """
        missing = frozenset(self.missing)
        writing = writing_of(self.decimal, self.thousands, table)
        source = self.source or name
        return Field(
            name, source, self.declared, self.affine, self.codes, missing, writing, outside=self.outside
        )


def writing_of(decimal: Decimal | None, thousands: Thousands | None, others: Writing = PLAIN) -> Writing:
    """How numbers are written, where something of it is said; of two points the other is a comma.

    Raises:
        ValueError: one mark would stand before decimals and between thousands.
    """
    if decimal is None and thousands is None:
        return others
    if decimal is None:
        decimal = "," if thousands == "." else "." if thousands == "," else others.decimal
    if thousands is None:
        thousands = "" if others.thousands == decimal else others.thousands
    if decimal == thousands:
        raise ValueError(f"decimal and thousands: both are {decimal!r}; one mark cannot mean both")
    return Writing(decimal, thousands, is_said=True)


class MappedTable(Frozen):
    """One table of the site's database.

    Attributes:
        patient_id: the source's column that names the patient.
        key: columns of this table by which a record replaces the earlier one.
        decimal: what stands before the decimals of numbers in texts.
        thousands: what stands between their groups of three digits.
        others: whether the source's other columns come in, too, as they do without a mapping.
    """

    patient_id: Text = PATIENT_ID
    key: tuple[Identifier, ...] = ()
    decimal: Decimal | None = None
    thousands: Thousands | None = None
    others: bool = False
    columns: dict[Identifier, MappedColumn] = Limits(default_factory=dict)

    @model_validator(mode="after")
    def _keys_are_columns(self) -> Self:
        if PATIENT_ID in self.columns:
            raise ValueError(f"columns.{PATIENT_ID}: name the source's column in patient_id instead")
        strange = [name for name in self.key if name not in {PATIENT_ID, *self.columns}]
        if strange:
            raise ValueError(f"key: {', '.join(strange)}: no column of this table")
        if not self.columns and not self.others:
            raise ValueError("columns: name one at least, or write others = true")
        _ = self.fields
        return self

    @property
    def writing(self) -> Writing:
        """How numbers are written in its texts."""
        return writing_of(self.decimal, self.thousands)

    @property
    def fields(self) -> list[Field]:
        """How every column is read, the patient first."""
        patient = Field(PATIENT_ID, self.patient_id)
        columns = [column.field(name, self.writing) for name, column in self.columns.items()]
        return [patient, *(replace(mapped, is_exact=mapped.name in self.key) for mapped in columns)]

    @property
    def context(self) -> str:
        """What decides how values are read: the same text as ever, as long as nothing newer is said."""
        unsaid: dict[str, Any] = {name: True for name in ("decimal", "thousands") if not getattr(self, name)}
        unsaid |= {name: True for name in ("decimal",) if self.decimal == "."}
        unsaid |= {} if self.others else {"others": True}
        unsaid["columns"] = {name: column.unsaid for name, column in self.columns.items()}
        return self.model_dump_json(exclude=unsaid)

    @property
    def declared(self) -> dict[str, Declared]:
        """What the site's database declares."""
        declarations = {name: column.declared for name, column in self.columns.items()}
        return {name: declared for name, declared in declarations.items() if declared is not None}


class MappingFile(Frozen):
    """The whole file."""

    tables: dict[Identifier, MappedTable] = Limits(min_length=1)


def read_mapping(path: Path) -> Mapping[str, MappedTable]:
    """Read a mapping file: tables by name.

    Raises:
        ConfigError: names the file and every wrong field.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the mapping file by --mapping") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return validated(MappingFile, data, str(path)).tables
