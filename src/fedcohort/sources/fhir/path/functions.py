"""The functions of FHIRPath that views may call, and the two that SQL-on-FHIR adds.

Source: FHIRPath N1, clause 5; SQL-on-FHIR v2, "Required Additional Functions". None takes a regular
expression: one may take longer than any bound.
"""

from collections.abc import Callable
from typing import Any

from fedcohort.errors import DataError
from fedcohort.sources.fhir.path.boundaries import boundary
from fedcohort.sources.fhir.path.values import MAX_TEXT, Items, Scope, distinct, members, truth

Path = Callable[[Items, Scope], Items]
_PRIMITIVES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "decimal": (int, float),
    "String": str,
    "Integer": int,
    "Boolean": bool,
    "Decimal": (int, float),
}


def is_type(item: object, kind: str) -> bool:
    """Whether an item may be of a type, as far as JSON shows it."""
    if kind in _PRIMITIVES:
        is_boolean = item.__class__ is bool
        return isinstance(item, _PRIMITIVES[kind]) and is_boolean == (kind.lower() == "boolean")
    if isinstance(item, dict):
        return bool(item.get("resourceType", kind) == kind)
    return isinstance(item, str) and kind[:1].islower()


def reference_keys(item: object, kind: str | None) -> list[str]:
    """The id that a Reference points to; nothing where it points to another type.

    `urn:uuid:` has no type, and is taken for the wanted one; a contained resource (`#id`) has no key.
    """
    text = item.get("reference") if isinstance(item, dict) else None
    if not isinstance(text, str) or text.startswith("#"):
        return []
    if text.startswith(("urn:uuid:", "urn:oid:")):
        named = item.get("type") if isinstance(item, dict) else None
        return [text.rpartition(":")[2]] if kind is None or named in (None, kind) else []
    parts = text.partition("/_history")[0].partition("?")[0].rstrip("/").split("/")
    if not parts[-1] or (kind is not None and (len(parts) < 2 or parts[-2] != kind)):
        return []
    return [parts[-1]]


def _where(before: Path, test: Path) -> Path:
    def where(items: Items, scope: Scope) -> Items:
        found = before(items, scope)
        scope.spend(len(found))
        return [item for item in found if truth(test([item], scope))]

    return where


def _exists(before: Path, test: Path | None = None) -> Path:
    if test is None:
        return lambda items, scope: [bool(before(items, scope))]
    chosen = _where(before, test)
    return lambda items, scope: [bool(chosen(items, scope))]


def _all(before: Path, test: Path) -> Path:
    def every(items: Items, scope: Scope) -> Items:
        found = before(items, scope)
        scope.spend(len(found))
        return [all(truth(test([item], scope)) for item in found)]

    return every


def _select(before: Path, projection: Path) -> Path:
    def select(items: Items, scope: Scope) -> Items:
        found = before(items, scope)
        scope.spend(len(found))
        chosen = [one for item in found for one in projection([item], scope)]
        scope.spend(len(chosen))
        return chosen

    return select


def _extension(before: Path, url: Path) -> Path:
    def extension(items: Items, scope: Scope) -> Items:
        wanted = url(items, scope)
        found = members(before(items, scope), "extension")
        return [one for one in found if wanted and isinstance(one, dict) and one.get("url") == wanted[0]]

    return extension


def _join(before: Path, separator: Path | None = None) -> Path:
    def join(items: Items, scope: Scope) -> Items:
        between = separator(items, scope) if separator else ()
        found = [_text(item) for item in before(items, scope)]
        scope.spend(len(found))
        return [str(between[0] if between else "").join(found)[:MAX_TEXT]]

    return join


def _iif(before: Path, test: Path, then: Path, otherwise: Path | None = None) -> Path:
    def iif(items: Items, scope: Scope) -> Items:
        found = before(items, scope)
        if truth(test(found, scope)):
            return then(found, scope)
        return otherwise(found, scope) if otherwise else []

    return iif


def _not(before: Path) -> Path:
    def negation(items: Items, scope: Scope) -> Items:
        value = truth(before(items, scope))
        return [] if value is None else [not value]

    return negation


def _text(item: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, dict | list):
        raise DataError("a text is asked of what is none; name one of its elements")
    return str(item)


def _of_text(change: Callable[..., Any]) -> Callable[..., Path]:
    """A function of the first item's text, and of its argument's."""

    def make(before: Path, argument: Path | None = None) -> Path:
        def of_text(items: Items, scope: Scope) -> Items:
            found = before(items, scope)[:1]
            given = argument(items, scope)[:1] if argument else ()
            if not found or (argument and not given):
                return []
            return [change(_text(found[0]), *map(_text, given))]

        return of_text

    return make


def _boundary(*, is_high: bool) -> Callable[[Path], Path]:
    return lambda before: (
        lambda items, scope: [
            bound for item in before(items, scope)[:1] for bound in boundary(item, is_high=is_high)
        ]
    )


def _resource_key(before: Path) -> Path:
    return lambda items, scope: [
        item["id"]
        for item in before(items, scope)
        if isinstance(item, dict) and isinstance(item.get("id"), str) and item["id"]
    ]


FUNCTIONS: dict[str, tuple[int, int, Callable[..., Path]]] = {
    "all": (1, 1, _all),
    "contains": (1, 1, _of_text(lambda text, part: part in text)),
    "count": (0, 0, lambda before: lambda items, scope: [len(before(items, scope))]),
    "distinct": (0, 0, lambda before: lambda items, scope: distinct(before(items, scope), scope)),
    "empty": (0, 0, lambda before: lambda items, scope: [not before(items, scope)]),
    "endsWith": (1, 1, _of_text(str.endswith)),
    "exists": (0, 1, _exists),
    "extension": (1, 1, _extension),
    "first": (0, 0, lambda before: lambda items, scope: before(items, scope)[:1]),
    "getResourceKey": (0, 0, _resource_key),
    "highBoundary": (0, 0, _boundary(is_high=True)),
    "iif": (2, 3, _iif),
    "join": (0, 1, _join),
    "last": (0, 0, lambda before: lambda items, scope: before(items, scope)[-1:]),
    "lowBoundary": (0, 0, _boundary(is_high=False)),
    "lower": (0, 0, _of_text(str.lower)),
    "not": (0, 0, _not),
    "select": (1, 1, _select),
    "startsWith": (1, 1, _of_text(str.startswith)),
    "toString": (0, 0, _of_text(str)),
    "upper": (0, 0, _of_text(str.upper)),
    "where": (1, 1, _where),
}
"""By name: the least and the most arguments, and what makes the closure."""
