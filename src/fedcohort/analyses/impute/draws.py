"""Random numbers for missing values, each by its patient: whichever hospital holds a patient draws the same.

So the data sets do not depend on how patients are spread over hospitals, and a process that was restarted
draws again what it drew. They fill in values, and hide nothing: the study's seed is no secret.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def keys_of(patient_ids: NDArray[np.str_]) -> Keys:
    """(n,): a key of each row: by its patient, and which of the patient's rows it is."""
    n = len(patient_ids)
    keys = np.zeros(n, np.uint64)
    if not n:
        return keys
    letters = np.ascontiguousarray(patient_ids).view(np.uint32).reshape(n, -1)
    for letter in letters.T.astype(np.uint64):
        # A narrower array of the same names ends sooner: what follows a name counts for nothing.
        keys = np.where(letter > 0, _mixed(keys ^ letter), keys)
    return _mixed(keys ^ _place_of(patient_ids))


def _place_of(patient_ids: NDArray[np.str_]) -> Keys:
    """(n,): how many rows of the same patient stand before each row."""
    n = len(patient_ids)
    order = np.argsort(patient_ids, kind="stable")
    ordered = patient_ids[order]
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = np.maximum.accumulate(np.where(begins, np.arange(n), 0))
    place = np.empty(n, np.uint64)
    place[order] = (np.arange(n) - first).astype(np.uint64)
    return place


def uniforms(keys: Keys, seed: int, purpose: str) -> Floats:
    """(n,): numbers between 0 and 1, both left out, of a purpose."""
    digest = hashlib.sha256(f"fedcohort-impute|{seed}|{purpose}".encode()).digest()
    one, other = np.frombuffer(digest[:16], "<u8")
    bits = _mixed(_mixed(keys ^ one) + other)
    drawn: Floats = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return drawn


def normals(keys: Keys, seed: int, purpose: str) -> Floats:
    """(n,): standard normal numbers of a purpose."""
    from scipy.special import ndtri

    drawn: Floats = ndtri(uniforms(keys, seed, purpose))
    return drawn


def _mixed(keys: Keys) -> Keys:
    """Steele, Lea and Flood 2014 (OOPSLA), SplitMix64: each bit depends on all."""
    keys = keys + _GOLDEN
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
