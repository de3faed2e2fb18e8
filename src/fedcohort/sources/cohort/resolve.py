"""Make a researcher's short cohort explicit, from what the sites declare.

Every site must then read its rows in the same way: each column has one kind, one range or list
of levels, and the label its meaning. Only declared facts (catalogues) are used. A study
may narrow what sites declare, never widen it.
"""

import json
from collections.abc import Mapping

from fedcohort.columns import Binary, Categorical, Classes, Image, Label, Level, Number, Numeric, Survival
from fedcohort.errors import SchemaError, StudyError
from fedcohort.sources.catalogue.declared_columns import (
    DeclaredColumn,
    check_agreement,
    check_same_unit,
    columns_of,
    declared_column,
    declared_pair,
    lists_table,
    union_of_bounds,
    union_of_levels,
)
from fedcohort.sources.catalogue.normal_form import level_key
from fedcohort.sources.cohort.events.plan import kinds_of_events
from fedcohort.sources.cohort.where.parse import parse_where
from fedcohort.study import Cohort

Kind = Numeric | Categorical | Image


def resolve_cohort(
    cohort: Cohort, catalogues: Mapping[str, Mapping[str, object]], *, take_units: bool = True
) -> Cohort:
    """Give every column and the label of a cohort its kind, and check it against all sites.

    A bare column takes the sites' declared kind: a number the study's bounds, or the union of
    the sites' (none when one site declares none); a category the union of their levels,
    numbers first. A bare label is Binary over two levels (the second that all sites declare is
    the positive one; where no order is common to them it is asked for) or a number within 0 to
    1 or without bounds, Classes over three or more levels, and Number over other declared
    bounds. What the study itself says stays; it may only narrow.

    Args:
        cohort: as the researcher wrote it; an explicit one comes back as it was, with the sites' units.
        catalogues: by site, as `catalogue` lists it there.
        take_units: let the study say the sites' units, which coordinators of earlier versions do not know.
    Raises:
        SchemaError: sites disagree, in a unit too, lack a column, or the study is wider; names both.
        CohortError: `where` is not allowed.
    """
    if not catalogues:
        raise SchemaError("cohort: no site told its catalogue, so no column can be found; connect a site")
    if cohort.index is not None:
        _check_events(cohort, catalogues)
        return cohort
    listed = {site: columns_of(site, catalogue, cohort.table) for site, catalogue in catalogues.items()}
    by_column = {
        name: [declared_column(site, name, columns) for site, columns in listed.items()]
        for name in _needed(cohort)
    }
    said = _units_said(cohort)
    declared = {name: check_same_unit(by_site, said.get(name)) for name, by_site in by_column.items()}
    units = declared if take_units else dict.fromkeys(declared)
    explicit = isinstance(cohort.columns, Mapping)
    columns = {
        name: _in_unit(
            _column(by_column[name], kind if explicit or name in cohort.bounds else None), units[name]
        )
        for name, kind in cohort.schema_.items()
    }
    if cohort.where is not None:
        common = set.intersection(*(set(columns) for columns in listed.values()))
        parse_where(cohort.where, cohort.table, common)
    label = _label(cohort, by_column)
    if isinstance(label, Number) and label.unit is None:
        label = label.model_copy(update={"unit": units[label.column]})
    return Cohort.model_validate({**dict(cohort), "columns": columns, "bounds": {}, "label": label})


def check_units(cohort: Cohort, catalogues: Mapping[str, Mapping[str, object]]) -> None:
    """Compare the units of an explicit cohort's columns among sites, as far as they tell them.

    Raises:
        SchemaError: two sites that would be added up declare different units; names both.
    """
    if cohort.index is not None:  # each site converts its units to the study's
        return
    listed = {
        site: columns_of(site, catalogue, cohort.table)
        for site, catalogue in catalogues.items()
        if lists_table(catalogue, cohort.table)
    }
    said = _units_said(cohort)
    for name in _needed(cohort):
        by_site = [
            declared_column(site, name, columns) for site, columns in listed.items() if name in columns
        ]
        check_same_unit(by_site, said.get(name))


def _check_events(cohort: Cohort, catalogues: Mapping[str, Mapping[str, object]]) -> None:
    """Whether every site offers events of each kind that a cohort names; what they are it says itself."""
    kinds = kinds_of_events(cohort)
    for site, catalogue in catalogues.items():
        offered = columns_of(site, catalogue, cohort.table)
        if not lists_table(catalogue, cohort.table, any_table=False):
            raise StudyError(
                "cohort.index: a data frame has a row a patient, and no events; run the study over sites, or "
                "give frames with its columns and leave the words of events out"
            )
        missing = [kind for kind in kinds if kind not in offered]
        if missing:
            raise SchemaError(
                "site {site}: does not offer events of {names}; leave them out, or ask the site",
                site=site,
                names=", ".join(missing),
            )


