"""SQL as the site's engine writes it, every identifier quoted.

sqlglot (https://github.com/tobymao/sqlglot) writes the dialect, identifiers quoted and
comments left out.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlglot import exp

from fedcohort.columns import Categorical
from fedcohort.errors import StoreError
from fedcohort.sources.catalogue.schema import FEATURES, Declared, Kind

_DIALECTS = {
    "sqlite": "sqlite",
    "postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "mssql": "tsql",
    "oracle": "oracle",
    "duckdb": "duckdb",
}


def sql_dialect(engine: str) -> str:
    """sqlglot's name for SQLAlchemy's dialect.

    Raises:
        StoreError: no translation is known for this engine.
    """
    if engine not in _DIALECTS:
        raise StoreError(f"no SQL can be written for {engine}; use one of {', '.join(_DIALECTS)}")
    return _DIALECTS[engine]


def select_sql(engine: str, table: str, columns: Collection[str], narrower: exp.Expr | None = None) -> str:
    """The one SELECT of a cohort, for the engine's dialect: columns as they stand, nothing computed.

    Args:
        narrower: what `narrowing` writes: a condition that all rows fulfil that `where` selects.
    """
    return select_of(engine, table, [column_of(column) for column in columns], narrower)


def column_of(name: str) -> exp.Column:
    """A column, quoted."""
    return exp.column(exp.to_identifier(name, quoted=True))


def select_of(engine: str, table: str, values: Sequence[exp.Expr], narrower: exp.Expr | None) -> str:
    """A SELECT of such values of a table, for the engine's dialect."""
    query = exp.select(*values).from_(exp.Table(this=exp.to_identifier(table, quoted=True)))
    if narrower is not None:
        query = query.where(narrower)
    return query.sql(dialect=sql_dialect(engine), comments=False, identify=True)


def value_of(column: str, engine: str, declared: Mapping[str, Declared]) -> exp.Expr:
    """A column of the table, or an element of its JSON vector, quoted and as the engine writes it."""
    declaration = declared.get(column)
    if declaration is None or declaration.position is None:
        return column_of(column)
    element = _element(declaration, engine)
    if engine == "postgresql" and _is_words(declaration.kind):
        return exp.Collate(this=element, expression=exp.to_identifier("C", quoted=True))
    return element


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
