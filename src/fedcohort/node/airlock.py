"""The airlock: an answer that is computed waits here for a person of the hospital, who lets it go or not.

It is durable before anybody looks at it, and the same bytes leave that were looked at: whoever lets it go
signs them with the site's key. From outside nothing happens meanwhile. An answer that a person withholds
and one that nobody has looked at in time are refused alike, when the time is up and with one code, so that
neither code nor time tells what a person has found in it.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from sqlalchemy import Table, bindparam, delete, select, update
from sqlalchemy.engine import RowMapping

from fedcohort.audit.chain import Detail
from fedcohort.errors import NotFoundError, NotReleasedError, StoreError, WireError
from fedcohort.node.records import Stored
from fedcohort.storage.durable import DurableStore, EventLog, PreparedStatement
from fedcohort.wire.identity import Identity, verify
from fedcohort.wire.messages import MOST_RELEASE_SECONDS, Task
from fedcohort.wire.signing import release_signing_bytes

Decision = Literal["released", "withheld"]
HeldState = Literal["waiting", "released", "withheld", "ended"]
"""`withheld`: a person has said no, and nobody is told yet; `ended`: the time is up, and the vector gone."""

_FIELDS = ("study_hash", "round", "state_digest", "integers", "shape", "roster", "site_state")


@dataclass(frozen=True)
class Held:
    """An answer that has not left.

    Attributes:
        digest: SHA-256 of its integers, by which a person says which one is meant.
        until_ms: when it counts as withheld.
        signature: of the site's key, over what was let go.
    """

    stored: Stored = field(repr=False)
    digest: bytes
    until_ms: int
    state: HeldState
    decided_by: str = ""
    signature: bytes = b""

    @property
    def signing_bytes(self) -> bytes:
        """What the site signs that lets it go: everything that leaves, and what later rounds follow from."""
        one = self.stored
        content = (one.state_digest, one.integers_sha256, one.shape, one.roster, one.site_state)
        return release_signing_bytes(one.study_hash, one.round, *content)


@dataclass(frozen=True)
class HeldStore:
    """The node's table of held answers, one a study, and their entries in the event log."""

    table: Table
    database: DurableStore
    log: EventLog

    @cached_property
    def _has(self) -> PreparedStatement:
        """Each round asks it, where nobody is asked, too."""
        mine = self.table.c.study_hash == bindparam("hash")
        return self.database.prepare(select(self.table.c.round).where(mine))

    def has(self, study_hash: str) -> bool:
        """Whether an answer of a study was held and has not left, whatever has become of it."""
        return bool(self.database.read(self._has, {"hash": study_hash}))

    def of(self, study_hash: str) -> Held | None:
        """The held answer of a study."""
        with self.database.transaction() as connection:
            query = select(self.table).where(self.table.c.study_hash == study_hash)
            row = connection.execute(query).mappings().first()
        return None if row is None else _held(row)

    def waiting(self, now_ms: int | None = None) -> list[Held]:
        """What a person may still let go, the most urgent first; a node that is down ends nothing."""
        found, now = self.table.c, int(time.time() * 1000) if now_ms is None else now_ms
        may = (found.state == "waiting") & (found.until_ms > now)
        query = select(self.table).where(may).order_by(found.until_ms)
        with self.database.transaction() as connection:
            return [_held(row) for row in connection.execute(query).mappings()]

    def hold(self, stored: Stored, until_ms: int) -> None:
        """Make an answer durable that must not leave yet, in place of one that has left."""
        values = {name: getattr(stored, name) for name in _FIELDS}
        more = {"until_ms": until_ms, "state": "waiting", "decided_by": "", "signature": b""}
        digest = stored.integers_sha256
        detail: Detail = {"round": stored.round, "bytes": len(stored.integers), "digest": digest.hex()}
        with self.database.transaction() as connection:
            connection.execute(delete(self.table).where(self.table.c.study_hash == stored.study_hash))
            connection.execute(self.table.insert(), {**values, "digest": digest, **more})
            self.log.append(connection, "held", stored.study_hash, detail)

    def decide(self, held: Held, state: Decision, by: str, signature: bytes, now_ms: int) -> bool:
        """Remember what a person has said of an answer; False where it no longer waits.

        That it was withheld stands in the event log when the time is up: others are told how far the log has
        come.
        """
        found = self.table.c
        mine = (found.study_hash == held.stored.study_hash) & (found.digest == held.digest)
        waits = (found.round == held.stored.round) & (found.state == "waiting") & (found.until_ms > now_ms)
        change = update(self.table).where(mine & waits)
        with self.database.transaction() as connection:
            values = {"state": state, "decided_by": by, "signature": signature}
            if not connection.execute(change.values(values)).rowcount:
                return False
            if state == "released":
                self.log.append(connection, "let-go", held.stored.study_hash, _detail(held, by))
        return True

    def end_overdue(self, now_ms: int) -> None:
        """Delete the vectors of what nobody has let go in time, or asked for long after it was let go."""
        found = self.table.c
        forgotten = (found.state == "released") & (found.until_ms <= now_ms - MOST_RELEASE_SECONDS * 1000)
        overdue = (found.until_ms <= now_ms) & found.state.in_(("waiting", "withheld"))
        with self.database.transaction() as connection:
            connection.execute(delete(self.table).where(forgotten))
            for row in connection.execute(select(self.table).where(overdue)).mappings().all():
                held = _held(row)
                mine = found.study_hash == held.stored.study_hash
                gone = {"state": "ended", "integers": b"", "site_state": b""}
                connection.execute(update(self.table).where(mine).values(gone))
                self.log.append(
                    connection, "withheld", held.stored.study_hash, _detail(held, held.decided_by)
                )

    def forget(self, study_hash: str) -> None:
        """An answer has left; it is among the contributions now."""
        with self.database.transaction() as connection:
            connection.execute(delete(self.table).where(self.table.c.study_hash == study_hash))