def is_filled_in(whole: Cohort, asked: Cohort) -> bool:
    """Whether an explicit cohort is what `resolve_cohort` could make of a shorter one at some sites."""
    said = asked.schema_
    if not isinstance(asked.columns, Mapping):
        said = {name: kind for name, kind in said.items() if name in asked.bounds}
    kinds = whole.schema_
    return (
        all(
            getattr(whole, name) == getattr(asked, name) for name in ("table", "where", "split", "patient_id")
        )
        and set(kinds) == set(asked.schema_)
        and all(_keeps(kinds[name], kind) for name, kind in said.items())
        and whole.label_columns == asked.label_columns
        and (asked.label is None or isinstance(asked.label, str) or _keeps(whole.label, asked.label))
    )


def _keeps(whole: Kind | Label | str | None, said: Kind | Label) -> bool:
    """Whether nothing that was said is another thing now; a unit or a negative level may have come in."""
    if not isinstance(whole, type(said)):
        return False
    return all(getattr(whole, name) == getattr(said, name) for name in said.model_fields_set - {"unit"})


def _units_said(cohort: Cohort) -> dict[str, str]:
    """By column, the unit that the study itself names."""
    kinds: dict[str, object] = dict(cohort.schema_)
    if isinstance(cohort.label, Number):
        kinds[cohort.label.column] = cohort.label
    return {
        name: kind.unit for name, kind in kinds.items() if isinstance(kind, Numeric | Number) and kind.unit
    }


def _in_unit(kind: Kind, unit: str | None) -> Kind:
    """A number with the unit that the sites declare, so that whoever reads it or types it in knows it."""
    if isinstance(kind, Numeric) and kind.unit is None and unit is not None:
        return kind.model_copy(update={"unit": unit})
    return kind


def _needed(cohort: Cohort) -> list[str]:
    split = [cohort.split] if isinstance(cohort.split, str) else []
    return [*cohort.schema_, *cohort.label_columns, *split]


def _column(by_site: list[DeclaredColumn], given: Kind | None) -> Kind:
    if given is not None:
        _check(given, by_site)
        return given
    check_agreement(by_site)
    if by_site[0].kind == "numeric":
        return Numeric(*(union_of_bounds(by_site) or ()))
    if by_site[0].image is not None:
        _check(by_site[0].image, by_site)
        return by_site[0].image
    levels = union_of_levels(by_site)
    if len(levels) < 2:
        raise SchemaError(
            "column {column}: text without declared levels; give fc.Categorical([...]), or fc.Image(height, "
            "width) if it holds images; of a date take a number, such as an age or days since admission",
            column=by_site[0].name,
        )
    return Categorical(levels)


def _check(given: Kind, by_site: list[DeclaredColumn]) -> None:
    """A study's own kind must be readable at every site and within what the sites declare."""
    if isinstance(given, Image):
        _check_image(given, by_site)
        return
    _refuse_images(by_site)
    for column in by_site:
        if isinstance(given, Numeric) and column.kind == "categorical" and column.range is None:
            raise SchemaError(
                "site {site}: column {name} holds words, not numbers; give fc.Categorical, or of a date a "
                "number, such as an age or days since admission",
                site=column.site,
                name=column.name,
            )
    if isinstance(given, Numeric):
        _check_bounds(given.bounds, by_site)
    else:
        _check_levels(given.levels, by_site)


def _check_image(given: Image, by_site: list[DeclaredColumn]) -> None:
    """An image has one size at every site; a data frame's column declares none."""
    for column in by_site:
        if column.image is not None and column.image != given:
            held, wanted = (" x ".join(map(str, image.shape)) for image in (column.image, given))
            raise SchemaError(
                "site {site}: column {name} holds images of {found} (height, width, channels), not {wanted}; "
                "import them with one declared size at every site",
                site=column.site,
                name=column.name,
                found=held,
                wanted=wanted,
            )
        if column.image is None and (column.kind == "numeric" or column.levels):
            raise SchemaError(
                "site {site}: column {name} holds no images; see its catalogue",
                site=column.site,
                name=column.name,
            )


def _refuse_images(by_site: list[DeclaredColumn]) -> None:
    for column in by_site:
        if column.image is not None:
            raise SchemaError(
                "site {site}: column {name} holds images; it can be nothing but one of the cohort's columns, "
                "as fc.Image(height, width)",
                site=column.site,
                name=column.name,
            )


