"""Whether a cohort says what its columns and label hold, as reading rows needs it."""

from collections.abc import Mapping

from fedcohort.errors import StudyError
from fedcohort.study import Cohort

_OR_A_SITE = "or take what a site declares (by --site site.toml, or by running the study over sites)"


def check_explicit(cohort: Cohort) -> None:
    """Refuse a cohort whose columns or label have no kind yet.

    Raises:
        StudyError: names each of them, and what to write.
    """
    if cohort.is_explicit:
        return
    needs = []
    if not isinstance(cohort.columns, Mapping):
        needs.append(
            f"columns {', '.join(cohort.columns)}: write [cohort.columns] with a kind each, such as "
            'age = {low = 18, high = 90} or sex = {levels = ["f", "m"]}'
        )
    if isinstance(cohort.label, str):
        needs.append(f'label {cohort.label}: write such as label = {{column = "{cohort.label}"}}')
    raise StudyError(f"cohort: nobody has said what these hold; {'; '.join(needs)}; {_OR_A_SITE}")
