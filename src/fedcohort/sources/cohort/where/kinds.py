"""What a `where` compares, as far as it is known before any row is read: refused, not guessed.

A column's kind is that of its SQL type, of a data frame's dtype, or of what the study itself declares.
Numbers beside texts, dates beside numbers, and functions of another kind's values are refused here, so
that no engine's own conversion decides. Where a column's kind is not known (a column of SQLite without
a type, objects of a frame), `where_rows` decides value by value, and two kinds are unknown.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from sqlglot import exp

from fedcohort.columns import Binary, Categorical, Classes, Image, Label, Level, Number, Numeric, Survival
from fedcohort.errors import CohortError
from fedcohort.sources.catalogue.dates import moment_of
from fedcohort.sources.catalogue.normal_form import level_key
from fedcohort.sources.cohort.where.parse import parse_where, quote_piece
from fedcohort.study import Cohort

Kind = Literal["number", "text", "moment"]
Kinds = Mapping[str, Kind]
"""Of each column whose kind is known."""
_Found = Kind | Literal["date"] | None
"""Also a quoted date, which is a text and a moment; None is not known."""

_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Abs, exp.Round)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_OF_TEXTS = (exp.Lower, exp.Upper, exp.Length)
_ALIKE = ({"date", "text"}, {"date", "moment"})
_WORDS = {"number": "a number", "text": "a text", "moment": "a date", "date": "a date in quotes"}


def check_kinds(tree: exp.Expr, kinds: Kinds) -> None:
    """Refuse what compares or reckons with values of two kinds.

    Args:
        tree: as `parse_where` checked it.
        kinds: of the columns, as far as they are known.
    Raises:
        CohortError: names the piece, the two kinds and what to write.
    """
    for node in tree.walk():
        if isinstance(node, exp.In):
            _joined(node, [node.this, *node.expressions], kinds)
        elif isinstance(node, exp.Between):
            _joined(node, [node.this, node.args["low"], node.args["high"]], kinds)
        elif isinstance(node, exp.Like | exp.ILike):
            _need(node, node.this, "text", kinds)
        elif isinstance(node, exp.Is) and isinstance(node.expression, exp.Boolean):
            _need(node, node.this, "number", kinds)
        elif isinstance(node, _COMPARISONS):
            _joined(node, [node.left, node.right], kinds)
        else:
            _kind(node, kinds)


def kinds_of_study(cohort: Cohort) -> Kinds:
    """What a study's own columns and label say about kinds.

    Levels that are neither numbers nor dates can only be texts; other levels match by value, whatever
    the column's type is.
    """
    declared: dict[str, Kind | None] = {}
    for name, kind in cohort.schema_.items():
        declared[name] = _of_levels(kind.levels) if isinstance(kind, Categorical) else None
        if isinstance(kind, Numeric):
            declared[name] = "number"
    declared |= _of_label(cohort.label)
    return {name: kind for name, kind in declared.items() if kind is not None}


def kinds_of_declared(declared: Mapping[str, Numeric | Categorical | Image]) -> Kinds:
    """The kinds of a JSON vector's elements, as an import declared them."""
    kinds: dict[str, Kind] = {}
    for name, declaration in declared.items():
        kind = _of_levels(declaration.levels) if isinstance(declaration, Categorical) else "number"
        if kind is not None and not isinstance(declaration, Image):
            kinds[name] = kind
    return kinds


def _of_label(label: Label | str | None) -> dict[str, Kind | None]:
    match label:
        case Binary(column=column, positive=positive, negative=negative):
            return {column: _of_levels((positive, negative))}
        case Classes(column=column, levels=levels):
            return {column: _of_levels(levels)}
        case Number(column=column):
            return {column: "number"}
        case Survival(time=time):
            return {time: "number"}
        case _:
            return {}


def _of_levels(levels: Sequence[Level]) -> Kind | None:
    """Text where one of the levels can be nothing else."""
    return "text" if any(isinstance(level, str) and not _is_other(level) for level in levels) else None


def _is_other(level: str) -> bool:
    try:
        float(level_key(level) or "")
    except ValueError:
        return moment_of(level.strip()) is not None
    return True


def check_where_of_study(cohort: Cohort, columns: Collection[str]) -> None:
    """Refuse a `where` whose kinds do not fit what the study itself declares.

    Args:
        columns: that it may ask about.
    Raises:
        CohortError: as `parse_where` and `check_kinds`.
    """
    if cohort.where is not None:
        check_kinds(parse_where(cohort.where, cohort.table, columns), kinds_of_study(cohort))


def _kind(node: exp.Expr, kinds: Kinds) -> _Found:
    """An operand's kind; None for NULL, for what is not known, and for conditions."""
    node = node.unnest()
    if isinstance(node, exp.Column):
        return kinds.get(node.name)
    if isinstance(node, exp.Literal):
        text = str(node.this)
        return "number" if not node.is_string else "text" if moment_of(text) is None else "date"
    if isinstance(node, _ARITHMETIC):
        for side in [node.left, node.right] if isinstance(node, exp.Binary) else [node.this]:
            _need(node, side, "number", kinds)
        return "number"
    if isinstance(node, _OF_TEXTS):
        _need(node, node.this, "text", kinds)
        return "number" if isinstance(node, exp.Length) else "text"
    return "number" if isinstance(node, exp.Boolean) else _of_branches(node, kinds)


def _of_branches(node: exp.Expr, kinds: Kinds) -> _Found:
    if isinstance(node, exp.Coalesce):
        return _joined(node, [node.this, *node.expressions], kinds)
    if isinstance(node, exp.Nullif):
        _joined(node, [node.this, node.expression], kinds)
        return _kind(node.this, kinds)
    if isinstance(node, exp.Case):
        if node.this is not None:
            _joined(node, [node.this, *(branch.this for branch in node.args["ifs"])], kinds)
        results = [branch.args["true"] for branch in node.args["ifs"]]
        return _joined(node, [*results, *filter(None, [node.args.get("default")])], kinds)
    if isinstance(node, exp.If) and not isinstance(node.parent, exp.Case):
        return _joined(node, [node.args["true"], *filter(None, [node.args.get("false")])], kinds)
    return None


def _need(node: exp.Expr, operand: exp.Expr, needed: Kind, kinds: Kinds) -> None:
    actual = _kind(operand, kinds)
    if actual not in (None, needed) and {actual, needed} not in _ALIKE:
        raise CohortError(
            f"where: {quote_piece(node)} needs {_WORDS[needed]} and has {_WORDS[str(actual)]}; "
            f"{_remedy(actual)}"
        )


def _joined(node: exp.Expr, operands: Sequence[exp.Expr], kinds: Kinds) -> _Found:
    """The one kind of values that stand beside each other; None where one of them is not known."""
    every = [_kind(operand, kinds) for operand in operands if not isinstance(operand.unnest(), exp.Null)]
    joined: _Found = None
    for kind in every:
        if joined is not None and kind not in (None, joined) and {joined, kind} not in _ALIKE:
            raise CohortError(
                f"where: {quote_piece(node)} puts {_WORDS[joined]} beside {_WORDS[str(kind)]}; "
                f"{_remedy(joined, kind)}"
            )
        joined = kind if joined in (None, "date") and kind is not None else joined
    return None if None in every else joined


def _remedy(*kinds: _Found) -> str:
    if "moment" in kinds:
        return "compare a date with one such as '2024-02-01' or '2024-02-01 08:30:00'"
    return "write texts in single quotes and numbers without, as the column holds them"
