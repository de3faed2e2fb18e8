"""A copy of a table in which every number is noisy: local differential privacy by Laplace's mechanism.

Each value is clipped to its declared bounds and gets noise of scale (high - low) / epsilon of
its column (Dwork, McSherry, Nissim, Smith 2006), drawn by OpenDP, whose sampler is safe against
what floating-point numbers give away (Mironov 2012). Epsilon is divided evenly over the columns
and charged to the ledger. What is promised is that a patient's values cannot be told from any
others; how many patients there are is copied as it is. Text, levels and pseudonyms are left out.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Numeric
from fedcohort.errors import CohortError, ConfigError, SchemaError
from fedcohort.node import heads
from fedcohort.node.ledger import cost_of, set_aside
from fedcohort.node.policy import SitePolicy
from fedcohort.node.records import Reservation
from fedcohort.node.store import SqlNodeStore
from fedcohort.privacy.accounting import check_budget
from fedcohort.privacy.events import LaplaceRelease
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.importer.deidentification import NoIdentifiers
from fedcohort.sources.importer.whole_dataset import ImportReport, write_rows
from fedcohort.study import Cohort
from fedcohort.wire.identity import load_or_create

LEAST_DELTA = 1e-5
NOISY = NoIdentifiers("noisy rows, numbered in random order")
"""Laplace's mechanism needs no delta; this one is only looked at, to check epsilon with the same words."""


@dataclass(frozen=True)
class Bounded:
    """A numeric column and its declared range."""

    name: str
    low: float
    high: float

    @property
    def width(self) -> float:
        """How far one patient's value can be from another's."""
        return self.high - self.low


def perturb(policy: SitePolicy, store: SqlNodeStore, table: str, epsilon: float, into: Path) -> ImportReport:
    """Write a noisy copy of a table's numeric columns into another database, and charge the ledger first.

    Raises:
        StudyError: epsilon promises nothing.
        ConfigError: the file to write exists.
        SchemaError: the table is not offered, or has no number with declared bounds.
        CohortError: a patient has several rows, so that a row is not a patient.
        BudgetError: the data set's budget does not pay for it.
        LedgerBehindError: the counter outside the folder has seen more than this copy of the ledger.
    """
    check_budget(epsilon, LEAST_DELTA)
    if into.exists():
        raise ConfigError(f"{into}: exists already; name a new file, before the ledger is charged")
    columns = _columns(policy, table)
    kinds = {column.name: Numeric(column.low, column.high) for column in columns}
    cohort = Cohort(table=table, columns=dict(kinds), split=None)
    rows = load_cohort(policy.data, cohort, 0, {table: list(kinds)})
    if rows.n_patients < rows.n_rows:
        raise CohortError(f"{table}: a patient has several rows; make a table of one row a patient first")
    share = epsilon / len(columns)
    releases = [
        LaplaceRelease(f"perturbed {column.name}", column.width, column.width / share) for column in columns
    ]
    charge = hashlib.sha256(f"perturb|{table}|{epsilon}|{secrets.token_hex(16)}".encode()).hexdigest()
    keep_up = _counted(policy, store)
    set_aside(policy, store, Reservation(charge, table, epsilon, 0.0))
    store.charge(cost_of(charge, table, 0.0, releases))
    keep_up()
    noisy = {
        column.name: noisy_column(rows.columns[column.name].astype(np.float64), column, share)
        for column in columns
    }
    return _write(into, table, kinds, noisy)


def _counted(policy: SitePolicy, store: SqlNodeStore) -> Callable[[], None]:
    """Check the ledger against the counter outside the folder; what is returned keeps a true one up."""
    place = policy.counter
    if place is None:
        return lambda: None
    identity = load_or_create(policy.state / "site.key", policy.id)
    if not heads.counter_matches(place, identity, store):
        return lambda: None
    return lambda: heads.advance_counter(place, identity, store)


def _columns(policy: SitePolicy, table: str) -> list[Bounded]:
    offered = policy.tables.get(table)
    if offered is None:
        raise SchemaError(f"site.toml: tables does not offer {table!r}; add it to [tables] in site.toml")
    facts = catalogue(policy.data, None).get("tables", {}).get(table, {}).get("columns", {})
    found = [
        Bounded(name, float(str(about["low"])), float(str(about["high"])))
        for name, about in facts.items()
        if (offered == "*" or name in offered) and about.get("kind") == "numeric" and "low" in about
    ]
    if not found:
        raise SchemaError(f"{table}: no number with declared bounds; declare them when you import")
    return found


def noisy_column(values: NDArray[np.float64], column: Bounded, epsilon: float) -> NDArray[np.float64]:
    """A column with noise, within its bounds; a missing value counts as the middle, so that nobody sees it.

    Args:
        values: (n,) with NaN where missing.
        epsilon: of this column.
    """
    import opendp.prelude as dp

    dp.enable_features("contrib")
    middle = (column.low + column.high) / 2
    inside = np.clip(np.where(np.isnan(values), middle, values), column.low, column.high)
    domain = dp.vector_domain(dp.atom_domain(T="f64", nan=False))
    mechanism = dp.m.make_laplace(domain, dp.l1_distance(T="f64"), column.width / epsilon)
    noisy = np.array(mechanism(inside.tolist()), np.float64)
    return np.clip(noisy, column.low, column.high)


def _write(
    into: Path, table: str, kinds: Mapping[str, Numeric], noisy: Mapping[str, NDArray[np.float64]]
) -> ImportReport:
    """In random order, under new pseudonyms."""
    declared = {name: Declared(kind) for name, kind in kinds.items()}
    n = len(next(iter(noisy.values())))
    rows = [
        {"patient_id": f"noisy-{index}", **{name: float(values[index]) for name, values in noisy.items()}}
        for index in range(n)
    ]
    secrets.SystemRandom().shuffle(rows)
    for index, row in enumerate(rows):
        row["patient_id"] = f"noisy-{index}"
    name, written = write_rows(into, wide_table(table, declared), declared, rows, NOISY)
    return ImportReport(name, table, n, written, written)
