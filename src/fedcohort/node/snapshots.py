"""What was answered of a cohort, kept so that the same conditions are answered of the same patients again.

Two answers to the same question, a day and one patient apart, tell of that patient. So a node keeps of each
study without [privacy] the rows that it answered from, in a file of its own (`state/snapshots`, readable by
the node's account alone), and answers the same conditions from them until `min_cell` patients have changed,
in every column in which anything has. A patient who is no longer among those that are selected may have
withdrawn: then nothing is answered from the file, and it is deleted (docs/decisions/0020).
"""

import hashlib
import json
import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedcohort.arrays import arrays_from_bytes, arrays_to_bytes
from fedcohort.columns import Numeric
from fedcohort.errors import FedcohortError, SchemaError, StoreError
from fedcohort.node.policy import SitePolicy
from fedcohort.node.site_events import site_events
from fedcohort.sources.cohort.held import Changes, Held, Use, changes, earlier, uses_of
from fedcohort.sources.cohort.order import empty_cohort
from fedcohort.sources.cohort.select import hold_cohort, load_cohort
from fedcohort.sources.cohort.values import Coded
from fedcohort.storage.files import write_whole
from fedcohort.study import Cohort
from fedcohort.table import Table
from fedcohort.vector import Array

log = logging.getLogger("fedcohort.node")

FOLDER, SUFFIX = "snapshots", ".snapshot"
MOST_BYTES = 4 * 2**30
"""Of all snapshots together; the oldest are deleted first."""
SECONDS_PER_DAY = 86_400
Offered = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Snapshot:
    """Rows that were answered from.

    Attributes:
        conditions: what selects them.
        table, patient_id: where their patients are looked up.
        taken_at: seconds since 1970.
    """

    conditions: str
    table: str
    patient_id: str
    taken_at: float
    held: Held

    def to_bytes(self) -> bytes:
        """A line of JSON, and the arrays."""
        held = self.held
        letters = np.ascontiguousarray(held.patients).view(np.uint32).reshape(len(held.patients), -1)
        arrays: dict[str, Array] = {"patients": letters}
        words: list[list[object]] = []
        for place, (use, column) in enumerate(held.columns.items()):
            if isinstance(column, Coded):
                arrays[str(place)] = column.codes.astype(np.int32)
                words.append([*use, list(column.values)])
            else:
                arrays[str(place)] = column
                words.append([*use, None])
        header = [self.conditions, self.table, self.patient_id, self.taken_at, held.form, words]
        return json.dumps(header).encode() + b"\n" + arrays_to_bytes(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Snapshot":
        """What `to_bytes` made.

        Raises:
            ValueError, StoreError: it is something else.
        """
        header, _, body = data.partition(b"\n")
        conditions, table, patient_id, taken_at, form, words = json.loads(header)
        arrays = arrays_from_bytes(body)
        letters = np.asarray(arrays["patients"])
        patients = np.ascontiguousarray(letters, np.uint32).view(f"U{letters.shape[1]}")[:, 0]
        columns: dict[Use, np.ndarray | Coded] = {}
        for place, (kind, name, values) in enumerate(words):
            array = np.asarray(arrays[str(place)])
            columns[kind, name] = array if values is None else Coded(array.astype(np.int64), tuple(values))
        return cls(conditions, table, patient_id, taken_at, Held(patients, columns, form))


Verdict = Literal["first", "same", "enough", "few", "apart"]
"""How data stand to a snapshot; `apart`: they differ by few patients, and are not to be answered from it."""


@dataclass(frozen=True)
class Answered:
    """What a study is answered from.

    Attributes:
        held: the rows, with the columns that the study asks for among others.
        kept: whether `held` is in the file already.
        before: the rows of the snapshot, where there is one.
    """

    held: Held
    verdict: Verdict
    kept: bool = False
    before: Held | None = None


def base_of(cohort: Cohort) -> str:
    """What selects rows: the table, `where`, and the label, without which a row is left out.

    Of a cohort of events it is its index, needs and exclusions.
    """
    where = " ".join((cohort.where or "").split())
    conditions: list[object] = [cohort.table, where, sorted(cohort.label_columns), cohort.patient_id]
    if cohort.index is not None:
        selects = {"codes", "index", "need", "exclude", "outcome"}
        conditions.append(cohort.model_dump(mode="json", include=selects))
    return json.dumps(conditions, sort_keys=True)


def is_kept(policy: SitePolicy, cohort: Cohort) -> bool:
    """Whether a cohort's rows are kept: with images, a column in two ways, or made of events they are not.

    A column of events has the meaning that its study gives it, so that no other study's is the same.
    """
    held = policy.snapshot_days > 0 and policy.disclosure.min_cell > 1 and cohort.index is None
    return held and cohort.is_explicit and uses_of(cohort) is not None


def answered_from(policy: SitePolicy, cohort: Cohort, offered: Offered) -> Answered:
    """Read the data as they are, and find what a study without [privacy] is answered from.

    Everything is read and compared in any case, so that it takes no less time where nothing has changed.

    Raises:
        FedcohortError: as `load_cohort`; the cohort selects nobody; or a snapshot is damaged.
    """
    snapshot, uses = find(policy, base_of(cohort)), uses_of(cohort) or ()
    names = set(offered.get(cohort.table, ()))
    before = None
    if snapshot is not None:
        before = snapshot.held.only([use for use in snapshot.held.columns if use[1] in names])
    try:
        now = hold_cohort(policy.data, cohort, offered, tuple(before.columns) if before else ())
    except SchemaError:
        if before is None:
            raise
        # A column that the study does not ask for may have gone from the table.
        before, now = None, hold_cohort(policy.data, cohort, offered, ())
    if not now.patients.size:
        raise empty_cohort(cohort.table)
    if before is None:
        return Answered(now, "first" if snapshot is None else "apart")
    return _compared(before, now, changes(before, now.only(before.columns)), uses, policy.disclosure.min_cell)


def _compared(before: Held, now: Held, found: Changes, uses: Collection[Use], min_cell: int) -> Answered:
    if not found.n:
        return Answered(now, "same", len(now.columns) == len(before.columns), before)
    if found.n >= min_cell and (not found.least or found.least >= min_cell):
        return Answered(now, "enough", before=before)
    again = None if found.gone.any() else earlier(before, now, found, uses)
    if again is None:
        return Answered(now, "apart", before=before)
    return Answered(again, "few", len(again.columns) == len(before.columns), before)


def load_answered(policy: SitePolicy, cohort: Cohort, seed: int, offered: Offered) -> Table:
    """A cohort's table for a study without [privacy], from its snapshot where few patients have changed.

    Raises:
        FedcohortError: as `load_cohort`.
    """
    if not is_kept(policy, cohort):
        return load_cohort(policy.data, cohort, seed, offered, policy.state, events=site_events(policy))
    answered = answered_from(policy, cohort, offered)
    table = answered.held.only(uses_of(cohort) or ()).table(cohort, seed)
    keep(policy, cohort, answered)
    return table


def keep(policy: SitePolicy, cohort: Cohort, answered: Answered) -> None:
    """Write down what a study is answered from, in place of what was there under the same conditions.

    Raises:
        StoreError: the folder cannot be written.
    """
    if answered.kept:
        return
    taken_at = time.time()
    path = _path(policy.state, base_of(cohort))
    if answered.verdict in ("same", "few"):
        before = find(policy, base_of(cohort))
        taken_at = taken_at if before is None else before.taken_at
    snapshot = Snapshot(base_of(cohort), cohort.table, cohort.patient_id, taken_at, answered.held)
    data = snapshot.to_bytes()
    try:
        if not _make_room(path, len(data)):
            path.unlink(missing_ok=True)
            log.info("%s: a snapshot of %d bytes is more than is kept", policy.id, len(data))
            return
        write_whole(path, data, mode=0o600, folder_mode=0o700, sync_folder=True)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; make the folder state writable") from error


def _path(state: Path, conditions: str) -> Path:
    return state / FOLDER / f"{hashlib.sha256(conditions.encode()).hexdigest()[:32]}{SUFFIX}"


def _make_room(path: Path, size: int) -> bool:
    """Delete the oldest snapshots until there is room for one of this size; whether there can be."""
    if size > MOST_BYTES:
        return False
    others = [
        (other.stat().st_mtime, other.stat().st_size, other) for other in _paths(path.parent) if other != path
    ]
    total = size + sum(bytes_ for _, bytes_, _ in others)
    for _, bytes_, other in sorted(others):
        if total <= MOST_BYTES:
            break
        other.unlink(missing_ok=True)
        total -= bytes_
    return True


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def _read(path: Path) -> Snapshot | None:
    try:
        return Snapshot.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError, StoreError) as error:
        raise StoreError(
            f"{path}: a damaged snapshot; delete it, and what would have been answered from it waits for a "
            "person of this hospital"
        ) from error


