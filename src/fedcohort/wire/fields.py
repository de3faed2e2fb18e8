"""Fields of a message, believed once they are of their shape and within their bounds."""

from collections.abc import Iterable, Mapping

from fedcohort.errors import WireError

MAX_SITES, MAX_TEXT, MAX_CODE, MAX_RULES = 10_000, 256, 64, 1_024
HASH_DIGITS = 64


def hash_of(text: str) -> str:
    """A SHA-256 in hex.

    Raises:
        WireError: it is none.
    """
    if len(text) != HASH_DIGITS or set(text) - set("0123456789abcdef"):
        raise WireError("study_hash: not a SHA-256 in hex")
    return text


def text_of(field: str, text: str, most: int = MAX_TEXT) -> str:
    """A text of at most so many characters, all printable.

    Raises:
        WireError: it is none; names the field.
    """
    if len(text) > most or not text.isprintable():
        raise WireError(f"{field}: too long, or not printable")
    return text


def name_of(field: str, text: str) -> str:
    """A text that is not empty.

    Raises:
        WireError: as for `text_of`.
    """
    if not text:
        raise WireError(f"{field}: empty")
    return text_of(field, text)


def sites_of(names: Iterable[str]) -> tuple[str, ...]:
    """Different sites, and not too many.

    Raises:
        WireError: they are not.
    """
    sites = tuple(name_of("site", name) for name in names)
    if len(sites) > MAX_SITES or len(set(sites)) != len(sites):
        raise WireError("a list of sites that is too long, or names one twice")
    return sites


def parcels_of(parcels: Mapping[str, bytes]) -> dict[str, bytes]:
    """What is for each site.

    Raises:
        WireError: as for `sites_of`.
    """
    sites_of(parcels)
    return dict(parcels)


def check_sizes(kind: str, **fields: tuple[bytes, int]) -> None:
    """Check fields of (bytes, length in bytes).

    Raises:
        WireError: one has another length; names it.
    """
    for name, (data, size) in fields.items():
        if len(data) != size:
            raise WireError(f"{kind}.{name}: {len(data)} bytes where {size} are needed")
