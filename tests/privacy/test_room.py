"""Noise beside data: what has no room for it or cannot be paid is refused, and elsewhere it never wraps."""

import math
from dataclasses import replace

import pytest

import fedcohort as fc
from fedcohort.errors import StudyError
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.plan import ROOM, plan_noise
from fedcohort.study import Study
from fedcohort.vector import Block

STEP = 2.0**-16
"""Of a block in which a patient counts with 1."""
MOST_VALUES = 10**9 * 10**4 * 10**4
"""Of one study: integers of a vector, sites, rounds."""


def study(epsilon: float) -> Study:
    cohort = fc.Cohort(columns={"age": fc.Numeric(18, 90)})
    privacy = fc.Privacy(epsilon=epsilon, delta=1e-5)
    return fc.Study(name="room", cohort=cohort, analysis=fc.Describe(), privacy=privacy, min_sites=3)


def counts_up_to(bound: float) -> dict[Block, int]:
    return {Block("n", (2,), 1.0, once=True, bound=bound): 1}


def test_a_block_has_room_for_forty_deviations_of_each_sites_noise_or_the_study_is_refused() -> None:
    sigma = plan_noise(study(1.0), counts_up_to(1e6), 5).site_sigma("n", 0)
    enough = ROOM * sigma * STEP
    assert plan_noise(study(1.0), counts_up_to(enough), 5).site_sigma("n", 0) == sigma
    with pytest.raises(StudyError, match=r"block n: noise of .* has no room"):
        plan_noise(study(1.0), counts_up_to(0.999 * enough), 5)


def test_noise_of_a_whole_study_wraps_with_a_probability_below_2_to_minus_40() -> None:
    """A discrete Gaussian's tail is no heavier than 2 exp(-t^2 / 2) (Canonne, Kamath, Steinke 2020)."""
    log2_of_one = 1 - ROOM**2 / 2 / math.log(2)
    assert log2_of_one + math.log2(MOST_VALUES) < -1000 < -40


def test_a_sum_over_all_patients_beside_sums_over_some_is_refused() -> None:
    everybody, some = Block("n", (2,), 1.0), Block("m", (2,), 1.0, part="train")
    assert epsilon(plan_noise(study(1.0), {some: 1, replace(some, name="n"): 1}, 5).releases, 1e-5) <= 1.0
    with pytest.raises(ValueError, match=r"all patients beside sums over some \(train\)"):
        plan_noise(study(1.0), {everybody: 1, some: 1}, 5)


def test_blocks_of_one_name_are_of_one_declaration() -> None:
    block = Block("n", (2,), 1.0)
    with pytest.raises(ValueError, match="two blocks of one name"):
        plan_noise(study(1.0), {block: 1, replace(block, share=4.0): 1}, 5)
