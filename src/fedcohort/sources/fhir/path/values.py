"""Values that FHIRPath walks over, as JSON has them, and how they are compared.

Source: FHIRPath N1, clauses 4.1 (singletons), 6.1 (equality) and 6.2 (comparison).
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fedcohort.errors import DataError

Items = Sequence[Any]
"""A collection: dicts, texts, numbers and booleans of JSON."""
MAX_STEPS = 1_000_000
"""Items that the paths of a view may visit in one resource."""
MAX_TEXT = 1_000_000
"""Characters of a text that a path makes."""
CHOICES = frozenset(
    (
        "abatement", "age", "allowed", "asNeeded", "author", "born", "bounds", "content", "deceased",
        "defaultValue", "dose", "effective", "identified", "item", "location", "medication", "multipleBirth",
        "occurrence", "onset", "performed", "product", "rate", "reported", "scheduled", "serviced", "timing",
        "used", "value"
    )
)  # fmt: skip
"""Elements that R4 calls NAME[x], as valueQuantity is of value."""
TYPES = frozenset(
    (
        "Address", "Age", "Annotation", "Attachment", "Base64Binary", "Boolean", "Canonical", "Code",
        "CodeableConcept", "Coding", "ContactDetail", "ContactPoint", "Contributor", "Count",
        "DataRequirement", "Date", "DateTime", "Decimal", "Distance", "Dosage", "Duration", "Expression",
        "HumanName", "Id", "Identifier", "Instant", "Integer", "Markdown", "Meta", "Money", "Oid",
        "ParameterDefinition", "Period", "PositiveInt", "Quantity", "Range", "Ratio", "Reference",
        "RelatedArtifact", "SampledData", "Signature", "String", "Time", "Timing", "TriggerDefinition",
        "UnsignedInt", "Uri", "Url", "UsageContext", "Uuid",
    )
)  # fmt: skip
"""What may stand behind such a name (R4, Extensibility: open type element)."""
_DATE = re.compile(r"(\d{4}(?:-\d\d){0,2})(?:T(\d\d(?::\d\d){0,2}(?:\.\d+)?)(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


class Scope:
    """What a path knows beside the items that it is applied to.

    Attributes:
        variables: constants of the view, the resource and its context.
        row_index: place of the element that forEach or repeat is at.
        meter: one number, the steps that are left; shared by all scopes of a resource.
    """

    __slots__ = ("meter", "row_index", "variables")

    def __init__(self, variables: dict[str, Any], row_index: int, meter: list[int]) -> None:
        self.variables, self.row_index, self.meter = variables, row_index, meter

    def at(self, row_index: int) -> "Scope":
        """The same for another element."""
        return Scope(self.variables, row_index, self.meter)

    def spend(self, steps: int) -> None:
        """Count steps.

        Raises:
            DataError: the resource is larger, or the view more nested, than is read.
        """
        self.meter[0] -= steps
        if self.meter[0] < 0:
            raise DataError(
                f"takes more than {MAX_STEPS:,} steps; leave the resource out, or write simpler paths"
            )


def members(items: Items, name: str) -> list[Any]:
    """What the items have by a name; by a choice's name, whichever type it has."""
    found: list[Any] = []
    for item in items:
        if item.__class__ is not dict:
            continue
        value = item.get(name)
        if value is None and name in CHOICES:
            value = _chosen(item, name)
        if value.__class__ is list:
            found.extend(one for one in value if one is not None)
        elif value is not None:
            found.append(value)
    return found


def _chosen(item: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - JSON
    """The value of NAME[x], whose key is the name and a type: valueQuantity, and not valueSet."""
    length = len(name)
    return next(
        (value for key, value in item.items() if key[length:] in TYPES and key.startswith(name)), None
    )


def truth(items: Items) -> bool | None:
    """Empty: None; one boolean: itself; one other item: True.

    Raises:
        DataError: more than one.
    """
    if not items:
        return None
    if len(items) > 1:
        raise DataError("a condition of more than one item; write exists(), or first()")
    return items[0] if items[0].__class__ is bool else True


def is_same(one: object, other: object) -> bool:
    """Equality, in which true is not 1, and a time is the same in every zone."""
    if one.__class__ is str and other.__class__ is str and one != other:
        return bool(order(one, other) == 0)
    return one == other and (one.__class__ is bool) == (other.__class__ is bool)


def are_same(ones: Items, others: Items) -> bool:
    """Whether two collections have equal items in the same order."""
    return len(ones) == len(others) and all(map(is_same, ones, others))


def distinct(items: Iterable[Any], scope: Scope) -> list[Any]:
    """Each item once, at its first place."""
    found: list[Any] = []
    for item in items:
        scope.spend(len(found))
        if not any(is_same(item, one) for one in found):
            found.append(item)
    return found


def order(one: Any, other: Any) -> int | None:  # noqa: ANN401 - JSON
    """Below 0, 0 or above 0 as `one` is before, at or behind `other`; None where their precision hides it.

    Raises:
        DataError: they are not of one kind.
    """
    kinds = {_kind(one), _kind(other)}
    if kinds not in ({"text"}, {"number"}):
        raise DataError("compared are numbers with numbers and texts with texts; correct the view's path")
    if kinds == {"text"}:
        left, right = _DATE.fullmatch(one), _DATE.fullmatch(other)
        if left and right:
            return _date_order(left, right)
    return int(one > other) - int(one < other)


def _kind(item: object) -> str:
    if isinstance(item, str):
        return "text"
    return "number" if isinstance(item, int | float) and not isinstance(item, bool) else "other"


def _date_order(left: re.Match[str], right: re.Match[str]) -> int | None:
    """By instant where both have a zone; else as far as both are precise."""
    one, other = left[1] + (f"T{left[2]}" if left[2] else ""), right[1] + (f"T{right[2]}" if right[2] else "")
    if left[3] and right[3]:
        one, other = _in_utc(one, left[3]), _in_utc(other, right[3])
    elif left[2] and right[2] and (left[3] or right[3]):
        return None
    whole = [text.partition(".")[0] for text in (one, other)]
    shorter = min(map(len, whole))
    if whole[0][:shorter] != whole[1][:shorter]:
        return 1 if whole[0] > whole[1] else -1
    if len(whole[0]) != len(whole[1]):
        return None
    fractions = [(text.partition(".")[2] + "0" * 9)[:9] for text in (one, other)]
    return (fractions[0] > fractions[1]) - (fractions[0] < fractions[1])


def _in_utc(text: str, zone: str) -> str:
    if zone == "Z":
        return text
    digits = text.partition(".")
    try:
        local = datetime.fromisoformat(digits[0] if len(digits[0]) > 13 else f"{digits[0]}:00")
        hours, minutes = int(zone[1:3]), int(zone[4:])
        moved = local - (1 if zone[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes)
    except (ValueError, OverflowError):
        return text
    return moved.replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S")[: len(digits[0])] + "".join(digits[1:])
