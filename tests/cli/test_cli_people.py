"""`fedcohort people`: accounts on the command line, and the link that a page with none prints."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.build import free_port
from tests.dashboard.accounts import csrf_in
from tests.patience import until
from tests.processes.support import Process, cli, healthy

pytestmark = pytest.mark.processes

LINK = re.compile(r"http://\S+/password\?token=[\w-]{43}")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Process]:
    """A dashboard with an empty file of people."""
    words = ["dashboard", "--port", str(free_port()), "--people", "people.db"]
    process = Process(words, tmp_path, tmp_path / "page.log")
    process.start()
    url = f"http://127.0.0.1:{words[2]}"
    until(lambda: healthy(url), "the page is served")
    yield process
    process.signal(9)
    process.wait()


def test_the_first_start_prints_a_link_by_which_the_first_operator_gets_in(page: Process) -> None:
    until(lambda: LINK.search(page.text) is not None, "a link")
    found = LINK.search(page.text)
    assert found is not None
    origin, _, path = found[0].rpartition("/")
    password = "the sea is calm tonight"
    with httpx.Client(base_url=origin, headers={"Origin": origin}, trust_env=False) as client:
        form = {"csrf": csrf_in(client.get(f"/{path}").text), "name": "ops"}
        assert client.post(f"/{path}", data={**form, "password": password, "again": password}).is_redirect
        form = {"csrf": csrf_in(client.get("/login").text), "name": "ops", "password": password}
        assert client.post("/login", data=form).is_redirect
        assert "ops · operator" in client.get("/").text
        assert cli("people", "disable", "ops", "--people", "people.db", cwd=page.folder).returncode == 0
        assert client.get("/").headers["location"] == "/login"


def test_accounts_are_added_listed_reset_disabled_and_enabled(tmp_path: Path) -> None:
    def people(*words: str) -> str:
        done = cli("people", *words, "--people", "people.db", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    added = people("add", "dr <ada>", "--role", "researcher", "--url", "http://page.example")
    assert LINK.fullmatch(added.strip())
    assert added.startswith("http://page.example/")
    assert people("list") == "invited   researcher  dr <ada>\n"
    people("disable", "DR <ADA>")
    assert people("list") == "disabled  researcher  dr <ada>\n"
    people("enable", "dr <ada>")
    assert LINK.search(people("reset", "dr <ada>"))


def test_what_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    for words, said in (
        (["add", "x", "--role", "root"], "give one of"),
        (["disable", "x"], "nobody called"),
        (["reset", "x"], "nobody called"),
    ):
        done = cli("people", *words, "--people", "people.db", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
    assert "no such database" in cli("people", "list", "--people", "absent.db", cwd=tmp_path).stderr
