"""REST of the coordinator: JSON in and out, server-sent events for pages, errors as code and message."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import fedcohort
from fedcohort.arrays import arrays_to_bytes
from fedcohort.coordinator.service import Service
from fedcohort.coordinator.streams import federation_stream, study_stream
from fedcohort.coordinator.study_list import Listed, all_studies, being_checked
from fedcohort.coordinator.telemetry import CONTENT_TYPE, exposition
from fedcohort.coordinator.traffic import load_traffic
from fedcohort.errors import AuthenticationError, FedcohortError, NotFoundError, StoreError, StudyError
from fedcohort.questions import MAX_STUDY_BYTES
from fedcohort.study import parse_study
from fedcohort.texts import say
from fedcohort.texts.look_up import carried
from fedcohort.versions import RULES
from fedcohort.wire.identity import fingerprint

Handler = Callable[[Request], Awaitable[Response]]

_STATUS = {"not-authenticated": 401, "study-invalid": 400, "store": 503, "not-found": 404}
MAX_POSITION_DIGITS = 18
READINESS_SECONDS = 1.0
SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def routes(service: Service, coordinator_key: bytes) -> list[Route]:
    """All REST routes; every one but /healthz and /readyz needs a researcher's token, on loopback too.

    A coordinator behind nginx hears from loopback alone, whoever asks.
    """

    guarded = partial(_guarded, service)

    async def federation(service: Service, request: Request) -> Response:
        return JSONResponse(federation_view(service, coordinator_key))

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": fedcohort.__version__})

    readiness = Readiness(service)

    async def ready(request: Request) -> Response:
        code = await readiness.code()
        if code:
            return JSONResponse({"status": "not-ready", "code": code}, status_code=503)
        return JSONResponse({"status": "ok"})

    return [
        Route("/healthz", health),
        Route("/readyz", ready),
        Route("/metrics", guarded(_metrics_of_process)),
        Route("/api/federation", guarded(federation)),
        Route("/api/catalogue", guarded(_catalogue)),
        Route("/api/events", guarded(_federation_events)),
        Route("/api/studies", guarded(_studies), methods=["GET"]),
        Route("/api/studies", guarded(_submit), methods=["POST"]),
        Route("/api/studies/{id}", guarded(_study)),
        Route("/api/studies/{id}/start", guarded(_start), methods=["POST"]),
        Route("/api/studies/{id}/cancel", guarded(_cancel), methods=["POST"]),
        Route("/api/studies/{id}/metrics", guarded(_metrics)),
        Route("/api/studies/{id}/report", guarded(_report)),
        Route("/api/studies/{id}/model", guarded(_model)),
        Route("/api/studies/{id}/events", guarded(_study_events)),
    ]


def _guarded(service: Service, handler: Callable[[Service, Request], Awaitable[Response]]) -> Handler:
    """An answer for researchers with a token, and errors as their code and words."""

    async def endpoint(request: Request) -> Response:
        try:
            request.state.researcher = _researcher(service, request)
            return await handler(service, request)
        except FedcohortError as error:
            service.hub.telemetry.count_refusal("rest", error.code)
            body = {"code": error.code, **carried(str(error))}
            return JSONResponse(body, status_code=_STATUS.get(error.code, 422))

    return endpoint


@dataclass
class Readiness:
    """Whether the database can be written; anybody may ask, so that it is tried once a second at most."""

    service: Service
    tried: float = float("-inf")
    last: str = ""

    async def code(self) -> str:
        """Why not, as a code; empty when it can."""
        if time.monotonic() - self.tried >= READINESS_SECONDS:
            self.tried = time.monotonic()
            try:
                await asyncio.to_thread(self.service.store.database.check_writable)
                self.last = ""
            except StoreError as error:
                self.last = error.code
        return self.last


def _researcher(service: Service, request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise AuthenticationError(
            "a token is needed, on this machine too: give yours by --token, FEDCOHORT_TOKEN or "
            "fc.connect(url, token); the coordinator's operator makes one by "
            "`fedcohort coordinator invite --researcher NAME`"
        )
    name = service.members.researcher_of(token.strip())
    if name is None:
        raise AuthenticationError(
            "the token is unknown or revoked; ask the coordinator's operator for a new one: "
            "`fedcohort coordinator invite --researcher NAME`"
        )
    return name


def federation_view(service: Service, coordinator_key: bytes) -> dict[str, object]:
    """The coordinator and every site, as pages show them."""
    coordinator = {
        "version": fedcohort.__version__, "rules": RULES, "fingerprint": fingerprint(coordinator_key)
    }  # fmt: skip
    return {"coordinator": coordinator, "sites": sites_view(service)}


def sites_view(service: Service) -> list[dict[str, object]]:
    """Every site with its state."""
    sites: list[dict[str, object]] = []
    for site, row in service.members.sites().items():
        joined = row["public_key"] is not None
        state = "connected" if site in service.carrier.present else "lost" if joined else "invited"
        print_ = fingerprint(row["public_key"]) if joined else None
        seen = int(time.time()) if state == "connected" else row["last_seen"]
        sites.append({"id": site, "state": state, "last_seen": _iso(seen), "fingerprint": print_})
    return sites


def _iso(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _found(service: Service, request: Request) -> Listed:
    study_id = request.path_params["id"]
    row = service.store.study(study_id) if len(study_id) >= 6 else None
    if row is None and study_id in service.lifecycle.checking:
        return being_checked(service.lifecycle.checking[study_id])
    if row is None:
        raise NotFoundError(
            "no study {name!r}; give its hash, or the first six characters or more", name=study_id
        )
    return row


def _summary(row: Listed) -> dict[str, object]:
    names = ("id", "name", "state", "round", "rounds", "researcher")
    return {**{name: row[name] for name in names}, "created_at": _iso(row["created_at"])}


async def _metrics_of_process(service: Service, request: Request) -> Response:
    sites = Counter(str(site["state"]) for site in sites_view(service))
    studies = Counter(str(study["state"]) for study in service.store.studies())
    text = exposition(service.hub.telemetry, sites, studies, service.store.database.n_failures)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


async def _catalogue(service: Service, request: Request) -> Response:
    sites = service.members.sites().items()
    return JSONResponse(
        {"sites": {site: json.loads(row["catalogue"]) for site, row in sites if row["catalogue"]}}
    )


async def _studies(service: Service, request: Request) -> Response:
    return JSONResponse({"studies": [_summary(row) for row in all_studies(service)]})


async def _submit(service: Service, request: Request) -> Response:
    body = await _bounded_json(request)
    try:
        key, signature = bytes.fromhex(body["public_key"]), bytes.fromhex(body["signature"])
        study = parse_study(body["study"])
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError("send study, public_key and signature (hex)") from error
    researcher = str(request.state.researcher)
    resume = body.get("resume") is True
    study_id = await service.lifecycle.submit(study, researcher, key, signature, resume=resume)
    return JSONResponse({"id": study_id}, status_code=202)


async def _bounded_json(request: Request) -> dict[str, Any]:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_STUDY_BYTES:
            raise StudyError("the study is larger than {size} MiB", size=MAX_STUDY_BYTES >> 20)
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StudyError("the request is not JSON") from error
    if not isinstance(body, dict):
        raise StudyError("the request must be a JSON object")
    return body


async def _study(service: Service, request: Request) -> Response:
    row = _found(service, request)
    answers = service.store.answers(row["id"])
    release = service.rosters.approvals.release_seconds(row["id"])
    traffic = service.hub.traffic.get(row["id"]) or load_traffic(service.store, row["id"])
    sites = [
        {
            "id": site,
            "state": answer["state"],
            "code": answer["code"],
            "release_hours": release.get(site, 0) / 3600,
            "bytes_to": traffic[site].sent if site in traffic else 0,
            "bytes_from": traffic[site].received if site in traffic else 0,
        }
        for site, answer in answers.items()
    ]
    error = {"code": row["error_code"], **carried(service.store.message(row))} if row["error_code"] else None
    return JSONResponse({**_summary(row), "study": json.loads(row["study"]), "sites": sites, "error": error})


async def _start(service: Service, request: Request) -> Response:
    row = _found(service, request)
    service.rosters.started.add(row["id"])
    return JSONResponse({"id": row["id"]})


async def _cancel(service: Service, request: Request) -> Response:
    row = _found(service, request)
    await service.lifecycle.cancel(row["id"])
    return JSONResponse({"id": row["id"]})


def _position(text: str) -> int:
    """A number of an update; whatever is none means the beginning."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_POSITION_DIGITS else 0


