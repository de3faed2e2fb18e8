"""Paillier: sums are exact, phe reads and writes the same ciphertexts, and what is no sum is refused."""

import threading
from itertools import permutations
from typing import Any

import gmpy2
import numpy as np
import phe
import pytest
from gmpy2 import mpz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fedcohort as fc
from fedcohort.errors import KeyFileError, SaturationError, WireError
from fedcohort.protection import paillier, paillier_key
from fedcohort.protection.fixed_point import Ring, Segment, Shape, add_ring, zero_ring
from fedcohort.protection.homomorphic import PAILLIER
from fedcohort.protection.packing import pack
from fedcohort.protection.paillier_key import PublicKey, SecretKey, public_from_bytes
from tests.patience import PATIENCE_SECONDS

SHAPE = Shape((Segment(4, 64, 2**50), Segment(300, 32, 2**21)), 3)


@pytest.fixture(scope="module")
def key() -> SecretKey:
    return paillier_key.make_key(2048)


@pytest.fixture(scope="module")
def other_key() -> SecretKey:
    return paillier_key.make_key(2048)


@pytest.fixture(scope="module")
def bodies(key: SecretKey) -> list[bytes]:
    return [paillier.seal(key, SHAPE, random_ring(seed)) for seed in range(3)]


def random_ring(seed: int) -> Ring:
    rng = np.random.default_rng(seed)
    wide = rng.integers(-(2**50), 2**50, 4, endpoint=True)
    narrow = rng.integers(-(2**21), 2**21, 300, dtype=np.int32, endpoint=True)
    return Ring(wide.view(np.uint64), narrow.view(np.uint32))


def ring_sum(shape: Shape, rings: list[Ring]) -> bytes:
    total = zero_ring(shape.sizes)
    for ring in rings:
        add_ring(total, ring)
    return total.to_bytes()


def combined(public: PublicKey, shape: Shape, bodies: list[bytes]) -> bytes:
    total = None
    for body in bodies:
        total = paillier.add(public, shape, total, body)
    assert total is not None
    return total


def tiny_key() -> SecretKey:
    """p = 1019, q = 1187, x = 12345: h_s = (-x^2)^n mod n^2, computed by plain Python."""
    return SecretKey(PublicKey(mpz(1_209_553), mpz(443_385_370_371)), mpz(1019), mpz(1187))


def small_key() -> SecretKey:
    """Of 512 bits: quick, and with room for slots of ten bytes."""
    primes = []
    for start in (mpz(0xC3) << 248, mpz(0xE5) << 248):
        prime = gmpy2.next_prime(start)
        while prime % 4 != 3:
            prime = gmpy2.next_prime(prime)
        primes.append(prime)
    n = primes[0] * primes[1]
    return SecretKey(PublicKey(n, gmpy2.powmod(-(12_345**2), n, n * n)), *primes)


SMALL = small_key()


def test_a_known_sum_of_two_known_ciphertexts_is_opened() -> None:
    """5 and -7, raised by 100, under r = 2 and r = 3: (1 + 105 n) 2^n and (1 + 93 n) 3^n mod n^2."""
    key, shape = tiny_key(), Shape((Segment(1, 32, 100),), 2)
    first, second = (1_239_056_036_806).to_bytes(6), (524_394_035_800).to_bytes(6)
    total = paillier.add(key.public, shape, first, second)
    assert int.from_bytes(total) == 1_196_075_916_690
    assert paillier.open_sum(key, shape, total, 2).narrow.view(np.int32).tolist() == [-2]
    assert paillier.open_sum(key, shape, first, 1).narrow.view(np.int32).tolist() == [5]


def test_the_table_gives_the_powers_of_h_s() -> None:
    for side in paillier._sides(SMALL):
        digits = np.array([[3, 0, 1, *[0] * (side.n_rows - 3)], [1023] * side.n_rows], np.uint16)
        found = paillier._residues(side, digits, [mpz(0), mpz(7)])
        h_s, last = int(SMALL.public.h_s), 1024**side.n_rows - 1
        assert found[0] == pow(h_s, 3 + 1024**2, int(side.square))
        assert found[1] == (1 + 7 * side.prime) * pow(h_s, last, int(side.square)) % side.square


