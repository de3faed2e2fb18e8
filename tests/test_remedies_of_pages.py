"""What the coordinator's REST, the dashboard and its accounts say of a fault, obeyed once each."""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

import fedcohort as fc
from fedcohort.coordinator.api import routes
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.service import Service
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.dashboard import create_app
from fedcohort.dashboard.federation.drafts import MAX_TOML_CHARACTERS, checked
from fedcohort.dashboard.federation.upstream import open_upstream
from fedcohort.dashboard.login.people import People
from fedcohort.dashboard.login.provider import Provider, read_provider
from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.serve import Listen, open_server
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.engines.links import Links
from fedcohort.questions import MAX_STUDY_BYTES
from fedcohort.researcher.client import load_study
from fedcohort.study import Study
from fedcohort.wire.identity import new_identity
from fedcohort.wire.signing import study_signing_bytes
from tests.build import free_port

from .dashboard.identity import SECRET, Identity, provider
from .dashboard.standin import StandIn, rest, running
from .dashboard.test_oidc import HERE, NOWHERE, Hospital, hospital, write_provider
from .remedies_obeyed_work import Lacks, install, write
from .remedy_rows import Row, obey, refusal
from .test_remedies_of_sites import INVITE, run
from .wire.support import certify

__all__ = ["hospital"]

TOML = 'name = "x"\n[cohort]\ntable = "t"\ncolumns = ["age"]\n[analysis]\nkind = "describe"\n'
CATALOGUES = {"a": {"tables": {"t": {"columns": {"age": {"kind": "numeric", "low": 0.0, "high": 120.0}}}}}}
LONG = f"# {'x' * MAX_TOML_CHARACTERS}\n{TOML}"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")


def declared(text: str) -> Callable[[], object]:
    return lambda: read_provider(write("provider.toml", text), None)


FILE = 'issuer = "https://id.example"\nclient_id = "y"\n[roles]\nstaff = "auditor"\n'


def people_in(place: str, mode: int | None = None) -> Callable[[], object]:
    def opened() -> object:
        write("file", "no folder")
        path = Path(place)
        if mode is not None:
            path.touch()
            path.chmod(mode)
        return People(path).close()  # type: ignore[func-returns-value]

    return opened


def named(name: str) -> Callable[[], object]:
    def add() -> object:
        with closing(People(Path("people.db"))) as people:
            return people.add(name, "auditor")

    return add


def upstream(ca: str | None = None, url: str = "https://localhost:1") -> Callable[[], object]:
    """A client of the coordinator, with the authority that this file is."""

    def opened() -> object:
        write("text.pem", "no certificate")
        certify(Path.cwd())
        open_upstream(Settings(url, ca_file=Path(ca) if ca else None)).client.close()
        return None

    return opened


TABLES = [
    Row("{}: {}: missing; write it", declared('issuer = "https://x"\nclient_id = "y"\n'), declared(FILE)),
    Row("{}: {}: give a text", declared(FILE.replace('"y"', "7")), declared(FILE)),
    Row("{}: [roles]: give each group one of {}", declared(FILE.replace("auditor", "root")), declared(FILE)),
    Row('{}: scopes: give a list with "openid" in it',
        declared('scopes = ["x"]\n' + FILE), declared('scopes = ["openid"]\n' + FILE)),
    Row("{}: give a name of 1 to {} printable characters", named(""), named("ada")),
    Row("{}: {}; name a file in a folder that can be written",
        people_in("file/people.db"), people_in("folder/people.db")),
    Row("{}: others can read this file of people; run chmod 600 on it",
        people_in("people.db", 0o644), people_in("people.db", 0o600)),
    Row("{}: cannot be read as a CA certificate; give it in PEM",
        upstream("text.pem"), upstream("ca.pem")),
    Row("study: longer than {} characters; use `fedcohort run`",
        lambda: checked(LONG, CATALOGUES), lambda: load_study(write("study.toml", LONG))),
    Row('study: analysis.kind must be "describe" or "train", with a model by its name',
        lambda: checked(TOML.replace("describe", "evaluate"), CATALOGUES), lambda: checked(TOML, CATALOGUES)),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLES, ids=lambda row: row.said[:60])
