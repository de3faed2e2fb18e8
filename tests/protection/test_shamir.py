"""Shamir's secret sharing: a known answer, any threshold of shares, and nothing from fewer."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.errors import WireError
from fedcohort.protection.shamir import PRIME, SECRET_BYTES, SHARE_BYTES, recover, share, weights


def test_a_line_through_two_points_gives_its_known_constant() -> None:
    # f(x) = 1234 + 166 x: f(1) = 1400, f(2) = 1566, f(5) = 2064.
    points = {1: 1400, 2: 1566, 5: 2064}
    for pair in itertools.combinations(points, 2):
        shares = {x - 1: points[x].to_bytes(SHARE_BYTES, "little") for x in pair}
        assert recover(shares) == (1234).to_bytes(SECRET_BYTES, "little")


def test_the_example_of_three_of_six_gives_its_secret() -> None:
    # The worked example of many textbooks: f(x) = 1234 + 166 x + 94 x^2.
    values = [1494, 1942, 2578, 3402, 4414, 5614]
    for chosen in itertools.combinations(range(6), 3):
        shares = {place: values[place].to_bytes(SHARE_BYTES, "little") for place in chosen}
        assert int.from_bytes(recover(shares), "little") == 1234


@settings(max_examples=40, deadline=None)
@given(data=st.data(), n_holders=st.integers(1, 9))
def test_any_threshold_of_holders_recovers_every_secret(data: st.DataObject, n_holders: int) -> None:
    threshold = data.draw(st.integers(1, n_holders))
    known = data.draw(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=3))
    held = share(known, threshold, n_holders)
    chosen = data.draw(st.permutations(range(n_holders)))[:threshold]
    for index, secret in enumerate(known):
        shares = {holder: held[holder][index * SHARE_BYTES :][:SHARE_BYTES] for holder in chosen}
        assert recover(shares) == secret
        assert recover(shares, weights(list(shares))) == secret


def test_one_share_less_fits_every_secret() -> None:
    """For any secret there is a share that the missing holder could have: the others tell nothing."""
    held = share([b"A" * 16], 3, 3)
    known = {0: held[0], 1: held[1]}
    lagrange = weights([0, 1, 2])
    partial = sum(w * int.from_bytes(s, "little") for w, s in zip(lagrange, known.values(), strict=False))
    for secret in (b"A" * 16, b"B" * 16, bytes(16)):
        wanted = (int.from_bytes(secret, "little") - partial) * pow(lagrange[2], -1, PRIME) % PRIME
        assert recover({**known, 2: wanted.to_bytes(SHARE_BYTES, "little")}) == secret


def test_shares_are_drawn_anew_each_time() -> None:
    assert share([bytes(16)], 2, 2) != share([bytes(16)], 2, 2)


@pytest.mark.parametrize(("threshold", "n_holders"), [(0, 2), (3, 2), (-1, 2)])
def test_a_threshold_that_cannot_be_met_is_refused(threshold: int, n_holders: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        share([bytes(16)], threshold, n_holders)


def test_a_secret_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        share([bytes(15)], 1, 1)


def test_shares_of_no_secret_are_refused() -> None:
    with pytest.raises(WireError, match="no secret"):
        recover({0: (PRIME - 1).to_bytes(SHARE_BYTES, "little")})
