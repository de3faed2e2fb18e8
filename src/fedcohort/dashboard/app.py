"""The Flask application: one page, the coordinator's REST behind it, and two routes for other programs."""

import logging
import mimetypes
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flask import Flask, Response, jsonify, render_template, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

import fedcohort
from fedcohort.dashboard.access import Door, guard, still_allowed, visitor
from fedcohort.dashboard.broadcast import Admits, Broadcasts
from fedcohort.dashboard.compression import compress
from fedcohort.dashboard.drafts import add_form
from fedcohort.dashboard.metrics import training_metrics
from fedcohort.dashboard.own import only_own, own_events, own_studies, while_allowed
from fedcohort.dashboard.parts import add_parts
from fedcohort.dashboard.people import People
from fedcohort.dashboard.relay import Seats
from fedcohort.dashboard.roles import DASHBOARD
from fedcohort.dashboard.sessions import MOST_SESSIONS
from fedcohort.dashboard.settings import Settings
from fedcohort.dashboard.texts import speak, spoken
from fedcohort.dashboard.upstream import Answer, Upstream, open_upstream, study_path
from fedcohort.errors import AuthenticationError, FedcohortError, LinkClosedError, NotFoundError
from fedcohort.rest import PAGE_HEADER

log = logging.getLogger("fedcohort.dashboard")

HERE = Path(__file__).parent
ECHARTS = HERE / "static" / "vendor" / "echarts.common.min.js"
OF_THE_FORM = frozenset({"form.js", "rules.js", "toml.js"})
MAX_REQUEST_BYTES = 16_384
SEATS_OF_ONE = 2 * MOST_SESSIONS
"""Event streams of one account: a page in each of its sessions, with two streams each."""
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


class _InOrder(DefaultJSONProvider):
    """JSON in the order in which it was made: columns and levels stay where the study has them."""

    sort_keys = False


def build_app(settings: Settings) -> Flask:
    """The application for these settings.

    Raises:
        ConfigError: the coordinator's CA file cannot be read.
        KeyFileError: the researcher's key or the file of people cannot be read.
        StoreError: the file of people cannot be used.
    """
    # Windows may have .js registered as text/plain, which a browser then refuses to run.
    mimetypes.add_type("text/javascript", ".js")
    app = Flask("fedcohort.dashboard", root_path=str(HERE))
    app.config.update(MAX_CONTENT_LENGTH=MAX_REQUEST_BYTES, SEND_FILE_MAX_AGE_DEFAULT=None)
    door = guard(app, settings, DASHBOARD)
    app.json = _InOrder(app)
    if not ECHARTS.is_file():
        log.warning("Apache ECharts is missing, so that no chart is drawn; install fedcohort again")
    upstream = open_upstream(settings)
    app.extensions["fedcohort"] = upstream.client.close
    app.before_request(lambda: only_own(upstream, door))
    app.context_processor(lambda: {"version": fedcohort.__version__})
    speak(app)
    app.after_request(harden)
    explain_errors(app)
    scripts = sorted({file.name for file in HERE.glob("static/js/*.js")} - OF_THE_FORM)
    app.add_url_rule("/", "page", lambda: render_template("page.html", scripts=scripts))
    app.add_url_rule("/healthz", "health", lambda: jsonify(status="ok", version=fedcohort.__version__))
    app.add_url_rule("/readyz", "ready", lambda: _ready(upstream))
    _add_reading(app, upstream, door)
    _add_cancel(app, upstream, door)
    _add_streams(app, upstream, Seats(settings.max_viewers, SEATS_OF_ONE), door)
    _add_results(app, upstream, door)
    add_parts(app, upstream)
    add_form(app, upstream, settings, door)
    compress(app)
    return app


def close_app(app: Flask) -> None:
    """Give back what the application holds open."""
    close: Callable[[], None] = app.extensions["fedcohort"]
    close()
    people: People | None = app.extensions["fedcohort-people"]
    if people is not None:
        people.close()
    if (provider := app.extensions["fedcohort-provider"]) is not None:
        provider.client.close()


def _ready(upstream: Upstream) -> ResponseReturnValue:
    """Whether the coordinator answers this dashboard, and takes its token; else why not, as a code."""
    try:
        answer = upstream.get("/api/federation")
    except FedcohortError as error:
        return jsonify(status="not-ready", code=error.code), 503
    if not answer.ok:
        return jsonify(status="not-ready", code=answer.body["code"]), 503
    return jsonify(status="ok")


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
    return jsonify(code=code, message=str(error)), status


def _explain_http(error: HTTPException) -> ResponseReturnValue:
    code = (
        "not-found" if error.code == 404 else "request-invalid" if (error.code or 500) < 500 else "internal"
    )
    return jsonify(code=code, message=error.description or error.name), error.code or 500


