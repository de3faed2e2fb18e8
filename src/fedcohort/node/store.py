"""A node's own memory: proposals, approvals, the last contribution of each study, and the event log.

The contribution's integers are durable before its bytes leave, so that a task
asked again is answered with what was computed once, after kill -9 too.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Table, bindparam, delete, distinct, func, select, update
from sqlalchemy.dialects.sqlite import Insert, insert

from fedcohort.audit.chain import GENESIS, Detail
from fedcohort.audit.heads import HeadStore
from fedcohort.errors import EarlierStoreError, NotFoundError
from fedcohort.node import tables
from fedcohort.node.airlock import HeldStore
from fedcohort.node.ledger import check_left, with_unreserved
from fedcohort.node.records import (
    Cost,
    HelpGiven,
    Limit,
    Reservation,
    Spending,
    Stored,
    StoredProposal,
    StudyKey,
)
from fedcohort.storage.backup import copy_database
from fedcohort.storage.durable import DurableStore, EventLog, HotConnection, LogEntry
from fedcohort.storage.redo import Change


def _upsert(table: Table) -> Insert:
    """Insert a row, or replace the one with its key."""
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    others = [column.name for column in table.c if column.name not in keys]
    return statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name] for name in others}
    )


def _row(table: Table, record: Stored | Cost | HelpGiven) -> Change:
    """The row of a study that a record is."""
    # Not `vars`: a contribution also remembers what it has derived from its fields.
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return Change(table.name, {"study_hash": values.pop("study_hash")}, values)


def digest(released: bytes) -> str:
    """What the event log has of what was released: SHA-256, in hex."""
    return hashlib.sha256(released).hexdigest()


_PROPOSALS = select(*(column for column in tables.proposals.c if column.name != "approval"))
_APPROVAL = select(tables.proposals.c.approval).where(tables.proposals.c.study_hash == bindparam("hash"))
_DECIDED = select(tables.proposals.c.study_hash).where(tables.proposals.c.state != "asked")
_RESERVED = select(tables.reservations.c.study_hash)
_ALL_ANSWERED = select(tables.contributions.c.study_hash)
_UNRESERVED = select(tables.costs).where(tables.costs.c.study_hash.not_in(_RESERVED))
_ANSWERED = _ALL_ANSWERED.where(
    tables.contributions.c.study_hash.not_in(_RESERVED),
    tables.contributions.c.study_hash.not_in(select(tables.costs.c.study_hash)),
)
_WAITING = select(tables.proposals.c.study_hash).where(
    tables.proposals.c.study_hash.not_in(_ALL_ANSWERED),
    tables.proposals.c.study_hash.not_in(select(tables.costs.c.study_hash)),
)
"""Proposed and never answered: an approval alone has cost nothing yet."""


class SqlNodeStore:
    """The node's database; safe to use from several threads, and beside the command line's process.

    For `alone` see `DurableStore`.
    """

    def __init__(self, path: Path, *, exclusive: bool = False) -> None:
        self._database = DurableStore(path, tables.SCHEMA, exclusive=exclusive)
        self._log = EventLog(tables.events, self._database)
        self.heads = HeadStore(tables.heads, self._database)
        self.countersigned = HeadStore(tables.countersigned, self._database)
        self.held = HeldStore(tables.held, self._database, self._log)
        self._keep_cost = self._database.prepare(_upsert(tables.costs))
        self._approval = self._database.prepare(_APPROVAL)
        self._decided = self._database.prepare(_DECIDED)
        self._all_reserved = self._database.prepare(select(tables.reservations))
        self._unreserved = self._database.prepare(_UNRESERVED)
        self._answered = self._database.prepare(_ANSWERED)
        self._waiting = self._database.prepare(_WAITING)
        self._studies = self._database.prepare(
            select(tables.proposals.c.study_hash, tables.proposals.c.study)
        )
        self._last: dict[str, Stored] = {}
        self._helps: dict[str, HelpGiven] = {}
        self._charged: set[str] = set()

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    def last(self, study_hash: str) -> Stored | None:
        """The newest contribution of a study."""
        if study_hash not in self._last:
            row = self._one(tables.contributions, study_hash)
            if row is None:
                return None
            self._last[study_hash] = Stored(**row)
        return self._last[study_hash]

    def keep(self, stored: Stored, cost: Cost | None = None, spending: Spending | None = None) -> None:
        """Make a contribution and what it costs durable, and note its release in the event log.

        Raises:
            BudgetError: the studies that have released anything and this one are more than the limit.
        """
        detail: dict[str, str | int | float | list[str] | None] = {
            "round": stored.round,
            "bytes": len(stored.integers),
            "digest": stored.integers_sha256.hex(),
        }
        if cost is not None:
            detail["releases"] = cost.releases
        changes = [_row(tables.contributions, stored)] + ([] if cost is None else [_row(tables.costs, cost)])
        limited = spending is not None and spending.limit.is_set
        self._database.keep(
            changes,
            self._log,
            LogEntry("release", stored.study_hash, detail),
            partial(self._check, spending=spending) if limited else None,
            read_soon=cost
            is not None,  # by what comes after: the next cost, and the head that others are sent
        )
        if cost is not None:
            self._charged.add(stored.study_hash)
        self._last[stored.study_hash] = stored

    def reserve(self, wanted: Reservation, limit: Limit) -> None:
        """Set aside what a study may cost, within the whole budget of a group of tables; once a study.

        Raises:
            BudgetError: less is left; names how much.
        """
        with self._database.transaction() as connection:
            mine = tables.reservations.c.study_hash == wanted.study_hash
            if connection.execute(select(tables.reservations).where(mine)).first() is not None:
                return
            check_left(wanted, self._reservations(connection), limit)
            connection.execute(insert(tables.reservations), vars(wanted))
            detail: Detail = {
                "dataset": wanted.dataset, "epsilon": wanted.epsilon, "delta": wanted.delta
            }  # fmt: skip
            self._log.append(connection, "reserved", wanted.study_hash, detail)

    def settle(self, reserved: Reservation, words: str) -> None:
        """Count an exact study as the operator says, in the operator's own words."""
        detail: Detail = {"dataset": reserved.dataset, "epsilon": reserved.epsilon, "because": words}
        with self._database.transaction() as connection:
            connection.execute(_upsert(tables.reservations), vars(reserved))
            self._log.append(connection, "settled", reserved.study_hash, detail)

    def refund(self, study_hash: str) -> Reservation:
        """Set nothing aside for a study any more.

        Raises:
            NotFoundError: nothing is.
        """
        found = tables.reservations
        with self._database.transaction() as connection:
            row = connection.execute(select(found).where(found.c.study_hash == study_hash)).first()
            if row is None:
                raise NotFoundError(f"nothing is set aside for study {study_hash[:12]}")
            free = Reservation(**row._mapping)
            connection.execute(delete(found).where(found.c.study_hash == study_hash))
            detail: Detail = {"dataset": free.dataset, "epsilon": free.epsilon, "delta": free.delta}
            self._log.append(connection, "given-back", study_hash, detail)
        return free

    def reservations(self) -> list[Reservation]:
        """What approved studies may cost, and what was released without, by study."""
        with self._database.transaction() as connection:
            return self._reservations(connection)

    def _reservations(self, connection: HotConnection) -> list[Reservation]:
        reserved = [Reservation(*row) for row in self._all_reserved.run(connection, {}).fetchall()]
        costs = [Cost(*row) for row in self._unreserved.run(connection, {}).fetchall()]
        answered = [str(row[0]) for row in self._answered.run(connection, {}).fetchall()]

        def studies() -> dict[str, bytes]:
            return {str(row[0]): bytes(row[1]) for row in self._studies.run(connection, {}).fetchall()}

        return with_unreserved(reserved, costs, answered, studies)

    def _check(self, connection: HotConnection, spending: Spending | None) -> None:
        """Refuse a release that the budget, as site.toml is now, does not pay for."""
        if spending is not None and spending.limit.is_set:
            check_left(spending.reserved, self._begun(connection), spending.limit)

    def _begun(self, connection: HotConnection) -> list[Reservation]:
        """Of all reservations those that something was released for: an approval has cost nothing yet."""
        waiting = {str(row[0]) for row in self._waiting.run(connection, {}).fetchall()}
        return [one for one in self._reservations(connection) if one.study_hash not in waiting]

    def charge(self, cost: Cost) -> None:
        """Make a cost durable that belongs to no round of a study."""
        with self._database.transaction() as connection:
            self._keep_cost.run(connection, vars(cost))
            self._log.append(connection, "charged", cost.study_hash, {"releases": cost.releases})

    def cost(self, study_hash: str) -> Cost | None:
        """What a study has released so far; None when nothing."""
        row = self._one(tables.costs, study_hash)
        return Cost(**row) if row else None

    def costs(self) -> list[Cost]:
        """What studies have released so far."""
        with self._database.transaction() as connection:
            return [Cost(**row._mapping) for row in connection.execute(select(tables.costs))]

    def tested(self, study_hash: str) -> bool | None:
        """Whether a study's cohort passed this site's own noisy test; None before it was drawn."""
        query = select(tables.events.c.detail).where(
            tables.events.c.kind == "cohort-test", tables.events.c.study_hash == study_hash
        )
        with self._database.transaction() as connection:
            told = connection.execute(query).scalar()
        return None if told is None else bool(json.loads(told)["passed"])

    def keep_test(self, study_hash: str, passed: bool, cost: Cost, spending: Spending | None) -> None:
        """Make the outcome of the test and its cost durable, once and before anything is answered.

        Raises:
            BudgetError: as for `keep`.
        """
        with self._database.hot_transaction() as connection:
            self._check(connection, spending)
            self._keep_cost.run(connection, vars(cost))
            detail: Detail = {"passed": int(passed), "releases": cost.releases}
            self._log.append(connection, "cohort-test", study_hash, detail)

    def help_given(self, study_hash: str) -> HelpGiven | None:
        """The newest help of a study."""
        if study_hash not in self._helps:
            row = self._one(tables.helps, study_hash)
            if row is None:
                return None
            self._helps[study_hash] = HelpGiven(**row)
        return self._helps[study_hash]

    def keep_help(self, given: HelpGiven, n_survivors: int) -> None:
        """Make it durable that this site helps to open a sum, and note the release in the event log."""
        detail: Detail = {
            "round": given.round, "sites": n_survivors, "bytes": len(given.body), "digest": digest(given.body)
        }  # fmt: skip
        entry = LogEntry("help", given.study_hash, detail)
        private = given.study_hash in self._charged
        self._database.keep([_row(tables.helps, given)], self._log, entry, read_soon=private)
        self._helps[given.study_hash] = given

    def study_key(self, study_hash: str) -> StudyKey | None:
        """The key of a study, when this site has one."""
        row = self._one(tables.study_keys, study_hash)
        return StudyKey(**row) if row else None

    def n_study_keys(self, study_hash: str) -> int:
        """How many keys of a study were kept, one in place of the other."""
        found = tables.events.c
        query = select(func.count()).where(found.kind == "study-key", found.study_hash == study_hash)
        with self._database.transaction() as connection:
            return int(connection.execute(query).scalar() or 0)

    def keep_study_key(self, key: StudyKey) -> None:
        """Remember a study's key in place of an earlier one."""
        with self._database.transaction() as connection:
            connection.execute(_upsert(tables.study_keys), vars(key))
            self._log.append(connection, "study-key", key.study_hash, {"digest": digest(key.public)})

    def cards(self) -> dict[str, bytes]:
        """The newest card of every site that was announced, encoded."""
        with self._database.transaction() as connection:
            return {row.site: bytes(row.card) for row in connection.execute(select(tables.cards))}

    def keep_card(self, site: str, card: bytes) -> None:
        """Remember a site's card in place of an earlier one."""
        with self._database.transaction() as connection:
            connection.execute(_upsert(tables.cards), {"site": site, "card": card})
            self._log.append_limited(connection, "card", detail={"site": site})

    def _one(self, table: Table, study_hash: str) -> dict[str, Any] | None:
        with self._database.transaction() as connection:
            row = connection.execute(select(table).where(table.c.study_hash == study_hash)).first()
        return dict(row._mapping) if row else None

    def approval(self, study_hash: str) -> bytes | None:
        """The signed approval, encoded; None when there is none."""
        found = self._database.read(self._approval, {"hash": study_hash})
        return bytes(found[0][0]) if found and found[0][0] is not None else None

    def proposal(self, study_hash: str) -> StoredProposal | None:
        """A study as it was proposed."""
        with self._database.transaction() as connection:
            rows = connection.execute(_PROPOSALS.where(tables.proposals.c.study_hash == study_hash))
            return next((StoredProposal(**row._mapping) for row in rows), None)

    def proposals(self) -> list[StoredProposal]:
        """Every study that was ever proposed here."""
        with self._database.transaction() as connection:
            return [StoredProposal(**row._mapping) for row in connection.execute(_PROPOSALS)]

    def answered(self) -> list[str]:
        """Studies that this site has answered, by hash."""
        return [str(row[0]) for row in self._database.read(self._decided, {})]

    def approved_since(self, researcher: str, key: bytes, at_ms: int, but: str) -> int:
        """How many studies of a researcher, by name or key, were approved since then, one study aside."""
        events, found = tables.events.c, tables.proposals.c
        query = select(func.count(distinct(events.study_hash))).where(
            events.study_hash == found.study_hash,
            (found.researcher == researcher) | (found.researcher_key == key),
            (events.kind == "approved") & (events.at_ms >= at_ms) & (events.study_hash != but),
        )
        with self._database.transaction() as connection:
            return int(connection.execute(query).scalar() or 0)

    def proposed_since(self, at_ms: int) -> int:
        """How many studies were proposed for the first time since then."""
        found = tables.events.c
        query = select(func.count()).where(found.kind == "proposal", found.at_ms >= at_ms)
        with self._database.transaction() as connection:
            return int(connection.execute(query).scalar() or 0)

    def propose(self, proposal: StoredProposal, *, by_policy: bool = False) -> None:
        """Remember a proposal, and whether site.toml is to answer it; the same one again changes nothing."""
        statement = insert(tables.proposals).values(vars(proposal)).on_conflict_do_nothing()
        detail: Detail = {"researcher": proposal.researcher} | ({"approval": "auto"} if by_policy else {})
        with self._database.transaction() as connection:
            if connection.execute(statement).rowcount:
                self._log.append(connection, "proposal", proposal.study_hash, detail)

    def is_by_policy(self, study_hash: str) -> bool:
        """Whether site.toml was to answer a proposal, and no person has been asked since."""
        found = tables.events.c
        query = (
            select(found.kind, found.detail)
            .where(found.study_hash == study_hash, found.kind.in_(("proposal", "asked")))
            .order_by(found.sequence.desc())
        )
        with self._database.transaction() as connection:
            row = connection.execute(query).first()
        return row is not None and row.kind == "proposal" and "approval" in json.loads(row.detail)

    def decide(self, study_hash: str, state: str, approval: bytes | None, by: str = "") -> None:
        """Remember the site's answer to a proposal, and who gave it."""
        change = update(tables.proposals).where(tables.proposals.c.study_hash == study_hash)
        with self._database.transaction() as connection:
            connection.execute(change.values(state=state, approval=approval))
            append = self._log.append if by or state == "approved" else self._log.append_limited
            append(connection, state, study_hash, {"by": by} if by else None)

    def note(self, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """Add to the event log."""
        with self._database.transaction() as connection:
            self._log.append(connection, kind, study_hash, detail)

    def note_seldom(self, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """Add to the event log what others cause, until so many equal entries are there."""
        with self._database.transaction() as connection:
            self._log.append_limited(connection, kind, study_hash, detail)

    def key_of(self, name: str) -> bytes | None:
        """A public key that was pinned, such as the coordinator's."""
        with self._database.transaction() as connection:
            return connection.execute(select(tables.keys.c.key).where(tables.keys.c.name == name)).scalar()

    def pin(self, name: str, key: bytes) -> None:
        """Remember a public key for good."""
        with self._database.transaction() as connection:
            connection.execute(insert(tables.keys).values(name=name, key=key).on_conflict_do_nothing())
            self._log.append(connection, "key-pinned", detail={"name": name})

    def unpin(self, name: str) -> bool:
        """Forget a public key; False when there is none."""
        with self._database.transaction() as connection:
            gone = connection.execute(delete(tables.keys).where(tables.keys.c.name == name)).rowcount > 0
            if gone:
                self._log.append(connection, "key-forgotten", detail={"name": name})
        return gone

    def newest(self) -> tuple[int, bytes]:
        """Number and hash of the event log's last entry."""
        with self._database.transaction() as connection:
            return self._log.newest(connection) or (0, GENESIS)

    def hash_at(self, sequence: int) -> bytes | None:
        """The hash of one entry of the event log; None when there is no such entry."""
        with self._database.transaction() as connection:
            return connection.execute(
                select(tables.events.c.hash).where(tables.events.c.sequence == sequence)
            ).scalar()

    def details(self, kind: str) -> list[dict[str, Any]]:
        """What the event log's entries of one kind say, oldest first."""
        query = select(tables.events.c.detail).where(tables.events.c.kind == kind)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(tables.events.c.sequence)).scalars().all()
        return [json.loads(detail) for detail in rows]

    def verify(self) -> int:
        """Check the event log's chain and return its length."""
        with self._database.transaction() as connection:
            return self._log.verify(connection)

    @staticmethod
    def read_detail(event: Mapping[str, object]) -> dict[str, Any]:
        """What an entry of the event log says."""
        return dict(json.loads(str(event["detail"])))

    def events(
        self, kinds: Collection[str] = (), study_hash: str = "", newest: int | None = None
    ) -> list[dict[str, object]]:
        """The event log, oldest first.

        Args:
            kinds, study_hash: only entries of these, where given.
            newest: only so many of them, the last ones.
        """
        found = tables.events.c
        query = select(tables.events).order_by(found.sequence.desc()).limit(newest)
        if kinds:
            query = query.where(found.kind.in_(kinds))
        if study_hash:
            query = query.where(found.study_hash == study_hash)
        with self._database.transaction() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
        return rows[::-1]

    def releases_before(
        self, sequence: int, kinds: Collection[str], studies: Collection[str]
    ) -> dict[str, str]:
        """What each study had released before an entry of the event log, as JSON; entries of these kinds say.

        A study of which none says so is left out.
        """
        found = tables.events.c
        named = found.detail.contains('"releases":')  # a text's own quotes are escaped in JSON
        last = select(func.max(found.sequence)).where(
            found.sequence < sequence, found.kind.in_(kinds), found.study_hash.in_(studies), named
        )
        query = select(found.study_hash, found.detail).where(
            found.sequence.in_(last.group_by(found.study_hash))
        )
        with self._database.transaction() as connection:
            rows = connection.execute(query).all()
        return {row.study_hash: str(json.loads(row.detail)["releases"]) for row in rows}


@contextmanager
def opened_to_read(path: Path) -> Iterator[SqlNodeStore]:
    """A node's memory, to look at; an earlier program's as the node's next start will make it, in a copy.

    Raises:
        StoreError: it cannot be read, or a newer program has written it.
    """
    with ExitStack() as stack:
        try:
            store = SqlNodeStore(path)
        except EarlierStoreError:
            folder = stack.enter_context(TemporaryDirectory(prefix="fedcohort-"))
            store = SqlNodeStore(copy_database(path, Path(folder) / path.name), exclusive=True)
        yield stack.enter_context(closing(store))
