"""Markup in every text that a user or a site can write stays text: by the parsed page, and in Chromium."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium

import fedcohort as fc
from fedcohort.dashboard import Settings
from fedcohort.dashboard.hospital.app import build_hospital_page
from fedcohort.dashboard.login.people import People
from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.serve import Listen, address_of, open_server
from fedcohort.errors import StudyError
from fedcohort.node.consent import LocalSite, receive_proposal
from fedcohort.node.policy import SitePolicy
from fedcohort.node.store import SqlNodeStore
from fedcohort.wire.identity import load_or_create, new_identity
from fedcohort.wire.messages import Proposal
from fedcohort.wire.signing import study_signing_bytes

from .accounts import Browser, session_for, write_people
from .browser import Watched, watched
from .conftest import Serve
from .standin import FIRST_STUDY, Running, StandIn

HOSTILE = (
    "<img src=x onerror=\"document.title='hacked'\">",
    "</pre></td></script><script>document.title='hacked'</script>",
    "\"'><svg onload=document.title='hacked'>",
    "' autofocus onfocus=document.title='hacked' x='",
    "javascript:document.title='hacked'",
    "{{7*7}}{%raw%}{0.__class__}%(x)s",
)
WHOLE = "".join(HOSTILE)
NAMED = WHOLE[:128]
QUOTED = HOSTILE[0].replace("'", "")


class Parsed(HTMLParser):
    """What a browser would run, or load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.dangers: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.dangers += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        for name in ("src", "href", "action", "formaction"):
            if name in given and not given[name].startswith(("/", "#", "?")):
                self.dangers.append(f"{tag} {name}={given[name]}")
        if tag in ("iframe", "object", "embed", "svg", "base") or (tag == "script" and not given.get("src")):
            self.dangers.append(tag)
        self.words += given.values()

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def is_harmless(text: str, *shown: str) -> None:
    """No element or attribute is of a text's making, and the texts are shown as they are."""
    parsed = Parsed(text)
    assert parsed.dangers == []
    everything = "\n".join(parsed.words)
    for one in shown:
        assert one in everything


def hostile_study() -> fc.Study:
    """A study whose every text is markup, as far as a study may have such text: no column's name may."""
    with pytest.raises(StudyError, match="is called by a letter"):
        fc.Cohort(table="ward", columns={HOSTILE[0]: fc.Numeric(0, 1)})
    columns: dict[str, Any] = {"age": fc.Numeric(18, 100), "sex": fc.Categorical((HOSTILE[1], HOSTILE[2]))}
    cohort = fc.Cohort(table="ward", columns=columns, where=f"sex = '{QUOTED}'")
    return fc.Study(name=NAMED, cohort=cohort, analysis=fc.Describe())


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, str]]:
    """A served page of a hospital that was asked in markup; with its people and the study."""
    folder = tmp_path_factory.mktemp("hostile")
    people, store = write_people(folder / "people.db"), SqlNodeStore(folder / "node.db")
    file = People(people)
    for name in (WHOLE[:64], *(one[:64] for one in HOSTILE[1:])):
        file.add(name, "auditor")
    file.close()
    policy = SitePolicy(
        id="a", data=str(folder / f"{HOSTILE[0].replace('/', '')}.db"), tables={"ward": "*"},
        coordinator="ws://127.0.0.1:1", state=folder, approval="ask",
    )  # fmt: skip
    site = LocalSite(policy, load_or_create(folder / "site.key", "a"), store)
    study, key = hostile_study(), new_identity("x")
    signature = key.sign(study_signing_bytes(study.canonical))
    receive_proposal(site, Proposal(study.canonical, WHOLE, key.public_key, signature))
    store.note("release", HOSTILE[0], {"round": HOSTILE[1], "bytes": HOSTILE[2], "digest": HOSTILE[3]})
    store.note("approved", study.hash, {"by": WHOLE})
    settings = Settings(people=people)
    app, listen = build_hospital_page(policy, store, (), settings), Listen("127.0.0.1", 0)
    server = open_server(app, settings, listen)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield address_of(listen, server.port), people, study.hash
    server.shutdown()
    thread.join()
    server.server_close()
    close_app(app)


def open_as(watch: Watched, address: str, people: Path, role: str) -> None:
    """Give the browser a session."""
    token = session_for(people, role)
    watch.page.context.add_cookies([{"name": "fedcohort-session", "value": token, "url": address}])


def ran_nothing(watch: Watched) -> None:
    """No script of a text ran, and none was even held up by the page's policy."""
    assert watch.page.title() == "fedcohort"
    assert watch.page.locator("main img:not(.mark), main script, main svg").count() == 0
    assert watch.complaints == []