def find(policy: SitePolicy, conditions: str) -> Snapshot | None:
    """The snapshot of these conditions, where there is one that is young enough.

    Raises:
        StoreError: it is damaged.
    """
    snapshot = _read(_path(policy.state, conditions))
    if snapshot is None or _is_old(policy, snapshot) or snapshot.conditions != conditions:
        return None
    return snapshot


def _is_old(policy: SitePolicy, snapshot: Snapshot) -> bool:
    return time.time() - snapshot.taken_at > policy.snapshot_days * SECONDS_PER_DAY


def forget(policy: SitePolicy) -> None:
    """Delete snapshots that are too old, and those with a patient whom the database no longer has.

    What cannot be read now is looked at again the next day, and deleted when it is too old.
    """
    there: dict[tuple[str, str], NDArray[np.str_]] = {}
    for path in _paths(policy.state / FOLDER):
        try:
            snapshot = _read(path)
            gone = snapshot is not None and (_is_old(policy, snapshot) or _has_left(policy, snapshot, there))
        except FedcohortError as error:
            log.warning("%s: %s: %s", policy.id, path.name, error)
            gone = time.time() - path.stat().st_mtime > policy.snapshot_days * SECONDS_PER_DAY
        if gone:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _has_left(policy: SitePolicy, snapshot: Snapshot, read: dict[tuple[str, str], NDArray[np.str_]]) -> bool:
    """Whether a patient of a snapshot is no longer in its table.

    Args:
        read: patients of tables that were read already.
    """
    table = snapshot.table, snapshot.patient_id
    if table not in read:
        read[table] = _patients(policy, snapshot)
    # While a table is loaded anew nobody is in it.
    return bool(read[table].size) and not bool(np.isin(snapshot.held.patients, read[table]).all())


def _patients(policy: SitePolicy, snapshot: Snapshot) -> NDArray[np.str_]:
    """All patients of a snapshot's table."""
    names = [name for _, name in snapshot.held.columns]
    cohort = Cohort(
        table=snapshot.table, columns={names[0]: Numeric()}, split=None, patient_id=snapshot.patient_id
    )
    return hold_cohort(policy.data, cohort, {snapshot.table: names}, checked=False).patients
