"""`fetch-fhir` against a server of our own: paging, exports, tokens, and what bounds and refuses."""

import contextlib
import datetime
import email.utils
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fedcohort.errors import (
    AuthenticationError,
    ConfigError,
    DataError,
    FedcohortError,
    KeyFileError,
    LinkClosedError,
    StoreError,
)
from fedcohort.fetch_fhir import server as server_module
from fedcohort.fetch_fhir import smart
from fedcohort.fetch_fhir.fetch import Wish, connect, fetch
from fedcohort.fetch_fhir.fetched import Fetched
from fedcohort.fetch_fhir.inbox import STATE, open_inbox
from fedcohort.fetch_fhir.server import Server, check_base, retry_after

from .fake_server import Asked, FakeServer, outcome, served

TYPES = ("Patient", "Observation")
BUNDLE = {"resourceType": "Bundle", "type": "searchset"}


def resources(patients: int = 3, observations: int = 5) -> dict[str, list[dict[str, Any]]]:
    return {
        "Patient": [{"resourceType": "Patient", "id": f"p{number}"} for number in range(patients)],
        "Observation": [
            {"resourceType": "Observation", "id": f"o{number}"} for number in range(observations)
        ],
    }


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def there() -> Iterator[FakeServer]:
    with served(FakeServer(resources())) as server:
        yield server


def connected(
    there: FakeServer, waits: list[float] | None = None, **options: Any
) -> contextlib.AbstractContextManager[Server]:
    note: list[float] = [] if waits is None else waits
    return connect(there.base, None, options.get("smart"), options.get("token"), note.append)


def fetched(
    there: FakeServer, folder: Path, wish: Wish, waits: list[float] | None = None, **options: Any
) -> Fetched:
    with connected(there, waits, **options) as server, open_inbox(folder) as inbox:
        return fetch(server, inbox, wish)


def ids(folder: Path) -> list[str]:
    """Of all resources in an inbox, in the order in which an import reads them."""
    found: list[str] = []
    for path in sorted(folder.glob("*.*json")):
        for line in path.read_text().splitlines():
            read = json.loads(line)
            entries = [one.get("resource", {}) for one in read["entry"]] if "entry" in read else [read]
            found += [one.get("id", "?") for one in entries]
    return found


EVERYTHING = ["o0", "o1", "o2", "o3", "o4", "p0", "p1", "p2"]


def test_search_follows_the_pages_of_each_type(there: FakeServer, tmp_path: Path) -> None:
    assert fetched(there, tmp_path / "in", Wish((*TYPES, "Immunization"), count=2)) == Fetched(
        5, ("Immunization",)
    )
    assert sorted(ids(tmp_path / "in")) == EVERYTHING
    assert there.asked[1].query == {"_count": "2"}
    assert "Immunization" not in str(there.paths())


def test_the_next_run_asks_for_what_was_written_since_and_keeps_its_own_files(
    there: FakeServer, tmp_path: Path
) -> None:
    fetched(there, tmp_path / "in", Wish(TYPES))
    there.asked.clear()
    fetched(there, tmp_path / "in", Wish(TYPES, since="last"))
    since = there.asked[1].query["_lastUpdated"]
    assert since.startswith("ge20")
    assert len(list((tmp_path / "in").glob("0002-*.json"))) == 5
    fetched(there, tmp_path / "in", Wish(TYPES, since="2020-01-01"))
    assert there.asked[-1].query.get("_lastUpdated", "ge2020-01-01") == "ge2020-01-01"


def test_a_run_that_broke_off_goes_on_with_the_page_that_was_next(there: FakeServer, tmp_path: Path) -> None:
    def refuse_the_third(asked: Asked) -> Any:
        return (500, {}, b"") if len(there.asked) == 5 else None

    there.before = refuse_the_third
    with pytest.raises(DataError, match=r"Observation, page 2: the server answers 500; ask its operator"):
        fetched(there, tmp_path / "in", Wish(TYPES))
    before = there.paths()
    fetched(there, tmp_path / "in", Wish(TYPES))
    again = there.paths()[len(before) :]
    assert "/Patient" not in again
    assert "/Observation" not in again
    assert sorted(ids(tmp_path / "in")) == EVERYTHING


