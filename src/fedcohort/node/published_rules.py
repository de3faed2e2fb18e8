"""The rules of site.toml that a site publishes with its catalogue, so that nobody asks for what it refuses.

They hold nothing of its data. Whoever drafts a study can check it against them before it is handed in;
what counts is the node's answer to the proposal.
"""

import math
from collections.abc import Mapping
from typing import Any

from fedcohort.columns import validated
from fedcohort.errors import ConfigError
from fedcohort.node.policy import SitePolicy, rules
from fedcohort.study import Study
from fedcohort.texts import Text

PUBLISHED = frozenset({
    "analyses", "protections", "models", "private_models", "min_sites", "min_colluders", "max_rounds",
    "privacy_required", "sites_per_patient", "max_delta", "patients", "release",
    "opened_at",
})  # fmt: skip


def published_rules(policy: SitePolicy) -> dict[str, object]:
    """A site's rules for its catalogue: words of site.toml, and the whole budget of each table with one."""
    budgets = {
        table: {"epsilon": budget.epsilon, "delta": budget.delta, "least_epsilon": budget.least_epsilon}
        for group in policy.groups
        if (budget := group.budget) is not None and math.isfinite(budget.epsilon)
        for table in group.tables
    }
    return {**policy.model_dump(mode="json", include=set(PUBLISHED)), "budgets": budgets}


def objections(study: Study, catalogues: Mapping[str, Mapping[str, Any]]) -> dict[str, Text]:
    """The objections of sites that offer the study's table, by site, from their published rules."""
    by_site: dict[str, Text] = {}
    for site in sites_offering(study.cohort.table, catalogues):
        policy = _policy_of(site, study.cohort.table, catalogues[site].get("rules"))
        refusals = [] if policy is None else [objection for _, objection in rules(policy, study) if objection]
        if refusals:
            by_site[site] = refusals[0].text
    return by_site


def sites_offering(table: str, catalogues: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The sites that offer a table."""
    return sorted(site for site, offer in catalogues.items() if table in offer.get("tables", {}))


def _policy_of(site: str, table: str, published: object) -> SitePolicy | None:
    """The published rules as a policy for one table; None where those of another version do not fit."""
    if not isinstance(published, dict):
        return None
    budgets, patients = published.get("budgets"), published.get("patients")
    budget = budgets.get(table) if isinstance(budgets, dict) else None
    given = {name: published[name] for name in PUBLISHED - {"patients"} if name in published}
    given |= {"id": site, "data": "-", "coordinator": "-", "tables": {table: "*"}}
    if budget is not None:
        given["budget"] = {table: budget}
    if isinstance(patients, dict) and table in patients:
        given["patients"] = {table: patients[table]}
    try:
        return validated(SitePolicy, given, site)
    except ConfigError:
        return None
