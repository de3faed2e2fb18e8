"""A coordinator that deviates under `paillier`: what a site still refuses, and what it cannot see.

The limits are those of docs/threat-model.md: a site does not know what a ciphertext is
the sum of. A test states each limit as it is, so that no document can claim more.
"""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedcohort.node.answer import MOST_KEYS, answer
from fedcohort.node.keys import Keys
from fedcohort.node.records import Stored
from fedcohort.node.store import SqlNodeStore
from fedcohort.protection import paillier_key
from fedcohort.protection.fixed_point import ring_from_bytes, shape_from_text
from fedcohort.wire.codec import encode
from fedcohort.wire.identity import new_identity
from fedcohort.wire.messages import Contribution, Help, OpenRequest, Setup, SiteId, Task
from tests.build import describe_study, explicit

from .liar import ALL, refusal
from .support import Play, honest_nodes

pytestmark = pytest.mark.usefixtures("paillier_keys")

STUDY = explicit(describe_study("lied about", protection="paillier", key_bits=2048))
OTHER = explicit(describe_study("another study", protection="paillier", key_bits=2048))


@dataclass
class Round:
    """A round that an honest coordinator has played, which a dishonest one may now have opened again.

    Attributes:
        asked: the one site that has decrypted.
    """

    play: Play = field(default_factory=lambda: Play(STUDY))

    def __post_init__(self) -> None:
        self.play.go()
        seen = self.play.seen
        self.request = next(question for _, question, _ in seen if isinstance(question, OpenRequest))
        self.asked = next(site for site, question, _ in seen if isinstance(question, OpenRequest))
        self.parts = {site: reply for site, _, reply in seen if isinstance(reply, Contribution)}
        self.task = next(question for _, question, _ in seen if isinstance(question, Task))
        self.made = next(reply for _, _, reply in seen if isinstance(reply, Setup))
        self.public = paillier_key.public_from_bytes(self.made.public)

    def stored(self, site: SiteId) -> Stored:
        found = self.play.nodes[site].store.last(STUDY.hash)
        assert found is not None
        return found

    def powered(self, body: bytes, power: int) -> bytes:
        """Each ciphertext to this power: `power` times its plaintext."""
        size, squared = self.public.ciphertext_bytes, int(self.public.n_squared)
        pieces = (int.from_bytes(body[start : start + size]) for start in range(0, len(body), size))
        return b"".join(pow(piece, power, squared).to_bytes(size) for piece in pieces)


@pytest.fixture
def played() -> Round:
    return Round()


def decrypted(played: Round, site: SiteId, total: bytes) -> str:
    """What a site says to a request for this ciphertext, with all true proofs: a code, or "help"."""
    reply = answer(played.play.nodes[site], replace(played.request, total=total))
    return "help" if isinstance(reply, Help) else refusal(reply)


def test_a_site_that_has_decrypted_a_sum_decrypts_nothing_else_of_the_round(played: Round) -> None:
    for total in (played.parts["e"].body, played.powered(played.request.total, 2), b""):
        assert decrypted(played, played.asked, total) == "message-invalid"
    assert decrypted(played, played.asked, played.request.total) == "help"


def test_a_ciphertext_raised_beyond_what_the_survivors_can_give_is_refused(played: Round) -> None:
    for power in (6, 1000, 2**30, 2**200):
        total = played.powered(played.request.total, power)
        assert decrypted(played, "b" if played.asked != "b" else "c", total) == "message-invalid"


def test_what_is_no_ciphertext_of_the_round_is_refused_and_the_true_sum_is_then_opened(played: Round) -> None:
    site = next(site for site in ALL if site != played.asked)
    total = played.request.total
    size = played.public.ciphertext_bytes
    for wrong in (b"", total[:-1], total + bytes(1), bytes(len(total)), b"\xff" * len(total)):
        assert decrypted(played, site, wrong) == "message-invalid"
    assert decrypted(played, site, (int(played.public.n)).to_bytes(size) + total[size:]) == "message-invalid"
    assert decrypted(played, site, total) == "help"


