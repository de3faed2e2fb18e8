"""Protection `none`: the coordinator sees each site's vector.

The neutral element of the family: it seals by writing the integers down and
opens by reading the sum, so that everything above is the same with and without.
"""

from fedcohort.protection.fixed_point import Ring, add_ring, ring_from_bytes


def seal(ring: Ring) -> bytes:
    """Write a site's ring integers down as they are."""
    return ring.to_bytes()


def add(total: Ring, body: bytes, sizes: tuple[int, int]) -> None:
    """Add one contribution's body to the running total.

    Raises:
        WireError: the body's length does not fit the layout.
    """
    add_ring(total, ring_from_bytes(body, sizes))