@pytest.mark.parametrize("status", [404, 410])
def test_a_page_that_the_server_has_forgotten_is_read_from_the_first_of_its_type(
    there: FakeServer, tmp_path: Path, status: int
) -> None:
    there.before = lambda asked: (500, {}, b"") if asked.path == "/fhir" else None
    with pytest.raises(DataError, match="Patient, page 2"):
        fetched(there, tmp_path / "in", Wish(TYPES))
    there.before = lambda asked: (status, {}, b"") if asked.path == "/fhir" else None
    with pytest.raises(DataError, match="keeps this page no longer; fetch again, from Patient's first page"):
        fetched(there, tmp_path / "in", Wish(TYPES))
    there.before = lambda _asked: None
    fetched(there, tmp_path / "in", Wish(TYPES))
    assert sorted(ids(tmp_path / "in")) == EVERYTHING


def test_an_export_asks_for_no_type_that_the_server_lacks(there: FakeServer, tmp_path: Path) -> None:
    assert fetched(there, tmp_path / "in", Wish((*TYPES, "Immunization"), is_export=True)) == Fetched(
        2, ("Immunization",)
    )


def test_an_interrupted_run_is_only_gone_on_with_as_it_was_asked(there: FakeServer, tmp_path: Path) -> None:
    there.before = lambda asked: (500, {}, b"") if asked.path == "/fhir/Observation" else None
    with pytest.raises(DataError):
        fetched(there, tmp_path / "in", Wish(TYPES))
    with pytest.raises(ConfigError, match="an interrupted run asked for something else"):
        fetched(there, tmp_path / "in", Wish(("Patient",)))
    (tmp_path / "in" / STATE).unlink()
    fetched(there, tmp_path / "in", Wish(("Patient",)))


def test_an_inbox_is_of_one_server_and_of_one_process(there: FakeServer, tmp_path: Path) -> None:
    fetched(there, tmp_path / "in", Wish(TYPES))
    with served(FakeServer(resources())) as other, pytest.raises(ConfigError, match="of another server"):
        fetched(other, tmp_path / "in", Wish(TYPES))
    with open_inbox(tmp_path / "in"), pytest.raises(StoreError, match="another process fetches into it"):
        fetched(there, tmp_path / "in", Wish(TYPES))
    with pytest.raises(ConfigError, match="no run has ended here"):
        fetched(there, tmp_path / "new", Wish(TYPES, since="last"))


def test_the_inbox_is_for_its_account_alone(there: FakeServer, tmp_path: Path) -> None:
    fetched(there, tmp_path / "in", Wish(TYPES))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "in").iterdir()} == {0o600}
    assert (tmp_path / "in").stat().st_mode & 0o777 == 0o700
    (tmp_path / "in").chmod(0o750)
    with pytest.raises(ConfigError, match="run chmod 700 on it"):
        fetched(there, tmp_path / "in", Wish(TYPES))


def test_an_inbox_knows_what_it_holds_and_looks_again_where_it_seems_full(tmp_path: Path) -> None:
    with open_inbox(tmp_path / "in", 100_000) as inbox:
        left = inbox.room()
        inbox.write("0001-Patient-000001.json", b" " * 1000)
        with inbox.writing("0001-Patient-000002.ndjson") as file:
            file.write(b" " * 2000)
        assert inbox.room() == left - 3000
        inbox.write("0001-Patient-000003.json", b" " * left)
        with pytest.raises(DataError):
            inbox.room()
        (tmp_path / "in" / "0001-Patient-000003.json").unlink()
        assert inbox.room() > left - 3000 - 8192


def test_an_inbox_holds_only_so_much(there: FakeServer, tmp_path: Path) -> None:
    with connected(there) as server, open_inbox(tmp_path / "in", 20_000) as inbox:
        inbox.write("0001-Patient-000001.json", b" " * 20_000)
        with pytest.raises(DataError, match="--delete-imported`, and fetch again"):
            fetch(server, inbox, Wish(TYPES))


@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:1/fhir?page=x",
        "http://elsewhere.example/",
        "//evil.example/x",
        "http://u:p@127.0.0.1/",
    ],
)
def test_a_next_page_at_another_server_is_refused(there: FakeServer, tmp_path: Path, link: str) -> None:
    page = json.dumps({**BUNDLE, "link": [{"relation": "next", "url": link}]}).encode()
    there.before = lambda asked: (200, {}, page) if asked.path == "/fhir/Patient" else None
    with pytest.raises(DataError, match="another address than --from") as caught:
        fetched(there, tmp_path / "in", Wish(TYPES))
    assert "page=x" not in str(caught.value)


