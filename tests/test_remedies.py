"""Remedies that errors print, each obeyed once: what was wrong is then right."""

import asyncio
import contextlib
import ssl
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

import fedcohort as fc
from fedcohort.errors import ConfigError, LinkClosedError, StoreError, StudyError
from fedcohort.node.check import Verdict, check_node
from fedcohort.node.policy import read_policy
from fedcohort.node.readiness import check_readiness
from fedcohort.researcher.rest import open_rest
from fedcohort.sources.cohort.predictions import Predicted, write_predictions
from fedcohort.storage.database import reading
from fedcohort.study import parse_study
from fedcohort.wire.transport import dial
from tests.build import free_port, ward_rows, write_ward
from tests.postgres import Postgres, postgres
from tests.wire.support import Certified, certify, node_side

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "WSS_PROXY", "SOCKS_PROXY", "NO_PROXY")
ROW = Predicted("ab" * 32, "p1", "ill", 0.5, 0)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Answers(BaseHTTPRequestHandler):
    """A web server before a coordinator that is down, and the coordinator after it is up again."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"{}" if self.status == 200 else b"<html>Bad Gateway</html>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def served(tls: Certified | None = None) -> Iterator[tuple[str, type[Answers]]]:
    handler = type("Handler", (Answers,), {})
    server = HTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://localhost:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()


def test_an_unknown_authority_is_named_and_its_file_is_the_remedy(tmp_path: Path) -> None:
    tls = certify(tmp_path)
    with served(tls) as (url, _):
        with pytest.raises(LinkClosedError, match=r"certificate is not trusted; give the CA .* --ca-file"):
            open_rest(url, None, None).get("/api/federation")
        assert open_rest(url, None, tls.ca_file).get("/api/federation") == {}


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_s_error_tells_who_answers_and_to_try_again(status: int) -> None:
    with served() as (url, handler):
        rest = open_rest(url, None, None)
        handler.status = status
        with pytest.raises(LinkClosedError, match=f"proxy or web server before the coordinator .* {status}"):
            rest.get("/api/federation")
        handler.status = 200
        assert rest.get("/api/federation") == {}


def test_other_answers_without_words_are_no_coordinator_s() -> None:
    with served() as (url, handler):
        handler.status = 404
        with pytest.raises(LinkClosedError, match="HTTP 404 for /x, in no words of a coordinator"):
            open_rest(url, None, None).get("/x")


@pytest.mark.parametrize(
    ("variable", "proxy", "words"),
    [
        ("ALL_PROXY", "socks5://proxy:1080", "SOCKS proxy"),
        ("HTTPS_PROXY", "socks5h://user:secret@proxy:1080", "SOCKS proxy"),
        ("HTTPS_PROXY", "http://proxy:port", "is no address"),
        ("HTTPS_PROXY", "http://[proxy:3128", "is no address"),
        ("HTTPS_PROXY", "proxy", "is no address"),
        ("HTTPS_PROXY", "ftp://proxy:21", "is no address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_alike_by_client_node_and_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str, words: str
) -> None:
    tls = certify(tmp_path)
    with served(tls) as (url, _):
        port = url.rpartition(":")[2]
        monkeypatch.setenv(variable, proxy)
        # A name that is not this machine's by its letters, to which no proxy would ever be asked.
        with pytest.raises(ConfigError, match=words) as client:
            open_rest(f"https://coordinator.example:{port}", None, tls.ca_file)
        with pytest.raises(ConfigError, match=words):
            asyncio.run(_dial(f"wss://coordinator.example:{port}", tls))
        found = {line.what: line for line in checked(tmp_path, f"wss://coordinator.example:{port}", tls)}
        assert not found["proxy"].ok
        assert words in found["proxy"].remedy
        assert "set HTTPS_PROXY=http://proxy:port, or NO_PROXY=coordinator.example" in str(client.value)
        assert "secret" not in str(client.value) + found["proxy"].remedy
        # Both remedies, obeyed.
        monkeypatch.setenv("NO_PROXY", "coordinator.example,localhost")
        open_rest(f"https://coordinator.example:{port}", None, tls.ca_file)
        assert {line.what: line.ok for line in checked(tmp_path, f"wss://localhost:{port}", tls)}[
            "coordinator"
        ]
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        open_rest(f"https://coordinator.example:{port}", None, tls.ca_file)


async def _dial(url: str, tls: Certified) -> None:
    side = node_side()
    await dial(url, side.identity, "node", side.trust, tls.ca_file)


def checked(folder: Path, url: str, tls: Certified) -> list[Verdict]:
    lines = [
        'id = "a"',
        'data = "a.db"',
        f'coordinator = "{url}"',
        f'ca_file = "{tls.ca_file}"',
        "[tables]",
        'ward = "*"',
    ]
    (folder / "site.toml").write_text("\n".join(lines))
    if not (folder / "a.db").exists():
        write_ward(folder / "a.db", ward_rows(0, 30))
    return list(check_node(read_policy(folder / "site.toml")))


def test_an_exact_study_on_a_budget_is_told_to_be_private_and_then_is_ready(tmp_path: Path) -> None:
    write_ward(tmp_path / "a.db", ward_rows(0, 60))
    lines = ['id = "a"', 'data = "a.db"', 'coordinator = "ws://localhost:1"', 'roster = "roster"']
    lines += ["[tables]", 'ward = "*"', "[budget.ward]", "epsilon = 3.0", "delta = 1e-3"]
    (tmp_path / "site.toml").write_text("\n".join(lines))
    policy = read_policy(tmp_path / "site.toml")
    cohort = fc.Cohort(table="ward", columns={"age": fc.Numeric(18, 100)})
    exact = fc.Study(name="x", cohort=cohort, analysis=fc.Describe())
    line = next(one for one in check_readiness(policy, exact).lines if one.what == "budget")
    assert line.verdict == "not ready"
    assert line.remedy.startswith("let it have [privacy]")
    assert "ask for less" not in line.remedy
    private = fc.Study(name="x", cohort=cohort, analysis=fc.Describe(), privacy=fc.Privacy(epsilon=1.0))
    line = next(one for one in check_readiness(policy, private).lines if one.what == "budget")
    assert line.verdict == "ready"


@pytest.mark.parametrize("label", [("ill", "yes"), ["ill"], 3, True])
def test_a_label_that_is_none_is_told_what_may_stand_there(label: object) -> None:
    with pytest.raises(StudyError) as refused:
        fc.Cohort(columns=["age"], label=label)  # type: ignore[arg-type]
    assert str(refused.value).startswith("cohort: label: write a column's name, or fc.Binary(column), ")
    assert "tag" not in str(refused.value)
    typed: list[Any] = [
        fc.Binary("ill"),
        fc.Classes("ill", (0, 1, 2)),
        fc.Number(column="ill", low=0, high=9),
    ]
    for obeyed in ("ill", *typed, fc.Survival("time", "event")):
        fc.Cohort(columns=["age"], label=obeyed)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"split": 3}, "cohort: split: write a column's name, or fc.Holdout(0.2)"),
        ({"columns": 5}, "cohort: columns: write a list of names, or names with a kind each"),
        ({"columns": "age"}, "cohort: columns: write a list of names, or names with a kind each"),
        ({"columns": {"age": (1, 2)}}, "cohort: columns.age: write what the column holds, such as {low"),
        ({"label": {"column": "ill", "levels": 3}}, "cohort: label.levels: write a list"),
        ({"label": {"column": "ill", "levels": [1.5, 2, 3]}}, "label.levels.0: write each level as a whole"),
    ],
)
def test_a_union_s_fault_is_told_in_words(made: dict[str, object], words: str) -> None:
    with pytest.raises(StudyError) as refused:
        fc.Cohort(**{"columns": ["age"], **made})  # type: ignore[arg-type]
    assert words in str(refused.value)
    assert "constrained" not in str(refused.value)


def test_levels_and_models_that_are_none_are_told_in_words() -> None:
    with pytest.raises(StudyError, match="categorical: levels: write a list"):
        fc.Categorical(3)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match="train: model: write the name of a model") as refused:
        fc.Train(model=3)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    with pytest.raises(StudyError, match=r"analysis: write a question, such as fc\.Describe\(\)"):
        parse_study(tomllib.loads('name = "x"\nanalysis = "describe"\n[cohort]\ncolumns = ["age"]\n'))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


def as_account(server: Postgres, user: str, password: str, database: str) -> str:
    url = make_url(server.url(database)).set(username=user, password=password)
    return url.render_as_string(hide_password=False)


@pytest.mark.processes
def test_postgresql_down_and_a_wrong_password_are_two_messages(server: Postgres) -> None:
    server.create("ward")
    server.run(
        "psql", "-d", "ward", "-c", "CREATE ROLE reader LOGIN PASSWORD 'right'; CREATE TABLE t (n int)"
    )
    server.run(
        "psql", "-d", "ward", "-c", "GRANT SELECT ON t TO reader; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    )
    right = as_account(server, "reader", "right", "ward")
    down = make_url(right).set(port=free_port()).render_as_string(hide_password=False)
    assert refusal(down).endswith("cannot be reached; check host, port and network")
    wrong = refusal(as_account(server, "reader", "wrong", "ward"))
    assert wrong.endswith("refused the account; check user, password and pg_hba.conf")
    assert "wrong" not in wrong
    assert refusal(as_account(server, "reader", "right", "wart")).endswith("on the server; check the name")
    with reading(right) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0


def refusal(url: str) -> str:
    with pytest.raises(StoreError) as refused, reading(url) as connection:
        connection.exec_driver_sql("SELECT 1")
    return str(refused.value)


@pytest.mark.processes
def test_a_reading_account_s_predictions_go_into_another_database(server: Postgres, tmp_path: Path) -> None:
    server.create("predicted")
    server.run(
        "psql",
        "-d",
        "predicted",
        "-c",
        "CREATE ROLE looker LOGIN PASSWORD 'p'; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    with pytest.raises(StoreError, match=r"may not write .* name another database by --into") as refused:
        write_predictions(as_account(server, "looker", "p", "predicted"), ROW.study_hash, [ROW])
    assert "grant it SELECT" not in str(refused.value)
    write_predictions(tmp_path / "predictions.db", ROW.study_hash, [ROW])
    with reading(tmp_path / "predictions.db") as connection:
        assert connection.exec_driver_sql("SELECT patient_id FROM fedcohort_predictions").scalar() == "p1"
