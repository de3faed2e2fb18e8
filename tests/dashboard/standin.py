"""A small coordinator that speaks the real REST over real HTTP, so that pages can be tested by themselves.

What it says is set from the test; it can be stopped and started again on its port, like a
coordinator that is killed and comes back with its database.
"""

import asyncio
import gc
import json
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fedcohort.versions import RULES

POLL_SECONDS = 0.02
COMMENT_SECONDS = 0.3
FIRST_STUDY = "ab12cd34" * 8
Json = dict[str, Any]


@dataclass
class StandIn:
    """The coordinator's store, as far as its REST shows it."""

    sites: dict[str, str] = field(default_factory=dict)
    studies: dict[str, Json] = field(default_factory=dict)
    updates: dict[str, list[tuple[str, Json]]] = field(default_factory=dict)
    reports: dict[str, Json] = field(default_factory=dict)
    catalogues: dict[str, Json] = field(default_factory=dict)
    token: str | None = None
    viewers: int = 0
    resumed_after: list[int] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    handed_in: list[Json] = field(default_factory=list)
    rules: int | None = RULES
    """None where it is of a version that tells none."""

    def add_study(self, study_id: str = FIRST_STUDY, name: str = "heart-disease", **more: Any) -> str:
        """A new study, running, of 30 rounds unless `more` says otherwise; it becomes the newest."""
        study = {"id": study_id, "name": name, "state": "running", "round": 0, "rounds": 30}
        study |= {
            "researcher": "dr-chen",
            "created_at": "2026-11-20T09:30:00+00:00",
            "error": None,
            "sites": [],
        }
        study |= {"study": {"name": name, "analysis": {"kind": "train"}}, **more}
        self.updates[study_id] = []
        self.studies = {study_id: study, **self.studies}
        return study_id

    def add_round(self, number: int, study_id: str = FIRST_STUDY) -> None:
        """A round's metrics, better with each round."""
        for split, worse in (("train", 0.0), ("test", 0.04)):
            row = {"round": number, "split": split, "seconds": 0.02}
            row |= {"loss": 0.3 + 0.4 * 0.9**number + worse, "accuracy": 0.85 - 0.3 * 0.85**number - worse}
            row |= {"auc": 0.92 - 0.3 * 0.8**number - worse}
            row |= {"compute_seconds": 0.012, "seal_seconds": 0.002, "network_seconds": 0.004}
            row |= {"open_seconds": 0.002}
            self.updates[study_id].append(("metrics", row))
        self.studies[study_id]["round"] = number

    def set_state(self, state: str, study_id: str = FIRST_STUDY, **more: Any) -> None:
        """Move a study on."""
        self.studies[study_id] |= {"state": state, **more}
        self.updates[study_id].append(("state", {"state": state, "code": ""}))

    def finish(
        self, importance: dict[str, float], study_id: str = FIRST_STUDY, noise: float | None = None
    ) -> None:
        """End a study with a report; `noise` is half an interval, where there is one."""
        entries: dict[str, dict[str, float]] = {}
        for name, value in importance.items():
            entries[name] = {"loss_increase": value, "auc_drop": value / 2}
            if noise is not None:
                ends = {"low": value - noise, "high": value + noise}
                entries[name] |= {f"loss_increase_{end}": at for end, at in ends.items()}
                entries[name] |= {f"auc_drop_{end}": at / 2 for end, at in ends.items()}
        self.reports[study_id] = {"importance": entries}
        self.set_state("finished", study_id)


