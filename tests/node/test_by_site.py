"""Figures of one hospital by itself are told where site.toml says so, and the signed approval carries it."""

from dataclasses import replace

import fedcohort as fc
from fedcohort.disclosure.rules import Disclosure, read_rules, tells_by_site
from fedcohort.node.consent import LocalSite, approve
from fedcohort.study import Binary, Cohort, Numeric, Study
from tests.build import TABLE
from tests.node.test_differencing import asked, site

__all__ = ["site"]

SCORE = fc.Coefficients({"age": 0.05}, intercept=-3.0, missing={"age": 50})


def study(**words: object) -> Study:
    cohort = Cohort(table=TABLE, columns={"age": Numeric(0, 120)}, label=Binary("ill"))
    return Study(name=f"v {words}", cohort=cohort, analysis=fc.Validate(SCORE, **words))


def approved(site: LocalSite, one: Study, **words: object) -> str:
    """What the approval of a site with these words says of what may be shown."""
    policy = site.policy.model_copy(update={"analyses": ("validate",), **words})
    site = replace(site, policy=policy)
    assert not asked(site, one)
    return approve(site, one.hash).disclosure


def test_an_approval_says_it_where_the_study_asks_and_the_site_allows(site: LocalSite) -> None:
    by_hospital, together = study(by="site", sites=["a", "b"]), study()
    assert tells_by_site(approved(site, by_hospital, by_site=True))
    assert not tells_by_site(approved(site, by_hospital))
    assert approved(site, together, by_site=True) == ""
    strict = Disclosure(min_cell=20)
    text = approved(site, by_hospital, by_site=True, disclosure=strict)
    assert (tells_by_site(text), read_rules(text)) == (True, strict)
