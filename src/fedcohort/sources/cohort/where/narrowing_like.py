"""What of a LIKE a database is asked: how a text begins, and one piece that it must contain.

Both are functions of SQL that fail for no text, take a time that grows with the text, and compare
characters, so that no row is left out that the pattern fits.
"""

from itertools import groupby

from sqlglot import exp

from fedcohort.sources.catalogue.dates import moment_of
from fedcohort.sources.cohort.where.like import Piece, pattern_of
from fedcohort.sources.cohort.where.rows import like_parts

MAX_PIECE = 64
"""Characters of a piece: looking for a longer one could take a multiple of the text's length."""


def plain_text(text: str) -> exp.Literal | None:
    """A constant that every encoding has and no engine takes for an escape; None for another text."""
    plain = text.isascii() and text.isprintable() and "\\" not in text
    return exp.Literal.string(text) if plain else None


def equal_text(node: exp.Expr) -> exp.Literal | None:
    """A constant that only the same characters are equal to: none that is a date."""
    is_text = isinstance(node, exp.Literal) and node.is_string and moment_of(str(node.this)) is None
    return plain_text(str(node.this)) if is_text else None


def liked_column(node: exp.Expr) -> exp.Expr:
    """What is like a pattern."""
    return like_parts(node)[0].unnest()


def like_conditions(node: exp.Expr, engine: str) -> list[exp.Expr]:
    """Conditions that hold for every text of a column that is like the pattern; empty where there is none."""
    _, text, escape, exact = like_parts(node)
    like, column = (node.this if isinstance(node, exp.Escape) else node), liked_column(node)
    pattern = pattern_of(text, escape)
    if like.args.get("negate") or not exact or pattern is None:
        return []
    begin = _runs(pattern.pieces[0])[0] if pattern.pieces[0] and pattern.pieces[0][0] is not None else ""
    longest = max((run for piece in pattern.pieces for run in _runs(piece)), key=len, default="")[:MAX_PIECE]
    conditions = [] if not begin or plain_text(begin) is None else [_begins(column, begin, engine)]
    if longest and plain_text(longest) is not None and not begin.startswith(longest):
        conditions.append(_contains(column, longest, engine))
    return conditions


def _runs(piece: Piece) -> list[str]:
    """The characters between the _."""
    groups = groupby(piece, key=lambda wanted: wanted is not None)
    return ["".join(map(str, group)) for literal, group in groups if literal]


def _begins(column: exp.Expr, begin: str, engine: str) -> exp.Expr:
    length = exp.Literal.number(str(len(begin)))
    if engine == "sqlite":
        cut = exp.Anonymous(this="substr", expressions=[column.copy(), exp.Literal.number("1"), length])
    else:
        cut = exp.Anonymous(this="left", expressions=[column.copy(), length])
    return exp.EQ(this=cut, expression=exp.Literal.string(begin))


def _contains(column: exp.Expr, piece: str, engine: str) -> exp.Expr:
    literal = exp.Literal.string(piece)
    if engine == "duckdb":
        return exp.Anonymous(this="contains", expressions=[column.copy(), literal])
    if engine == "sqlite":
        place = exp.Anonymous(this="instr", expressions=[column.copy(), literal])
    else:  # characters, whatever the column's own collation takes for equal
        bytewise = exp.Collate(this=column.copy(), expression=exp.to_identifier("C", quoted=True))
        place = exp.Anonymous(this="strpos", expressions=[bytewise, literal])
    return exp.GT(this=place, expression=exp.Literal.number("0"))
