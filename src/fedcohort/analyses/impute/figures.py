"""What a regression of imputed data shows: its coefficients, a forest plot, and what was missing."""

from collections.abc import Mapping
from typing import Any

from fedcohort.analyses.coefficient_table import coefficient_table, forest_plot
from fedcohort.analyses.glm.figures import RATIOS
from fedcohort.figures import Column, Figure, Key, Row, Table, Value

SECTION = "impute"

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """Coefficients first."""
    found = report["impute"]
    name = {**RATIOS, "cox": "hazard_ratio"}.get(found["family"])
    ratio = None if name is None else Key(f"coefficients.{name}")
    table = coefficient_table(found["coefficients"], SECTION, ratio, _notes(report, found))
    forest = forest_plot(found["coefficients"], SECTION, ratio)
    made = (table, forest, _missing(found))
    return tuple(figure for figure in made if figure is not None)


def _notes(report: Json, found: Json) -> list[Key]:
    return [
        Key("impute.model", {"formula": found["formula"].removeprefix("~ "), "family": _family(found)}),
        Key("impute.chains", {"imputations": found["imputations"], "cycles": found["cycles"]}),
        Key("impute.rows", {"n": found["n"]}),
        *([Key("impute.events", {"events": found["events"]})] if "events" in found else []),
        Key("impute.left_out", {"missing": report["missing"]}),
    ]


def _family(found: Json) -> Key:
    return Key("impute.cox") if found["family"] == "cox" else Key(f"glm.{found['family']}")


def _missing(found: Json) -> Table:
    """Of each column that was filled in."""
    return Table(
        name="missing",
        section=SECTION,
        title=Key("impute.missing"),
        index=Column("column", Key("impute.column")),
        columns=(
            Column("n", Key("impute.known"), "count"),
            Column("missing", Key("impute.filled_in"), "count"),
        ),
        rows=tuple(
            Row(name, (Value(counts["n"]), Value(counts["missing"])))
            for name, counts in found["columns"].items()
        ),
    )
