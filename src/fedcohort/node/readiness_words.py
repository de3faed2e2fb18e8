"""Readiness before any row is read: a study's columns against SQL types and what imports declared."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from fedcohort.columns import Categorical, Image, Level, Numeric
from fedcohort.sources.catalogue.declared import facts_of_kind
from fedcohort.sources.catalogue.described import Described
from fedcohort.sources.catalogue.normal_form import level_key
from fedcohort.sources.catalogue.sql_types import Facts, undeclared_text
from fedcohort.sources.cohort.resolve import Kind, kinds_of_label, resolve_cohort
from fedcohort.study import Cohort
from fedcohort.texts import say

Verdict = Literal["ready", "warning", "not ready"]


@dataclass(frozen=True)
class Line:
    """One requirement: what it is, whether it is met, what was found, and what to do about it."""

    what: str
    verdict: Verdict
    found: str
    remedy: str


def explicit_cohort(cohort: Cohort, described: Mapping[str, Described], columns: Collection[str]) -> Cohort:
    """Give bare columns the kind that this site declares, as a federation of this site alone would.

    Raises:
        SchemaError: it declares too little.
    """
    if cohort.is_explicit:
        return cohort
    # What the study says itself may be wider than one site declares: others may declare the rest.
    said = _said(cohort)
    facts = {
        name: facts_of_kind(said[name]) if name in said else _facts(described[name])
        for name in sorted(set(columns) & set(described))
    }
    return resolve_cohort(cohort, {"this": {"tables": {cohort.table: {"columns": facts}}}})


def _said(cohort: Cohort) -> dict[str, Kind]:
    """The kinds that the study itself gives."""
    bounded: dict[str, Kind] = {name: Numeric(*bounds) for name, bounds in cohort.bounds.items()}
    given = cohort.schema_ if isinstance(cohort.columns, Mapping) else {}
    return {**given, **bounded, **kinds_of_label(cohort.label)}


def _facts(one: Described) -> Facts:
    return facts_of_kind(one.declared.kind) if one.declared is not None else one.facts or undeclared_text()


def column_lines(
    cohort: Cohort, described: Mapping[str, Described], columns: Collection[str]
) -> Iterator[Line]:
    """A line for every column that the study reads: there, offered, of a fitting type, and declared."""
    said = _said(cohort)
    for name in dict.fromkeys([*cohort.schema_, *cohort.label_columns]):
        is_label = name in cohort.label_columns
        what = say("label {name}", name=name) if is_label else say("column {name}", name=name)
        missing = _absent(what, name, cohort.table, described, columns)
        yield missing or _fit(what, said.get(name), described[name])
    others = {cohort.patient_id: say("patients {name}", name=cohort.patient_id)}
    if isinstance(cohort.split, str):
        others[cohort.split] = say("split {name}", name=cohort.split)
    for name, what in others.items():
        missing = _absent(what, name, cohort.table, described, {*columns, "patient_id"})
        yield missing or Line(what, "ready", described[name].sql_type, "")


def _absent(
    what: str, name: str, table: str, described: Mapping[str, Described], columns: Collection[str]
) -> Line | None:
    if name not in described:
        remedy = say(
            "name the local column in the mapping file and import again, or leave it out of the study"
        )
        return Line(what, "not ready", say("table {table} has no such column", table=table), remedy)
    if name not in columns:
        one = described[name]
        if one.facts is None and one.declared is None:
            remedy = say("import it as a number or a text")
            return Line(
                what,
                "not ready",
                say("a column of type {type} cannot be analysed", type=one.sql_type),
                remedy,
            )
        remedy = say("add it to tables.{table} in site.toml, or leave it out of the study", table=table)
        return Line(what, "not ready", say("site.toml does not offer it"), remedy)
    return None


def _fit(what: str, kind: Kind | None, one: Described) -> Line:
    if isinstance(kind, Image) or isinstance(_kind(one), Image):
        return _fit_image(what, kind or _kind(one), one)
    number = one.facts is not None and one.facts["kind"] == "numeric"
    words = isinstance(_kind(one), Categorical) and _declared_range(one) is None
    if isinstance(kind, Numeric) and (words or (one.facts is not None and not number)):
        remedy = say("import it as a number, or take it as fc.Categorical in the study")
        return Line(
            what, "not ready", say("{type}, where the study needs a number", type=one.sql_type), remedy
        )
    if kind is None and not number and not isinstance(_kind(one), Categorical):
        remedy = say("give fc.Categorical in the study, or declare its levels in the mapping file")
        return Line(what, "not ready", say("{type} without declared levels", type=one.sql_type), remedy)
    wanted = kind or _kind(one)
    if isinstance(wanted, Categorical):
        return _fit_levels(what, wanted.levels, one)
    return _fit_bounds(what, wanted.bounds if isinstance(wanted, Numeric) else None, one)


def _fit_image(what: str, wanted: Kind | None, one: Described) -> Line:
    here = _kind(one)
    found = " x ".join(map(str, here.shape)) if isinstance(here, Image) else one.sql_type
    if wanted == here:
        return Line(what, "ready", say("images of {size}", size=found), "")
    remedy = say("import the images in the size that the study declares, or correct the study")
    asked = " x ".join(map(str, wanted.shape)) if isinstance(wanted, Image) else say("no image")
    return Line(
        what, "not ready", say("{size}, where the study has {asked}", size=found, asked=asked), remedy
    )


def _kind(one: Described) -> Kind | None:
    return one.declared.kind if one.declared is not None else None


def _range(bounds: tuple[float, float]) -> str:
    return say("{low:g} to {high:g}", low=bounds[0], high=bounds[1])


def _fit_bounds(what: str, bounds: tuple[float, float] | None, one: Described) -> Line:
    here = _declared_range(one)
    unit = f" {one.declared.unit}" if one.declared is not None and one.declared.unit else ""
    if here is None:
        remedy = say("declare low, high and unit in the mapping file, so that a wrong unit shows")
        told = say("{type}; its range and unit are not declared", type=one.sql_type)
        if unit:
            told = say("{type}{unit}; its range is not declared", type=one.sql_type, unit=unit)
        return Line(what, "warning", told, remedy)
    told = say("{type}, {range}{unit}", type=one.sql_type, range=_range(here), unit=unit)
    if bounds is not None and (here[1] <= bounds[0] or bounds[1] <= here[0]):
        remedy = say("look for another unit: convert it in the mapping file, or correct the study's bounds")
        told = say("{size}, where the study has {asked}", size=told, asked=_range(bounds))
        return Line(what, "not ready", told, remedy)
    if bounds is not None and (here[0] < bounds[0] or bounds[1] < here[1]):
        told = say("{range}; the study narrows it to {bounds}", range=told, bounds=_range(bounds))
    return Line(what, "ready", told, "")


def _declared_range(one: Described) -> tuple[float, float] | None:
    kind = _kind(one)
    if isinstance(kind, Categorical):
        whole = [level for level in kind.levels if isinstance(level, int)]
        return (float(min(whole)), float(max(whole))) if len(whole) == len(kind.levels) else None
    if isinstance(kind, Numeric):
        return kind.bounds
    low, high = (one.facts or {}).get("low"), (one.facts or {}).get("high")
    return (low, high) if isinstance(low, float) and isinstance(high, float) else None


def _fit_levels(what: str, levels: Collection[Level], one: Described) -> Line:
    kind, wanted = _kind(one), {level_key(level) for level in levels}
    if not isinstance(kind, Categorical):
        bounds = _declared_range(one)
        whole = bounds is not None and bounds[1] - bounds[0] < len(levels)  # as 0 to 1 for yes and no
        remedy = say("declare its levels in the mapping file")
        told = say("{type}; its levels are not declared", type=one.sql_type)
        return Line(what, "ready", one.sql_type, "") if whole else Line(what, "warning", told, remedy)
    more = [str(level) for level in kind.levels if level_key(level) not in wanted]
    shown = ", ".join(more[:12]) + (", ..." if len(more) > 12 else "")
    if len(more) == len(kind.levels):
        remedy = say("translate the site's codes in the mapping file, or correct the study")
        return Line(
            what,
            "not ready",
            say("none of the site's levels ({levels}) is the study's", levels=shown),
            remedy,
        )
    if more:
        remedy = say("name them in the study, or leave such rows out by `where`")
        return Line(
            what,
            "warning",
            say("the site also declares {levels}, which the study does not name", levels=shown),
            remedy,
        )
    return Line(what, "ready", say("{type}, {n} declared levels", type=one.sql_type, n=len(kind.levels)), "")
