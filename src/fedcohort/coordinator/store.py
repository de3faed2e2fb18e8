"""The coordinator's database: studies, their newest state, metrics, approvals and the event log.

It never holds a patient's data nor a site's vector. A state is durable before
the round that follows from it begins; the sums in it are deleted at a study's end.
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, select, update

from fedcohort.analyses.contract import Row, State, Sums
from fedcohort.arrays import arrays_from_bytes, arrays_to_bytes
from fedcohort.audit.chain import GENESIS, Detail, detail_text
from fedcohort.coordinator import tables
from fedcohort.errors import TooManyStudiesError
from fedcohort.local_token import RESEARCHER
from fedcohort.storage.durable import DurableStore, EventLog, HotConnection, LogEntry
from fedcohort.storage.redo import Change, Value
from fedcohort.texts.look_up import carried, received
from fedcohort.vector import Array

SECONDS_PER_DAY = 86_400
MOST_A_DAY = 1_000
MOST_BYTES_A_DAY = 4 * 2**30
"""Of one researcher's studies, new or handed in again, within 24 hours."""


@dataclass(frozen=True)
class Update:
    """Something that a page may want to know: `kind` is metrics, time, state or site."""

    sequence: int
    study_id: str
    kind: str
    data: dict[str, object]


@dataclass(frozen=True)
class Submission:
    """A study as a researcher signed it."""

    id: str
    name: str
    study: bytes
    researcher: str
    researcher_key: bytes
    signature: bytes
    rounds: int


