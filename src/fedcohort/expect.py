"""The expected accuracy of a private study, before anybody approves it: the intervals that its noise leaves.

Computed from the study, for declared numbers of hospitals and patients: noise is solved as for the study
itself, and intervals by the code of its report, over made-up patients. No data are read.
"""

import math
from collections.abc import Sequence
from importlib import import_module

from fedcohort.analyses.build import build_analysis
from fedcohort.errors import StudyError
from fedcohort.privacy.plan import NoisePlan, plan_noise
from fedcohort.study import Study, missing_bounds
from fedcohort.texts import Text, say
from fedcohort.vector import Block

PATIENTS = (300, 3_000, 30_000)
"""Patients at all hospitals together, where nobody says how many there are."""
SITES = 3


def expected(study: Study, sites: int = SITES, patients: Sequence[int] = PATIENTS) -> list[Text]:
    """Sentences for a researcher and an approver; none for a study without [privacy].

    Args:
        patients: numbers of patients at all hospitals together, a sentence each.
    """
    if study.privacy is None or not patients:
        return []
    if missing := missing_bounds(study.cohort):
        return [say("Nothing can be released yet: {why}.", why=missing)]
    try:
        return _sentences(study, max(sites, study.min_sites), patients)
    except StudyError as error:
        return [say("With this epsilon nothing can be released: {why}.", why=error)]


def _sentences(study: Study, sites: int, patients: Sequence[int]) -> list[Text]:
    analysis = build_analysis(study)
    words = import_module(f"fedcohort.analyses.{study.analysis.kind}.explain")
    released = analysis.foreseen
    plan = plan_noise(study, released, sites) if released else None
    sigma = {} if plan is None else {block.name: _sigma(plan, block, sites) for block in released}
    sentences = [words.expected(study, analysis, n, sigma) for n in patients]
    return list(dict.fromkeys(sentences))


def _sigma(plan: NoisePlan, block: Block, sites: int) -> float:
    """Of the sum over all sites, in the block's own units; 0 where the noise is in the steps before it."""
    if block.name in plan.steps:
        return 0.0
    return plan.site_sigma(block.name, 0) * math.sqrt(sites) * block.fixed_point(private=True).resolution
