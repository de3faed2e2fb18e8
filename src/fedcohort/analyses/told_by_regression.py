"""Whether a regression would tell of single patients, by the first sum of all hospitals together."""

from collections.abc import Mapping

from fedcohort.disclosure.rules import Disclosure
from fedcohort.texts import Text, say


def told_by_size(n: float, n_parameters: int, rules: Disclosure) -> Text | None:
    """A model of nearly as many parameters as patients repeats the patients; sums of nobody tell nothing."""
    if not n:
        return None
    if n < rules.min_cell:
        return say(
            "fewer than min_cell = {least} patients at all hospitals together have all that the model "
            "needs; widen `where`, or leave out columns that are often missing",
            least=rules.min_cell,
        )
    if n_parameters > rules.max_parameters * n:
        return say(
            "a model of {p} parameters is more than max_parameters = {share:g} a patient; name fewer terms: "
            "it would come near to repeating the patients",
            p=n_parameters,
            share=rules.max_parameters,
        )
    if n - n_parameters < rules.min_dof:
        return say(
            "the patients of all hospitals leave a model of {p} parameters fewer than min_dof = {least} "
            "degrees of freedom; name fewer terms, or widen `where`",
            p=n_parameters,
            least=rules.min_dof,
        )
    return None


def told_by_levels(counts: Mapping[str, float], n: float, rules: Disclosure) -> Text | None:
    """A level that few have, or lack, or an outcome of few.

    Args:
        counts: of n patients, how many have each.
    """
    for name, count in counts.items():
        if any(0 < part < rules.min_cell for part in (count, n - count)):
            return say(
                "{column}: fewer than min_cell = {least} patients at all hospitals together have it, or are "
                "without it; join levels, leave the column out, or widen `where`",
                column=name,
                least=rules.min_cell,
            )
    return None
