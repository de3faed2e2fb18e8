"""Accounts of a page, with one role each, and the one-time links by which a password is set.

One small SQLite file, which only its owner can read. It holds digests of passwords (`passwords`), of
links and of sessions (`sessions`), never the secrets themselves. Its event log says who logged in and
who changed what.
"""

import hashlib
import os
import secrets
import stat
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from fedcohort.dashboard.login import people_tables as tables
from fedcohort.dashboard.login.roles import ROLES
from fedcohort.errors import ConfigError, KeyFileError, NotFoundError
from fedcohort.storage.durable import DurableStore, EventLog

SECRET_BYTES = 32
MAX_NAME = 64
FIRST_LINK_SECONDS = 3600
LINK_SECONDS = 24 * 3600
FIRST = ""
"""The name of a link when there is no account yet: the first operator's, who chooses the name."""


@dataclass(frozen=True)
class Person:
    """An account.

    Attributes:
        state: `active`, `disabled`, or `invited` while no password is set.
    """

    name: str
    role: str
    state: str


@dataclass(frozen=True)
class Secret:
    """An account's digest of its password, for log-in; None where no password is accepted."""

    name: str
    hash: str | None = field(repr=False)


class People:
    """The file of people; safe to use from several threads, and while the command line uses it."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time, *, exclusive: bool = False) -> None:
        """Open it, making it when it is missing.

        Args:
            exclusive: this is the page itself, which brings tables of an earlier program up to date.
        Raises:
            KeyFileError: others can read it, or it cannot be made.
            StoreError: it is not such a file, or is damaged.
        """
        _keep_owner_only(path)
        self.now = now
        self.database = DurableStore(path, tables.SCHEMA, exclusive=exclusive)
        self.log = EventLog(tables.events, self.database)

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def all(self) -> list[Person]:
        """Every account, by name."""
        with self.database.transaction() as connection:
            rows = connection.execute(select(tables.people).order_by(tables.people.c.folded)).all()
        return [_person(row) for row in rows]

    def person(self, name: str) -> Person | None:
        """The account of that name, in capitals or not."""
        with self.database.transaction() as connection:
            row = _row(connection, fold(name))
        return _person(row) if row else None

    def add(self, name: str, role: str, by: str = "") -> str:
        """A new account without a password; returns the token of the link that sets one.

        Raises:
            ConfigError: the name is taken or no name, or there is no such role.
        """
        with self.database.transaction() as connection:
            self.insert(connection, name, role)
            self.log.append(connection, "person-added", detail={"name": name, "role": role, "by": by})
            return self._link(connection, fold(name), LINK_SECONDS)

    def insert(self, connection: Connection, name: str, role: str, **more: str) -> None:
        """Add an account within the caller's transaction.

        Raises:
            ConfigError: as for `add`.
        """
        check_name(name)
        if role not in ROLES:
            raise ConfigError(f"role {role[:MAX_NAME]!r}: give one of {', '.join(ROLES)}")
        if _row(connection, fold(name)) is not None:
            raise ConfigError(f"there is somebody called {name} already; choose another name")
        row = {"folded": fold(name), "name": name, "role": role, "disabled": 0}
        connection.execute(tables.people.insert(), {**row, "created_at": int(self.now()), **more})

    def reset(self, name: str, by: str = "") -> str:
        """Remove the password, end all sessions, and return the token of a new link.

        Raises:
            NotFoundError: there is no such account.
            ConfigError: it is disabled, or logs in elsewhere.
        """
        with self.database.transaction() as connection:
            row = _row_of(connection, name)
            if row.disabled:
                raise ConfigError(f"{row.name} is disabled; enable the account first")
            if row.subject is not None:
                raise ConfigError(
                    f"{row.name} logs in with the identity provider, and has no password here; reset it there"
                )
            self._change(connection, row.folded, {"hash": None})
            _forget(connection, row.folded)
            self.log.append(connection, "password-reset", detail={"name": row.name, "by": by})
            return self._link(connection, row.folded, LINK_SECONDS)

    def disable(self, name: str, by: str = "") -> None:
        """Disable an account: all its sessions and links end now.

        Raises:
            NotFoundError: there is no such account.
        """
        self._set_disabled(name, by, disabled=True)

    def enable(self, name: str, by: str = "") -> None:
        """Enable an account again, with its earlier password.

        Raises:
            NotFoundError: there is no such account.
        """
        self._set_disabled(name, by, disabled=False)

    def _set_disabled(self, name: str, by: str, *, disabled: bool) -> None:
        with self.database.transaction() as connection:
            row = _row_of(connection, name)
            self._change(connection, row.folded, {"disabled": int(disabled)})
            if disabled:
                _forget(connection, row.folded)
            kind = "person-disabled" if disabled else "person-enabled"
            self.log.append(connection, kind, detail={"name": row.name, "by": by})

    def first_link(self) -> str | None:
        """The token with which the first operator sets a password; None when there is somebody."""
        with self.database.transaction() as connection:
            if _count(connection):
                return None
            connection.execute(delete(tables.links))
            return self._link(connection, FIRST, FIRST_LINK_SECONDS)

    def linked(self, token: str) -> str | None:
        """Whose password a link sets: FIRST for the first operator; None when it is used up or too old."""
        with self.database.transaction() as connection:
            return self._linked(connection, token)

    def take_link(self, token: str, name: str, hash: str) -> bool:
        """Set a password by a link, which is then used up; False when it was already, or is too old.

        Args:
            name: of the first operator; of no one else.
        Raises:
            ConfigError: the first operator's name is no name.
        """
        with self.database.transaction() as connection:
            folded = self._linked(connection, token)
            if folded is None:
                return False
            if folded == FIRST:
                self.insert(connection, name, "operator")
                folded = fold(name)
            self._change(connection, folded, {"hash": hash})
            _forget(connection, folded)
            connection.execute(delete(tables.links).where(tables.links.c.folded == FIRST))
            self.log.append(connection, "password-set", detail={"name": _row_of(connection, folded).name})
        return True

    def secret(self, name: str) -> Secret:
        """What log-in compares with; without a hash for whom nobody knows, or nobody lets in."""
        with self.database.transaction() as connection:
            row = _row(connection, fold(name))
        if row is None or row.disabled or row.subject is not None:
            return Secret(name, None)
        return Secret(row.name, row.hash)

    def renew_hash(self, name: str, hash: str) -> None:
        """The same password under newer parameters."""
        with self.database.transaction() as connection:
            self._change(connection, fold(name), {"hash": hash})

    def note(self, kind: str, study: str = "", **detail: str) -> None:
        """Add to the event log."""
        with self.database.transaction() as connection:
            self.log.append(connection, kind, study, detail)

    def _link(self, connection: Connection, folded: str, seconds: int) -> str:
        token = secrets.token_urlsafe(SECRET_BYTES)
        connection.execute(delete(tables.links).where(tables.links.c.folded == folded))
        row = {"digest": digest(token), "folded": folded, "expires_at": int(self.now()) + seconds}
        connection.execute(tables.links.insert(), row)
        return token

    def _linked(self, connection: Connection, token: str) -> str | None:
        links = tables.links.c
        query = select(links.folded).where(links.digest == digest(token), links.expires_at > self.now())
        folded = connection.execute(query).scalar()
        if folded == FIRST and _count(connection):
            return None
        return folded

    def _change(self, connection: Connection, folded: str, values: Mapping[str, Any]) -> None:
        connection.execute(update(tables.people).where(tables.people.c.folded == folded).values(values))


def fold(name: str) -> str:
    """The key of a name: capitals and variants of a letter are the same."""
    return unicodedata.normalize("NFKC", name).casefold()[: 4 * MAX_NAME]


def check_name(name: str) -> None:
    """Refuse an invalid name.

    Raises:
        ConfigError: empty, too long, or with unprintable characters.
    """
    if not name or len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
        raise ConfigError(f"{name[:MAX_NAME]!r}: give a name of 1 to {MAX_NAME} printable characters")


def password_link(address: str, token: str) -> str:
    """The address that sets a password; shown once."""
    return f"{address.rstrip('/')}/password?token={token}"


def digest(token: str) -> bytes:
    """The stored digest of a token; 256 random bits need no salt."""
    return hashlib.sha256(token.encode()).digest()


def _person(row: Row[Any]) -> Person:
    active = row.hash is not None or row.subject is not None
    return Person(row.name, row.role, "disabled" if row.disabled else "active" if active else "invited")


def _row(connection: Connection, folded: str) -> Row[Any] | None:
    return connection.execute(select(tables.people).where(tables.people.c.folded == folded)).first()


def _row_of(connection: Connection, name: str) -> Row[Any]:
    row = _row(connection, fold(name))
    if row is None:
        raise NotFoundError(
            f"there is nobody called {name[:MAX_NAME]!r}; `fedcohort people list` says who is"
        )
    return row


def _count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(tables.people)).scalar_one()


def _forget(connection: Connection, folded: str) -> None:
    """End all sessions and links of somebody."""
    for table in (tables.sessions, tables.links):
        connection.execute(delete(table).where(table.c.folded == folded))


def _keep_owner_only(path: Path) -> None:
    """Make the file readable by its owner only, or refuse one that others can read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise KeyFileError(
            f"{path}: {error.strerror}; name a file in a folder that can be written"
        ) from error
    if os.name == "posix" and mode & 0o077:
        raise KeyFileError(f"{path}: others can read this file of people; run chmod 600 on it")
