"""Every route as everybody: what the table of roles says is what the pages do."""

from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from fedcohort.dashboard import Settings, create_app
from fedcohort.dashboard.hospital.app import build_hospital_page
from fedcohort.dashboard.login.roles import DASHBOARD, HOSPITAL, LOCAL, NOBODY, PAGES, ROLES
from fedcohort.dashboard.shared.application import close_app
from fedcohort.node.consent import LocalSite
from fedcohort.node.store import SqlNodeStore
from fedcohort.wire.identity import load_or_create

from .accounts import ORIGIN, Browser, write_people
from .hospital_site import ask, asking_policy
from .standin import FIRST_STUDY, StandIn, rest, running

pytestmark = pytest.mark.usefixtures("quick_passwords")

REFUSALS = {"not-authenticated", "not-allowed", "not-own-page"}
TABLES = {"dashboard": DASHBOARD, "hospital": HOSPITAL}
ASKED = [(page, route) for page, table in TABLES.items() for route in table]
EVERYBODY = (*ROLES, NOBODY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roles")


@pytest.fixture(scope="module")
def people(folder: Path) -> Path:
    return write_people(folder / "people.db")


@pytest.fixture(scope="module")
def apps(folder: Path, people: Path, quick_passwords: None) -> Iterator[dict[str, Flask]]:
    """Both pages, with one study of dr-chen each."""
    store, node, policy = StandIn(), SqlNodeStore(folder / "node.db"), asking_policy(folder)
    store.add_study(state="finished")
    store.finish({"age": 0.2})
    study_hash = ask(LocalSite(policy, load_or_create(folder / "site.key", "a"), node), "Who is ill?")
    with running(rest(store)) as coordinator:
        apps = {
            "dashboard": create_app(Settings(coordinator.url, people=people)),
            "hospital": build_hospital_page(policy, node, (), Settings(people=people)),
        }
        apps["hospital"].config["asked"] = study_hash
        apps["dashboard alone"] = create_app(Settings(coordinator.url))
        apps["hospital alone"] = build_hospital_page(policy, SqlNodeStore(folder / "node.db"))
        yield apps
        for app in apps.values():
            close_app(app)


def routes(app: Flask) -> set[str]:
    """Every method of every route that Flask would answer."""
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.mark.parametrize("page", TABLES)
def test_no_route_is_without_an_entry_and_no_entry_without_a_route(apps: dict[str, Flask], page: str) -> None:
    assert routes(apps[page]) == TABLES[page].keys()
    assert {rule for rule in PAGES if f"GET {rule}" not in DASHBOARD.keys() | HOSPITAL.keys()} == set()


def filled(app: Flask, rule: str) -> str:
    """An address of a route."""
    places = {
        "<path:filename>": "icon.svg",
        "<language>": "zh",
        "<study_id>": FIRST_STUDY,
        "<key>": "0123456789ab",
        "<table>": "ward",
        "<name>": "importance",
        "<study_hash>": str(app.config.get("asked")),
    }
    for place, value in places.items():
        rule = rule.replace(place, value)
    assert "<" not in rule, f"give {rule} a value here"
    return rule


def turned_away(answer: TestResponse) -> bool:
    """Whether the door did not open; what lies behind it may still refuse a form."""
    if answer.status_code == 302:
        return answer.location == "/login"
    return answer.is_json and answer.get_json().get("code") in REFUSALS


@pytest.mark.parametrize(("page", "route"), ASKED, ids=[f"{page} {route}" for page, route in ASKED])
def test_a_route_answers_the_roles_of_its_entry_and_nobody_else(
    apps: dict[str, Flask], people: Path, page: str, route: str
) -> None:
    method, rule = route.split(" ", 1)
    answers = {}
    for role in EVERYBODY:
        browser, path = Browser(apps[page], people, role), filled(apps[page], rule)
        answer = browser.get(path) if method == "GET" else browser.post(path)
        answers[role] = not turned_away(answer)
        if turned_away(answer):
            to_login = rule in PAGES and method == "GET"
            assert answer.status_code == (403 if role != NOBODY else 302 if to_login else 401)
        answer.close()
    alone = (
        apps[f"{page} alone"]
        .test_client()
        .open(filled(apps[page], rule), method=method, headers={"Origin": ORIGIN})
    )
    answers[LOCAL] = not turned_away(alone)
    alone.close()
    assert answers == expected(TABLES[page], route)


def expected(table: Mapping[str, Set[str]], route: str) -> dict[str, bool]:
    return {role: role in table[route] for role in (*EVERYBODY, LOCAL)}


@pytest.mark.parametrize("role", EVERYBODY)
@pytest.mark.parametrize("page", TABLES)
def test_no_form_of_another_page_is_taken_on_any_route_by_anybody(
    apps: dict[str, Flask], people: Path, page: str, role: str
) -> None:
    for route in TABLES[page]:
        method, rule = route.split(" ", 1)
        if method == "GET":
            continue
        browser, path = Browser(apps[page], people, role), filled(apps[page], rule)
        for answer in (
            browser.raw_post(path),
            browser.raw_post(path, headers={"Origin": ORIGIN}),
            browser.post(path, Origin="https://elsewhere.example"),
        ):
            assert answer.get_json()["code"] in REFUSALS, path


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"])
def test_other_methods_are_answered_by_none(apps: dict[str, Flask], people: Path, method: str) -> None:
    for page, table in TABLES.items():
        client = Browser(apps[page], people, "operator").client
        for route in table:
            path = filled(apps[page], route.split(" ", 1)[1])
            assert client.open(path, method=method).status_code in (403, 405), f"{method} {path}"


def test_an_auditor_can_only_read() -> None:
    forms = {"POST /login", "POST /password", "POST /logout"}
    asking = {"POST /models/<key>", "POST /api/models/<key>/predict"}
    for table in TABLES.values():
        changing = {route for route, roles in table.items() if "auditor" in roles and "GET" not in route}
        assert changing - asking == forms
