"""DuckDB (https://duckdb.org) as a site's database, read in place: its tables, and no other file.

duckdb-engine describes tables by PostgreSQL's catalogue, of which DuckDB lacks parts that SQLAlchemy
asks for; here DuckDB's own functions describe them, and a table is its columns and its key.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from duckdb_engine import Dialect
from sqlalchemy import Connection, text
from sqlalchemy import types as sql
from sqlalchemy.types import TypeEngine

READ_ONLY: Mapping[str, object] = {
    "read_only": True,
    "config": {
        "enable_external_access": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "lock_configuration": True,
    },
}
"""No write, no other file, no extension from the network, and no way back
(https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview)."""


class Identifier(sql.String):
    """A UUID: read as text, but DuckDB compares it with UUIDs only."""

    __visit_name__ = "identifier"


_TYPES: Mapping[str, Callable[[], TypeEngine[Any]]] = {
    "BOOLEAN": sql.Boolean,
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), sql.Integer),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), sql.Integer),
    **dict.fromkeys(("FLOAT", "DOUBLE"), sql.Float),
    "DECIMAL": sql.Numeric,
    "VARCHAR": sql.String,
    "UUID": Identifier,
    "ENUM": sql.Enum,
    "DATE": sql.Date,
    "TIMESTAMP": sql.TIMESTAMP,
    **dict.fromkeys(("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), sql.DateTime),
    "TIMESTAMP WITH TIME ZONE": partial(sql.DateTime, timezone=True),
    **dict.fromkeys(("TIME", "TIME WITH TIME ZONE"), sql.Time),
    "INTERVAL": sql.Interval,
    "BLOB": sql.LargeBinary,
    "JSON": sql.JSON,
}
_COLUMNS = text(
    "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE table_name = :name"
    " AND schema_name = coalesce(:place, current_schema()) AND database_name = current_database()"
    " ORDER BY column_index"
)
_STATEMENT = text(
    "SELECT sql FROM duckdb_tables() WHERE table_name = :name AND schema_name = current_schema()"
    " AND database_name = current_database()"
)
_KEY = text(
    "SELECT unnest(constraint_column_names) FROM duckdb_constraints() WHERE table_name = :name"
    " AND schema_name = coalesce(:place, current_schema()) AND database_name = current_database()"
    " AND constraint_type = 'PRIMARY KEY'"
)


class DuckDialect(Dialect):
    """duckdb-engine's dialect with other descriptions of tables. SQLAlchemy passes every argument by name."""

    supports_statement_cache = True

    def get_multi_columns(self, connection: Connection, **asked: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Columns by table."""
        return {place: _columns(connection, *place) for place in _places(asked)}

    def get_multi_pk_constraint(self, connection: Connection, **asked: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Primary keys by table."""
        return {place: _key(connection, *place) for place in _places(asked)}

    def get_multi_table_options(self, _connection: Connection, **asked: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        """None."""
        return {place: {} for place in _places(asked)}

    def _nothing(self, _connection: Connection, **asked: Any) -> Any:  # noqa: ANN401
        return {place: [] for place in _places(asked)}

    get_multi_indexes = get_multi_foreign_keys = _nothing  # type: ignore[assignment]
    get_multi_unique_constraints = get_multi_check_constraints = _nothing  # type: ignore[assignment]


def _places(asked: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    return [(asked.get("schema"), name) for name in asked.get("filter_names") or ()]


def _columns(connection: Connection, schema: str | None, table: str) -> list[dict[str, object]]:
    rows = connection.execute(_COLUMNS, {"name": table, "place": schema})
    return [
        {"name": name, "type": _type(kind), "nullable": bool(nullable), "default": None}
        for name, kind, nullable in rows
    ]


def is_stored(connection: Connection, table: str) -> bool:
    """Whether a name is that of a table of this database whose columns are all stored, none computed."""
    statements = connection.execute(_STATEMENT, {"name": table}).scalars().all()
    return len(statements) == 1 and "GENERATED" not in statements[0].upper()


def _key(connection: Connection, schema: str | None, table: str) -> dict[str, object]:
    rows = connection.execute(_KEY, {"name": table, "place": schema})
    return {"constrained_columns": [name for (name,) in rows], "name": None}


def _type(kind: str) -> TypeEngine[Any]:
    """The type for a name of DuckDB, such as DECIMAL(8,2); NullType for what studies cannot read."""
    made = None if kind.endswith("]") else _TYPES.get(kind.partition("(")[0])
    return sql.NullType() if made is None else made()
