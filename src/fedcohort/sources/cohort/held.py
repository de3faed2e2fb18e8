"""A cohort's values as a node can hold them, whatever study asks: to answer again from what was there before.

A column is held as numbers (doubles, NaN where missing) or as levels (the texts of `level_key`), which is all
that `convert` reads of a value. So of what is held each study's table is made as of the database's rows, with
its own bounds and levels, in the same bits.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Binary, Classes, Image, Number, Numeric, Survival
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.normal_form import FORM, UnreadableError, level_key
from fedcohort.sources.cohort.convert import convert, numbers
from fedcohort.sources.cohort.order import in_order
from fedcohort.sources.cohort.patients import patients
from fedcohort.sources.cohort.values import NEITHER, Coded, Raw, Values, plain
from fedcohort.study import Cohort
from fedcohort.table import Table

Use = tuple[Literal["number", "level"], str]
"""How a column is held, and its name."""
Floats = NDArray[np.float64]
Places = NDArray[np.intp]
Mask = NDArray[np.bool_]
Bits = NDArray[np.uint64]


@dataclass(frozen=True, repr=False)
class Held:
    """Rows of a cohort, in order of their patients.

    Attributes:
        patients: (n,) of each row, in the data set's form of identifiers.
        columns: doubles, or texts coded in order of the texts.
    """

    patients: NDArray[np.str_]
    columns: Mapping[Use, Floats | Coded]
    form: int = FORM

    def __repr__(self) -> str:
        return f"Held({len(self.patients)} rows, {len(self.columns)} columns)"

    @cached_property
    def alone(self) -> bool:
        """Whether each patient has one row."""
        return not (self.patients[1:] == self.patients[:-1]).any()

    def values(self, name: str) -> Floats:
        """(n,) of a column, as numbers or places of levels, NaN where missing; of one that is not held, 0."""
        column = next((column for (_, held), column in self.columns.items() if held == name), None)
        if column is None:
            return np.zeros(len(self.patients))
        return (
            _coded(column, {word: place for place, word in enumerate(column.values)})
            if isinstance(column, Coded)
            else column
        )

    def rows(self, which: Mask | Places) -> "Held":
        """These rows alone."""
        columns = {use: _taken(column, which) for use, column in self.columns.items()}
        return replace(self, patients=self.patients[which], columns=columns)

    def only(self, uses: Collection[Use]) -> "Held":
        """These columns alone."""
        return replace(self, columns={use: self.columns[use] for use in uses})

    def table(self, cohort: Cohort, seed: int) -> Table:
        """What `load_cohort` makes of the same rows.

        Raises:
            SchemaError, ValueRangeError, CohortError: as `load_cohort`.
        """
        values: dict[str, Values] = {name: column for (_, name), column in self.columns.items()}
        raw = Raw(cohort.table, {**values, cohort.patient_id: self.patients})
        return in_order([convert(raw, cohort, seed, form=self.form)], cohort.table)


def _taken(column: Floats | Coded, which: Mask | Places) -> Floats | Coded:
    return Coded(column.codes[which], column.values) if isinstance(column, Coded) else column[which]


def uses_of(cohort: Cohort) -> tuple[Use, ...] | None:
    """How a study's columns are held; None where they are not: images, or one column in two ways."""
    if any(isinstance(kind, Image) for kind in cohort.schema_.values()):
        return None
    uses: dict[Use, None] = {
        ("number" if isinstance(kind, Numeric) else "level", name): None
        for name, kind in cohort.schema_.items()
    }
    uses |= dict.fromkeys(label_uses(cohort))
    if isinstance(cohort.split, str):
        uses["level", cohort.split] = None
    names = [name for _, name in uses]
    return tuple(uses) if len(set(names)) == len(names) and cohort.patient_id not in names else None


