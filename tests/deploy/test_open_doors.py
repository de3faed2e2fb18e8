"""Nobody without a token gets past the deployed nginx: every route of both servers, as the code has them."""

import contextlib
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fedcohort.coordinator.api import routes
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.service import Service
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.dashboard.federation.app import build_app
from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.engines.links import Links
from tests.build import describe_study, free_port, ward_rows, write_ward
from tests.deploy.nginx import DASHBOARD, Nginx, nginx
from tests.patience import PATIENCE_SECONDS, until
from tests.processes.support import Group, Process

pytestmark = [pytest.mark.processes, pytest.mark.slow]

OPEN = {"/healthz": 200}
NOT_PASSED_ON = {"/metrics", "/readyz"}
OPEN_ON_THE_PAGE = {"/login", "/password", "/static/<path:filename>", "/healthz", "/oidc", "/oidc/back"}


@dataclass
class Doors:
    """Coordinator, page and nginx as docs/deploy.md has them, and a study that somebody could touch."""

    group: Group
    front: Nginx
    study: str


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder, page = tmp_path_factory.mktemp("doors"), free_port()
    unit = Path(__file__).parents[2] / "deploy" / "systemd" / "fedcohort-coordinator.service"
    assert "--require-token" not in unit.read_text(), "a token is asked for without a word"
    with Group(folder) as group, nginx(folder / "nginx", group.port, page) as front:
        group.add("a", write_ward(folder / "a.db", ward_rows(0)), 'protections = ["none"]\n')
        arguments = ["dashboard", "--port", str(page), "--coordinator", group.url]
        arguments += ["--people", str(folder / "people.db")]
        group.coordinator.start()
        more = {"FEDCOHORT_TOKEN": group.token}
        group.others.append(Process(arguments, folder, folder / "dashboard.log", more).start())
        group.wait_linked()
        result = group.run(describe_study("nobody may see this", min_sites=1, protection="none"))
        until(lambda: front_page(front, "/healthz").is_success, "the page is served")
        yield Doors(group, front, str(result.report["study"]))


def client(front: Nginx) -> httpx.Client:
    return httpx.Client(
        verify=ssl.create_default_context(cafile=str(front.ca)), trust_env=False, timeout=PATIENCE_SECONDS
    )


def front_page(front: Nginx, path: str, method: str = "GET") -> httpx.Response:
    """Ask the dashboard's name, which only browsers take for this machine."""
    with client(front) as asking:
        return asking.request(
            method,
            f"https://127.0.0.1:{front.https}{path}",
            headers={"Host": f"{DASHBOARD}:{front.https}"},
            extensions={"sni_hostname": DASHBOARD},
        )


def of_coordinator(folder: Path) -> list[tuple[str, str]]:
    """Method and path of every route of its REST, from the application itself."""
    store = CoordinatorStore(folder / "coordinator.db")
    with contextlib.closing(store):
        every = routes(Service(store, Members(store), Links()), b"key")
        return [(method, route.path) for route in every for method in sorted(route.methods or ())]


def of_page() -> list[tuple[str, str]]:
    """Method and rule of every route of the page."""
    app = build_app(Settings())
    try:
        return [
            (method, rule.rule) for rule in app.url_map.iter_rules() for method in sorted(rule.methods or ())
        ]
    finally:
        close_app(app)


def test_no_route_of_the_coordinator_answers_without_a_token(doors: Doors, tmp_path: Path) -> None:
    found = of_coordinator(tmp_path)
    assert len(found) > 15
    with client(doors.front) as asking:
        for method, path in found:
            address = path.replace("{id}", doors.study)
            answer = asking.request(method, f"{doors.front.coordinator}{address}", content=b"{}")
            wanted = 404 if path in NOT_PASSED_ON else OPEN.get(path, 401)
            assert answer.status_code == wanted, (method, path)
            assert "nobody may see this" not in answer.text
            if wanted == 401 and method != "HEAD":
                assert "coordinator invite --researcher" in answer.json()["message"]


def test_a_made_up_token_opens_none_of_them_either(doors: Doors, tmp_path: Path) -> None:
    with client(doors.front) as asking:
        for scheme in ("Bearer guess", "Bearer", "Basic bG9jYWw6", "bearer local"):
            answer = asking.get(f"{doors.front.coordinator}/api/studies", headers={"Authorization": scheme})
            assert answer.status_code == 401, scheme


def test_no_route_of_the_coordinator_answers_on_its_own_machine_without_a_token(
    doors: Doors, tmp_path: Path
) -> None:
    for method, path in of_coordinator(tmp_path):
        if path not in ("/healthz", "/readyz"):
            address = f"{doors.group.url}{path.replace('{id}', doors.study)}"
            assert httpx.request(method, address, trust_env=False).status_code == 401, (method, path)


def test_no_route_of_the_page_answers_before_log_in(doors: Doors) -> None:
    found = of_page()
    assert len(found) > 15
    for method, rule in found:
        if rule in OPEN_ON_THE_PAGE:
            continue
        path = re.sub(r"<[^>]+>", doors.study, rule)
        answer = front_page(doors.front, path, method)
        led_to_login = answer.status_code == 302 and answer.headers["location"] == "/login"
        assert led_to_login or answer.status_code in (401, 403, 404, 405), (method, rule)
        assert "nobody may see this" not in answer.text
