"""The SELECT of a derived table: parsed, and checked piece by piece, as a researcher's `where` is.

sqlglot parses it (https://github.com/tobymao/sqlglot) in the dialect of the site's database. Every node of
the tree must be of a kind listed here, every function one that tells the same on the same rows (no clock, no
dice), every table one of the database's own, every column one that its tables have; patients come as they
stand. What is sent is written from the checked tree.
"""

from collections.abc import Collection, Iterator, Mapping

from sqlglot import Dialect, ErrorLevel, TokenType, exp
from sqlglot.errors import OptimizeError, ParseError, SchemaError, TokenError
from sqlglot.optimizer.qualify import qualify

from fedcohort.errors import ConfigError
from fedcohort.sources.catalogue.schema import PATIENT_ID

MAX_CHARACTERS, MAX_TOKENS, MAX_NESTING = 50_000, 10_000, 32
DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres"}
"""sqlglot's name of an engine that is imported into."""

_CLAUSES = (
    exp.Select, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit,
    exp.Offset, exp.Distinct, exp.Subquery, exp.With, exp.CTE, exp.Union, exp.Except, exp.Intersect,
    exp.Table, exp.TableAlias, exp.Alias, exp.Window, exp.WindowSpec, exp.Filter, exp.Exists,
)  # fmt: skip
_OPERANDS = (exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Star, exp.DataType, exp.Var)
_OPERATORS = (
    exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.Escape, exp.EQ, exp.NEQ,
    exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Add, exp.Sub, exp.Mul, exp.Div,
    exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe, exp.Paren, exp.Tuple, exp.Interval, exp.IntervalSpan,
)  # fmt: skip
_FUNCTIONS = (
    exp.Abs, exp.Avg, exp.Case, exp.Cast, exp.Ceil, exp.Coalesce, exp.Concat, exp.Count, exp.Date,
    exp.DenseRank, exp.Extract, exp.FirstValue, exp.Floor, exp.Greatest, exp.If, exp.Lag, exp.LastValue,
    exp.Lead, exp.Least, exp.Length, exp.Lower, exp.Max, exp.Min, exp.Nullif, exp.Rank, exp.Round,
    exp.RowNumber, exp.StrPosition, exp.Substring, exp.Sum, exp.TimeToStr, exp.TimestampTrunc, exp.Trim,
    exp.TsOrDsToDate, exp.TsOrDsToTimestamp, exp.Upper,
)  # fmt: skip
_NODES = frozenset((*_CLAUSES, *_OPERANDS, *_OPERATORS, *_FUNCTIONS))
_NAMED_FUNCTIONS = ("JULIANDAY", "UNIXEPOCH")
"""Functions that sqlglot knows by their names alone."""
_CLOCK = ("now", "today", "tomorrow", "yesterday")
"""Texts that databases take for the time of asking."""
ALLOWED = (
    "SELECT, WITH, JOIN, WHERE, GROUP BY, HAVING, window functions, UNION and ORDER BY over imported tables; "
    "comparisons, CASE, CAST, arithmetic, and functions of numbers, texts and dates but not of the time"
)

Columns = Mapping[str, Collection[str]]
"""Table to the names of its columns."""


def parse_select(select: str, name: str, engine: str, tables: Columns) -> tuple[exp.Query, list[str]]:
    """Check the SELECT of a derived table.

    Args:
        name: the derived table's, for messages.
        engine: SQLAlchemy's name of the database's dialect.
        tables: what may be read.
    Returns:
        the tree, which orders its rows; and the tables that it reads.
    Raises:
        ConfigError: names the piece that is not allowed, and what is.
    """
    tree = _parsed(select, name, DIALECTS[engine])
    for node in tree.walk():
        _check_node(node, name)
    read = _tables_read(tree, name, tables)
    _check_columns(tree, name, engine, {table: tables[table] for table in read})
    _check_patients(tree, name)
    if tree.args.get("order") is None:
        tree = tree.order_by(*map(str, range(1, len(tree.named_selects) + 1)))
    return tree, read


def _parsed(select: str, name: str, dialect: str) -> exp.Query:
    where = f"{name}: select"
    if len(select) > MAX_CHARACTERS or "\0" in select:
        raise ConfigError(f"{where}: at most {MAX_CHARACTERS:,} characters, none of them NUL")
    try:
        _check_tokens(select, where, dialect)
        trees = Dialect.get_or_raise(dialect).parse(select)
    except (TokenError, ParseError) as error:
        raise ConfigError(f"{where}: is not SQL of {dialect}: {_first_line(error)}; correct it") from None
    except RecursionError:
        raise _too_deep(where) from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Select | exp.SetOperation):
        raise ConfigError(f"{where}: write one SELECT")
    return trees[0]


