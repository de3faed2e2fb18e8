"""A node's keys: secrets shared with other sites, secrets at rest, and the roster of others' keys.

A site's X25519 agreement key never leaves its file. Its public half travels on a card
signed by the site's identity key, and is believed only when an operator has confirmed
that identity key out of band: the roster is a folder of `SITE.pub` files, 64 hex digits
each, which `fedcohort roster` writes.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from string import hexdigits

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedcohort.errors import ConfigError, KeyFileError, RosterError, WireError
from fedcohort.storage.files import write_whole
from fedcohort.wire.identity import Identity, fingerprint, load_or_create, verify
from fedcohort.wire.messages import SITE_NAME, Card, Contribution, Help, Message, SiteId
from fedcohort.wire.signing import card_signing_bytes, contribution_signing_bytes, help_signing_bytes

NONCE_BYTES, KEY_BYTES, KEY_DIGITS, FINGERPRINT_DIGITS = 12, 32, 64, 32
# A file system's clock may tick only every two seconds: what changed later may bear the same time.
SETTLED_NS = 2_000_000_000
FileState = tuple[str, int, int, int, int]


def signed(identity: Identity, reply: Message, bodies: bytes | None = None) -> Message:
    """Sign a contribution or help; other messages are as they were.

    Args:
        bodies: the contribution's `bodies_digest`, where it is known.
    """
    if isinstance(reply, Contribution):
        return replace(reply, signature=identity.sign(contribution_signing_bytes(reply, bodies)))
    if isinstance(reply, Help):
        return replace(reply, signature=identity.sign(help_signing_bytes(reply)))
    return reply


def make_card(identity: Identity, agreement: X25519PrivateKey) -> Card:
    """This site's card, signed."""
    card = Card(identity.id, identity.public_key, agreement.public_key().public_bytes_raw(), b"")
    return Card(card.site, card.identity_key, card.agreement_key, identity.sign(card_signing_bytes(card)))


def is_genuine(card: Card) -> bool:
    """Whether the card's identity key signed it; whose key that is, the roster says."""
    return verify(card.identity_key, card.signature, card_signing_bytes(card))


@dataclass(frozen=True)
class Keys:
    """One site's view of the others' keys.

    Attributes:
        card_of: the newest card of a site that was announced here.
        confirmed: identity keys by site, as the operator has confirmed them.
    """

    identity: Identity
    agreement: X25519PrivateKey = field(repr=False)
    card_of: Callable[[SiteId], Card | None]
    confirmed: Callable[[], Mapping[SiteId, bytes]]
    _secrets: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    @cached_property
    def card(self) -> Card:
        """This site's card for the others."""
        return make_card(self.identity, self.agreement)

    def peer(self, site: SiteId) -> Card:
        """The card of a site whose identity is confirmed.

        Raises:
            RosterError: nobody has confirmed it, or it has not sent a card under that key.
        """
        return self._peer(site, self.confirmed())

    def _peer(self, site: SiteId, confirmed: Mapping[SiteId, bytes]) -> Card:
        if site == self.card.site:
            return self.card
        identity_key, card = confirmed.get(site), self.card_of(site)
        if identity_key is None:
            raise RosterError(
                f"{site}: compare its fingerprint with that site; then `fedcohort roster --confirm {site}`"
            )
        if card is None or card.identity_key != identity_key:
            raise RosterError(f"{site}: has not shown a card under its confirmed key; see `fedcohort roster`")
        return card

    def pair_secret(self, site: SiteId) -> bytes:
        """The secret that this site shares with another; with itself, one that only it can compute.

        Raises:
            RosterError: the other site is not confirmed.
        """
        return self._shared(site, self.peer(site).agreement_key)

    def pair_secrets(self) -> Callable[[SiteId], bytes]:
        """`pair_secret` for the length of one answer, for which the roster is read once."""
        confirmed = self.confirmed()

        def secret(site: SiteId) -> bytes:
            return self._shared(site, self._peer(site, confirmed).agreement_key)

        return secret

    def _shared(self, site: SiteId, public: bytes) -> bytes:
        if public not in self._secrets:
            try:
                self._secrets[public] = self.agreement.exchange(X25519PublicKey.from_public_bytes(public))
            except ValueError:
                raise RosterError(f"{site}: its agreement key is none") from None
        return self._secrets[public]

    def lock(self, study_hash: str, secret: bytes) -> bytes:
        """Encrypt a study's secret for this site's own database."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._at_rest().encrypt(nonce, secret, study_hash.encode())

    def unlock(self, study_hash: str, locked: bytes) -> bytes:
        """Decrypt what `lock` encrypted.

        Raises:
            KeyFileError: the site's agreement key is another than then.
        """
        try:
            return self._at_rest().decrypt(locked[:NONCE_BYTES], locked[NONCE_BYTES:], study_hash.encode())
        except (InvalidTag, ValueError):
            raise KeyFileError(
                "agreement.key is not the one that the study's key was stored under; restore it from a backup"
            ) from None

    def _at_rest(self) -> AESGCM:
        derive = HKDF(hashes.SHA256(), KEY_BYTES, None, b"fedcohort-at-rest-1")
        return AESGCM(derive.derive(self.agreement.private_bytes_raw()))

    def seal_for(self, site: SiteId, data: bytes, about: bytes) -> bytes:
        """Encrypt for one other site.

        Args:
            about: associated data that the other must give to open it.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._between(self.card.site, site).encrypt(nonce, data, about)

    def open_from(self, site: SiteId, sealed: bytes, about: bytes) -> bytes:
        """Decrypt what another site sealed for this one.

        Raises:
            WireError: it is not from that site, for this one, and about this.
        """
        try:
            return self._between(site, self.card.site).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about
            )
        except (InvalidTag, ValueError):
            raise WireError(f"a parcel that {site} has not sealed for this site and study") from None

    def _between(self, sender: SiteId, receiver: SiteId) -> AESGCM:
        other = receiver if sender == self.card.site else sender
        info = f"fedcohort-parcel-1|{sender}|{receiver}".encode()
        return AESGCM(HKDF(hashes.SHA256(), KEY_BYTES, None, info).derive(self.pair_secret(other)))


