"""De-identification of events: names for patients and keys, dates that move, and codes that name nobody.

What an event table's column holds is known before any hospital's data: times move with their patient's, by
whole days, so that the time of day stays; identifiers become keyed stand-ins; nothing holds free text.
"""

import datetime
import hmac
import os
import re
from collections.abc import Callable
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedcohort.errors import ConfigError, StoreError
from fedcohort.sources.catalogue.identifier_shapes import OLDEST_AGE_YEARS, shape_of
from fedcohort.sources.catalogue.schema import DAY_0
from fedcohort.sources.deidentify.pseudonym import (
    alias,
    code_pseudonym,
    key_id,
    masked_digest,
    masked_file_name,
)
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.events.naming import EventNames, Named
from fedcohort.sources.events.tables import KINDS
from fedcohort.sources.events.times import MILLISECONDS_PER_DAY

_REMEMBERED = 5_000
_NONCE = 12


def event_names(rules: Rules, key: bytes, named: frozenset[str], form: int) -> EventNames:
    """How a site's key and rules treat events.

    Args:
        named: parts that the engineer named one by one, and so may be called by their names.
        form: of the database's identifiers.
    Raises:
        ConfigError: the rules are not of event tables.
    """
    _check(rules)
    patterns = [re.compile(pattern) for pattern in rules.identifiers]
    today = rules.as_of or datetime.datetime.now(datetime.UTC).date()
    identity = f"pseudonyms of key {key_id(key)}, dates shifted by up to {rules.max_shift_days} days"

    @lru_cache(_REMEMBERED)
    def patient(identifier: str) -> Named:
        return Named(*alias(key, identifier, rules.max_shift_days, form))

    @lru_cache(_REMEMBERED)
    def stand_in(what: str, identifier: str) -> str:
        return code_pseudonym(key, what, identifier, form)

    @lru_cache(_REMEMBERED)
    def has_shape(text: str, is_local: bool) -> bool:
        shape = shape_of(text, patterns) if is_local else None
        return shape is not None or any(pattern.search(text) for pattern in patterns)

    seal, unseal = _sealing(key)
    return EventNames(
        identity=identity,
        form=form,
        digest=f"{key_id(key)}|{rules.model_dump_json()}",
        oldest_ms=_oldest(today),
        patient=patient,
        stand_in=stand_in,
        has_shape=has_shape,
        seal=seal,
        unseal=unseal,
        part_name=lambda name: (
            name if name in named or rules.file_names == "keep" else masked_file_name(key, name)
        ),
        content=lambda digest: masked_digest(key, digest),
        report=(
            f"de-identified: {identity}\n  event tables: keys, visits, orders as keyed codes; times moved; "
            "names, addresses and free texts left out"
        ),
    )


def _sealing(key: bytes) -> tuple[Callable[[str, bytes], bytes], Callable[[str, bytes], bytes]]:
    """AES-GCM (NIST SP 800-38D) under a key of its own, bound to what the content is of."""
    cipher = AESGCM(hmac.digest(key, b"fedcohort event clocks\x00", "sha256"))

    def seal(what: str, content: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + cipher.encrypt(nonce, content, what.encode())

    def unseal(what: str, content: bytes) -> bytes:
        try:
            return cipher.decrypt(content[:_NONCE], content[_NONCE:], what.encode())
        except InvalidTag:
            raise StoreError(
                "event groups were written under another key, or are damaged; restore the database and "
                "its key"
            ) from None

    return seal, unseal


def _oldest(today: datetime.date) -> int:
    """What lies before the first day of the year 90 years ago tells an age over 89."""
    return (datetime.date(today.year - OLDEST_AGE_YEARS, 1, 1).toordinal() - DAY_0) * MILLISECONDS_PER_DAY


def _check(rules: Rules) -> None:
    """Refuse rules that would do nothing.

    Raises:
        ConfigError: says which.
    """
    if rules.dates == "year":
        raise ConfigError(
            'rules: dates = "year" leaves no order of events; write dates = "shift" for a database of events'
        )
    ruled = sorted(set(rules.tables) & set(KINDS))
    if ruled or rules.columns:
        where = f"[tables.{ruled[0]}]" if ruled else "[columns]"
        raise ConfigError(
            f"rules: {where}: an event table's columns are treated by what they hold, and no rule changes "
            "it; give events a rules file without it"
        )