def _check_bounds(bounds: tuple[float, float] | None, by_site: list[DeclaredColumn]) -> None:
    declared = union_of_bounds(by_site)
    if bounds is None or declared is None or (declared[0] <= bounds[0] and bounds[1] <= declared[1]):
        return
    sites = ", ".join(f"{site.site} {site.range[0]:g} to {site.range[1]:g}" for site in by_site if site.range)
    raise SchemaError(
        "column {column}: the study's bounds {low:g} to {high:g} are wider than the sites declare ({sites}); "
        "a study may only narrow them",
        column=by_site[0].name,
        low=bounds[0],
        high=bounds[1],
        sites=sites,
    )


def _check_levels(levels: tuple[Level, ...], by_site: list[DeclaredColumn]) -> None:
    _refuse_images(by_site)
    if any(column.kind == "numeric" or not column.levels for column in by_site):
        return
    declared = {level_key(level) for column in by_site for level in column.levels}
    unknown = [str(level) for level in levels if level_key(level) not in declared]
    if unknown:
        sites = ", ".join(column.site for column in by_site)
        raise SchemaError(
            "column {column}: no site ({sites}) declares level {levels}; declared are {declared}",
            column=by_site[0].name,
            sites=sites,
            levels=", ".join(unknown),
            declared=", ".join(map(str, union_of_levels(by_site))),
        )


def _label(cohort: Cohort, by_column: Mapping[str, list[DeclaredColumn]]) -> Label | None:
    match cohort.label:
        case None:
            return None
        case str(name):
            return _bare_label(name, by_column[name])
        case Binary() as label:
            whole = _with_negative(label, by_column[label.column])
            _check_levels((whole.negative, whole.positive), by_column[label.column])
            return whole
        case Classes(column=name, levels=levels):
            _check_levels(levels, by_column[name])
        case Number(column=name, low=low, high=high):
            _check(Numeric(low, high), by_column[name])
        case Survival(time=time, event=event, events=events):
            _check(Numeric(), by_column[time])
            _check_levels(events, by_column[event])
    return cohort.label


def _bare_label(name: str, by_site: list[DeclaredColumn]) -> Label:
    _refuse_images(by_site)
    check_agreement(by_site)
    if by_site[0].kind == "numeric":
        bounds = union_of_bounds(by_site)
        if bounds is None or bounds == (0.0, 1.0):
            return Binary(name)
        return Number(column=name, low=bounds[0], high=bounds[1])
    levels = union_of_levels(by_site)
    if len(levels) == 2:
        pair = declared_pair(by_site)
        if pair is None:
            raise SchemaError(
                "label {name}: the sites do not declare alike whether {one} or {two} comes last, and so "
                "counts as yes; give fc.Binary({what}, positive={second}) or positive={first}",
                name=name,
                one=levels[0],
                two=levels[1],
                what=json.dumps(name),
                second=_quoted(levels[1]),
                first=_quoted(levels[0]),
            )
        return Binary(name, negative=pair[0], positive=pair[1])
    if len(levels) > 2:
        return Classes(name, levels)
    raise SchemaError(
        "label {name}: a text without declared levels; give fc.Binary or fc.Classes in the study, or of a "
        "date a number, such as days since admission",
        name=name,
    )


def _with_negative(label: Binary, by_site: list[DeclaredColumn]) -> Binary:
    """A label of which only the positive level was named takes the other of the two that sites declare.

    Raises:
        SchemaError: no site says what the other one is.
    """
    levels, positive = union_of_levels(by_site), level_key(label.positive)
    if "negative" in label.model_fields_set:
        return label
    others = [level for level in levels if level_key(level) != positive]
    if len(levels) == 2 and len(others) == 1:
        return Binary(label.column, positive=label.positive, negative=others[0])
    if positive == "1":
        return label
    raise SchemaError(
        "label {name}: the sites do not declare two levels of which {level} is one; give fc.Binary its "
        "negative level, too",
        name=label.column,
        level=label.positive,
    )


def _quoted(level: Level) -> str:
    return json.dumps(level, ensure_ascii=False)


def kinds_of_label(label: Label | str | None) -> dict[str, Kind]:
    """The columns that a label reads, as columns of their own; none of a label without a kind."""
    match label:
        case Binary(column=column, positive=positive, negative=negative):
            return {column: Categorical((negative, positive))}
        case Classes(column=column, levels=levels):
            return {column: Categorical(levels)}
        case Number(column=column, low=low, high=high):
            return {column: Numeric(low, high)}
        case Survival(time=time, event=event, events=events):
            return {time: Numeric(), event: Categorical(events)}
        case _:
            return {}
