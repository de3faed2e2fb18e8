"""What both applications do: headers, failures as JSON with a code, and giving back what they hold."""

from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, jsonify
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from fedcohort.errors import AuthenticationError, FedcohortError, LinkClosedError, NotFoundError
from fedcohort.researcher.rest import PAGE_HEADER
from fedcohort.texts.look_up import carried

HERE = Path(__file__).parents[1]
"""The folder of templates and static files."""
HEADERS = {
    PAGE_HEADER: "yes",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_STATUS = {LinkClosedError: 503, AuthenticationError: 502, NotFoundError: 404}


def close_with(app: Flask, close: Callable[[], None]) -> None:
    """Have `close` called when the application is closed."""
    app.extensions.setdefault("fedcohort-close", []).append(close)


def close_app(app: Flask) -> None:
    """Give back what the application holds open, the newest first."""
    for close in reversed(app.extensions.pop("fedcohort-close", [])):
        close()


def harden(response: Response) -> Response:
    """Headers that every answer bears."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def explain_errors(app: Flask) -> None:
    """Every failure is JSON with a code and words."""
    app.register_error_handler(FedcohortError, _explain)
    app.register_error_handler(HTTPException, _explain_http)


def _explain(error: FedcohortError) -> ResponseReturnValue:
    status = next((number for kind, number in _STATUS.items() if isinstance(error, kind)), 500)
    code = "coordinator-refused" if isinstance(error, AuthenticationError) else error.code
    return jsonify(code=code, **carried(str(error))), status


def _explain_http(error: HTTPException) -> ResponseReturnValue:
    code = (
        "not-found" if error.code == 404 else "request-invalid" if (error.code or 500) < 500 else "internal"
    )
    return jsonify(code=code, message=error.description or error.name), error.code or 500
