"""TenSEAL in a process of its own: requests on standard input, replies on standard output.

It is not loaded together with TensorFlow: each has its own copy of Protobuf, and the second to be
loaded crashes. A crash of its C++ code on bytes from outside ends this process only.
`fedcohort.protection.ckks_process` starts it; it ends when its input is closed.
"""

import struct
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import tenseal

DEGREE, SLOTS = 8192, 4096
MODULUS_BITS = (60, 60)
SCALE = 2.0**28
DONE, REFUSED, ABSENT = range(3)


def make() -> list[bytes]:
    """A new key: its public part, and the whole of it."""
    context = _new_context()
    parts = {"save_public_key": True, "save_galois_keys": False, "save_relin_keys": False}
    return [context.serialize(save_secret_key=secret, **parts) for secret in (False, True)]


def check(key: bytes, *ciphertexts: bytes) -> list[bytes]:
    """Whether the key holds a secret; refuses a key or ciphertexts of other parameters."""
    context = _context(key)
    for data in ciphertexts:
        _vector(context, data)
    return [b"secret" if context.is_private() else b"public"]


def encrypt(key: bytes, slots: bytes) -> list[bytes]:
    """A ciphertext for every 4096 numbers."""
    import tenseal

    rows = np.frombuffer(slots, np.float64).reshape(-1, SLOTS)
    return [tenseal.ckks_vector(_context(key), row).serialize() for row in rows]


def add(key: bytes, *ciphertexts: bytes) -> list[bytes]:
    """The first half of the ciphertexts and the second, one by one."""
    context, n = _context(key), len(ciphertexts) // 2
    pairs = zip(ciphertexts[:n], ciphertexts[n:], strict=True)
    return [(_vector(context, left) + _vector(context, right)).serialize() for left, right in pairs]


def decrypt(key: bytes, *ciphertexts: bytes) -> list[bytes]:
    """All numbers, unrounded; the caller must round them before they leave it."""
    context = _context(key)
    return [np.asarray(_vector(context, data).decrypt(), np.float64).tobytes() for data in ciphertexts]


OPERATIONS: tuple[Callable[..., list[bytes]], ...] = (make, check, encrypt, add, decrypt)


def _new_context() -> "tenseal.Context":
    import tenseal

    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=DEGREE, coeff_mod_bit_sizes=list(MODULUS_BITS)
    )
    context.global_scale = SCALE
    return context


def _parameters(context: "tenseal.Context") -> tuple[int, ...]:
    """SEAL's digest of scheme, degree and modulus."""
    return tuple(context.seal_context().data.key_parms_id())


@lru_cache(maxsize=1)
def _our_parameters() -> tuple[int, ...]:
    return _parameters(_new_context())


@lru_cache(maxsize=8)
def _context(key: bytes) -> "tenseal.Context":
    import tenseal

    context = tenseal.context_from(key)
    if _parameters(context) != _our_parameters() or context.global_scale != SCALE:
        raise ValueError("other parameters")
    return context


def _vector(context: "tenseal.Context", data: bytes) -> Any:  # noqa: ANN401
    import tenseal

    vector = tenseal.ckks_vector_from(context, data)
    if vector.size() != SLOTS:
        raise ValueError("other slots")
    return vector


def write_frame(file: BinaryIO, code: int, parts: Sequence[bytes]) -> None:
    """A code and some bytes; the length of each goes before it."""
    file.write(struct.pack("<BI", code, len(parts)))
    for part in parts:
        file.write(struct.pack("<I", len(part)))
        file.write(part)
    file.flush()


def read_frame(file: BinaryIO) -> tuple[int, list[bytes]]:
    """Read what `write_frame` wrote.

    Raises:
        EOFError: the other process has ended.
    """
    code, count = struct.unpack("<BI", _read(file, 5))
    return code, [_read(file, struct.unpack("<I", _read(file, 4))[0]) for _ in range(count)]


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return data


def main() -> None:
    """Serve until the input ends."""
    while True:
        try:
            number, parts = read_frame(sys.stdin.buffer)
        except EOFError:
            return
        try:
            code, reply = DONE, OPERATIONS[number](*parts)
        except ModuleNotFoundError:
            code, reply = ABSENT, []
        except (ValueError, RuntimeError, TypeError):
            code, reply = REFUSED, []
        write_frame(sys.stdout.buffer, code, reply)


if __name__ == "__main__":
    main()
