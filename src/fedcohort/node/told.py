"""What a site tells of its site.toml beside its catalogue, so that nobody asks for what it refuses.

It is the site's rules and nothing of its data. Whoever drafts a study can hold it against them before it
is handed in; what counts is what the node says when it is asked.
"""

import math
from collections.abc import Mapping
from typing import Any

from fedcohort.columns import validated
from fedcohort.errors import ConfigError
from fedcohort.node.policy import SitePolicy, rules
from fedcohort.study import Study

TOLD = frozenset({
    "analyses", "protections", "models", "private_models", "min_sites", "min_colluders", "max_rounds",
    "privacy_required", "sites_per_patient", "max_delta", "patients",
})  # fmt: skip


def told_rules(policy: SitePolicy) -> dict[str, object]:
    """A site's rules for its catalogue: words of site.toml, and the whole budget of each table with one."""
    budgets = {
        table: {"epsilon": budget.epsilon, "delta": budget.delta, "least_epsilon": budget.least_epsilon}
        for group in policy.groups
        if (budget := group.budget) is not None and math.isfinite(budget.epsilon)
        for table in group.tables
    }
    return {**policy.model_dump(mode="json", include=set(TOLD)), "budgets": budgets}


def objections(study: Study, catalogues: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Which of the sites that offer the study's table would refuse it, and by which word of site.toml."""
    found: dict[str, str] = {}
    for site in offering(study.cohort.table, catalogues):
        policy = _policy_of(site, study.cohort.table, catalogues[site].get("rules"))
        told = [] if policy is None else [objection for _, objection in rules(policy, study) if objection]
        if told:
            found[site] = str(told[0])
    return found


def offering(table: str, catalogues: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The sites that offer a table."""
    return sorted(site for site, offer in catalogues.items() if table in offer.get("tables", {}))


def _policy_of(site: str, table: str, told: object) -> SitePolicy | None:
    """The told rules as a policy for one table; None where a site of another version tells none that fit."""
    if not isinstance(told, dict):
        return None
    budgets, patients = told.get("budgets"), told.get("patients")
    budget = budgets.get(table) if isinstance(budgets, dict) else None
    given = {name: told[name] for name in TOLD - {"patients"} if name in told}
    given |= {"id": site, "data": "-", "coordinator": "-", "tables": {table: "*"}}
    if budget is not None:
        given["budget"] = {table: budget}
    if isinstance(patients, dict) and table in patients:
        given["patients"] = {table: patients[table]}
    try:
        return validated(SitePolicy, given, site)
    except ConfigError:
        return None
