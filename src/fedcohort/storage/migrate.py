"""Migrations: the tables of an earlier program become those of this one, without losing a row.

A store's database says in Alembic's table `alembic_version` which revision its tables
have; one without it is of the first release. Migrations run in one transaction, while no
other process holds the store, and Alembic is imported only when there is one to run.
There is no migration back; the backup from before the upgrade serves for that.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

from fedcohort.errors import EarlierStoreError, StoreError

FIRST = "0001"
VERSION_TABLE = "alembic_version"

_versions = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


@dataclass(frozen=True)
class Schema:
    """A store's tables, and the migrations that lead to them.

    Attributes:
        owner: whose store it is, as messages name it: coordinator or node.
        landmark: a table that every revision has, and no other program's database.
        revision: the newest migration's number, four digits.
        migrations: the folder where the migrations are.
    """

    owner: str
    metadata: MetaData
    landmark: str
    revision: str
    migrations: Path


def make_current(connection: Connection, schema: Schema, name: str, *, upgrade: bool) -> None:
    """Make the tables where there are none, and bring older ones up, within the caller's transaction.

    Args:
        name: the database, as a message names it.
        upgrade: whether this process may change older tables, because no other has the store open.
    Raises:
        StoreError: the database is of a newer program, of an older one while `upgrade` is not
            set, or not of this kind of store.
    """
    tables = set(inspect(connection).get_table_names())
    if schema.landmark not in tables:
        if VERSION_TABLE in tables:
            raise StoreError(f"{name}: is not the database of a {schema.owner}; check the path or address")
        schema.metadata.create_all(connection)
        _versions.create(connection)
        set_revision(connection, schema.revision)
        return
    revision = revision_of(connection) if VERSION_TABLE in tables else FIRST
    if revision == schema.revision:
        return
    if not (revision.isascii() and revision.isdigit()) or int(revision) > int(schema.revision):
        raise StoreError(
            f"{name}: was written by a newer fedcohort (revision {revision}; this one knows "
            f"{schema.revision}); update this program, or restore the backup from before the upgrade"
        )
    if not upgrade:
        raise EarlierStoreError(
            f"{name}: was written by an earlier fedcohort (revision {revision}; this one writes "
            f"{schema.revision}); start the {schema.owner}, which brings it up to date"
        )
    _migrate(connection, schema, revision)


def revision_of(connection: Connection) -> str:
    """Which revision the tables have; empty when somebody has cleared the table."""
    return connection.execute(select(_versions.c.version_num)).scalar() or ""


def set_revision(connection: Connection, revision: str) -> None:
    """Record which revision the tables have."""
    connection.execute(_versions.delete())
    connection.execute(_versions.insert(), {"version_num": revision})


def _migrate(connection: Connection, schema: Schema, revision: str) -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    _versions.create(connection, checkfirst=True)
    scripts = ScriptDirectory(str(schema.migrations), version_locations=[str(schema.migrations)])
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        for step in reversed(list(scripts.iterate_revisions(schema.revision, revision))):
            step.module.upgrade()
    set_revision(connection, schema.revision)