def label_uses(cohort: Cohort) -> tuple[Use, ...]:
    """The columns without which a row is left out."""
    match cohort.typed_label:
        case None:
            return ()
        case Binary(column=name) | Classes(column=name):
            return (("level", name),)
        case Number(column=name):
            return (("number", name),)
        case Survival(time=time, event=event):
            return (("number", time), ("level", event))


@dataclass
class Holding:
    """Chunks of rows that are read one after the other.

    Attributes:
        uses: of every column that is held.
        asked: of those, what the study asks for: something that does not fit is an error there, and else
            missing.
    """

    cohort: Cohort
    uses: tuple[Use, ...]
    asked: Collection[Use]
    patients: list[NDArray[np.str_]] = field(default_factory=list)
    chunks: dict[Use, list[NDArray[np.float64] | NDArray[np.int64]]] = field(default_factory=dict)
    words: dict[Use, dict[str | None, int]] = field(default_factory=dict)

    def add(self, raw: Raw, form: int) -> None:
        """Take the rows of a chunk, without those that have no label.

        Raises:
            SchemaError, ValueRangeError: something does not fit.
        """
        ids, unfit = patients(
            raw.values[self.cohort.patient_id], f"{raw.table}.{self.cohort.patient_id}", form
        )
        for fault in unfit:
            raise fault.error
        columns = {use: self._column(raw, use) for use in self.uses}
        there = np.ones(len(ids), np.bool_)
        for use in label_uses(self.cohort):
            there &= columns[use] >= 0 if use[0] == "level" else ~np.isnan(columns[use])
        self.patients.append(ids[there])
        for use, column in columns.items():
            self.chunks.setdefault(use, []).append(column[there])

    def _column(self, raw: Raw, use: Use) -> NDArray[np.float64] | NDArray[np.int64]:
        kind, name = use
        where, values = f"{raw.table}.{name}", raw.values[name]
        if kind == "number":
            column, unfit = numbers(values, where)
            for fault in unfit if use in self.asked else ():
                raise fault.error
            return column
        return self._codes(values, use, where)

    def _codes(self, values: Values, use: Use, where: str) -> NDArray[np.int64]:
        words = self.words.setdefault(use, {None: -1})
        objects = values.values if isinstance(values, Coded) else plain(values)

        def code(value: object) -> int:
            try:
                return words.setdefault(level_key(value), len(words) - 1)
            except UnreadableError:
                if use in self.asked:
                    raise SchemaError(NEITHER, column=where) from None
                return -1

        codes = np.fromiter(map(code, objects), np.int64, len(objects))
        return np.append(codes, -1)[values.codes] if isinstance(values, Coded) else codes

    def held(self, form: int) -> Held:
        """All of them, in order of patients; of one patient in order of the values."""
        ids = np.concatenate(self.patients) if self.patients else np.empty(0, np.str_)
        columns: dict[Use, Floats | Coded] = {}
        for use in self.uses:
            column = np.concatenate(self.chunks.pop(use)) if use in self.chunks else np.empty(0)
            if use[0] == "number":
                columns[use] = column.astype(np.float64, copy=False)
                continue
            words = self.words.get(use, {None: -1})
            keys = sorted(word for word in words if word is not None)
            place = {words[key]: index for index, key in enumerate(keys)}
            moved = np.array([*(place[code] for code in range(len(keys))), -1], np.int64)
            columns[use] = Coded(moved[column.astype(np.int64)], tuple(keys))
        held = Held(ids, columns, form)
        by_patient = held.rows(np.argsort(ids, kind="stable"))
        if by_patient.alone:
            return by_patient
        values = [_numbered(column) for column in columns.values()]
        return held.rows(np.lexsort([*values, ids]))


def _numbered(column: Floats | Coded) -> Floats | NDArray[np.int64]:
    return column.codes if isinstance(column, Coded) else column


