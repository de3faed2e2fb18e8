"""The plain words of readiness and of errors in the reader's language, sentence by sentence.

All are written once, in English; files beside this one have what each sentence is in another language.
A sentence without a translation stays English, and fails a test.
"""

import json
import re
from functools import cache, lru_cache
from pathlib import Path

PLACE = re.compile(r"\{(\w+)(?::(words|number|rest))?\}")
"""A value's place; one of `words` is a sentence's part, and translated like one."""
_VALUES = {"number": r"[+-]?\d[\d.,e+-]*", "rest": ".*"}
"""What may stand there; elsewhere one letter or more."""
READINESS, FAULTS = "readiness", "faults"
"""Books of sentences."""
SEMICOLON, COLON = {"zh": "；"}, {"zh": "："}

Template = tuple[re.Pattern[str], str, frozenset[str]]


def sentence(words: str, language: str, book: str) -> str:
    """One sentence of a book."""
    return words if language == "en" else _said(words, language, book)


def fault(message: str, language: str) -> str:
    """An error's message: each line by itself, and before what is wrong the places that it names."""
    if language == "en":
        return message
    return "\n".join(_fault(line, language) for line in message.split("\n"))


def _fault(words: str, language: str) -> str:
    told = _matched(words, language, FAULTS)
    if told is not None:
        return told
    place, colon, rest = words.partition(": ")
    return place + COLON[language] + _fault(rest, language) if colon else words


def _said(words: str, language: str, book: str) -> str:
    told = _matched(words, language, book)
    if told is not None:
        return told
    return _parts(words, language, book) if "; " in words else words


@lru_cache(maxsize=8192)
def _matched(words: str, language: str, book: str) -> str | None:
    for pattern, text, inner in _templates(language, book):
        found = pattern.fullmatch(words)
        if found is not None:
            values = {name: _parts(value, language, book) if name in inner else value
                      for name, value in found.groupdict().items()}  # fmt: skip
            return PLACE.sub(lambda place, values=values: values[place[1]], text)  # type: ignore[misc]
    return None


def _parts(words: str, language: str, book: str) -> str:
    return SEMICOLON[language].join(_said(part, language, book) for part in words.split("; "))


@cache
def _templates(language: str, book: str) -> tuple[Template, ...]:
    """Of two that fit, the one with more words of its own is asked first."""
    given = json.loads((Path(__file__).parent / f"{book}_{language}.json").read_text("utf-8"))
    closest = sorted(given.items(), key=lambda pair: -len(PLACE.sub("", pair[0])))
    return tuple(_template(english, text) for english, text in closest)


def _template(english: str, text: str) -> Template:
    pattern, end, inner = "", 0, set()
    for place in PLACE.finditer(english):
        value = _VALUES.get(place[2], ".+?")
        pattern += re.escape(english[end : place.start()]) + f"(?P<{place[1]}>{value})"
        end = place.end()
        if place[2] == "words":
            inner.add(place[1])
    return re.compile(pattern + re.escape(english[end:]), re.DOTALL), text, frozenset(inner)
