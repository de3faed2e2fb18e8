"""What a crosstab shows: counts, the comparison of groups as a table and a forest plot, and the strata."""

from collections.abc import Iterable, Mapping
from typing import Any

from fedcohort.figures import Axis, Column, Figure, Intervals, Key, Named, Row, Said, Table, Value

SECTION = "crosstab"
P_DIGITS = ".2g"

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """Counts first; of an outcome of two levels what compares the groups."""
    crosstab = report["crosstab"]
    shown: list[Figure] = [_counts(report, crosstab)]
    if crosstab.get("groups"):
        shown += [_comparisons(crosstab), _forest(crosstab)]
    if "strata_groups" in crosstab:
        shown.append(_strata(crosstab))
    return tuple(shown)


def _counts(report: Json, crosstab: Json) -> Table:
    """A row a group; of strata a row a group of each."""
    levels, error = crosstab["levels"], crosstab.get("counts_error")
    outcome = crosstab["columns"]
    columns = tuple(Column(f"{outcome} {level}", format="count") for level in levels["columns"])
    lines: list[tuple[str, list[int | None]]] = []
    if "strata" in crosstab:
        for stratum, table in zip(levels["strata"], crosstab["counts"], strict=True):
            prefix = f"{crosstab['strata']} {stratum}, {crosstab['rows']} "
            lines += [(prefix + level, row) for level, row in zip(levels["rows"], table, strict=True)]
    else:
        pairs = zip(levels["rows"], crosstab["counts"], strict=True)
        lines = [(f"{crosstab['rows']} {level}", row) for level, row in pairs]
    return Table(
        name="counts",
        section=SECTION,
        notes=(
            *_patients(report),
            *_tests(crosstab),
        ),
        index=Column("group", Key("crosstab.group")),
        columns=(Column("n", Key("crosstab.n"), "count"), *columns),
        rows=tuple(
            Row(name, (Value(_sum(row)), *(Value(count, error=error) for count in row)))
            for name, row in lines
        ),
    )


def _patients(report: Json) -> tuple[Key, ...]:
    """How many patients, where both numbers are shown."""
    named = {"n": report["patients"], "missing": report["missing"]}
    return () if None in named.values() else (Key("crosstab.patients", named),)


def _sum(counts: Iterable[int | None]) -> int | None:
    """Of counts, none of which is hidden."""
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)


def _tests(crosstab: Json) -> list[Said]:
    """The p-values of independence, and how far to trust them."""
    names = ("chi_squared", "yates", "fisher", "mantel_haenszel", "breslow_day")
    told: list[Said] = [
        Key(f"crosstab.{name}", {"p": f"{crosstab[name]['p']:{P_DIGITS}}"})
        for name in names
        if crosstab.get(name, {}).get("p") is not None
    ]
    few = crosstab.get("chi_squared", {}).get("few", 0)
    return [*told, Key("crosstab.few", {"n": few})] if few else told


RATIOS = ("odds_ratio", "risk_ratio", "risk_difference")


def _value(group: Json, name: str) -> Value:
    return Value(group.get(name), group.get(f"{name}_low"), group.get(f"{name}_high"))


def _comparisons(crosstab: Json) -> Table:
    """A row a group that is compared with the first."""
    return Table(
        name="comparisons",
        section=SECTION,
        title=Key("crosstab.comparisons", {"outcome": _outcome(crosstab), "reference": _reference(crosstab)}),
        notes=_corrected(crosstab["groups"]),
        index=Column("group", Key("crosstab.group")),
        columns=(
            Column("n", Key("crosstab.n"), "count"),
            Column("events", Key("crosstab.events"), "count"),
            Column("risk", Key("crosstab.risk"), "share"),
            *(Column(name, Key(f"crosstab.{name}")) for name in RATIOS),
        ),
        rows=tuple(
            Row(
                f"{crosstab['rows']} {level}",
                (
                    Value(group["n"]),
                    Value(group["events"]),
                    *(_value(group, name) for name in ("risk", *RATIOS)),
                ),
            )
            for level, group in crosstab["groups"].items()
        ),
    )


def _corrected(groups: Json) -> tuple[Said, ...]:
    return (Key("crosstab.corrected"),) if any(group.get("corrected") for group in groups.values()) else ()


def _outcome(crosstab: Json) -> str:
    return f"{crosstab['columns']} {crosstab['outcome']}"


def _reference(crosstab: Json) -> str:
    return f"{crosstab['rows']} {crosstab['reference']}"


def _forest(crosstab: Json) -> Intervals:
    """Odds ratios: of each group, and over the strata."""
    rows = [
        Named(f"{crosstab['rows']} {level}", _value(group, "odds_ratio"))
        for level, group in crosstab["groups"].items()
    ]
    rows += [
        Named(f"{crosstab['strata']} {level}", _value(group, "odds_ratio"))
        for level, group in crosstab.get("strata_groups", {}).items()
    ]
    if "mantel_haenszel" in crosstab:
        rows.append(Named(Key("crosstab.pooled"), _value(crosstab["mantel_haenszel"], "odds_ratio")))
    shown = tuple(row for row in rows if row.value.number is not None)
    return Intervals(
        name="odds-ratios",
        section=SECTION,
        title=Key("crosstab.odds_ratio"),
        x=Axis(Key("crosstab.odds_ratio"), log=True),
        rows=shown,
        reference=1.0,
    )


def _strata(crosstab: Json) -> Table:
    """Each stratum by itself, and all of them pooled."""
    groups, pooled = crosstab["strata_groups"], crosstab["mantel_haenszel"]
    rows = [
        Row(
            f"{crosstab['strata']} {level}",
            (Value(group["n"]), _value(group, "odds_ratio"), _value(group, "risk_ratio")),
        )
        for level, group in groups.items()
    ]
    total = _sum(group["n"] for group in groups.values())
    cells = (Value(total), _value(pooled, "odds_ratio"), _value(pooled, "risk_ratio"))
    rows.append(Row("pooled", cells, Key("crosstab.pooled")))
    return Table(
        name="strata",
        section=SECTION,
        title=Key("crosstab.strata"),
        notes=_corrected(groups),
        index=Column("stratum", Key("crosstab.stratum")),
        columns=(
            Column("n", Key("crosstab.n"), "count"),
            Column("odds_ratio", Key("crosstab.odds_ratio")),
            Column("risk_ratio", Key("crosstab.risk_ratio")),
        ),
        rows=tuple(rows),
    )
