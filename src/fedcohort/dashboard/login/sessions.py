"""Sessions: opened at log-in under a new random id, kept as its digest, ended by either side or by time.

Source: OWASP Session Management Cheat Sheet; NIST SP 800-63B-4, section 5 (session management).
"""

import hmac
import secrets
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, func, select, update

from fedcohort.dashboard.login import people_tables as tables
from fedcohort.dashboard.login.people import SECRET_BYTES, People, digest, fold

IDLE_SECONDS = 3600
LONGEST_SECONDS = 12 * 3600
SEEN_SECONDS = 60
"""How exactly it is known when a session was used last, so that not every request writes to the disk."""
MOST_SESSIONS = 20
"""Of one person; a further one ends the one that was unused longest."""


@dataclass(frozen=True)
class Session:
    """Somebody who is logged in; `token` is what the cookie holds."""

    name: str
    role: str
    token: str = field(repr=False)


def csrf_token(secret: str) -> str:
    """What every form of a session holds: it follows from the cookie, and does not tell it.

    Source: OWASP CSRF Prevention Cheat Sheet, "HMAC based token pattern".
    """
    return hmac.digest(secret.encode(), b"fedcohort csrf", "sha256").hex()


def open_session(people: People, name: str, old: str | None = None) -> str:
    """Let somebody in; returns the new session's token, and ends the one that the browser had before."""
    token, now, folded = secrets.token_urlsafe(SECRET_BYTES), int(people.now()), fold(name)
    sessions = tables.sessions
    with people.database.transaction() as connection:
        if old:
            connection.execute(delete(sessions).where(sessions.c.digest == digest(old)))
        dead = (sessions.c.seen_at <= now - IDLE_SECONDS) | (sessions.c.opened_at <= now - LONGEST_SECONDS)
        connection.execute(delete(sessions).where(dead))
        _make_room(connection, folded)
        row = {"digest": digest(token), "folded": folded, "opened_at": now, "seen_at": now}
        connection.execute(sessions.insert(), row)
        people.log.append(connection, "logged-in", detail={"name": name})
    return token


def _make_room(connection: Connection, folded: str) -> None:
    sessions = tables.sessions.c
    mine = sessions.folded == folded
    extra = connection.execute(select(func.count()).where(mine)).scalar_one() - MOST_SESSIONS + 1
    if extra > 0:
        oldest = select(sessions.digest).where(mine).order_by(sessions.seen_at).limit(extra)
        connection.execute(delete(tables.sessions).where(sessions.digest.in_(oldest)))


def session_of(people: People, token: str, *, use: bool = True) -> Session | None:
    """Whose session this is; None when it has ended.

    Args:
        use: this is something that somebody did, after which a session is not idle.
    """
    found, sessions, now = tables.people, tables.sessions, int(people.now())
    query = (
        select(found.c.name, found.c.role, sessions.c.seen_at)
        .join(found, found.c.folded == sessions.c.folded)
        .where(
            sessions.c.digest == digest(token),
            found.c.disabled == 0,
            sessions.c.seen_at > now - IDLE_SECONDS,
            sessions.c.opened_at > now - LONGEST_SECONDS,
        )
    )
    with people.database.transaction() as connection:
        row = connection.execute(query).first()
        if row is None:
            return None
        if use and row.seen_at <= now - SEEN_SECONDS:
            mine = sessions.c.digest == digest(token)
            connection.execute(update(sessions).where(mine).values(seen_at=now))
    return Session(row.name, row.role, token)


def end_session(people: People, token: str) -> None:
    """Log out."""
    with people.database.transaction() as connection:
        connection.execute(delete(tables.sessions).where(tables.sessions.c.digest == digest(token)))
