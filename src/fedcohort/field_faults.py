"""Messages for wrong fields of a file or an object: the field and what may stand there, never its value.

Pydantic finds the faults. Its messages name Python's types and the branches of a union, which nobody wrote;
these name what a person reads in the file.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import PydanticKnownError

from fedcohort.texts import Text, in_a_row, say

IDENTIFIER = r"^[^\W\d][\w .\-/()%+#&,:°]*$"
"""Names of tables and columns."""
_PRINTED = r"^[^\x00-\x1f\x7f]+$"
"""Names and units."""
_NO_IDENTIFIER = (
    "a table or column is called by a letter and then letters, digits, blanks and . - / ( ) % + # & , : ° "
    "(in quotes in TOML and in `where`); rename it, or in the mapping file give it a name, such as "
    "[tables.records.columns.pct_predicted] with from = '% predicted'"
)
_NO_SITE = "write 1 to 64 letters (a to z, A to Z), digits, '.', '_' or '-', a letter or a digit first"
_TABLE = "write a table of keys"
WORDS = {
    "missing": "is missing; write it",
    "literal_error": "write {expected}",
    "int_type": "write a whole number, without quotes",
    "int_from_float": "write a whole number, without quotes",
    "int_parsing": "write a whole number, without quotes",
    "float_type": "write a number, without quotes",
    "float_parsing": "write a number, without quotes",
    "finite_number": "write a finite number",
    "bool_type": "write true or false, without quotes",
    "bool_parsing": "write true or false, without quotes",
    "string_type": "write a text in quotes",
    "path_type": "write a path in quotes",
    "list_type": "write a list",
    "tuple_type": "write a list",
    "dict_type": _TABLE,
    "mapping_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "none_required": "leave it out",
    "greater_than": "write a number above {gt}",
    "greater_than_equal": "write {ge} or more",
    "less_than": "write a number below {lt}",
    "less_than_equal": "write {le} or less",
    "string_too_short": "write a text of {min_length} characters or more",
    "string_too_long": "write a text of {max_length} characters at most",
    "string_pattern_mismatch": "write it in one line, without control characters",
    "too_short": "name {min_length} or more",
    "too_long": "name {max_length} at most",
}
"""By pydantic's kind of fault; places hold what the field demands."""
_IN_WORDS = {
    "label": "write a column's name, or fc.Binary(column), fc.Classes(column, levels), "
    "fc.Number(column, low, high) or fc.Survival(time, event)",
    "split": "write a column's name, or fc.Holdout(0.2)",
    "columns": "write a list of names, or names with a kind each, such as {age = {low = 18, high = 90}}",
    "analysis": "write a question, such as fc.Describe() or fc.Train(); in TOML [analysis] with its kind, "
    'such as kind = "describe"',
    "model": "write the name of a model, such as logistic, or give a Keras model",
    "levels": "write each level as a whole number or as text",
}
"""By field, what may stand there, where a union's own message would name its branches."""
_UNDER = {
    "columns": "write what the column holds, such as {low = 18, high = 90} or {levels = [0, 1]}",
    "tables": 'write "*" for every column that an import declared, or a list of columns',
    "codes": "write the level or the number that the code stands for",
}
_WRITTEN: Mapping[int | str, str] = {"taken": "columns", "outcome": "label"}
"""Where a person writes what a cohort of events keeps in a place of its own."""
_OF_UNIONS = {"union_tag_invalid", "union_tag_not_found", "is_instance_of", "sequence_str", "literal_error"}
_ABSENT = {"missing", "string_too_short", "too_short", "greater_than_equal"}
"""Faults of a key that nobody wrote; some objects give it an empty value."""
_LIKE = 0.7
"""How similar a key and a known one must be: three wrong letters of twelve."""


def one_of(known: Collection[str], name: object) -> str:
    """Check a name as a Literal of all known ones would, which cannot be written before they are known.

    Raises:
        PydanticKnownError: it is none of them.
    """
    if isinstance(name, str) and name in known:
        return name
    *others, last = map(repr, known)
    raise PydanticKnownError("literal_error", {"expected": f"{', '.join(others)} or {last}"})


def describe_errors(where: str, error: ValidationError, model: type[BaseModel]) -> Text:
    """Each fault of a file or an object of `model` as a line: file, field, what may stand there."""
    faults = [_located(model, fault) for fault in error.errors(include_url=False)]
    lines = []
    for fault in faults:
        if any(_says_more(other, fault) for other in faults):
            continue
        field = ".".join(map(str, fault.keys))
        words = _words(fault, model, "the top" if where.endswith(".json") else "the top, before any [table]")
        lines.append(
            say("{place}: {field}: {what}", place=where, field=field, what=words)
            if field
            else say("{place}: {what}", place=where, what=words)
        )
    return in_a_row("\n", dict.fromkeys(lines))


