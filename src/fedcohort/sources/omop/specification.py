"""The fields of OMOP's common data model 5.3 and 5.4, as its specification lists them."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

VERSIONS = ("5.3", "5.4")


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes:
        kind: as the specification writes its type, such as integer, date, datetime or float.
        required: whether it must be filled in every row.
        versions: of the model that have it.
    """

    kind: str
    required: bool
    versions: frozenset[str]


@lru_cache(maxsize=1)
def fields() -> Mapping[str, Mapping[str, Field]]:
    """By table, its fields."""
    text = (files("fedcohort.sources.omop") / "cdm_fields.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    tables: dict[str, dict[str, Field]] = {}
    for row in csv.DictReader(lines):
        one = Field(row["type"], row["required"] == "yes", frozenset(row["versions"].split()))
        tables.setdefault(row["table"], {})[row["field"]] = one
    return tables


def missing_fields(table: str, columns: frozenset[str]) -> dict[str, list[str]]:
    """By version, the required fields that a table lacks; its columns in small letters."""
    return {
        version: sorted(
            name
            for name, one in fields()[table].items()
            if one.required and version in one.versions and name not in columns
        )
        for version in VERSIONS
    }
