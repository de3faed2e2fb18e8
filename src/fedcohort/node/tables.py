"""The tables of a node's own database."""

from pathlib import Path

from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, MetaData, String, Table, Text

from fedcohort.audit.chain import events_table
from fedcohort.audit.heads import heads_table
from fedcohort.storage.migrate import Schema

metadata = MetaData()
events, heads = events_table(metadata), heads_table(metadata)
countersigned = heads_table(metadata, "countersigned")
"""The newest head that each site has asked to be countersigned; what is only relayed does not replace it."""
proposals = Table(
    "proposals",
    metadata,
    Column("study_hash", String(64), primary_key=True),
    Column("study", LargeBinary, nullable=False),
    Column("researcher", Text, nullable=False),
    Column("researcher_key", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("approval", LargeBinary),
)
contributions = Table(
    "contributions",
    metadata,
    Column("study_hash", String(64), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("state_digest", LargeBinary, nullable=False),
    Column("integers", LargeBinary, nullable=False),
    Column("shape", Text, nullable=False),
    Column("roster", Text, nullable=False),
    Column("site_state", LargeBinary, nullable=False),
)
held = Table(
    "held",
    metadata,
    Column("study_hash", String(64), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("state_digest", LargeBinary, nullable=False),
    Column("integers", LargeBinary, nullable=False),
    Column("shape", Text, nullable=False),
    Column("roster", Text, nullable=False),
    Column("site_state", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
"""What was computed and has not left: it waits for a person, or was withheld (`node.airlock`)."""
helps = Table(
    "helps",
    metadata,
    Column("study_hash", String(64), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
study_keys = Table(
    "study_keys",
    metadata,
    Column("study_hash", String(64), primary_key=True),
    Column("public", LargeBinary, nullable=False),
    Column("locked", LargeBinary, nullable=False),
)
reservations = Table(
    "reservations",
    metadata,
    Column("study_hash", String(64), primary_key=True),
    Column("dataset", String(128), nullable=False),
    Column("epsilon", Float, nullable=False),
    Column("delta", Float, nullable=False),
)
costs = Table(
    "costs",
    metadata,
    Column("study_hash", String(64), primary_key=True),
    Column("dataset", String(128), nullable=False),
    Column("delta", Float, nullable=False),
    Column("releases", Text, nullable=False),
)
cards = Table(
    "cards",
    metadata,
    Column("site", String(64), primary_key=True),
    Column("card", LargeBinary, nullable=False),
)
keys = Table(
    "keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("key", LargeBinary, nullable=False),
)

SCHEMA = Schema("node", metadata, "proposals", "0005", Path(__file__).parent / "migrations")
"""Who changes a table above writes a migration, and its number here (CONTRIBUTING.md)."""
