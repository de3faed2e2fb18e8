"""Which rows a checked `where` selects: our own evaluation, the same for every engine and data frame.

A condition is a pure function of the row's own values, and total: no value raises, is cast or takes
long, so that whether a study can be answered tells nothing about a patient. What is unknown (NULL,
NaN, two kinds beside each other) selects nobody, and stays unknown under NOT.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from sqlglot import exp

from fedcohort.sources.cohort.where import functions
from fedcohort.sources.cohort.where.compare import Truth, compare, known, same
from fedcohort.sources.cohort.where.like import lowered, matcher, pattern_of
from fedcohort.sources.cohort.where.operands import (
    NULL,
    Bools,
    Operand,
    Operands,
    merged,
    number_literal,
    text_literal,
)

_COMPARED: Mapping[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_RECKONED: Mapping[type[exp.Expr], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
}
_AS_NUMBER = {True: number_literal("1"), False: number_literal("0")}


def rows_where(tree: exp.Expr, operands: Operands, n: int) -> Bools:
    """The rows for which the condition is true.

    Args:
        tree: as `parse_where` checked it.
        operands: a column's values by its name.
        n: how many rows there are.
    Returns:
        (n,); false where it is false or unknown.
    """
    return _Rows(operands, n).condition(tree).true


@dataclass(frozen=True)
class _Rows:
    """The rows that a condition is asked of."""

    operands: Operands
    n: int

    def condition(self, node: exp.Expr) -> Truth:
        """True or false of each row, (n,)."""
        node = node.unnest()
        truth = _CONDITIONS[type(node)](self, node)
        return Truth(np.broadcast_to(truth.true, (self.n,)), np.broadcast_to(truth.false, (self.n,)))

    def value(self, node: exp.Expr) -> Operand:
        """The value of each row, or one for all."""
        node = node.unnest()
        return _VALUES[type(node)](self, node)


def _chained(rows: _Rows, node: Any) -> Truth:  # noqa: ANN401
    """All links of a chain, which may be as long as an expression, without a call within a call."""
    links, stack = list[exp.Expr](), [node.right, node.left]
    while stack:
        part = stack.pop().unnest()
        if type(part) is type(node):
            stack += [part.right, part.left]
        else:
            links.append(part)
    join = Truth.__and__ if isinstance(node, exp.And) else Truth.__or__
    return reduce(join, map(rows.condition, links))


def _compared(rows: _Rows, node: Any) -> Truth:  # noqa: ANN401
    return compare(rows.value(node.left), _COMPARED[type(node)], rows.value(node.right))


def _distinct(rows: _Rows, node: Any) -> Truth:  # noqa: ANN401
    equal = same(rows.value(node.left), rows.value(node.right))
    return equal if isinstance(node, exp.NullSafeEQ) else ~equal


def _among(rows: _Rows, node: Any) -> Truth:  # noqa: ANN401
    tested = rows.value(node.this)
    return reduce(Truth.__or__, [compare(tested, "=", rows.value(value)) for value in node.expressions])


def _between(rows: _Rows, node: Any) -> Truth:  # noqa: ANN401
    tested, low, high = (rows.value(operand) for operand in (node.this, node.args["low"], node.args["high"]))
    return compare(tested, ">=", low) & compare(tested, "<=", high)


def _is(rows: _Rows, node: Any) -> Truth:  # noqa: ANN401
    """IS NULL, IS TRUE and IS FALSE, of a value or of a condition; never unknown."""
    tested, wanted = node.this.unnest(), node.expression
    null = isinstance(wanted, exp.Null)
    if type(tested) in _CONDITIONS and type(tested) not in _VALUES:
        truth = rows.condition(tested)
        return known(~truth.true & ~truth.false if null else truth.true if wanted.this else truth.false)
    value = rows.value(tested)
    return known(~value.present) if null else same(value, _AS_NUMBER[bool(wanted.this)])


def like_parts(node: Any) -> tuple[exp.Expr, str, str | None, bool]:  # noqa: ANN401
    """What is like a pattern, the pattern, its escape, and whether case counts."""
    escape = str(node.expression.this) if isinstance(node, exp.Escape) else None
    like = node.this if isinstance(node, exp.Escape) else node
    return like.this, str(like.expression.unnest().this), escape, isinstance(like, exp.Like)


def _like(rows: _Rows, node: Any) -> Truth:  # noqa: ANN401
    tested, text, escape, exact = like_parts(node)
    operand, pattern = rows.value(tested), pattern_of(text, escape)
    if operand.texts is None or pattern is None:
        return Truth(np.zeros(1, np.bool_), np.zeros(1, np.bool_))
    texts = operand.texts if exact else operand.texts.mapped(str.lower)
    matches = matcher(pattern if exact else lowered(pattern))
    true = texts.each(list(map(matches, texts.words)), False, np.bool_)
    matched = Truth(true, operand.is_text & ~true)
    return ~matched if (node.this if isinstance(node, exp.Escape) else node).args.get("negate") else matched


def _literal(_rows: _Rows, node: Any) -> Operand:  # noqa: ANN401
    return text_literal(str(node.this)) if node.is_string else number_literal(str(node.this))


def _reckoned(rows: _Rows, node: Any) -> Operand:  # noqa: ANN401
    return functions.reckoned(rows.value(node.left), _RECKONED[type(node)], rows.value(node.right))


def _rounded(rows: _Rows, node: Any) -> Operand:  # noqa: ANN401
    decimals = node.args.get("decimals")
    return functions.rounded(rows.value(node.this), 0 if decimals is None else int(decimals.this))


def _coalesced(rows: _Rows, node: Any) -> Operand:  # noqa: ANN401
    return functions.coalesced([rows.value(operand) for operand in (node.this, *node.expressions)], rows.n)


def _nullif(rows: _Rows, node: Any) -> Operand:  # noqa: ANN401
    return functions.nullif(rows.value(node.this), rows.value(node.expression), rows.n)


def _case(rows: _Rows, node: Any) -> Operand:  # noqa: ANN401
    """The first branch whose condition is true, or whose value equals the one after CASE."""
    case = isinstance(node, exp.Case)
    tested = rows.value(node.this) if case and node.this is not None else None
    left, chosen, values = np.ones(rows.n, np.bool_), list[Bools](), list[Operand]()
    for branch in node.args["ifs"] if case else [node]:
        truth = (
            rows.condition(branch.this) if tested is None else compare(tested, "=", rows.value(branch.this))
        )
        chosen.append(left & truth.true)
        values.append(rows.value(branch.args["true"]))
        left = left & ~truth.true
    default = node.args.get("default" if case else "false")
    if default is not None:
        chosen.append(left)
        values.append(rows.value(default))
    return merged(chosen, values, rows.n)


_CONDITIONS: Mapping[type[exp.Expr], Callable[[_Rows, Any], Truth]] = {
    exp.And: _chained,
    exp.Or: _chained,
    exp.Not: lambda rows, node: ~rows.condition(node.this),
    exp.Boolean: lambda _rows, node: known(np.full(1, bool(node.this))),
    exp.Is: _is,
    exp.In: _among,
    exp.Between: _between,
    **dict.fromkeys((exp.Like, exp.ILike, exp.Escape), _like),
    **dict.fromkeys((exp.NullSafeEQ, exp.NullSafeNEQ), _distinct),
    **dict.fromkeys(_COMPARED, _compared),
}
_VALUES: Mapping[type[exp.Expr], Callable[[_Rows, Any], Operand]] = {
    exp.Column: lambda rows, node: rows.operands[node.name],
    exp.Literal: _literal,
    exp.Boolean: lambda _rows, node: _AS_NUMBER[bool(node.this)],
    exp.Null: lambda _rows, _node: NULL,
    exp.Case: _case,
    exp.If: _case,
    exp.Coalesce: _coalesced,
    exp.Nullif: _nullif,
    exp.Round: _rounded,
    exp.Neg: lambda rows, node: functions.negated(rows.value(node.this)),
    exp.Abs: lambda rows, node: functions.absolute(rows.value(node.this)),
    exp.Length: lambda rows, node: functions.length(rows.value(node.this)),
    exp.Lower: lambda rows, node: functions.cased(rows.value(node.this), str.lower),
    exp.Upper: lambda rows, node: functions.cased(rows.value(node.this), str.upper),
    **dict.fromkeys(_RECKONED, _reckoned),
}
