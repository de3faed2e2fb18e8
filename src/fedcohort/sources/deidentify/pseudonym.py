"""Keyed pseudonyms and per-patient date offsets: what links a patient's rows, and tells nobody who it is.

Both are HMAC-SHA-256 (RFC 2104, FIPS 198-1) of the patient's identifier under a key that the
site alone holds: a plain hash of a hospital number is undone by trying every number (Article 29
Working Party, opinion 05/2014 on anonymisation techniques, 4). The same key gives the same
pseudonym in every table and import, so that a CSV file and a DICOM folder meet; another key
gives another. The key never leaves the site, is in no report, and cannot be recovered: who
loses it starts a new database, and so does who replaces it.

Dates move by whole days, all of a patient's by as many, so that intervals stay (Hripcsak et al.
2016, "Preserving temporal relations in clinical data while maintaining privacy", JAMIA 23(6)).
The offset is uniform over -N ... -1 and 1 ... N: nobody's dates stay as they were, and every
other offset is as likely, whole weeks too. Offsets of whole weeks alone, as MIMIC has them to
keep the day of the week (Johnson et al. 2016, Scientific Data 3:160035), would leave a seventh
of the candidates to whoever knows one true date.
"""

import base64
import binascii
import datetime
import hmac
import re
import secrets
import unicodedata
from functools import lru_cache
from pathlib import Path, PurePath
from typing import NamedTuple

from fedcohort.errors import KeyFileError, ValueRangeError
from fedcohort.sources.catalogue.normal_form import FORM, UnreadableError, identifier
from fedcohort.storage.files import read_key_file, read_or_make_key

KEY_BYTES = 32
DEFAULT_MAX_SHIFT_DAYS = 365
STAND_IN = "file-"
"""How the stand-in of a file's name begins."""

_HEADER = b"fedcohort de-identification key, version 1\n"
_HALF = 16
_KNOWN_ENDING = re.compile(r"\.(csv|tsv|txt|gz|parquet|pq|dcm|hl7|json|ndjson|xml|zip|db|sqlite|duckdb)")
_PATIENT, _CODE, _FILE = b"patient", b"code", b"file"
_CONTENT, _KEY_ID = b"content", b"key id"


class Alias(NamedTuple):
    """A patient as the database knows it, and by how many days its dates move."""

    name: str
    days: int


def load_or_create_key(path: Path) -> bytes:
    """Read a site's de-identification key, or make one that only this user can read.

    Returns:
        32 bytes.
    Raises:
        KeyFileError: the file is not such a key, cannot be made, or others can read it; or its folder is
            not there, as of a path that was mistyped.
    """
    if not path.parent.is_dir():
        raise KeyFileError(
            f"{path}: there is no folder {path.parent}; correct --key, or make the folder first"
        )
    return _key(
        path,
        read_or_make_key(path, lambda: _HEADER + base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n"),
    )


def load_key(path: Path) -> bytes:
    """Read a key that must be there: a new one would fit nothing that was imported.

    Raises:
        KeyFileError: the file is missing, is not such a key, or others can read it.
    """
    return _key(path, read_key_file(path))


def _key(path: Path, data: bytes) -> bytes:
    head, header, body = data.partition(_HEADER)
    try:
        key = base64.b64decode(body.strip(), validate=True)
    except binascii.Error:
        key = b""
    if head or not header or len(key) != KEY_BYTES:
        raise KeyFileError(f"{path}: not a de-identification key; restore it from a backup")
    return key


def key_id(key: bytes) -> str:
    """What tells two keys apart and gives neither away: 16 hexadecimal digits."""
    return _hmac(key, _KEY_ID, "")[:8].hex()


def alias(key: bytes, patient_id: object, max_days: int = DEFAULT_MAX_SHIFT_DAYS, form: int = FORM) -> Alias:
    """A patient's pseudonym and offset together: the halves of one HMAC, neither of which tells the other.

    Args:
        key: the site's, 32 bytes.
        patient_id: as the hospital has it; spaces around it do not count, and 7, 7.0 and '7' are one patient.
        max_days: N, of which the offset is -N ... -1 or 1 ... N.
        form: of identifiers, as the database has it; another gives some patients another pseudonym.
    Raises:
        ValueRangeError: the identifier is empty or has no text, or max_days is below 1.
    """
    if max_days < 1:
        raise ValueRangeError(f"date shift: max_days must be 1 or more, not {max_days}")
    digest = _hmac(key, _PATIENT, normal_id(patient_id, form))
    days = int.from_bytes(digest[_HALF:], "big") % (2 * max_days) - max_days
    return Alias("p" + digest[:_HALF].hex(), days if days < 0 else days + 1)


def pseudonym(key: bytes, patient_id: str) -> str:
    """A patient's name in the database: 128 bits as `p` and 32 hexadecimal digits, a text and never a number.

    Raises:
        ValueRangeError: the identifier is empty.
    """
    return alias(key, patient_id).name


def shift_days(key: bytes, patient_id: str, max_days: int = DEFAULT_MAX_SHIFT_DAYS) -> int:
    """By how many days all of a patient's dates move: uniform over -max_days ... max_days without 0.

    Raises:
        ValueRangeError: the identifier is empty, or max_days is below 1.
    """
    return alias(key, patient_id, max_days).days


def shift_date(value: datetime.date, days: int) -> datetime.date | None:
    """A date or a date and time, moved; None where the calendar ends (such as 9999-12-31 for 'never')."""
    try:
        return value + datetime.timedelta(days)
    except OverflowError:
        return None


def code_pseudonym(key: bytes, column: str, value: str, form: int = FORM) -> str:
    """Another identifier's stand-in, such as an admission's number: the same in all columns of one name."""
    return "c" + _hmac(key, _CODE, f"{column}\x00{normal_id(value, form)}")[:_HALF].hex()


def masked_file_name(key: bytes, name: str) -> str:
    """A file's stand-in, for its name may be a patient's. A known ending stays."""
    end = PurePath(name).suffix.lower()
    return f"{STAND_IN}{_hmac(key, _FILE, name)[:8].hex()}" + (end if _KNOWN_ENDING.fullmatch(end) else "")


def masked_digest(key: bytes, digest: str) -> str:
    """A content's stand-in: a plain hash tells whether a file that somebody guesses is the one."""
    return _hmac(key, _CONTENT, digest).hex()


def normal_id(patient_id: object, form: int = FORM) -> str:
    """The text by which identifiers are compared (`normal`).

    Args:
        form: 1 is that of earlier versions: of the printed value, in form C.
    Raises:
        ValueRangeError: it is empty, or neither text nor number.
    """
    if form == 1:
        text = str(patient_id)
        patient_id = text if text.isascii() else unicodedata.normalize("NFC", text)
    try:
        normal = identifier(patient_id, form)
    except UnreadableError:
        raise ValueRangeError("patient_id is neither text nor number; correct it in the source") from None
    if normal is None:
        raise ValueRangeError("patient_id is empty; every row needs its patient's identifier")
    return normal


def _hmac(key: bytes, purpose: bytes, text: str) -> bytes:
    """HMAC-SHA-256 of purpose and text; the zero byte keeps one purpose from beginning another."""
    begun = _begun(key, purpose).copy()
    begun.update(text.encode("utf-8", "surrogatepass"))
    return begun.digest()


@lru_cache(16)
def _begun(key: bytes, purpose: bytes) -> hmac.HMAC:
    """An HMAC that has read the key and its purpose, once for all patients."""
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"de-identification key: {KEY_BYTES} bytes are needed, not {len(key)}")
    return hmac.new(key, b"fedcohort " + purpose + b"\x00", "sha256")
