"""What sites believe of each other's keys, and what nobody else can open or read."""

import os
import pickle
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fedcohort.errors import ConfigError, KeyFileError, RosterError, WireError
from fedcohort.node.keys import Keys, RosterFolder, confirm, confirmed_key, enrol, is_genuine, make_card
from fedcohort.wire.identity import fingerprint, load_or_create_agreement, new_identity
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


def age(folder: Path, seconds: int = 10) -> None:
    """Make the folder's last change so old that what was read of it may be kept."""
    settled = folder.stat().st_mtime - seconds
    os.utime(folder, (settled, settled))


def test_a_roster_without_a_folder_is_empty(tmp_path: Path) -> None:
    assert RosterFolder(tmp_path / "roster")() == {}


def test_a_key_is_seen_as_soon_as_it_is_confirmed_and_forgotten_when_its_file_goes(tmp_path: Path) -> None:
    roster = RosterFolder(tmp_path / "roster")
    seen: list[Mapping[SiteId, bytes]] = [dict(roster())]
    confirm(roster.folder, "a", b"a" * 32)
    seen.append(dict(roster()))
    confirm(roster.folder, "b", b"b" * 32)
    seen.append(dict(roster()))
    (roster.folder / "a.pub").unlink()
    seen.append(dict(roster()))
    assert seen == [{}, {"a": b"a" * 32}, {"a": b"a" * 32, "b": b"b" * 32}, {"b": b"b" * 32}]


def test_a_roster_that_was_read_long_ago_sees_changes_too(tmp_path: Path) -> None:
    roster = RosterFolder(tmp_path / "roster")
    confirm(roster.folder, "a", b"a" * 32)
    age(roster.folder)
    assert roster() == {"a": b"a" * 32}
    confirm(roster.folder, "a", b"c" * 32)
    assert roster() == {"a": b"c" * 32}
    age(roster.folder)
    assert roster() == {"a": b"c" * 32}
    (roster.folder / "a.pub").unlink()
    assert roster() == {}


def test_an_unchanged_roster_is_not_read_again(tmp_path: Path) -> None:
    roster = RosterFolder(tmp_path / "roster")
    confirm(roster.folder, "a", b"a" * 32)
    age(roster.folder)
    assert roster() is roster()


@pytest.mark.parametrize(
    "content",
    [b"", b"not hex", b"ab" * 31, b"ab" * 33, b"\xff" * 64, b"-----BEGIN PUBLIC KEY-----"],
    ids=["empty", "words", "31 bytes", "33 bytes", "binary", "PEM"],
)
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hospital_b.pub").write_bytes(content)
    with pytest.raises(ConfigError, match=r"hospital_b\.pub: not the 64 hex digits"):
        RosterFolder(tmp_path)()


def test_a_broken_roster_is_told_until_it_is_mended(tmp_path: Path) -> None:
    roster = RosterFolder(tmp_path)
    (tmp_path / "b.pub").write_text("half a key")
    age(tmp_path)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"b\.pub"):
            roster()
    confirm(tmp_path, "b", b"b" * 32)
    assert roster() == {"b": b"b" * 32}


def test_a_folder_in_a_keys_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.pub").mkdir()
    with pytest.raises(ConfigError, match=r"b\.pub"):
        RosterFolder(tmp_path)()


def test_other_files_of_the_folder_are_no_keys(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("compare fingerprints by telephone")
    (tmp_path / ".a.pub.0123").write_text("what a killed process left")
    confirm(tmp_path, "st.mary", b"m" * 32)
    assert RosterFolder(tmp_path)() == {"st.mary": b"m" * 32}


def test_a_roster_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "roster").write_text("a file, where the folder should be")
    with pytest.raises(ConfigError, match=r"roster.*make the roster's folder writable"):
        confirm(tmp_path / "roster", "b", bytes(32))


@pytest.mark.parametrize(
    "spoken",
    [
        "6668 7aad f862 bd77 6c8f c18b 8e9f 8e20",
        "66687aadf862bd776c8fc18b8e9f8e20",
        "  6668 7AAD F862 BD77\n6C8F C18B 8E9F 8E20 ",
        "6 6 6 8 7aad\tf862 bd77 6c8f c18b 8e9f 8e20",
    ],
    ids=["as shown", "without spaces", "upper case, two lines", "tabs"],
)
def test_a_fingerprint_is_known_however_it_is_spaced_and_written(spoken: str) -> None:
    card = Card("b", bytes(32), bytes(32), bytes(64))
    assert confirmed_key(card, spoken) == bytes(32)


@pytest.mark.parametrize(
    "spoken",
    [
        "",
        "6668",
        "6668 7aad f862 bd77 6c8f c18b 8e9f 8e21",
        "6668 7aad f862 bd77 6c8f c18b 8e9f 8e20 00",
        "66:68",
        "*",
    ],
)
def test_another_fingerprint_or_a_part_of_it_confirms_nothing(spoken: str) -> None:
    card = Card("hospital_b", bytes(32), bytes(32), bytes(64))
    with pytest.raises(ConfigError, match=r"hospital_b: .*another fingerprint; do not go on"):
        confirmed_key(card, spoken)


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
    for use in (a.peer, a.pair_secret):
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
    with pytest.raises(RosterError, match=r"b: has not shown a card under its confirmed key"):
        a.pair_secret("b")


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
    assert a.pair_secret("b") == b.pair_secret("a")
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


def test_a_site_of_this_machine_is_enrolled_by_its_key_file(tmp_path: Path) -> None:
    for _ in range(2):
        enrol(tmp_path / "roster", "b", tmp_path / "b" / "site.key")
    ((site, key),) = RosterFolder(tmp_path / "roster")().items()
    assert site == "b"
    assert len(fingerprint(key)) == 39
    assert os.listdir(tmp_path / "roster") == ["b.pub"]
    assert (tmp_path / "roster" / "b.pub").read_text() == key.hex() + "\n"


def test_a_site_whose_key_file_is_broken_is_not_enrolled(tmp_path: Path) -> None:
    (tmp_path / "site.key").write_text("not a key")
    (tmp_path / "site.key").chmod(0o600)
    with pytest.raises(KeyFileError, match=r"site\.key"):
        enrol(tmp_path / "roster", "b", tmp_path / "site.key")
    assert not (tmp_path / "roster").exists()
