"""A checked condition as SQL of the site's engine, so that it selects the same rows on every one.

sqlglot (https://github.com/tobymao/sqlglot) writes the dialect, identifiers quoted and
comments left out. What engines do differently is rewritten first:

- numbers are reckoned with as doubles: PostgreSQL overflows whole numbers, and 0.1 is exact there;
- what is divided by zero is NULL, a quotient of whole numbers is no whole number, and % is
  that of decimals, with the dividend's sign (SQLite cuts both sides to whole numbers);
- NaN is missing, as in the cohort: PostgreSQL takes it for the largest number;
- true and false are 1 and 0; halves are rounded away from zero;
- texts are in the order of code points, and LIKE knows no escape but the one that it names.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal

from sqlalchemy import types as sql
from sqlalchemy.types import TypeEngine
from sqlglot import exp

from fedcohort.columns import Categorical
from fedcohort.errors import StoreError
from fedcohort.sources.database import SQLITE_MOD
from fedcohort.sources.schema import FEATURES, Declared, Kind

_DIALECTS = {
    "sqlite": "sqlite",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "mssql": "tsql",
    "oracle": "oracle",
    "duckdb": "duckdb",
}
_STRICT = ("postgresql", "duckdb")
"""Engines that know NaN and a type of their own for true and false."""
_BACKSLASH = ("postgresql", "mysql", "mariadb")
"""Engines where LIKE takes a backslash for an escape."""
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg)

TypeName = Literal["boolean", "number", "float", "text"]
Types = Mapping[str, TypeName]
NO_TYPES: Types = MappingProxyType({})


def sql_dialect(engine: str) -> str:
    """sqlglot's name for SQLAlchemy's dialect.

    Raises:
        StoreError: no translation is known for this engine.
    """
    if engine not in _DIALECTS:
        raise StoreError(f"no SQL can be written for {engine}; use one of {', '.join(_DIALECTS)}")
    return _DIALECTS[engine]


def type_name(sql_type: TypeEngine[object]) -> TypeName | None:
    """What a column's SQL type means for how a condition is written; None for dates and others."""
    if isinstance(sql_type, sql.Boolean):
        return "boolean"
    if isinstance(sql_type, sql.Integer):
        return "number"
    if isinstance(sql_type, sql.Numeric | sql.Float):
        return "float"
    return "text" if isinstance(sql_type, sql.String) else None


def select_sql(
    engine: str,
    table: str,
    columns: Collection[str],
    where: exp.Expr | None,
    declared: Mapping[str, Declared],
    types: Types = NO_TYPES,
) -> str:
    """The one SELECT of a cohort, for the engine's dialect, every identifier quoted.

    Args:
        declared: elements of the JSON vector.
        types: of the ordinary columns that `where` asks about.
    """
    names = [exp.column(exp.to_identifier(column, quoted=True)) for column in columns]
    query = exp.select(*names).from_(exp.Table(this=exp.to_identifier(table, quoted=True)))
    if where is not None:
        query = query.where(_for_engine(where, engine, declared, types))
    return query.sql(dialect=sql_dialect(engine), comments=False, identify=True)


def value_of(column: str, engine: str, declared: Mapping[str, Declared]) -> exp.Expr:
    """A column of the table, or an element of its JSON vector, quoted and as the engine writes it."""
    return _for_engine(exp.column(exp.to_identifier(column, quoted=True)), engine, declared, NO_TYPES)


def _for_engine(tree: exp.Expr, engine: str, declared: Mapping[str, Declared], types: Types) -> exp.Expr:
    """Rewrite what engines do differently, leaves first, so that no piece is written twice."""
    tree = tree.copy()
    for node in reversed(list(tree.walk(bfs=False))):
        new = _rewritten(node, engine, declared, types)
        if node is tree:
            tree = new
        elif new is not node:
            node.replace(new)
    return tree


def _rewritten(node: exp.Expr, engine: str, declared: Mapping[str, Declared], types: Types) -> exp.Expr:
    new = node
    if isinstance(node, exp.Column):
        new = _column(node, engine, declared, types)
    elif isinstance(node, exp.Boolean) and engine in _STRICT:
        new = _boolean(node)
    elif isinstance(node, exp.Is) and engine in _STRICT and not isinstance(node.expression, exp.Null):
        new = exp.NullSafeEQ(this=node.this.copy(), expression=node.expression.copy())
    elif isinstance(node, exp.Div | exp.Mod):
        new = _quotient(node, engine)
    elif isinstance(node, exp.Round) and engine == "postgresql":
        node.set("this", exp.cast(node.this.copy(), "decimal"))
    elif isinstance(node, exp.Like | exp.ILike) and engine in _BACKSLASH:
        bare = not isinstance(node.parent, exp.Escape)
        new = exp.Escape(this=node.copy(), expression=exp.Literal.string("")) if bare else node
    return exp.cast(new.copy(), "double") if engine in _STRICT and _reckoned(node) else new


