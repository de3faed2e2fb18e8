"""A node that is up: its keys, its store, the data that it may answer from, and what vouches for its ledger.

The database of the site's patients is opened read-only, the node's own store in the folder `state`
of site.toml.
"""

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from fedcohort.errors import ConfigError, FedcohortError
from fedcohort.logs import about
from fedcohort.node import heads
from fedcohort.node.airlock import Airlock
from fedcohort.node.answer import Node
from fedcohort.node.cards import announced
from fedcohort.node.consent import LocalSite, read_approval
from fedcohort.node.differencing import keep_table
from fedcohort.node.keys import Keys, RosterFolder
from fedcohort.node.policy import SitePolicy, check_study
from fedcohort.node.site_events import site_events
from fedcohort.node.snapshots import forget, load_answered
from fedcohort.node.store import SqlNodeStore
from fedcohort.node.witness import Witnesses
from fedcohort.node.worker import Worker
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.storage.durable import lock_folder
from fedcohort.study import Cohort
from fedcohort.table import Table
from fedcohort.wire.identity import load_or_create, load_or_create_agreement
from fedcohort.wire.messages import Approval, Card, SiteId

log = logging.getLogger("fedcohort.node")


@dataclass(frozen=True)
class Running:
    """A node that is up: who it is, what it may answer and where, and whose cards it knows."""

    site: LocalSite
    node: Node
    held: sqlite3.Connection
    worker: Worker
    cards: dict[SiteId, Card]
    witnesses: Witnesses = field(default_factory=Witnesses)

    @property
    def store(self) -> SqlNodeStore:
        """The node's own database."""
        store = self.site.store
        if not isinstance(store, SqlNodeStore):
            raise ConfigError("a live node needs its store on disk")
        return store


def open_node(policy: SitePolicy, *, newest_copy: bool = False) -> Running:
    """Open a site's key, store and data.

    Args:
        newest_copy: the operator's word that node.db is the newest copy, for as long as this process runs.
    Raises:
        KeyFileError, StoreError, LedgerBehindError, ConfigError: what is wrong, and the remedy.
    """
    held = lock_folder(policy.state)
    identity = load_or_create(policy.state / "site.key", policy.id)
    agreement = load_or_create_agreement(policy.state / "agreement.key")
    store = SqlNodeStore(policy.state / "node.db", exclusive=True)
    heads.check_not_behind(store, policy.id)
    cards = announced(store)
    keys = Keys(identity, agreement, cards.get, RosterFolder(policy.roster))
    offered, events = offered_columns(policy), site_events(policy)

    def load(cohort: Cohort, seed: int, private: bool) -> Table:
        if private:
            return load_cohort(policy.data, cohort, seed, offered, policy.state, private, events)
        return load_answered(policy, cohort, seed, offered)

    def read(encoded: bytes) -> Approval:
        return read_approval(identity, encoded)

    allow = partial(check_study, policy)
    airlock = Airlock(store.held, identity, policy.release_seconds)
    airlock.end_overdue()
    node = Node(
        policy.id, policy.min_patients, store, keys, load, _remember(read), allow=allow,
        noisy_minimum=policy.noisy_minimum, airlock=airlock, suppresses=True,
        remember=partial(keep_table, policy), rules=policy.disclosure,
    )  # fmt: skip
    witnesses = Witnesses(by_operator=newest_copy)
    if policy.counter is not None:
        witnesses.by_counter = heads.counter_matches(policy.counter, identity, store)
    forget(policy)
    running = Running(LocalSite(policy, identity, store), node, held, Worker(), cards, witnesses)
    if newest_copy:
        store.note("newest-copy")
        keep_counter(running)
    return running


def _remember(read: Callable[[bytes], Approval]) -> Callable[[bytes], Approval]:
    """Verify a signature once for the same bytes; other bytes are verified anew."""
    seen: dict[bytes, Approval] = {}

    def remembered(encoded: bytes) -> Approval:
        if encoded not in seen:
            seen.clear()
            seen[encoded] = read(encoded)
        return seen[encoded]

    return remembered


def offered_columns(policy: SitePolicy) -> dict[str, list[str]]:
    """Tables and columns on offer; "*" is every column that an import declared."""
    declared = catalogue(policy.data, None)["tables"]
    return {
        table: list(declared.get(table, {}).get("columns", {})) if columns == "*" else list(columns)
        for table, columns in policy.tables.items()
    }


def keep_counter(running: Running) -> None:
    """Bring the counter up to the event log's newest entry, where there is one; it vouches from here on."""
    place = running.site.policy.counter
    if place is not None:
        heads.advance_counter(place, running.site.identity, running.store)
        running.witnesses.by_counter = True


def log_error(running: Running, level: int, error: FedcohortError) -> None:
    """Write an error of the link to the log."""
    site = running.site.policy.id
    log.log(level, "%s: %s", site, error, extra=about(site))
