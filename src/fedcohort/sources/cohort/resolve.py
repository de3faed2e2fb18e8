"""Make a researcher's short cohort explicit, from what the sites declare.

Every site must then read its rows alike: each column has one kind, one range or list
of levels, and the label its meaning. Only declared facts (catalogues) are used. A study
may narrow what sites declare, never widen it.
"""

import json
from collections.abc import Mapping

from fedcohort.columns import Binary, Categorical, Classes, Image, Label, Level, Number, Numeric, Survival
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.declared_columns import (
    Offer,
    check_agreement,
    check_same_unit,
    columns_of,
    declared_pair,
    offer_of,
    tells_of,
    union_of_bounds,
    union_of_levels,
)
from fedcohort.sources.catalogue.normal_form import level_key
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
        catalogues: site to what `catalogue` told there.
        take_units: let the study say the sites' units, which coordinators of earlier versions do not know.
    Raises:
        SchemaError: sites disagree, in a unit too, lack a column, or the study is wider; names both.
        CohortError: `where` is not allowed.
    """
    if not catalogues:
        raise SchemaError("cohort: no site told its catalogue, so no column can be found; connect a site")
    listed = {site: columns_of(site, catalogue, cohort.table) for site, catalogue in catalogues.items()}
    offers = {
        name: [offer_of(site, name, columns) for site, columns in listed.items()] for name in _needed(cohort)
    }
    said = _units_said(cohort)
    declared = {name: check_same_unit(offered, said.get(name)) for name, offered in offers.items()}
    units = declared if take_units else dict.fromkeys(declared)
    explicit = isinstance(cohort.columns, Mapping)
    columns = {
        name: _in_unit(
            _column(offers[name], kind if explicit or name in cohort.bounds else None), units[name]
        )
        for name, kind in cohort.schema_.items()
    }
    if cohort.where is not None:
        common = set.intersection(*(set(columns) for columns in listed.values()))
        parse_where(cohort.where, cohort.table, common)
    label = _label(cohort, offers)
    if isinstance(label, Number) and label.unit is None:
        label = label.model_copy(update={"unit": units[label.column]})
    return Cohort.model_validate({**dict(cohort), "columns": columns, "bounds": {}, "label": label})


def check_units(cohort: Cohort, catalogues: Mapping[str, Mapping[str, object]]) -> None:
    """Compare the units of an explicit cohort's columns among sites, as far as they tell them.

    Raises:
        SchemaError: two sites that would be added up declare different units; names both.
    """
    listed = {
        site: columns_of(site, one, cohort.table)
        for site, one in catalogues.items()
        if tells_of(one, cohort.table)
    }
    said = _units_said(cohort)
    for name in _needed(cohort):
        offers = [offer_of(site, name, columns) for site, columns in listed.items() if name in columns]
        check_same_unit(offers, said.get(name))


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


def _column(offers: list[Offer], given: Kind | None) -> Kind:
    if given is not None:
        _check(given, offers)
        return given
    check_agreement(offers)
    if offers[0].kind == "numeric":
        return Numeric(*(union_of_bounds(offers) or ()))
    if offers[0].image is not None:
        _check(offers[0].image, offers)
        return offers[0].image
    levels = union_of_levels(offers)
    if len(levels) < 2:
        raise SchemaError(
            f"column {offers[0].column}: text without declared levels; give fc.Categorical([...]), or "
            "fc.Image(height, width) if it holds images; of a date take a number, such as an age or days "
            "since admission"
        )
    return Categorical(levels)


def _check(given: Kind, offers: list[Offer]) -> None:
    """A study's own kind must be readable at every site and within what the sites declare."""
    if isinstance(given, Image):
        _check_image(given, offers)
        return
    _refuse_images(offers)
    for offer in offers:
        if isinstance(given, Numeric) and offer.kind == "categorical" and offer.range is None:
            raise SchemaError(
                f"site {offer.site}: column {offer.column} holds words, not numbers; give fc.Categorical, "
                "or of a date a number, such as an age or days since admission"
            )
    if isinstance(given, Numeric):
        _check_bounds(given.bounds, offers)
    else:
        _check_levels(given.levels, offers)


