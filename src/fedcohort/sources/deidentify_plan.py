"""What becomes of each column of an import: decided once, from rules, the column's name and its declaration.

Nothing is decided by looking at patients: a column is treated alike in every batch and
import. Without a rule, a name that may be an identifier's decides; then numbers and closed
lists of levels are kept, dates by name are treated as dates, and other text is left out.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from fedcohort.columns import Categorical, Image, Level, Numeric
from fedcohort.errors import ConfigError
from fedcohort.sources.deidentify_rules import Rule, Rules
from fedcohort.sources.identifier_names import AGE, BIRTH, KINDS, ZIP, kind_of_name, tells_elapsed_time
from fedcohort.sources.identifier_shapes import OLDEST_AGE_YEARS, cap_age, shape_of, zip3
from fedcohort.sources.schema import DAYS_SINCE_1970, PATIENT_ID, Declared, Kind

Deed = Literal["pseudonym", "code", "removed", "date", "age", "zip", "kept", "unread"]
"""What is done. kept: unless a text has an identifier's shape; unread: kept whatever it holds."""

_DEED_OF_ROLE: dict[str, Deed] = {
    "remove": "removed",
    "code": "code",
    "date": "date",
    "age": "age",
    "zip": "zip",
    "keep": "kept",
    "vouched": "unread",
}
_WORDS_OF_KIND = {Numeric: "number", Categorical: "closed list of levels", Image: "picture"}
_MERGING = ("removed", "age", "zip")
"""What makes one of several values."""
_NAMED = {ZIP: "a ZIP code", AGE: "an age"}
_LARGEST_DURATION = 20_000.0
"""Above it a number may be a date: 20200131, seconds since 1970, or a spreadsheet's day 43831."""
_YEARS = (1800.0, 2200.0)


@dataclass(frozen=True)
class Place:
    """One column before it is de-identified.

    Attributes:
        table, column: in the site's database.
        declared: what the source declares; None when it declares nothing.
        origin: the column's name in the source; empty when it is unknown.
        is_key: a record replaces the earlier one by it.
    """

    table: str
    column: str
    declared: Declared | None = None
    origin: str = ""
    is_key: bool = False

    @property
    def kind(self) -> Kind | None:
        """The declared kind."""
        return None if self.declared is None else self.declared.kind

    def __str__(self) -> str:
        """As messages name it."""
        return f"{self.table}.{self.column}"


@dataclass(frozen=True)
class Treatment:
    """What is done to one column.

    Attributes:
        deed: what is done.
        why: in words, for the report; never a value.
        declared: as the column stands afterwards; None when it is undeclared, or left out.
        format: how its dates are written; None for ISO 8601 and digits.
        unbounded: kept numbers that nobody declared bounds of; long whole ones are refused.
    """

    deed: Deed
    why: str
    declared: Declared | None = None
    format: str | None = None
    unbounded: bool = False

    @property
    def counts_days(self) -> bool:
        """Whether its dates are numbers of days since 1970-01-01."""
        return self.declared is not None and self.declared.unit == DAYS_SINCE_1970

    @property
    def numeric(self) -> bool:
        """Whether the database's column holds numbers."""
        return self.declared is not None and isinstance(self.declared.kind, Numeric)


def treatment(rules: Rules, place: Place, code: Callable[[str, str], str]) -> Treatment:
    """Decide about one column.

    Args:
        code: a column's name and a value to the value's keyed stand-in.
    Raises:
        ConfigError: a rule does not fit what is declared, or a key would no longer tell records apart.
    """
    declared = place.declared
    if place.column == PATIENT_ID:
        return Treatment("pseudonym", "keyed pseudonym", declared)
    rule = rules.rule(place.table, place.column)
    if rule is not None:
        made = Treatment(_DEED_OF_ROLE[rule.role], f"rule: {rule.role}", declared, rule.format)
        if made.deed == "date" and made.counts_days:
            made = replace(made, why=f"{made.why}, in {DAYS_SINCE_1970}")
    else:
        made = _without_rule(place)
    if place.is_key and (
        made.deed in ("removed", "age", "zip") or (made.deed, rules.dates) == ("date", "year")
    ):
        raise ConfigError(
            f"{place}: as a key it must tell records apart; choose the role code, or another key"
        )
    if made.deed == "removed":
        return replace(made, declared=None)
    if declared is not None and isinstance(declared.kind, Categorical):
        return _closed_list(made, place, declared, rule, code)
    if made.deed == "code":
        return replace(made, declared=None)
    if made.deed == "age" and declared is not None:
        return replace(made, declared=_capped(declared))
    return made