async def _metrics(service: Service, request: Request) -> Response:
    row = _found(service, request)
    after = _position(request.query_params.get("after", "0"))
    updates = service.store.updates(row["id"], after, ("metrics", "time"))
    last = updates[-1].sequence if updates else after
    rows, times = ([update.data for update in updates if update.kind == kind] for kind in ("metrics", "time"))
    return JSONResponse({"rows": rows, "times": times, "last": last})


async def _report(service: Service, request: Request) -> Response:
    row = _found(service, request)
    if row["report"] is None:
        told = say("the study is {state}", state=row["state"])
        if why := service.store.message(row):
            told = say("{what}: {why}", what=told, why=why)
        return JSONResponse({"code": row["error_code"] or "not-finished", **carried(told)}, status_code=409)
    return Response(row["report"], media_type="application/json")


async def _model(service: Service, request: Request) -> Response:
    row = _found(service, request)
    state = service.store.load_state(row["id"])
    if state is None or not state.finished or "weights" not in state.arrays:
        return JSONResponse(
            {"code": "not-finished", **carried(say("there is no trained model"))}, status_code=409
        )
    arrays = {name: state.arrays[name] for name in ("weights", "mean", "deviation")}
    return Response(arrays_to_bytes(arrays), media_type="application/octet-stream")


async def _study_events(service: Service, request: Request) -> Response:
    row = _found(service, request)
    last = request.headers.get("last-event-id", "0")
    stream = study_stream(service, row["id"], _position(last))
    return _sse(stream)


async def _federation_events(service: Service, request: Request) -> Response:
    return _sse(federation_stream(service))


def _sse(stream: AsyncIterator[str]) -> Response:
    return StreamingResponse(stream, media_type="text/event-stream", headers=SSE_HEADERS)
