"""What a database may leave out before `where` is evaluated: rows that cannot be selected, and no others.

An engine is asked only what provably cannot raise, cast a row's value, take long or leave out a row
that `where_rows` selects: comparisons of a column of whole numbers, doubles, dates, timestamps or
plain text with a constant of the same type, IS NOT NULL, and of LIKE how a text begins and what it
contains. Each must be true for every row for which ours is true; where it is true for more (NaN is the
largest number of PostgreSQL, a collation takes two texts for equal), our evaluation follows anyway.
Everything else asks the engine nothing. NOT is carried to the comparisons first, which is right in
three values.

Views and tables with computed columns are not narrowed: whether their own expressions fail could
then depend on the condition and on one patient.
"""

import warnings
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import reduce
from math import ceil, floor, isfinite
from typing import Literal

import numpy as np
from sqlalchemy import Connection, inspect
from sqlalchemy import types as sql
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.exc import SAWarning
from sqlalchemy.types import TypeEngine
from sqlglot import exp

from fedcohort.sources.catalogue.dates import moment_of
from fedcohort.sources.cohort.where.kinds import Kinds
from fedcohort.sources.cohort.where.narrowing_like import equal_text, like_conditions, liked_column
from fedcohort.sources.cohort.where.operands import Reading, decimal_of

Narrow = Literal["whole", "double", "loose", "text", "date", "timestamp"]
"""How a column's type lets constants be compared with it; SQLite's numbers are loose: any column of
numbers may hold whole ones and doubles, which it compares exactly."""
Types = Mapping[str, TypeEngine[object]]

_NARROWED = ("sqlite", "postgresql", "duckdb")
_PLAIN_TEXT = ("string", "text", "unicode", "unicode_text", "VARCHAR", "TEXT", "CLOB")
"""SQLAlchemy's names of types that are nothing but text: no enumeration, UUID or padded CHAR."""
_DAY = 86_400_000_000
_WHOLE_LIMIT = 2**63
_SQLITE_DIGITS, _LEAST = 15, 1e-15
"""Digits of a number of at least this size that every version of SQLite reads as the nearest double."""
_FLIPPED: Mapping[type[exp.Expr], type[exp.Binary]] = {
    exp.EQ: exp.EQ,
    exp.NEQ: exp.NEQ,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
}
_NEGATED: Mapping[type[exp.Expr], type[exp.Binary]] = {
    exp.EQ: exp.NEQ,
    exp.NEQ: exp.EQ,
    exp.LT: exp.GTE,
    exp.LTE: exp.GT,
    exp.GT: exp.LTE,
    exp.GTE: exp.LT,
}
_Found = exp.Expr | None
"""A condition of the engine's; None leaves no row out."""


def kinds_of_types(types: Types, engine: str) -> Kinds:
    """What a column's SQL type says for certain.

    SQLite keeps texts in columns of most types: only a column of text, or of INTEGER or REAL, is
    taken by its name.
    """
    return {name: kind for name, sql_type in types.items() if (kind := _kind(sql_type, engine)) is not None}


def _kind(sql_type: TypeEngine[object], engine: str) -> Literal["number", "text", "moment"] | None:
    sql_type = _base(sql_type)
    if isinstance(sql_type, sql.String | sql.Uuid):
        return "text"
    if isinstance(sql_type, sql.Integer | sql.Float):
        return "number"
    if engine == "sqlite":
        return None
    if isinstance(sql_type, sql.Boolean | sql.Numeric):
        return "number"
    return "moment" if isinstance(sql_type, sql.Date | sql.DateTime) else None


def _base(sql_type: TypeEngine[object]) -> TypeEngine[object]:
    """A domain of PostgreSQL holds what its type holds."""
    return _base(sql_type.data_type) if isinstance(sql_type, DOMAIN) else sql_type