def test_a_single_ciphertext_with_the_proofs_of_a_whole_round_is_decrypted_once_as_the_documents_say(
    played: Round,
) -> None:
    """The limit of `paillier`: the coordinator must follow the protocol, or it learns one site's part."""
    site = next(site for site in ALL if site != played.asked)
    reply = answer(played.play.nodes[site], replace(played.request, total=played.parts["e"].body))
    assert isinstance(reply, Help)
    shape = shape_from_text(played.stored("e").shape)
    shown = ring_from_bytes(reply.body, shape.sizes)
    true = ring_from_bytes(played.stored("e").integers, shape.sizes)
    # It was taken for a sum of five, from which five half ranges are taken off instead of one.
    four = [np.full(segment.count, segment.half_range * 4 % 2**64, np.uint64) for segment in shape.segments]
    wide, narrow = np.split(np.concatenate(four), [true.wide.size])
    assert np.array_equal(shown.wide + wide, true.wide)
    assert np.array_equal(shown.narrow + narrow.astype(np.uint32), true.narrow)
    assert decrypted(played, site, played.request.total) == "message-invalid"


def test_proofs_hold_for_their_site_round_attempt_and_study_only(played: Round) -> None:
    site = next(site for site in ALL if site != played.asked)
    node, request = played.play.nodes[site], played.request
    swapped = {**request.extras, "a": request.extras["b"], "b": request.extras["a"]}
    assert refusal(answer(node, replace(request, extras=swapped))) == "message-invalid"
    assert refusal(answer(node, replace(request, attempt=1))) == "message-invalid"
    assert refusal(answer(node, replace(request, round=1))) == "message-invalid"
    other = Round(Play(OTHER))
    assert refusal(answer(node, replace(request, extras=other.request.extras))) == "message-invalid"
    twice = {**request.extras, "e": request.extras["a"]}
    assert refusal(answer(node, replace(request, extras=twice))) == "message-invalid"
    assert isinstance(answer(node, request), Help)


def own_key() -> tuple[bytes, bytes]:
    """A key that no site of the study has made: its public and its secret part."""
    key = paillier_key.make_key(2048)
    return paillier_key.public_to_bytes(key.public), paillier_key.secret_to_bytes(key)


def about(public: bytes) -> bytes:
    """What a parcel with the study's key is bound to."""
    return STUDY.hash.encode() + sha256(public).digest()


def test_a_key_that_no_site_of_the_study_has_sealed_is_not_taken(played: Round) -> None:
    """The coordinator makes a key, and would read everything that is sealed under it."""
    fresh = honest_nodes(STUDY, ALL)
    known = fresh["a"].keys
    eve = Keys(new_identity("b"), X25519PrivateKey.generate(), known.card_of, known.confirmed)
    public, secret = own_key()
    sealed, true = eve.seal_for("a", secret, about(public)), played.made.parcels["b"]
    for maker, parcel in (
        ("b", secret),
        ("b", sealed),
        ("b", true),
        ("a", sealed),
        ("eve", sealed),
        ("b", b""),
    ):
        setup = Setup(STUDY.hash, 0, 0, {maker: parcel}, public, ALL)
        code = refusal(answer(fresh["a"], setup))
        assert code in {"message-invalid", "roster-unconfirmed"}, maker
    for parcels in ({}, {"b": sealed, "c": sealed}):
        assert refusal(answer(fresh["a"], Setup(STUDY.hash, 0, 0, parcels, public, ALL))) == "message-invalid"
    assert fresh["a"].store.study_key(STUDY.hash) is None
    assert refusal(answer(fresh["a"], played.task)) == "message-invalid"


