"""The syntax of FHIRPath that ViewDefinitions use: text to a tree, bounded in length and depth.

Source: FHIRPath, Normative Release 2 (N1), clause 10 and its grammar, by precedence climbing. Quantity
literals are not offered.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from fedcohort.errors import ConfigError

MAX_CHARS = 2000
MAX_DEPTH = 40
_TOKEN = re.compile(
    r"""\s*(?:
  (?P<time>@\d{4}(?:-\d\d(?:-\d\d)?)?(?:T(?:\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:\d\d)?)?)?
          |@T\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?)
 |(?P<number>\d+(?:\.\d+)?)
 |(?P<text>'(?:[^'\\]|\\.)*')
 |(?P<variable>%(?:[A-Za-z_][A-Za-z0-9_]*|`[^`]+`))
 |(?P<name>\$this|[A-Za-z_][A-Za-z0-9_]*|`[^`]+`)
 |(?P<sign><=|>=|!=|!~|[-+*/&|=~<>().,\[\]{}])
)""",
    re.VERBOSE | re.ASCII,
)
_POWERS = (
    ("implies",),
    ("or", "xor"),
    ("and",),
    ("in", "contains"),
    ("=", "~", "!=", "!~"),
    ("<", ">", "<=", ">="),
    ("|",),
    ("is", "as"),
    ("+", "-", "&"),
    ("*", "/", "div", "mod"),
)
_POWER = {word: power for power, words in enumerate(_POWERS, 1) for word in words}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Literal:
    """A constant collection: one value, or none (`{}`)."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Variable:
    """`%name`."""

    name: str


@dataclass(frozen=True)
class This:
    """`$this`, and where a path begins."""


@dataclass(frozen=True)
class Member:
    """`before.name`."""

    before: "Node"
    name: str


@dataclass(frozen=True)
class Index:
    """`before[place]`."""

    before: "Node"
    place: "Node"


@dataclass(frozen=True)
class Binary:
    """`left operator right`."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True)
class Call:
    """`before.name(arguments)`; `is` and `as` are calls with a type's name."""

    before: "Node"
    name: str
    arguments: tuple["Node", ...]


Node = Literal | Variable | This | Member | Index | Binary | Call


def parse(text: object, variables: Collection[str]) -> Node:
    """The tree of a path.

    Args:
        variables: names that may stand behind `%`.
    Raises:
        ConfigError: it is no path that is offered; says where.
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("a path is a text, such as name.family.first()")
    if len(text) > MAX_CHARS:
        raise ConfigError(f"a path has at most {MAX_CHARS} characters; divide it by select or unionAll")
    return _Parser(text, variables).whole()


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Kind, text and place of each token; the last is the end."""
    found, place, text = [], 0, text.rstrip()
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None or token.lastgroup is None:
            raise ConfigError(f"{text}: no FHIRPath from character {place + 1} on")
        found.append((token.lastgroup, token[token.lastgroup], token.start(token.lastgroup)))
        place = token.end()
    return [*found, ("end", "", place)]


class _Parser:
    """Precedence climbing over the tokens of one path."""

    def __init__(self, text: str, variables: Collection[str]) -> None:
        self._text, self._variables = text, variables
        self._tokens, self._next, self._depth = _tokens(text), 0, 0

    def whole(self) -> Node:
        tree = self._expression(0)
        if self._kind != "end":
            raise self._fault(f"{self._word} is not expected")
        return tree

    @property
    def _kind(self) -> str:
        return self._tokens[self._next][0]

    @property
    def _word(self) -> str:
        return self._tokens[self._next][1]

    def _take(self) -> tuple[str, str]:
        kind, word, _ = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return kind, word

    def _is_sign(self, sign: str) -> bool:
        return self._kind == "sign" and self._word == sign

    def _need(self, sign: str) -> None:
        if not self._is_sign(sign):
            raise self._fault(f"{sign} is expected")
        self._take()

    def _fault(self, what: str) -> ConfigError:
        return ConfigError(f"{self._text}: character {self._tokens[self._next][2] + 1}: {what}")

    def _expression(self, least: int) -> Node:
        self._deeper()
        left = self._term()
        while True:
            power = _POWER.get(self._word, 0) if self._kind in ("sign", "name") else 0
            if power == 0 or power < least:
                self._depth -= 1
                return left
            _, operator = self._take()
            if operator in ("is", "as"):
                name = "is" if operator == "is" else "ofType"
                left = Call(left, name, (Member(This(), self._type_name()),))
            else:
                left = Binary(operator, left, self._expression(power + 1))

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConfigError(
                f"{self._text[:80]}: nested deeper than {MAX_DEPTH}; divide it by select or forEach"
            )

    def _type_name(self) -> str:
        kind, name = self._take()
        while kind == "name" and self._is_sign("."):
            self._take()
            kind, name = self._take()
        if kind != "name":
            raise self._fault("a type's name is expected")
        return name.strip("`")

    def _term(self) -> Node:
        kind, word = self._kind, self._word
        if kind == "sign" and word in "+-":
            self._deeper()
            self._take()
            inner = self._term()
            self._depth -= 1
            return Binary("-", Literal((0,)), inner) if word == "-" else inner
        return self._postfix(self._primary())

    def _primary(self) -> Node:
        kind, word = self._take()
        if kind == "sign" and word == "(":
            inner = self._expression(0)
            self._need(")")
            return inner
        if kind == "sign" and word == "{":
            self._need("}")
            return Literal(())
        if kind == "variable":
            return self._variable(word[1:].strip("`"))
        if kind == "name" and word not in ("true", "false"):
            return self._member(This(), word)
        if kind in _LITERALS:
            return Literal((_LITERALS[kind](word),))
        self._next = max(self._next - (kind != "end"), 0)
        raise self._fault("a value is expected" if kind == "end" else f"{word} is not expected")

    def _variable(self, name: str) -> Variable:
        if name not in self._variables:
            raise ConfigError(f"%{name}: not defined; name it in the view's constants")
        return Variable(name)

    def _member(self, before: Node, name: str) -> Node:
        if not self._is_sign("("):
            return before if name == "$this" else Member(before, name.strip("`"))
        self._take()
        arguments: list[Node] = []
        while not self._is_sign(")"):
            if arguments:
                self._need(",")
            arguments.append(self._expression(0))
        self._take()
        return Call(before, name, tuple(arguments))

    def _postfix(self, before: Node) -> Node:
        while True:
            if self._is_sign("."):
                self._take()
                if self._kind != "name":
                    raise self._fault("a name is expected")
                before = self._member(before, self._take()[1])
            elif self._is_sign("["):
                self._take()
                before = Index(before, self._expression(0))
                self._need("]")
            else:
                return before


def _unquoted(text: str) -> str:
    return re.sub(
        r"\\(u[0-9a-fA-F]{4}|.)",
        lambda found: chr(int(found[1][1:], 16)) if len(found[1]) == 5 else _ESCAPES.get(found[1], found[1]),
        text[1:-1],
        flags=re.DOTALL,
    )


_LITERALS: dict[str, Callable[[str], Scalar]] = {
    "number": lambda word: float(word) if "." in word else int(word),
    "text": _unquoted,
    "time": lambda word: word[1:].removeprefix("T"),
    "name": lambda word: word == "true",
}
