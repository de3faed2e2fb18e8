"""Masks: the sum is exact whoever drops out, and nothing less than a sum is ever seen."""

import hashlib
import hmac
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.errors import RoundError, TooFewSitesError, WireError
from fedcohort.protection import agreement, masks
from fedcohort.protection.context import PairSecret, RoundContext, Sealed, SiteId
from fedcohort.protection.fixed_point import Ring, Segment, Shape, add_ring, zero_ring
from fedcohort.protection.neighbours import Graph
from fedcohort.protection.shamir import SHARE_BYTES

SEED = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")


def context(n: int, wide: int = 3, narrow: int = 5, **changes: object) -> RoundContext:
    roster = tuple(f"s{index:03}" for index in range(n))
    shape = Shape((Segment(wide, 64, 2**40), Segment(narrow, 32, 2**20)), n)
    made = RoundContext("ab" * 32, 3, 0, bytes(32), roster, 2, 1, shape)
    return replace(made, **changes)  # type: ignore[arg-type]


def secret_of(site: SiteId) -> PairSecret:
    """Stands for Diffie-Hellman: the same 32 bytes on both sides."""
    return lambda other: hashlib.sha256("|".join(sorted((site, other))).encode()).digest()


def ring_of(shape: Shape, index: int) -> Ring:
    draw = np.random.default_rng([1, index])
    n_wide, n_narrow = shape.sizes
    wide = draw.integers(-(2**40), 2**40, n_wide).astype(np.int64).view(np.uint64)
    return Ring(wide, draw.integers(-(2**20), 2**20, n_narrow).astype(np.int32).view(np.uint32))


class Federation:
    """Sites that seal, a coordinator that adds, and who helps."""

    def __init__(self, round_: RoundContext) -> None:
        self.context = round_
        self.rings = {site: ring_of(round_.shape, index) for index, site in enumerate(round_.roster)}
        self.sealed: dict[SiteId, Sealed] = {
            site: masks.mask(round_, site, secret_of(site), ring) for site, ring in self.rings.items()
        }

    def parcels(self, site: SiteId, survivors: tuple[SiteId, ...]) -> dict[SiteId, bytes]:
        holders = Graph(self.context).holders(site)
        return {sender: self.sealed[sender].extras[site] for sender in holders if sender in survivors}

    def help(self, site: SiteId, survivors: tuple[SiteId, ...]) -> bytes:
        parcels = self.parcels(site, survivors)
        return masks.opening_shares(self.context, site, secret_of(site), survivors, parcels)

    def locked_help(self, site: SiteId, survivors: tuple[SiteId, ...]) -> bytes:
        body = self.help(site, survivors)
        return agreement.lock(self.context, site, secret_of(site), survivors, body)

    def total(self, survivors: tuple[SiteId, ...]) -> tuple[Ring, dict[SiteId, bytes]]:
        total, commitments = zero_ring(self.context.shape.sizes), {}
        for site in survivors:
            commitments[site], part = masks.body_parts(self.context, site, self.sealed[site].body)
            add_ring(total, part)
        return total, commitments

    def open(self, survivors: tuple[SiteId, ...], helps: dict[SiteId, bytes]) -> Ring:
        total, commitments = self.total(survivors)
        return masks.open_sum(
            masks.UnmaskingShares(self.context, frozenset(survivors), commitments, helps), total
        )

    def expected(self, survivors: tuple[SiteId, ...]) -> bytes:
        total = zero_ring(self.context.shape.sizes)
        for site in survivors:
            add_ring(total, self.rings[site])
        return total.to_bytes()


def test_a_mask_is_aes_in_counter_mode_of_its_seed() -> None:
    """Counter blocks as in GCM from nonce 0, whose first, 1, belongs to the tag: encrypted one by one."""
    blocks = (number.to_bytes(16) for number in (2, 3))
    one_by_one = Cipher(algorithms.AES(SEED), modes.ECB()).encryptor()
    expected = b"".join(map(one_by_one.update, blocks))
    ring = Ring(np.zeros(2, np.uint64), np.zeros(4, np.uint32))
    masked = masks.add_masks(ring, [(SEED, True)])
    assert masked.to_bytes() == expected
    assert masks.add_masks(masked, [(SEED, False)]).to_bytes() == bytes(32)


def test_a_mask_of_gcm_specification_test_case_2() -> None:
    """Key and nonce 0: the stream after McGrew and Viega's first block of zeros is its ciphertext."""
    ring = Ring(np.zeros(0, np.uint64), np.zeros(4, np.uint32))
    assert masks.add_masks(ring, [(bytes(16), True)]).to_bytes().hex() == "0388dace60b6a392f328c2b971b2fe78"