def test_exponents_have_half_the_length_of_the_modulus_in_all(key: SecretKey) -> None:
    p_side, q_side = paillier._sides(key)
    assert p_side.n_rows * 10 >= 512
    assert q_side.n_rows * 10 >= 512


def test_what_hides_a_plaintext_is_an_nth_residue_and_never_the_same() -> None:
    """Without its plaintext a ciphertext is r^n: its (p-1)(q-1)-th power is 1."""
    n, order = int(SMALL.public.n), int((SMALL.p - 1) * (SMALL.q - 1))
    shape, seen = Shape((Segment(1, 32, 100),), 2), set()
    for _ in range(50):
        c = int.from_bytes(
            paillier.seal(SMALL, shape, Ring(np.zeros(0, np.uint64), np.array([5], np.uint32)))
        )
        residue = c * pow(1 + 105 * n, -1, n * n) % (n * n)
        assert pow(residue, order, n * n) == 1
        seen.add((residue % int(SMALL.p), residue % int(SMALL.q)))
    assert len({p for p, _ in seen}) == len({q for _, q in seen}) == 50


def test_a_sum_of_three_sites_is_exact_in_any_order(key: SecretKey, bodies: list[bytes]) -> None:
    expected = ring_sum(SHAPE, [random_ring(seed) for seed in range(3)])
    totals = {combined(key.public, SHAPE, list(order)) for order in permutations(bodies)}
    assert len(totals) == 1
    assert paillier.open_sum(key, SHAPE, totals.pop(), 3).to_bytes() == expected


@pytest.mark.parametrize("cores", [1, 3, 64])
def test_a_sum_is_the_same_whatever_the_number_of_cores(
    key: SecretKey, bodies: list[bytes], monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    total = combined(key.public, SHAPE, bodies)
    found = paillier.open_sum(key, SHAPE, total, 3)
    assert found.to_bytes() == ring_sum(SHAPE, [random_ring(seed) for seed in range(3)])


def test_ciphertexts_are_raised_at_the_same_time(
    key: SecretKey, bodies: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2, timeout=PATIENCE_SECONDS)
    plain = paillier._decrypt_slice

    def waits(*arguments: Any) -> list[mpz]:
        together.wait()
        return plain(*arguments)

    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr(paillier, "_decrypt_slice", waits)
    paillier.open_sum(key, SHAPE, combined(key.public, SHAPE, bodies), 3)


def test_a_sum_of_those_that_are_left_is_exact(key: SecretKey, bodies: list[bytes]) -> None:
    total = combined(key.public, SHAPE, [bodies[2], bodies[0]])
    expected = ring_sum(SHAPE, [random_ring(2), random_ring(0)])
    assert paillier.open_sum(key, SHAPE, total, 2).to_bytes() == expected


def test_phe_reads_our_ciphertexts(key: SecretKey, bodies: list[bytes]) -> None:
    public = phe.PaillierPublicKey(int(key.public.n))
    private = phe.PaillierPrivateKey(public, int(key.p), int(key.q))
    rows = pack(SHAPE, random_ring(0), key.public.plaintext_bytes)
    for row, start in zip(rows, range(0, len(bodies[0]), 512), strict=True):
        c = int.from_bytes(bodies[0][start : start + 512])
        assert private.raw_decrypt(c) == int.from_bytes(row.tobytes(), "little")


def test_we_read_and_add_ciphertexts_of_phe(key: SecretKey, bodies: list[bytes]) -> None:
    public = phe.PaillierPublicKey(int(key.public.n))
    rows = pack(SHAPE, random_ring(1), key.public.plaintext_bytes)
    plaintexts = [int.from_bytes(row.tobytes(), "little") for row in rows]
    theirs = b"".join(int(public.raw_encrypt(plaintext)).to_bytes(512) for plaintext in plaintexts)
    assert paillier.open_sum(key, SHAPE, theirs, 1).to_bytes() == random_ring(1).to_bytes()
    total = combined(key.public, SHAPE, [bodies[0], theirs])
    assert paillier.open_sum(key, SHAPE, total, 2).to_bytes() == ring_sum(
        SHAPE, [random_ring(0), random_ring(1)]
    )


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Shape, list[Ring]]:
    """A shape of up to four segments, and what each of up to four sites has."""
    n_sites, segments, limits = draw(st.integers(1, 4)), [], {64: 2**63, 32: 2**31}
    for bits in draw(st.sampled_from([(), (32,), (64,), (64, 32), (64, 64, 32, 32)])):
        half = draw(st.one_of(st.integers(0, limits[bits]), st.sampled_from([0, 1, limits[bits]])))
        segments.append(Segment(draw(st.integers(0, 30)), bits, half))
    rings = []
    for _ in range(n_sites):
        values: dict[int, list[int]] = {64: [], 32: []}
        for segment in segments:
            low, high = -segment.half_range, min(segment.half_range, limits[segment.bits] - 1)
            value = st.one_of(st.integers(low, high), st.sampled_from([low, 0, high]))
            values[segment.bits] += draw(st.lists(value, min_size=segment.count, max_size=segment.count))
        wide, narrow = np.array(values[64], np.int64), np.array(values[32], np.int32)
        rings.append(Ring(wide.view(np.uint64), narrow.view(np.uint32)))
    return Shape(tuple(segments), n_sites), rings


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(rounds())
def test_any_sum_is_exact(case: tuple[Shape, list[Ring]]) -> None:
    shape, rings = case
    bodies = [paillier.seal(SMALL, shape, ring) for ring in rings]
    assert {len(body) for body in bodies} == {paillier.body_bytes(512, shape)}
    total = combined(SMALL.public, shape, bodies)
    assert paillier.open_sum(SMALL, shape, total, len(rings)).to_bytes() == ring_sum(shape, rings)


