"""A researcher's `where`: parsed, and checked piece by piece.

sqlglot parses it (https://github.com/tobymao/sqlglot); every node of the tree must be of a kind
listed here, every column one that the site offers. What it means is ours alone: `where_kinds` refuses
what compares two kinds, `where_rows` evaluates it on each row's values. A database sees neither the
researcher's text nor the tree, but at most a wider condition that `narrowing` writes.
"""

from collections.abc import Collection, Iterator, Mapping

from sqlglot import Dialect, TokenType, exp, tokenize
from sqlglot.errors import ParseError, TokenError

from fedcohort.errors import CohortError
from fedcohort.sources.catalogue.schema import FEATURES, PATIENT_ID
from fedcohort.sources.cohort.where.functions import MAX_DECIMALS
from fedcohort.sources.cohort.where.like import pattern_of

MAX_CHARACTERS = 10_000
MAX_TOKENS = 1_000
MAX_NESTING = 16
"""Open parentheses and CASEs; also the depth of the tree, where a chain of ANDs is one."""

ALLOWED = (
    "comparisons, AND, OR, NOT, IN (...), BETWEEN, LIKE, IS NULL, CASE, + - * / % and the functions abs, \
coalesce, length, lower, nullif, round, upper over the table's offered columns"
)

_LOGIC = (exp.And, exp.Or, exp.Not, exp.Boolean, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.Escape)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Paren, exp.Case, exp.If)
_OPERANDS = (exp.Column, exp.Identifier, exp.Literal, exp.Null)
_FUNCTIONS = (exp.Abs, exp.Coalesce, exp.Length, exp.Lower, exp.Nullif, exp.Round, exp.Upper)
_PREDICATES = (*_LOGIC, *_COMPARISONS)
_NODES = frozenset((*_PREDICATES, *_ARITHMETIC, *_OPERANDS, *_FUNCTIONS))
_RECKONING = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Abs, exp.Round)


def parse_where(where: str, table: str, columns: Collection[str]) -> exp.Expr:
    """Check a cohort's `where` and return its tree, every column named exactly as in the table.

    Args:
        where: a boolean SQL expression, in standard quoting.
        table: the cohort's table, with which a column may be qualified.
        columns: the columns that may be asked about; patient_id is never one of them.
    Raises:
        CohortError: names the piece that is not allowed, and what is.
    """
    tree = _parse(where)
    _check_depth(tree)
    for node in list(tree.walk()):
        _check_node(node)
        if isinstance(node, exp.Column) and node is not tree:
            node.replace(_own_column(node, table, columns))
    _check_places(tree)
    return tree


def check_plain(where: str) -> None:
    """Refuse reckoning in the `where` of a private study, whatever the table.

    Reckoning selects the same rows everywhere and never fails; but how long it takes depends on the
    numbers, and comparisons are enough.

    Raises:
        CohortError: names the piece, or it is not one boolean expression.
    """
    tree = _parse(where)
    _check_depth(tree)
    for node in tree.walk():
        negated = isinstance(node, exp.Neg) and not isinstance(node.this, exp.Literal)
        if negated or isinstance(node, _RECKONING):
            raise CohortError(
                "where: {piece} is not allowed in a study with [privacy]: how long it takes to reckon can "
                "depend on one patient's number; compare columns as they are, or let the hospital offer a "
                "column with the result",
                piece=quote_piece(node),
            )


def columns_asked(where: str) -> list[str]:
    """The names that a `where` asks about, as it writes them, whatever table they are of.

    Raises:
        CohortError: it is not one boolean expression.
    """
    tree = _parse(where)
    _check_depth(tree)
    return [*dict.fromkeys(column.name for column in tree.find_all(exp.Column))]


