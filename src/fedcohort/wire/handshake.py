"""Who is there: mutual proof by identity keys, and by a one-time token at first contact.

Three flights each way, whoever dialled: hello, proof, verdict. The node proves
itself first, so that a stranger learns no more than a coordinator's name and key.
A proof is an Ed25519 signature over both hellos and the prover's role. When a key is not yet
pinned, HMAC-SHA256 by the join token over the same transcript stands for it, in
both directions; each side then pins the other's key. The transcript is not bound
to the TLS channel, for hospitals' proxies may end TLS (docs/threat-model.md).
"""

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError

from fedcohort.errors import (
    AuthenticationError,
    FedcohortError,
    JoinTokenError,
    LinkClosedError,
    VersionError,
    WireError,
)
from fedcohort.wire import fedcohort_pb2 as pb
from fedcohort.wire.identity import Identity, verify

VERSION_MIN, VERSION_MAX = 1, 2
COUNTERSIGNING = 2
"""The protocol's version from which a side knows `HeadCheck` and `Countersignature`."""
MAX_FLIGHT_BYTES = 4096
MAX_CLOCK_DIFFERENCE_SECONDS = 300
NONCE_BYTES, KEY_BYTES = 32, 32

_Flight = TypeVar("_Flight", pb.Hello, pb.Proof)
Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[bytes]]

_REMEDIES = {
    "version-unsupported": "update the older of the two",
    "clock": "set both clocks; they differ by more than five minutes",
    "unknown-site": "invite this site: `fedcohort coordinator invite --site NAME`",
    "wrong-key": "another key was pinned before; if the site was set up anew, remove it and invite it again",
    "bad-token": "the join token is wrong or used up; ask the operator for a new one",
    "bad-signature": "the other side does not hold the key it shows",
    "wrong-role": "a coordinator talks to nodes only, and nodes to a coordinator",
}


_HEARD: dict[str, type[FedcohortError]] = {
    VersionError.code: VersionError,
    "bad-token": JoinTokenError,
}
"""Refusals of the other side that are more than an AuthenticationError."""


class Trust(Protocol):
    """What one side knows of the others."""

    def key_of(self, name: str) -> bytes | None:
        """The key pinned for this name."""
        ...

    def token_of(self, name: str) -> bytes | None:
        """The join token for this name, while its key is not pinned for good."""
        ...

    def pin(self, name: str, key: bytes) -> None:
        """Remember the key of a name."""
        ...

    def settled(self, name: str) -> None:
        """The other side has pinned our key too: the token is used up."""
        ...


@dataclass(frozen=True)
class Peer:
    """Who is at the other end, proven."""

    id: str
    key: bytes
    version: int = VERSION_MAX
    """The newest version of the protocol that both sides speak."""


async def shake_hands(identity: Identity, role: str, trust: Trust, send: Send, receive: Receive) -> Peer:
    """Prove who we are, and learn who the other is.

    Args:
        role: "coordinator" or "node".
        send, receive: whole messages of an open channel.
    Raises:
        VersionError, AuthenticationError: what is wrong, and the remedy; the other side learns a code.
    """
    mine = _hello(identity, role)
    await send(mine)
    raw = await receive()
    try:
        theirs = _read_hello(raw, role)
        token = trust.token_of(theirs.id)
        transcript = _transcript(role, mine, raw)
        ours = _proof(identity, transcript, role, token)
        if role == "node":
            await send(ours)
        proof = _read_proof(await receive())
        _check(trust, theirs, proof, transcript, token)
    except FedcohortError as error:
        with contextlib.suppress(LinkClosedError):
            await send(pb.Proof(refusal=getattr(error, "reason", error.code)).SerializeToString())
        raise
    await _conclude(role, partial(_pin, trust, theirs, proof), ours, send, receive)
    return Peer(theirs.id, theirs.public_key, min(VERSION_MAX, theirs.version_max))


async def _conclude(role: str, pin: Callable[[], None], ours: bytes, send: Send, receive: Receive) -> None:
    """Tell each other that the proofs hold; the coordinator pins first, for it keeps the token.

    A node that has pinned shows the token no more: were it first, a connection lost
    between the two would shut it out for good.
    """
    verdict = pb.Proof().SerializeToString()
    await send(ours if role == "coordinator" else verdict)
    _read_proof(await receive())
    pin()
    if role == "coordinator":
        await send(verdict)