class CoordinatorStore:
    """One process's database; every method is one transaction. For `alone` see `DurableStore`."""

    def __init__(self, database: str | Path, *, exclusive: bool = False) -> None:
        self.database = DurableStore(database, tables.SCHEMA, exclusive=exclusive)
        self.log = EventLog(tables.events, self.database)
        self._insert_update = self.database.prepare(tables.INSERT_UPDATE)
        self._updates_after = self.database.prepare(tables.UPDATES_AFTER)

    def close(self) -> None:
        """Give the database back."""
        self.database.close()

    # --- studies ---------------------------------------------------------------------------

    def submit(self, submission: Submission) -> bool:
        """Remember a study; False when this very study is already here.

        Raises:
            TooManyStudiesError: the researcher has handed in so many, or so much, within a day.
        """
        with self.database.transaction() as connection:
            if connection.execute(
                select(tables.studies.c.id).where(tables.studies.c.id == submission.id)
            ).first():
                return False
            self._check_rate(connection, submission.researcher, len(submission.study))
            values = {**vars(submission), "state": "proposed", "round": 0, "created_at": int(time.time())}
            connection.execute(tables.studies.insert(), values)
            self.log.append(connection, "proposed", submission.id, {"researcher": submission.researcher})
            return True

    def _check_rate(self, connection: Connection, researcher: str, n_bytes: int) -> None:
        """Refuse to keep more of one researcher than anybody reads: each study stays, with its entries."""
        since = time.time() - SECONDS_PER_DAY
        found, mine = tables.events.c, tables.studies.c.researcher == researcher
        handed_in = select(func.count()).where(
            found.kind.in_(("proposed", "proposed-again")),
            found.detail == detail_text({"researcher": researcher}),
            found.at_ms >= int(since * 1000),
        )
        sizes = select(func.sum(func.length(tables.studies.c.study))).where(
            mine, tables.studies.c.created_at >= int(since)
        )
        n_studies = int(connection.execute(handed_in).scalar() or 0)
        n_bytes += int(connection.execute(sizes).scalar() or 0)
        if n_studies >= MOST_A_DAY or n_bytes > MOST_BYTES_A_DAY:
            raise TooManyStudiesError(
                "{researcher} has handed in {count:,} studies within 24 hours, and the coordinator takes "
                "{most:,} of {size} GiB together; hand it in again later",
                researcher=researcher,
                count=n_studies,
                most=MOST_A_DAY,
                size=MOST_BYTES_A_DAY >> 30,
            )

    def retry(self, study_id: str, researcher: str) -> bool:
        """Propose a failed or cancelled study anew: from its last round if it had begun; else False.

        Raises:
            TooManyStudiesError: as for `submit`.
        """
        mine = tables.answers.c.study_id == study_id
        failed = (tables.studies.c.id == study_id) & tables.studies.c.state.in_(("failed", "cancelled"))
        with self.database.transaction() as connection:
            row = connection.execute(select(tables.studies.c.roster).where(failed)).first()
            if row is None:
                return False
            self._check_rate(connection, researcher, 0)
            if row.roster is None:
                connection.execute(delete(tables.answers).where(mine))
            else:
                connection.execute(update(tables.answers).where(mine).values(state="approved", code=""))
            change = update(tables.studies).where(failed)
            connection.execute(change.values(state="proposed", error_code="", error_message=""))
            self._publish_state(connection, study_id, {"state": "proposed", "code": "", "round": 0})
            self.log.append(connection, "proposed-again", study_id, {"researcher": researcher})
            return True

    def study(self, study_id: str) -> RowMapping | None:
        """A study by its hash, or by a prefix that only it has."""
        with self.database.transaction() as connection:
            columns = (column for column in tables.studies.c if column.name != "state")
            rows = connection.execute(
                select(*columns, tables.STATE).where(
                    tables.studies.c.id.startswith(study_id, autoescape=True)
                )
            )
            found = rows.mappings().fetchmany(2)
        return found[0] if len(found) == 1 else None

    def studies(self) -> list[RowMapping]:
        """All studies, the newest first."""
        names = ("id", "name", "round", "rounds", "researcher", "created_at")
        query = select(*(tables.studies.c[name] for name in names), tables.STATE).order_by(
            tables.studies.c.created_at.desc(), tables.studies.c.id
        )
        with self.database.transaction() as connection:
            return list(connection.execute(query).mappings())

    def open_studies(self) -> list[str]:
        """Studies to go on with after a restart."""
        with self.database.transaction() as connection:
            query = select(tables.studies.c.id).where(
                tables.studies.c.state.in_(("proposed", "running", "waiting"))
            )
            return list(connection.execute(query).scalars())

    def set_state(self, study_id: str, state: str, code: str = "", message: str = "") -> None:
        """Move a study on; pages and the event log learn of it."""
        if message:
            self.keep(study_id, "message", json.dumps(carried(message)).encode())
        change = update(tables.studies).where(tables.studies.c.id == study_id)
        with self.database.transaction() as connection:
            connection.execute(change.values(state=state, error_code=code, error_message=message))
            number = connection.execute(
                select(tables.studies.c.round).where(tables.studies.c.id == study_id)
            ).scalar()
            self._publish_state(connection, study_id, {"state": state, "code": code, "round": number})
            # Sites that come and go make a study wait and run as often as they like.
            append = self.log.append_limited if state in ("running", "waiting") else self.log.append
            append(connection, state, study_id, {"code": code})

    def message(self, study: Mapping[Any, Any] | RowMapping) -> str:
        """Why a study waits or has failed; of a study of an earlier program without template and values."""
        english = str(study["error_message"])
        kept = self.load_kept(study["id"], "message") if english else None
        text = received(json.loads(kept)) if kept else None
        return text if text == english else english

    def finish(
        self, study_id: str, report: Mapping[str, object], model: Mapping[str, Array] | None = None
    ) -> None:
        """Store the report of a finished study, and delete the sums that it was made of.

        Args:
            model: what a training leaves, which is all that stays of the state.
        """
        with self.database.transaction() as connection:
            change = update(tables.studies).where(tables.studies.c.id == study_id)
            connection.execute(change.values(state="finished", report=json.dumps(report)))
            mine = update(tables.states).where(tables.states.c.study_id == study_id)
            connection.execute(mine.values(arrays=arrays_to_bytes(model or {}), kept=b""))
            self._delete_openings(connection, tables.kept.c.study_id == study_id)
            self._publish_state(connection, study_id, {"state": "finished", "code": ""})
            self.log.append(connection, "finished", study_id)

    def delete_sums_of_finished(self) -> None:
        """Delete the sums of studies that ended before a study's end deleted them."""
        ended = select(tables.studies.c.id).where(tables.studies.c.state == "finished")
        with self.database.transaction() as connection:
            change = update(tables.states).where(tables.states.c.study_id.in_(ended))
            connection.execute(change.where(func.length(tables.states.c.kept) > 0).values(kept=b""))
            self._delete_openings(connection, tables.kept.c.study_id.in_(ended))

    @staticmethod
    def _delete_openings(connection: Connection, whose: ColumnElement[bool]) -> None:
        connection.execute(delete(tables.kept).where(whose, tables.kept.c.what == "opening"))

    def set_roster(self, study_id: str, roster: tuple[str, ...]) -> None:
        """Fix the sites of a study, once; the ring of its sums is sized for them."""
        change = update(tables.studies).where(tables.studies.c.id == study_id)
        with self.database.transaction() as connection:
            connection.execute(change.values(roster=json.dumps(roster)))
            self.log.append(connection, "roster", study_id, {"sites": list(roster)})

    # --- rounds ----------------------------------------------------------------------------

    def load_state(self, study_id: str) -> State | None:
        """Where the study is, or None before its first round."""
        with self.database.transaction() as connection:
            row = connection.execute(
                select(tables.states).where(tables.states.c.study_id == study_id)
            ).first()
        if row is None:
            return None
        arrays, kept = arrays_from_bytes(row.arrays), arrays_from_bytes(row.kept)
        ended = bool(row.finished)
        # The last sum stands among what is kept, and is of use to the report alone.
        sums = Sums.from_arrays(kept) if ended else None
        return State(row.phase, row.round, arrays, kept, finished=ended, sums=sums)

    def save_round(
        self, study_id: str, state: State, survivors: tuple[str, ...], rows: list[Row], spent: Row
    ) -> None:
        """Make a round's outcome durable, with its metrics and its entry in the event log.

        Args:
            spent: where its time went, which its metrics say, too.
        """
        values: dict[str, Value] = {
            "phase": state.phase,
            "round": state.round,
            "finished": int(state.finished),
            "arrays": arrays_to_bytes(state.arrays),
            "kept": arrays_to_bytes({**state.kept, **(state.sums.to_arrays() if state.sums else {})}),
        }
        news = [("metrics", row) for row in rows] or [("time", spent)]
        changes = [
            Change("states", {"study_id": study_id}, values),
            Change("studies", {"id": study_id}, {"round": state.round, "state": "running"}, insert=False),
            *(Change("updates", {}, _update(study_id, kind, row)) for kind, row in news),
        ]
        detail: Detail = {"round": state.round, "sites": list(survivors)}
        self.database.keep(changes, self.log, LogEntry("round", study_id, detail))

    def load_kept(self, study_id: str, what: str) -> bytes | None:
        """What `keep` has kept of a study."""
        query = select(tables.kept.c.data).where(
            tables.kept.c.study_id == study_id, tables.kept.c.what == what
        )
        with self.database.transaction() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else bytes(found)

    def keep(self, study_id: str, what: str, data: bytes) -> None:
        """Make durable what a restart must not lose, in place of what was kept before."""
        self.database.keep([Change("kept", {"study_id": study_id, "what": what}, {"data": data})], self.log)

    def _publish(
        self, connection: HotConnection, study_id: str, kind: str, data: Mapping[str, object]
    ) -> None:
        self._insert_update.run(connection, _update(study_id, kind, data))

    def _publish_state(self, connection: Connection, study_id: str, data: Mapping[str, object]) -> None:
        """In place of an equal one, for a study may wait and go on without end."""
        old = tables.updates.c
        same = (old.kind == "state") & (old.data == json.dumps(data))
        connection.execute(delete(tables.updates).where(old.study_id == study_id, same))
        self._publish(connection, study_id, "state", data)

    def _publish_site(self, connection: Connection, study_id: str, data: Mapping[str, object]) -> None:
        """In place of what the site said before; `data` names it first."""
        old = tables.updates.c
        begin = f'{{"site": {json.dumps(data["site"])}, '
        same = (old.kind == "site") & (func.substr(old.data, 1, len(begin)) == begin)
        connection.execute(delete(tables.updates).where(old.study_id == study_id, same))
        self._publish(connection, study_id, "site", data)

    def updates(self, study_id: str, after: int = 0, kinds: Collection[str] = ()) -> list[Update]:
        """What happened to a study since update `after`, the next 20,000 at most: of these kinds, or all."""
        values = {"key": study_id, "after": after}
        if kinds:
            wanted = tables.UPDATES_AFTER.where(tables.updates.c.kind.in_(kinds))
            with self.database.transaction() as connection:
                return [_read_update(row) for row in connection.execute(wanted, values)]
        rows, pending = self.database.read_with_pending(self._updates_after, values, tables.updates)
        stored = [_read_update(row) for row in rows]
        if len(stored) == tables.MOST_UPDATES:
            return stored
        last = stored[-1].sequence if stored else after
        mine = (row for row in pending if row["study_id"] == study_id and row["sequence"] > last)
        return stored + [_read_update([row[column.name] for column in tables.updates.c]) for row in mine]

    # --- approvals -------------------------------------------------------------------------

    def record_answer(
        self, study_id: str, site: str, state: str, code: str = "", approval: bytes | None = None
    ) -> None:
        """Remember what a site said to a study: asked, approved, refused; the same again makes no entry."""
        row = {"study_id": study_id, "site": site, "state": state, "code": code, "approval": approval}
        with self.database.transaction() as connection:
            mine = (tables.answers.c.study_id == study_id) & (tables.answers.c.site == site)
            query = select(tables.answers.c.state, tables.answers.c.code).where(mine)
            said = connection.execute(query).first()
            connection.execute(delete(tables.answers).where(mine))
            connection.execute(tables.answers.insert(), row)
            if said is None or tuple(said) != (state, code):
                self._publish_site(connection, study_id, {"site": site, "state": state, "code": code})
                detail: Detail = {"site": site, "code": code}
                self.log.append_limited(connection, f"site-{state}", study_id, detail, site=site)

    def forget_answer(self, study_id: str, site: str) -> None:
        """Ask the site again: what it said does not hold any more."""
        with self.database.transaction() as connection:
            mine = (tables.answers.c.study_id == study_id) & (tables.answers.c.site == site)
            connection.execute(delete(tables.answers).where(mine))
            self.log.append(connection, "site-forgotten", study_id, {"site": site})

    def answers(self, study_id: str) -> dict[str, RowMapping]:
        """What each site said, by site."""
        query = (
            select(tables.answers)
            .where(tables.answers.c.study_id == study_id)
            .order_by(tables.answers.c.site)
        )
        with self.database.transaction() as connection:
            return {row["site"]: row for row in connection.execute(query).mappings()}

    # --- audit -----------------------------------------------------------------------------

    def note(self, kind: str, study_id: str = "", detail: Detail | None = None) -> None:
        """Add to the event log."""
        with self.database.transaction() as connection:
            self.log.append(connection, kind, study_id, detail)

    def note_once(self, kind: str) -> bool:
        """Add to the event log unless it holds such an entry; False when it does."""
        with self.database.transaction() as connection:
            known = select(tables.events.c.sequence).where(tables.events.c.kind == kind).limit(1)
            if connection.execute(known).first() is not None:
                return False
            self.log.append(connection, kind, "", None)
            return True

    def was_open(self) -> bool:
        """Whether anybody has handed a study in without a token, as versions before allowed on loopback."""
        with self.database.transaction() as connection:
            found = select(tables.studies.c.id).where(tables.studies.c.researcher == RESEARCHER).limit(1)
            return connection.execute(found).first() is not None

    def newest(self) -> tuple[int, bytes]:
        """Number and hash of the event log's last entry."""
        with self.database.transaction() as connection:
            return self.log.newest(connection) or (0, GENESIS)

    def verify(self) -> int:
        """Check the event log's chain and return its length."""
        with self.database.transaction() as connection:
            return self.log.verify(connection)


def _update(study_id: str, kind: str, data: Mapping[str, object]) -> dict[str, str]:
    """A row of what pages want to know."""
    return {"study_id": study_id, "kind": kind, "data": json.dumps(data)}


def _read_update(row: Sequence[Any]) -> Update:
    return Update(int(row[0]), row[1], row[2], json.loads(row[3]))