def _check_image(given: Image, offers: list[Offer]) -> None:
    """An image has one size at every site; a data frame's column declares none."""
    for offer in offers:
        if offer.image is not None and offer.image != given:
            found, wanted = (" x ".join(map(str, image.shape)) for image in (offer.image, given))
            raise SchemaError(
                f"site {offer.site}: column {offer.column} holds images of {found} (height, width, "
                f"channels), not {wanted}; import them with one declared size at every site"
            )
        if offer.image is None and (offer.kind == "numeric" or offer.levels):
            raise SchemaError(f"site {offer.site}: column {offer.column} holds no images; see its catalogue")


def _refuse_images(offers: list[Offer]) -> None:
    for offer in offers:
        if offer.image is not None:
            raise SchemaError(
                f"site {offer.site}: column {offer.column} holds images; it can be nothing but one of the "
                "cohort's columns, as fc.Image(height, width)"
            )


def _check_bounds(bounds: tuple[float, float] | None, offers: list[Offer]) -> None:
    declared = union_of_bounds(offers)
    if bounds is None or declared is None or (declared[0] <= bounds[0] and bounds[1] <= declared[1]):
        return
    sites = ", ".join(f"{o.site} {o.range[0]:g} to {o.range[1]:g}" for o in offers if o.range)
    raise SchemaError(
        f"column {offers[0].column}: the study's bounds {bounds[0]:g} to {bounds[1]:g} are wider than "
        f"the sites declare ({sites}); a study may only narrow them"
    )


def _check_levels(levels: tuple[Level, ...], offers: list[Offer]) -> None:
    _refuse_images(offers)
    if any(offer.kind == "numeric" or not offer.levels for offer in offers):
        return
    declared = {level_key(level) for offer in offers for level in offer.levels}
    unknown = [str(level) for level in levels if level_key(level) not in declared]
    if unknown:
        sites = ", ".join(offer.site for offer in offers)
        raise SchemaError(
            f"column {offers[0].column}: no site ({sites}) declares level {', '.join(unknown)}; "
            f"declared are {', '.join(map(str, union_of_levels(offers)))}"
        )


def _label(cohort: Cohort, offers: Mapping[str, list[Offer]]) -> Label | None:
    match cohort.label:
        case None:
            return None
        case str(name):
            return _bare_label(name, offers[name])
        case Binary() as label:
            whole = _with_negative(label, offers[label.column])
            _check_levels((whole.negative, whole.positive), offers[label.column])
            return whole
        case Classes(column=name, levels=levels):
            _check_levels(levels, offers[name])
        case Number(column=name, low=low, high=high):
            _check(Numeric(low, high), offers[name])
        case Survival(time=time, event=event):
            _check(Numeric(), offers[time])
            _check_levels((0, 1), offers[event])
    return cohort.label


def _bare_label(name: str, offers: list[Offer]) -> Label:
    _refuse_images(offers)
    check_agreement(offers)
    if offers[0].kind == "numeric":
        bounds = union_of_bounds(offers)
        if bounds is None or bounds == (0.0, 1.0):
            return Binary(name)
        return Number(column=name, low=bounds[0], high=bounds[1])
    levels = union_of_levels(offers)
    if len(levels) == 2:
        pair = declared_pair(offers)
        if pair is None:
            raise SchemaError(
                f"label {name}: the sites do not declare alike whether {levels[0]} or {levels[1]} comes "
                f"last, and so counts as yes; give fc.Binary({json.dumps(name)}, "
                f"positive={_quoted(levels[1])}) or positive={_quoted(levels[0])}"
            )
        return Binary(name, negative=pair[0], positive=pair[1])
    if len(levels) > 2:
        return Classes(name, levels)
    raise SchemaError(
        f"label {name}: a text without declared levels; give fc.Binary or fc.Classes in the study, or "
        "of a date a number, such as days since admission"
    )


def _with_negative(label: Binary, offers: list[Offer]) -> Binary:
    """A label of which only the positive level was named takes the other of the two that sites declare.

    Raises:
        SchemaError: no site says what the other one is.
    """
    levels, positive = union_of_levels(offers), level_key(label.positive)
    if "negative" in label.model_fields_set:
        return label
    others = [level for level in levels if level_key(level) != positive]
    if len(levels) == 2 and len(others) == 1:
        return Binary(label.column, positive=label.positive, negative=others[0])
    if positive == "1":
        return label
    raise SchemaError(
        f"label {label.column}: the sites do not declare two levels of which {label.positive} is one; give "
        "fc.Binary its negative level, too"
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
        case Survival(time=time, event=event):
            return {time: Numeric(), event: Categorical((0, 1))}
        case _:
            return {}