@pytest.mark.parametrize("link", ["Patient?page=2", "/fhir/Patient?page=2"])
def test_a_next_link_may_be_relative_and_a_circle_ends(there: FakeServer, tmp_path: Path, link: str) -> None:
    page = json.dumps({**BUNDLE, "link": [{"relation": "next", "url": link}]}).encode()
    there.before = lambda asked: (200, {}, page) if asked.path == "/fhir/Patient" else None
    with pytest.raises(DataError, match="Patient, page 3: the server's pages lead in a circle"):
        fetched(there, tmp_path / "in", Wish(TYPES))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((404, {}, json.dumps(outcome("not-supported")).encode()), r"answers 404 \(not-supported\)"),
        ((400, {}, json.dumps(outcome("Zebedee Ng")).encode()), "answers 400;"),
        ((200, {}, b"{"), "no JSON object"),
        ((200, {}, b"[" * 100_000), "no JSON object"),
        ((200, {}, b"{}"), "no Bundle"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "redirects to elsewhere"),
        ((200, {"Content-Encoding": "br"}, b"x"), "not asked for"),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), "packed answer is broken"),
        ((200, {"Content-Encoding": "gzip"}, b""), "packed answer is cut off"),
    ],
)
def test_an_answer_that_is_none_is_told_without_its_texts(
    there: FakeServer, tmp_path: Path, answer: Any, told: str
) -> None:
    there.before = lambda asked: answer if asked.path == "/fhir/Patient" else None
    with pytest.raises(DataError, match=told) as caught:
        fetched(there, tmp_path / "in", Wish(TYPES))
    assert "Zebedee" not in str(caught.value)
    assert str(caught.value).startswith("Patient, page 1: ")


def test_packed_answers_are_read_within_bounds(
    there: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.packed = True
    fetched(there, tmp_path / "in", Wish(TYPES))
    assert sorted(ids(tmp_path / "in")) == EVERYTHING
    there.resources["Patient"][0]["bomb"] = "0" * 10_000_000
    monkeypatch.setattr(server_module, "PAGE_BYTES", 1_000_000)
    with pytest.raises(DataError, match="larger than 1,000,000 bytes"):
        fetched(there, tmp_path / "two", Wish(TYPES))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again_when_it_says(there: FakeServer, tmp_path: Path, status: int) -> None:
    there.before = lambda asked: (status, {"Retry-After": "7"}, b"") if len(there.asked) in (2, 3) else None
    waits: list[float] = []
    fetched(there, tmp_path / "in", Wish(TYPES), waits)
    assert waits == [7.0, 7.0]
    assert sorted(ids(tmp_path / "in")) == EVERYTHING


def test_a_server_that_stays_busy_ends_the_run(there: FakeServer, tmp_path: Path) -> None:
    there.before = lambda _asked: (503, {}, b"")
    waits: list[float] = []
    with pytest.raises(LinkClosedError, match="no answer after 8 attempts; it answers 503"):
        fetched(there, tmp_path / "in", Wish(TYPES), waits)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]


def test_retry_after_is_read_in_both_forms_and_bounded() -> None:
    now = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC).timestamp()
    date = email.utils.formatdate(now + 90, usegmt=True)
    assert retry_after("120", 1.0) == 120.0
    assert retry_after(date, 1.0, now) == 90.0
    assert retry_after(email.utils.formatdate(now - 90, usegmt=True), 1.0, now) == 0.0
    assert retry_after("99999999999999999999", 1.0) == 600.0
    assert [retry_after(text, 1.0) for text in (None, "", "soon", "-5", "1e9")] == [1.0] * 5


def exporting(**more: Any) -> Wish:
    return Wish(TYPES, is_export=True, **more)


