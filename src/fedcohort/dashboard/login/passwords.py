"""Passwords: argon2id by the second recommendation of RFC 9106 (section 4), rules by NIST SP 800-63B.

NIST SP 800-63B-4, section 3.1.1.2: length and a list of common passwords, no rules about
kinds of characters, no forced changes; every printable character, normalised (NFKC).
"""

import threading
import unicodedata
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from fedcohort.dashboard.login.people import People, fold

MIN_LENGTH, MAX_LENGTH = 12, 256
MIN_DISTINCT = 5
AT_ONCE = 2
"""Each takes 64 MiB; a flood of log-ins waits its turn."""
WAIT_SECONDS = 10.0

COMMON = (
    "password", "passw0rd", "p@ssword", "p@ssw0rd", "welcome", "letmein", "administrator", "changeme",
    "iloveyou", "football", "baseball", "superman", "sunshine", "princess", "qwertyuiop", "qwerty",
    "asdfghjkl", "zxcvbnm", "1q2w3e4r5t6y", "1qaz2wsx3edc", "hospital", "fedcohort", "dashboard", "secret",
    "correcthorsebatterystaple", "trustno1", "hunter2", "operator", "researcher", "medicine",
)  # fmt: skip
"""Refused alone, doubled, or with only digits and signs added."""
ROWS = ("abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiopasdfghjklzxcvbnm")


@dataclass(frozen=True)
class Passwords:
    """Computes and compares digests, a few at a time."""

    hasher: PasswordHasher = field(
        default_factory=lambda: PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
    )
    slots: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))

    def hash(self, password: str) -> str | None:
        """The digest to store, with its salt and parameters; None when too many wait."""
        if not self.slots.acquire(timeout=WAIT_SECONDS):
            return None
        try:
            return self.hasher.hash(_normal(password))
        finally:
            self.slots.release()

    def check(self, people: People, name: str, password: str) -> str | None:
        """The account's name if the password is right; None when it is not, or too many wait.

        For an unknown name the same work is done, so that time does not reveal which names exist.
        """
        secret = people.secret(name)
        if not self.slots.acquire(timeout=WAIT_SECONDS):
            return None
        try:
            right = self._verify(secret.hash or DUMMY_HASH, password)
        finally:
            self.slots.release()
        if secret.hash is None or not right:
            return None
        if self.hasher.check_needs_rehash(secret.hash) and (newer := self.hash(password)):
            people.renew_hash(name, newer)
        return secret.name

    def _verify(self, hash: str, password: str) -> bool:
        given = _normal(password) if len(password) <= MAX_LENGTH else ""
        try:
            return self.hasher.verify(hash, given)
        except (VerificationError, InvalidHashError):
            return False


DUMMY_HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)
"""The digest of no password, compared with for unknown names."""


def objection(password: str, name: str) -> str | None:
    """The objection to a password, as the name of its text; None when there is none."""
    plain = fold(password)
    if len(_normal(password)) < MIN_LENGTH:
        return "password.short"
    if len(password) > MAX_LENGTH:
        return "password.long"
    core = plain.strip("0123456789 !?.,;:#*+-_/=$%&@")
    halves = {core, core[: len(core) // 2]} if core == core[: len(core) // 2] * 2 else {core}
    if (
        len(set(plain)) < MIN_DISTINCT
        or halves & {*COMMON, fold(name)}
        or (len(name) >= 4 and fold(name) in plain and len(plain) - len(fold(name)) < MIN_LENGTH // 2)
        or any(plain in row * 2 or plain in row[::-1] * 2 for row in ROWS)
    ):
        return "password.guessed"
    return None


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