@pytest.mark.browser
def test_a_hospitals_pages_show_markup_as_text(hospital: tuple[str, Path, str], browser: Chromium) -> None:
    address, people, study_hash = hospital
    with watched(browser) as watch:
        open_as(watch, address, people, "data-owner")
        watch.page.goto(address)
        asked = "[aria-labelledby=proposals-heading] summary"
        watch.page.click(asked)
        assert NAMED in watch.text(asked)
        watch.page.click("[aria-labelledby=data-heading] summary")
        assert HOSTILE[0].replace("/", "") in watch.text("[aria-labelledby=data-heading] .notice")
        assert HOSTILE[1] in watch.text("main")
        is_harmless(watch.page.content(), WHOLE, HOSTILE[2], HOSTILE[3][:16])
        ran_nothing(watch)
        watch.page.goto(f"{address}studies/{study_hash}")
        assert watch.text("#study-heading") == NAMED
        assert f"approved by {WHOLE}" in watch.text("main")
        assert QUOTED in watch.text("pre")
        is_harmless(watch.page.content(), *HOSTILE)
        ran_nothing(watch)


@pytest.mark.browser
def test_the_page_of_people_and_the_log_in_show_markup_as_text(
    hospital: tuple[str, Path, str], browser: Chromium
) -> None:
    address, people, _ = hospital
    with watched(browser) as watch:
        watch.page.goto(f"{address}login")
        watch.page.fill("#name", WHOLE[:64])
        watch.page.fill("#password", WHOLE)
        watch.follow("button")
        assert watch.text("[role=alert]").startswith("Name or password is wrong")
        assert watch.page.input_value("#name") == WHOLE[:64]
        is_harmless(watch.page.content(), WHOLE[:64])
        watch.complaints.clear()  # of the status 403
        ran_nothing(watch)
        open_as(watch, address, people, "operator")
        watch.page.goto(f"{address}people")
        for one in HOSTILE[1:]:
            assert one[:64] in watch.text("table")
        is_harmless(watch.page.content(), WHOLE[:64])
        watch.page.fill("#name", f"{HOSTILE[0]}!")
        watch.follow("main form.fields button")
        assert "/password?token=" in watch.text("[role=status]")
        watch.follow("text=Disable >> nth=-1")
        ran_nothing(watch)


@pytest.mark.browser
def test_the_dashboard_shows_markup_as_text_to_whoever_is_logged_in(
    store: StandIn, coordinator: Running, serve: Serve, browser: Chromium, tmp_path: Path
) -> None:
    people = write_people(tmp_path / "people.db")
    store.sites = {WHOLE: "connected"}
    answers = [{"id": WHOLE, "state": "refused", "code": WHOLE}]
    store.add_study(name=WHOLE, researcher=WHOLE, sites=answers, error={"code": WHOLE, "message": WHOLE})
    store.add_round(1)
    store.finish({WHOLE: 0.5, "age": 0.1})
    address = serve(Settings(coordinator.url, people=people))
    with watched(browser) as watch:
        open_as(watch, address, people, "auditor")
        watch.page.goto(address)
        watch.wait("document.querySelector('#figure-importance canvas')")
        watch.page.hover("#federation-graph")
        watch.page.hover("#figure-importance")
        assert watch.text("#study-name") == WHOLE
        assert "linus · auditor" in watch.text("header")
        assert watch.page.title() != "hacked"
        assert watch.page.locator("main img, main script, aside img").count() == 0
        assert watch.complaints == []


def test_refusals_quote_markup_as_json_alone(hospital: tuple[str, Path, str], tmp_path: Path) -> None:
    from fedcohort.dashboard import create_app

    people = write_people(tmp_path / "people.db")
    app = create_app(Settings("http://127.0.0.1:9", people=people))
    browser = Browser(app, people, "operator")
    for path in ("/<script>alert(1)</script>", "/api/studies/<script>", "/training_metrics?study=<script>"):
        answer = browser.get(path)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    is_harmless(
        browser.post("/people", {"what": "add", "name": WHOLE, "role": WHOLE}).text, "<img src=x onerror="
    )
    is_harmless(browser.get(f"/password?token={HOSTILE[2]}").text)
    close_app(app)


@pytest.mark.browser
def test_somebody_logs_in_works_and_logs_out_in_a_browser(
    store: StandIn, coordinator: Running, serve: Serve, browser: Chromium, tmp_path: Path
) -> None:
    from fedcohort.dashboard.login.people import password_link

    store.add_study(FIRST_STUDY)
    people = People(tmp_path / "people.db")
    first = people.first_link()
    people.close()
    assert first is not None
    address = serve(Settings(coordinator.url, people=tmp_path / "people.db"))
    with watched(browser) as watch:
        watch.page.goto(password_link(address, first))
        watch.page.fill("#name", "ops")
        for field in ("#password", "#again"):
            watch.page.fill(field, "the sea is calm tonight")
        watch.page.click("button")
        watch.wait("location.pathname === '/login'")
        watch.page.fill("#name", "ops")
        watch.page.fill("#password", "the sea is calm tonight")
        watch.page.press("#password", "Enter")
        watch.wait("document.querySelector('#study-name')?.textContent === 'heart-disease'")
        watch.follow("text=People")
        watch.page.fill("#name", "ada")
        watch.page.select_option("#role", "researcher")
        watch.follow("main form.fields button")
        link = watch.text("[role=status] .mono")
        with watched(browser) as other:
            other.page.goto(link)
            assert "Set a password" in other.text("h1")
            assert other.complaints == []
        watch.page.click("text=Log out")
        watch.wait("location.pathname === '/login'")
        watch.page.goto(address)
        assert "/login" in watch.page.url
        assert watch.complaints == []
