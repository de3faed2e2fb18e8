"""Whose study it is: a researcher sees, follows and cancels the own ones; to others' there is no way."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from flask import Flask, g
from playwright.sync_api import Browser as Chromium

from fedcohort.dashboard import Settings, create_app
from fedcohort.dashboard.federation.ownership import claim
from fedcohort.dashboard.login.access import AccessControl, Visitor
from fedcohort.dashboard.login.people import People
from fedcohort.dashboard.shared.application import close_app
from tests.patience import PATIENCE_SECONDS
from tests.processes.support import wards

from .accounts import NAMES, Browser, session_for
from .browser import watched
from .conftest import Serve
from .standin import FIRST_STUDY, Running, StandIn

OTHERS = "cd" * 32
EVERY = ("", "/report", "/events", "/document")


@pytest.fixture
def app(people: Path, coordinator: Running, store: StandIn) -> Iterator[Flask]:
    """dr-chen has finished a study, and somebody else a newer one."""
    for study_id, researcher in ((FIRST_STUDY, "dr-chen"), (OTHERS, "somebody-else")):
        store.add_study(study_id, name=f"of {researcher}", researcher=researcher)
        store.add_round(0, study_id)
        store.finish({"age": 0.2}, study_id)
    app = create_app(Settings(coordinator.url, people=people))
    yield app
    close_app(app)


def test_a_researcher_sees_the_own_studies_and_the_others_all(app: Flask, people: Path) -> None:
    for role in NAMES:
        found = Browser(app, people, role).get("/api/studies").get_json()["studies"]
        assert [row["id"] for row in found] == (
            [FIRST_STUDY] if role == "researcher" else [OTHERS, FIRST_STUDY]
        )


@pytest.mark.parametrize("what", EVERY)
@pytest.mark.parametrize("digits", [6, 64])
def test_anothers_study_is_as_if_it_were_not_there(app: Flask, people: Path, what: str, digits: int) -> None:
    browser = Browser(app, people, "researcher")
    with browser.get(f"/api/studies/{FIRST_STUDY[:digits]}{what}") as mine:
        assert mine.status_code != 404
    theirs, missing = (browser.get(f"/api/studies/{name[:digits]}{what}") for name in (OTHERS, "ee" * 32))
    assert (theirs.status_code, theirs.get_json()) == (404, missing.get_json())


def test_the_page_itself_opens_whatever_study_its_address_names(app: Flask, people: Path) -> None:
    answer = Browser(app, people, "researcher").get(f"/?study={OTHERS}")
    assert (answer.status_code, "somebody-else" in answer.text) == (200, False)


@pytest.mark.parametrize("route", ["/training_metrics", "/feature_importance"])
def test_the_newest_study_is_the_own_newest(app: Flask, people: Path, route: str) -> None:
    browser = Browser(app, people, "researcher")
    answer = browser.get(route)
    assert answer.status_code == 200
    if answer.is_json:
        assert answer.get_json()["study"] == FIRST_STUDY
    assert browser.get(f"{route}?study={OTHERS}").status_code == 404
    assert Browser(app, people, "auditor").get(f"{route}?study={OTHERS}").status_code == 200


def test_a_researcher_cancels_the_own_study_and_an_operator_any(
    app: Flask, people: Path, store: StandIn
) -> None:
    researcher, operator = Browser(app, people, "researcher"), Browser(app, people, "operator")
    assert researcher.post(f"/api/studies/{OTHERS}/cancel").status_code == 404
    assert store.cancelled == []
    assert researcher.post(f"/api/studies/{FIRST_STUDY}/cancel").get_json() == {"id": FIRST_STUDY}
    assert operator.post(f"/api/studies/{OTHERS}/cancel").status_code == 200
    assert store.cancelled == [FIRST_STUDY, OTHERS]
    for role in ("data-owner", "auditor"):
        assert Browser(app, people, role).post(f"/api/studies/{OTHERS}/cancel").status_code == 403
    log: People = app.extensions["fedcohort-people"]
    with log.database.transaction() as connection:
        rows = connection.exec_driver_sql(
            "SELECT study_hash, detail FROM events WHERE kind = 'study-cancelled'"
        )
        assert [(study, json.loads(detail)["name"]) for study, detail in rows] == [
            (FIRST_STUDY, "dr-chen"),
            (OTHERS, "ops"),
        ]


def test_a_study_that_somebody_has_handed_in_by_the_page_is_the_own_one_and_stays_so(
    app: Flask, people: Path
) -> None:
    file: People = app.extensions["fedcohort-people"]
    browser = Browser(app, people, "researcher")
    for name in ("dr-chen", "somebody-else"):
        with app.test_request_context():
            g.visitor = Visitor(name, "researcher", "a session")
            claim(AccessControl(file, None, {}), OTHERS)
    assert [row["id"] for row in browser.get("/api/studies").get_json()["studies"]] == [OTHERS, FIRST_STUDY]
    assert browser.get(f"/api/studies/{OTHERS}").status_code == 200
    with file.database.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT study, folded FROM submitted").all()
    assert [tuple(row) for row in rows] == [(OTHERS, "dr-chen")]


def test_what_happens_to_others_studies_is_not_told_to_a_researcher(
    app: Flask, people: Path, coordinator: Running, serve: Serve
) -> None:
    address = serve(Settings(coordinator.url, people=people))
    for role, names in (("researcher", {"of dr-chen"}), ("auditor", {"of dr-chen", "of somebody-else"})):
        cookies = {"fedcohort-session": session_for(people, role)}
        with httpx.stream("GET", f"{address}api/events", cookies=cookies) as stream:
            seen, pulses = set(), 0
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    seen.add(json.loads(line[6:]).get("name"))
                pulses += line.startswith(":")
                if pulses > 4:
                    break
        assert seen - {None} == names


@pytest.mark.browser
def test_a_researcher_cancels_a_study_by_the_button_and_an_auditor_has_none(
    store: StandIn, people: Path, coordinator: Running, serve: Serve, browser: Chromium
) -> None:
    store.add_study()
    address = serve(Settings(coordinator.url, people=people))
    for role in ("auditor", "researcher"):
        with watched(browser) as watch:
            token = session_for(people, role)
            watch.page.context.add_cookies([{"name": "fedcohort-session", "value": token, "url": address}])
            watch.page.goto(address)
            watch.wait("document.querySelector('#study-state').textContent === 'Running'")
            assert watch.page.locator("#study-cancel").count() == (role == "researcher")
            if role == "researcher":
                watch.page.on("dialog", lambda dialog: dialog.accept())
                with watch.page.expect_response("**/cancel"):
                    watch.page.click("#study-cancel")
                store.set_state(
                    "failed", error={"code": "cancelled", "message": "the researcher cancelled it"}
                )
                watch.wait("document.querySelector('#study-cancel').hidden")
            assert watch.complaints == []
    assert store.cancelled == [FIRST_STUDY]


@pytest.mark.processes
def test_a_researcher_hands_a_study_in_and_owns_it_and_nobody_owns_it_by_sending_it_again(
    people: Path, tmp_path: Path
) -> None:
    file = People(people)
    file.add("marie", "researcher")
    file.close()
    toml = (
        'name = "who they are"\n[cohort]\ntable = "ward"\ncolumns = ["age"]\n[analysis]\nkind = "describe"\n'
    )
    with wards(tmp_path / "wards", 2) as group:
        settings = Settings(group.url, token=group.token, people=people, researcher_key=tmp_path / "page.key")
        app = create_app(settings)
        first, second = (Browser(app, people, name) for name in ("researcher", "marie"))
        for user in (Browser(app, people, "auditor"), Browser(app, people, "operator")):
            assert user.send("/api/studies", {"toml": toml}).get_json()["code"] == "not-allowed"
            assert 'id="submit"' not in user.get("/new").text
        assert 'id="submit"' in first.get("/new").text
        study = first.send("/api/studies", {"toml": toml}).get_json()["id"]
        assert second.send("/api/studies", {"toml": toml}).get_json()["id"] == study
        for user, seen in ((first, [study]), (second, [])):
            assert [row["id"] for row in user.get("/api/studies").get_json()["studies"]] == seen
        for what in ("", "/curves", "/files", "/report"):
            assert second.get(f"/api/studies/{study}{what}").status_code == 404
        close_app(app)


def test_a_stream_ends_when_its_reader_is_disabled(
    app: Flask, people: Path, coordinator: Running, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedcohort.dashboard.federation.ownership.CHECK_SECONDS", 0.1)
    address = serve(Settings(coordinator.url, people=people))
    cookies = {"fedcohort-session": session_for(people, "auditor")}
    with httpx.stream("GET", f"{address}api/events", cookies=cookies, timeout=PATIENCE_SECONDS) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": still here"
        beside = People(people)
        beside.disable(NAMES["auditor"])
        beside.close()
        assert len(list(lines)) < 100, "the stream has an end"
