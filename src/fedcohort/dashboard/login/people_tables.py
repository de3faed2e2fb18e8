"""The tables of a page's file of accounts."""

from pathlib import Path

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text

from fedcohort.audit.chain import events_table
from fedcohort.storage.migrate import Schema

metadata = MetaData()
events = events_table(metadata)
people = Table(
    "people",
    metadata,
    Column("folded", String(256), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("hash", Text),
    Column("subject", Text, unique=True),
    Column("disabled", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
links = Table(
    "links",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("folded", String(256), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("folded", String(256), nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

submitted = Table(
    "submitted",
    metadata,
    Column("study", String(64), primary_key=True),
    Column("folded", String(256), nullable=False),
)

SCHEMA = Schema("dashboard", metadata, "people", "0001", Path(__file__).parent / "migrations")
"""Who changes a table above writes a migration, and its number here (CONTRIBUTING.md)."""
