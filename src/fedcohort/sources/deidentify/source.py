"""De-identification of a source: identifiers of patients go in, and pseudonyms come out.

The importer applies it to every source, whatever that reads: identifiers of HIPAA's Safe Harbor are
left out (45 CFR 164.514(b)(2)), patients get keyed pseudonyms, dates move by a secret offset
of each patient. What is done to a column is decided in `plan`, before any value.
What this does not protect stands in docs/deidentification.md.
"""

import datetime
import hashlib
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.ages import OLDEST_PERSON_YEARS
from fedcohort.sources.catalogue.identifier_shapes import shape_of
from fedcohort.sources.catalogue.normal_form import FORM
from fedcohort.sources.catalogue.schema import PATIENT_ID, Declared
from fedcohort.sources.deidentify.lost_columns import CHANGED, none_lost
from fedcohort.sources.deidentify.plan import Place, Treatment, treatment
from fedcohort.sources.deidentify.pseudonym import (
    Alias,
    alias,
    code_pseudonym,
    key_id,
    masked_digest,
    masked_file_name,
)
from fedcohort.sources.deidentify.report import ColumnTally, DeidentificationReport
from fedcohort.sources.deidentify.rules import Rules, check_rules
from fedcohort.sources.deidentify.values import (
    Dates,
    aged,
    distinct,
    each_once,
    is_missing,
    moved_dates,
    zipped,
)
from fedcohort.sources.importer.batch import Batch, Part, Refusal, Source, closed_after

Tables = Mapping[str, Mapping[str, Declared]]

_READ_AS = {"date": "a date", "age": "an age", "zip": "a ZIP code"}
_REMEMBERED = 200_000
"""Patients whose pseudonym and offset are kept from one batch to the next."""
_LONG_NUMBER = 1_000_000
_LONGEST_FOLLOW_UP = 10_000
"""Days; as days since 1970 they are all before 1997-05-19."""
_CALENDAR_YEARS = (1900, 2100)
_UNSHARED_PATIENTS = 100
"""So many patients who share no value of a column of whole numbers: it tells them apart."""