def test_a_mask_does_not_depend_on_the_size_of_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for block in (2**16, 64):
        monkeypatch.setattr(masks, "BLOCK_BYTES", block)
        ring = Ring(np.zeros(1001, np.uint64), np.zeros(999, np.uint32))
        found.append(masks.add_masks(ring, [(SEED, True), (bytes(16), False)]).to_bytes())
    assert found[0] == found[1]


def test_hkdf_is_that_of_rfc_5869() -> None:
    """Test case 1 of the RFC's appendix A: the derivation that seeds and parcels rest on."""
    derive = HKDF(hashes.SHA256(), 42, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert derive.derive(b"\x0b" * 22).hex() == expected


def test_a_pairs_seed_is_rfc_5869_by_hand_over_all_that_the_protocol_names() -> None:
    """Extract with the study's hash as salt, and one block of expand (docs/protocol.md)."""
    round_ = context(2, state_digest=b"\x07" * 32)
    secret, study_hash = b"\x0b" * 32, b"ab" * 32
    head = f"fedcohort-round-1|{study_hash.decode()}|3|0|{'07' * 32}\ns000\ns001"
    binding = hashlib.sha256(head.encode()).digest()
    key = hmac.digest(study_hash, secret, "sha256")
    info = b"fedcohort-masks-1|mask|" + binding + b"|s000|s001"
    expected = hmac.digest(key, info + b"\x01", "sha256")[:16]
    assert masks.pair_seed(round_, secret, "s001", "s000") == expected


def test_a_pair_derives_one_seed_and_another_for_whatever_differs() -> None:
    base = context(3)
    secret = bytes(32)
    seeds = {masks.pair_seed(base, secret, "s000", "s001"), masks.pair_seed(base, secret, "s001", "s000")}
    assert len(seeds) == 1
    others: list[RoundContext] = [
        replace(base, round=4),
        replace(base, attempt=1),
        replace(base, state_digest=b"\x01" * 32),
        replace(base, study_hash="cd" * 32),
        replace(base, roster=("s000", "s001", "s00x")),
    ]
    seeds |= {masks.pair_seed(other, secret, "s000", "s001") for other in others}
    seeds |= {
        masks.pair_seed(base, secret, "s000", "s002"),
        masks.pair_seed(base, b"\x01" * 32, "s000", "s001"),
    }
    assert len(seeds) == 1 + len(others) + 2


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(1, 7), wide=st.integers(0, 4), narrow=st.integers(0, 4))
def test_the_sum_is_exact_whoever_is_lost_and_whenever(
    data: st.DataObject, n: int, wide: int, narrow: int
) -> None:
    """Some sites never contribute, others contribute and never help: the sum of the survivors is exact."""
    federation = Federation(context(n, wide, narrow, min_sites=1))
    threshold = Graph(federation.context).threshold
    order = data.draw(st.permutations(federation.context.roster))
    survivors = tuple(order[: data.draw(st.integers(threshold, n))])
    helpers = survivors[: data.draw(st.integers(threshold, len(survivors)))]
    locked = {site: federation.locked_help(site, survivors) for site in helpers}
    for site, body in locked.items():
        masks.check_help(federation.context, frozenset(survivors), site, body)
    assert federation.open(
        survivors, agreement.unlock(federation.context, locked)
    ).to_bytes() == federation.expected(survivors)


@pytest.mark.parametrize("lost", [0, 4])
def test_in_a_large_study_the_sum_is_exact_too(lost: int) -> None:
    federation = Federation(context(40))
    survivors = federation.context.roster[lost:]
    helpers = survivors[: len(survivors) - lost]
    helps = {site: federation.help(site, survivors) for site in helpers}
    assert federation.open(survivors, helps).to_bytes() == federation.expected(survivors)


def test_below_the_threshold_nothing_is_opened() -> None:
    federation = Federation(context(5))
    survivors = federation.context.roster
    helps = {site: federation.help(site, survivors) for site in survivors[:3]}
    with pytest.raises(RoundError, match="too few or false"):
        federation.open(survivors, helps)


def test_a_set_below_the_quorum_is_not_helped() -> None:
    federation = Federation(context(5))
    with pytest.raises(TooFewSitesError, match="3 survivors; this round is opened for 4"):
        federation.help("s000", ("s000", "s001", "s002"))


@pytest.mark.parametrize(
    "survivors",
    [
        ("s001", "s002", "s003", "s004"),
        ("s000", "s001", "s002", "s003", "mallory"),
        ("s000", "s001", "s002", "s003", "s003"),
    ],
    ids=["without this site", "a stranger", "twice"],
)
def test_a_set_that_cannot_be_is_not_helped(survivors: tuple[SiteId, ...]) -> None:
    federation = Federation(context(5))
    with pytest.raises(WireError, match="survivors"):
        federation.help("s000", survivors)


