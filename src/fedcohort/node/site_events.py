"""Where a site keeps its events, by its site.toml, and what its catalogue tells of them."""

from collections.abc import Mapping, Sequence

from fedcohort.event_words import EVENTS
from fedcohort.node.policy import SitePolicy
from fedcohort.sources.catalogue.declared import Catalogue, catalogue
from fedcohort.sources.catalogue.sql_types import Facts
from fedcohort.sources.cohort.events.cohort import LocalCode, SiteEvents
from fedcohort.sources.cohort.events.tables import in_event_tables
from fedcohort.sources.omop.views import in_omop


def site_events(policy: SitePolicy) -> SiteEvents | None:
    """What a study of events is read from here; None where the site offers none."""
    if EVENTS not in policy.tables:
        return None
    find = in_omop if policy.layout == "omop" else in_event_tables(policy.events)
    return SiteEvents(find, _local(policy), policy.event_kinds)


def _local(policy: SitePolicy) -> Mapping[str, Sequence[LocalCode]]:
    """The hospital's own codes, by kind."""
    return {
        kind: [LocalCode(code, said.to, said.system, said.unit) for code, said in codes.items()]
        for kind, codes in policy.codes.items()
    }


def offered_catalogue(policy: SitePolicy, offered: Mapping[str, Sequence[str]] | None) -> Catalogue:
    """What a site tells of its data before any study: columns of its tables, and kinds of events.

    Args:
        offered: as of `catalogue`.
    """
    if EVENTS not in policy.tables:
        return catalogue(policy.data, offered)
    tables = offered
    if offered is not None:
        own = [name for name in offered.get(EVENTS, ()) if name not in policy.event_kinds]
        tables = {**offered, EVENTS: own}
    listed = catalogue(policy.data, tables, may_lack=[EVENTS])
    columns = listed["tables"].get(EVENTS, {"columns": {}})["columns"]  # of a table that is called so
    kinds: dict[str, Facts] = {kind: {"kind": EVENTS} for kind in policy.event_kinds}
    listed["tables"][EVENTS] = {"columns": {**columns, **kinds}}
    return listed