class Deidentifier:
    """One import's de-identification; the key is in no representation."""

    def __init__(
        self,
        rules: Rules,
        key: bytes,
        tables: Tables,
        *,
        keys: Mapping[str, Sequence[str]] | None = None,
        origins: Mapping[str, Mapping[str, str]] | None = None,
        named: Collection[str] = (),
        today: datetime.date | None = None,
        form: int = FORM,
    ) -> None:
        """Decide what becomes of every declared column.

        Args:
            rules: the site's.
            key: the site's, as `load_or_create_key` reads it.
            tables: the source's tables, with what they declare.
            keys: table to columns by which a record replaces the earlier one.
            origins: table to columns to the names that the source has for them, which may tell more.
            named: parts that the engineer named one by one, and so may be called by their names.
            today: the day of the import, unless the rules say another.
            form: of identifiers, as the database has it (`identity.form_of`).
        Raises:
            ConfigError: a rule does not fit what is declared, or a key would no longer tell records apart.
        """
        self._rules = rules
        self._key = key
        self.form = form
        self._declared = tables
        self._keys = keys or {}
        self._origins = origins or {}
        self._named = frozenset(named)
        self._as_of = rules.as_of or today or datetime.datetime.now(datetime.UTC).date()
        self._patterns = [re.compile(pattern) for pattern in rules.identifiers]
        self._aliases: dict[object, Alias | None] = {}
        self._plans: dict[tuple[str, str], Treatment] = {}
        self._tallies: dict[tuple[str, str], ColumnTally] = {}
        self._seen: set[str] = set()
        for table, columns in tables.items():
            for column in dict.fromkeys((PATIENT_ID, *columns, *self._keys.get(table, ()))):
                self._treatment(table, column)

    @property
    def tables(self) -> Tables:
        """What the tables declare afterwards: without the columns left out, ages up to 90."""
        return {
            table: {
                column: plan.declared
                for column in columns
                if (plan := self._treatment(table, column)).declared is not None
            }
            for table, columns in self._declared.items()
        }

    @property
    def digest(self) -> str:
        """SHA-256 of rules and key's id: what was imported under another cannot be continued under this."""
        text = f"{key_id(self._key)}|{self._rules.model_dump_json()}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def identity(self) -> str:
        """How patients are known afterwards: all imports of one database must agree in it."""
        if self._rules.dates == "year":
            return f"pseudonyms of key {key_id(self._key)}, dates cut to the year"
        return (
            f"pseudonyms of key {key_id(self._key)}, dates shifted by up to {self._rules.max_shift_days} days"
        )

    def apply(self, batch: Batch) -> Batch:
        """The batch as it may be stored; every other batch is untouched by an error in this one.

        Raises:
            ConfigError: a rule names a column that the table does not have.
            SchemaError: a text that rules keep has an identifier's shape; names the column, never the value.
        """
        if batch.columns and batch.table not in self._seen:
            self._seen.add(batch.table)
            check_rules(self._rules, batch.table, {*batch.columns, *self._declared.get(batch.table, {})})
        aliases = self._aliases_of(batch.columns.get(PATIENT_ID, ()))
        columns, made_missing = {}, Counter(batch.made_missing)
        for column, values in batch.columns.items():
            plan = self._treatment(batch.table, column)
            tally = self._tallies[batch.table, column]
            if plan.action != "removed":
                columns[column], blanked = self._column(batch.table, column, plan, values, aliases)
                tally.blanked += blanked
                if blanked:
                    made_missing[f"{column} cannot be read as {_READ_AS[plan.action]}"] += blanked
                if plan.action in CHANGED and not tally.any_left:
                    tally.any_left = any(value is not None for value in columns[column])
        refusals = tuple(map(self._refusal, batch.refusals))
        return replace(batch, columns=columns, refusals=refusals, made_missing=made_missing)

    def content(self, digest: str) -> str:
        """A digest of a part's content as the database may hold it."""
        return masked_digest(self._key, digest)

    def _refusal(self, refusal: Refusal) -> Refusal:
        """A refusal under the masked name of its file, which its reason may repeat."""
        name = self.part_name(refusal.file)
        reason = refusal.reason if name == refusal.file else _unnamed(refusal, name)
        return replace(refusal, file=name, reason=reason)

    def report(self) -> DeidentificationReport:
        """What was done so far to each column."""
        return DeidentificationReport(self.identity, self._as_of, tuple(self._tallies.values()))

    def part_name(self, name: str) -> str:
        """A part as reports, refusals and the database may name it: a file's name may be a patient's."""
        if name in self._named or self._rules.file_names == "keep":
            return name
        return masked_file_name(self._key, name)

    def _treatment(self, table: str, column: str) -> Treatment:
        place = (table, column)
        if place not in self._plans:
            declared = self._declared.get(table, {}).get(column)
            origin = self._origins.get(table, {}).get(column, "")
            here = Place(table, column, declared, origin, column in self._keys.get(table, ()))
            plan = treatment(self._rules, here, self._code)
            self._plans[place] = plan
            self._tallies[place] = ColumnTally(table, column, plan.action, plan.why)
        return self._plans[place]

    def _code(self, column: str, value: str) -> str:
        return code_pseudonym(self._key, column, value, self.form)

    def _aliases_of(self, patients: Sequence[object]) -> list[Alias | None]:
        if len(self._aliases) > _REMEMBERED:
            self._aliases.clear()
        by_patient = self._aliases
        # 1.5 and Decimal('1.50') are equal to Python, and need not be one patient of an earlier form.
        typed = [
            patient_key if isinstance(patient_key, str) else (type(patient_key), str(patient_key))
            for patient_key in patients
        ]
        for patient, patient_key in zip(patients, typed, strict=True):
            if patient_key not in by_patient:
                by_patient[patient_key] = self._alias(patient)
        return [by_patient[patient_key] for patient_key in typed]

    def _alias(self, patient: object) -> Alias | None:
        if is_missing(patient):
            return None
        return alias(self._key, patient, self._rules.max_shift_days, self.form)

    def _column(
        self,
        table: str,
        column: str,
        plan: Treatment,
        values: Sequence[object],
        aliases: Sequence[Alias | None],
    ) -> tuple[Sequence[object], int]:
        match plan.action:
            case "pseudonym":
                return [alias_of_row and alias_of_row.name for alias_of_row in aliases], 0
            case "date":
                dates = Dates(self._rules.dates == "year", self._as_of, plan.format, plan.counts_days)
                return moved_dates(dates, values, aliases)
            case "age":
                if plan.per_year is None:
                    _check_years(table, column, values)
                per_year = plan.per_year or 1.0
                return each_once(values, lambda value: aged(value, per_year, numeric=plan.numeric))
            case "zip":
                return each_once(values, lambda value: zipped(value, numeric=plan.numeric))
            case "code":
                return each_once(values, lambda value: self._code(column, str(value)))
            case "kept" if not plan.numeric:
                self._check_texts(table, column, values)
            case "kept" if plan.elapsed:
                _check_elapsed(table, column, values)
            case "kept" if plan.unbounded:
                _check_numbers(table, column, values)
                _check_shared(table, column, values, aliases)
        return values, 0

    def _check_texts(self, table: str, column: str, values: Sequence[object]) -> None:
        shapes = {self._shape(value) for value in distinct(values) or values} - {None}
        if shapes:
            raise SchemaError(
                f"{table}.{column}: a text has the shape of {min(map(str, shapes))}; nothing of this batch "
                "was written: in the rules file make the column remove, code or date, or vouched when "
                "somebody answers for its texts"
            )

    def _shape(self, value: object) -> str | None:
        if isinstance(value, datetime.date):
            return "a date"
        if value is None or isinstance(value, bool | int | float | bytes):
            return None
        return shape_of(str(value), self._patterns)


