"""A site's rows as stages see them: by part and by patient, who is the unit that privacy speaks of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import SiteState
from fedcohort.table import SPLITS, Table

Ints = NDArray[np.int64]
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Rows:
    """A cohort's table at one site, and what was made of it for a study.

    Attributes:
        most: rows of a patient that count, under privacy; None: all rows count.
        site_state: what the site remembers of earlier rounds.
        told_as: the site's name, where its approval lets figures of it be told by themselves.
    """

    table: Table
    most: int | None = None
    site_state: SiteState = field(default_factory=dict)
    told_as: str = ""
    made: dict[object, object] = field(default_factory=dict, repr=False)

    def once(self, key: object, make: Callable[[], Made]) -> Made:
        """What `make` makes, once a study and site."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]  # type: ignore[return-value]

    def latest(self, name: str, asked: bytes, make: Callable[[], Made]) -> Made:
        """What was made of what was asked last: to ask otherwise in each round fills no memory."""
        held = self.made.get(("latest", name))
        if not isinstance(held, tuple) or held[0] != asked:
            self.made.pop(("latest", name), None)
            held = self.made[("latest", name)] = (asked, make())
        made: Made = held[1]
        return made

    @property
    def _patients(self) -> tuple[Ints, Ints]:
        """The first row of each patient, and the patient of each row: one array where both are the same."""

        def grouped() -> tuple[Ints, Ints]:
            if self.once_each:
                each = np.arange(self.table.n_rows)
                return each, each
            _, first, owner = np.unique(self.table.patient_ids, return_index=True, return_inverse=True)
            return first, owner

        return self.once("patients", grouped)

    @property
    def owner(self) -> Ints:
        """(n_rows,): the patient of each row, numbered from 0."""
        return self._patients[1]

    @property
    def part_of_patient(self) -> NDArray[np.int8]:
        """(n_patients,): the split of each patient's first row, so that no patient is in two."""
        return self.table.split[self._patients[0]]

    def of(self, part: str) -> Ints:
        """The rows of a part, `all` or a split; under privacy the first few of each of its patients."""
        return self.once(("rows", part), lambda: self._of(part))

    def _of(self, part: str) -> Ints:
        if self.most is None:
            everyone = part == "all"
            return (
                np.arange(self.table.n_rows) if everyone else np.flatnonzero(self.table.split == SPLITS[part])
            )
        rows = self.by_patient(part)
        return rows[rows >= 0].astype(np.int64)

    def patients(self, part: str) -> Ints:
        """One row of each patient of a part, the first."""
        if part == "all":
            return self._patients[0]
        return self.once(("patients", part), lambda: self._patients[0][self.part_of_patient == SPLITS[part]])

    @property
    def once_each(self) -> bool:
        """Whether patients come in order, and each has one row, which need not be picked out then."""

        def in_order() -> bool:
            ids = self.table.patient_ids
            return self.table.one_row_each or bool(np.all(ids[1:] > ids[:-1]))

        return self.once("one row each", in_order)

    @property
    def one_each(self) -> Ints | None:
        """One row of each patient, as contributions name rows: None, all of them, where they are that."""
        return None if self.once_each and self.most is None else self.patients("all")

    def firsts(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_patients,): of all patients, a column's value in the first row."""
        return values if self.once_each else values[self._patients[0]]

    def by_patient(self, part: str) -> NDArray[np.int32]:
        """(n_patients, most) row indices of the patients of a part, -1 where a patient has no more."""
        return self.once(("by patient", part), lambda: self._by_patient(part))

    def _by_patient(self, part: str) -> NDArray[np.int32]:
        owner, most = self.owner, 1 if self.most is None else self.most
        mine = np.arange(len(owner))
        if part != "all":
            mine = np.flatnonzero(self.table.split == self.part_of_patient[owner])
        order = mine[np.argsort(owner[mine], kind="stable")]
        whose = owner[order]
        begins = np.searchsorted(whose, np.arange(len(self._patients[0])))
        place = np.arange(len(order)) - begins[whose]
        counted = place < most
        rows = np.full((len(self._patients[0]), most), -1, np.int32)
        rows[whose[counted], place[counted]] = order[counted]
        return rows if part == "all" else rows[self.part_of_patient == SPLITS[part]]