def test_an_export_is_asked_after_downloaded_and_deleted(there: FakeServer, tmp_path: Path) -> None:
    there.retry_after = "7"
    waits: list[float] = []
    assert fetched(there, tmp_path / "in", exporting(), waits) == Fetched(2)
    assert ids(tmp_path / "in") == EVERYTHING
    kick_off = there.asked[1]
    assert kick_off.path == "/fhir/Patient/$export"
    assert kick_off.headers["prefer"] == "respond-async"
    assert kick_off.query == {"_type": "Patient,Observation", "_outputFormat": "application/fhir+ndjson"}
    assert waits == [7.0, 7.0]
    assert there.asked[-1].method == "DELETE"
    there.asked.clear()
    fetched(there, tmp_path / "in", exporting(since="last", group="g1"))
    assert there.asked[1].query["_since"] == "2026-01-31T00:00:00Z"
    assert there.asked[1].path == "/fhir/Group/g1/$export"


def test_an_export_that_broke_off_goes_on_with_the_file_that_was_missing(
    there: FakeServer, tmp_path: Path
) -> None:
    there.before = lambda asked: (500, {}, b"") if asked.path == "/files/Observation" else None
    with pytest.raises(DataError, match="Observation, file 2: the server answers 500"):
        fetched(there, tmp_path / "in", exporting())
    there.before = lambda _asked: None
    there.asked.clear()
    fetched(there, tmp_path / "in", exporting())
    assert [one.path for one in there.asked] == ["/files/Observation", "/fhir/status/1"]
    assert ids(tmp_path / "in") == EVERYTHING


@pytest.mark.parametrize("status", [404, 410])
def test_an_export_that_is_gone_is_begun_anew(there: FakeServer, tmp_path: Path, status: int) -> None:
    there.before = lambda asked: (status, {}, b"") if asked.path == "/fhir/status/1" else None
    with pytest.raises(DataError, match="keeps it no longer; fetch again"):
        fetched(there, tmp_path / "in", exporting())
    there.before = lambda _asked: None
    fetched(there, tmp_path / "in", exporting())
    assert ids(tmp_path / "in") == EVERYTHING


def test_an_export_that_has_expired_is_not_downloaded(there: FakeServer, tmp_path: Path) -> None:
    there.expires = email.utils.formatdate(0, usegmt=True)
    with pytest.raises(DataError, match="keeps it no longer"):
        fetched(there, tmp_path / "in", exporting())
    assert there.paths("/files") == []


def test_deleted_and_failed_resources_are_files_of_the_inbox(there: FakeServer, tmp_path: Path) -> None:
    deleted = {"resourceType": "Bundle", "entry": [{"request": {"method": "DELETE", "url": "Patient/p9"}}]}
    there.resources |= {"gone": [deleted], "failed": [outcome("timeout")]}
    there.manifest_more = {
        "deleted": [{"type": "Bundle", "url": f"{there.address}/files/gone"}],
        "error": [{"type": "OperationOutcome", "url": "/files/failed"}],
    }
    assert fetched(there, tmp_path / "in", exporting()) == Fetched(3, failed=1)
    names = [path.name for path in sorted((tmp_path / "in").glob("*.ndjson"))]
    assert names == [
        "0001-Observation-000002.ndjson",
        "0001-Patient-000001.ndjson",
        "0001-deleted-000003.ndjson",
        "0001-error-000004.ndjson",
    ]
    assert "1 files say what the server could not export" in str(Fetched(3, failed=1))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"output": None}, "lists no output"),
        ({"output": [7]}, "more than is read, or no file"),
        ({"output": [{"type": "Patient"}]}, "refers to what is no address"),
        ({"output": [{"type": "Patient", "url": "ftp://x/y"}]}, "is not an address"),
        (
            {"output": [{"type": "Patient", "url": "http://elsewhere.example/y"}]},
            "plain text is only allowed",
        ),
        ({"output": [{"type": "Patient", "url": "/files/Patient", "count": 9}]}, "not as many resources"),
        ({"deleted": {}, "output": []}, None),
        ({"deleted": 7, "output": []}, "deleted is no list"),
    ],
)
def test_a_manifest_that_is_none_is_told(
    there: FakeServer, tmp_path: Path, more: Any, told: str | None
) -> None:
    there.manifest_more = more
    if told is None:
        assert fetched(there, tmp_path / "in", exporting()) == Fetched(0)
        return
    with pytest.raises(FedcohortError, match=told):
        fetched(there, tmp_path / "in", exporting())


