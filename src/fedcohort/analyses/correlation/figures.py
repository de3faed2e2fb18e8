"""What correlations show: a table of the pairs and their intervals, the matrix, and principal components."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from fedcohort.figures import Axis, Bars, Column, Figure, Intervals, Key, Named, Row, Table, Value
from fedcohort.known import MOST

SECTION = "correlation"
MOST_PAIRS = 45
"""More intervals than these, of ten columns, are no picture."""
COLUMNS = (Column("r", Key("correlation.r"), "metric"), Column("p", format="p"), Column("n", format="count"))

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """Pairs, the matrix, and components where they were asked for."""
    found = report["correlation"]
    pairs = tuple(_pairs(found))
    made: list[Figure] = [_table(report, found, pairs), _matrix(found)]
    if len(pairs) <= MOST_PAIRS:
        made.append(_intervals(found, pairs))
    if found.get("pca"):
        made += [_loadings(found["pca"]), _eigenvalues(found["pca"])]
    return tuple(made)


def _pairs(found: Json) -> Iterator[tuple[str, int, int]]:
    for i, j in combinations(range(len(found["columns"])), 2):
        yield f"{found['columns'][i]}, {found['columns'][j]}", i, j


def _value(found: Json, i: int, j: int) -> Value:
    r, low, high = (found[name][i][j] for name in ("r", "low", "high"))
    within = found["within"][i][j] if "within" in found else None
    known = low is None or high is None or high - low <= 2 * MOST
    return Value(r, low, high, within if within and within > 1e-6 else None, known and r is not None)


def _table(report: Json, found: Json, pairs: tuple[tuple[str, int, int], ...]) -> Table:
    rows = (
        Row(name, (_value(found, i, j), Value(found["p"][i][j]), Value(found["n"]))) for name, i, j in pairs
    )
    return Table(
        name="correlations",
        section=SECTION,
        notes=tuple(_notes(report, found)),
        index=Column("pair", Key("correlation.pair")),
        columns=COLUMNS,
        rows=tuple(rows),
    )


def _notes(report: Json, found: Json) -> Iterator[Key]:
    yield Key(f"correlation.{found['method']}")
    counts = {"n": report["patients"], "missing": report["missing"]}
    if None not in counts.values():
        yield Key("correlation.patients", counts)
    if "held" in found:
        ends = zip(found["columns"], found["held"], strict=True)
        columns = "; ".join(f"{name} {low:.4g} – {high:.4g}" for name, (low, high) in ends)
        yield Key("correlation.held", {"columns": columns})


def _matrix(found: Json) -> Table:
    names = found["columns"]
    rows = (
        Row(name, tuple(Value(found["r"][i][j]) for j in range(len(names)))) for i, name in enumerate(names)
    )
    return Table(
        name="correlation-matrix",
        section=SECTION,
        title=Key("correlation.matrix"),
        index=Column("column", Key("document.column")),
        columns=tuple(Column(name, format="metric") for name in names),
        rows=tuple(rows),
    )


def _intervals(found: Json, pairs: tuple[tuple[str, int, int], ...]) -> Intervals:
    rows = (Named(name, _value(found, i, j)) for name, i, j in pairs if found["r"][i][j] is not None)
    return Intervals(
        name="correlation-intervals",
        section=SECTION,
        title=Key("correlation.r"),
        x=Axis(Key("correlation.r"), -1.0, 1.0, "metric"),
        rows=tuple(rows),
        reference=0.0,
    )


def _component(place: int) -> Key:
    return Key("correlation.component", {"number": place + 1})


def _loadings(pca: Json) -> Table:
    k = len(pca["eigenvalues"])
    return Table(
        name="loadings",
        section=SECTION,
        title=Key("correlation.loadings"),
        index=Column("column", Key("document.column")),
        columns=tuple(Column(f"PC{place + 1}", _component(place), "metric") for place in range(k)),
        rows=tuple(Row(name, tuple(Value(one) for one in line)) for name, line in pca["loadings"].items()),
    )


def _eigenvalues(pca: Json) -> Bars:
    d, bars = len(pca["loadings"]), []
    for place, share in enumerate(pca["share"]):
        low, high = (pca[end][place] / d if end in pca else None for end in ("low", "high"))
        bars.append(Named(_component(place), Value(share, low, high)))
    return Bars(
        name="explained",
        section=SECTION,
        title=Key("correlation.explained"),
        bars=tuple(bars),
        measure=Key("correlation.share"),
        format="share",
    )