def _pin(trust: Trust, theirs: pb.Hello, proof: pb.Proof) -> None:
    if trust.key_of(theirs.id) is None:
        trust.pin(theirs.id, theirs.public_key)
    if not proof.token_mac:
        trust.settled(theirs.id)


def _hello(identity: Identity, role: str) -> bytes:
    hello = pb.Hello(
        version_min=VERSION_MIN,
        version_max=VERSION_MAX,
        role=role,
        id=identity.id,
        public_key=identity.public_key,
        nonce=secrets.token_bytes(NONCE_BYTES),
        unix_time=int(time.time()),
    )
    return hello.SerializeToString()


def _read_hello(data: bytes, role: str) -> pb.Hello:
    hello = _parse(pb.Hello, data)
    if len(hello.public_key) != KEY_BYTES or len(hello.nonce) != NONCE_BYTES:
        raise WireError("a hello with a broken key or nonce")
    if not hello.id or len(hello.id) > 64 or not hello.id.isprintable():
        raise WireError("a hello with a broken id")
    if hello.version_min > VERSION_MAX or hello.version_max < VERSION_MIN:
        raise VersionError(
            f"{hello.id} speaks protocol {hello.version_min} to {hello.version_max}, this program "
            f"{VERSION_MIN} to {VERSION_MAX}; {_REMEDIES['version-unsupported']}"
        )
    if hello.role == role or hello.role not in ("coordinator", "node"):
        raise _refused(hello.id, "wrong-role")
    if abs(hello.unix_time - time.time()) > MAX_CLOCK_DIFFERENCE_SECONDS:
        raise _refused(hello.id, "clock")
    return hello


def _transcript(role: str, mine: bytes, theirs: bytes) -> bytes:
    first, second = (mine, theirs) if role == "coordinator" else (theirs, mine)
    return hashlib.sha256(
        b"fedcohort-handshake-1" + len(first).to_bytes(4, "little") + first + second
    ).digest()


def _proof(identity: Identity, transcript: bytes, role: str, token: bytes | None) -> bytes:
    signed = role.encode() + transcript
    mac = hmac.digest(token, b"join" + signed, "sha256") if token else b""
    return pb.Proof(signature=identity.sign(b"proof" + signed), token_mac=mac).SerializeToString()


def _read_proof(data: bytes) -> pb.Proof:
    proof = _parse(pb.Proof, data)
    if proof.refusal:
        code = proof.refusal if proof.refusal.isprintable() else "unknown"
        error = _HEARD.get(code, AuthenticationError)
        raise error(f"the other side refused: {code[:64]}; {_REMEDIES.get(code, 'see its log')}")
    return proof


def _check(trust: Trust, theirs: pb.Hello, proof: pb.Proof, transcript: bytes, token: bytes | None) -> None:
    signed = theirs.role.encode() + transcript
    pinned = trust.key_of(theirs.id)
    if pinned is not None and not hmac.compare_digest(pinned, theirs.public_key):
        raise _refused(theirs.id, "wrong-key")
    if not verify(theirs.public_key, proof.signature, b"proof" + signed):
        raise _refused(theirs.id, "bad-signature")
    if pinned is None:
        if token is None:
            raise _refused(theirs.id, "unknown-site")
        if not hmac.compare_digest(proof.token_mac, hmac.digest(token, b"join" + signed, "sha256")):
            raise _refused(theirs.id, "bad-token")


class _Refusal(AuthenticationError):
    """Carries the reason that the other side may hear."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def _refused(name: str, reason: str) -> AuthenticationError:
    return _Refusal(f"{name[:64]}: {reason}: {_REMEDIES[reason]}", reason)


def _parse(kind: type[_Flight], data: bytes) -> _Flight:
    if len(data) > MAX_FLIGHT_BYTES:
        raise WireError("a handshake message that is too large")
    try:
        return kind.FromString(data)
    except DecodeError:
        raise WireError("not a handshake of this protocol") from None