def _passed_on(answer: Answer) -> ResponseReturnValue:
    return jsonify(answer.body), answer.status


def _add_reading(app: Flask, upstream: Upstream, door: Door) -> None:
    """The part of the coordinator's REST that the page reads."""

    @app.get("/api/federation")
    def federation() -> ResponseReturnValue:
        return _passed_on(upstream.get("/api/federation"))

    @app.get("/api/studies")
    def studies() -> ResponseReturnValue:
        answer = upstream.get("/api/studies")
        return jsonify(own_studies(door, answer.body)) if answer.ok else _passed_on(answer)

    @app.get("/api/studies/<study_id>")
    def study(study_id: str) -> ResponseReturnValue:
        return _passed_on(upstream.get(study_path(study_id)))

    @app.get("/api/studies/<study_id>/report")
    def report(study_id: str) -> ResponseReturnValue:
        return _passed_on(upstream.get(study_path(study_id, "/report")))


def _add_cancel(app: Flask, upstream: Upstream, door: Door) -> None:
    @app.post("/api/studies/<study_id>/cancel")
    def cancel(study_id: str) -> ResponseReturnValue:
        answer, asking = upstream.post(study_path(study_id, "/cancel"), {}), visitor()
        if answer.ok and door.people is not None and asking is not None:
            door.people.note("study-cancelled", study_id, name=asking.name)
        return _passed_on(answer)


def _add_streams(app: Flask, upstream: Upstream, seats: Seats, door: Door) -> None:
    broadcasts = Broadcasts()

    def stream(path: str, admits: Admits | None = None) -> ResponseReturnValue:
        asking = visitor()
        release = seats.take(asking.name or asking.role if door.people and asking else None)
        if release is None:
            return jsonify(code="busy", message="too many pages are open; close some"), 503
        last = request.headers.get("Last-Event-ID") or request.args.get("after", "0")
        after = int(last) if re.fullmatch(r"\d{1,18}", last) else 0
        try:
            opened = partial(upstream.open_stream, path)
            events, leave = broadcasts.follow(path, after, opened, admits)
        except FedcohortError:
            release()
            raise
        if asking is not None:
            events = while_allowed(events, lambda: still_allowed(door, asking))
        response = Response(events, mimetype="text/event-stream")
        response.headers["X-Accel-Buffering"] = "no"
        response.call_on_close(leave)
        response.call_on_close(release)
        return response

    @app.get("/api/events")
    def federation_events() -> ResponseReturnValue:
        return stream("/api/events", own_events(upstream, door))

    @app.get("/api/studies/<study_id>/events")
    def study_events(study_id: str) -> ResponseReturnValue:
        return stream(study_path(study_id, "/events"))


def _chosen(upstream: Upstream, door: Door) -> str:
    """Path of the study that was asked for, or of the newest."""
    asked = request.args.get("study")
    if asked is not None:
        return study_path(asked)
    studies = own_studies(door, upstream.get("/api/studies").body).get("studies")
    newest = studies[0] if isinstance(studies, list) and studies else None
    if not isinstance(newest, dict):
        raise NotFoundError("there is no study yet")
    return study_path(str(newest.get("id")))


def _add_results(app: Flask, upstream: Upstream, door: Door) -> None:
    @app.get("/training_metrics")
    def metrics() -> ResponseReturnValue:
        path = _chosen(upstream, door)
        answer = upstream.get(f"{path}/metrics")
        if not answer.ok:
            return _passed_on(answer)
        return jsonify(study=path.rpartition("/")[2], **training_metrics(answer.body))

    @app.get("/api/studies/<study_id>/document")
    def as_document(study_id: str) -> ResponseReturnValue:
        from fedcohort.dashboard.document import document, finished

        text = document(finished(study_path(study_id).rpartition("/")[2], upstream.read), spoken())
        attached = {"Content-Disposition": f'attachment; filename="study-{study_id[:12]}.html"'}
        return Response(text, mimetype="text/html", headers=attached)

    @app.get("/feature_importance")
    def importance() -> ResponseReturnValue:
        from fedcohort.dashboard.figures import importance_bars, importance_png

        path = _chosen(upstream, door)
        study, report = upstream.get(path), upstream.get(f"{path}/report")
        if not study.ok:
            return _passed_on(study)
        bars = importance_bars(report.body)
        if not bars:
            why = "the study has no feature importance" if report.ok else "the study is not finished"
            return jsonify(code="no-importance", message=why), 404
        png = importance_png(str(study.body.get("name")), spoken()["importance.axis"], bars)
        return Response(png, mimetype="image/png")
