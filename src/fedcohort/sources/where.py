"""A researcher's `where`: parsed, and checked piece by piece.

What reaches the database is never the researcher's text. sqlglot parses it
(https://github.com/tobymao/sqlglot); every node of the tree must be of a kind listed
here, every column one that the site offers; then `dialects` writes it for the engine.
"""

from collections.abc import Collection, Iterator

from sqlglot import Dialect, TokenType, exp, tokenize
from sqlglot.errors import ParseError, TokenError

from fedcohort.errors import CohortError
from fedcohort.sources.schema import FEATURES, PATIENT_ID

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
    _check_boolean(tree)
    return tree


def check_plain(where: str) -> None:
    """Refuse reckoning in the `where` of a private study, whatever the table.

    Engines end a query whose numbers overflow (`abs` in SQLite, sums and products in PostgreSQL). Whether
    it ended would tell, without noise, whether there is one patient of whom the numbers are too large.

    Raises:
        CohortError: names the piece, or it is not one boolean expression.
    """
    tree = _parse(where)
    _check_depth(tree)
    for node in tree.walk():
        negated = isinstance(node, exp.Neg) and not isinstance(node.this, exp.Literal)
        if negated or isinstance(node, _RECKONING):
            raise CohortError(
                f"where: {_quote(node.sql(comments=False))} is not allowed in a study with [privacy]: "
                "whether a number is too large to reckon with would tell of one patient without noise; "
                "compare columns as they are, or let the hospital offer a column with the result"
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
        raise CohortError(f"where: at most {MAX_CHARACTERS:,} characters, none of them a control character")
    try:
        _check_tokens(where)
        trees = Dialect.get_or_raise(None).parse_into(exp.Condition, where)
    except (TokenError, ParseError):
        raise CohortError(
            f"where: {_quote(where)} is not one boolean expression; write such as age >= 18 AND sex = 1"
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
        raise CohortError(f"where: {len(tokens):,} words and signs; at most {MAX_TOKENS:,}")
    depth = 0
    for token in tokens:
        depth += token.token_type in (TokenType.L_PAREN, TokenType.CASE, TokenType.L_BRACKET)
        depth -= token.token_type in (TokenType.R_PAREN, TokenType.END, TokenType.R_BRACKET)
        if depth > MAX_NESTING:
            raise _too_deep()


def _too_deep() -> CohortError:
    return CohortError(f"where: nested more than {MAX_NESTING} deep; write it flatter, such as with IN (...)")


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


def _check_node(node: exp.Expr) -> None:
    if type(node) not in _NODES:
        raise _refusal(node)
    if isinstance(node, exp.In) and set(_given(node)) != {"this", "expressions"}:
        raise _refusal(node)
    if isinstance(node, exp.Round) and not set(_given(node)) <= {"this", "decimals"}:
        raise _refusal(node)
    if isinstance(node, exp.Is) and not isinstance(node.expression, exp.Null | exp.Boolean):
        raise _refusal(node)


def _given(node: exp.Expr) -> Iterator[str]:
    return (name for name, value in node.args.items() if value)


def _refusal(node: exp.Expr) -> CohortError:
    try:
        piece = node.sql(comments=False)
    except RecursionError:
        return _too_deep()
    return CohortError(f"where: {_quote(piece)} is not allowed; allowed are {ALLOWED}")


def _quote(piece: str) -> str:
    return repr(piece if len(piece) <= 80 else piece[:77] + "...")


def _own_column(node: exp.Column, table: str, columns: Collection[str]) -> exp.Column:
    name, qualifier = node.name, node.table
    foreign = node.args.get("db") or node.args.get("catalog") or (qualifier and qualifier != table)
    if foreign or not isinstance(node.this, exp.Identifier):
        raise CohortError(
            f"where: {_quote(node.sql())} is not a column of {table}; other tables are not offered"
        )
    matches = [name] if name in columns else []
    if not matches and not node.this.quoted:
        matches = [column for column in columns if column.casefold() == name.casefold()]
    if len(matches) != 1 or matches[0] in (PATIENT_ID, FEATURES):
        raise CohortError(
            f"where: {_quote(name)} is not a column that every site offers in {table}; "
            f"write a text in single quotes; a cohort cannot ask for {PATIENT_ID}"
        )
    return exp.column(exp.to_identifier(matches[0], quoted=True))


def _check_boolean(tree: exp.Expr) -> None:
    """Whatever stands where true or false is needed must be a predicate, on every engine."""
    stack: list[exp.Expr] = [tree]
    while stack:
        node = stack.pop().unnest()
        if not isinstance(node, _PREDICATES):
            raise CohortError(
                f"where: {_quote(node.sql())} is not true or false; write such as {node.sql()[:40]} = 1"
            )
        if isinstance(node, exp.And | exp.Or):
            stack += [node.left, node.right]
        elif isinstance(node, exp.Not):
            stack.append(node.this)
