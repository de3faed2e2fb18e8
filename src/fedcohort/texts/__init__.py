"""Sentences that people read: written once, in English, where they arise, and looked up in other languages.

A language is one folder beside this file: `pages.json` has what the pages themselves say, by name, and
`pages/` the same of each kind of analysis; every other file has sentences of the program, by their English
template.
"""

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Union

Value = Union[str, int, float, "Text"]
Values = Mapping[str, Value] | tuple["Text", ...]


class Text(str):
    """An English sentence that knows what it was made of.

    Attributes:
        template: the sentence with a place for each value; of texts in a row, what stands between them.
        values: by the names of their places, or the texts in a row.
    """

    template: str
    values: Values

    def __new__(cls, english: str, template: str, values: Values) -> "Text":
        """A sentence as it is filled in, which `say` does."""
        text = super().__new__(cls, english)
        text.template, text.values = template, values
        return text

    def __getnewargs__(self) -> tuple[str, str, Values]:  # type: ignore[override]
        return str.__str__(self), self.template, self.values

    def __str__(self) -> str:
        """Itself: so `str(error)` is the text with which the error was raised."""
        return self


def say(template: str, /, **values: object) -> Text:
    """Fill in a template; without values it is the sentence, whatever braces it has.

    Args:
        values: texts, which are translated with the sentence; numbers; anything else as its `str` is.
    """
    if not values:
        return template if isinstance(template, Text) else Text(template, template, {})
    kept = {name: _kept(value) for name, value in values.items()}
    return Text(template.format(**kept), template, kept)


def in_a_row(between: str, texts: Iterable[str]) -> Text:
    """Texts with something between them, such as ends of lines."""
    row = tuple(say(text) for text in texts)
    return Text(between.join(row), between, row)


def _kept(value: object) -> Value:
    if isinstance(value, str | int | float):
        return value
    return (
        int(value) if isinstance(value, Integral) else float(value) if isinstance(value, Real) else str(value)
    )