def test_the_names_of_files_are_ours_whatever_a_manifest_says(there: FakeServer, tmp_path: Path) -> None:
    there.manifest_more = {"output": [{"type": "../../etc/x", "url": "/files/Patient"}]}
    fetched(there, tmp_path / "in", exporting())
    assert [path.name for path in (tmp_path / "in").glob("*.ndjson")] == ["0001-Resource-000001.ndjson"]


def token_file(folder: Path, token: str = "s3cret-token") -> Path:
    path = folder / "token"
    path.write_text(token)
    path.chmod(0o600)
    return path


def test_a_token_goes_to_its_own_server_and_along_no_redirect(there: FakeServer, tmp_path: Path) -> None:
    there.token = "s3cret-token"
    with served(FakeServer(resources())) as other:
        there.before = lambda asked: (
            (307, {"Location": f"{other.address}{asked.path}"}, b"")
            if asked.path.startswith("/files")
            else None
        )
        fetched(there, tmp_path / "in", exporting(), token=token_file(tmp_path))
        assert ids(tmp_path / "in") == EVERYTHING
        assert [one.token for one in other.asked] == [None, None]
        assert {one.token for one in there.asked} == {"Bearer s3cret-token"}


@pytest.mark.parametrize("required", [False, True])
def test_a_listed_file_of_another_server_gets_a_token_only_where_the_manifest_says_so(
    there: FakeServer, tmp_path: Path, required: bool
) -> None:
    there.token, there.requires_token = "s3cret-token", required
    with served(FakeServer(resources())) as other:
        there.elsewhere = other.address
        fetched(there, tmp_path / "in", exporting(), token=token_file(tmp_path))
        assert {one.token for one in other.asked} == ({"Bearer s3cret-token"} if required else {None})


def test_redirects_of_a_file_end(there: FakeServer, tmp_path: Path) -> None:
    there.before = lambda asked: (
        (302, {"Location": asked.path + "x"}, b"") if asked.path.startswith("/files") else None
    )
    with pytest.raises(DataError, match="more than 3 redirects"):
        fetched(there, tmp_path / "in", exporting())


def private_key(folder: Path, kind: str) -> tuple[Path, Any]:
    made: Any = (
        rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP384R1())
    )
    path = folder / "key.pem"
    path.write_bytes(
        made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    (folder / "smart.toml").write_text('client_id = "fedcohort"\nkey = "key.pem"\nkid = "k1"\n')
    return folder / "smart.toml", made.public_key()


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_client_proves_itself_by_a_signature_that_is_good_once(
    there: FakeServer, tmp_path: Path, kind: str
) -> None:
    path, public = private_key(tmp_path, kind)
    there.expected, there.token = {"k1": public}, "none yet"
    fetched(there, tmp_path / "in", Wish(TYPES), smart=path)
    assert sorted(ids(tmp_path / "in")) == EVERYTHING
    there.token = "the server forgot it"
    fetched(there, tmp_path / "in", Wish(TYPES), smart=path)
    first, second = (one["claims"] for one in there.assertions)
    assert first["iss"] == first["sub"] == "fedcohort"
    assert first["aud"] == f"{there.address}/token"
    assert 0 < first["exp"] - datetime.datetime.now(datetime.UTC).timestamp() <= 300
    assert first["jti"] != second["jti"]
    assert len(first["jti"]) >= 32
    assert there.assertions[0]["form"]["scope"] == "system/*.rs"


def test_a_token_that_is_refused_on_the_way_is_renewed_once(there: FakeServer, tmp_path: Path) -> None:
    path, public = private_key(tmp_path, "ec")
    there.expected, there.token = {"k1": public}, "none yet"

    def forget(asked: Asked) -> Any:
        if asked.path == "/fhir/Observation" and len(there.assertions) == 1:
            there.token = "another"

    there.before = forget
    fetched(there, tmp_path / "in", Wish(TYPES), smart=path)
    assert len(there.assertions) == 2
    there.before = lambda asked: (401, {}, b"") if asked.path == "/fhir/Patient" else None
    with pytest.raises(AuthenticationError, match="does not let this client read it"):
        fetched(there, tmp_path / "in", Wish(TYPES), smart=path)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((400, {}, b'{"error":"invalid_client"}'), "gives no token"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "gives no token"),
        ((200, {}, b"{}"), "holds no bearer token"),
        ((200, {}, b'{"access_token":"a b","token_type":"bearer"}'), "holds no bearer token"),
        ((200, {}, b'{"access_token":"a","token_type":"mac"}'), "holds no bearer token"),
        ((200, {}, b"x" * (smart.MAX_TOKEN_BYTES + 1)), "is larger than"),
    ],
)
def test_a_token_that_is_none_is_told(there: FakeServer, tmp_path: Path, answer: Any, told: str) -> None:
    path, public = private_key(tmp_path, "ec")
    there.expected = {"k1": public}
    there.before = lambda asked: answer if asked.path == "/token" else None
    with pytest.raises(FedcohortError, match=told):
        fetched(there, tmp_path / "in", Wish(TYPES), smart=path)


