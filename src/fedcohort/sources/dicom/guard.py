"""What a connection to the DICOM receiver may cost, held below pynetdicom: lengths, bytes and seconds.

A peer declares the length of every protocol data unit (PS3.8, 9.3.1), up to 4 GB, and may send it
a byte a minute. The guard follows the units as they arrive and ends a connection that declares
too much, sends too much without waiting for an answer, or takes too long.
"""

import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

_P_DATA, _ASSOCIATE_REQUEST = 0x04, 0x01
_HEADER = struct.Struct(">BBL")
_SLACK = 1024
"""Some senders count a unit's headers differently."""
_LARGEST: Mapping[int, int] = {_ASSOCIATE_REQUEST: 2**18}
_LARGEST_OTHER = 2**16


@dataclass(frozen=True)
class Limits:
    """What is allowed.

    Attributes:
        addresses: networks that may connect, such as 10.1.0.0/16.
        calling_titles: AE titles that may; any when empty.
        object_bytes: of one image, together with its answerless neighbours.
        association_seconds: of one association; unit_seconds: of one protocol data unit, from its first byte.
        free_bytes: that stay free on the disk.
    """

    addresses: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    calling_titles: tuple[str, ...] = ()
    associations: int = 8
    unit_bytes: int = 2**17
    object_bytes: int = 2**28
    idle_seconds: float = 60.0
    unit_seconds: float = 30.0
    association_seconds: float = 4 * 3600.0
    free_bytes: int = 2**30

    def admits(self, address: str) -> bool:
        """Whether a peer's address is within one of the networks."""
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None) or peer
        return any(mapped in ipaddress.ip_network(network) for network in self.addresses)


class GuardedSocket(socket.socket):
    """A peer's connection, counted and timed."""

    limits: Limits
    clock: Callable[[], float]

    @classmethod
    def around(
        cls, plain: socket.socket, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> "GuardedSocket":
        """Take over an accepted connection."""
        guarded = cls(plain.family, plain.type, plain.proto, fileno=plain.detach())
        guarded.limits, guarded.clock = limits, clock
        guarded._header = bytearray()
        guarded._left = 0
        guarded._object_bytes = 0
        guarded._ends = guarded._unit_ends = clock() + limits.association_seconds
        return guarded

    _header: bytearray
    _left: int
    _object_bytes: int
    _ends: float
    _unit_ends: float

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive, within the limits.

        Raises:
            ConnectionAbortedError: the peer has gone beyond one.
            TimeoutError: it took too long.
        """
        if not self._left and not self._header:
            self._unit_ends = min(self._ends, self.clock() + self.limits.unit_seconds)
        seconds = self._unit_ends - self.clock()
        if seconds <= 0:
            raise TimeoutError
        self.settimeout(seconds)
        data = super().recv(size, flags)
        self._follow(data)
        return data

    def send(self, data: "Buffer", flags: int = 0, /) -> int:
        """Send an answer; what the peer sends next is another object."""
        self._object_bytes = 0
        self.settimeout(self.limits.unit_seconds)
        return super().send(data, flags)

    def _follow(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
            else:
                step = min(_HEADER.size - len(self._header), len(data) - position)
                self._header += data[position : position + step]
                if len(self._header) == _HEADER.size:
                    self._begin(*_HEADER.unpack(self._header))
            position += step

    def _begin(self, kind: int, _reserved: int, length: int) -> None:
        self._header.clear()
        self._left = length
        if kind == _P_DATA:
            largest = self.limits.unit_bytes + _SLACK
            self._object_bytes += length
        else:
            largest = _LARGEST.get(kind, _LARGEST_OTHER)
        if length > largest or self._object_bytes > self.limits.object_bytes:
            raise ConnectionAbortedError
