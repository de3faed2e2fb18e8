"""A text in another language, and the form in which texts go from one process to another."""

import json
import math
from functools import cache
from pathlib import Path

from fedcohort.texts import Text, Value, Values

HERE = Path(__file__).parent
PAGES = "pages.json"
DEEPEST = 12
"""Texts within texts that are read from another process."""


@cache
def languages() -> dict[str, str]:
    """Each by its own name, so that whoever reads no other can find it; English first."""
    found = {path.parent.name: _read(path)["language.name"] for path in sorted(HERE.glob(f"*/{PAGES}"))}
    return {"en": found.pop("en"), **found}


@cache
def page_texts(language: str = "en") -> dict[str, str]:
    """What the pages say in one of the languages, by name."""
    kinds = sorted((HERE / language / "pages").glob("*.json"))
    return {name: text for path in (HERE / language / PAGES, *kinds) for name, text in _read(path).items()}


@cache
def sentences(language: str) -> dict[str, str]:
    """The program's sentences in another language, by their English templates."""
    files = sorted(path for path in (HERE / language).glob("*.json") if path.name != PAGES)
    return {template: text for path in files for template, text in _read(path).items()}


def _read(path: Path) -> dict[str, str]:
    texts: dict[str, str] = json.loads(path.read_text("utf-8"))
    return texts


def translated(text: str, language: str) -> str:
    """A text in a language; what that lacks stays English.

    Only our own translations are filled in, never the template of a text that came from elsewhere.
    """
    if language == "en":
        return str.__str__(text)
    book = sentences(language)
    if not isinstance(text, Text) or not text.values:
        return book.get(text, str.__str__(text))
    found = book.get(text.template)
    if isinstance(text.values, tuple):
        return (found or text.template).join(translated(one, language) for one in text.values)
    if found is None:
        return str.__str__(text)
    values = {
        name: translated(value, language) if isinstance(value, Text) else value
        for name, value in text.values.items()
    }
    try:
        return found.format(**values)
    except (ValueError, LookupError):  # values that came from elsewhere, and do not fit
        return str.__str__(text)


def carried(text: str) -> dict[str, object]:
    """A text as JSON: `message` is the English sentence, `template` and `values` what it was made of."""
    if not isinstance(text, Text) or not text.values:
        return {"message": text}
    if isinstance(text.values, tuple):
        return {"message": text, "template": text.template, "values": [carried(one) for one in text.values]}
    values = {name: _carried_value(value) for name, value in text.values.items()}
    return {"message": text, "template": text.template, "values": values}


def _carried_value(value: Value) -> object:
    if isinstance(value, Text):
        return carried(value)
    # JSON knows no other numbers (RFC 8259, section 6).
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def received(given: object, deepest: int = DEEPEST) -> Text | None:
    """A text that was carried as JSON; None for what is none."""
    match given:
        case {"message": str(english), "template": str(template), "values": dict() | list() as values}:
            read = _received_values(values, deepest)
            return None if read is None else Text(english, template, read)
        case {"message": str(english)}:
            return Text(english, english, {})
    return None


def _received_values(given: dict[str, object] | list[object], deepest: int) -> Values | None:
    inner = received if deepest else lambda one, _: None
    if isinstance(given, list):
        row = [inner(one, deepest - 1) for one in given]
        return None if None in row else tuple(one for one in row if one is not None)
    values: dict[str, Value] = {}
    for name, value in given.items():
        read = inner(value, deepest - 1) if isinstance(value, dict) else value
        if not isinstance(read, str | int | float):
            return None
        values[name] = read
    return values