def _held(row: RowMapping) -> Held:
    stored = Stored(**{name: row[name] for name in _FIELDS})
    decided = (row["state"], row["decided_by"], row["signature"])
    return Held(stored, row["digest"], row["until_ms"], *decided)


def _detail(held: Held, by: str) -> Detail:
    said: Detail = {"round": held.stored.round, "digest": held.digest.hex()}
    return {**said, "by": by} if by else said


@dataclass(frozen=True)
class Airlock:
    """What a node needs to hold its answers.

    Attributes:
        seconds: how long a person may take, by site.toml; 0: it asks nobody.
    """

    store: HeldStore
    identity: Identity
    seconds: int = 0
    clock: Callable[[], float] = time.time

    def _now_ms(self) -> int:
        return int(self.clock() * 1000)

    def end_overdue(self) -> None:
        """End what nobody has let go in time."""
        self.store.end_overdue(self._now_ms())

    def held_for(self, task: Task) -> Held | None:
        """What was computed for a task and has not left; None where nothing was.

        Raises:
            NotReleasedError: an answer of the study was withheld, or nobody let it go in time.
            WireError: another round waits, or this one of another state or roster.
        """
        self.end_overdue()
        held = self.store.of(task.study_hash)
        if held is None or (held.state == "released" and held.stored.round < task.round):
            return None
        if held.state == "ended":
            raise NotReleasedError(f"round {held.stored.round}: nobody has let the answer go")
        asked = (task.round, task.state_digest, task.roster_lines)
        if asked != (held.stored.round, held.stored.state_digest, held.stored.roster):
            raise WireError(
                f"round {held.stored.round} waits for a person, and is asked as before or not at all"
            )
        return held

    def hold(self, stored: Stored, seconds: int) -> None:
        """Keep an answer for a person to look at."""
        self.store.hold(stored, self._now_ms() + seconds * 1000)

    def let_go(self, held: Held) -> Stored | None:
        """The answer that may leave: exactly what a person has seen; None while it waits.

        Raises:
            NotReleasedError: it is not what this site's key has signed.
        """
        if held.state != "released":
            return None
        if not verify(self.identity.public_key, held.signature, held.signing_bytes):
            raise NotReleasedError("the answer is not the one that a person has let go; node.db was changed")
        return held.stored

    def is_decided(self, study_hash: str) -> bool:
        """Whether there is something to say to a task that waits."""
        self.end_overdue()
        held = self.store.of(study_hash)
        return held is None or held.state in ("released", "ended")


def find_held(store: HeldStore, prefix: str, now_ms: int | None = None) -> Held:
    """The one answer that waits of a study whose hash begins with `prefix`.

    Raises:
        NotFoundError: there is none, or more than one.
    """
    matches = [held for held in store.waiting(now_ms) if held.stored.study_hash.startswith(prefix)]
    if len(matches) != 1:
        raise NotFoundError(
            "{count} answers wait of studies that begin with {prefix!r}; `fedcohort release` lists them",
            count=len(matches),
            prefix=prefix,
        )
    return matches[0]


def decide(
    store: HeldStore, identity: Identity, held: Held, state: Decision, by: str = "", now: float | None = None
) -> None:
    """Let an answer go, or withhold it, once; the running node does the rest.

    Args:
        held: as it was shown.
        by: the person who decides, for this site's event log.
    Raises:
        NotFoundError: it waits no longer, or another one waits in its place.
        StoreError: its integers are not those of its digest.
    """
    if hashlib.sha256(held.stored.integers).digest() != held.digest:
        raise StoreError("the answer is not the one that was computed; node.db was changed: restore a backup")
    signature = identity.sign(replace(held, state=state).signing_bytes) if state == "released" else b""
    now_ms = int((time.time() if now is None else now) * 1000)
    if not store.decide(held, state, by, signature, now_ms):
        raise NotFoundError("this answer waits no longer; load the list again")
