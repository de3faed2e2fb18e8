"""What browsers fetch is sent in gzip's form (RFC 9110, section 8.4.1): scripts, texts, curves.

Only what holds no secret and nothing that a visitor has sent is compressed, since the size of a
compressed answer tells about its content (Gluck, Harris and Prado 2013, "BREACH"). A static file is
compressed once and kept.
"""

import gzip
from functools import lru_cache

from flask import Flask, Response, request

LEAST_BYTES = 1024
KINDS = frozenset({"text/javascript", "text/css", "application/json", "image/svg+xml"})
FILES = frozenset({"static", "texts"})
OPEN = FILES | {"study_curves"}
"""Endpoints that answer all who may ask alike."""


def compress(app: Flask) -> None:
    """Compress the answers of `app` for browsers that take it."""
    app.after_request(_zipped)


def _zipped(response: Response) -> Response:
    if request.endpoint not in OPEN or response.mimetype not in KINDS:
        return response
    response.vary.add("Accept-Encoding")
    if response.status_code != 200 or not request.accept_encodings["gzip"]:
        return response
    response.direct_passthrough = False
    plain = response.get_data()
    if len(plain) < LEAST_BYTES:
        return response
    response.set_data(_kept(plain) if request.endpoint in FILES else gzip.compress(plain, 6, mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    etag, _ = response.get_etag()
    if etag:
        # One name for the content in both forms: that is what a weak one says (section 8.8.1).
        response.set_etag(etag, weak=True)
    return response


@lru_cache(maxsize=64)
def _kept(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)