def test_a_place_of_tokens_that_is_not_said_is_asked_for(there: FakeServer, tmp_path: Path) -> None:
    path, public = private_key(tmp_path, "ec")
    there.expected, there.token = {"k1": public}, "none yet"
    there.before = lambda asked: (404, {}, b"") if "smart-configuration" in asked.path else None
    with pytest.raises(ConfigError, match="write token_url into the file of --smart"):
        fetched(there, tmp_path / "in", Wish(TYPES), smart=path)
    path.write_text(path.read_text() + f'token_url = "{there.address}/token"\n')
    fetched(there, tmp_path / "in", Wish(TYPES), smart=path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("client_id = 1", "client_id: give a text"),
        ('client_id = "a"', "key, kid: missing"),
        ('client_id = "a"\nkey = "key.pem"\nkid = "k"\nkeys = "x"', "keys: "),
        ('client_id = "a"\nkey = "key.pem"\nkid = "k"\ntoken_url = "http://elsewhere.example"', "plain text"),
        ("=", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_of_a_client_is_told(tmp_path: Path, text: str, told: str) -> None:
    path, _ = private_key(tmp_path, "ec")
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        smart.read_smart(path)


def test_secrets_that_others_can_read_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    path, _ = private_key(tmp_path, "ec")
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        smart.read_smart(path)
    (tmp_path / "key.pem").chmod(0o600)
    weak = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content, told in ((weak, "P-384"), (b"x", "is no private key")):
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(ConfigError, match=told):
            smart.read_smart(path)
    token_file(tmp_path).chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        smart.read_token(tmp_path / "token")
    with pytest.raises(ConfigError, match="holds no token"):
        smart.read_token(token_file(tmp_path, " "))


def test_no_secret_is_in_an_error_or_in_how_an_object_looks(there: FakeServer, tmp_path: Path) -> None:
    path, public = private_key(tmp_path, "ec")
    there.expected = {"k1": public}
    with connected(there, smart=path) as server:
        assert server.authorization is not None
        token = server.authorization.bearer()
        assert token not in repr(server)
        assert token not in repr(server.authorization)
    assert "s3cret" not in repr(smart.read_token(token_file(tmp_path)))
    with pytest.raises(ConfigError) as caught:
        check_base("http://user:s3cret@elsewhere.example/fhir?token=s3cret")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "base",
    [
        "http://fhir.example",
        "ftp://fhir.example",
        "fhir.example",
        "https://a:b@fhir.example",
        "https://x/?a=b",
    ],
)
def test_an_address_that_is_unsafe_is_refused(base: str) -> None:
    with pytest.raises(ConfigError, match="--from"):
        check_base(base)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"types": ("observation",)}, "--type observation"),
        ({"types": ("A/../b",)}, "--type"),
        ({"types": TYPES, "since": "yesterday"}, "--since"),
        ({"types": TYPES, "group": "g"}, "--group"),
        ({"types": TYPES, "group": "a/b", "is_export": True}, "--group"),
    ],
)
def test_a_wish_that_would_be_another_request_is_refused(wish: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Wish(**wish)


def test_two_ways_to_prove_oneself_exclude_each_other(tmp_path: Path) -> None:
    both = connect("https://fhir.example", None, tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="give one of them"), both:
        pass


def test_an_unreachable_server_is_told(tmp_path: Path) -> None:
    there = FakeServer({}, address="http://127.0.0.1:9")
    with pytest.raises(LinkClosedError, match="no answer after 8 attempts"):
        fetched(there, tmp_path / "in", Wish(TYPES))
    assert os.listdir(tmp_path / "in") == [STATE]