def _parse(where: str) -> exp.Expr:
    if len(where) > MAX_CHARACTERS or any(
        ord(character) < 32 and character not in "\t\r\n" for character in where
    ):
        raise CohortError(
            "where: at most {most:,} characters, none of them a control character", most=MAX_CHARACTERS
        )
    try:
        _check_tokens(where)
        trees = Dialect.get_or_raise(None).parse_into(exp.Condition, where)
    except (TokenError, ParseError):
        raise CohortError(
            "where: {text} is not one boolean expression; write such as age >= 18 AND sex = 1",
            text=_quote(where),
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if len(trees) != 1 or trees[0] is None:
        raise CohortError("where: write one boolean expression, or leave where out")
    return trees[0]


def _check_tokens(where: str) -> None:
    """Bound length and nesting before the recursive parser sees them."""
    tokens = tokenize(where)
    if len(tokens) > MAX_TOKENS:
        raise CohortError(
            "where: {count:,} words and signs; at most {most:,}", count=len(tokens), most=MAX_TOKENS
        )
    depth = 0
    for token in tokens:
        depth += token.token_type in (TokenType.L_PAREN, TokenType.CASE, TokenType.L_BRACKET)
        depth -= token.token_type in (TokenType.R_PAREN, TokenType.END, TokenType.R_BRACKET)
        if depth > MAX_NESTING:
            raise _too_deep()


def _too_deep() -> CohortError:
    return CohortError(
        "where: nested more than {most} deep; write it flatter, such as with IN (...)", most=MAX_NESTING
    )


def _check_depth(tree: exp.Expr) -> None:
    """Bound the tree's depth too: NOT NOT NOT and 1 + 1 + 1 nest without parentheses."""
    stack = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > 6 * MAX_NESTING:
            raise _too_deep()
        for child in node.iter_expressions():
            chained = isinstance(child, exp.And | exp.Or) and type(child) is type(node)
            stack.append((child, depth if chained else depth + 1))


_ARGUMENTS: Mapping[type[exp.Expr], set[str]] = {
    exp.In: {"this", "expressions"},
    exp.Between: {"this", "low", "high"},
    exp.Round: {"this", "decimals"},
    exp.Length: {"this"},
}
"""What sqlglot can give more arguments than are evaluated here."""


def _check_node(node: exp.Expr) -> None:
    if type(node) not in _NODES or not set(_given(node)) <= _ARGUMENTS.get(type(node), set(node.args)):
        raise _refusal(node)
    if isinstance(node, exp.In) and not node.expressions:
        raise _refusal(node)
    if isinstance(node, exp.Is) and not isinstance(node.expression, exp.Null | exp.Boolean):
        raise _refusal(node)
    if isinstance(node, exp.Round):
        _check_decimals(node)
    if isinstance(node, exp.Like | exp.ILike) and not isinstance(node.parent, exp.Escape):
        _check_pattern(node, node, None)
    if isinstance(node, exp.Escape):
        _check_escape(node)


def _check_decimals(node: exp.Round) -> None:
    decimals = node.args.get("decimals")
    text = str(decimals.this) if isinstance(decimals, exp.Literal) and not decimals.is_string else ""
    if decimals is not None and not (text.isdecimal() and int(text[:4]) <= MAX_DECIMALS):
        raise CohortError(
            "where: {piece}: decimals are one of 0 to {most}, written out",
            piece=quote_piece(node),
            most=MAX_DECIMALS,
        )


def _check_escape(node: exp.Escape) -> None:
    escape = node.expression
    if not (isinstance(escape, exp.Literal) and escape.is_string and len(str(escape.this)) == 1):
        raise CohortError(
            "where: {piece}: ESCAPE takes one character in quotes, such as '!'", piece=quote_piece(node)
        )
    _check_pattern(node, node.this, str(escape.this))


def _check_pattern(node: exp.Expr, like: exp.Expr, escape: str | None) -> None:
    """A pattern is written out, so that what it costs and whether it is one depends on no row."""
    pattern = like.expression.unnest() if isinstance(like, exp.Like | exp.ILike) else None
    if not (isinstance(pattern, exp.Literal) and pattern.is_string):
        raise CohortError(
            "where: {piece}: LIKE takes a pattern in quotes, such as 'I2%'", piece=quote_piece(node)
        )
    if pattern_of(str(pattern.this), escape) is None:
        raise CohortError(
            "where: {piece}: the pattern ends with its escape character; write it twice, or something after "
            "it",
            piece=quote_piece(node),
        )


def _given(node: exp.Expr) -> Iterator[str]:
    return (name for name, value in node.args.items() if value)


def _refusal(node: exp.Expr) -> CohortError:
    return CohortError(
        "where: {piece} is not allowed; allowed are {allowed}", piece=quote_piece(node), allowed=ALLOWED
    )


def quote_piece(node: exp.Expr) -> str:
    """A piece of a condition as a message may show it.

    Raises:
        CohortError: it is nested too deep to be written.
    """
    try:
        return _quote(node.sql(comments=False))
    except RecursionError:
        raise _too_deep() from None


def _quote(piece: str) -> str:
    return repr(piece if len(piece) <= 80 else piece[:77] + "...")


def _own_column(node: exp.Column, table: str, columns: Collection[str]) -> exp.Column:
    name, qualifier = node.name, node.table
    foreign = node.args.get("db") or node.args.get("catalog") or (qualifier and qualifier != table)
    if foreign or not isinstance(node.this, exp.Identifier):
        raise CohortError(
            "where: {name} is not a column of {table}; other tables are not offered",
            name=quote_piece(node),
            table=table,
        )
    matches = [name] if name in columns else []
    if not matches and not node.this.quoted:
        matches = [column for column in columns if column.casefold() == name.casefold()]
    if len(matches) != 1 or matches[0] in (PATIENT_ID, FEATURES):
        raise CohortError(
            "where: {name} is not a column that every site offers in {table}; write a text in single quotes; "
            "a cohort cannot ask for {patient}",
            name=_quote(name),
            table=table,
            patient=PATIENT_ID,
        )
    return exp.column(exp.to_identifier(matches[0], quoted=True))


def _check_places(tree: exp.Expr) -> None:
    """What stands where true or false is needed must be a condition, and what is compared must be none.

    `18 <= age <= 65` compares a comparison: SQLite takes everybody, PostgreSQL refuses it.
    """
    stack: list[tuple[exp.Expr, bool]] = [(tree, True)]
    while stack:
        node, wanted = stack.pop()
        node = node.unnest()
        if wanted and not isinstance(node, _PREDICATES):
            raise CohortError(
                "where: {text} is not true or false; write such as {example} = 1",
                text=quote_piece(node),
                example=node.sql()[:40],
            )
        if not wanted and isinstance(node, _PREDICATES) and not isinstance(node, exp.Boolean):
            raise CohortError(
                "where: {piece} is true or false, and stands where a value is needed; write such as 18 <= "
                "age AND age <= 65, or age BETWEEN 18 AND 65",
                piece=quote_piece(node),
            )
        stack += _places(node)


def _places(node: exp.Expr) -> Iterator[tuple[exp.Expr, bool]]:
    """What a piece is made of, and whether each must be a condition."""
    if isinstance(node, exp.Case):
        branches = node.args["ifs"]
        yield from ((branch.this, node.this is None) for branch in branches)
        yield from ((branch.args["true"], False) for branch in branches)
        yield from ((place, False) for place in (node.this, node.args.get("default")) if place is not None)
        return
    if isinstance(node, exp.Is):
        tested = node.this.unnest()
        yield tested, isinstance(tested, _PREDICATES) and not isinstance(tested, exp.Boolean)
        return
    conditions = isinstance(node, exp.And | exp.Or | exp.Not | exp.Escape)
    for child in node.iter_expressions():
        if not isinstance(child, exp.Identifier):
            yield (
                child,
                (conditions or (isinstance(node, exp.If) and child is node.this))
                and not isinstance(child, exp.Literal),
            )
