"""Parse a formula such as `death ~ age + C(sex)` into plain data: a small grammar, and nothing is evaluated.

    formula  outcome ~ sum, or ~ sum, or sum
    sum      ["-" "1"] product {"+" product | "+" "0" | "+" "1" | "-" "1"}
    product  cross {"*" cross}          a * b is a + b + a:b
    cross    atom {":" atom}
    atom     column | call | "(" sum ")"
    call     C(x) C(x, ref="level") bs(x, knots=[1], degree=3) ns(x, knots=[1]) log(x) I(x**2)

Wilkinson and Rogers 1973 (Applied Statistics 22:392). A column whose name is more than letters, digits, `_`
and `.` stands in backticks. Length, depth and number of terms are bounded.
"""

import re
from dataclasses import dataclass
from typing import Any

from fedcohort.texts import say

MOST_CHARACTERS, MOST_DEPTH, MOST_TERMS, MOST_FACTORS = 10_000, 20, 500, 8
Factor = dict[str, Any]
Term = tuple[Factor, ...]

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
    |(?P<name>[^\W\d][\w.]*)
    |`(?P<quoted>[^`]+)`
    |"(?P<double>(?:[^"\\]|\\["\\])*)"
    |'(?P<single>(?:[^'\\]|\\['\\])*)'
    |(?P<sign>\*\*|[~+\-*:(),=\[\]])
    )""",
    re.VERBOSE,
)
_SPLINE = {"knots": "numbers", "degree": "whole", "lower_bound": "number", "upper_bound": "number"}
_OPTIONS: dict[str, dict[str, str]] = {
    "C": {"ref": "level"},
    "bs": _SPLINE,
    "ns": {name: kind for name, kind in _SPLINE.items() if name != "degree"},
    "log": {},
}
_KINDS = {"C": "levels", "bs": "bs", "ns": "ns", "log": "log"}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


@dataclass
class _Parser:
    """A position in a row of tokens."""

    tokens: list[_Token]
    place: int = 0
    depth: int = 0
    intercept: bool = True
    outcome: str | None = None

    def peek(self, ahead: int = 0) -> _Token:
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else _Token("end", "its end")

    def take(self) -> _Token:
        token = self.peek()
        self.place += 1
        return token

    def is_sign(self, sign: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == "sign" and token.text == sign

    def accept(self, sign: str) -> bool:
        if not self.is_sign(sign):
            return False
        self.place += 1
        return True

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            raise self.unexpected()

    def unexpected(self) -> ValueError:
        return ValueError(
            say(
                "{token} is not expected there; a formula is written as death ~ age + C(sex) + bs(bmi, "
                'knots=[25]) + age:dose - 1, with C(x, ref="level"), ns(x, knots=[…]), log(x), I(x**2), * '
                "and parentheses, and a column of another name in backticks",
                token=self.peek().text,
            )
        )

    def column(self) -> str:
        token = self.take()
        if token.kind not in ("name", "quoted"):
            self.place -= 1
            raise self.unexpected()
        return token.text

    # --- terms ----------------------------------------------------------------------------------

    def sum(self) -> list[Term]:
        terms: list[Term] = []
        minus = False
        if self.is_sign("-"):
            minus = True
            self.place += 1
        while True:
            if not self.constant(minus):
                if minus:
                    raise self.unexpected()
                terms = _joined(terms, self.product())
            if self.accept("+"):
                minus = False
            elif self.accept("-"):
                minus = True
            else:
                return terms

    def constant(self, minus: bool) -> bool:
        """Whether a 0 or 1 stands there, which says whether there is an intercept."""
        token = self.peek()
        if token.kind != "number":
            return False
        if token.text not in ("0", "1") or self.depth or (minus and token.text == "0"):
            raise self.unexpected()
        self.place += 1
        self.intercept = token.text == "1" and not minus
        return True

    def product(self) -> list[Term]:
        left = self.cross()
        while self.accept("*"):
            right = self.cross()
            left = _joined(left, right, _crossed(left, right))
        return left

    def cross(self) -> list[Term]:
        left = self.atom()
        while self.accept(":"):
            left = _crossed(left, self.atom())
        return left

    def atom(self) -> list[Term]:
        if self.accept("("):
            self.depth += 1
            if self.depth > MOST_DEPTH:
                raise ValueError(say("parentheses more than {most} deep; write fewer", most=MOST_DEPTH))
            inner = self.sum()
            self.depth -= 1
            self.expect(")")
            return inner
        if self.peek().kind == "name" and self.is_sign("(", 1):
            return [(self.call(),)]
        return [({"kind": "column", "column": self.column()},)]

    # --- calls ----------------------------------------------------------------------------------

    def call(self) -> Factor:
        function = self.take().text
        if function == "I":
            return self.power()
        if function not in _OPTIONS:
            raise ValueError(
                say(
                    "{name}(…) is not among what a formula may compute, C, bs, ns, log and I(x**2); make a "
                    "column of it at the sites, or name it in backticks where it is a column's name",
                    name=function,
                )
            )
        self.expect("(")
        factor: Factor = {"kind": _KINDS[function], "column": self.column()}
        while self.accept(","):
            option = self.take().text
            if option not in _OPTIONS[function] or option in factor:
                self.place -= 1
                raise self.unexpected()
            self.expect("=")
            factor[option] = self.value(_OPTIONS[function][option])
        self.expect(")")
        if "ref" in factor:
            factor["reference"] = factor.pop("ref")
        return factor

    def power(self) -> Factor:
        self.expect("(")
        column = self.column()
        self.expect("**")
        power = self.value("whole")
        self.expect(")")
        return {"kind": "power", "column": column, "power": power}

    def value(self, kind: str) -> object:
        if kind == "numbers":
            self.expect("[")
            numbers = [] if self.is_sign("]") else [self.value("number")]
            while self.accept(","):
                numbers.append(self.value("number"))
            self.expect("]")
            return numbers
        sign = -1 if self.accept("-") else 1
        token = self.take()
        if kind == "level" and sign == 1 and token.kind == "text":
            return token.text
        is_whole = token.kind == "number" and token.text.isdecimal()
        if token.kind != "number" or (kind != "number" and not is_whole):
            self.place -= 1
            raise self.unexpected()
        return sign * (int(token.text) if is_whole else float(token.text))


def _tokens(text: str) -> list[_Token]:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            say("a formula has {most:,} characters at most; write fewer terms", most=MOST_CHARACTERS)
        )
    text = text.rstrip()
    tokens, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(
                say(
                    "{sign} has no meaning in a formula, which is written as death ~ age + C(sex) + "
                    "age:dose; put a column of another name in backticks",
                    sign=text[place:].lstrip()[:1],
                )
            )
        kind = str(match.lastgroup)
        found = str(match[kind])
        if kind in ("double", "single"):
            kind, found = "text", re.sub(r"\\(.)", r"\1", found)
        tokens.append(_Token(kind, found))
        place = match.end()
    return tokens


def _joined(*lists: list[Term]) -> list[Term]:
    """Terms of all of them, each once."""
    once: dict[frozenset[str], Term] = {}
    for terms in lists:
        for term in terms:
            once.setdefault(frozenset(map(repr, term)), term)
    joined = list(once.values())
    if len(joined) > MOST_TERMS:
        raise ValueError(say("a formula has {most} terms at most; write fewer", most=MOST_TERMS))
    return joined


def _crossed(left: list[Term], right: list[Term]) -> list[Term]:
    """Each term of the one with each of the other."""
    if len(left) * len(right) > MOST_TERMS:
        raise ValueError(say("a formula has {most} terms at most; write fewer", most=MOST_TERMS))
    crossed = []
    for one in left:
        for other in right:
            factors = {repr(factor): factor for factor in (*one, *other)}
            if len(factors) > MOST_FACTORS:
                raise ValueError(
                    say("a term is a product of {most} factors at most; write fewer", most=MOST_FACTORS)
                )
            crossed.append(tuple(factors.values()))
    return _joined(crossed)


def parse(text: str) -> dict[str, Any]:
    """A formula's outcome, terms and intercept as plain data; terms of fewer factors come first.

    Raises:
        ValueError: names what is not expected, and how a formula is written.
    """
    parser = _Parser(_tokens(text))
    if any(token == _Token("sign", "~") for token in parser.tokens):
        if not parser.is_sign("~"):
            parser.outcome = parser.column()
        parser.expect("~")
    terms = sorted(parser.sum(), key=len)
    if parser.peek().kind != "end":
        raise parser.unexpected()
    plain: dict[str, Any] = {
        "terms": [{"factors": list(term)} for term in terms],
        "intercept": parser.intercept,
    }
    return plain if parser.outcome is None else {"outcome": parser.outcome, **plain}