def test_a_survivor_that_never_contributed_cannot_be_claimed() -> None:
    """Its shares for this site do not exist; nothing else is given in their place."""
    federation = Federation(context(5))
    parcels = federation.parcels("s000", federation.context.roster)
    del parcels["s004"]
    with pytest.raises(WireError, match="other shares"):
        masks.opening_shares(
            federation.context, "s000", secret_of("s000"), federation.context.roster, parcels
        )
    parcels["s004"] = parcels["s003"]
    with pytest.raises(WireError, match="s004 are not for this round"):
        masks.opening_shares(
            federation.context, "s000", secret_of("s000"), federation.context.roster, parcels
        )


@pytest.mark.parametrize(
    "other",
    [{"round": 4}, {"attempt": 1}, {"state_digest": b"\x01" * 32}, {"study_hash": "cd" * 32}],
    ids=lambda change: next(iter(change)),
)
def test_shares_of_another_round_attempt_state_or_study_open_nothing(other: dict[str, object]) -> None:
    federation = Federation(context(3))
    parcels = federation.parcels("s000", federation.context.roster)
    changed = replace(federation.context, **other)  # type: ignore[arg-type]
    with pytest.raises(WireError, match="not for this round"):
        masks.opening_shares(changed, "s000", secret_of("s000"), changed.roster, parcels)


def test_sites_that_were_shown_different_models_leave_masks_uncancelled() -> None:
    one, other = Federation(context(2)), Federation(context(2, state_digest=b"\x01" * 32))
    total = zero_ring(one.context.shape.sizes)
    for federation, site in ((one, "s000"), (other, "s001")):
        add_ring(total, masks.body_parts(federation.context, site, federation.sealed[site].body)[1])
    seeds = [masks.pair_seed(f.context, secret_of("s000")("s001"), "s000", "s001") for f in (one, other)]
    assert seeds[0] != seeds[1]
    assert total.to_bytes() != one.expected(one.context.roster)


def test_help_holds_one_kind_of_share_for_each_site() -> None:
    """For a survivor its own seed only; for a lost site the seeds that survivors had with it only."""
    federation = Federation(context(5))
    graph, survivors = Graph(federation.context), frozenset(federation.context.roster[:4])
    for sender in survivors:
        wanted = masks.needed(graph, sender, survivors)
        opened = [graph.neighbours(sender)[index - 1] for index in wanted if index]
        assert wanted[0] == 0
        assert set(opened) == {"s004"}


def test_one_false_share_is_passed_over_when_enough_true_ones_are_left() -> None:
    federation = Federation(context(5))
    survivors = federation.context.roster
    helps = {site: federation.help(site, survivors) for site in survivors}
    helps["s001"] = bytes(len(helps["s001"]))
    assert federation.open(survivors, helps).to_bytes() == federation.expected(survivors)
    del helps["s000"]
    with pytest.raises(RoundError, match="too few or false"):
        federation.open(survivors, helps)


def test_help_of_another_length_is_refused() -> None:
    federation = Federation(context(3))
    survivors = frozenset(federation.context.roster)
    # Three shares of seeds, three of its key, two confirmations and a tag.
    with pytest.raises(WireError, match=f"{SHARE_BYTES * 8 + 16} are needed"):
        masks.check_help(federation.context, survivors, "s000", bytes(SHARE_BYTES))


def test_shares_that_are_not_one_for_each_holder_are_refused_when_they_come() -> None:
    federation = Federation(context(3))
    extras = dict(federation.sealed["s000"].extras)
    masks.check_extras(federation.context, "s000", extras)
    for wrong in ({}, {**extras, "s002": b"short"}, {**extras, "mallory": extras["s002"]}):
        with pytest.raises(WireError, match="one for each of its 3 holders"):
            masks.check_extras(federation.context, "s000", wrong)


def test_the_same_integers_are_sealed_under_fresh_masks_each_time() -> None:
    made = Federation(context(3))
    again = masks.mask(made.context, "s000", secret_of("s000"), made.rings["s000"])
    assert again.body != made.sealed["s000"].body
    assert again.extras != made.sealed["s000"].extras


def test_a_masked_vector_is_uniform() -> None:
    """Chi-squared over the bytes of a masked vector of zeros; 255 degrees of freedom, one in a million."""
    round_ = context(2, wide=0, narrow=50_000)
    zeros = zero_ring(round_.shape.sizes)
    body = masks.mask(round_, "s000", secret_of("s000"), zeros).body
    _, masked = masks.body_parts(round_, "s000", body)
    observed = np.bincount(np.frombuffer(masked.to_bytes(), np.uint8), minlength=256)
    expected = masked.narrow.nbytes / 256
    assert np.sum((observed - expected) ** 2 / expected) < 375
    top = np.corrcoef(masked.narrow[:-1].astype(float), masked.narrow[1:].astype(float))[0, 1]
    assert abs(top) < 0.03


def test_no_secret_is_in_a_representation() -> None:
    federation = Federation(context(2))
    assert repr(federation.sealed["s000"]) == "Sealed()"