class Running:
    """A server in a thread of this process, which `stop` ends without waiting for open streams."""

    def __init__(self, app: Starlette, port: int = 0) -> None:
        config = uvicorn.Config(
            app, port=port, log_level="error", timeout_graceful_shutdown=0, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError(f"the stand-in could not listen on port {port}")
            threading.Event().wait(0.01)  # patience: a pause
        self.port = int(self._server.servers[0].sockets[0].getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it as a crash would: open streams break."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        # Streams that were open are left to the garbage; here, and not in the middle of another test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        gc.freeze()  # what is alive now is not walked through at the next one's end


@contextmanager
def running(app: Starlette) -> Iterator[Running]:
    """A server for the length of a with block."""
    server = Running(app)
    try:
        yield server
    finally:
        server.stop()


def rest(store: StandIn) -> Starlette:
    """The coordinator's REST over this store."""

    def federation(request: Request) -> Response:
        seen = "2026-11-23T08:00:00+00:00"
        sites = [
            {
                "id": site,
                "state": state,
                "last_seen": None if state == "invited" else seen,
                "fingerprint": None,
            }
            for site, state in store.sites.items()
        ]
        coordinator: Json = {"version": "0.1.0", "fingerprint": "ab12"}
        if store.rules is not None:
            coordinator["rules"] = store.rules
        return _json({"coordinator": coordinator, "sites": sites})

    def studies(request: Request) -> Response:
        shown = ("id", "name", "state", "round", "rounds", "researcher", "created_at")
        return _json({"studies": [{key: each[key] for key in shown} for each in store.studies.values()]})

    def study(request: Request) -> Response:
        return _json(store.studies[request.path_params["id"]])

    def metrics(request: Request) -> Response:
        after = int(request.query_params.get("after", "0"))
        updates = list(enumerate(store.updates[request.path_params["id"]], 1))[after:]
        found = [(number, kind, data) for number, (kind, data) in updates if kind in ("metrics", "time")]
        rows, times = ([data for _, its, data in found if its == kind] for kind in ("metrics", "time"))
        return _json({"rows": rows, "times": times, "last": found[-1][0] if found else after})

    def report(request: Request) -> Response:
        found = store.reports.get(request.path_params["id"])
        return _json(found) if found else _error(409, "not-finished")

    async def submit(request: Request) -> Response:
        store.handed_in.append(await request.json())
        return JSONResponse({"id": FIRST_STUDY}, status_code=202)

    def cancel(request: Request) -> Response:
        store.cancelled.append(store.studies[request.path_params["id"]]["id"])
        return _json({"id": store.cancelled[-1]})

    async def study_events(request: Request) -> Response:
        after = int(request.headers.get("last-event-id", "0"))
        store.resumed_after.append(after)
        return _stream(_study_stream(store, store.updates[request.path_params["id"]], after))

    async def events(request: Request) -> Response:
        return _stream(_federation_stream(store))

    def catalogue(request: Request) -> Response:
        return _json({"sites": store.catalogues})

    paths = {
        "/api/catalogue": catalogue,
        "/api/federation": federation,
        "/api/studies": studies,
        "/api/studies/{id}": study,
    }
    paths |= {"/api/studies/{id}/metrics": metrics, "/api/studies/{id}/report": report}
    streams = {"/api/studies/{id}/events": study_events, "/api/events": events}
    routes = [Route(path, _guarded(store, route)) for path, route in {**paths, **streams}.items()]
    routes.append(Route("/api/studies", _guarded(store, submit), methods=["POST"]))
    routes.append(Route("/api/studies/{id}/cancel", _guarded(store, cancel), methods=["POST"]))
    return Starlette(routes=routes)


def _guarded(store: StandIn, route: Any) -> Any:
    async def endpoint(request: Request) -> Response:
        if store.token and request.headers.get("authorization") != f"Bearer {store.token}":
            return _error(401, "not-authenticated")
        whole = [study for study in store.studies if study.startswith(request.path_params.get("id", "-"))]
        if len(whole) == 1:
            request.path_params["id"] = whole[0]
        if request.path_params.get("id", FIRST_STUDY) not in {*store.studies, FIRST_STUDY}:
            return _error(404, "not-found")
        try:
            answer = route(request)
            response: Response = await answer if asyncio.iscoroutine(answer) else answer
        except KeyError:
            return _error(404, "not-found")
        return response

    return endpoint


def _json(body: Json) -> Response:
    """As the standard library writes it, NaN and all."""
    return Response(json.dumps(body), media_type="application/json")


def _error(status: int, code: str) -> Response:
    return JSONResponse({"code": code, "message": f"the stand-in says {code}"}, status_code=status)


def _stream(source: AsyncIterator[str]) -> Response:
    return StreamingResponse(source, media_type="text/event-stream")


async def _study_stream(store: StandIn, updates: list[tuple[str, Json]], after: int) -> AsyncIterator[str]:
    async with _viewer(store) as ticks:
        async for comment in ticks:
            for number, (kind, data) in list(enumerate(updates, 1))[after:]:
                after = number
                yield f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
            if comment:
                yield ": still here\n\n"


async def _federation_stream(store: StandIn) -> AsyncIterator[str]:
    known: dict[str, str] = {}
    async with _viewer(store) as ticks:
        async for comment in ticks:
            now = {
                f"site {site}": ("site", {"id": site, "state": state}) for site, state in store.sites.items()
            }
            for study in store.studies.values():
                data = {key: study[key] for key in ("id", "state", "name")}
                now[f"study {study['id']}"] = ("study", data)
            for key, (kind, body) in now.items():
                if known.get(key) != json.dumps(body):
                    known[key] = json.dumps(body)
                    yield f"event: {kind}\ndata: {known[key]}\n\n"
            if comment:
                yield ": still here\n\n"


class _viewer:
    """Counts who is looking, and gives a tick often and a comment now and then."""

    def __init__(self, store: StandIn) -> None:
        self.store = store

    async def __aenter__(self) -> AsyncIterator[bool]:
        self.store.viewers += 1
        return self._ticks()

    async def __aexit__(self, *exception: object) -> None:
        self.store.viewers -= 1

    async def _ticks(self) -> AsyncIterator[bool]:
        every = round(COMMENT_SECONDS / POLL_SECONDS)
        for tick in range(10**9):
            yield tick % every == every - 1
            await asyncio.sleep(POLL_SECONDS)