@dataclass(frozen=True)
class _Fault:
    """A fault that pydantic has found.

    Attributes:
        keys: the path to the field, as a person writes it.
        inside: models that lack the last key; empty where keys are a person's own.
        at_union: whether several kinds of value may stand there.
        given: the value; to be compared, never to be shown.
    """

    kind: str
    keys: tuple[int | str, ...]
    inside: tuple[type[BaseModel], ...]
    at_union: bool
    message: str
    demands: Mapping[str, Any]
    given: object

    @property
    def known(self) -> list[str]:
        """The keys that its table may have."""
        return [field.alias or name for model in self.inside for name, field in model.model_fields.items()]

    @property
    def near(self) -> str | None:
        """The known key that is most similar to an unknown one."""
        return _nearest(str(self.keys[-1]), self.known) if self.kind == "extra_forbidden" else None


@dataclass(frozen=True)
class _Branch:
    """A kind of value that may stand in a place; pydantic's paths name its tag where it is one of several."""

    type: Any
    tag: str | None = None


def _located(model: type[BaseModel], fault: Any) -> _Fault:  # noqa: ANN401
    """Find the field: pydantic's path holds the names of a union's branches, too, which nobody wrote."""
    keys: list[int | str] = []
    branches = beside = inside = [_Branch(model)]
    is_chosen, at_union = True, False
    for part in fault["loc"]:
        tagged = [
            _Branch(branch.type) for branch in branches if branch.tag is not None and branch.tag == part
        ]
        if tagged or (len(branches) > 1 and not is_chosen):
            # The key that selects a branch may be the mistyped one: any branch may be meant.
            beside = tagged if any(_kind_of(branch.type) for branch in branches) else branches
            branches, is_chosen, at_union = tagged or branches, True, True
        elif part != "[key]":
            of_cohort = any(
                "taken" in branch.type.model_fields for branch in branches if _is_model(branch.type)
            )
            keys.append(_WRITTEN.get(part, part) if of_cohort else part)
            inside = beside
            branches = beside = [inner for branch in branches for inner in _within(branch.type, part)]
            is_chosen, at_union = False, len(branches) > 1
    return _Fault(
        kind=fault["type"],
        keys=tuple(keys),
        inside=tuple(branch.type for branch in inside if _is_model(branch.type)),
        at_union=at_union,
        message=str(fault.get("ctx", {}).get("error", fault["msg"])),
        demands=fault.get("ctx", {}),
        given=fault["input"],
    )


def _within(kind: Any, part: int | str) -> list[_Branch]:  # noqa: ANN401
    """What may stand under a key of this kind of value."""
    if _is_model(kind):
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        return _branches(fields[part].annotation) if part in fields else []
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _branches(inner[1])
    if isinstance(origin, type) and issubclass(origin, Sequence) and isinstance(part, int):
        return _branches(inner[0])
    return []


def _branches(annotation: Any) -> list[_Branch]:  # noqa: ANN401
    """The kinds of value that an annotation allows; each has its tag where pydantic uses one."""
    if get_origin(annotation) is Annotated:
        kind, *notes = get_args(annotation)
        tag = next((note.tag for note in notes if isinstance(note, Tag)), None)
        return [_Branch(branch.type, tag or branch.tag) for branch in _branches(kind)]
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        inner = [branch for kind in kinds for branch in _branches(kind)]
        return [_Branch(branch.type, branch.tag or _kind_of(branch.type)) for branch in inner]
    return [_Branch(annotation)]


def _kind_of(kind: Any) -> str | None:  # noqa: ANN401
    """The `kind` of an analysis."""
    field = kind.model_fields.get("kind") if _is_model(kind) else None
    return field.default if field is not None and get_origin(field.annotation) is Literal else None


def _is_model(kind: Any) -> bool:  # noqa: ANN401
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _says_more(other: _Fault, fault: _Fault) -> bool:
    """Whether another line explains the same fault better: it is deeper, or names the key that was meant."""
    if other.near is not None and fault.kind in _ABSENT and fault.keys == (*other.keys[:-1], other.near):
        return fault.kind == "missing" or not fault.given
    is_deeper = len(other.keys) > len(fault.keys) and other.keys[: len(fault.keys)] == fault.keys
    return is_deeper and (fault.at_union or fault.kind == "too_short")