def readings_of_types(types: Types, engine: str) -> Mapping[str, Reading]:
    """How values of a declared type are read where the driver's own value does not tell."""
    readings: dict[str, Reading] = {}
    for name, declared in types.items():
        sql_type = _base(declared)
        if isinstance(sql_type, sql.Date | sql.DateTime):
            readings[name] = "moment"
        elif isinstance(sql_type, sql.REAL) and engine != "sqlite":
            readings[name] = "single"
        elif isinstance(sql_type, sql.CHAR) and engine != "sqlite":
            readings[name] = "padded"
    return readings


def is_stored(connection: Connection, table: str) -> bool:
    """Whether it is a table whose columns are all sql_type, so that reading a row computes nothing."""
    if connection.dialect.name == "duckdb":
        from fedcohort.storage import duckdb_files as duck

        return duck.is_stored(connection, table)
    inspector = inspect(connection)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)
        columns = inspector.get_columns(table)
    return table in inspector.get_table_names() and not any(column.get("computed") for column in columns)


def narrowing(tree: exp.Expr, types: Types, engine: str) -> exp.Expr | None:
    """A condition for the engine that holds for every row that `where` selects; None where it has none.

    Args:
        tree: as `parse_where` checked it.
        types: of the ordinary columns of a table (not of a view).
        engine: SQLAlchemy's name of it.
    """
    if engine not in _NARROWED:
        return None
    narrow = {
        name: kind for name, sql_type in types.items() if (kind := _narrow(sql_type, engine)) is not None
    }
    return _narrowed(tree, negated=False, types=narrow, engine=engine)


def _narrow(sql_type: TypeEngine[object], engine: str) -> Narrow | None:
    if isinstance(sql_type, sql.String):
        return "text" if sql_type.__visit_name__ in _PLAIN_TEXT else None
    if isinstance(sql_type, sql.Integer):
        return "loose" if engine == "sqlite" else "whole"
    if isinstance(sql_type, sql.Float):
        single = isinstance(sql_type, sql.REAL) and engine == "postgresql"
        return None if single else "loose" if engine == "sqlite" else "double"
    if engine == "sqlite":
        return None
    if isinstance(sql_type, sql.Date):
        return "date"
    return "timestamp" if isinstance(sql_type, sql.TIMESTAMP) and not sql_type.timezone else None


def _narrowed(node: exp.Expr, *, negated: bool, types: Mapping[str, Narrow], engine: str) -> _Found:
    node = node.unnest()
    if isinstance(node, exp.Not):
        return _narrowed(node.this, negated=not negated, types=types, engine=engine)
    if isinstance(node, exp.And | exp.Or):
        every = [_narrowed(part, negated=negated, types=types, engine=engine) for part in node.flatten()]
        return _all(every) if isinstance(node, exp.And) != negated else _any(every)
    if isinstance(node, exp.Between):
        bounds = ((exp.GTE, node.args["low"]), (exp.LTE, node.args["high"]))
        sides = [_compared(sign(this=node.this, expression=part), negated, types) for sign, part in bounds]
        return _any(sides) if negated else _all(sides)
    if type(node) in _FLIPPED:
        return _compared(node, negated, types)
    return _there(node, types) if negated else _one_of(node, types, engine)


def _there(node: exp.Expr, types: Mapping[str, Narrow]) -> _Found:
    """NOT (a IS NULL)."""
    if not isinstance(node, exp.Is) or not isinstance(node.expression, exp.Null):
        return None
    column = node.this.unnest()
    return exp.Not(this=exp.Is(this=column.copy(), expression=exp.Null())) if _is_of(column, types) else None


def _one_of(node: exp.Expr, types: Mapping[str, Narrow], engine: str) -> _Found:
    """IN and LIKE."""
    if isinstance(node, exp.In):
        each = [exp.EQ(this=node.this, expression=value) for value in node.expressions]
        return _any([_compared(value, negated=False, types=types) for value in each])
    if not isinstance(node, exp.Like | exp.Escape):
        return None
    column = liked_column(node)
    is_text = isinstance(column, exp.Column) and types.get(column.name) == "text"
    return _all([*like_conditions(node, engine)]) if is_text else None


