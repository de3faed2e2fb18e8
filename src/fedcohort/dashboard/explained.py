"""The plain words of `explain` in the reader's language, sentence by sentence.

`explain` is written once, in English; here stands what each of its sentences is in another language.
A sentence without a translation stays English, and fails a test.
"""

import json
import re
from functools import cache, lru_cache
from pathlib import Path

PLACE = re.compile(r"\{(\w+)(:words)?\}")
"""A value's place; one of `words` is a sentence's part, and translated like one."""
SEMICOLON = {"zh": "；"}

Template = tuple[re.Pattern[str], str, frozenset[str]]


def explained(text: str, language: str) -> str:
    """The text of `explain` in a language; the English one as it is."""
    if language == "en":
        return text
    parts = [_joined(part.split("\n")) for part in text.split("\n\n")]
    return "\n\n".join("\n".join(_line(line, language) for line in part) for part in parts)


def sentence(words: str, language: str) -> str:
    """One sentence of it."""
    return words if language == "en" else _said(words, language)


def _joined(lines: list[str]) -> list[str]:
    """Lines that are indented further go on with the one before."""
    found: list[str] = []
    for line in lines:
        if line.startswith("    "):
            found[-1] += f" {line.strip()}"
        else:
            found.append(line)
    return found


def _line(line: str, language: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return indent + _said(line.strip(), language)


@lru_cache(maxsize=8192)
def _said(words: str, language: str) -> str:
    for pattern, text, inner in _templates(language):
        found = pattern.fullmatch(words)
        if found is not None:
            values = {name: _parts(value, language) if name in inner else value
                      for name, value in found.groupdict().items()}  # fmt: skip
            return PLACE.sub(lambda place, values=values: values[place[1]], text)  # type: ignore[misc]
    return words


def _parts(words: str, language: str) -> str:
    return SEMICOLON[language].join(_said(part, language) for part in words.split("; "))


@cache
def _templates(language: str) -> tuple[Template, ...]:
    given = json.loads((Path(__file__).parent / f"explained_{language}.json").read_text("utf-8"))
    return tuple(_template(english, text) for english, text in given.items())


def _template(english: str, text: str) -> Template:
    pattern, end, inner = "", 0, set()
    for place in PLACE.finditer(english):
        pattern += re.escape(english[end : place.start()]) + f"(?P<{place[1]}>.+?)"
        end = place.end()
        if place[2]:
            inner.add(place[1])
    return re.compile(pattern + re.escape(english[end:]), re.DOTALL), text, frozenset(inner)
