"""What a table one shows: the table as a paper has it, and the standardised differences as a plot."""

from collections.abc import Mapping
from typing import Any

from fedcohort.figures import Axis, Column, Figure, Intervals, Key, Named, Row, Said, Table, Value

SECTION = "table_one"
DIGITS = ".4g"

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """The table, and of two groups the balance between them."""
    table = report["table_one"]
    balance = _balance(table) if len(table.get("groups", ())) == 2 else None
    return (_table(report, table), *((balance,) if balance else ()))


def _table(report: Json, table: Json) -> Table:
    """A row a number, and one a level; cells are texts, as a paper has several figures in one."""
    groups = list(table.get("groups", ()))
    tested = any("test" in column for column in table["columns"].values())
    compared = len(groups) == 2 and any("smd" in column for column in table["columns"].values())
    columns = [
        Column("missing", Key("table_one.missing"), "count"),
        Column("overall", Key("table_one.overall")),
        *(Column(f"{table['by']} {level}") for level in groups),
        *([Column("p", "p", "p")] if tested else []),
        *([Column("test", Key("table_one.test"))] if tested else []),
        *([Column("smd", Key("table_one.smd"))] if compared else []),
    ]
    rows = [_sizes(report, table, len(columns) - 2 - len(groups))]
    for name, column in table["columns"].items():
        lead = _lead(column, tested, compared)
        if "levels" in column["overall"]:
            rows += _level_rows(name, column, groups, lead)
        else:
            rows.append(_number_row(name, column, groups, lead))
    return Table(
        name="table-one",
        section=SECTION,
        notes=tuple(_notes(report, table)),
        index=Column("column", Key("table_one.column")),
        columns=tuple(columns),
        rows=tuple(rows),
    )


def _notes(report: Json, table: Json) -> list[Said]:
    columns = table["columns"].values()
    told: list[Said] = [Key("table_one.patients", {"n": report["patients"], "missing": report["missing"]})]
    if any(column.get("nonnormal") is False for column in columns):
        told.append(Key("table_one.means"))
    if any(column.get("nonnormal") for column in columns):
        told.append(Key("table_one.medians"))
    if any("levels" in column["overall"] for column in columns):
        told.append(Key("table_one.shares"))
    if "groups_error" in table:
        told.append(Key("table_one.noise"))
    tests = [column.get("test", {}) for column in columns]
    if any(test.get("few") and test["name"] == "chi_squared" for test in tests):
        told.append(Key("table_one.few"))
    if any(test.get("exact") is False for test in tests):
        told.append(Key("table_one.ranks"))
    return told


def _sizes(report: Json, table: Json, n_empty: int) -> Row:
    """How many patients each group has."""
    error = table.get("groups_error")
    sizes = (Value(n, error=error) for n in (report["patients"], *table.get("groups", {}).values()))
    return Row("n", (None, *sizes, *[None] * n_empty), Key("table_one.n"))


def _lead(column: Json, tested: bool, compared: bool) -> tuple[Value | Key | None, ...]:
    """The p-value, its test and the standardised difference, which stand in a column's first row."""
    test, lead = column.get("test"), list[Value | Key | None]()
    if tested:
        lead += [None, None] if test is None else [Value(test["p"]), Key(f"table_one.{test['name']}")]
    if compared:
        pair = column["smd"][0] if "smd" in column else {}
        lead.append(Value(pair.get("value"), pair.get("low"), pair.get("high")))
    return tuple(lead)


def _number_row(name: str, column: Json, groups: list[str], lead: tuple[Value | Key | None, ...]) -> Row:
    cells = [column["overall"], *(column["groups"][level] for level in groups)]
    words = (_number(cell, column["nonnormal"]) for cell in cells)
    missing = Value(column["overall"]["missing"])
    return Row(name, (missing, *words, *lead), unit=column.get("unit", ""))


def _number(cell: Json, nonnormal: bool) -> str:
    """Mean and deviation, or median and quartiles; under privacy with the interval of the first."""
    figure, *around = ("median", "q1", "q3") if nonnormal else ("mean", "std")
    if cell[figure] is None:
        return ""
    low, high = cell.get(f"{figure}_low"), cell.get(f"{figure}_high")
    interval = "" if low is None or high is None else f" [{low:{DIGITS}}, {high:{DIGITS}}]"
    beside = ", ".join("–" if cell[each] is None else f"{cell[each]:{DIGITS}}" for each in around)
    return f"{cell[figure]:{DIGITS}}{interval} ({beside})"


def _level_rows(
    name: str, column: Json, groups: list[str], lead: tuple[Value | Key | None, ...]
) -> list[Row]:
    cells = [column["overall"], *(column["groups"][level] for level in groups)]
    error, rows = column.get("error"), []
    for place, level in enumerate(column["overall"]["levels"]):
        words = (_share(cell, level, error) for cell in cells)
        missing = None if place else Value(column["overall"]["missing"], error=error)
        beside = [None] * len(lead) if place else lead
        rows.append(Row(f"{name} {level}", (missing, *words, *beside)))
    return rows


def _share(cell: Json, level: str, error: float | None) -> str:
    """A count with its share of those whose level is known."""
    n, known = cell["levels"][level], cell["n"]
    if n is None:
        return ""
    noise = "" if error is None else f" ± {error:{DIGITS}}"
    return f"{n}{noise} ({n / known:.1%})" if known else f"{n}{noise}"


def _balance(table: Json) -> Intervals | None:
    """Standardised differences between two groups, a row a column."""
    rows = [
        Named(name, Value(column["smd"][0]["value"], column["smd"][0]["low"], column["smd"][0]["high"]))
        for name, column in table["columns"].items()
        if column.get("smd") and column["smd"][0]["value"] is not None
    ]
    if not rows:
        return None
    return Intervals(
        name="balance",
        section=SECTION,
        title=Key("table_one.smd"),
        x=Axis(Key("table_one.smd")),
        rows=tuple(rows),
        reference=0.0,
    )
