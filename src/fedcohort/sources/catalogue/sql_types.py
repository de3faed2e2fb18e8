"""What a column's SQL type alone tells: a number, a text, or nothing that can be analysed."""

import warnings

from sqlalchemy import Connection, Inspector, MetaData, Table
from sqlalchemy import types as sql
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SAWarning
from sqlalchemy.types import TypeEngine

Facts = dict[str, object]
"""{"kind": "numeric", "low", "high"}, {"kind": "categorical", "levels"} (null and [] when undeclared) or
{"kind": "image", "height", "width", "channels"}. A number has "unit", too, where one is declared."""

_NUMBERS = (sql.Integer, sql.Numeric, sql.Float)
_TEXTS = (sql.String, sql.Date, sql.DateTime, sql.Time, sql.Uuid)
_ADDRESSES = (postgresql.INET, postgresql.CIDR, postgresql.MACADDR, postgresql.MACADDR8)


def column_types(inspector: Inspector, table: str) -> dict[str, TypeEngine[object]]:
    """By column of a table or view; of a type that SQLAlchemy does not know, NullType and no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)
        return {column["name"]: column["type"] for column in inspector.get_columns(table)}


def reflected(connection: Connection, name: str, schema: str | None) -> Table:
    """A table or view as the database describes it.

    Raises:
        NoSuchTableError: there is none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)
        return Table(name, MetaData(), schema=schema, autoload_with=connection)


def facts_of_type(sql_type: TypeEngine[object], engine: str) -> Facts | None:
    """The catalogue's facts of an undeclared column; None for JSON, arrays, money and others without one.

    A column of SQLite without a type, such as an expression in a view, holds numbers or texts: it is
    offered as numbers, which a study may take for levels.
    """
    if isinstance(sql_type, postgresql.DOMAIN):
        return facts_of_type(sql_type.data_type, engine)
    if isinstance(sql_type, sql.Boolean):
        return {"kind": "numeric", "low": 0.0, "high": 1.0}
    if isinstance(sql_type, _NUMBERS) or (engine == "sqlite" and isinstance(sql_type, sql.NullType)):
        return undeclared_number()
    if isinstance(sql_type, sql.JSON) or not isinstance(sql_type, (*_TEXTS, *_ADDRESSES)):
        return None
    return undeclared_text()


def undeclared_number() -> Facts:
    """A number without bounds."""
    return {"kind": "numeric", "low": None, "high": None}


def undeclared_text() -> Facts:
    """A text without levels."""
    return {"kind": "categorical", "levels": []}


def is_readable(sql_type: TypeEngine[object], engine: str) -> bool:
    """Whether its values are numbers, texts or images: then no driver fails on one of them."""
    return isinstance(sql_type, sql.LargeBinary) or facts_of_type(sql_type, engine) is not None


def name_of_type(sql_type: TypeEngine[object]) -> str:
    """The type as people know it from their database."""
    if isinstance(sql_type, sql.NullType):
        return "no type that is known here"
    if isinstance(sql_type, postgresql.DOMAIN):
        return name_of_type(sql_type.data_type)
    return str(sql_type)
