"""Studies that differ by few patients: the second would tell of the few, however large each of them is.

A node keeps, of each study without privacy that it has approved, under which conditions it selects and
whom, as digests of patients that are keyed by a secret of the site. A cohort that differs from an earlier
one of other conditions by fewer than `min_cell` patients, or by none, waits for a person. The same conditions
are answered from the rows of before (`snapshots`) until enough patients have changed; where that cannot be,
they wait for a person, too. Only pairs are compared: what three studies tell together is not looked for.
"""

import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.columns import Image
from fedcohort.errors import FedcohortError, StoreError
from fedcohort.logs import about
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness_words import Line
from fedcohort.node.site_events import site_events
from fedcohort.node.snapshots import Answered, answered_from, base_of, is_kept
from fedcohort.node.snapshots import keep as keep_answered
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.cohort.held import Held
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.storage.files import read_or_make_key, write_whole
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.texts import say

log = logging.getLogger("fedcohort.node")

FOLDER, KEY = "cohorts", "cohorts.key"
KEY_BYTES = 32
DIGEST = np.dtype(">u8")

Digests = NDArray[np.uint64]


@dataclass(frozen=True)
class Selected:
    """Whom a study selects here: its conditions, and its patients' digests in order."""

    conditions: str
    patients: Digests

    @property
    def name(self) -> str:
        """Of its file: the same patients under the same conditions are kept once."""
        digest = hashlib.sha256(self.conditions.encode())
        digest.update(self.patients.tobytes())
        return digest.hexdigest()[:32]

    def to_bytes(self) -> bytes:
        """Conditions and patients."""
        return self.conditions.encode() + b"\n" + self.patients.astype(DIGEST).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Selected":
        """What `to_bytes` made."""
        conditions, _, patients = data.partition(b"\n")
        return cls(conditions.decode(), np.frombuffer(patients, DIGEST).astype(np.uint64))


def conditions_of(study: Study, *, chosen: bool) -> str:
    """What selects patients: the table, `where`, the label, and by what column the analysis chooses of them.

    Args:
        chosen: whether the analysis leaves any of the cohort's rows out; else it is as if it did not choose.
    """
    base = base_of(study.cohort)
    choosing = sorted(study.analysis.choosing.items())
    return json.dumps([*json.loads(base), choosing]) if chosen and choosing else base


def counting(study: Study, n: int, values: Callable[[str], NDArray[np.float64]]) -> NDArray[np.bool_]:
    """(n,): which rows of a cohort count in the analysis: a weight of 0 leaves out as `where` does.

    Args:
        values: of a column, NaN where missing.
    """
    rows = np.ones(n, np.bool_)
    for name, choice in study.analysis.choosing.items():
        rows &= ~np.isnan(values(name)) if choice == "value" else values(name) > 0
    return rows


def is_compared(policy: SitePolicy, study: Study) -> bool:
    """Whether the rules ask for it: under privacy noise hides single patients."""
    return study.privacy is None and policy.disclosure.min_cell > 1


def selected_by(policy: SitePolicy, study: Study) -> Selected:
    """Read whom a study selects.

    Raises:
        FedcohortError: the cohort cannot be read; neither could the study.
    """
    return _asked(policy, study)[0]


def _asked(policy: SitePolicy, study: Study) -> tuple[Selected, Answered | None]:
    """Whom a study would be answered of, and from which rows, where these are kept."""
    cohort = study.cohort
    words = policy.tables.get(cohort.table, ())
    declared = catalogue(policy.data, None)["tables"] if words == "*" else {}
    names = declared.get(cohort.table, {}).get("columns", {}) if words == "*" else words
    offered = {cohort.table: list(names)}
    if is_kept(policy, cohort):
        answered = answered_from(policy, cohort, offered)
        return selected_of(policy.state, study, answered.held), answered
    first = next((name for name, kind in cohort.schema_.items() if not isinstance(kind, Image)), None)
    few = {first, *study.analysis.choosing}
    columns = {name: kind for name, kind in cohort.schema_.items() if name in few} or cohort.schema_
    part = Cohort.model_validate({**dict(cohort), "columns": columns, "bounds": {}, "split": None})
    events = site_events(policy)
    table = load_cohort(policy.data, part, study.seed, offered, policy.state, events=events)
    return selected_in(policy.state, study, table), None


def selected_of(state: Path, study: Study, held: Held) -> Selected:
    """Whom a study selects of rows that are kept."""
    rows = counting(study, len(held.patients), held.values)
    return digested(state, study, held.patients[rows], chosen=not rows.all())


def selected_in(state: Path, study: Study, table: Table) -> Selected:
    """Whom a study selects of a cohort's table."""
    rows = counting(study, table.n_rows, partial(values_of, table, study.cohort))
    return digested(state, study, table.patient_ids[rows], chosen=not rows.all())


