"""Log-in as a browser does it: cookies, forms, other sites' forms, attempts that are too many."""

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from fedcohort.dashboard import Settings, create_app
from fedcohort.dashboard.login.passwords import Passwords
from fedcohort.dashboard.login.people import People
from fedcohort.dashboard.login.rate_limits import Limiter, address_key
from fedcohort.dashboard.login.sessions import session_of
from fedcohort.dashboard.shared.application import close_app

from .accounts import ORIGIN, PASSWORD, Browser, csrf_of

pytestmark = pytest.mark.usefixtures("quick_passwords")

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def hash(quick_passwords: None) -> str:
    """Of PASSWORD."""
    made = Passwords().hash(PASSWORD)
    assert made is not None
    return made


@pytest.fixture
def path(tmp_path: Path, hash: str) -> Path:
    """Ada, a researcher, and ops, an operator, with passwords."""
    people = People(tmp_path / "people.db")
    for name, role in (("ada", "researcher"), ("ops", "operator")):
        people.take_link(people.add(name, role), "", hash)
    people.close()
    return tmp_path / "people.db"


@pytest.fixture
def app(path: Path) -> Iterator[Flask]:
    app = create_app(Settings(NOWHERE, people=path))
    yield app
    close_app(app)


@pytest.fixture
def browser(app: Flask, path: Path) -> Browser:
    return Browser(app, path)


def log_in(browser: Browser, name: str = "ada", password: str = PASSWORD) -> str:
    """The session's token; empty when the log-in was refused."""
    browser.client.delete_cookie("fedcohort-session")
    browser.token = ""
    browser.post("/login", {"name": name, "password": password})
    cookie = browser.client.get_cookie("fedcohort-session")
    browser.token = cookie.value if cookie else ""
    return browser.token


def test_name_and_password_open_a_session_and_logging_out_ends_it(browser: Browser, path: Path) -> None:
    assert browser.post("/login", {"name": "ada", "password": PASSWORD[:-1]}).status_code == 403
    assert browser.get("/").location == "/login"
    opened = browser.post("/login", {"name": "Ada", "password": PASSWORD})
    assert (opened.status_code, opened.location) == (303, "/")
    cookie = next(line for line in opened.headers.getlist("Set-Cookie") if "-session=" in line)
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    token = browser.token = cookie.split("=")[1].split(";")[0]
    assert len(token) == 43, "256 bits"
    page = browser.get("/").text
    assert "ada · researcher" in page
    assert token not in page
    browser.post("/logout")
    assert browser.get("/").location == "/login"
    people = People(path)
    assert session_of(people, token) is None, "the cookie is worth nothing to whoever has kept it"
    people.close()


def test_the_cookies_are_for_tls_and_this_host_alone_where_the_page_came_by_tls(app: Flask) -> None:
    client, far = app.test_client(), "https://dashboard.example"
    csrf = csrf_of(client.get("/login", base_url=far))
    form = {"name": "ada", "password": PASSWORD, "csrf": csrf}
    opened = client.post("/login", data=form, base_url=far, headers={"Origin": far})
    cookie = next(line for line in opened.headers.getlist("Set-Cookie") if "-session=" in line)
    assert cookie.startswith("__Host-fedcohort-session=")
    assert "Secure" in cookie
    assert "Domain" not in cookie
    assert client.get("/", base_url=far).status_code == 200
    assert client.get("/", base_url="http://localhost").status_code == 302


def test_a_session_gets_a_new_id_at_log_in_and_the_old_one_ends(browser: Browser, path: Path) -> None:
    planted = browser.token = session_for_name(path, "ada")
    browser.client.set_cookie("fedcohort-session", planted)
    browser.post("/login", {"name": "ada", "password": PASSWORD})
    cookie = browser.client.get_cookie("fedcohort-session")
    assert cookie is not None
    assert cookie.value != planted
    people = People(path)
    assert session_of(people, planted) is None
    people.close()


def session_for_name(path: Path, name: str) -> str:
    from fedcohort.dashboard.login.sessions import open_session

    people = People(path)
    token = open_session(people, name)
    people.close()
    return token


