"""What sites declare of their columns, read from their catalogues and compared."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from fedcohort.columns import Categorical, Image, Level, Numeric
from fedcohort.errors import SchemaError, StudyError
from fedcohort.sources.catalogue.normal_form import level_key
from fedcohort.sources.catalogue.units import is_unit, same_unit
from fedcohort.texts import say

ANY_TABLE = "*"
"""A data frame's name in its catalogue: it stands for whatever table a study names."""
MAX_COLUMNS = 100_000


@dataclass(frozen=True)
class DeclaredColumn:
    """What one site declares about one column; a text without levels has none to compare."""

    site: str
    name: str
    kind: str
    bounds: tuple[float, float] | None
    levels: tuple[Level, ...]
    image: Image | None = None
    unit: str | None = None
    ordered: bool = True
    """Whether somebody chose the order of the levels; pandas sorts those of a data frame by alphabet."""

    @property
    def range(self) -> tuple[float, float] | None:
        """Declared bounds, or those of whole-number levels: 0/1 may be read either way."""
        whole = [level for level in self.levels if isinstance(level, int)]
        if self.kind == "categorical" and whole and len(whole) == len(self.levels):
            return float(min(whole)), float(max(whole))
        return self.bounds


def lists_table(catalogue: Mapping[str, object], table: str, *, any_table: bool = True) -> bool:
    """Whether a catalogue has a table of that name.

    Args:
        any_table: a data frame, which stands for any, counts as well.
    """
    return bool(_tables(catalogue).keys() & ({table, ANY_TABLE} if any_table else {table}))


def _tables(catalogue: Mapping[str, object]) -> Mapping[str, object]:
    tables = catalogue.get("tables")
    return tables if isinstance(tables, Mapping) else {}


def columns_of(site: str, catalogue: Mapping[str, object], table: str) -> Mapping[str, object]:
    """What a site declares of each column of a table.

    Raises:
        SchemaError: it does not offer the table.
    """
    tables = _tables(catalogue)
    facts = tables.get(table, tables.get(ANY_TABLE))
    columns = facts.get("columns") if isinstance(facts, Mapping) else None
    if not isinstance(columns, Mapping) or len(columns) > MAX_COLUMNS:
        raise SchemaError(
            "site {site}: does not offer table {table}; choose another table, or ask the site",
            site=site,
            table=table,
        )
    return columns


def declared_column(site: str, name: str, columns: Mapping[str, object]) -> DeclaredColumn:
    """What a site declares of one column.

    Raises:
        SchemaError: it does not offer the column, or its catalogue says of it what cannot be read.
    """
    facts = columns.get(name)
    if facts is None:
        raise SchemaError(
            "site {site}: does not offer column {name}; leave it out, or ask the site", site=site, name=name
        )
    try:
        if not isinstance(facts, Mapping) or facts.get("kind") not in ("numeric", "categorical", "image"):
            raise SchemaError(_unreadable(site, name))
        if facts["kind"] == "image":
            image = Image.model_validate({key: facts.get(key) for key in ("height", "width", "channels")})
            return DeclaredColumn(site, name, "image", None, (), image)
        if facts["kind"] == "numeric":
            kind = Numeric.model_validate({"low": facts.get("low"), "high": facts.get("high")})
            return DeclaredColumn(site, name, "numeric", kind.bounds, (), unit=_unit(site, name, facts))
        levels = facts.get("levels")
        if levels and len(levels) > 1:
            levels = Categorical.model_validate({"levels": levels}).levels
        ordered = facts.get("ordered") is not False
        return DeclaredColumn(site, name, "categorical", None, tuple(levels or ()), ordered=ordered)
    except (ValidationError, StudyError, TypeError):
        raise SchemaError(_unreadable(site, name)) from None


def _unit(site: str, name: str, facts: Mapping[str, object]) -> str | None:
    """The declared unit; a node of an older version tells none."""
    unit = facts.get("unit")
    if unit is not None and not is_unit(unit):
        raise SchemaError(_unreadable(site, name))
    return None if unit is None else str(unit)


def _unreadable(site: str, name: str) -> str:
    return say(
        "site {site}: what its catalogue says of column {name} cannot be read; ask the site to import again",
        site=site,
        name=name,
    )


def check_agreement(by_site: list[DeclaredColumn]) -> None:
    """Refuse a column that is a number at one site and not at another.

    Raises:
        SchemaError: names both.
    """
    first = by_site[0]
    for other in by_site[1:]:
        if other.kind != first.kind:
            raise SchemaError(
                "column {column}: {kind} at site {site}, {other} at site {second}; say in the study which it "
                "is",
                column=first.name,
                kind=first.kind,
                site=first.site,
                other=other.kind,
                second=other.site,
            )


def check_same_unit(by_site: list[DeclaredColumn], said: str | None = None) -> str | None:
    """Refuse to add up numbers of two units; a site that declares none may mean any.

    Args:
        said: the unit that the study itself names.
    Returns:
        the unit, as the study says it, or else as the first site does that declares one.
    Raises:
        SchemaError: names both.
    """
    with_units = [column for column in by_site if column.unit is not None]
    if said is not None and with_units and not same_unit(said, str(with_units[0].unit)):
        raise SchemaError(
            "column {column}: in {said} in the study, in {unit} at site {site}; leave unit out, and give "
            "bounds in the sites' own",
            column=with_units[0].name,
            said=said,
            unit=with_units[0].unit,
            site=with_units[0].site,
        )
    for other in with_units[1:]:
        first = with_units[0]
        if not same_unit(str(first.unit), str(other.unit)):
            raise SchemaError(
                "column {column}: in {unit} at site {site}, in {other} at site {second}; let one of them "
                "convert it: unit and local_unit in its mapping file",
                column=other.name,
                unit=first.unit,
                site=first.site,
                other=other.unit,
                second=other.site,
            )
    return said if said is not None or not with_units else with_units[0].unit


def union_of_bounds(by_site: list[DeclaredColumn]) -> tuple[float, float] | None:
    """What holds every site's bounds; None when one declares none."""
    ranges = [column.range for column in by_site]
    bounded = [bounds for bounds in ranges if bounds is not None]
    if len(bounded) < len(ranges):
        return None
    return min(low for low, _ in bounded), max(high for _, high in bounded)


def declared_pair(by_site: list[DeclaredColumn]) -> tuple[Level, Level] | None:
    """Two levels in the one order that all sites declare; None where no order is common to all.

    Of 0 and 1 the second is 1, in whatever order they were declared.
    """
    levels = union_of_levels(by_site)
    if len(levels) != 2:
        return None
    if [level_key(level) for level in levels] == ["0", "1"]:
        return levels[0], levels[1]
    orders = {tuple(map(level_key, column.levels)) for column in by_site if len(column.levels) > 1}
    if len(orders) != 1 or not all(column.ordered for column in by_site):
        return None
    first = next(column.levels for column in by_site if len(column.levels) > 1)
    return first[0], first[1]


def union_of_levels(by_site: list[DeclaredColumn]) -> tuple[Level, ...]:
    """Every site's levels once, whole numbers in order and then words in order."""
    by_key: dict[str | None, Level] = {}
    for column in by_site:
        for level in column.levels:
            by_key.setdefault(level_key(level), level)
    return tuple(sorted(by_key.values(), key=lambda level: (isinstance(level, str), level)))
