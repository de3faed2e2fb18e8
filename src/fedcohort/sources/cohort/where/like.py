"""LIKE, in time that grows with the text alone: no pattern makes it slow.

A pattern is cut at its %: the first piece must stand at the start, the last at the end, and each
piece between is taken at the first place where it fits, which is right because an earlier place
leaves more for the pieces after it. A piece with _ is looked for by the bits of whole numbers
(Baeza-Yates and Gonnet 1992, "A new approach to text searching", Communications of the ACM 35(10)).
Upper and lower case differ; _ is one code point.
"""

from collections.abc import Callable
from dataclasses import dataclass

Piece = tuple[str | None, ...]
"""Characters; None is any one."""


@dataclass(frozen=True)
class Pattern:
    """The pieces between the %, at least one."""

    pieces: tuple[Piece, ...]


def pattern_of(text: str, escape: str | None) -> Pattern | None:
    """A pattern; None where it ends with the character that should protect another one.

    Args:
        escape: one character, after which %, _ and itself mean themselves; None is no such one.
    """
    pieces: list[list[str | None]] = [[]]
    characters = iter(text)
    for character in characters:
        if character == escape:
            protected = next(characters, None)
            if protected is None:
                return None
            pieces[-1].append(protected)
        elif character == "%":
            pieces.append([])
        else:
            pieces[-1].append(None if character == "_" else character)
    return Pattern(tuple(map(tuple, pieces)))


def lowered(pattern: Pattern) -> Pattern:
    """The pattern of texts in lower case; a letter may become two."""
    pieces = (
        [character if character is None else character.lower() for character in piece]
        for piece in pattern.pieces
    )
    return Pattern(
        tuple(tuple(letter for character in piece for letter in character or (None,)) for piece in pieces)
    )


def matcher(pattern: Pattern) -> Callable[[str], bool]:
    """Whether a text is like the pattern."""
    first, *others = pattern.pieces
    if not others:
        return lambda text: len(text) == len(first) and _stands(first, text, 0)
    *between, last = others
    finders = [(_finder(piece), len(piece)) for piece in between if piece]

    def matches(text: str) -> bool:
        end = len(text) - len(last)
        if end < len(first) or not _stands(first, text, 0) or not _stands(last, text, end):
            return False
        begin = len(first)
        for find, length in finders:
            begin = find(text, begin, end)
            if begin < 0:
                return False
            begin += length
        return True

    return matches


def _stands(piece: Piece, text: str, begin: int) -> bool:
    return all(wanted is None or wanted == text[begin + offset] for offset, wanted in enumerate(piece))


def _finder(piece: Piece) -> Callable[[str, int, int], int]:
    """Where a piece first stands between two places of a text, -1 where it does not."""
    if None not in piece:
        word = "".join(character for character in piece if character is not None)
        return lambda text, begin, end: text.find(word, begin, end)
    anything = sum(1 << place for place, wanted in enumerate(piece) if wanted is None)
    masks: dict[str, int] = {}
    for place, wanted in enumerate(piece):
        if wanted is not None:
            masks[wanted] = masks.get(wanted, anything) | 1 << place
    whole = 1 << len(piece) - 1

    def find(text: str, begin: int, end: int) -> int:
        state = 0  # the bit i is set where the first i + 1 characters of the piece stand before here
        for place in range(begin, end):
            state = (state << 1 | 1) & masks.get(text[place], anything)
            if state & whole:
                return place - len(piece) + 1
        return -1

    return find
