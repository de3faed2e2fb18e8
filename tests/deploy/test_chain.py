"""Browser, nginx, dashboard, coordinator, nodes: all real, on loopback, by TLS; a study goes through them."""

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fedcohort.dashboard.login.passwords import Passwords
from fedcohort.dashboard.login.people import People
from fedcohort.researcher.client import Federation, connect
from tests.build import describe_study, free_port, train_study, ward_rows, write_ward
from tests.dashboard.browser import POINTS, chromium, watched
from tests.deploy.guide import Machine
from tests.deploy.nginx import COORDINATOR, DASHBOARD, Nginx, nginx
from tests.patience import PATIENCE_SECONDS, until
from tests.processes.support import Group, Process, comparable, random_name, simulate_wards

pytestmark = [pytest.mark.processes, pytest.mark.browser, pytest.mark.slow]

SITES, ROUNDS = "ab", 40
VISITORS = "what-programs-must-show"
PASSWORD = "the sea is calm tonight"
ONCE = (
    "content-security-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cache-control",
)


@dataclass
class Chain:
    """All of it, up."""

    group: Group
    front: Nginx
    token: str

    def client(self, token: str | None = None) -> httpx.Client:
        """An HTTP client that believes the test's authority and nobody else."""
        context = ssl.create_default_context(cafile=str(self.front.ca))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(verify=context, trust_env=False, timeout=PATIENCE_SECONDS, headers=headers)

    def page(
        self, client: httpx.Client, path: str, form: dict[str, str] | bytes | None = None, **headers: str
    ) -> httpx.Response:
        """GET, or POST a form, to the dashboard's name, which only browsers take for this machine."""
        return client.request(
            "GET" if form is None else "POST",
            f"https://127.0.0.1:{self.front.https}{path}",
            data=form if isinstance(form, dict) else None,
            content=form if isinstance(form, bytes) else None,
            headers={"Host": f"{DASHBOARD}:{self.front.https}", **headers},
            extensions={"sni_hostname": DASHBOARD},
        )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder, page = tmp_path_factory.mktemp("chain"), free_port()
    with (
        Group(folder, options=["--preload"]) as group,
        nginx(folder / "nginx", group.port, page) as front,
    ):
        group.far = front.link
        policy = f'ca_file = "{front.ca}"\nprotections = ["none", "masks"]\n'
        for index, site in enumerate(SITES):
            group.add(site, write_ward(folder / f"{site}.db", ward_rows(index)), policy, "", "--preload")
        token = group.token
        more = {"FEDCOHORT_TOKEN": token, "FEDCOHORT_DASHBOARD_TOKEN": VISITORS}
        write_people(folder / "people.db")
        arguments = ["dashboard", "--port", str(page), "--coordinator", group.url]
        arguments += ["--people", str(folder / "people.db")]
        group.coordinator.start()
        group.others.append(Process(arguments, folder, folder / "dashboard.log", more).start())
        group.wait_linked()
        chain = Chain(group, front, token)
        with chain.client() as client:
            until(lambda: chain.page(client, "/healthz").is_success, "the page is served")
        yield chain


@contextlib.contextmanager
def researcher(chain: Chain) -> Iterator[Federation]:
    """As ada from outside: through nginx, by TLS."""
    key = chain.group.folder / "ada.key"
    federation = connect(chain.front.coordinator, chain.token, ca_file=chain.front.ca, key_file=key)
    with federation:
        yield federation


def write_people(path: Path) -> None:
    """Ada, a researcher there as at the coordinator, with a password."""
    people, hash = People(path), Passwords().hash(PASSWORD)
    assert hash is not None
    people.take_link(people.add("ada", "researcher"), "", hash)
    people.close()


