"""What is hashed and signed: known answers, and nothing that two records share."""

import hashlib
import struct
from dataclasses import replace
from typing import Any

import numpy as np

from fedcohort.wire.messages import Approval, Array, Contribution, Help
from fedcohort.wire.signing import (
    approval_signing_bytes,
    contribution_signing_bytes,
    help_signing_bytes,
    release_signing_bytes,
    state_digest,
    study_signing_bytes,
)

from .support import HASH

SIGNATURE = bytes(range(64))
DIGEST = bytes(range(32))


def test_the_digest_of_a_known_state_is_known() -> None:
    text = b"fedcohort-state-1"
    for part in (b"train", struct.pack("<Q", 3)):
        text += struct.pack("<Q", len(part)) + part
    head = b"w|<f4|(2,)"
    text += struct.pack("<QQ", len(head), 8) + head + struct.pack("<ff", 1.0, -2.0)
    found = state_digest("train", 3, {"w": np.array([1.0, -2.0], np.float32)})
    assert found == hashlib.sha256(text).digest()
    assert found.hex() == "7bb7ca56ab6bd2bc17bd9994ebbb827490d9f3a2ff4834b724d678f08af91814"


def test_states_that_differ_in_anything_have_different_digests() -> None:
    one = np.array([1.0, 2.0], np.float32)
    states: list[tuple[str, int, dict[str, Array]]] = [
        ("train", 1, {"w": one}),
        ("train", 2, {"w": one}),
        ("evaluate", 1, {"w": one}),
        ("train", 1, {"v": one}),
        ("train", 1, {"w": one.reshape(1, 2)}),
        ("train", 1, {"w": one.astype(np.float64)}),
        ("train", 1, {"w": one.view(np.int32)}),
        ("train", 1, {"w": one[:1], "v": one[1:]}),
        ("train", 1, {"w": one[:1], "x": one[1:]}),
        ("train", 1, {}),
    ]
    assert len({state_digest(*state) for state in states}) == len(states)


def test_the_layout_of_an_array_in_memory_does_not_change_its_digest() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    for other in (np.asfortranarray(rows), rows.astype(">f4"), np.repeat(rows, 2, axis=0)[::2]):
        assert state_digest("train", 1, {"w": other}) == state_digest("train", 1, {"w": rows})


def test_no_two_records_are_signed_by_the_same_bytes() -> None:
    contribution = Contribution(HASH, 3, 1, "hospital_a", DIGEST, b"ring", {"b": b"x"})
    approval = Approval(HASH, "hospital_a", approved=True, max_rounds=5, expires_at=9)
    help_ = Help(HASH, 3, 1, "hospital_a", b"ring")
    changes: list[dict[str, Any]] = [
        {},
        {"study_hash": "cd" * 32},
        {"round": 4},
        {"attempt": 2},
        {"site": "hospital_b"},
        {"body": b"rinG"},
        {"extras": {"b": b"y"}},
        {"extras": {"c": b"x"}},
        {"extras": {}},
        {"state_digest": bytes(32)},
    ]
    texts = [contribution_signing_bytes(replace(contribution, **change)) for change in changes]
    texts += [help_signing_bytes(replace(help_, **change)) for change in changes[:6]]
    texts += [
        approval_signing_bytes(replace(approval, **change))
        for change in (
            {},
            {"approved": False},
            {"code": "x"},
            {"max_rounds": 6},
            {"expires_at": 8},
            {"site": "b"},
            {"disclosure": '{"min_cell":20}'},
            {"release_seconds": 60},
            {"disclosure": '{"min_cell":20}', "release_seconds": 60},
        )
    ]
    release = (HASH, 0, DIGEST, DIGEST, "shape", "a", b"")
    texts += [
        release_signing_bytes(*release),
        release_signing_bytes(HASH, 0, DIGEST, DIGEST, "shap", "ea", b""),
    ]
    texts += [study_signing_bytes(b"{}"), study_signing_bytes(b"{} ")]
    assert len(set(texts)) == len(texts)


def test_the_signature_is_not_part_of_what_is_signed() -> None:
    contribution = Contribution(HASH, 3, 1, "hospital_a", DIGEST, b"ring")
    signed = replace(contribution, signature=SIGNATURE)
    assert contribution_signing_bytes(signed) == contribution_signing_bytes(contribution)
