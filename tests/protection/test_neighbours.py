"""The graph of masks: complete in small studies, regular and connected in large ones."""

import random

import pytest

from fedcohort.protection.context import RoundContext, majority
from fedcohort.protection.fixed_point import Segment, Shape
from fedcohort.protection.neighbours import MAX_NEIGHBOURS, Graph


def context(n: int, attempt: int = 0, colluders: int = 1, min_sites: int = 2) -> RoundContext:
    roster = tuple(f"s{index:03}" for index in range(n))
    shape = Shape((Segment(5, 32, 1000),), n)
    return RoundContext("ab" * 32, 3, attempt, bytes(32), roster, min_sites, colluders, shape)


@pytest.mark.parametrize(
    ("n", "colluders", "expected"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 3), (5, 1, 4), (10, 1, 6), (3, 0, 2), (10, 3, 7), (4, 9, 4)],
)
def test_a_majority_is_above_half_of_sites_and_colluders(n: int, colluders: int, expected: int) -> None:
    assert majority(n, colluders) == expected
    assert Graph(context(n, colluders=colluders)).threshold == expected


@pytest.mark.parametrize("n", [2, 20, 21])
def test_in_a_small_study_all_are_neighbours(n: int) -> None:
    graph = Graph(context(n))
    assert all(len(graph.neighbours(site)) == n - 1 for site in graph.context.roster)


@pytest.mark.parametrize("n", [22, 23, 60])
def test_in_a_large_study_each_has_twenty_neighbours_and_is_theirs(n: int) -> None:
    graph = Graph(context(n))
    for site in graph.context.roster:
        assert len(set(graph.neighbours(site))) == MAX_NEIGHBOURS
        assert site not in graph.neighbours(site)
        assert all(site in graph.neighbours(other) for other in graph.neighbours(site))


def test_each_attempt_draws_another_ring_and_each_site_draws_the_same() -> None:
    assert Graph(context(40)).circle == Graph(context(40)).circle
    assert Graph(context(40)).circle != Graph(context(40, attempt=1)).circle


@pytest.mark.parametrize("seed", range(20))
def test_survivors_that_can_be_opened_hang_together_without_the_colluders(seed: int) -> None:
    """However survivors and colluders are chosen, honest survivors that can be opened are one piece."""
    draw = random.Random(seed)
    graph = Graph(context(60, attempt=seed))
    place = {site: index for index, site in enumerate(graph.circle)}
    # Lose a stretch of the ring and some more, as somebody would who wants to cut it in two.
    lost = {site for site in graph.circle if place[site] % 30 < draw.randrange(9)}
    lost |= set(draw.sample(graph.circle, draw.randrange(6)))
    survivors = {site for site in graph.circle if site not in lost}
    if not graph.can_open(survivors, survivors):
        return
    honest = survivors - {draw.choice(sorted(survivors))}
    reached, border = set(), {min(honest)}
    while border:
        reached |= border
        border = {near for site in border for near in graph.neighbours(site) if near in honest} - reached
    assert reached == honest


def test_a_stretch_of_the_ring_that_is_lost_makes_its_border_unopenable() -> None:
    graph = Graph(context(60))
    for width, possible in ((8, True), (9, False)):
        survivors = set(graph.circle[width:])
        assert graph.can_open(survivors, survivors) == possible