def test_a_deed_succeeds_once_it_is_done_as_told(row: Row) -> None:
    obey(row)


def test_a_page_is_served_on_another_port_as_it_is_told() -> None:
    app = create_app(Settings(people=Path("people.db")))
    taken = open_server(app, Settings(), Listen("127.0.0.1", 0))
    refusal("{}:{} cannot be listened on ({}); choose another --port",
            lambda: open_server(app, Settings(), Listen("127.0.0.1", taken.port)))  # fmt: skip
    open_server(app, Settings(), Listen("127.0.0.1", free_port())).server_close()
    taken.server_close()
    close_app(app)


def test_the_coordinator_answers_a_page_once_it_runs_and_takes_the_token() -> None:
    away = f"http://127.0.0.1:{free_port()}"
    refusal("does not answer ({}); check the address, and that 'fedcohort coordinator' runs",
            lambda: open_upstream(Settings(away)).read("/api/federation"))  # fmt: skip
    with running(rest(StandIn(token="right"))) as server:
        wrong = open_upstream(Settings(server.url, token="wrong"))
        refusal("does not accept this dashboard's token; set FEDCOHORT_TOKEN to a valid one",
                lambda: wrong.read("/api/federation"))  # fmt: skip
        assert open_upstream(Settings(server.url, token="right")).read("/api/federation")["sites"] == []


def log_in_by_a_provider() -> None:
    file = write_provider(Path("provider.toml"), "https://id.example")
    close_app(create_app(Settings(NOWHERE, people=Path("people.db"), address=HERE, oidc=file)))


INSTALLED = [
    Lacks("log-in by a provider needs more: pip install", "fedcohort.dashboard.login.provider",
          log_in_by_a_provider),
    Lacks(said="the dashboard needs more packages: pip install", module="fedcohort.dashboard.federation.app",
          deed=lambda: close_app(create_app(Settings()))),
]  # fmt: skip


@pytest.mark.parametrize("one", INSTALLED, ids=lambda one: one.module)
def test_what_lacks_a_package_works_once_it_is_there(one: Lacks, monkeypatch: pytest.MonkeyPatch) -> None:
    install(one, monkeypatch)


