"""Character sets of HL7 table 0211, as MSH-18 names them, and the codecs that read them.

Bytes are decoded before they are split: in GB18030, Big5 and ISO-2022-JP the second byte of a character may
be that of a separator (more than a hundred characters of GB18030 have 0x7C, the bar, as their second byte).
"""

from collections.abc import Iterator, Mapping

CODECS: Mapping[str, str] = {
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISO IR6": "ascii",
    "ISO IR13": "iso2022_jp_ext",
    "ISO IR14": "iso2022_jp_ext",
    "ISO IR87": "iso2022_jp_ext",
    "ISO IR159": "iso2022_jp_ext",
    "GB 18030-2000": "gb18030",
    "GB18030": "gb18030",
    "GB2312": "gb18030",
    "KS X 1001": "euc_kr",
    "CNS 11643-1992": "big5hkscs",
    "BIG-5": "big5hkscs",
    "BIG5": "big5hkscs",
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "ISO-8859-1": "iso8859-1",
    "8859-1": "iso8859-1",
}
"""By the name in capitals; UTF-16 and UTF-32 are not there: their bytes have separators within characters."""

DEFAULT = "utf-8"
"""Of a message without MSH-18: ASCII by the standard, of which UTF-8 is a superset."""

SHORTEST_MSH = 6
"""Characters: its name, a separator, one in MSH-2, and the separator."""
_MULTIBYTE = ("utf-8", "gb18030", "iso2022_jp_ext", "big5hkscs", "euc_kr")


def codec_of(msh: bytes, default: str = DEFAULT) -> str | None:
    """The codec of a message, by the bytes of its MSH segment; None where MSH-18 names none that is known.

    The sender's name, before MSH-18, may have separators within its characters: then the codec is one by
    which the segment, decoded, names that same codec.
    """
    named = _named(msh.decode("latin-1"), default)
    if msh.isascii() and b"\x1b" not in msh:
        return named
    for codec in _candidates(named, default):
        try:
            if _named(msh.decode(codec), default) == codec:
                return codec
        except UnicodeDecodeError:
            continue
    return named


def _candidates(named: str | None, default: str) -> Iterator[str]:
    if named is not None:
        yield named
    yield from (codec for codec in (*_MULTIBYTE, default) if codec != named)


def _named(msh: str, default: str) -> str | None:
    """The codec that a decoded MSH segment names."""
    if len(msh) < SHORTEST_MSH:
        return None
    fields = msh.split(msh[3])
    if len(fields) < 18 or not fields[17].strip():
        return default
    repetition = msh[5] if len(fields[1]) > 1 else "~"
    names = [name.strip().upper() for name in fields[17].split(repetition)]
    codecs = {CODECS.get(name) for name in names if name}
    # A repetition names what escape sequences switch to; only ISO 2022 does so within its own codec.
    if "iso2022_jp_ext" in codecs:
        return "iso2022_jp_ext"
    return CODECS.get(names[0]) if names[0] else default
