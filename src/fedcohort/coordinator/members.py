"""Members of a federation: sites by one-time token and then by pinned key, researchers by revocable token."""

import hashlib
import json
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import RowMapping, select, update

from fedcohort.audit.heads import HeadStore
from fedcohort.coordinator import tables
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import ConfigError
from fedcohort.local_token import RESEARCHER, read_token, write_token
from fedcohort.wire.messages import SITE_NAME

TOKEN_BYTES = 32
MAX_NAME = 64


@dataclass(frozen=True)
class Members:
    """Sites and researchers of one federation, in the coordinator's database."""

    store: CoordinatorStore

    @property
    def heads(self) -> HeadStore:
        """The newest ledger head of each site."""
        return HeadStore(tables.heads, self.store.database)

    def invite_site(
        self, site: str, token: str | None = None, url: str | None = None, *, again: bool = False
    ) -> str:
        """Let a site join once with the token that this returns; its key is pinned when it does.

        Args:
            url: where the site listens, when the coordinator is to dial it.
            again: for a site that has joined and must learn this coordinator's new key; its own stays.
        Raises:
            ConfigError: the site has already joined, or its id is none.
        """
        check_name(site)
        token = token or secrets.token_urlsafe(TOKEN_BYTES)
        with self.store.database.transaction() as connection:
            row = connection.execute(select(tables.sites).where(tables.sites.c.id == site)).first()
            if row is not None and row.public_key is not None and not again:
                raise ConfigError(
                    f"site {site} has already joined; remove it first: `fedcohort coordinator remove "
                    f"--site {site}`, or let it learn this coordinator's new key: "
                    f"`fedcohort coordinator invite --site {site} --again`"
                )
            if again and row is None:
                raise ConfigError(f"site {site} has never joined; invite it without --again")
            if row is None:
                connection.execute(tables.sites.insert(), {"id": site, "token": token.encode(), "url": url})
            else:
                values = {"token": token.encode(), "url": row.url if again else url}
                connection.execute(update(tables.sites).where(tables.sites.c.id == site).values(values))
            self.store.log.append(connection, "site-invited", detail={"site": site})
        return token

    def remove_site(self, site: str) -> bool:
        """Forget a site and its key; False when there is no such site."""
        with self.store.database.transaction() as connection:
            gone = connection.execute(tables.sites.delete().where(tables.sites.c.id == site)).rowcount > 0
            connection.execute(tables.cards.delete().where(tables.cards.c.site == site))
            connection.execute(tables.heads.delete().where(tables.heads.c.site == site))
            if gone:
                self.store.log.append(connection, "site-removed", detail={"site": site})
        return gone

    def sites(self) -> dict[str, RowMapping]:
        """Every site that was invited or has joined."""
        with self.store.database.transaction() as connection:
            rows = connection.execute(select(tables.sites).order_by(tables.sites.c.id)).mappings()
            return {row["id"]: row for row in rows}

    def joined(self) -> set[str]:
        """The sites whose key is known."""
        return {site for site, row in self.sites().items() if row["public_key"] is not None}

    def catalogues(self, sites: Collection[str]) -> dict[str, dict[str, object]]:
        """The catalogue of each of these sites that has sent one."""
        rows = self.sites()
        return {site: json.loads(rows[site]["catalogue"]) for site in sites if rows[site]["catalogue"]}

    def key_of(self, site: str) -> bytes | None:
        """A site's pinned key."""
        with self.store.database.transaction() as connection:
            return connection.execute(
                select(tables.sites.c.public_key).where(tables.sites.c.id == site)
            ).scalar()

    def token_of(self, site: str) -> bytes | None:
        """A site's join token, until it is used."""
        with self.store.database.transaction() as connection:
            return connection.execute(select(tables.sites.c.token).where(tables.sites.c.id == site)).scalar()

    def pin(self, site: str, key: bytes) -> None:
        """Pin a site's key; from here on its token admits no other."""
        with self.store.database.transaction() as connection:
            change = update(tables.sites).where(tables.sites.c.id == site)
            connection.execute(change.values(public_key=key))
            self.store.log.append(connection, "site-joined", detail={"site": site})

    def settled(self, site: str) -> None:
        """Forget the token once the site has pinned our key too."""
        with self.store.database.transaction() as connection:
            connection.execute(update(tables.sites).where(tables.sites.c.id == site).values(token=None))

    def seen(self, site: str, catalogue: dict[str, object] | None = None) -> None:
        """Record that a site is present, and its catalogue."""
        values: dict[str, object] = {"last_seen": int(time.time())}
        if catalogue is not None:
            values["catalogue"] = json.dumps(catalogue)
        with self.store.database.transaction() as connection:
            connection.execute(update(tables.sites).where(tables.sites.c.id == site).values(values))

    def seen_now(self, sites: Collection[str]) -> None:
        """Record that these sites are present."""
        change = update(tables.sites).where(tables.sites.c.id.in_(sites))
        with self.store.database.transaction() as connection:
            connection.execute(change.values(last_seen=int(time.time())))

    def keep_card(self, site: str, card: bytes) -> bool:
        """Remember a site's card, encoded; False when it is the same as before."""
        with self.store.database.transaction() as connection:
            mine = tables.cards.c.site == site
            if connection.execute(select(tables.cards.c.card).where(mine)).scalar() == card:
                return False
            connection.execute(tables.cards.delete().where(mine))
            connection.execute(tables.cards.insert(), {"site": site, "card": card})
            self.store.log.append_limited(connection, "card", detail={"site": site})
        return True

    def cards(self) -> list[bytes]:
        """The cards of all sites, encoded."""
        with self.store.database.transaction() as connection:
            return [bytes(row.card) for row in connection.execute(select(tables.cards))]

    def issue_token(self, researcher: str) -> str:
        """A researcher's token; only its digest is kept.

        Raises:
            ConfigError: it is no name.
        """
        check_name(researcher)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        row = {"digest": _digest(token), "researcher": researcher, "created_at": int(time.time())}
        with self.store.database.transaction() as connection:
            connection.execute(tables.tokens.insert(), row)
            self.store.log.append(connection, "token-issued", detail={"researcher": researcher})
        return token

    def keep_token(self, path: Path) -> None:
        """Make the file hold a valid token for this machine's user: the old one while it is valid.

        Raises:
            KeyFileError: the file cannot be read or written.
        """
        token = read_token(path)
        if token is None or self.researcher_of(token) != RESEARCHER:
            self.revoke_tokens(RESEARCHER)
            write_token(path, self.issue_token(RESEARCHER))

    def researchers(self) -> set[str]:
        """Researchers with a valid token."""
        with self.store.database.transaction() as connection:
            good = select(tables.tokens.c.researcher).where(tables.tokens.c.revoked == 0)
            return set(connection.execute(good).scalars())

    def revoke_tokens(self, researcher: str) -> int:
        """Revoke a researcher's tokens; returns how many."""
        change = update(tables.tokens).where(
            tables.tokens.c.researcher == researcher, tables.tokens.c.revoked == 0
        )
        with self.store.database.transaction() as connection:
            count = connection.execute(change.values(revoked=1)).rowcount
            if count:
                self.store.log.append(connection, "tokens-revoked", detail={"researcher": researcher})
        return count

    def researcher_of(self, token: str) -> str | None:
        """Whose token this is; None when it is unknown or revoked."""
        query = select(tables.tokens.c.researcher).where(
            tables.tokens.c.digest == _digest(token), tables.tokens.c.revoked == 0
        )
        with self.store.database.transaction() as connection:
            return connection.execute(query).scalar()


def check_name(name: str) -> None:
    """Refuse an invalid name of a site or researcher.

    Raises:
        ConfigError: says what a valid name is.
    """
    if not SITE_NAME.fullmatch(name):
        raise ConfigError(
            f"{name[:MAX_NAME]!r}: a name has 1 to {MAX_NAME} letters (a to z, A to Z), digits, '.', '_' or "
            "'-', and begins with a letter or a digit"
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
