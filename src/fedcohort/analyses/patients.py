"""Rows by patient: the unit that differential privacy speaks of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.table import TEST, TRAIN, Table


@dataclass(frozen=True)
class Patients:
    """A site's patients, by split.

    Attributes:
        rows: (n_training_patients, rows_per_patient) row indices; -1 is no row.
        held: (n_held_out_patients,) one row index each.
    """

    rows: NDArray[np.int32]
    held: NDArray[np.int64]


def patients_of(table: Table, rows_per_patient: int) -> Patients:
    """Group rows by patient. The first row says in which part a patient is, so that no one is in both."""
    _, first, inverse = np.unique(table.patient_ids, return_index=True, return_inverse=True)
    part = table.split[first]
    mine = np.flatnonzero(table.split == part[inverse])
    order = mine[np.argsort(inverse[mine], kind="stable")]
    owner = inverse[order]
    begins = np.searchsorted(owner, np.arange(len(first)))
    place = np.arange(len(order)) - begins[owner]
    kept = place < rows_per_patient
    rows = np.full((len(first), rows_per_patient), -1, np.int32)
    rows[owner[kept], place[kept]] = order[kept]
    return Patients(rows[part == TRAIN], rows[part == TEST, 0].astype(np.int64))
