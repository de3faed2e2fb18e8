"""`paillier`: one model's update under Paillier, beside `phe` and HEU, and a whole round of three sites.

The round's floor is what opening cannot do without: an exponentiation by gmpy2 under either prime for every
ciphertext, one after another on one core. `phe` one value a ciphertext is measured on a sample of values and
extrapolated. Our seal is timed between the sample's parts, so that both meet the same load.
"""

from functools import partial

import gmpy2
import numpy as np
import phe
from gmpy2 import mpz

from benchmarks.harness import (
    Claim,
    at_least_times_faster,
    at_most,
    emit,
    in_turns,
    machine,
    median,
    reported,
    say,
    seconds_of,
    unavailable,
)
from fedcohort.protection import paillier, paillier_key
from fedcohort.protection.fixed_point import Ring, Segment, Shape
from fedcohort.protection.packing import pack
from fedcohort.protection.paillier_key import SecretKey

N_PARAMETERS, N_SITES, REPEATS, SAMPLE, MOST_TIMES = 10_113, 3, 9, 7, 1.5
SHAPE = Shape((Segment(N_PARAMETERS, 32, 2**21 - 1),), N_SITES)


def update() -> Ring:
    """10,113 values of 22 bits."""
    values = np.random.default_rng(0).integers(-(2**21) + 1, 2**21, N_PARAMETERS, dtype=np.int32)
    return Ring(np.zeros(0, np.uint64), values.view(np.uint32))


def plaintexts(key: SecretKey) -> list[int]:
    """The same packing, for a peer."""
    return [
        int.from_bytes(row.tobytes(), "little") for row in pack(SHAPE, update(), key.public.plaintext_bytes)
    ]


def beside_phe(key: SecretKey) -> list[Claim]:
    """Our seal against one value a ciphertext, and against the same packing."""
    public, ring, packed = phe.PaillierPublicKey(int(key.public.n)), update(), plaintexts(key)
    values = ring.narrow.view(np.int32).tolist()
    ours, single, same = [], [], []
    for repeat in range(REPEATS):
        ours.append(seconds_of(lambda: paillier.seal(key, SHAPE, ring)))
        part = values[repeat * SAMPLE : (repeat + 1) * SAMPLE]
        single += [seconds_of(partial(public.encrypt, value)) for value in part]
        part = packed[repeat * SAMPLE : (repeat + 1) * SAMPLE]
        same += [seconds_of(partial(public.raw_encrypt, value)) for value in part]
    seal_ms, n_bytes = median(ours) * 1e3, len(paillier.seal(key, SHAPE, ring))
    what, sampled = "10,113 parameters, 2048-bit", f"phe on {len(single)}, extrapolated"
    return [
        at_least_times_faster(
            f"paillier: seal of {what}, phe one value a ciphertext ({sampled})",
            seal_ms,
            median(single) * 1e3 * N_PARAMETERS,
            "ms",
            5000.0,
        ),
        fewer_bytes(
            f"paillier: bytes of {what}, phe one value a ciphertext", n_bytes, N_PARAMETERS * 512, 80.0
        ),
        reported(
            f"paillier: seal of {what}, phe with the same packing ({sampled})",
            seal_ms,
            median(same) * 1e3 * len(packed),
            "ms",
        ),
    ]


def fewer_bytes(claim: str, ours: int, peer: int, times: float) -> Claim:
    """The peer must need at least so many times our bytes."""
    return Claim(claim, ours, peer, "bytes", peer / ours, f"at least {times:g}x fewer", peer / ours >= times)


def beside_heu(key: SecretKey) -> list[Claim]:
    """HEU's fastest Paillier, on one core, with the same packing."""
    names = [
        f"paillier: {verb} 10,113 parameters, 2048-bit, HEU with the same packing"
        for verb in ("seal", "open")
    ]
    ring, total = update(), paillier.seal(key, SHAPE, update())
    seal_ms = median([seconds_of(lambda: paillier.seal(key, SHAPE, ring)) for _ in range(REPEATS)]) * 1e3
    open_ms = (
        median([seconds_of(lambda: paillier.open_sum(key, SHAPE, total, 1)) for _ in range(REPEATS)]) * 1e3
    )
    try:
        from heu import phe as heu
    except ImportError as error:
        return [
            unavailable(names[0], seal_ms, "ms", str(error)),
            unavailable(names[1], open_ms, "ms", str(error)),
        ]
    kit = heu.setup(heu.SchemaType.ZPaillier, 2048)
    packed = [heu.Plaintext(heu.SchemaType.ZPaillier, plaintext) for plaintext in plaintexts(key)]
    encrypt, decrypt = kit.encryptor().encrypt, kit.decryptor().decrypt
    sealed = [encrypt(plaintext) for plaintext in packed]
    heu_seal = (
        median([seconds_of(lambda: [encrypt(plaintext) for plaintext in packed]) for _ in range(REPEATS)])
        * 1e3
    )
    heu_open = median([seconds_of(lambda: [decrypt(c) for c in sealed]) for _ in range(REPEATS)]) * 1e3
    return [reported(names[0], seal_ms, heu_seal, "ms"), reported(names[1], open_ms, heu_open, "ms")]


def whole_round(key: SecretKey, ring: Ring) -> Ring:
    """Three sites seal, the coordinator combines, one site opens."""
    total = None
    for _ in range(N_SITES):
        total = paillier.add(key.public, SHAPE, total, paillier.seal(key, SHAPE, ring))
    assert total is not None
    return paillier.open_sum(key, SHAPE, total, N_SITES)


def exponentiations(key: SecretKey, total: bytes) -> None:
    """What opening a sum takes at least, whoever programs it."""
    size = key.public.ciphertext_bytes
    ciphertexts = [mpz.from_bytes(total[start : start + size]) for start in range(0, len(total), size)]
    for prime in (key.p, key.q):
        for ciphertext in ciphertexts:
            gmpy2.powmod(ciphertext, prime - 1, prime * prime)


def round_claim(key: SecretKey) -> Claim:
    """Seconds of a whole round, its sum checked, beside the exponentiations that it cannot do without."""
    ring = update()
    exact = ring.narrow * np.uint32(N_SITES)
    if not np.array_equal(whole_round(key, ring).narrow, exact):
        raise SystemExit("paillier: the sum is wrong")
    total = paillier.seal(key, SHAPE, ring)
    found, floor = in_turns(
        REPEATS,
        lambda: seconds_of(lambda: whole_round(key, ring)),
        lambda: seconds_of(lambda: exponentiations(key, total)),
    )
    name = f"paillier: whole round (3 seals one after another, combine, open), {key.public.bits}-bit"
    return at_most(f"{name}, against the exponentiations of opening alone", found, floor, "s", MOST_TIMES)


def main() -> None:
    """Print all claims."""
    say(machine())
    for bits in (2048, 3072):
        key = paillier_key.make_key(bits)
        first = seconds_of(partial(paillier.seal, key, SHAPE, update()))
        emit(reported(f"paillier: first seal with a key, its tables included, {bits}-bit", first, None, "s"))
        for claim in [*beside_phe(key), *beside_heu(key)] if bits == 2048 else []:
            emit(claim)
        emit(round_claim(key))


if __name__ == "__main__":
    main()