def test_a_key_of_a_site_is_taken_for_its_study_its_public_part_and_its_receiver_only() -> None:
    nodes = honest_nodes(STUDY, ALL)
    made = answer(nodes["a"], Setup(STUDY.hash, 0, 0, {}, b"", ALL))
    assert isinstance(made, Setup)
    other, _ = own_key()
    wrong = [
        Setup(STUDY.hash, 0, 0, {"a": made.parcels["c"]}, made.public, ALL),
        Setup(STUDY.hash, 0, 0, {"c": made.parcels["b"]}, made.public, ALL),
        Setup(STUDY.hash, 0, 0, {"a": made.parcels["b"]}, other, ALL),
        Setup(STUDY.hash, 0, 0, {"a": made.parcels["b"]}, made.public, ("a", "b", "x")),
        Setup(STUDY.hash, 0, 0, {"a": made.parcels["b"]}, made.public, ("a", "c")),
    ]
    for setup in wrong:
        assert refusal(answer(nodes["b"], setup)) in {"message-invalid", "roster-unconfirmed"}
        assert nodes["b"].store.study_key(STUDY.hash) is None
    taken = answer(nodes["b"], Setup(STUDY.hash, 0, 0, {"a": made.parcels["b"]}, made.public, ALL))
    assert taken == Setup(STUDY.hash, 0, 0, {}, made.public, ALL)


def test_a_site_that_has_answered_under_a_key_takes_no_other(played: Round) -> None:
    """Not even one that another site has made: two keys of a round would be two answers."""
    node = played.play.nodes["b"]
    before = node.store.study_key(STUDY.hash)
    forger = played.play.nodes["c"].keys
    public, secret = own_key()
    parcel = forger.seal_for("b", secret, about(public))
    reply = answer(node, Setup(STUDY.hash, 0, 1, {"c": parcel}, public, ALL))
    assert refusal(reply) == "message-invalid"
    assert node.store.study_key(STUDY.hash) == before


def test_a_site_that_makes_key_after_key_fills_no_event_log(tmp_path: Path) -> None:
    nodes = honest_nodes(STUDY, ALL)
    proposal, approval = nodes["b"].store.proposal(STUDY.hash), nodes["b"].store.approval(STUDY.hash)
    assert proposal is not None
    keys = [own_key(), own_key()]
    with closing(SqlNodeStore(tmp_path / "node.db")) as store:
        store.propose(proposal)
        store.decide(STUDY.hash, "approved", approval)
        for node in (nodes["b"], replace(nodes["b"], store=store, study_keys={})):
            for number in range(2 * MOST_KEYS):
                public, secret = keys[number % 2]
                parcel = nodes["a"].keys.seal_for("b", secret, about(public))
                reply = answer(node, Setup(STUDY.hash, 0, number, {"a": parcel}, public, ALL))
                if number < MOST_KEYS or number % 2:
                    assert isinstance(reply, Setup), "the tenth key is the one that counts, asked again too"
                else:
                    assert refusal(reply) == "message-invalid"
        assert Counter(str(one["kind"]) for one in store.events()) == {
            "proposal": 1,
            "approved": 1,
            "study-key": MOST_KEYS,
            "refused": MOST_KEYS // 2,
        }


def test_a_key_of_the_wrong_kind_or_length_is_not_taken_though_a_site_has_sealed_it() -> None:
    nodes = honest_nodes(STUDY, ALL)
    (public, secret), (_, other) = own_key(), own_key()
    for shown, hidden in (
        (public, other),
        (public, b"no key"),
        (b"no key", secret),
        (public[:-1], secret),
    ):
        parcel = nodes["a"].keys.seal_for("b", hidden, about(shown))
        code = refusal(answer(nodes["b"], Setup(STUDY.hash, 0, 0, {"a": parcel}, shown, ALL)))
        assert code in {"message-invalid", "key-file"}
        assert nodes["b"].store.study_key(STUDY.hash) is None


def test_the_secret_key_is_in_nothing_that_the_coordinator_sees(played: Round) -> None:
    node = played.play.nodes["a"]
    stored = node.store.study_key(STUDY.hash)
    assert stored is not None
    secret = node.keys.unlock(STUDY.hash, stored.locked)
    primes = (secret[6 : 6 + 128], secret[6 + 128 :])
    for _, question, reply in played.play.seen:
        for data in (encode(question), encode(reply)):
            assert not any(prime in data or prime[::-1] in data for prime in primes)