def test_somebody_gets_in_once_a_group_of_theirs_has_a_role(
    hospital: Hospital, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hospital.identity.user["groups"] = ["staff"]
    with caplog.at_level(logging.DEBUG, "fedcohort"):
        assert hospital.log_in()[0] == 403
    assert "no group of this person has a role here; see [roles] in the provider's file" in caplog.text
    file = write_provider(tmp_path / "more.toml", hospital.identity.url)
    file.write_text(f'{file.read_text()}staff = "auditor"\n')
    settings = Settings(
        NOWHERE, people=tmp_path / "more.db", address=HERE, oidc=file, oidc_secret=SECRET
    )  # fmt: skip
    app = create_app(settings)
    assert replace(hospital, app=app).log_in()[0] == 303
    close_app(app)


def test_a_provider_is_asked_once_its_issuer_is_written_as_it_says() -> None:
    identity = Identity()
    with running(provider(identity)) as server, httpx.Client(trust_env=False) as client:
        identity.url = server.url
        other = write_provider(Path("provider.toml"), server.url.replace("127.0.0.1", "localhost"))
        refusal("the identity provider says that it is another issuer; check issuer",
                lambda: Provider(read_provider(other, None), client)._metadata())  # fmt: skip
        own = write_provider(Path("provider.toml"), server.url)
        assert Provider(read_provider(own, None), client)._metadata()["issuer"] == server.url


def test_a_password_that_the_provider_keeps_is_not_reset_here_and_its_owner_logs_in_there(
    hospital: Hospital,
) -> None:
    hospital.log_in()
    refusal("{} logs in with the identity provider, and has no password here; reset it there",
            lambda: hospital.people.reset("ada"))  # fmt: skip
    assert hospital.log_in()[0] == 303  # with whatever the provider has now


ASKED = Study(name="x", cohort=fc.Cohort(columns={"age": fc.Numeric(18, 90)}), analysis=fc.Describe())
RESEARCHER = new_identity("ada")


def body(asked: Study = ASKED) -> dict[str, Any]:
    return {
        "study": json.loads(asked.canonical),
        "public_key": RESEARCHER.public_key.hex(),
        "signature": RESEARCHER.sign(study_signing_bytes(asked.canonical)).hex(),
    }


def invited() -> str:
    """The token that the command prints which a coordinator's message names."""
    found = re.findall(r"[\w-]{43}", run(f"{INVITE} --researcher ada"))
    return str(found[-1])


async def answers(token: str, posts: list[tuple[object, str | None]]) -> None:
    """Send each body, and read why it is refused; None for what is taken."""
    store = CoordinatorStore(Path("state/coordinator.db"))
    service = Service(store, Members(store), Links())
    transport = httpx.ASGITransport(Starlette(routes=routes(service, b"key")))
    async with httpx.AsyncClient(transport=transport, base_url="http://coordinator") as client:
        for header, said in (
            ({}, "a token is needed, on this machine too: give yours by --token, FEDCOHORT_TOKEN or"),
            ({"Authorization": "Bearer no"}, "the token is unknown or revoked; ask the coordinator's"),
        ):
            refused = (await client.get("/api/studies", headers=header)).json()
            assert said in refused["message"]
            assert "`fedcohort coordinator invite --researcher NAME`" in refused["message"]
        client.headers["Authorization"] = f"Bearer {token}"
        assert (await client.get("/api/studies")).json() == {"studies": []}
        for given, why in posts:
            content = given if isinstance(given, bytes) else json.dumps(given).encode()
            answer = await client.post("/api/studies", content=content)
            assert answer.is_success == (why is None), answer.text
            assert why is None or why in answer.json()["message"]
        short = (await client.get(f"/api/studies/{ASKED.hash[:3]}")).json()["message"]
        assert short.endswith("; give its hash, or the first six characters or more")
        assert (await client.get(f"/api/studies/{ASKED.hash[:6]}")).json()["id"] == ASKED.hash
        await service.lifecycle.cancel(ASKED.hash)
    await service.stop()
    store.close()


def test_a_study_is_handed_in_once_token_and_body_are_as_told() -> None:
    unsigned = {**body(), "signature": "00" * 64}
    bare = Study(name="x", cohort=fc.Cohort(columns=["age"]), analysis=fc.Describe())
    asyncio.run(
        answers(
            invited(),
            [
                (b"{", "the request is not JSON"),
                ([], "the request must be a JSON object"),
                (b" " * (MAX_STUDY_BYTES + 1), "the study is larger than"),
                ({"study": body()["study"]}, "send study, public_key and signature (hex)"),
                (unsigned, "the study's signature does not fit its key; sign the canonical study"),
                (body(bare), "cohort.columns: name each column's kind; fed.run does so"),
                (body(), None),
            ],
        )
    )


def test_a_study_that_is_being_checked_is_cancelled_once_it_is_proposed() -> None:
    async def main() -> None:
        store = CoordinatorStore(Path("coordinator.db"))
        service = Service(store, Members(store), Links())
        given = body()
        key, signature = bytes.fromhex(given["public_key"]), bytes.fromhex(given["signature"])
        coming = asyncio.create_task(service.lifecycle.submit(ASKED, "ada", key, signature))
        while ASKED.hash not in service.lifecycle.checking:
            await asyncio.sleep(0)
        with pytest.raises(fc.StudyError, match="still being checked; cancel it once it is proposed"):
            await service.lifecycle.cancel(ASKED.hash)
        await coming
        await service.lifecycle.cancel(ASKED.hash)
        row = store.study(ASKED.hash)
        assert row is not None
        assert row["state"] == "cancelled"
        await service.stop()
        store.close()

    asyncio.run(main())
