"""A hospital's own page: what its budgets have left, who asked, and what left; for itself alone."""

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import fedcohort as fc
from fedcohort.dashboard.hospital.app import build_hospital_page
from fedcohort.dashboard.hospital.releases import ReleaseRow, as_csv, list_releases
from fedcohort.dashboard.shared.application import close_app
from fedcohort.node.consent import LocalSite
from fedcohort.node.ledger import added_cost
from fedcohort.node.records import HelpGiven, Stored
from fedcohort.node.store import SqlNodeStore
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.events import GaussianRelease
from fedcohort.study import Study
from fedcohort.wire.identity import new_identity
from tests.build import cohort, describe_study, free_port
from tests.node.test_ledger import policy, propose
from tests.patience import until
from tests.processes.support import Process, healthy, wards

HOSTILE = '<script>alert("x")</script>'


def study(name: str) -> Study:
    columns = fc.Cohort(columns={"age": fc.Numeric(18, 90)}, label=fc.Binary("ill"))
    return fc.Study(
        name=name, cohort=columns, analysis=fc.Train.private(rounds=5), privacy=fc.Privacy(epsilon=1.0)
    )


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    store = SqlNodeStore(tmp_path / "node.db")
    site = LocalSite(policy(tmp_path), new_identity("a"), store)
    for name in ("first", HOSTILE):
        assert propose(site, study(name)).approved
    asked = study("first")
    release = GaussianRelease("gradient", 1.0, 8.0, dimension=3, part="train")
    cost = added_cost(asked, None, [release])
    store.keep(Stored(asked.hash, 4, bytes(32), b"12345678", "", "a"), cost)
    app = build_hospital_page(site.policy, store)
    yield app.test_client()
    close_app(app)


def page(client: FlaskClient) -> str:
    answer = client.get("/", base_url="http://127.0.0.1:5001")
    assert answer.status_code == 200
    return answer.text


def test_it_shows_the_budget_given_set_aside_and_spent(client: FlaskClient) -> None:
    text = page(client)
    assert "Given: epsilon 3, delta 0.0001." in text
    assert "Left: epsilon 1, delta" in text
    spent = text.split("<td>1 (1e-05)</td><td>")[1].split("<")[0]
    assert 0 < float(spent) < 1


def test_what_was_spent_without_a_budget_is_shown_too(client: FlaskClient, tmp_path: Path) -> None:
    free = policy(tmp_path).model_copy(update={"budget": {}})
    app = build_hospital_page(free, SqlNodeStore(tmp_path / "node.db"))
    text = page(app.test_client())
    close_app(app)
    assert "No budget. Set aside: epsilon 2, delta" in text
    assert "<td>1 (1e-05)</td>" in text


def test_it_shows_who_asked_in_the_words_of_explain_and_what_left(client: FlaskClient) -> None:
    text = page(client)
    assert "What leaves the hospital" in text
    assert ">contribution<" in text
    rows = list(csv.DictReader(io.StringIO(client.get("/releases.csv", base_url="http://127.0.0.1").text)))
    columns = ["at", "kind", "study", "name", "round", "bytes", "cost", "digest", "entry", "hash"]
    assert list(rows[0]) == columns
    assert [(row["kind"], row["round"], row["bytes"]) for row in rows] == [("contribution", "4", "8")]
    assert rows[0]["digest"] == hashlib.sha256(b"12345678").hexdigest()
    assert rows[0]["digest"][:16] in text
    assert len(rows[0]["hash"]) == 64
    assert (rows[0]["study"], rows[0]["name"]) == (study("first").hash, "first")
    release = GaussianRelease("gradient", 1.0, 8.0, dimension=3, part="train")
    assert float(rows[0]["cost"]) == pytest.approx(epsilon([release], 1e-5), rel=1e-5)


def test_each_release_costs_what_it_has_added_and_an_exact_one_has_no_bound(tmp_path: Path) -> None:
    store = SqlNodeStore(tmp_path / "node.db")
    site = LocalSite(policy(tmp_path), new_identity("a"), store)
    private, exact = study("private"), study("exact").model_copy(update={"privacy": None})
    for one in (private, exact):
        propose(site, one)
    release, cost = GaussianRelease("gradient", 1.0, 8.0, part="train"), None
    for number in range(3):
        cost = added_cost(private, cost, [release])
        store.keep(Stored(private.hash, number, bytes(32), b"1", "", "a"), cost)
    store.keep(Stored(exact.hash, 0, bytes(32), b"2", "", "a"))
    store.keep_help(HelpGiven(exact.hash, 0, bytes(32), b"h"), 3)
    rows = list_releases(store)
    alone = f"{epsilon([release], 1e-5):.6g}"
    assert [(row.kind, row.cost) for row in rows] == [
        ("help", "0"), ("contribution", "exact"), *[("contribution", alone)] * 3
    ]  # fmt: skip
    for newest in range(7):
        assert list_releases(store, newest) == rows[:newest]
    app = build_hospital_page(site.policy, store)
    text = page(app.test_client())
    assert "exact: no bound</td>" in text
    assert (
        "<td>without privacy: counts as infinite until "
        "`fedcohort ledger --settle STUDY --because WORDS` says otherwise</td>" in text
    )
    close_app(app)


def test_a_study_s_name_is_no_formula_of_a_spreadsheet() -> None:
    left = ReleaseRow("2026-11-29", "help", "ab", '=HYPERLINK("http://x")', "1", "1", "0", "", "1", "")
    (row,) = csv.DictReader(io.StringIO(as_csv([left])))
    assert row["name"] == '\'=HYPERLINK("http://x")'


def test_what_a_researcher_writes_stays_text(client: FlaskClient) -> None:
    text = page(client)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_only_this_machine_is_served_and_under_its_own_name(client: FlaskClient) -> None:
    assert client.get("/", base_url="http://evil.example").status_code == 403
    away = client.get("/", base_url="http://127.0.0.1", environ_base={"REMOTE_ADDR": "10.0.0.8"})
    assert away.status_code == 403
    missing = client.get("/nothing", base_url="http://127.0.0.1")
    assert (missing.status_code, '"code":"not-found"' in missing.text) == (404, True)
    assert (
        "default-src 'none'"
        in client.get("/", base_url="http://127.0.0.1").headers["Content-Security-Policy"]
    )


@pytest.mark.processes
def test_it_runs_beside_the_node_and_shows_its_releases(tmp_path: Path) -> None:
    import httpx

    with wards(tmp_path) as group:
        group.connect().submit(describe_study("seen at home", cohort=cohort())).wait(progress=False)
        port = free_port()
        site = str(group.folder / "a.toml")
        words = ["node", "page", "--site", site, "--port", str(port)]
        beside = Process(words, group.folder, tmp_path / "page.log")
        group.others.append(beside.start())
        until(lambda: healthy(f"http://127.0.0.1:{port}"), "the hospital's page")
        text = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text
    assert "seen at home" in text
    assert ">contribution<" in text