def test_a_body_of_10113_values_of_22_bits_has_119_ciphertexts() -> None:
    shape = Shape((Segment(10_113, 32, 2**21),), 3)
    assert paillier.body_bytes(2048, shape) == 119 * 512
    assert paillier.body_bytes(3072, shape) == 80 * 768


def test_two_seals_of_the_same_values_share_no_ciphertext(key: SecretKey, bodies: list[bytes]) -> None:
    again = paillier.seal(key, SHAPE, random_ring(0))
    parts = [data[start : start + 512] for data in (again, bodies[0]) for start in range(0, len(again), 512)]
    assert len(set(parts)) == len(parts)


def test_a_value_beyond_its_range_is_not_sealed(key: SecretKey) -> None:
    shape = Shape((Segment(1, 32, 5),), 3)
    with pytest.raises(SaturationError):
        paillier.seal(key, shape, Ring(np.zeros(0, np.uint64), np.array([6], np.uint32)))


def test_a_wrong_key_opens_nothing(key: SecretKey, other_key: SecretKey, bodies: list[bytes]) -> None:
    with pytest.raises(WireError):
        paillier.open_sum(other_key, SHAPE, combined(key.public, SHAPE, bodies), 3)


def test_a_sum_of_more_sites_than_are_named_is_refused(key: SecretKey) -> None:
    shape = Shape((Segment(2, 32, 1000),), 3)
    ring = Ring(np.zeros(0, np.uint64), np.array([1000, 1000], np.uint32))
    total = combined(key.public, shape, [paillier.seal(key, shape, ring) for _ in range(3)])
    with pytest.raises(WireError):
        paillier.open_sum(key, shape, total, 2)


