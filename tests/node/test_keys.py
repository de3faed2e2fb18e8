"""What sites believe of each other's keys, and what nobody else can open or read."""

import os
import pickle
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fedcohort.errors import KeyFileError, RosterError, WireError
from fedcohort.node.keys import Keys, is_genuine, make_card
from fedcohort.wire.identity import load_or_create_agreement, new_identity
from fedcohort.wire.messages import Card, SiteId

POSIX = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
ABOUT = b"study 7"


@dataclass
class Federation:
    """Sites of one process, whose cards and confirmed keys a test may change."""

    cards: dict[SiteId, Card] = field(default_factory=dict)
    confirmed: dict[SiteId, bytes] = field(default_factory=dict)

    def join(self, site: SiteId) -> Keys:
        keys = Keys(new_identity(site), X25519PrivateKey.generate(), self.cards.get, lambda: self.confirmed)
        self.cards[site], self.confirmed[site] = keys.card, keys.identity.public_key
        return keys


@pytest.fixture
def federation() -> Federation:
    return Federation()


def test_a_card_counts_only_under_the_key_that_signed_it(federation: Federation) -> None:
    a, b = federation.join("a"), federation.join("b")
    assert is_genuine(a.card)
    assert not is_genuine(replace(a.card, site="b"))
    assert not is_genuine(replace(a.card, agreement_key=b.card.agreement_key))
    assert not is_genuine(replace(a.card, identity_key=b.card.identity_key))
    assert not is_genuine(replace(a.card, signature=b.card.signature))


def test_a_site_that_nobody_has_confirmed_is_no_peer(federation: Federation) -> None:
    a = federation.join("a")
    federation.join("b")
    del federation.confirmed["b"]
    for use in (a.peer, a.pair_secret, a.pair_secrets()):
        with pytest.raises(RosterError, match=r"b: .*fedcohort roster --confirm"):
            use("b")
    assert a.peer("a") == a.card


def test_a_confirmed_site_without_a_card_is_no_peer_yet(federation: Federation) -> None:
    a = federation.join("a")
    federation.confirmed["b"] = new_identity("b").public_key
    with pytest.raises(RosterError, match=r"b: has not shown a card"):
        a.pair_secret("b")


def test_a_card_under_another_key_than_the_confirmed_one_is_not_believed(federation: Federation) -> None:
    """The coordinator announces a key of its own under the site's name, signed and all."""
    a = federation.join("a")
    federation.join("b")
    federation.cards["b"] = make_card(new_identity("b"), X25519PrivateKey.generate())
    assert is_genuine(federation.cards["b"])
    for use in (a.pair_secret, a.pair_secrets()):
        with pytest.raises(RosterError, match=r"b: has not shown a card under its confirmed key"):
            use("b")


@pytest.mark.parametrize(
    "point",
    [
        bytes(32),
        (1).to_bytes(32, "little"),
        (2**255 - 19).to_bytes(32, "little"),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    ],
    ids=["zero", "one", "the prime", "order eight"],
)
def test_a_point_that_would_give_everybody_one_secret_is_refused(
    federation: Federation, point: bytes
) -> None:
    """Points of low order (RFC 7748, section 6.1): the secret would be 0 whatever this site's key is."""
    a, b = federation.join("a"), federation.join("b")
    federation.cards["b"] = replace(b.card, agreement_key=point)
    with pytest.raises(RosterError, match=r"b: its agreement key"):
        a.pair_secret("b")


def test_two_sites_share_one_secret_and_no_other_pair_does(federation: Federation) -> None:
    a, b, c = (federation.join(site) for site in "abc")
    assert a.pair_secret("b") == b.pair_secret("a") == a.pair_secrets()("b")
    pairs = [a.pair_secret("b"), a.pair_secret("c"), b.pair_secret("c")]
    own = [keys.pair_secret(keys.card.site) for keys in (a, b, c)]
    assert len({*pairs, *own}) == 6


def test_a_site_that_shows_a_new_card_gets_a_new_secret(federation: Federation) -> None:
    a, b = federation.join("a"), federation.join("b")
    before = a.pair_secret("b")
    moved = replace(b, agreement=X25519PrivateKey.generate())
    federation.cards["b"] = make_card(moved.identity, moved.agreement)
    assert a.pair_secret("b") == moved.pair_secret("a") != before


def test_a_site_that_is_taken_from_the_roster_shares_no_secret_any_more(federation: Federation) -> None:
    a = federation.join("a")
    federation.join("b")
    a.pair_secret("b")
    del federation.confirmed["b"]
    with pytest.raises(RosterError):
        a.pair_secret("b")


