"""The Flask application: one page, the coordinator's REST behind it, and two routes for other programs."""

import logging
import mimetypes
import re
from functools import partial
from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue

import fedcohort
from fedcohort.analyses.figures import figures_of
from fedcohort.dashboard.federation.broadcast import Admits, Broadcasts
from fedcohort.dashboard.federation.curves import training_metrics
from fedcohort.dashboard.federation.downloads import add_downloads
from fedcohort.dashboard.federation.drafts import add_form
from fedcohort.dashboard.federation.figures import add_figures, figure_png
from fedcohort.dashboard.federation.ownership import check_ownership, own_events, own_studies, while_allowed
from fedcohort.dashboard.federation.relay import StreamSlots
from fedcohort.dashboard.federation.upstream import Upstream, UpstreamResponse, open_upstream, study_path
from fedcohort.dashboard.login.access import AccessControl, guard, still_allowed, visitor
from fedcohort.dashboard.login.roles import DASHBOARD
from fedcohort.dashboard.login.sessions import MOST_SESSIONS
from fedcohort.dashboard.shared.application import HERE, close_with, explain_errors, harden
from fedcohort.dashboard.shared.compression import compress
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.dashboard.shared.texts import speak, spoken
from fedcohort.errors import FedcohortError, NotFoundError
from fedcohort.texts import say
from fedcohort.texts.look_up import carried

log = logging.getLogger("fedcohort.dashboard")

ECHARTS = HERE / "static" / "vendor" / "echarts.common.min.js"
OF_THE_FORM = frozenset({"form.js", "rules.js", "toml.js"})
MAX_REQUEST_BYTES = 16_384
STREAMS_OF_ONE = 2 * MOST_SESSIONS
"""Event streams of one account: a page in each of its sessions, with two streams each."""


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
    access = guard(app, settings, DASHBOARD)
    app.json = _InOrder(app)
    if not ECHARTS.is_file():
        log.warning("Apache ECharts is missing, so that no chart is drawn; install fedcohort again")
    upstream = open_upstream(settings)
    close_with(app, upstream.client.close)
    app.before_request(lambda: check_ownership(upstream, access))
    app.context_processor(lambda: {"version": fedcohort.__version__})
    speak(app)
    app.after_request(harden)
    explain_errors(app)
    scripts = sorted({file.name for file in HERE.glob("static/js/*.js")} - OF_THE_FORM)
    app.add_url_rule("/", "page", lambda: render_template("page.html", scripts=scripts))
    app.add_url_rule("/healthz", "health", lambda: jsonify(status="ok", version=fedcohort.__version__))
    app.add_url_rule("/readyz", "ready", lambda: _ready(upstream))
    _add_reading(app, upstream, access)
    _add_cancel(app, upstream, access)
    _add_streams(app, upstream, StreamSlots(settings.max_viewers, STREAMS_OF_ONE), access)
    _add_results(app, upstream, access)
    add_downloads(app, upstream)
    add_figures(app, upstream)
    add_form(app, upstream, settings, access)
    compress(app)
    return app


def _ready(upstream: Upstream) -> ResponseReturnValue:
    """Whether the coordinator answers this dashboard, and takes its token; else why not, as a code."""
    try:
        answer = upstream.get("/api/federation")
    except FedcohortError as error:
        return jsonify(status="not-ready", code=error.code), 503
    if not answer.ok:
        return jsonify(status="not-ready", code=answer.body["code"]), 503
    return jsonify(status="ok")


def _passed_on(answer: UpstreamResponse) -> ResponseReturnValue:
    return jsonify(answer.body), answer.status


def _add_reading(app: Flask, upstream: Upstream, access: AccessControl) -> None:
    """The part of the coordinator's REST that the page reads."""

    @app.get("/api/federation")
    def federation() -> ResponseReturnValue:
        return _passed_on(upstream.get("/api/federation"))

    @app.get("/api/studies")
    def studies() -> ResponseReturnValue:
        answer = upstream.get("/api/studies")
        return jsonify(own_studies(access, answer.body)) if answer.ok else _passed_on(answer)

    @app.get("/api/studies/<study_id>")
    def study(study_id: str) -> ResponseReturnValue:
        return _passed_on(upstream.get(study_path(study_id)))

    @app.get("/api/studies/<study_id>/report")
    def report(study_id: str) -> ResponseReturnValue:
        return _passed_on(upstream.get(study_path(study_id, "/report")))