@pytest.mark.parametrize("bit", [0, 7, 2000, 4000, 8190])
def test_a_flipped_bit_is_found_when_opened(key: SecretKey, bodies: list[bytes], bit: int) -> None:
    total = bytearray(combined(key.public, SHAPE, bodies))
    total[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        paillier.open_sum(key, SHAPE, bytes(total), 3)


def test_what_is_no_ciphertext_is_refused(key: SecretKey, bodies: list[bytes]) -> None:
    n, p, good = int(key.public.n), int(key.p), bodies[0]
    bad = [b"", good[:-1], good + b"\0", good[:512]]
    for number in (0, n, 5 * n, p, n * n, n * n + 1, 2**4096 - 1):
        bad += [number.to_bytes(512) + good[512:], good[:-512] + number.to_bytes(512)]
    for body in bad:
        for total in (None, good):
            with pytest.raises(WireError):
                paillier.add(key.public, SHAPE, total, body)
        with pytest.raises(WireError):
            paillier.open_sum(key, SHAPE, body, 1)
        with pytest.raises(WireError):
            paillier.add(key.public, SHAPE, body, good)


def test_keys_have_the_form_that_the_paper_asks_for(key: SecretKey) -> None:
    p, q, n = key.p, key.q, key.public.n
    assert p * q == n
    assert n.bit_length() == 2048
    assert p % 4 == q % 4 == 3
    assert gmpy2.gcd(p - 1, q - 1) == 2
    assert gmpy2.powmod(key.public.h_s, (p - 1) * (q - 1), n * n) == 1
    assert gmpy2.jacobi(key.public.h_s, n) == 1


def test_a_study_that_says_nothing_of_it_gets_a_key_of_3072_bits() -> None:
    asked = fc.Study(
        name="bits", cohort=fc.Cohort(columns=("age",)), analysis=fc.Describe(), protection="paillier"
    )
    assert PAILLIER.setup is not None
    public, _ = PAILLIER.setup.make(asked.key_bits)
    assert public_from_bytes(public).n.bit_length() == 3072


def test_keys_of_other_lengths_are_not_made() -> None:
    with pytest.raises(ValueError, match="1024"):
        paillier_key.make_key(1024)


def test_a_key_survives_its_bytes(key: SecretKey) -> None:
    public_bytes, secret_bytes = paillier_key.public_to_bytes(key.public), paillier_key.secret_to_bytes(key)
    assert (len(public_bytes), len(secret_bytes)) == (6 + 3 * 256, 6 + 256)
    public = paillier_key.public_from_bytes(public_bytes)
    assert public == key.public
    assert paillier_key.secret_from_bytes(public, secret_bytes) == key


def test_a_broken_public_key_is_refused(key: SecretKey) -> None:
    good, n, h_s = paillier_key.public_to_bytes(key.public), int(key.public.n), int(key.public.h_s)
    head = good[:6]
    bad = [
        b"",
        good[:5],
        good[:-1],
        good + b"\0",
        b"FCPS" + good[4:],
        good[:4] + (1024).to_bytes(2) + good[6:],
    ]
    bad.append(good[:4] + (3072).to_bytes(2) + good[6:])
    pairs = [(n - 1, h_s), (n >> 1, h_s), (0, h_s)]
    pairs += [(n, number) for number in (0, 1, n * n - 1, n * n, n, int(key.p) * 3)]
    bad += [head + modulus.to_bytes(256) + base.to_bytes(512) for modulus, base in pairs]
    for data in bad:
        with pytest.raises(WireError):
            paillier_key.public_from_bytes(data)


def test_a_secret_key_that_does_not_belong_is_refused(key: SecretKey, other_key: SecretKey) -> None:
    good, p, q, n = paillier_key.secret_to_bytes(key), int(key.p), int(key.q), int(key.public.n)
    bad = [
        b"",
        good[:5],
        good[:-1],
        good + b"\0",
        b"FCPP" + good[4:],
        good[:4] + (3072).to_bytes(2) + good[6:],
    ]
    bad.append(paillier_key.secret_to_bytes(other_key))
    bad += [good[:6] + a.to_bytes(128) + b.to_bytes(128) for a, b in ((p, p), (p + 2, q), (0, 0), (1, q))]
    for data in bad:
        with pytest.raises(KeyFileError):
            paillier_key.secret_from_bytes(key.public, data)
    for h_s in (2, int(gmpy2.powmod(2, n, n * n)) * (n + 1) % (n * n), (1 + p) % (n * n)):
        with pytest.raises(KeyFileError):
            paillier_key.secret_from_bytes(PublicKey(key.public.n, mpz(h_s)), good)


def test_no_text_shows_a_key(key: SecretKey, bodies: list[bytes]) -> None:
    shown = [repr(key), str(key), f"{key}", repr(key.public), repr(paillier._sides(key)), str({"key": key})]
    for action in (
        lambda: paillier_key.secret_from_bytes(key.public, paillier_key.secret_to_bytes(key)[:-1]),
        lambda: paillier_key.secret_from_bytes(
            PublicKey(key.public.n, mpz(2)), paillier_key.secret_to_bytes(key)
        ),
        lambda: paillier.open_sum(key, SHAPE, bodies[0][:-1] + b"\0", 1),
    ):
        with pytest.raises((KeyFileError, WireError)) as caught:
            action()
        shown.append(str(caught.value))
    for number in (key.p, key.q):
        for text in (str(number), hex(number)[2:], str(number)[:20], hex(number)[2:22]):
            assert not any(text in line for line in shown)
    assert repr(key) == "SecretKey(2048 bits)"