def _words(fault: _Fault, model: type[BaseModel], top: str) -> Text:
    if fault.kind == "extra_forbidden":
        return _unknown(fault, model, top)
    words = _demanded(fault)
    is_own_key = len(fault.keys) > 1 and isinstance(fault.keys[-1], str) and not fault.inside
    if is_own_key and fault.kind != "value_error" and (places := _places_of(fault, model)):
        return say(
            "{fault}; if it is meant as a setting, it belongs to {place}",
            fault=words,
            place=_in_words(places, top),
        )
    return words


def _unknown(fault: _Fault, model: type[BaseModel], top: str) -> Text:
    """For an unknown key: where it belongs, or the key that it is similar to, or all keys."""
    here = tuple(key for key in fault.keys[:-1] if isinstance(key, str))
    places = _places_of(fault, model)
    is_meant = fault.near is not None and isinstance(fault.given, Mapping)  # [table] for [tables]
    if places and not is_meant and not any(_fits(place, here) for place in places):
        return say("there is no such key here; it belongs to {place}", place=_in_words(places, top))
    return unknown_key(str(fault.keys[-1]), fault.known)


def unknown_key(written: str, known_keys: Sequence[str]) -> Text:
    """For an unknown key: the known key to write instead, or all known keys."""
    near = _nearest(written, known_keys)
    if near is not None:
        return say("there is no such key; write {key}", key=near)
    return say("there is no such key; known are {keys}", keys=", ".join(dict.fromkeys(known_keys)))


def _nearest(written: str, known_keys: Sequence[str]) -> str | None:
    by_letters = {name.lower().replace("_", ""): name for name in known_keys}
    letters = written.lower().replace("_", "").replace("-", "")
    return next((by_letters[match] for match in get_close_matches(letters, by_letters, 1, _LIKE)), None)


def _places_of(fault: _Fault, model: type[BaseModel]) -> list[tuple[str, ...]]:
    """The tables of a file in which a key of this name may stand."""
    return list(dict.fromkeys(place for name, place in _places(model) if name == fault.keys[-1]))


def _in_words(places: list[tuple[str, ...]], top: str) -> Text:
    return in_a_row(" or ", [f"[{'.'.join(place)}]" if place else top for place in places])


def _fits(place: tuple[str, ...], here: tuple[str, ...]) -> bool:
    """Whether a table of the file is one of those; NAME is any name."""
    return len(place) == len(here) and all(map(_is_same, place, here))


def _is_same(place: str, written: str) -> bool:
    return place in (written, "NAME")


def _places(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every key of a file with the table that it stands in; NAME where a person names the table."""
    for name, field in model.model_fields.items():
        yield field.alias or name, above
        for kind in (branch.type for branch in _branches(field.annotation)):
            origin, inner = get_origin(kind), get_args(kind)
            if _is_model(kind):
                yield from _places(kind, (*above, name))
            elif isinstance(origin, type) and issubclass(origin, Mapping | Sequence):
                is_named = issubclass(origin, Mapping)
                place = (*above, name, "NAME") if is_named else (*above, name)
                for branch in _branches(inner[-1] if is_named else inner[0]):
                    if _is_model(branch.type):
                        yield from _places(branch.type, place)


def _demanded(fault: _Fault) -> Text:
    """What may stand there."""
    names = [key for key in fault.keys if isinstance(key, str)]
    if fault.at_union and (fault.kind in _OF_UNIONS or fault.kind.endswith("_type")):
        if len(names) > 1 and names[-1] == fault.keys[-1] and names[-2] in _UNDER:
            return say(_UNDER[names[-2]])
        if names[-1] in _IN_WORDS:
            return say(_IN_WORDS[names[-1]])
    if "bounds" in names and fault.kind in ("tuple_type", "missing", "too_long"):
        return say("write low and high, such as [18, 90]")
    pattern = fault.demands.get("pattern")
    if pattern is not None and pattern != _PRINTED:
        is_site = "A-Za-z0-9" in pattern
        return say(_NO_IDENTIFIER if pattern == IDENTIFIER else _NO_SITE if is_site else fault.message)
    if fault.kind == "string_too_short" and fault.demands["min_length"] == 1:
        return say("is empty; write a text")
    demands = {name: _in_toml(value) for name, value in fault.demands.items() if fault.kind in WORDS}
    return say(WORDS.get(fault.kind, fault.message), **demands)


def _in_toml(value: object) -> str:
    """A bound without a needless fraction, and choices in quotes that TOML, JSON and Python accept."""
    return f"{value:.12g}" if isinstance(value, float) else re.sub("'([^']*)'", r'"\1"', str(value))
