"""What a comparison shows: the groups, each against the first, and the differences as a forest plot."""

from collections.abc import Mapping
from typing import Any

from fedcohort.figures import Axis, Column, Figure, Intervals, Key, Named, Row, Said, Table, Value

SECTION = "compare"

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """The groups first."""
    compare = report["compare"]
    return (_groups(report, compare), _differences(compare), _forest(compare))


def _unit(compare: Json) -> str:
    return str(compare.get("unit", ""))


def _groups(report: Json, compare: Json) -> Table:
    ranks, error = compare.get("mean_ranks", {}), compare.get("n_error")
    columns = [
        Column("n", Key("compare.n"), "count"),
        Column("mean", Key("compare.mean")),
        Column("std", Key("compare.std")),
    ]
    columns += [Column("mean_rank", Key("compare.mean_rank"))] if ranks else []
    rows = []
    for level, group in compare["groups"].items():
        cells = [
            Value(group["n"], error=error),
            Value(group["mean"], group["mean_low"], group["mean_high"]),
            Value(group["std"]),
        ]
        if ranks:
            cells.append(Value(ranks[level]["rank"], error=ranks[level]["error"] or None))
        rows.append(Row(f"{compare['by']} {level}", tuple(cells), unit=_unit(compare)))
    return Table(
        name="groups",
        section=SECTION,
        title=Key("compare.groups", {"column": compare["column"], "by": compare["by"]}),
        notes=(
            Key("compare.patients", {"n": report["patients"], "missing": report["missing"]}),
            *_tests(compare),
        ),
        index=Column("group", Key("compare.group")),
        columns=tuple(columns),
        rows=tuple(rows),
    )


def _tests(compare: Json) -> list[Said]:
    """P-values of all groups together, and of two groups those of ranks and of one variance."""
    told: list[Said] = [
        Key(f"compare.{name}", {"p": f"{compare[name]['p']:.2g}"})
        for name in ("anova", "student", "mann_whitney", "kruskal")
        if compare.get(name, {}).get("p") is not None
    ]
    between, error = compare.get("between", 0), compare.get("mann_whitney", {}).get("error", 0)
    if between and compare.get("grid") is None:
        told.append(Key("compare.parts", {"n": compare["places"]}))
    elif between:
        told.append(Key("compare.between", {"n": between}))
    return [*told, Key("compare.u_error", {"error": error})] if error else told


def _differences(compare: Json) -> Table:
    columns = (
        Column("difference", Key("compare.difference")),
        Column("t", "t"),
        Column("degrees", Key("compare.degrees")),
        Column("p", "p", "p"),
    )
    return Table(
        name="differences",
        section=SECTION,
        title=_reference(compare),
        index=Column("group", Key("compare.group")),
        columns=columns,
        rows=tuple(
            Row(
                f"{compare['by']} {level}",
                (
                    Value(found["difference"], found["low"], found["high"]),
                    Value(found["statistic"]),
                    Value(found.get("degrees")),
                    Value(found["p"]),
                ),
                unit=_unit(compare),
            )
            for level, found in compare["differences"].items()
        ),
    )


def _reference(compare: Json) -> Key:
    reference = f"{compare['by']} {compare['reference']}"
    return Key("compare.differences", {"column": compare["column"], "reference": reference})


def _forest(compare: Json) -> Intervals:
    rows = tuple(
        Named(f"{compare['by']} {level}", Value(found["difference"], found["low"], found["high"]))
        for level, found in compare["differences"].items()
        if found["difference"] is not None
    )
    title = (
        Key("compare.difference_in", {"unit": _unit(compare)})
        if _unit(compare)
        else Key("compare.difference")
    )
    return Intervals(
        name="mean-differences",
        section=SECTION,
        title=_reference(compare),
        x=Axis(title),
        rows=rows,
        reference=0.0,
    )