def _reckoned(node: exp.Expr) -> bool:
    """Whether it is a term of a sum or product, where a double must be asked for."""
    above = node.parent
    while isinstance(above, exp.Paren):
        above = above.parent
    if not isinstance(above, _ARITHMETIC) or isinstance(node, (*_ARITHMETIC, exp.Paren)):
        return False
    with_column = isinstance(above, exp.Binary) and isinstance(above.left, exp.Column)
    return not (isinstance(node, exp.Literal) and with_column)


def _boolean(node: exp.Boolean) -> exp.Expr:
    """1 or 0 where it is a value; as it is where it is a condition."""
    value = isinstance(node.parent, exp.Binary) and not isinstance(node.parent, exp.Connector)
    listed = isinstance(node.parent, exp.In | exp.Between | exp.Coalesce | exp.Nullif)
    return exp.Literal.number(int(node.this)) if value or listed else node


def _quotient(node: exp.Div | exp.Mod, engine: str) -> exp.Expr:
    if engine == "sqlite":  # it makes NULL of a division by zero itself
        if isinstance(node, exp.Div):
            return node
        return exp.Anonymous(this=SQLITE_MOD, expressions=[node.this.copy(), node.expression.copy()])
    divisor: exp.Expr = node.expression.copy()
    if not (isinstance(divisor, exp.Literal) and float(divisor.this)):
        divisor = exp.Nullif(this=divisor, expression=exp.Literal.number(0))
    if isinstance(node, exp.Mod) and engine == "postgresql":
        sides = (exp.cast(exp.paren(side), "decimal") for side in (node.this.copy(), divisor))
        return exp.Mod(this=next(sides), expression=next(sides))
    if isinstance(node, exp.Mod) and engine == "duckdb":
        return _duckdb_remainder(node.this.copy(), divisor)
    node.set("expression", divisor)
    return node


def _duckdb_remainder(dividend: exp.Expr, divisor: exp.Expr) -> exp.Expr:
    """Of decimals of 15 digits where they fit into DuckDB's decimals, else of doubles."""
    doubles = [exp.cast(exp.paren(side.copy()), "double") for side in (dividend, divisor)]
    digits = [
        exp.Anonymous(this="format", expressions=[exp.Literal.string("{:.15g}"), one]) for one in doubles
    ]
    tried = [exp.TryCast(this=one, to=exp.DataType.build("decimal(38, 15)")) for one in digits]
    exact = exp.Mod(this=tried[0], expression=exp.Nullif(this=tried[1], expression=exp.Literal.number(0)))
    rough = exp.Mod(this=doubles[0].copy(), expression=doubles[1].copy())
    return exp.func("coalesce", exp.cast(exp.paren(exact), "double"), rough)


def _column(node: exp.Column, engine: str, declared: Mapping[str, Declared], types: Types) -> exp.Expr:
    found, strict = declared.get(node.name), engine in _STRICT
    if found is not None and found.position is not None:
        return (
            _collated(_element(found, engine), engine) if _is_words(found.kind) else _element(found, engine)
        )
    kind = types.get(node.name)
    if kind == "boolean" and strict:
        return exp.cast(node.copy(), "int")
    if kind == "float" and strict:
        nan = exp.cast(exp.Literal.string("NaN"), "double")
        return exp.Nullif(this=exp.cast(node.copy(), "double"), expression=nan)
    return _collated(node, engine) if kind == "text" else node


def _collated(node: exp.Expr, engine: str) -> exp.Expr:
    if engine == "duckdb":  # an enumeration is in the order of its declaration
        return exp.cast(node.copy(), "text")
    if engine != "postgresql":
        return node
    text = (
        node if isinstance(node, exp.Cast) else exp.cast(node.copy(), "text")
    )  # an enumeration has no order
    return exp.Collate(this=text.copy(), expression=exp.to_identifier("C", quoted=True))


def _element(declared: Declared, engine: str) -> exp.Expr:
    """An element of the JSON vector, cast so that comparisons are of numbers everywhere."""
    vector = exp.column(exp.to_identifier(FEATURES, quoted=True))
    element: exp.Expr
    if engine == "sqlite":  # ->> came with SQLite 3.38; json_extract is older
        path = exp.Literal.string(f"$[{declared.position}]")
        element = exp.Anonymous(this="json_extract", expressions=[vector, path])
    else:
        steps = exp.JSONPath(expressions=[exp.JSONPathRoot(), exp.JSONPathSubscript(this=declared.position)])
        element = exp.JSONExtractScalar(this=vector, expression=steps)
    return exp.cast(element, "text" if _is_words(declared.kind) else "double")


def _is_words(kind: Kind) -> bool:
    return isinstance(kind, Categorical) and any(isinstance(level, str) for level in kind.levels)
