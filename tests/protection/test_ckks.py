"""CKKS: the rounded sum is the exact sum, its error far from half a unit, and garbage is refused."""

import importlib.util
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.errors import KeyFileError, WireError
from fedcohort.protection import ckks, ckks_worker
from fedcohort.protection.ckks_process import TensealProcess
from fedcohort.protection.fixed_point import Ring, Segment, Shape, add_ring, zero_ring
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.processes

# TenSEAL itself is never loaded here, because TensorFlow may be, and both at once crash.
if importlib.util.find_spec("tenseal") is None:
    pytest.skip("TenSEAL is not installed: pip install 'fedcohort[ckks]'", allow_module_level=True)
SHAPE = Shape((Segment(3, 64, 2**55), Segment(5, 32, 2**20)), 3)


@pytest.fixture(scope="module")
def key() -> ckks.CkksKey:
    return ckks.load_secret(*KEY)


@pytest.fixture(scope="module")
def public() -> ckks.CkksKey:
    return ckks.load_public(KEY[0])


KEY = ckks.make_key()
OTHER = ckks.make_key()


def ring_of(shape: Shape, draw: np.random.Generator, extreme: int = 0) -> Ring:
    """Integers within each segment's range; with `extreme` 1 or -1 all at its end."""
    wide, narrow = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
    for segment in shape.segments:
        high = segment.half_range
        values = draw.integers(-high, high, segment.count, endpoint=True)
        values = np.full(segment.count, extreme * high) if extreme else values
        wide.append(values.astype(np.int64)) if segment.bits == 64 else narrow.append(values.astype(np.int32))
    return Ring(np.concatenate(wide).view(np.uint64), np.concatenate(narrow).view(np.uint32))


