"""Log heads: the newest hash of each site's event log that a process has seen, in its own database."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, select

from fedcohort.storage.durable import DurableStore


def heads_table(metadata: MetaData, name: str = "heads") -> Table:
    """A table of heads for a store's metadata; `head` is the signed head, encoded."""
    return Table(
        name,
        metadata,
        Column("site", String(64), primary_key=True),
        Column("epoch", Integer, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("head", LargeBinary, nullable=False),
    )


@dataclass(frozen=True)
class HeadStore:
    """A store's log heads, encoded; callers check their content and signature."""

    table: Table
    database: DurableStore

    def keep(self, site: str, age: tuple[int, int], head: bytes) -> bool:
        """Remember a head in place of an older one of its site; False when it is not newer."""
        mine = self.table.c.site == site
        with self.database.transaction() as connection:
            stored = connection.execute(select(self.table.c.epoch, self.table.c.sequence).where(mine)).first()
            if stored is not None and tuple(stored) >= age:
                return False
            connection.execute(self.table.delete().where(mine))
            row = {"site": site, "epoch": age[0], "sequence": age[1], "head": head}
            connection.execute(self.table.insert(), row)
        return True

    def forget(self, site: str) -> None:
        """A site that has left, or has another key now."""
        with self.database.transaction() as connection:
            connection.execute(self.table.delete().where(self.table.c.site == site))

    def of(self, site: str) -> bytes | None:
        """A site's head, encoded."""
        with self.database.transaction() as connection:
            encoded = connection.execute(select(self.table.c.head).where(self.table.c.site == site)).scalar()
            return None if encoded is None else bytes(encoded)

    def all(self) -> dict[str, bytes]:
        """Every head, encoded, by site."""
        with self.database.transaction() as connection:
            return {row.site: bytes(row.head) for row in connection.execute(select(self.table))}
