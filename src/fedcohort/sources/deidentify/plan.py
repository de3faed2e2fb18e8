"""What becomes of each column of an import: decided once, from rules, the column's name and its declaration.

Nothing is decided by looking at patients: a column is treated in the same way in every batch
and import. Without a rule, a name that may be an identifier's decides; then numbers and closed
lists of levels are kept, dates by name are treated as dates, and other text is left out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from fedcohort.columns import Categorical, Image, Level, Numeric
from fedcohort.errors import ConfigError
from fedcohort.sources.catalogue.ages import OLDEST_PERSON_YEARS, units_per_year
from fedcohort.sources.catalogue.identifier_names import (
    AGE,
    BIRTH,
    KINDS,
    ZIP,
    is_survival_time,
    kind_of_name,
    tells_elapsed_time,
)
from fedcohort.sources.catalogue.identifier_shapes import OLDEST_AGE_YEARS, shape_of, zip3
from fedcohort.sources.catalogue.schema import DAYS_SINCE_1970, PATIENT_ID, Declared, Kind
from fedcohort.sources.deidentify.rules import Rule, Rules
from fedcohort.sources.deidentify.values import BLANK, aged

Action = Literal["pseudonym", "code", "removed", "date", "age", "zip", "kept", "unread"]
"""What is done. kept: unless a text has an identifier's shape; unread: kept whatever it holds."""

_ACTION_OF_ROLE: dict[str, Action] = {
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
        action: what is done.
        why: in words, for the report; never a value.
        declared: as the column stands afterwards; None when it is undeclared, or left out.
        format: how its dates are written; None for ISO 8601 and digits.
        unbounded: kept numbers that nobody declared bounds of; long whole ones are refused.
    """

    action: Action
    why: str
    declared: Declared | None = None
    format: str | None = None
    unbounded: bool = False
    elapsed: bool = False
    """Kept as times that have passed; what may be dates as numbers is refused."""
    per_year: float | None = 1.0
    """Of ages: how many of their unit make a year; None where nobody said, and years are only likely."""

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
        made = Treatment(_ACTION_OF_ROLE[rule.role], f"rule: {rule.role}", declared, rule.format)
        if made.action == "date" and made.counts_days:
            made = replace(made, why=f"{made.why}, in {DAYS_SINCE_1970}")
    else:
        made = _without_rule(place)
    if place.is_key and (
        made.action in ("removed", "age", "zip") or (made.action, rules.dates) == ("date", "year")
    ):
        raise ConfigError(
            f"{place}: as a key it must tell records apart; choose the role code, or another key"
        )
    if made.action == "removed":
        return replace(made, declared=None)
    if made.action == "age":
        made = replace(made, per_year=_per_year(place))
    if declared is not None and isinstance(declared.kind, Categorical):
        return _closed_list(made, place, declared, rule, code)
    if made.action == "code":
        return replace(made, declared=None)
    if made.action == "age" and declared is not None:
        return replace(made, declared=_capped(declared, made.per_year or 1.0))
    return made


def _per_year(place: Place) -> float | None:
    """The unit of an age: as declared, else as its name says.

    Raises:
        ConfigError: it is none of time, or ages cannot be in years and nobody said what they are in.
    """
    unit = None if place.declared is None else place.declared.unit
    count = units_per_year(unit, place.column)
    if count is None:
        raise ConfigError(
            f"{place}: an age in {unit!r}; declare unit in the mapping: years, months, weeks, days or hours"
        )
    said = unit is not None or count != 1.0
    bounds = place.kind.bounds if isinstance(place.kind, Numeric) else None
    if not said and bounds is not None and bounds[1] > OLDEST_PERSON_YEARS:
        raise ConfigError(
            f"{place}: ages up to {bounds[1]:g} are not in years; declare unit in the mapping: months, "
            "weeks, days or hours (or years, and a smaller high)"
        )
    return count if said else None


def _without_rule(place: Place) -> Treatment:
    if place.declared is not None and place.declared.unit == DAYS_SINCE_1970:
        return Treatment("date", f"declared as {DAYS_SINCE_1970}", place.declared)
    made = _by_name(place)
    unbounded = isinstance(place.kind, Numeric) and place.kind.bounds is None
    if place.is_key and (made.action in _MERGING or (made.action == "kept" and unbounded)):
        return Treatment("code", "key of its records", place.declared)
    return replace(made, unbounded=unbounded and made.action == "kept")


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
    if is_survival_time(column) and high == float("inf"):
        return Treatment("kept", "a time of follow-up", declared, elapsed=True)
    if high <= _LARGEST_DURATION or tells_elapsed_time(column):
        return Treatment("kept", "a duration or count", declared)
    return Treatment(
        "removed", "named like (C) a date, and may be large numbers; a rule can say date or keep"
    )


def _capped(declared: Declared, per_year: float) -> Declared:
    oldest = OLDEST_AGE_YEARS * per_year
    bounds = declared.kind.bounds if isinstance(declared.kind, Numeric) else None
    if bounds is None or bounds[1] <= oldest or bounds[0] >= oldest:
        return declared
    return replace(declared, kind=Numeric(bounds[0], oldest))


def _closed_list(
    made: Treatment, place: Place, declared: Declared, rule: Rule | None, code: Callable[[str, str], str]
) -> Treatment:
    """Levels get what values get, so that they still fit each other; and levels are looked at, too."""
    levels = declared.kind.levels if isinstance(declared.kind, Categorical) else ()
    match made.action:
        case "date":
            raise ConfigError(f"{place}: a date that changes with the patient has no levels; declare none")
        case "code":
            levels = _distinct(code(place.column, str(level)) for level in levels)
        case "zip":
            levels = _distinct(zip3(level) for level in levels)
        case "age":
            levels = _ages(levels, str(place), rule, made.per_year or 1.0)
        case "kept":
            if any(isinstance(level, str) and shape_of(level) for level in levels):
                raise ConfigError(f"{place}: a level has the shape of an identifier; correct the levels")
    if len(levels) < 2:
        raise ConfigError(
            f"{place}: fewer than two of its levels would be left ({made.why}); say remove, or keep where it "
            "is none such, in the rules file"
        )
    return replace(made, declared=replace(declared, kind=Categorical(levels)))


def _distinct(levels: Iterable[Level | None]) -> tuple[Level, ...]:
    return tuple(dict.fromkeys(level for level in levels if level is not None))


def _ages(levels: tuple[Level, ...], where: str, rule: Rule | None, per_year: float) -> tuple[Level, ...]:
    """Levels as their values will be (`aged`); a rule merges bands above 90, else a person is asked to."""
    made = {level: aged(level, per_year) for level in levels}
    merged = any(isinstance(level, str) and age != level for level, age in made.items())
    if any(age is BLANK for age in made.values()) or (merged and rule is None):
        raise ConfigError(
            f"{where}: levels tell ages above 90, or none that can be read; let the mapping make one level "
            "of 90 or older, or let a rule of role age merge what is above"
        )
    return _distinct(age for age in made.values() if isinstance(age, int | str))