def handshake(chain: Chain, name: str | None, context: ssl.SSLContext) -> tuple[str, bytes]:
    """Protocol and certificate that nginx agrees to."""
    with (
        socket.create_connection(("127.0.0.1", chain.front.https), PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        return str(tls.version()), tls.getpeercert(binary_form=True) or b""


def lenient(**more: object) -> ssl.SSLContext:
    """A client that believes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in more.items():
        setattr(context, name, value)
    return context


def test_a_study_runs_through_all_of_it_while_a_browser_watches(chain: Chain) -> None:
    study = train_study(random_name(), ROUNDS, min_sites=2)
    with chromium() as browser, watched(browser, ignore_https_errors=True) as watch:
        watch.page.goto(f"{chain.front.dashboard}/")
        watch.page.fill("input[name=name]", "ada")
        watch.page.fill("input[name=password]", PASSWORD)
        watch.page.press("input[name=password]", "Enter")
        watch.wait("location.pathname === '/'")
        with researcher(chain) as federation:
            handle = federation.submit(study)
            watch.wait("document.querySelectorAll('#charts canvas').length > 0")
            seen = set()
            while handle.state not in ("finished", "failed"):
                seen.add(max(watch.n_points(), default=0))
                watch.page.wait_for_timeout(50)
            result = handle.wait(progress=False)
        watch.wait(f"document.body.innerText.includes('{study.name}')")
        watch.wait(f"({POINTS})(['#charts .chart', 0])[0] >= {ROUNDS}")
        assert len(seen) > 2, f"rounds came to the page one after another, not at the end: {seen}"
        assert watch.complaints == []
    assert comparable(result) == comparable(simulate_wards(study, n_sites=2))
    for site in SITES:
        assert "linked to coordinator" in chain.group.nodes[site].text


def test_plain_text_leads_to_tls_and_strangers_names_to_nothing(chain: Chain) -> None:
    with httpx.Client(trust_env=False) as client:
        moved = client.get(f"http://{COORDINATOR}:{chain.front.http}/api/federation?a=1")
        assert moved.status_code == 308
        assert moved.headers["location"] == f"https://{COORDINATOR}/api/federation?a=1"
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"http://127.0.0.1:{chain.front.http}/", headers={"Host": "evil.example"})
    for name in ("evil.example", None):
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            handshake(chain, name, lenient())


def test_only_what_mozilla_calls_intermediate_is_spoken(chain: Chain) -> None:
    assert handshake(chain, COORDINATOR, lenient())[0] == "TLSv1.3"
    two = lenient(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert handshake(chain, COORDINATOR, two)[0] == "TLSv1.2"
    two.set_ciphers("ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:AES256-GCM-SHA384@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(chain, COORDINATOR, two)


def test_every_header_of_safety_comes_once_and_no_version_is_told(chain: Chain) -> None:
    with chain.client() as client:
        page = chain.page(client, "/login")
        api = client.get(f"{chain.front.coordinator}/healthz")
    for name in ONCE:
        assert len(page.headers.get_list(name)) == 1, name
    assert api.headers.get_list("strict-transport-security") == ["max-age=63072000"]
    assert api.headers.get_list("x-content-type-options") == ["nosniff"]
    assert {page.headers["server"], api.headers["server"]} == {"nginx"}


def test_the_cookie_is_for_tls_and_for_the_page_alone(chain: Chain) -> None:
    forged = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=1.2.3.4"}
    with chain.client() as client:
        answer = chain.page(client, "/login", None, **forged)
    assert answer.headers["set-cookie"].startswith("__Host-fedcohort-form=")
    assert {"Secure", "HttpOnly"} <= {part.strip() for part in answer.headers["set-cookie"].split(";")}
    assert "domain" not in answer.headers["set-cookie"].lower()


def test_what_is_for_this_machine_is_not_passed_on(chain: Chain) -> None:
    with chain.client(chain.token) as client:
        for path in ("/metrics", "/readyz", "/", "/login"):
            assert client.get(f"{chain.front.coordinator}{path}").status_code == 404, path
        assert chain.page(client, "/readyz").status_code == 404
        assert client.get(f"{chain.group.url}/metrics").status_code == 200
        assert client.get(f"{chain.group.url}/readyz").json() == {"status": "ok"}


def test_a_body_may_be_as_large_as_a_study_where_a_study_is_sent_and_small_elsewhere(chain: Chain) -> None:
    with chain.client(chain.token) as client:
        large = b"{" + b" " * 3_000_000
        taken = client.post(f"{chain.front.coordinator}/api/studies", content=large)
        assert (taken.status_code, taken.json()["code"]) == (400, "study-invalid")
        address = f"{chain.front.coordinator}/api/studies/{'a' * 64}/start"
        assert client.post(address, content=large).status_code == 413
        assert chain.page(client, "/login", large).status_code == 413


def test_the_token_and_the_coordinators_refusals_come_through_as_they_are(chain: Chain) -> None:
    with chain.client() as client:
        answer = client.get(f"{chain.front.coordinator}/api/federation")
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")


def test_a_stream_speaks_at_once(chain: Chain) -> None:
    with (
        chain.client(chain.token) as client,
        client.stream("GET", f"{chain.front.coordinator}/api/events") as stream,
    ):
        first = next(stream.iter_text())
    assert first.startswith("event: ")


def test_links_outlive_a_new_certificate_and_newcomers_see_it(chain: Chain) -> None:
    before = handshake(chain, COORDINATOR, lenient())[1]
    logs = {site: chain.group.nodes[site].text.count("linked to") for site in SITES}
    chain.front.issue()
    here = Machine(
        chain.group.folder / "machine", {"nginx -t": f"{chain.front.command} -t"}, {"nginx": chain.front}
    )
    here.run("nginx")
    until(lambda: handshake(chain, COORDINATOR, lenient())[1] != before, "the new certificate is served")
    with researcher(chain) as federation:
        study = describe_study(random_name(), min_sites=2)
        assert federation.run(study, progress=False).report["patients"] == 120
    assert {site: chain.group.nodes[site].text.count("linked to") for site in SITES} == logs


def test_nginx_ends_in_mid_study_and_the_study_goes_on_when_it_is_back(chain: Chain) -> None:
    study = train_study(random_name(), ROUNDS, min_sites=2, protection="none", round_timeout_seconds=60.0)
    with researcher(chain) as federation:
        handle = federation.submit(study)
        chain.group.wait_round(handle, 5)
        chain.front.stop()
        chain.front.start()
        result = handle.wait(progress=False)
    assert comparable(result) == comparable(simulate_wards(study, n_sites=2))


def test_the_log_holds_neither_queries_nor_tokens(chain: Chain) -> None:
    with chain.client(chain.token) as client:
        client.get(f"{chain.front.coordinator}/api/federation?secret=marker-4711")
    path = chain.front.folder / "fedcohort.log"
    until(lambda: "/api/federation" in path.read_text(), "a line")
    text = path.read_text() + Path(chain.front.folder / "error.log").read_text()
    assert "marker-4711" not in text
    assert chain.token not in text
    assert re.search(r"^127\.0\.0\.1 \[\S+\] GET \S+/api/federation 200 \d+ [\d.]+$", path.read_text(), re.M)


def test_log_ins_are_few_a_minute(chain: Chain) -> None:
    with chain.client() as client:
        for path in ("/login", "/password"):
            codes = [chain.page(client, path, {"password": "guess"}).status_code for _ in range(12)]
            assert codes[-1] == 429
    assert codes[0] in (403, 429)
    with chain.client() as client:
        assert chain.page(client, "/login").status_code == 200, "reading is not limited"
