"""FHIRPath compiled to closures: (items, scope) -> items. No eval, no network, and a bound on the steps.

What is offered is what SQL-on-FHIR v2 asks of a view: paths, indexing, the operators, and the functions of
`functions.py`; anything else is refused when a view is read, before any data are.
"""

from collections.abc import Callable, Collection, Sequence
from operator import add, mul, sub, truediv
from typing import Any

from fedcohort.errors import ConfigError, DataError
from fedcohort.sources.fhir.path.boundaries import date_time_boundary
from fedcohort.sources.fhir.path.functions import FUNCTIONS, Path, is_type, reference_keys
from fedcohort.sources.fhir.path.syntax import (
    Binary,
    Call,
    Index,
    Literal,
    Member,
    Node,
    This,
    Variable,
    parse,
)
from fedcohort.sources.fhir.path.values import (
    CHOICES,
    MAX_TEXT,
    Items,
    Scope,
    are_same,
    distinct,
    is_same,
    members,
    order,
    truth,
)

ROW_INDEX = "rowIndex"
OWN_VARIABLES = frozenset({ROW_INDEX, "resource", "context"})
_LOGIC = ("and", "or", "xor", "implies")
_ORDERS: dict[str, Callable[[int], bool]] = {
    "<": lambda sign: sign < 0,
    ">": lambda sign: sign > 0,
    "<=": lambda sign: sign <= 0,
    ">=": lambda sign: sign >= 0,
}

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": add,
    "-": sub,
    "*": mul,
    "/": truediv,
    "div": lambda one, other: int(one / other),
    "mod": lambda one, other: one - other * int(one / other),
}
_LARGEST = 2.0**256
"""Of a factor: products of whole numbers have no end."""


def compile_path(text: object, constants: Collection[str] = ()) -> Path:
    """A path as a function.

    Raises:
        ConfigError: it is no path that is offered.
    """
    tree = parse(text, OWN_VARIABLES.union(constants))
    try:
        return _built(tree)
    except ConfigError as error:
        raise ConfigError(f"{text}: {error}") from None


def plain_names(text: object) -> list[str] | None:
    """The names of a path that is nothing but names, `value.ofType(T)` as one; None for any other."""
    names: list[str] = []
    node = parse(text, OWN_VARIABLES)
    while not isinstance(node, This):
        match node:
            case Member(before, name) if name not in CHOICES:
                names.append(name)
            case Call(Member(before, name), "ofType", (Member(_, kind),)) if name in CHOICES:
                names.append(_typed_name(name, kind))
            case _:
                return None
        node = before
    return names[::-1] or None


def _built(node: Node) -> Path:  # noqa: PLR0911 - one a kind of node
    match node:
        case This():
            return lambda items, _: items
        case Literal(values):
            return lambda *_: values
        case Variable(name):
            return _variable(name)
        case Member():
            return _members(node)
        case Index(before, place):
            return _indexed(_built(before), _built(place))
        case Binary(operator, left, right):
            return _operation(operator, _built(left), _built(right))
        case Call():
            return _call(node)


def _variable(name: str) -> Path:
    if name == ROW_INDEX:
        return lambda _, scope: [scope.row_index]

    def variable(_: Items, scope: Scope) -> Items:
        value = scope.variables[name]
        return [] if value is None else [value]

    return variable


def _members(node: Member) -> Path:
    """A chain of names, the frequent case, without a closure for each."""
    names: list[str] = []
    inner: Node = node
    while isinstance(inner, Member):
        names.insert(0, inner.name)
        inner = inner.before
    before = None if isinstance(inner, This) else _built(inner)

    def chain(items: Items, scope: Scope) -> Items:
        found = items if before is None else before(items, scope)
        for name in names:
            if not found:
                return found
            found = members(found, name)
        return found

    return chain


def _indexed(before: Path, place: Path) -> Path:
    def indexed(items: Items, scope: Scope) -> Items:
        found, at = before(items, scope), place(items, scope)
        if not at:
            return []
        if at[0].__class__ is not int:
            raise DataError("an index is a whole number; correct the view's path")
        return found[at[0] : at[0] + 1] if at[0] >= 0 else []

    return indexed


def _operation(operator: str, left: Path, right: Path) -> Path:  # noqa: PLR0911 - one a kind
    if operator in _LOGIC:
        return _logic(operator, left, right)
    if operator in ("=", "!=", "~", "!~"):
        return _equality(operator, left, right)
    if operator in _ORDERS:
        return _comparison(_ORDERS[operator], left, right)
    if operator == "|":
        return lambda items, scope: distinct([*left(items, scope), *right(items, scope)], scope)
    if operator == "in":
        return _membership(left, right)
    if operator == "contains":
        return _membership(right, left)
    return _concatenation(left, right) if operator == "&" else _arithmetic(operator, left, right)


def _logic(operator: str, left: Path, right: Path) -> Path:
    """Three-valued: None is the empty collection."""

    def logic(items: Items, scope: Scope) -> Items:
        one = truth(left(items, scope))
        if operator == "and" and one is False:
            return [False]
        if operator == "or" and one is True:
            return [True]
        if operator == "implies" and one is False:
            return [True]
        other = truth(right(items, scope))
        if operator == "and":
            result = False if other is False else None if None in (one, other) else True
        elif operator == "or":
            result = True if other else None if None in (one, other) else False
        elif operator == "xor":
            result = None if None in (one, other) else one != other
        else:
            result = True if other else None if one is None else other
        return [] if result is None else [result]

    return logic


