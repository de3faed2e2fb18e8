"""Help opens with enough help for the same survivors; sites that were told different ones open nothing."""

import pytest

from fedcohort.errors import RoundError, TooFewSitesError
from fedcohort.protection import agreement, masks
from fedcohort.protection.context import SiteId
from fedcohort.protection.neighbours import Graph

from .test_masks import Federation, context

Helps = dict[SiteId, bytes]


def agreed(federation: Federation, helpers: tuple[SiteId, ...], survivors: tuple[SiteId, ...]) -> Helps:
    return {site: federation.locked_help(site, survivors) for site in helpers}


@pytest.mark.parametrize(("n", "lost"), [(2, 0), (4, 1), (10, 4), (21, 9), (40, 3)])
def test_those_who_agree_open_the_sum_down_to_the_threshold(n: int, lost: int) -> None:
    federation = Federation(context(n))
    survivors = federation.context.roster[lost:]
    locked = agreed(federation, survivors, survivors)
    opened = agreement.unlock(federation.context, locked)
    assert set(opened) == set(survivors)
    assert federation.open(survivors, opened).to_bytes() == federation.expected(survivors)


def test_below_the_threshold_no_help_is_unlocked() -> None:
    federation = Federation(context(10))
    roster, threshold = federation.context.roster, Graph(federation.context).threshold
    assert agreement.unlock(federation.context, agreed(federation, roster[: threshold - 1], roster)) == {}
    assert (
        len(agreement.unlock(federation.context, agreed(federation, roster[:threshold], roster))) == threshold
    )


def test_helpers_that_were_told_different_survivors_unlock_nothing() -> None:
    """Ten sites, each told that another one is lost: every set is large enough, and no two agree."""
    federation = Federation(context(10))
    roster = federation.context.roster
    locked = {}
    for index, site in enumerate(roster):
        lost = roster[(index + 1) % len(roster)]
        locked[site] = federation.locked_help(site, tuple(other for other in roster if other != lost))
    assert agreement.unlock(federation.context, locked) == {}


def test_of_two_camps_the_larger_opens_its_sum_and_the_smaller_nothing() -> None:
    federation = Federation(context(10))
    roster = federation.context.roster
    camp, rest = roster[:6], roster[6:]
    locked = {site: federation.locked_help(site, roster[:9]) for site in camp}
    locked |= {site: federation.locked_help(site, roster) for site in rest}
    opened = agreement.unlock(federation.context, locked)
    assert set(opened) == set(camp)
    survivors = roster[:9]
    assert federation.open(survivors, opened).to_bytes() == federation.expected(survivors)


@pytest.mark.parametrize("n", [10, 30, 100])
def test_no_single_vector_is_opened_by_lies_about_its_neighbours(n: int) -> None:
    """Each holder of a site's shares is told that other neighbours of it are lost."""
    federation = Federation(context(n))
    round_, graph = federation.context, Graph(federation.context)
    target = round_.roster[7]
    holders, neighbours = graph.holders(target), graph.neighbours(target)
    locked: Helps = {}
    for place, helper in enumerate(holders):
        others = [site for site in neighbours if site != helper]
        turned = (others + others)[(7 * place) % len(others) :]
        lost = set(turned[: min(n - round_.quorum, len(holders) - graph.threshold)])
        survivors = tuple(site for site in round_.roster if site not in lost)
        try:
            locked[helper] = federation.locked_help(helper, survivors)
        except TooFewSitesError:
            continue
    assert agreement.unlock(round_, locked) == {}


def test_a_false_confirmation_is_passed_over_when_enough_true_ones_are_left() -> None:
    federation = Federation(context(10))
    roster = federation.context.roster
    locked = agreed(federation, roster, roster)
    locked[roster[0]] = bytes(byte ^ 1 for byte in locked[roster[0]])
    opened = agreement.unlock(federation.context, locked)
    assert set(opened) == set(roster[1:])
    assert federation.open(roster, opened).to_bytes() == federation.expected(roster)


def test_too_many_false_confirmations_open_nothing_and_crash_nothing() -> None:
    federation = Federation(context(4))
    roster = federation.context.roster
    locked = {site: bytes(len(body)) for site, body in agreed(federation, roster, roster).items()}
    assert agreement.unlock(federation.context, locked) == {}
    with pytest.raises(RoundError, match="too few or false"):
        federation.open(roster, {})


def test_a_survivor_whose_holders_are_lost_is_not_helped_with() -> None:
    federation = Federation(context(60))
    graph = Graph(federation.context)
    target = graph.circle[0]
    lost = set(graph.circle[1:5]) | set(graph.circle[-5:])
    survivors = tuple(site for site in federation.context.roster if site not in lost)
    helper = next(site for site in graph.holders(target) if site in survivors and site != target)
    with pytest.raises(TooFewSitesError, match="too few of whose holders"):
        federation.help(helper, survivors)


def test_locked_help_is_as_long_as_is_checked() -> None:
    federation = Federation(context(5))
    roster = federation.context.roster
    body = federation.locked_help(roster[0], roster)
    masks.check_help(federation.context, frozenset(roster), roster[0], body)