def _unnamed(refusal: Refusal, name: str) -> str:
    for file in (refusal.file, PurePath(refusal.file).name):
        refusal = replace(refusal, reason=refusal.reason.replace(file, name))
    return refusal.reason


def _check_numbers(table: str, column: str, values: Sequence[object]) -> None:
    """A number of many digits that nobody declared bounds of may be a telephone's, or a patient's."""
    present: list[Any] = list(filter(None, values))  # declared as numbers, and looked at by C loops
    if max(present, default=0) < _LONG_NUMBER and -min(present, default=0) < _LONG_NUMBER:
        return
    if any(abs(value) >= _LONG_NUMBER and float(value).is_integer() for value in present):
        raise SchemaError(
            f"{table}.{column}: whole numbers of seven digits or more, which may be identifiers; nothing of "
            "this batch was written: declare bounds in the mapping, or in the rules file make the column "
            "code, remove or keep"
        )


def _check_elapsed(table: str, column: str, values: Sequence[object]) -> None:
    """Follow-up of at most 27 years in days; years, and days or seconds since some day, may be dates."""
    numbers = [value for value in values if isinstance(value, int | float)]
    low, high = min(numbers, default=0), max(numbers, default=0)
    if high > _LONGEST_FOLLOW_UP or (numbers and low >= _CALENDAR_YEARS[0] and high <= _CALENDAR_YEARS[1]):
        raise SchemaError(
            f"{table}.{column}: numbers that may be dates in a column called like a time; nothing of this "
            "batch was written: in the rules file make the column keep where they are times of follow-up, "
            "else date or remove"
        )


def _check_years(table: str, column: str, values: Sequence[object]) -> None:
    """An age of which nobody said the unit is taken for years as long as it can be."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if max(numbers, default=0) > OLDEST_PERSON_YEARS:
        raise SchemaError(
            f"{table}.{column}: ages above {OLDEST_PERSON_YEARS:g} in a column without a unit; nothing of "
            "this batch was written: declare unit in the mapping: months, weeks, days or hours, or years "
            "where a code such as 999 stands for a missing one"
        )


def _check_shared(table: str, column: str, values: Sequence[object], aliases: Sequence[Alias | None]) -> None:
    """A measurement is shared by patients; a number of the patient, or of a visit, is one patient's alone."""
    numbers = set(values)
    if len(numbers) < _UNSHARED_PATIENTS:
        return
    of_patients = (value for value, alias_of_row in zip(values, aliases, strict=True) if alias_of_row)
    if any(isinstance(v, float) and not math.isnan(v) and not v.is_integer() for v in of_patients):
        return  # a measurement, of which few values have to be looked at to find a fraction
    owned = {
        (value, alias_of_row.name)
        for value, alias_of_row in zip(values, aliases, strict=True)
        if alias_of_row and not is_missing(value)
    }
    n_patients = len({name for _, name in owned})
    alone = len(owned) == len({value for value, _ in owned}) and n_patients >= _UNSHARED_PATIENTS
    if alone and all(float(str(value)).is_integer() for value, _ in owned):
        raise SchemaError(
            f"{table}.{column}: whole numbers of which none belongs to two of {n_patients:,} patients, as a "
            "number of the patient or the visit would; nothing of this batch was written: declare bounds in "
            "the mapping, or in the rules file make the column code, remove or keep"
        )


def deidentified(source: Source, deidentifier: Deidentifier) -> Source:
    """The source as the importer may store it: every batch, declaration and part's name de-identified."""
    is_file = isinstance(source.parts, Sequence)  # images are found while they are read, a record each
    parts = (_part(part, deidentifier, is_file=is_file) for part in source.parts)
    return Source(deidentifier.tables, parts, source.notes, deidentifier.form)


def _part(part: Part, deidentifier: Deidentifier, *, is_file: bool) -> Part:
    def batches(done: int) -> Iterator[Batch]:
        with closed_after(part.batches(done)) as plain:
            safe = map(deidentifier.apply, plain)
            yield from none_lost(safe, lambda: deidentifier.report().columns, is_file=is_file)

    def prefix(size: int) -> str:
        digest = part.prefix(size) if part.prefix else ""
        return deidentifier.content(digest) if digest else ""

    return replace(
        part,
        name=deidentifier.part_name(part.name),
        digest=lambda: deidentifier.content(part.digest()),
        batches=batches,
        prefix=prefix if part.prefix else None,
    )
