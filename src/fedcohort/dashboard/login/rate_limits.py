"""Rate limits on attempts: token buckets by name and by address, refilled with time.

Memory is bounded: the least recently used bucket is dropped first, and is full again by then
unless very many names are tried at once, which the bucket of their address prevents.
"""

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_KEYS = 20_000
IPV6_PREFIX = 64
"""One household or host may have all addresses of a network of this length."""


@dataclass
class Limiter:
    """Buckets of one size.

    Attributes:
        burst: attempts at once.
        seconds_each: after how long one more is allowed.
    """

    burst: int
    seconds_each: float
    most_keys: int = MOST_KEYS
    now: Callable[[], float] = time.monotonic
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: str) -> int:
        """One attempt; returns 0, or how many seconds to wait before the next."""
        now = self.now()
        with self._lock:
            left, at = self._left.pop(key, (float(self.burst), now))
            left = min(float(self.burst), left + (now - at) / self.seconds_each)
            allowed = left >= 1
            self._left[key] = (left - 1 if allowed else left, now)
            while len(self._left) > self.most_keys:
                self._left.popitem(last=False)
        return 0 if allowed else math.ceil((1 - left) * self.seconds_each)

    def forget(self, key: str) -> None:
        """Refill a bucket after a successful attempt."""
        with self._lock:
            self._left.pop(key, None)


def address_key(address: str | None) -> str:
    """The key by which attempts from an address are counted: for IPv6 the host's network."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)
