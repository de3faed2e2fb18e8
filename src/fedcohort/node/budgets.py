"""Privacy budgets of a site, and the groups of tables that share one.

Tables of one `data` may hold the same patients: a view, a copy, a noisy copy. So all of them are one
group, unless the operator says by `tables` which groups share no patient. Budgets that name no tables,
as earlier versions wrote them by table, apply jointly to all tables that no group names: the smallest of
them, against all that was spent from any of these tables.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from fedcohort.columns import Frozen, Identifier
from fedcohort.node.records import Limit

Positive = Annotated[float, Field(strict=True, gt=0)]


class Budget(Frozen):
    """The privacy loss that all studies together may cost the patients of a group of tables.

    `tables` is the operator's statement that no patient of these tables is in a table of another group;
    left out, it is all tables that no other group names. No study costs less than `least_epsilon`. An
    infinite epsilon is no limit, and pays for studies without privacy.
    """

    epsilon: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=True)]
    delta: Annotated[float, Field(strict=True, gt=0, lt=1)] = 1e-3
    least_epsilon: Positive = 0.05
    tables: Annotated[tuple[Identifier, ...], Field(min_length=1)] | None = None


@dataclass(frozen=True)
class BudgetGroup:
    """Tables that share one budget.

    Attributes:
        tables: that site.toml offers.
        budget: None where the site has set none.
        elsewhere: tables whose patients are in no table of this group, by the operator's statement.
    """

    name: str
    tables: tuple[str, ...]
    budget: Budget | None
    elsewhere: frozenset[str] = frozenset()

    @property
    def limit(self) -> Limit:
        """The limit that the ledger enforces; infinite without a budget."""
        if self.budget is None:
            return Limit(self.name, math.inf, math.inf, self.elsewhere)
        return Limit(self.name, self.budget.epsilon, self.budget.delta, self.elsewhere)


def groups_of(tables: Collection[str], budgets: Mapping[str, Budget]) -> tuple[BudgetGroup, ...]:
    """Every group of a site's tables; each table is in one of them."""
    named = {name: budget for name, budget in budgets.items() if budget.tables is not None}
    named_tables = {table for budget in named.values() for table in budget.tables or ()}
    rest = tuple(sorted(set(tables) - named_tables))
    groups = [
        BudgetGroup(
            name,
            tuple(sorted(budget.tables or ())),
            budget,
            frozenset(named_tables - {*(budget.tables or ())}),
        )
        for name, budget in sorted(named.items())
    ]
    if rest:
        name, budget = _smallest({name: budget for name, budget in budgets.items() if name not in named})
        groups.append(BudgetGroup(name or ", ".join(rest), rest, budget, frozenset(named_tables)))
    return tuple(groups)


def _smallest(budgets: Mapping[str, Budget]) -> tuple[str, Budget | None]:
    """The strictest limits of several budgets of the same tables, under the name of the smallest."""
    if not budgets:
        return "", None
    name = min(budgets, key=lambda each: (budgets[each].epsilon, each))
    least = Budget(
        epsilon=budgets[name].epsilon,
        delta=min(budget.delta for budget in budgets.values()),
        least_epsilon=max(budget.least_epsilon for budget in budgets.values()),
    )
    return name, least


def fault_of(tables: Collection[str], budgets: Mapping[str, Budget]) -> str | None:
    """The fault of the budgets of site.toml, or None; a budget of a mistyped table would limit nothing."""
    named = [(name, table) for name, budget in budgets.items() for table in budget.tables or ()]
    for name, table in named:
        if table not in tables:
            return f"budget.{name}.tables: no table {table} in [tables]"
        others = [other for other, same in named if same == table]
        if len(others) > 1:
            return f"budget.{name}.tables: {table} is in {' and '.join(others)}; a table is in one group"
    missing = sorted(set(tables) - {table for _, table in named})
    if named and missing and all(budget.tables is not None for budget in budgets.values()):
        return (
            f"budget: {', '.join(missing)} of [tables] is in no group; name it in the tables of a group, or "
            "leave tables out of one, which then holds all others"
        )
    return None
