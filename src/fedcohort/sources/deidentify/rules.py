"""What a site says about its columns before they are de-identified: a TOML file, validated once.

    dates = "shift"              # or "year": HIPAA's Safe Harbor keeps the year alone
    max_shift_days = 365
    identifiers = ['KH-\\d{6}']   # what this site's own numbers look like

    [columns]                    # in whatever table
    seen = { role = "date", format = "%d.%m.%Y" }

    [tables.visits]              # in one table, before what stands above
    visit_no = "code"

A column without a rule is treated by its name and declaration (`plan`).
"""

import datetime
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fedcohort.columns import Frozen, Identifier, Name, validated
from fedcohort.errors import ConfigError
from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.deidentify.pseudonym import DEFAULT_MAX_SHIFT_DAYS

Role = Literal["remove", "code", "date", "age", "zip", "keep", "vouched"]
"""What becomes of a column.

remove: it is left out. code: another identifier, such as a visit's number, by a keyed stand-in.
date: shifted or cut to the year. age: in years, over 89 as 90. zip: three digits of a US ZIP code.
keep: as it is, but a text with the shape of an identifier stops the import. vouched: as it is,
unread: somebody at the site answers for it.
"""

MAX_FILE_BYTES = 1_000_000


class Rule(Frozen):
    """One column's role."""

    role: Role
    format: Annotated[str, Field(min_length=2, max_length=64, pattern="%")] | None = None
    """How its dates are written, for strptime; None for ISO 8601 and for DICOM's and HL7's digits."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        return {"role": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _formats_are_of_dates(self) -> "Rule":
        if self.format and self.role != "date":
            raise ValueError("format is for the role date")
        return self


Columns = dict[Name, Rule]


class Rules(Frozen):
    """A site's rules; the empty file is a valid one."""

    dates: Literal["shift", "year"] = "shift"
    max_shift_days: Annotated[int, Field(strict=True, ge=1, le=3650)] = DEFAULT_MAX_SHIFT_DAYS
    as_of: datetime.date | None = None
    """Day from which 90 years are counted back, as no date before tells more; None for the import's."""
    file_names: Literal["mask", "keep"] = "mask"
    """Whether names of files in an imported folder may be a patient's."""
    identifiers: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        default=(), max_length=100
    )
    columns: Columns = Field(default_factory=dict)
    tables: dict[Identifier, Columns] = Field(default_factory=dict)

    @field_validator("identifiers")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                empty = re.search(pattern, "")
            except (re.error, RecursionError, OverflowError):
                raise ValueError("one is not a regular expression") from None
            if empty:
                raise ValueError("one fits the empty text, and so everything")
        return patterns

    @model_validator(mode="after")
    def _patients_have_no_choice(self) -> "Rules":
        if any(PATIENT_ID in columns for columns in (self.columns, *self.tables.values())):
            raise ValueError(f"{PATIENT_ID} always becomes a pseudonym; take it out")
        return self

    def rule(self, table: str, column: str) -> Rule | None:
        """What is said about a column, in its table first."""
        of_table: Mapping[str, Rule] = self.tables.get(table, {})
        return of_table.get(column) or self.columns.get(column)


def read_rules(path: Path) -> Rules:
    """Read a rules file.

    Raises:
        ConfigError: names the file and every wrong field.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: more than {MAX_FILE_BYTES:,} bytes; is it a rules file?")
        content = tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the rules' file by --deidentify") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError(f'{path}: not TOML; write such as: dates = "shift"') from None
    return validated(Rules, content, str(path))


def check_rules(rules: Rules, table: str, columns: Collection[str]) -> None:
    """Refuse a rule for a column that is not there: a mistyped name would leave the right one as it is.

    Raises:
        ConfigError: names the column, and what the table has.
    """
    for where, given in (("columns", rules.columns), (f"tables.{table}", rules.tables.get(table, {}))):
        unknown = sorted(set(given) - set(columns))
        if unknown:
            raise ConfigError(
                f"rules: [{where}] names {', '.join(unknown)}, which table {table} does not have; it has "
                f"{', '.join(sorted(columns))}"
                + ("; what only another table has belongs to [tables.NAME]" if where == "columns" else "")
            )