def _add_cancel(app: Flask, upstream: Upstream, access: AccessControl) -> None:
    @app.post("/api/studies/<study_id>/cancel")
    def cancel(study_id: str) -> ResponseReturnValue:
        answer, asking = upstream.post(study_path(study_id, "/cancel"), {}), visitor()
        if answer.ok and access.people is not None and asking is not None:
            access.people.note("study-cancelled", study_id, name=asking.name)
        return _passed_on(answer)


def _add_streams(app: Flask, upstream: Upstream, slots: StreamSlots, access: AccessControl) -> None:
    broadcasts = Broadcasts()

    def stream(path: str, admits: Admits | None = None) -> ResponseReturnValue:
        asking = visitor()
        release = slots.take(asking.name or asking.role if access.people and asking else None)
        if release is None:
            return jsonify(code="busy", **carried(say("too many pages are open; close some"))), 503
        last = request.headers.get("Last-Event-ID") or request.args.get("after", "0")
        after = int(last) if re.fullmatch(r"\d{1,18}", last) else 0
        try:
            opened = partial(upstream.open_stream, path)
            events, leave = broadcasts.follow(path, after, opened, admits)
        except FedcohortError:
            release()
            raise
        if asking is not None:
            events = while_allowed(events, lambda: still_allowed(access, asking))
        response = Response(events, mimetype="text/event-stream")
        response.headers["X-Accel-Buffering"] = "no"
        response.call_on_close(leave)
        response.call_on_close(release)
        return response

    @app.get("/api/events")
    def federation_events() -> ResponseReturnValue:
        return stream("/api/events", own_events(upstream, access))

    @app.get("/api/studies/<study_id>/events")
    def study_events(study_id: str) -> ResponseReturnValue:
        return stream(study_path(study_id, "/events"))


def _chosen(upstream: Upstream, access: AccessControl) -> str:
    """Path of the study that was asked for, or of the newest."""
    asked = request.args.get("study")
    if asked is not None:
        return study_path(asked)
    studies = own_studies(access, upstream.get("/api/studies").body).get("studies")
    newest = studies[0] if isinstance(studies, list) and studies else None
    if not isinstance(newest, dict):
        raise NotFoundError("there is no study yet")
    return study_path(str(newest.get("id")))


def _add_results(app: Flask, upstream: Upstream, access: AccessControl) -> None:
    @app.get("/training_metrics")
    def metrics() -> ResponseReturnValue:
        path = _chosen(upstream, access)
        answer = upstream.get(f"{path}/metrics")
        if not answer.ok:
            return _passed_on(answer)
        return jsonify(study=path.rpartition("/")[2], **training_metrics(answer.body))

    @app.get("/api/studies/<study_id>/document")
    def as_document(study_id: str) -> ResponseReturnValue:
        from fedcohort.dashboard.federation.document import document, finished

        text = document(finished(study_path(study_id).rpartition("/")[2], upstream.read), spoken())
        attached = {"Content-Disposition": f'attachment; filename="study-{study_id[:12]}.html"'}
        return Response(text, mimetype="text/html", headers=attached)

    @app.get("/feature_importance")
    def importance() -> ResponseReturnValue:
        path = _chosen(upstream, access)
        study, report = upstream.get(path), upstream.get(f"{path}/report")
        if not study.ok:
            return _passed_on(study)
        asked: dict[str, Any] = dict(study.body)
        made = figures_of(asked["study"], report.body) if report.ok else ()
        found = next((figure for figure in made if figure.name == "importance"), None)
        if found is None:
            no, unfinished = say("the study has no feature importance"), say("the study is not finished")
            return jsonify(code="no-importance", **carried(no if report.ok else unfinished)), 404
        return Response(figure_png(found, str(asked["name"]), spoken()), mimetype="image/png")
