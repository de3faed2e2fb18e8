"""The tables of the coordinator's database."""

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    case,
    select,
)

from fedcohort.audit.chain import events_table
from fedcohort.audit.heads import heads_table
from fedcohort.storage.migrate import Schema

metadata = MetaData()
events, heads = events_table(metadata), heads_table(metadata)
studies = Table(
    "studies",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("study", LargeBinary, nullable=False),
    Column("researcher", Text, nullable=False),
    Column("researcher_key", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("round", Integer, nullable=False),
    Column("rounds", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("error_code", String(64), nullable=False, default=""),
    Column("error_message", Text, nullable=False, default=""),
    Column("roster", Text),
    Column("report", Text),
)
answers = Table(
    "answers",
    metadata,
    Column("study_id", String(64), primary_key=True),
    Column("site", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("approval", LargeBinary),
)
states = Table(
    "states",
    metadata,
    Column("study_id", String(64), primary_key=True),
    Column("phase", String(32), nullable=False),
    Column("round", Integer, nullable=False),
    Column("finished", Integer, nullable=False),
    Column("arrays", LargeBinary, nullable=False),
    Column("kept", LargeBinary, nullable=False),
)
updates = Table(
    "updates",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("study_id", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("data", Text, nullable=False),
    sqlite_autoincrement=True,
)
sites = Table(
    "sites",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("public_key", LargeBinary),
    Column("token", LargeBinary),
    Column("url", Text),
    Column("last_seen", BigInteger),
    Column("catalogue", Text),
)
cards = Table(
    "cards",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("card", LargeBinary, nullable=False),
)
kept = Table(
    "kept",
    metadata,
    Column("study_id", String(64), primary_key=True),
    Column("what", String(16), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
tokens = Table(
    "tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("researcher", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked", Integer, nullable=False, default=0),
)


CANCELLED = "cancelled"
STATE = case((studies.c.error_code == CANCELLED, CANCELLED), else_=studies.c.state).label("state")
"""A study's state; version 0.1 wrote `failed`, with this code, for one that was cancelled."""
MOST_UPDATES = 20_000
UPDATES_AFTER = (
    select(updates)
    .where(updates.c.study_id == bindparam("key"), updates.c.sequence > bindparam("after"))
    .order_by(updates.c.sequence)
    .limit(MOST_UPDATES)
)
INSERT_UPDATE = updates.insert().values({name: bindparam(name) for name in ("study_id", "kind", "data")})

SCHEMA = Schema("coordinator", metadata, "studies", "0002", Path(__file__).parent / "migrations")
"""Who changes a table above writes a migration, and its number here (CONTRIBUTING.md)."""
