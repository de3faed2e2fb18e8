"""A data owner looks at an answer that waits, and exactly that leaves, or nothing does."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask
from typer.testing import CliRunner

from fedcohort.analyses.build import build_analysis
from fedcohort.cli.app import app as commands
from fedcohort.dashboard import Settings
from fedcohort.dashboard.hospital.app import build_hospital_page
from fedcohort.dashboard.shared.application import close_app
from fedcohort.errors import NotFoundError
from fedcohort.node.airlock import find_held
from fedcohort.node.answer import answer
from fedcohort.node.consent import approve
from fedcohort.node.policy import SitePolicy
from fedcohort.node.running import Running, open_node
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import parse_study
from fedcohort.wire.messages import Event, Task
from fedcohort.wire.signing import state_digest

from .accounts import NAMES, Browser, write_people
from .hospital_site import ask, asking_policy

NAME = 'Who is <b>old</b> & "ill"?'


@dataclass(frozen=True)
class Ward:
    """A hospital whose node holds an answer of round 0, and its page beside the node."""

    running: Running
    app: Flask
    alone: Flask
    people: Path
    asked: str
    path: Path

    def browser(self, role: str = "data-owner") -> Browser:
        return Browser(self.app, self.people, role)

    @property
    def digest(self) -> str:
        held = self.running.store.held.of(self.asked)
        assert held is not None
        return held.digest.hex()

    @property
    def state(self) -> str:
        held = self.running.store.held.of(self.asked)
        assert held is not None
        return held.state

    def form(self, word: str, **changes: str) -> dict[str, str]:
        return {"answer": word, "digest": self.digest, "round": "0", **changes}

    def logged(self, kind: str) -> list[object]:
        events = self.running.store.events((kind,))
        return [self.running.store.read_detail(event).get("by") for event in events]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    policy = asking_policy(tmp_path).model_copy(update={"release": "person"})
    running = open_node(policy)
    asked = ask(running.site, NAME)
    assert approve(running.site, asked).release_seconds == 72 * 3600
    hold(running, asked)
    people = write_people(tmp_path / "people.db")
    app = build_hospital_page(policy, SqlNodeStore(tmp_path / "node.db"), (), Settings(people=people))
    alone = build_hospital_page(policy, SqlNodeStore(tmp_path / "node.db"))
    yield Ward(running, app, alone, people, asked, site_file(policy, tmp_path))
    close_app(app)
    close_app(alone)
    running.store.close()
    running.held.close()


def hold(running: Running, asked: str) -> None:
    proposal = running.store.proposal(asked)
    assert proposal is not None
    state = build_analysis(parse_study(proposal.study)).start()
    digest = state_digest(state.phase, 0, state.arrays)
    reply = answer(running.node, Task(asked, 0, 0, state.phase, state.arrays, digest, ("a", "b", "c")))
    assert reply == Event("held", asked)


def site_file(policy: SitePolicy, folder: Path) -> Path:
    path = folder / "site.toml"
    path.write_text(
        f'id = "a"\ndata = "{policy.data}"\ncoordinator = "ws://127.0.0.1:1"\nstate = "."\n'
        'release = "person"\n[tables]\nward = "*"\n',
        encoding="utf-8",
    )
    return path


def test_the_page_shows_what_would_leave_and_what_the_rules_say_of_it(ward: Ward) -> None:
    browser = ward.browser()
    front = browser.get("/").text
    assert f"/held/{ward.asked}" in front
    assert "<b>old</b>" not in front
    text = browser.get(f"/held/{ward.asked}").text
    assert "<b>old</b>" not in text
    assert "the answer of round 0" in text
    assert ward.digest in text
    assert re.search(r"<summary>levels/sex", text)
    assert "What the rules say" in text
    assert "Let exactly this leave" in text
    rows = browser.get(f"/held/{ward.asked}.csv").text.splitlines()
    assert rows[0] == "block,cell,value,few"
    counts = [float(row.split(",")[-2]) for row in rows if row.startswith("levels/sex")]
    assert sum(counts) == 60


def test_what_was_looked_at_is_let_go_and_the_log_says_by_whom(ward: Ward) -> None:
    done = ward.browser().post(f"/held/{ward.asked}", ward.form("release"))
    assert (done.status_code, done.location, ward.state) == (303, "/", "released")
    assert ward.logged("let-go") == [NAMES["data-owner"]]
    assert "Answers that wait" not in ward.browser().get("/").text


def test_what_is_withheld_stands_in_no_log_before_its_time_is_up(ward: Ward) -> None:
    before = ward.running.store.newest()
    assert ward.browser().post(f"/held/{ward.asked}", ward.form("withhold")).status_code == 303
    assert (ward.state, ward.running.store.newest()) == ("withheld", before)
    assert ward.browser().get(f"/held/{ward.asked}").status_code == 404
    held = ward.running.store.held.of(ward.asked)
    assert held is not None
    ward.running.store.held.end_overdue(held.until_ms)
    assert ward.logged("withheld") == [NAMES["data-owner"]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": "00" * 32}, "Another answer waits by now"),
        ({"round": "1"}, "Another answer waits by now"),
        ({"answer": "yes"}, "Choose to let it go"),
    ],
    ids=str,
)
def test_another_answer_than_the_one_that_was_looked_at_is_not_let_go(
    ward: Ward, changes: dict[str, str], words: str
) -> None:
    done = ward.browser().post(f"/held/{ward.asked}", ward.form("release", **changes))
    assert (done.status_code, words in done.text, ward.state) == (422, True, "waiting")


@pytest.mark.parametrize("role", ["researcher", "auditor", "operator", "nobody"])
def test_nobody_else_sees_the_numbers_or_decides(ward: Ward, role: str) -> None:
    browser = ward.browser(role)
    for path in (f"/held/{ward.asked}", f"/held/{ward.asked}.csv"):
        assert browser.get(path).status_code in (302, 401, 403)
    done = browser.post(f"/held/{ward.asked}", ward.form("release"))
    assert (done.status_code, ward.state) == (401 if role == "nobody" else 403, "waiting")


def test_a_form_of_another_page_decides_nothing(ward: Ward) -> None:
    path, browser = f"/held/{ward.asked}", ward.browser()
    for done in (
        browser.post(path, ward.form("release"), Origin="https://elsewhere.example"),
        browser.raw_post(path, data=ward.form("release"), headers={"Origin": "http://localhost"}),
    ):
        assert (done.status_code, ward.state) == (403, "waiting")


def test_it_is_said_in_chinese(ward: Ward) -> None:
    browser = ward.browser()
    browser.client.set_cookie("language", "zh")
    text = browser.client.get(f"/held/{ward.asked}", headers={"Accept-Language": "zh"}).text
    assert "规则的结论" in text
    assert "个计数中有" in text


def test_without_accounts_the_page_says_that_one_waits_and_shows_no_number(ward: Ward) -> None:
    client = ward.alone.test_client()
    text = client.get("/").text
    assert "Answers that wait for a person" in text
    assert "On the command line: fedcohort release" in text
    assert ward.asked not in re.findall(r"/held/(\w+)", text)
    assert client.get(f"/held/{ward.asked}").status_code == 403
    assert client.get(f"/held/{ward.asked}.csv").status_code == 403


def test_the_approver_is_told_before_the_first_round(ward: Ward) -> None:
    told = "A person of this hospital sees each answer before it leaves, and lets it go or not"
    text = ward.browser().get(f"/studies/{ward.asked}").text
    assert told in text
    assert "up to 72 hours" in text


def command(ward: Ward, *words: str, typed: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(commands, ["release", *words, "--site", str(ward.path)], input=typed)
    return done.exit_code, done.output


def test_the_command_lists_shows_and_lets_go(ward: Ward) -> None:
    code, text = command(ward)
    assert (code, ward.asked[:12] in text, "round  0" in text) == (0, True, True)
    code, text = command(ward, ward.asked[:8], typed="n\n")
    assert (code, "it goes on waiting" in text, ward.state) == (1, True, "waiting")
    assert re.search(r"^levels/sex \(counts, \d", text, re.M)
    assert ward.digest in text
    assert command(ward, ward.asked[:8], "--csv")[1].startswith("block,cell,value,few")
    code, text = command(ward, ward.asked[:8], "--yes")
    assert (code, "let go; the running node sends it" in text, ward.state) == (0, True, "released")
    assert "no answer waits" in command(ward)[1]


def test_an_answer_is_found_by_what_the_list_says(ward: Ward) -> None:
    words = "0 answers wait of studies that begin with 'x'; `fedcohort release` lists them"
    with pytest.raises(NotFoundError, match=words):
        find_held(ward.running.store.held, "x")
    listed = command(ward)[1].split()[0]
    assert find_held(ward.running.store.held, listed).stored.study_hash == ward.asked


def test_the_command_withholds(ward: Ward) -> None:
    code, text = command(ward, ward.asked, "--withhold", typed="y\n")
    assert (code, "withheld; others are told when its time is up" in text, ward.state) == (
        0,
        True,
        "withheld",
    )
