"""Homomorphic encryption, `paillier` and `ckks`: all sites of a study hold the key, the coordinator does not.

One site makes the key and seals it to the others; the coordinator adds ciphertexts;
one site decrypts the sum, once a round. Whoever holds the key can read a single
site's ciphertext: the coordinator must not show it one (docs/threat-model.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fedcohort.protection import ckks, paillier, paillier_key
from fedcohort.protection.context import RoundContext, Sealed, SiteId
from fedcohort.protection.contract import CipherKey, OpeningExchange, Participant, Protection, SharedKey
from fedcohort.protection.fixed_point import Ring, Shape, ring_from_bytes


@dataclass(frozen=True)
class Scheme:
    """The operations of an additively homomorphic encryption.

    Attributes:
        add: the total so far (None before the first) and one more body.
        open_sum: decrypts a total, given how many sites it is of.
    """

    seal: Callable[[CipherKey, Shape, Ring], bytes]
    add: Callable[[CipherKey, Shape, bytes | None, bytes], bytes]
    open_sum: Callable[[CipherKey, Shape, bytes, int], Ring]


@dataclass
class CipherSum:
    """A sum of ciphertexts under the study's public key."""

    scheme: Scheme
    public: CipherKey
    shape: Shape
    body: bytes | None = None

    def add(self, site: SiteId, body: bytes, extras: Mapping[SiteId, bytes]) -> bytes:
        """Add one site's ciphertexts; opening needs only their total."""
        self.body = self.scheme.add(self.public, self.shape, self.body, body)
        return b""

    def total(self) -> bytes:
        """The sum of the ciphertexts."""
        return self.body or b""


@dataclass
class Decryptions:
    """The total as sites have decrypted it; the first is used."""

    shape: Shape
    bodies: dict[SiteId, bytes] = field(default_factory=dict)

    @property
    def enough(self) -> bool:
        """Whether one has decrypted."""
        return bool(self.bodies)

    def add(self, site: SiteId, body: bytes) -> None:
        """Store a site's decryption."""
        self.bodies[site] = body

    def open(self) -> Ring:
        """The sum.

        Raises:
            WireError: it does not fit the layout.
        """
        return ring_from_bytes(next(iter(self.bodies.values())), self.shape.sizes)


def additive_scheme(scheme: Scheme, setup: SharedKey) -> Protection:
    """The protection by a scheme and its shared key."""

    def seal(context: RoundContext, site: Participant, integers: bytes) -> Sealed:
        ring = ring_from_bytes(integers, context.shape.sizes)
        return Sealed(scheme.seal(site.key, context.shape, ring))

    def new_sum(context: RoundContext, public: CipherKey) -> CipherSum:
        return CipherSum(scheme, public, context.shape)

    def help_open(
        context: RoundContext,
        site: Participant,
        survivors: tuple[SiteId, ...],
        total: bytes,
        extras: Mapping[SiteId, bytes],
    ) -> bytes:
        return scheme.open_sum(site.key, context.shape, total, len(survivors)).to_bytes()

    def helps(context: RoundContext, heads: Mapping[SiteId, bytes], total: bytes) -> Decryptions:
        return Decryptions(context.shape)

    opening = OpeningExchange(alone=True, help=help_open, helps=helps)
    return Protection(seal=seal, new_sum=new_sum, opening=opening, setup=setup)


def _make_paillier(bits: int) -> tuple[bytes, bytes]:
    key = paillier_key.make_key(bits)
    return paillier_key.public_to_bytes(key.public), paillier_key.secret_to_bytes(key)


def _load_paillier(public: bytes, secret: bytes) -> paillier_key.SecretKey:
    return paillier_key.secret_from_bytes(paillier_key.public_from_bytes(public), secret)


PAILLIER = additive_scheme(
    Scheme(paillier.seal, paillier.add, paillier.open_sum),
    SharedKey(_make_paillier, _load_paillier, paillier_key.public_from_bytes),
)
CKKS = additive_scheme(
    Scheme(ckks.seal, ckks.add, ckks.open_sum),
    SharedKey(lambda bits: ckks.make_key(), ckks.load_secret, ckks.load_public),
)