def _equality(operator: str, left: Path, right: Path) -> Path:
    """`=` of an empty collection is empty; `~` of two empty ones is true."""
    wanted, is_strict = not operator.startswith("!"), operator.endswith("=")

    def equality(items: Items, scope: Scope) -> Items:
        ones, others = left(items, scope), right(items, scope)
        if is_strict and (not ones or not others):
            return []
        return [are_same(ones, others) == wanted]

    return equality


def _comparison(holds: Callable[[int], bool], left: Path, right: Path) -> Path:
    def comparison(items: Items, scope: Scope) -> Items:
        ones, others = left(items, scope), right(items, scope)
        if not ones or not others:
            return []
        sign = order(_only(ones), _only(others))
        return [] if sign is None else [holds(sign)]

    return comparison


def _membership(item: Path, collection: Path) -> Path:
    def membership(items: Items, scope: Scope) -> Items:
        wanted = item(items, scope)
        if not wanted:
            return []
        return [any(is_same(_only(wanted), one) for one in collection(items, scope))]

    return membership


def _concatenation(left: Path, right: Path) -> Path:
    def concatenation(items: Items, scope: Scope) -> Items:
        texts = [_only(found) if found else "" for found in (left(items, scope), right(items, scope))]
        if not all(isinstance(text, str) for text in texts):
            raise DataError("& is of texts; write toString() behind a number")
        scope.spend(sum(map(len, texts)) // 100)
        return ["".join(texts)[:MAX_TEXT]]

    return concatenation


def _arithmetic(operator: str, left: Path, right: Path) -> Path:
    def arithmetic(items: Items, scope: Scope) -> Items:
        ones, others = left(items, scope), right(items, scope)
        if not ones or not others:
            return []
        one, other = _only(ones), _only(others)
        if operator == "+" and isinstance(one, str) and isinstance(other, str):
            return [(one + other)[:MAX_TEXT]]
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (one, other)):
            raise DataError(f"{operator} is of numbers; correct the view's path")
        return _reckoned(operator, one, other)

    return arithmetic


def _reckoned(operator: str, one: int | float, other: int | float) -> list[Any]:
    if operator in ("/", "div", "mod") and other == 0:
        return []
    if operator == "*" and max(abs(one), abs(other)) > _LARGEST:
        return []
    try:
        return [_ARITHMETIC[operator](one, other)]
    except (OverflowError, ValueError):
        return []


def _only(items: Items) -> Any:  # noqa: ANN401 - JSON
    if len(items) > 1:
        raise DataError("an operator's side has more than one item; write first()")
    return items[0]


def _type_of(call: Call) -> str:
    match call.arguments:
        case (Member(_, name),):
            return name
    raise ConfigError(f"{call.name}() takes the name of a type")


def _typed_name(name: str, kind: str) -> str:
    """valueQuantity, of value.ofType(Quantity)."""
    return name + kind[:1].upper() + kind[1:]


def _call(call: Call) -> Path:  # noqa: PLR0911 - one a kind
    match call:
        case Call(Member(inner, name), "ofType", _) if name in CHOICES:
            return _members(Member(inner, _typed_name(name, _type_of(call))))
        case Call(Binary("|"), "first", ()):
            return _first_of([_built(one) for one in _united(call.before)])
    before = _built(call.before)
    if call.name in ("is", "ofType"):
        kind = _type_of(call)
        if call.name == "is":
            return lambda items, scope: [is_type(item, kind) for item in before(items, scope)[:1]]
        return lambda items, scope: [item for item in before(items, scope) if is_type(item, kind)]
    if call.name == "getReferenceKey":
        wanted = _type_of(call) if call.arguments else None
        return lambda items, scope: [
            key for item in before(items, scope) for key in reference_keys(item, wanted)
        ]
    if call.name in ("lowBoundary", "highBoundary") and _is_date_time(call.before):
        is_high = call.name == "highBoundary"
        return lambda items, scope: [
            bound for item in before(items, scope)[:1] for bound in date_time_boundary(item, is_high=is_high)
        ]
    return _function(call, before)


def _united(node: Node) -> list[Node]:
    return (
        [*_united(node.left), *_united(node.right)]
        if isinstance(node, Binary) and node.operator == "|"
        else [node]
    )


def _first_of(paths: Sequence[Path]) -> Path:
    """`(a | b | c).first()`, a frequent case: what stands behind the first item is not looked for."""

    def first(items: Items, scope: Scope) -> Items:
        return next((found[:1] for path in paths if (found := path(items, scope))), [])

    return first


def _is_date_time(node: Node) -> bool:
    return isinstance(node, Call) and node.name == "ofType" and _type_of(node) in ("dateTime", "instant")


def _function(call: Call, before: Path) -> Path:
    if call.name not in FUNCTIONS:
        raise ConfigError(f"{call.name}() is not offered; offered are {', '.join(sorted(FUNCTIONS))}")
    least, most, make = FUNCTIONS[call.name]
    if not least <= len(call.arguments) <= most:
        raise ConfigError(f"{call.name}() takes {least}{f' to {most}' * (most > least)} arguments")
    return make(before, *map(_built, call.arguments))
