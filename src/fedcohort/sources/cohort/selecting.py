"""Rows of a chunk that a cohort's `where` selects, whatever they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from sqlglot import exp

from fedcohort.sources.cohort.values import Coded, Raw, Values
from fedcohort.sources.cohort.where.operands import Bools, Reading, operand_of
from fedcohort.sources.cohort.where.rows import rows_where


@dataclass(frozen=True)
class Selection:
    """A checked `where`, and how the columns that it asks about are read.

    Attributes:
        tree: None selects every row.
        readings: of columns whose declared type says more than their values.
    """

    tree: exp.Expr | None
    readings: Mapping[str, Reading] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The columns that it asks about."""
        return (
            []
            if self.tree is None
            else [*dict.fromkeys(column.name for column in self.tree.find_all(exp.Column))]
        )


def selected(values: Mapping[str, Values], selection: Selection, n: int) -> Bools | None:
    """Which of n rows are selected; None is all.

    Args:
        values: at least the selection's columns.
    """
    if selection.tree is None:
        return None
    operands = {name: operand_of(values[name], selection.readings.get(name)) for name in selection.columns}
    return rows_where(selection.tree, operands, n)


def only(raw: Raw, rows: Bools) -> Raw:
    """The chunk's rows that are chosen, every column in its own form."""
    return Raw(raw.table, {name: _only(column, rows) for name, column in raw.values.items()})


def _only(column: Values, rows: Bools) -> Values:
    if isinstance(column, Coded):
        return Coded(column.codes[rows], column.values)
    if isinstance(column, np.ndarray):
        return column[rows]
    return [value for value, chosen in zip(column, rows.tolist(), strict=True) if chosen]


def count(column: Values) -> int:
    """How many rows a column has."""
    return len(column.codes if isinstance(column, Coded) else column)
