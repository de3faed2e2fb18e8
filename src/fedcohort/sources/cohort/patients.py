"""Patients of a cohort: their identifiers in one form, and on which side of a hold-out each of them is."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.normal_form import FORM, ROUNDED, UnreadableError, identifier, is_rounded
from fedcohort.sources.cohort.values import NEITHER, Coded, Unfit, Values, plain, unfit_where


def patients(values: Values, where: str, form: int = FORM) -> tuple[NDArray[np.str_], list[Unfit]]:
    """Patient identifiers as text in the data set's form, 1 and 1.0 being the same patient; "" for none."""
    texts = _texts(values)
    if texts is not None and _are_keys(texts):
        return texts, []
    keys = [_patient(value, form) for value in plain(values)]
    unreadable = np.array([key is None for key in keys], dtype=np.bool_)
    nobody = np.array([key == "" for key in keys], dtype=np.bool_)
    rounded = np.array([is_rounded(value) for value in plain(values)], dtype=np.bool_)
    odd = [
        *unfit_where(unreadable, SchemaError(NEITHER, column=where), needed=True),
        *unfit_where(
            nobody,
            SchemaError(
                "{column}: has rows without a patient; every row needs its patient's pseudonym", column=where
            ),
            needed=True,
        ),
        *unfit_where(rounded, SchemaError("{where}: holds {what}", where=where, what=ROUNDED), needed=True),
    ]
    return np.array([key or "" for key in keys], dtype=np.str_), odd


def _patient(value: object, form: int) -> str | None:
    """An identifier's text, "" where it is missing; None where it has none."""
    try:
        return identifier(value, form) or ""
    except UnreadableError:
        return None


def _texts(values: Values) -> NDArray[np.str_] | None:
    """Identifiers as one array, if they are texts throughout or whole numbers throughout."""
    if isinstance(values, Coded):
        return None
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "U":
            return values.astype(np.str_, copy=False)
        if values.dtype.kind not in "iu":
            return None
        values = list(map(str, values.tolist()))
    return np.array(values, dtype=np.str_) if set(map(type, values)) == {str} else None


def _are_keys(texts: NDArray[np.str_]) -> bool:
    """Whether texts surely are what `identifier` makes of them: of letters, digits and most signs.

    No blank or NUL to be left out, and no number written with a sign or a point.
    """
    if not texts.size or not texts.dtype.itemsize:
        return False
    points = np.ascontiguousarray(texts).view(np.uint32).reshape(len(texts), -1)
    odd = (points - np.uint32(1) < 0x20) | (points >= 0x7F) | (points == ord("+")) | (points == ord("."))
    ended = (points[:, :-1] == 0) & (points[:, 1:] != 0)
    first = points[:, 0]
    return not odd.any() and not ended.any() and bool((first != 0).all() and (first != ord("-")).all())


def held_out(patient_ids: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Whether each patient is held out: always the same side for one study seed, at every site and run.

    The side is BLAKE2b (RFC 7693) of patient_id keyed by the seed, read as a fraction of 2^64.
    """
    keyed = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "big"), person=b"fedcohort-split")
    digests = []
    for patient in patient_ids:
        digest = keyed.copy()  # the key's block is hashed once
        digest.update(patient.encode())
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), ">u8") < math.ceil(fraction * 2**64)