@dataclass(frozen=True)
class Changes:
    """How two states of the same cohort and columns differ.

    Attributes:
        patients: all of both, in order.
        changed: (n,) of these, whose rows are not the same.
        gone: (n,) who is no longer there.
        least: of the columns in which anything has changed, for how many patients in that with the fewest; a
            value that is missing and a patient who is not there are the same.
    """

    patients: NDArray[np.str_]
    changed: Mask
    gone: Mask
    least: int

    @property
    def n(self) -> int:
        """How many patients have changed, come or gone."""
        return int(self.changed.sum())


def changes(before: Held, now: Held) -> Changes:
    """Compare rows of the same columns.

    Of each patient and column the values are compared by a keyed digest that has no order, since a patient
    may have several rows; as long as nothing has changed it takes as long as where all has.
    """
    key = np.uint64(secrets.randbits(64))
    everyone = np.unique(np.concatenate([before.patients, now.patients]))
    at = [np.searchsorted(everyone, held.patients) for held in (before, now)]
    n = [np.bincount(place, minlength=len(everyone)) for place in at]
    whole = [np.full(len(place), key) for place in at]
    changed, least = n[0] != n[1], 0
    for use, column in before.columns.items():
        pair = [_mixed(values, key) for values in _together(column, now.columns[use])]
        whole = [_mix(row + values) for row, values in zip(whole, pair, strict=True)]
        count = int(_differing(at, pair, len(everyone)).sum())
        least = min(count, least or count) if count else least
    changed |= _differing(at, whole, len(everyone))
    return Changes(everyone, changed, (n[0] > 0) & (n[1] == 0), least)


def _together(one: Floats | Coded, other: Floats | Coded) -> tuple[Floats, Floats]:
    """Values of a column before and now as numbers that are the same where the values are; NaN is missing."""
    if not (isinstance(one, Coded) and isinstance(other, Coded)):
        return np.asarray(_numbered(one), np.float64), np.asarray(_numbered(other), np.float64)
    words = {word: place for place, word in enumerate(dict.fromkeys((*one.values, *other.values)))}
    return _coded(one, words), _coded(other, words)


def _coded(column: Coded, words: Mapping[object, int]) -> Floats:
    return np.array([*(words[word] for word in column.values), np.nan])[column.codes]


def _mixed(values: Floats, key: np.uint64) -> Bits:
    """A digest of each value, none of a missing one."""
    bits = (values + 0.0).view(np.uint64)  # the two zeros are one number
    return np.where(np.isnan(values), np.uint64(0), _mix(bits ^ key))


def _mix(bits: Bits) -> Bits:
    """Every bit of a number from every other (splitmix64: Steele, Lea, Flood 2014, OOPSLA)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _differing(at: Sequence[Places], digests: Sequence[Bits], n_patients: int) -> Mask:
    """(n_patients,): of whom the digests before and now, of all of their rows, are not the same."""
    sums = []
    for place, digest in zip(at, digests, strict=True):
        total = np.zeros(n_patients, np.uint64)
        if place.size:
            begins = np.flatnonzero(np.append(True, place[1:] != place[:-1]))
            total[place[begins]] = np.add.reduceat(digest, begins)
        sums.append(total)
    return np.asarray(sums[0] != sums[1])


def earlier(before: Held, now: Held, found: Changes, uses: Collection[Use]) -> Held | None:
    """The earlier rows, with columns that were not held yet as the same patients have them now.

    Args:
        now: of the columns of `before`, and of `uses`; nobody is gone.
        uses: what a study asks for.
    Returns:
        None where that cannot be said: a column was held in the other way, or of a patient with several
        rows who has changed nobody knows which row's value a new column's is.
    """
    new = [use for use in uses if use not in before.columns]
    if not new:
        return before
    held = {name for _, name in before.columns}
    if any(name in held for _, name in new):
        return None
    if before.alone and now.alone:
        at = np.searchsorted(now.patients, before.patients)
        added = {use: _taken(now.columns[use], at) for use in new}
        return replace(before, columns={**before.columns, **added})
    known = np.isin(now.patients, before.patients)
    changed = found.patients[found.changed]
    if np.isin(before.patients, changed).any():
        return None
    return now.rows(known)