def _is_of(node: exp.Expr, types: Mapping[str, Narrow]) -> bool:
    return isinstance(node, exp.Column) and node.name in types


def _all(conditions: list[_Found]) -> _Found:
    clear = [condition for condition in conditions if condition is not None]
    return reduce(_joined(exp.And), clear) if clear else None


def _any(conditions: list[_Found]) -> _Found:
    clear = [condition for condition in conditions if condition is not None]
    return reduce(_joined(exp.Or), clear) if clear and len(clear) == len(conditions) else None


def _joined(kind: type[exp.Connector]) -> Callable[[exp.Expr, exp.Expr], exp.Expr]:
    return lambda left, right: kind(this=_nested(left, kind), expression=_nested(right, kind))


def _nested(node: exp.Expr, kind: type[exp.Connector]) -> exp.Expr:
    return exp.paren(node) if isinstance(node, exp.Connector) and not isinstance(node, kind) else node


def _compared(node: exp.Expr, negated: bool, types: Mapping[str, Narrow]) -> _Found:
    """A column beside a constant, in this order."""
    left, right, sign = node.this.unnest(), node.expression.unnest(), type(node)
    if not _is_of(left, types):
        left, right, sign = right, left, _FLIPPED[sign]
    if not _is_of(left, types):
        return None
    if negated:
        sign = _NEGATED[sign]
    narrow = types[left.name]
    if narrow == "text":
        literal = equal_text(right) if sign is exp.EQ else None
        return None if literal is None else exp.EQ(this=left.copy(), expression=literal)
    if narrow in ("date", "timestamp"):
        return _dated(left, sign, right, narrow)
    value = _constant(right)
    return None if value is None else _numbered(left, sign, value, narrow)


def _constant(node: exp.Expr) -> Decimal | None:
    if isinstance(node, exp.Neg):
        value = _constant(node.this.unnest())
        return None if value is None else -value
    return decimal_of(str(node.this)) if isinstance(node, exp.Literal) and not node.is_string else None


def _numbered(column: exp.Expr, sign: type[exp.Expr], value: Decimal, narrow: Narrow) -> _Found:
    double = float(value)
    if not isfinite(double):
        return None
    if narrow == "whole":
        return _whole(column, sign, value)
    if abs(double) >= 2.0**53 or 0 < abs(double) < _LEAST:
        return None
    text = repr(double)
    if narrow == "loose":
        digits = text.partition("e")[0].lstrip("-").replace(".", "").strip("0")
        literal = exp.Literal.number(text) if len(digits) <= _SQLITE_DIGITS else None
        return None if literal is None else sign(this=column.copy(), expression=literal)
    return sign(this=column.copy(), expression=exp.cast(exp.Literal.string(text), "double"))


def _whole(column: exp.Expr, sign: type[exp.Expr], value: Decimal) -> _Found:
    """Beside whole numbers, 5.5 is written as the whole number below or above it."""
    if abs(value) >= _WHOLE_LIMIT - 1:
        return None
    bound = int(value)
    if bound != value:
        value = Decimal(float(value))  # what `where_rows` compares with
        if sign in (exp.EQ, exp.NEQ):
            return None
        sign, bound = (exp.GTE, ceil(value)) if sign in (exp.GT, exp.GTE) else (exp.LTE, floor(value))
    return sign(this=column.copy(), expression=exp.Literal.number(str(bound)))


def _dated(column: exp.Expr, sign: type[exp.Expr], literal: exp.Expr, narrow: Narrow) -> _Found:
    """Beside dates, midnights alone: a date that is made a timestamp can be out of range."""
    moment = moment_of(str(literal.this)) if isinstance(literal, exp.Literal) and literal.is_string else None
    if moment is None or (narrow == "date" and moment % _DAY):
        return None
    text = str(np.datetime64(moment, "us")).replace("T", " ")
    if not text[0].isdecimal():  # an offset of hours before the year 1
        return None
    constant = exp.cast(exp.Literal.string(text[:10] if narrow == "date" else text), narrow)
    return sign(this=column.copy(), expression=constant)