def _check_tokens(select: str, where: str, dialect: str) -> None:
    """Bound length and nesting before the recursive parser sees them."""
    tokens = Dialect.get_or_raise(dialect).tokenize(select)
    if len(tokens) > MAX_TOKENS:
        raise ConfigError(f"{where}: {len(tokens):,} words and signs; at most {MAX_TOKENS:,}")
    depth = 0
    for token in tokens:
        depth += token.token_type in (TokenType.L_PAREN, TokenType.CASE, TokenType.L_BRACKET)
        depth -= token.token_type in (TokenType.R_PAREN, TokenType.END, TokenType.R_BRACKET)
        if depth > MAX_NESTING:
            raise _too_deep(where)


def _too_deep(where: str) -> ConfigError:
    return ConfigError(f"{where}: nested more than {MAX_NESTING} deep; write it flatter, such as by WITH")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "").rstrip(".")


def _check_node(node: exp.Expr, name: str) -> None:
    is_named = isinstance(node, exp.Anonymous) and str(node.this).upper() in _NAMED_FUNCTIONS
    wrong = type(node) not in _NODES and not (is_named and node.expressions)
    wrong |= isinstance(node, exp.With) and bool(node.args.get("recursive"))
    wrong |= isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count)
    wrong |= isinstance(node, exp.Literal) and node.is_string and node.name.strip().lower() in _CLOCK
    wrong |= isinstance(node, exp.Select) and any(node.args.get(part) for part in ("into", "locks", "hint"))
    wrong |= isinstance(node, exp.Date) and node.this is None
    wrong |= isinstance(node, exp.TableAlias) and bool(node.columns)
    if wrong:
        raise ConfigError(f"{name}: select: {_quoted(node)} is not allowed; allowed are {ALLOWED}")


def _quoted(node: exp.Expr) -> str:
    piece = " ".join(node.sql(unsupported_level=ErrorLevel.IGNORE).split())
    return piece if len(piece) <= 80 else f"{piece[:80]}..."


def _tables_read(tree: exp.Query, name: str, tables: Columns) -> list[str]:
    """The tables that a SELECT reads, in their order; each is the database's own."""
    read: dict[str, None] = {}
    for table in tree.find_all(exp.Table):
        if not table.args.get("db") and table.name in _common_names(table):
            continue
        if table.args.get("db") or table.name not in tables:
            listed = ", ".join(sorted(tables)) or "none"
            raise ConfigError(
                f"{name}: select: reads {_quoted(table)}, which is no imported table here; there are {listed}"
            )
        read[table.name] = None
    return sorted(read)


def _common_names(table: exp.Table) -> Iterator[str]:
    """Names that a WITH around a table gives."""
    node: exp.Expr | None = table
    while node is not None:
        for common in getattr(node, "ctes", ()):
            yield common.alias
        node = node.parent


def _check_columns(tree: exp.Query, name: str, engine: str, tables: Columns) -> None:
    """Refuse a name that no table has: SQLite takes one in double quotes for a text."""
    schema: dict[str, object] = {name: dict.fromkeys(columns, "text") for name, columns in tables.items()}
    try:
        qualify(tree.copy(), dialect=DIALECTS[engine], schema=schema)
    except (OptimizeError, SchemaError) as error:
        raise ConfigError(
            f"{name}: select: {_first_line(error)}; name columns as the tables have them"
        ) from None
    except RecursionError:
        raise _too_deep(f"{name}: select") from None


def _check_patients(tree: exp.Query, name: str) -> None:
    """Each row is a patient's, under the identifier that the database has: nothing else may be called so."""
    arms = [output.alias_or_name for output in _first_arm(tree).selects]
    others = (output for output in tree.find_all(exp.Alias) if output.alias == PATIENT_ID)
    if arms.count(PATIENT_ID) != 1 or any(not _is_patient(output.this) for output in others):
        raise _no_patient(name)
    place = arms.index(PATIENT_ID)
    for select in _arms(tree):
        if len(select.selects) <= place or not _is_patient(select.selects[place].unalias()):
            raise _no_patient(name)


def _is_patient(value: exp.Expr) -> bool:
    return isinstance(value, exp.Column) and value.name == PATIENT_ID


def _no_patient(name: str) -> ConfigError:
    return ConfigError(
        f"{name}: select: give {PATIENT_ID} as a table has it, such as SELECT a.{PATIENT_ID}, ..."
    )


def _first_arm(tree: exp.Query) -> exp.Select:
    return next(_arms(tree))


def _arms(tree: exp.Expr) -> Iterator[exp.Select]:
    """The SELECTs whose rows come out: one, or those of a UNION."""
    if isinstance(tree, exp.SetOperation):
        yield from (*_arms(tree.this), *_arms(tree.expression))
    elif isinstance(tree, exp.Subquery):
        yield from _arms(tree.this)
    elif isinstance(tree, exp.Select):
        yield tree
