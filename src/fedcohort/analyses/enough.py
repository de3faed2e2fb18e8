"""Whether a private study has enough patients to teach or describe anything, by its own noisy count."""

from fedcohort.analyses.intervals import NORMAL
from fedcohort.errors import CohortTooSmallError

LEAST_PATIENTS = 10
"""By noisy count, fewer than these at all hospitals together teach and describe nothing."""


def check_enough(n_patients: float, sigma: float) -> None:
    """End a study in words on the noisy count that it has released, where that is surely too small.

    Args:
        sigma: of the noise of the count; 95 % of it leave the count too small, or the study goes on. A count
            without noise is the sites' to judge, by their `min_patients`.
    Raises:
        CohortTooSmallError: says the count and how far it may be off.
    """
    error = NORMAL * sigma
    if not sigma or n_patients + error >= LEAST_PATIENTS:
        return
    n = max(0, round(n_patients))
    raise CohortTooSmallError(
        "by its noisy count the cohort has {n} patients at all hospitals together (95 % of the noise is "
        "below {error:.0f}), and {least} are the least; widen `where`, or ask more hospitals; what was "
        "released is paid for",
        n=n,
        error=error,
        least=LEAST_PATIENTS,
    )
