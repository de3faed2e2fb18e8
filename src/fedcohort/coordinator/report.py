"""What a researcher reads of a finished study: one report, live or simulated."""

from collections.abc import Mapping, Sequence

from fedcohort.analyses.contract import Analysis, Report
from fedcohort.coordinator.noise import privacy_report
from fedcohort.explain import protection_words
from fedcohort.study import Study
from fedcohort.versions import versions
from fedcohort.wire.messages import SiteId


def study_report(
    study: Study,
    study_hash: str,
    analysis: Analysis,
    sites: Sequence[SiteId],
    figures: Report,
    refused: Mapping[SiteId, str] | None = None,
) -> dict[str, object]:
    """Whose sums they are, how they were protected, what they were computed with, and the figures.

    Args:
        study_hash: of the study, computed once.
        figures: what the analysis reports of the finished state.
        refused: the code of each site that does not take part; None in a simulation, where none refuses.
    """
    protection = {"kind": study.protection, "words": protection_words(study, len(sites))}
    return {
        "study": study_hash,
        "sites": list(sites),
        **({} if refused is None else {"refused": dict(refused)}),
        "protection": protection,
        "privacy": privacy_report(study, analysis, len(sites)),
        "versions": versions(),
        **figures,
    }