def digested(state: Path, study: Study, ids: NDArray[np.str_], *, chosen: bool = False) -> Selected:
    """The patients of a cohort by digests that nobody makes without the site's key."""
    key = bytes.fromhex(
        read_or_make_key(state / KEY, lambda: secrets.token_hex(KEY_BYTES).encode()).decode().strip()
    )
    keyed = hashlib.blake2b(digest_size=DIGEST.itemsize, key=key, person=b"fedcohort-cohort")
    digests = bytearray()
    for patient in np.unique(ids).tolist():
        digest = keyed.copy()
        digest.update(patient.encode())
        digests += digest.digest()
    patients = np.sort(np.frombuffer(bytes(digests), DIGEST).astype(np.uint64))
    return Selected(conditions_of(study, chosen=chosen), patients)


def kept(state: Path) -> Iterator[Selected]:
    """Whom earlier studies have selected.

    Raises:
        StoreError: a file cannot be read.
    """
    for path in sorted((state / FOLDER).glob("*.patients")):
        try:
            yield Selected.from_bytes(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: {error}; restore it from a backup of the folder state") from error


def keep(state: Path, selected: Selected) -> None:
    """Remember whom a study selects, before anything is answered.

    Raises:
        StoreError: the folder cannot be written.
    """
    path = state / FOLDER / f"{selected.name}.patients"
    if path.exists():
        return
    try:
        write_whole(path, selected.to_bytes(), mode=0o600, folder_mode=0o700, sync_folder=True)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; make the folder state writable") from error


def differs_by_few(selected: Selected, before: Selected, min_cell: int) -> bool:
    """Whether two studies together would tell of fewer than `min_cell` patients."""
    if abs(len(selected.patients) - len(before.patients)) >= min_cell:
        return False
    apart = len(np.setxor1d(selected.patients, before.patients, assume_unique=True))
    same = selected.conditions == before.conditions
    return apart < min_cell and (apart > 0 or not same)


def is_held(policy: SitePolicy, study: Study) -> bool:
    """Whether a study waits for a person of the hospital, whatever site.toml approves by itself.

    One whose cohort cannot be read is compared when it is approved and read.
    """
    return _judged(policy, study)[0]


def _judged(policy: SitePolicy, study: Study) -> tuple[bool, Answered | None]:
    """Whether a study is held, and which rows it would be answered from."""
    earlier = list(kept(policy.state)) if is_compared(policy, study) else []
    if not earlier:
        return False, None
    try:
        selected, answered = _asked(policy, study)
    except FedcohortError:
        return False, None
    if answered is not None and answered.verdict == "apart":
        return True, answered
    if answered is not None and answered.verdict == "enough" and answered.before is not None:
        # Of these not only who is there has changed, which was compared with every value.
        compared = selected_of(policy.state, study, answered.before)
        earlier = [before for before in earlier if before.name != compared.name]
    told = partial(differs_by_few, selected, min_cell=policy.disclosure.min_cell)
    return any(told(before=before) for before in earlier), answered


def keep_selected(policy: SitePolicy, study: Study) -> None:
    """Remember whom an approved study selects, and what of them is answered, where that can be read yet."""
    if not is_compared(policy, study):
        return
    try:
        selected, answered = _asked(policy, study)
    except FedcohortError as error:
        where = about(policy.id, study.hash)
        words = "%s: study %.12s: its patients are compared with other studies' once they can be read: %s"
        log.info(words, policy.id, study.hash, error, extra=where)
        return
    keep(policy.state, selected)
    if answered is not None:
        keep_answered(policy, study.cohort, answered)


def keep_table(policy: SitePolicy, study: Study, table: Table) -> None:
    """Remember whom a study selects as it is answered: they may have changed since it was approved."""
    if is_compared(policy, study):
        keep(policy.state, selected_in(policy.state, study, table))


def differencing_lines(policy: SitePolicy, study: Study) -> Iterator[Line]:
    """What a person is told who decides about a study, without counts."""
    if not is_compared(policy, study) or not study.cohort.is_explicit:
        return
    least = policy.disclosure.min_cell
    try:
        held, answered = _judged(policy, study)
    except FedcohortError as error:
        yield Line(say("earlier studies"), "warning", str(error), "")
        return
    if held:
        found = say(
            "its patients are those of an earlier study but for fewer than min_cell = {least}, or for none: "
            "together the two may tell of single patients",
            least=least,
        )
        remedy = say("refuse it, or let it have the conditions of the earlier one, or [privacy]")
        yield Line(say("earlier studies"), "warning", found, remedy)
    elif answered is not None and answered.verdict == "few":
        found = say(
            "fewer than min_cell = {least} patients have changed since the same was asked: it is answered "
            "from the rows of then",
            least=least,
        )
        yield Line(say("earlier studies"), "ready", found, "")
    else:
        found = say(
            "it differs from each by min_cell = {least} patients or more, or asks of the same", least=least
        )
        yield Line(say("earlier studies"), "ready", found, "")
