"""A node's own memory: proposals, approvals, the last contribution of each study, and the event log.

The contribution's integers are durable before its bytes leave, so that a task
asked again is answered with what was computed once, after kill -9 too.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from fedcohort.audit import Detail, events_table
from fedcohort.sources.durable import Durable, EventLog

_metadata = MetaData()
_events = events_table(_metadata)
_proposals = Table(
    "proposals",
    _metadata,
    Column("study_hash", String(64), primary_key=True),
    Column("study", LargeBinary, nullable=False),
    Column("researcher", Text, nullable=False),
    Column("researcher_key", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("approval", LargeBinary),
)
_contributions = Table(
    "contributions",
    _metadata,
    Column("study_hash", String(64), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("state_digest", LargeBinary, nullable=False),
    Column("integers", LargeBinary, nullable=False),
    Column("site_state", LargeBinary, nullable=False),
)
_keys = Table(
    "keys",
    _metadata,
    Column("name", String(64), primary_key=True),
    Column("key", LargeBinary, nullable=False),
)
_insert = insert(_contributions)
_KEEP = _insert.on_conflict_do_update(
    index_elements=["study_hash"],
    set_={name: _insert.excluded[name] for name in ("round", "state_digest", "integers", "site_state")},
)
_APPROVAL = select(_proposals.c.approval).where(_proposals.c.study_hash == bindparam("hash"))


@dataclass(frozen=True)
class Stored:
    """What a site computed for one round of one study."""

    study_hash: str
    round: int
    state_digest: bytes
    integers: bytes
    site_state: bytes = b""


@dataclass(frozen=True)
class StoredProposal:
    """A study that a researcher proposed, and what this site said: `asked`, `approved` or `refused`."""

    study_hash: str
    study: bytes
    researcher: str
    researcher_key: bytes
    signature: bytes
    state: str = "asked"


class NodeStore(Protocol):
    """What a site must remember; `SqlNodeStore` lives, `MemoryNodeStore` is for simulations."""

    def last(self, study_hash: str) -> Stored | None:
        """The newest contribution of a study."""
        ...

    def keep(self, stored: Stored) -> None:
        """Make a contribution durable, and note its release in the event log."""
        ...

    def approval(self, study_hash: str) -> bytes | None:
        """The signed approval, encoded; None when there is none."""
        ...

    def proposal(self, study_hash: str) -> StoredProposal | None:
        """A study as it was proposed."""
        ...

    def proposals(self) -> list[StoredProposal]:
        """Every study that was ever proposed here."""
        ...

    def propose(self, proposal: StoredProposal) -> None:
        """Remember a proposal."""
        ...

    def decide(self, study_hash: str, state: str, approval: bytes | None) -> None:
        """Remember the site's answer to a proposal."""
        ...

    def note(self, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """Add to the event log."""
        ...


class SqlNodeStore:
    """The node's database; safe to use from several threads, and beside the command line's process."""

    def __init__(self, path: Path) -> None:
        self._database = Durable(path, _metadata)
        self._log = EventLog(_events, self._database)
        self._keep = self._database.prepare(_KEEP)
        self._approval = self._database.prepare(_APPROVAL)
        self._last: dict[str, Stored] = {}

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    def last(self, study_hash: str) -> Stored | None:
        """The newest contribution of a study."""
        if study_hash not in self._last:
            with self._database.transaction() as connection:
                row = connection.execute(
                    select(_contributions).where(_contributions.c.study_hash == study_hash)
                ).first()
            if row is None:
                return None
            self._last[study_hash] = Stored(**row._mapping)
        return self._last[study_hash]

    def keep(self, stored: Stored) -> None:
        """Make a contribution durable, and note its release in the event log."""
        detail = {"round": stored.round, "bytes": len(stored.integers)}
        with self._database.transaction() as connection:
            self._keep.run(connection, vars(stored))
            self._log.append(connection, "release", stored.study_hash, detail)
        self._last[stored.study_hash] = stored

    def approval(self, study_hash: str) -> bytes | None:
        """The signed approval, encoded; None when there is none."""
        with self._database.transaction() as connection:
            found = self._approval.run(connection, {"hash": study_hash}).scalar()
        return None if found is None else bytes(found)

    def proposal(self, study_hash: str) -> StoredProposal | None:
        """A study as it was proposed."""
        return next((found for found in self.proposals() if found.study_hash == study_hash), None)

    def proposals(self) -> list[StoredProposal]:
        """Every study that was ever proposed here."""
        columns = [column for column in _proposals.c if column.name != "approval"]
        with self._database.transaction() as connection:
            return [StoredProposal(**row._mapping) for row in connection.execute(select(*columns))]

    def propose(self, proposal: StoredProposal) -> None:
        """Remember a proposal; the same one again changes nothing."""
        statement = insert(_proposals).values(vars(proposal)).on_conflict_do_nothing()
        with self._database.transaction() as connection:
            if connection.execute(statement).rowcount:
                self._log.append(
                    connection, "proposal", proposal.study_hash, {"researcher": proposal.researcher}
                )

    def decide(self, study_hash: str, state: str, approval: bytes | None) -> None:
        """Remember the site's answer to a proposal."""
        change = update(_proposals).where(_proposals.c.study_hash == study_hash)
        with self._database.transaction() as connection:
            connection.execute(change.values(state=state, approval=approval))
            self._log.append(connection, state, study_hash)

    def note(self, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """Add to the event log."""
        with self._database.transaction() as connection:
            self._log.append(connection, kind, study_hash, detail)

    def key_of(self, name: str) -> bytes | None:
        """A public key that was pinned, such as the coordinator's."""
        with self._database.transaction() as connection:
            return connection.execute(select(_keys.c.key).where(_keys.c.name == name)).scalar()

    def pin(self, name: str, key: bytes) -> None:
        """Remember a public key for good."""
        with self._database.transaction() as connection:
            connection.execute(insert(_keys).values(name=name, key=key).on_conflict_do_nothing())
            self._log.append(connection, "key-pinned", detail={"name": name})

    def verify(self) -> int:
        """Check the event log's chain and return its length."""
        with self._database.transaction() as connection:
            return self._log.verify(connection)

    def events(self) -> list[dict[str, object]]:
        """The event log, oldest first."""
        with self._database.transaction() as connection:
            return [
                dict(row._mapping) for row in connection.execute(select(_events).order_by(_events.c.sequence))
            ]


@dataclass
class MemoryNodeStore:
    """Nothing outlives the process: for simulated sites."""

    contributions: dict[str, Stored] = field(default_factory=dict)
    proposed: dict[str, StoredProposal] = field(default_factory=dict)
    approvals: dict[str, bytes] = field(default_factory=dict)

    def last(self, study_hash: str) -> Stored | None:
        """The newest contribution of a study."""
        return self.contributions.get(study_hash)

    def keep(self, stored: Stored) -> None:
        """Remember a contribution."""
        self.contributions[stored.study_hash] = stored

    def approval(self, study_hash: str) -> bytes | None:
        """The signed approval, encoded."""
        return self.approvals.get(study_hash)

    def proposal(self, study_hash: str) -> StoredProposal | None:
        """A study as it was proposed."""
        return self.proposed.get(study_hash)

    def proposals(self) -> list[StoredProposal]:
        """Every study that was ever proposed here."""
        return list(self.proposed.values())

    def propose(self, proposal: StoredProposal) -> None:
        """Remember a proposal."""
        self.proposed.setdefault(proposal.study_hash, proposal)

    def decide(self, study_hash: str, state: str, approval: bytes | None) -> None:
        """Remember the site's answer to a proposal."""
        self.proposed[study_hash] = replace(self.proposed[study_hash], state=state)
        if approval is not None:
            self.approvals[study_hash] = approval

    def note(self, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """A simulation keeps no event log."""