def test_disabling_somebody_ends_the_session_at_once(browser: Browser, path: Path) -> None:
    assert log_in(browser)
    people = People(path)
    people.disable("ada")
    people.close()
    assert browser.get("/api/studies").status_code == 401
    assert log_in(browser) == ""


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://localhost:81", "", None])
def test_a_form_on_another_site_changes_nothing(browser: Browser, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    csrf = browser.form_token()
    form = {"name": "ada", "password": PASSWORD, "csrf": csrf}
    assert browser.raw_post("/login", data=form, headers=headers).get_json()["code"] == "not-own-page"
    assert log_in(browser)
    out = browser.raw_post("/logout", data={"csrf": csrf}, headers=headers)
    assert (out.status_code, out.get_json()["code"]) == (403, "not-own-page")
    assert browser.get("/").status_code == 200


def test_a_form_without_the_sessions_own_token_changes_nothing(app: Flask, path: Path) -> None:
    mine, other = Browser(app, path), Browser(app, path)
    log_in(mine)
    log_in(other, "ops")
    theirs = csrf_of(other.get("/people"))
    assert len(theirs) == 64
    for csrf in ("", "0" * 64, theirs, "é"):
        out = mine.raw_post("/logout", data={"csrf": csrf}, headers={"Origin": ORIGIN})
        assert (out.status_code, out.get_json()["code"]) == (403, "not-own-page")
    assert mine.get("/").status_code == 200
    assert mine.post("/logout").status_code == 303


def test_unknown_names_and_wrong_passwords_and_disabled_people_hear_the_same(
    browser: Browser, path: Path
) -> None:
    people = People(path)
    people.disable("ops")
    people.add("invited", "auditor")
    people.close()
    tries = [("ada", "not the password"), ("ops", PASSWORD), ("invited", ""), ("nobody", PASSWORD), ("", "")]
    answers = set()
    for name, password in tries:
        answer = browser.post("/login", {"name": name, "password": password})
        answers.add(
            (answer.status_code, answer.text.replace(f'value="{name}"', 'value=""').replace("autofocus", ""))
        )
    assert len({status for status, _ in answers}) == 1
    assert len({" ".join(text.split()) for _, text in answers}) == 1


def test_attempts_at_one_name_are_few_and_unknown_names_are_counted_alike(app: Flask, path: Path) -> None:
    for name in ("ada", "nobody"):
        guesser = Browser(app, path)
        codes = []
        for number in range(12):
            where = {"REMOTE_ADDR": f"127.0.0.{number // 5 + 1}"}
            csrf = guesser.form_token()
            form = {"name": name, "password": "guess", "csrf": csrf}
            answer = guesser.raw_post("/login", data=form, headers={"Origin": ORIGIN}, environ_base=where)
            codes.append(answer.status_code)
        assert codes == [403] * 10 + [429] * 2
        assert int(answer.headers["Retry-After"]) in range(1, 61)
        assert "Too many attempts" in answer.text
    right = Browser(app, path)
    assert log_in(right) == "", "not even the right password, until the bucket fills again"
    assert log_in(right, "ops"), "others are not held up"


def test_getting_in_clears_the_count_of_the_name(browser: Browser) -> None:
    for guesses in (9, 2):
        for _ in range(guesses):
            assert browser.post("/login", {"name": "ada", "password": "guess"}).status_code == 403
        assert log_in(browser)
        browser.client.delete_cookie("fedcohort-session")
        browser.token = ""


def test_a_bucket_fills_again_and_is_forgotten_when_there_are_too_many() -> None:
    clock = [0.0]
    limiter = Limiter(2, 10.0, most_keys=3, now=lambda: clock[0])
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 10]
    clock[0] = 4.0
    assert limiter.take("a") == 6
    clock[0] = 10.0
    assert limiter.take("a") == 0
    for key in "bcde":
        limiter.take(key)
    assert len(limiter._left) == 3


def test_addresses_are_counted_by_host() -> None:
    assert address_key("2001:db8::1") == address_key("2001:db8::ffff:1") == "2001:db8::/64"
    assert address_key("::ffff:192.0.2.7") == address_key("192.0.2.7") == "192.0.2.7"
    assert address_key(None) == address_key("a proxy") == "unknown"


def set_password(browser: Browser, link: str, **form: str) -> tuple[int, str]:
    """Open a link and send its form; returns status and text."""
    token = parse_qs(urlsplit(link).query)["token"][0]
    page = browser.get(f"/password?token={token}")
    given = {"password": PASSWORD, "again": PASSWORD, "csrf": csrf_of(page), **form}
    answer = browser.raw_post(f"/password?token={token}", data=given, headers={"Origin": ORIGIN})
    return answer.status_code, answer.text


