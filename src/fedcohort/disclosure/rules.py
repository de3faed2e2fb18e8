"""The rules of disclosure control, as a hospital's `site.toml` and a study say them; the strictest count.

They follow what disclosure officers check by hand: thresholds of cells and degrees of freedom, dominance and
the p % rule (Hundepool et al., Statistical Disclosure Control, 2012, chapters 4 and 5; docs/disclosure.md
names the rule of SACRO, OpenSAFELY and DataSHIELD that each stands for).
"""

import json
from collections.abc import Iterable
from functools import reduce
from math import lcm
from typing import Annotated

from pydantic import Field

from fedcohort.columns import Frozen, validated
from fedcohort.errors import WireError

Whole = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Share = Annotated[float, Field(strict=True, gt=0, le=1)]


class Disclosure(Frozen):
    """What may leave of exact sums over all hospitals; under [privacy] noise protects, and no rule applies.

    No count from 1 to below `min_cell` leaves, neither by subtraction; nor a figure with fewer than
    `min_dof` degrees of freedom, nor a total of which the two largest values may be more than
    `max_share`, or of which the rest is less than `p_percent` of the largest. A regression has at most
    `max_parameters` parameters a patient. Counts that leave are rounded to multiples of `rounding`.
    """

    min_cell: Whole = 10
    min_dof: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 10
    max_share: Share = 0.85
    p_percent: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.10
    max_parameters: Share = 0.10
    rounding: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 1


OPEN = Disclosure(min_cell=1, min_dof=0, max_share=1.0, p_percent=0.0, max_parameters=1.0)
"""Rules that hide nothing."""


def strictest(rules: Iterable[Disclosure]) -> Disclosure:
    """Rules by which all of these are kept; of none, the default."""
    given = list(rules)
    return reduce(_stricter, given) if given else Disclosure()


def _stricter(one: Disclosure, other: Disclosure) -> Disclosure:
    return Disclosure.model_construct(
        min_cell=max(one.min_cell, other.min_cell),
        min_dof=max(one.min_dof, other.min_dof),
        max_share=min(one.max_share, other.max_share),
        p_percent=max(one.p_percent, other.p_percent),
        max_parameters=min(one.max_parameters, other.max_parameters),
        rounding=lcm(one.rounding, other.rounding),
    )


BY_SITE = "by_site"
"""The word, beside the rules of an approval, by which a site lets figures of itself be told."""


def rules_text(rules: Disclosure, *, by_site: bool = False) -> str:
    """As an approval carries them; the default is said by nothing, as by sites of earlier versions.

    Args:
        by_site: whether the study may tell figures of this site by itself.
    """
    changed = rules.model_dump(mode="json", exclude_defaults=True)
    changed |= {BY_SITE: True} if by_site else {}
    return json.dumps(changed, sort_keys=True, separators=(",", ":")) if changed else ""


def read_rules(text: str) -> Disclosure:
    """What `rules_text` wrote.

    Raises:
        WireError: it is none.
    """
    said = _said(text)
    if isinstance(said, dict) and said.get(BY_SITE) is True:
        del said[BY_SITE]
    return validated(Disclosure, said, "an approval's rules of disclosure", WireError)


def tells_by_site(text: str) -> bool:
    """Whether an approval lets figures of its site be told by themselves.

    Raises:
        WireError: it is none that `rules_text` wrote.
    """
    said = _said(text)
    return isinstance(said, dict) and said.get(BY_SITE) is True


def _said(text: str) -> object:
    try:
        return json.loads(text) if text else {}
    except (ValueError, RecursionError):
        raise WireError("an approval whose rules of disclosure are not JSON") from None