def _without_rule(place: Place) -> Treatment:
    if place.declared is not None and place.declared.unit == DAYS_SINCE_1970:
        return Treatment("date", f"declared as {DAYS_SINCE_1970}", place.declared)
    made = _by_name(place)
    unbounded = isinstance(place.kind, Numeric) and place.kind.bounds is None
    if place.is_key and (made.deed in _MERGING or (made.deed == "kept" and unbounded)):
        return Treatment("code", "key of its records", place.declared)
    return replace(made, unbounded=unbounded and made.deed == "kept")


def _by_name(place: Place) -> Treatment:
    """By its own name; by the source's where that tells nothing."""
    names = [name for name in (place.column, place.origin) if kind_of_name(name)]
    if not names:
        return _nameless(place)
    kind, where = kind_of_name(names[0]) or "", "" if names[0] == place.column else " in the source"
    if kind in (ZIP, AGE):
        return Treatment("zip" if kind == ZIP else "age", f"named like {_NAMED[kind]}{where}", place.declared)
    if kind not in ("C", BIRTH):
        return Treatment("removed", f"named like ({kind}) {KINDS[kind]}{where}; a rule can say keep")
    if place.declared is None:
        return Treatment("date", f"named like a date{where}")
    if isinstance(place.kind, Numeric):
        return _numeric_date(names[0], place.declared)
    return _nameless(place)


def _nameless(place: Place) -> Treatment:
    if place.declared is None:
        return Treatment("removed", "text of any content; a rule can say date, code or keep")
    return Treatment("kept", _WORDS_OF_KIND[type(place.declared.kind)], place.declared)


def _numeric_date(column: str, declared: Declared) -> Treatment:
    """Years and durations are numbers, too; what may be a whole date is not."""
    low, high = (declared.kind.bounds if isinstance(declared.kind, Numeric) else None) or (0.0, float("inf"))
    if low >= _YEARS[0] and high <= _YEARS[1]:
        return Treatment("date", "named like a date, declared as years", declared)
    if high <= _LARGEST_DURATION or tells_elapsed_time(column):
        return Treatment("kept", "a duration or count", declared)
    return Treatment(
        "removed", "named like (C) a date, and may be large numbers; a rule can say date or keep"
    )


def _capped(declared: Declared) -> Declared:
    bounds = declared.kind.bounds if isinstance(declared.kind, Numeric) else None
    if bounds is None or bounds[1] <= OLDEST_AGE_YEARS or bounds[0] >= OLDEST_AGE_YEARS:
        return declared
    return replace(declared, kind=Numeric(bounds[0], float(OLDEST_AGE_YEARS)))


def _closed_list(
    made: Treatment, place: Place, declared: Declared, rule: Rule | None, code: Callable[[str, str], str]
) -> Treatment:
    """Levels get what values get, so that they still fit each other; and levels are looked at, too."""
    levels = declared.kind.levels if isinstance(declared.kind, Categorical) else ()
    match made.deed:
        case "date":
            raise ConfigError(f"{place}: a date that changes with the patient has no levels; declare none")
        case "code":
            levels = _distinct(code(place.column, str(level)) for level in levels)
        case "zip":
            levels = _distinct(zip3(level) for level in levels)
        case "age":
            levels = _ages(levels, str(place), rule)
        case "kept":
            if any(isinstance(level, str) and shape_of(level) for level in levels):
                raise ConfigError(f"{place}: a level has the shape of an identifier; correct the levels")
    if len(levels) < 2:
        return Treatment("removed", "fewer than two levels would be left")
    return replace(made, declared=replace(declared, kind=Categorical(levels)))


def _distinct(levels: Iterable[Level | None]) -> tuple[Level, ...]:
    return tuple(dict.fromkeys(level for level in levels if level is not None))


def _ages(levels: tuple[Level, ...], where: str, rule: Rule | None) -> tuple[Level, ...]:
    """Ages as whole numbers are capped; of groups such as 80-89 none may begin or end above 90."""
    if all(isinstance(level, int) for level in levels):
        return _distinct(int(cap_age(int(level))) for level in levels)
    above = [number for level in levels for number in re.findall(r"\d+", str(level)) if int(number) > 90]
    if above and rule is None:
        raise ConfigError(
            f"{where}: levels tell ages above 90; let the mapping make one level of 90 or older"
        )
    return levels