def test_the_first_start_gives_a_link_by_which_the_first_operator_gets_in(tmp_path: Path) -> None:
    app = create_app(Settings(NOWHERE, people=tmp_path / "people.db"))
    people: People = app.extensions["fedcohort-people"]
    browser = Browser(app, tmp_path / "people.db")
    link = f"http://x/password?token={people.first_link()}"
    assert "There is no account yet" in browser.get(link.removeprefix("http://x")).text
    assert set_password(browser, link, name="ops")[0] == 303
    assert log_in(browser, "ops")
    assert "<td>ops</td>" in browser.get("/people").text
    assert set_password(Browser(app, tmp_path / "people.db"), link, name="late")[0] == 403
    close_app(app)


def test_a_link_that_is_used_or_made_up_tells_nothing(browser: Browser, path: Path) -> None:
    answer = browser.get("/password?token=made-up")
    assert (answer.status_code, "used already, or is too old" in answer.text) == (404, True)
    assert 'name="password"' not in answer.text


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"password": "short", "again": "short"}, "Too short"),
        ({"again": "another sentence"}, "not the same"),
        ({"password": "password1234", "again": "password1234"}, "guessed early"),
    ],
)
def test_a_password_that_is_refused_leaves_the_link_as_it_was(
    browser: Browser, path: Path, form: dict[str, str], said: str
) -> None:
    people = People(path)
    link = f"/password?token={people.reset('ada')}"
    people.close()
    status, text = set_password(browser, link, **form)
    assert (status, said in text) == (422, True)
    assert set_password(browser, link)[0] == 303
    assert log_in(browser)


def test_operators_add_reset_disable_and_enable_people(app: Flask, path: Path) -> None:
    ops, other = Browser(app, path), Browser(app, path)
    log_in(ops, "ops")
    added = ops.post("/people", {"what": "add", "name": "linus", "role": "auditor"})
    link = added.text.split('class="mono">')[1].split("<")[0]
    assert link.startswith("http://localhost/password?token=")
    assert set_password(other, link)[0] == 303
    assert log_in(other, "linus")
    reset = ops.post("/people", {"what": "reset", "name": "linus"}).text
    assert "/password?token=" in reset
    assert other.get("/").location == "/login"
    ops.post("/people", {"what": "disable", "name": "linus"})
    assert "disabled" in ops.get("/people").text
    ops.post("/people", {"what": "enable", "name": "linus"})
    assert "no password yet" in ops.get("/people").text
    assert ops.post("/people", {"what": "disable", "name": "OPS"}).status_code == 422
    assert ops.post("/people", {"what": "add", "name": "linus", "role": "auditor"}).status_code == 422
    assert ops.post("/people", {"what": "add", "name": "x", "role": "root"}).status_code == 422
    assert ops.post("/people", {"what": "reset", "name": "nobody"}).status_code == 422


def test_a_link_names_the_address_from_outside_where_it_is_known(path: Path) -> None:
    app = create_app(Settings(NOWHERE, people=path, address="https://dashboard.example/"))
    ops = Browser(app, path)
    log_in(ops, "ops")
    text = ops.post("/people", {"what": "reset", "name": "ada"}).text
    assert "https://dashboard.example/password?token=" in text
    close_app(app)


def test_logs_hold_neither_passwords_nor_names_nor_tokens(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        log_in(browser, "ada", "a wrong one of some length")
        token = log_in(browser)
    assert "127.0.0.1 was refused" in caplog.text
    for secret in ("a wrong one", PASSWORD, token, "ada"):
        assert secret not in caplog.text


def test_links_to_a_page_keep_the_log_in_and_no_answer_is_kept_by_a_browser(browser: Browser) -> None:
    log_in(browser)
    for path in ("/", "/login", "/password?token=x"):
        assert browser.get(path).headers["Cache-Control"] == "no-store"


def test_a_request_with_broken_cookies_is_nobodys(app: Flask, path: Path) -> None:
    client = app.test_client()
    for value in ("", "x", "é" * 300):
        client.set_cookie("fedcohort-session", value)
        assert client.get("/").location == "/login"
