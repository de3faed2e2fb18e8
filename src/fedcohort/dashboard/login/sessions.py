"""Sessions: opened at log-in under a new random id, stored as its digest, ended by log-out, operator or time.

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
"""The resolution of a session's last use, so that not every request writes to the disk."""
MOST_SESSIONS = 20
"""Of one person; one more ends the least recently used."""


@dataclass(frozen=True)
class Session:
    """A session; `token` is the cookie's value."""

    name: str
    role: str
    token: str = field(repr=False)


def csrf_token(secret: str) -> str:
    """The token in every form of a session: derived from the cookie, which it does not reveal.

    Source: OWASP CSRF Prevention Cheat Sheet, "HMAC based token pattern".
    """
    return hmac.digest(secret.encode(), b"fedcohort csrf", "sha256").hex()


def open_session(people: People, name: str, old: str | None = None) -> str:
    """Open a session; returns its token, and ends the one that the browser had before."""
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
    """The session of a token; None when it has ended.

    Args:
        use: whether this counts as use, after which a session is not idle.
    """
    accounts, sessions, now = tables.people, tables.sessions, int(people.now())
    query = (
        select(accounts.c.name, accounts.c.role, sessions.c.seen_at)
        .join(accounts, accounts.c.folded == sessions.c.folded)
        .where(
            sessions.c.digest == digest(token),
            accounts.c.disabled == 0,
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
    """End a session."""
    with people.database.transaction() as connection:
        connection.execute(delete(tables.sessions).where(tables.sessions.c.digest == digest(token)))