def sum_of(key: ckks.CkksKey, public: ckks.CkksKey, shape: Shape, rings: list[Ring]) -> tuple[bytes, bytes]:
    """What is opened, and what it should be."""
    total, expected = None, zero_ring(shape.sizes)
    for ring in rings:
        total = ckks.add(public, shape, total, ckks.seal(key, shape, ring))
        add_ring(expected, ring)
    assert total is not None
    return ckks.open_sum(key, shape, total, len(rings)).to_bytes(), expected.to_bytes()


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n_sites=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_the_sum_is_exact_for_any_shape_and_sites(data: st.DataObject, n_sites: int, seed: int) -> None:
    most = {64: (2**63 - 1) // n_sites, 32: (2**31 - 1) // n_sites}
    segments = tuple(
        Segment(data.draw(st.integers(0, 5)), bits, data.draw(st.integers(1, most[bits])))
        for bits in sorted(data.draw(st.lists(st.sampled_from((64, 32)), max_size=4)), reverse=True)
    )
    shape, draw = Shape(segments, n_sites), np.random.default_rng(seed)
    extreme = data.draw(st.sampled_from((0, 1, -1)))
    rings = [ring_of(shape, draw, extreme) for _ in range(min(n_sites, 3))]
    key, public = ckks.load_secret(*KEY), ckks.load_public(KEY[0])
    if shape.segments and sum(segment.count for segment in segments):
        found, expected = sum_of(key, public, shape, rings)
        assert found == expected


def test_more_values_than_a_ciphertext_has_slots(key: ckks.CkksKey, public: ckks.CkksKey) -> None:
    shape, draw = Shape((Segment(9_000, 32, 2**21),), 3), np.random.default_rng(0)
    assert ckks.n_ciphertexts(shape) == 3
    found, expected = sum_of(key, public, shape, [ring_of(shape, draw) for _ in range(3)])
    assert found == expected


def test_the_error_stays_far_below_what_the_bound_says(key: ckks.CkksKey) -> None:
    """One encryption's error is at most six of its deviations: 2^(15 + 2.6 - 28)."""
    draw = np.random.default_rng(0)
    largest = 0.0
    for _ in range(20):
        values = draw.integers(-(2**29), 2**29, ckks_worker.SLOTS).astype(np.float64)
        found = ckks._decrypt(key, ckks._encrypt(key, values))
        largest = max(largest, float(np.max(np.abs(found - values))))
    assert 0 < largest < 2.0 ** (15 + 2.6 - 28) < ckks.CLOSE / 100


def test_the_error_of_10000_sites_stays_below_half_a_unit(key: ckks.CkksKey) -> None:
    """Errors of encryptions are independent: the sum's deviation grows with the root of their number."""
    draw = np.random.default_rng(1)
    values = draw.integers(-(2**29), 2**29, ckks_worker.SLOTS).astype(np.float64)
    errors = [ckks._decrypt(key, ckks._encrypt(key, values)) - values for _ in range(8)]
    deviation = float(np.std(np.concatenate(errors)))
    assert 0 < 6 * deviation * math.sqrt(10_000) < ckks.CLOSE < 0.5


def test_the_sum_of_a_hundred_sites_at_their_limits_is_exact(key: ckks.CkksKey, public: ckks.CkksKey) -> None:
    shape = Shape((Segment(2, 64, (2**63 - 1) // 100), Segment(3, 32, (2**31 - 1) // 100)), 100)
    rings = [ring_of(shape, np.random.default_rng(0), extreme=1) for _ in range(100)]
    found, expected = sum_of(key, public, shape, rings)
    assert found == expected


def test_the_order_of_addition_does_not_matter(key: ckks.CkksKey, public: ckks.CkksKey) -> None:
    draw = np.random.default_rng(0)
    rings = [ring_of(SHAPE, draw) for _ in range(3)]
    assert sum_of(key, public, SHAPE, rings) == sum_of(key, public, SHAPE, rings[::-1])


def test_the_same_integers_are_sealed_differently_each_time(key: ckks.CkksKey) -> None:
    ring = ring_of(SHAPE, np.random.default_rng(0))
    assert ckks.seal(key, SHAPE, ring) != ckks.seal(key, SHAPE, ring)


def test_another_key_opens_nothing(key: ckks.CkksKey) -> None:
    body = ckks.seal(key, SHAPE, ring_of(SHAPE, np.random.default_rng(0)))
    with pytest.raises(WireError, match="does not decrypt to integers"):
        ckks.open_sum(ckks.load_secret(*OTHER), SHAPE, body, 1)


def test_a_total_of_more_sites_than_it_claims_is_refused(key: ckks.CkksKey, public: ckks.CkksKey) -> None:
    bodies = [ckks.seal(key, SHAPE, ring_of(SHAPE, np.random.default_rng(0), extreme=1)) for _ in range(3)]
    total = None
    for body in bodies:
        total = ckks.add(public, SHAPE, total, body)
    assert total is not None
    with pytest.raises(WireError, match="beyond what 1 sites"):
        ckks.open_sum(key, SHAPE, total, 1)


def test_keys_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(KeyFileError, match="does not belong"):
        ckks.load_secret(KEY[0], OTHER[1])
    with pytest.raises(KeyFileError, match="not the secret part"):
        ckks.load_secret(KEY[0], KEY[0])
    for wrong in (KEY[1], b"", b"garbage", KEY[0][:-1], bytes(2**21)):
        with pytest.raises(WireError, match="not the public part"):
            ckks.load_public(wrong)


OTHER_PARAMETERS = """
import sys, tenseal
context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=4096, coeff_mod_bit_sizes=[54, 55])
context.global_scale = 2.0**28
sys.stdout.buffer.write(context.serialize(save_secret_key=False))
"""
TOO_LARGE_A_MODULUS = """
import tenseal
tenseal.context(tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60] * 4)
"""


def elsewhere(code: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=PATIENCE_SECONDS
    )


def test_other_parameters_are_refused() -> None:
    made = elsewhere(OTHER_PARAMETERS)
    assert len(made.stdout) > 1000
    with pytest.raises(WireError, match="not the public part"):
        ckks.load_public(made.stdout)


def test_seal_itself_refuses_a_modulus_of_less_than_128_bits_of_security() -> None:
    assert b"not set correctly" in elsewhere(TOO_LARGE_A_MODULUS).stderr


def test_what_is_no_body_is_refused(key: ckks.CkksKey, public: ckks.CkksKey) -> None:
    body = ckks.seal(key, SHAPE, ring_of(SHAPE, np.random.default_rng(0)))
    for wrong in (
        b"",
        body[:-1],
        body + b"\0",
        body + body,
        bytes(len(body)),
        body[:4] + bytes(len(body) - 4),
    ):
        with pytest.raises(WireError):
            ckks.add(public, SHAPE, None, wrong)
    with pytest.raises(WireError):
        ckks.add(public, replace(SHAPE, segments=(Segment(5_000, 32, 1),)), body, body)


def test_hundreds_of_changed_bodies_crash_nothing(key: ckks.CkksKey, public: ckks.CkksKey) -> None:
    """Flipped, cut and filled; most are refused, and none opens as anything but an error or integers."""
    draw = np.random.default_rng(0)
    good = ckks.seal(key, SHAPE, ring_of(SHAPE, draw))
    refused = 0
    for _ in range(300):
        changed = bytearray(good)
        start = int(draw.integers(0, 400)) if draw.random() < 0.7 else int(draw.integers(0, len(good)))
        length = int(draw.integers(1, 40))
        changed[start : start + length] = draw.bytes(length)
        try:
            total = ckks.add(public, SHAPE, good, bytes(changed[: len(good)]))
            ckks.open_sum(key, SHAPE, total, 2)
        except WireError:
            refused += 1
    assert refused > 290


def test_no_secret_is_in_a_representation(key: ckks.CkksKey) -> None:
    assert repr(key) == "CkksKey()"


def test_a_worker_that_was_killed_is_started_anew_and_what_killed_it_is_refused() -> None:
    worker = TensealProcess()
    assert worker.ask(ckks_worker.check, KEY[0]) == [b"public"]
    first = worker._popen
    assert first is not None
    first.kill()
    first.wait()
    assert worker.ask(ckks_worker.check, KEY[1]) == [b"secret"]
    worker.close()
    assert worker._popen is None


def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedcohort.protection.ckks_process.TIMEOUT_SECONDS", 0.05)
    worker = TensealProcess()
    with pytest.raises(WireError):
        worker.ask(ckks_worker.make)  # importing TenSEAL alone takes longer
    worker.close()


def test_tenseal_is_never_loaded_beside_tensorflow() -> None:
    """Both at once in one process end in a segmentation fault."""
    code = "import tensorflow; from fedcohort.protection import ckks; ckks.load_secret(*ckks.make_key())"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=PATIENCE_SECONDS)
