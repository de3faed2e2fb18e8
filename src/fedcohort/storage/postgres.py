"""A process's own database on PostgreSQL, as durable as the SQLite file.

Transactions take turns, as SQLite's BEGIN IMMEDIATE makes them, by an advisory lock that ends
with the transaction; an exclusive process holds another one for as long as it is
connected, and takes it again when it reconnects. A commit is on the server's disk when it
returns (https://www.postgresql.org/docs/current/wal-async-commit.html). The loss of
a silent server is noticed in seconds, by TCP keepalives.
"""

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from fedcohort.errors import StoreError
from fedcohort.storage import timeouts
from fedcohort.storage.database import display

STATEMENT_SECONDS = 120.0
_CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "fedcohort",
}
"""For libpq (https://www.postgresql.org/docs/current/libpq-connect.html); the URL has precedence."""
_LOCK_SPACE, _ALONE, _TURN = 0x66656463, 1, 2


def open_postgres(url: URL, options: dict[str, object], *, exclusive: bool) -> Engine:
    """An engine whose every transaction is durable, and waits for its turn.

    Args:
        options: for SQLAlchemy's `create_engine`.
        exclusive: every connection is refused while another process is exclusive.
    Raises:
        StoreError: the driver is not installed.
    """
    libpq = "psycopg" in url.get_driver_name()
    given = {name: value for name, value in _CONNECT.items() if name not in url.query} if libpq else {}
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args=given, **options)
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{display(url)}: needs the Python package {error.name}; "
            "pip install -c constraints.txt '.[postgresql]' in fedcohort's folder"
        ) from None
    statements = [
        f"SET lock_timeout = {int(timeouts.LOCK_SECONDS * 1000)}",
        f"SET statement_timeout = {int(STATEMENT_SECONDS * 1000)}",
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'",
        *([f"SELECT pg_advisory_lock({_LOCK_SPACE}, {_ALONE})"] if exclusive else []),
    ]

    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _wait_for_turn)
    return engine


def _wait_for_turn(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_SPACE}, {_TURN})")