@dataclass
class RosterFolder:
    """Confirmed identity keys as files, read again when one is added, removed or overwritten.

    Overwriting a file does not change its folder's time: every file's state is compared.
    """

    folder: Path
    _read: tuple[FileState, ...] | None = None
    _keys: dict[SiteId, bytes] = field(default_factory=dict)

    def __call__(self) -> Mapping[SiteId, bytes]:
        """Identity keys by site.

        Raises:
            ConfigError: a file is not a key.
        """
        try:
            states = _states(self.folder)
        except FileNotFoundError:
            return {}
        if states != self._read:
            self._keys = {Path(name).stem: _read_key(self.folder / name) for name, *_ in states}
            changed_at = max((max(state[3:]) for state in states), default=0)
            self._read = states if time.time_ns() - changed_at > SETTLED_NS else None
        return self._keys


def _states(folder: Path) -> tuple[FileState, ...]:
    """Of each key's file: its name, inode and size, when it was written, and when anything of it changed."""
    states = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".pub"):
                status = os.stat(entry.path)
                states.append(
                    (entry.name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                )
    return tuple(sorted(states))


def _read_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"{path}: not the {KEY_DIGITS} hex digits of a site's public key; remove it, and confirm the "
            f"site again: `fedcohort roster --confirm {path.stem}`"
        )
    return key


def confirmed_key(card: Card, fingerprint_read: str) -> bytes:
    """The identity key of a card whose fingerprint its operator has read out, out of band.

    Raises:
        ConfigError: it is no fingerprint, or another one's: the coordinator may have announced its own key.
    """
    digits = "".join(fingerprint_read.split()).lower()
    if len(digits) != FINGERPRINT_DIGITS or set(digits) - set(hexdigits):
        raise ConfigError(
            f"--fingerprint: a fingerprint has {FINGERPRINT_DIGITS} hexadecimal digits, and this is not one; "
            "give all that the other site's operator reads to you"
        )
    if digits != "".join(fingerprint(card.identity_key).split()):
        raise ConfigError(
            f"{card.site}: the key that was announced has another fingerprint; "
            "do not go on, and ask the coordinator's operator why"
        )
    return card.identity_key


def confirm(folder: Path, site: SiteId, identity_key: bytes) -> None:
    """Write a confirmed key into the roster.

    Raises:
        ConfigError: the folder cannot be written, or the name is not a site's.
    """
    if not SITE_NAME.fullmatch(site):
        raise ConfigError(f"{site[:64]!r} is no name of a site")
    path = folder / f"{site}.pub"
    try:
        write_whole(path, f"{identity_key.hex()}\n".encode(), folder_mode=0o777)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make the roster's folder writable") from error


def enrol(folder: Path, site: SiteId, key_file: Path) -> None:
    """Confirm a site of this very machine by its key file, which is made when it is missing.

    Raises:
        ConfigError, KeyFileError: roster or key cannot be written.
    """
    confirm(folder, site, load_or_create(key_file, site).public_key)