def test_a_secret_at_rest_is_opened_by_its_site_for_its_study_only(federation: Federation) -> None:
    a, b = federation.join("a"), federation.join("b")
    locked = a.lock("1" * 64, b"prime numbers")
    assert a.unlock("1" * 64, locked) == b"prime numbers"
    assert b"prime" not in locked
    assert a.lock("1" * 64, b"prime numbers") != locked
    restarted = replace(a, _secrets={})
    assert restarted.unlock("1" * 64, locked) == b"prime numbers"
    for keys, study in ((b, "1" * 64), (a, "2" * 64)):
        with pytest.raises(KeyFileError, match=r"agreement\.key.*backup"):
            keys.unlock(study, locked)


def test_a_secret_at_rest_whose_bits_were_changed_is_not_opened(federation: Federation) -> None:
    a = federation.join("a")
    locked = a.lock("1" * 64, b"prime numbers")
    for bit in range(8 * len(locked)):
        changed = bytearray(locked)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(KeyFileError):
            a.unlock("1" * 64, bytes(changed))


@pytest.mark.parametrize("length", [8, 12, 13, 27])
def test_a_secret_at_rest_that_was_cut_short_is_a_key_error(federation: Federation, length: int) -> None:
    a = federation.join("a")
    with pytest.raises(KeyFileError):
        a.unlock("1" * 64, a.lock("1" * 64, b"prime numbers")[:length])


def test_a_parcel_is_opened_by_its_receiver_from_its_sender_about_its_study(federation: Federation) -> None:
    a, b, c = (federation.join(site) for site in "abc")
    parcel = a.seal_for("b", b"the study's key", ABOUT)
    assert b"key" not in parcel
    assert b.open_from("a", parcel, ABOUT) == b"the study's key"
    wrong = [
        (b, "c", ABOUT, "another sender"),
        (b, "b", ABOUT, "the receiver itself as sender"),
        (c, "a", ABOUT, "another receiver"),
        (a, "b", ABOUT, "sent back"),
        (a, "a", ABOUT, "the sender itself"),
        (b, "a", b"study 8", "another study"),
        (b, "a", b"", "no study"),
    ]
    for keys, sender, about, what in wrong:
        with pytest.raises(WireError, match=f"a parcel that {sender} has not sealed"):
            pytest.fail(f"{what} opened it: {keys.open_from(sender, parcel, about)!r}")


def test_a_parcel_with_any_bit_changed_or_any_byte_missing_is_not_opened(federation: Federation) -> None:
    a, b = federation.join("a"), federation.join("b")
    parcel = a.seal_for("b", b"the study's key", ABOUT)
    for bit in range(8 * len(parcel)):
        changed = bytearray(parcel)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            b.open_from("a", bytes(changed), ABOUT)
    for length in range(len(parcel)):
        with pytest.raises(WireError):
            b.open_from("a", parcel[:length], ABOUT)
    with pytest.raises(WireError):
        b.open_from("a", parcel + b"\0", ABOUT)


def test_the_same_secret_is_sealed_differently_each_time(federation: Federation) -> None:
    a = federation.join("a")
    federation.join("b")
    assert len({a.seal_for("b", b"the study's key", ABOUT) for _ in range(100)}) == 100


def test_nothing_is_sealed_for_a_stranger(federation: Federation) -> None:
    a = federation.join("a")
    with pytest.raises(RosterError):
        a.seal_for("b", b"the study's key", ABOUT)


@POSIX
def test_an_agreement_key_is_its_owners_alone_made_once_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "agreement.key"
    old = os.umask(0)
    try:
        first = load_or_create_agreement(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_agreement(path).private_bytes_raw() == first.private_bytes_raw()
    assert os.listdir(path.parent) == ["agreement.key"]


@POSIX
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_an_agreement_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "agreement.key"
    load_or_create_agreement(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=r"agreement\.key.*chmod 600"):
        load_or_create_agreement(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a key",
        X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())[:70],
        new_identity("a").private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["empty", "text", "cut short", "an identity key"],
)
def test_a_file_that_is_no_agreement_key_is_named_and_left_as_it_is(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "agreement.key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"agreement\.key"):
        load_or_create_agreement(path)
    assert path.read_bytes() == data


def test_no_secret_is_shown_and_keys_are_not_pickled(federation: Federation) -> None:
    a = federation.join("a")
    federation.join("b")
    secrets = [a.agreement.private_bytes_raw(), a.pair_secret("b"), a.pair_secret("a")]
    secrets.append(a.identity.private_key.private_bytes_raw())
    shown = f"{a!r} {a} {[a]}"
    assert "Identity(id='a')" in shown
    for secret in secrets:
        assert secret.hex() not in shown
        assert repr(secret) not in shown
    with pytest.raises((TypeError, AttributeError), match="pickle"):
        pickle.dumps(a)
