"""How much noise is in a sum: public, and what the intervals of private metrics are made of."""

import math

from fedcohort.analyses.contract import Analysis, State
from fedcohort.explain import privacy_words
from fedcohort.privacy.plan import plan_noise
from fedcohort.study import Study


def privacy_report(study: Study, analysis: Analysis, n_sites: int) -> dict[str, object]:
    """What a report says of a study's privacy; nothing where it has none."""
    if study.privacy is None:
        return {"words": privacy_words(study, n_sites)}
    plan = plan_noise(study, analysis.planned, n_sites)
    spent, alone = plan.epsilon, plan.epsilon_alone
    if plan.steps:
        # Steps at a site follow from its own count: what they came to, up to the whole, its ledger knows.
        spent = alone = study.privacy.epsilon
    return {
        "epsilon": study.privacy.epsilon,
        "delta": study.privacy.delta,
        "epsilon_spent": spent,
        "epsilon_if_all_others_collude": alone,
        "noise": "shared" if study.shares_noise else "site",
        "unit": "patient",
        "rows_per_patient": study.privacy.rows_per_patient,
        "sites_per_patient": study.privacy.sites_per_patient,
        "words": privacy_words(study, n_sites),
    }


def noise_in_sum(
    study: Study, analysis: Analysis, state: State, n_sites: int, n_survivors: int
) -> dict[str, float]:
    """By block, the noise's standard deviation in one coordinate of the sum, in the block's own units."""
    if study.privacy is None:
        return {}
    plan = plan_noise(study, analysis.planned, n_sites)
    step, n = analysis.schedule_step(state.round), math.sqrt(n_survivors)
    return {
        block.name: plan.site_sigma(block.name, step) * n * block.resolution
        for block in analysis.layout(state)
        if block.name not in plan.steps
    }
