# mypy: disable-error-code="func-returns-value"
"""What `data fetch-fhir` says of a server, a folder or a secret, obeyed: the same run then succeeds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from fedcohort.cli.app import app
from fedcohort.fetch_fhir import server as server_module
from fedcohort.fetch_fhir.fetch import Wish, connect, fetch
from fedcohort.fetch_fhir.inbox import STATE, open_inbox
from fedcohort.fetch_fhir.smart import read_smart, read_token
from tests.fetch_fhir.fake_server import Asked, FakeServer, served
from tests.fetch_fhir.test_fetch import TYPES, private_key, resources

from .remedy_rows import Row, obey, refusal

KEY = 'client_id = "fedcohort"\nkey = "key.pem"\nkid = "k1"\n'


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def there() -> Iterator[FakeServer]:
    with served(FakeServer(resources())) as server:
        yield server


def bring(
    base: str,
    into: str = "in",
    wish: Wish | None = None,
    most: int = 2**30,
    smart: Path | None = None,
    token: Path | None = None,
) -> None:
    with (
        connect(base, None, smart, token, lambda _seconds: None) as server,
        open_inbox(Path(into), most) as inbox,
    ):
        fetch(server, inbox, wish or Wish(TYPES))


def first(server: FakeServer, path: str, *answer: Any) -> None:
    """Answer so at the first request of a path alone, and rightly from then on."""
    left = [answer]

    def before(asked: Asked) -> Any:
        return left.pop() if asked.path == path and left else None

    server.before = before


WISHES = [
    Row(
        "--since: write a day, a time such as 2026-01-31T00:00:00Z, or last",
        lambda: Wish(TYPES, since="yesterday"),
        lambda: Wish(TYPES, since="2026-01-31T00:00:00Z"),
    ),
    Row(
        "--type {}: write a type of FHIR R4, such as Observation",
        lambda: Wish(("observation",)),
        lambda: Wish(("Observation",)),
    ),
    Row(
        "--group: write the id of a Group, and --export",
        lambda: Wish(TYPES, group="g1"),
        lambda: Wish(TYPES, is_export=True, group="g1"),
    ),
]


@pytest.mark.parametrize("row", WISHES, ids=lambda row: row.said[:20])
def test_a_wish_is_one_once_it_is_written_as_told(row: Row) -> None:
    obey(row)


def test_an_inbox_is_filled_once_it_is_treated_as_told(there: FakeServer) -> None:
    base = there.base
    Path("file").write_text("")
    refusal("{}: {}; name another folder by --into", lambda: bring(base, "file"))
    last = Wish(TYPES, since="last")
    refusal("no run has ended here; leave --since out, to fetch everything", lambda: bring(base, wish=last))
    bring(base)
    bring(base, wish=last)
    Path("in").chmod(0o755)
    refusal("{}: others may read this folder of patients; run chmod 700 on it", lambda: bring(base))
    Path("in").chmod(0o700)
    with open_inbox(Path("in")):
        refusal("{}: another process fetches into it ({}); wait for it", lambda: bring(base))
    bring(base)
    with served(FakeServer(resources())) as other:
        refusal("is the inbox of another server; name another folder by --into", lambda: bring(other.base))
        bring(other.base, "other")
    (Path("in") / STATE).write_bytes(b"x" * 4096)
    refusal("{}: {}; delete this file, and fetch from the beginning", lambda: bring(base))
    (Path("in") / STATE).unlink()
    bring(base)


def test_an_inbox_that_is_full_takes_more_after_the_import_that_is_told(there: FakeServer) -> None:
    there.resources["Patient"][0]["text"] = {"div": "x" * 30_000}
    bring(there.base, wish=Wish(("Patient",)))
    text = refusal(
        "{}: holds {} bytes; run `fedcohort data import fhir --from {} --into DATABASE --delete-imported`, "
        "and fetch again, or raise --most-gib",
        lambda: bring(there.base, most=30_000),
    )
    words = text.split("`")[1].replace("DATABASE", "h.db").split()[1:]
    assert CliRunner().invoke(app, words).exit_code == 0
    there.resources["Patient"][0].pop("text")
    bring(there.base, most=30_000)


def test_an_interrupted_run_goes_on_as_it_was_asked_or_from_the_beginning(there: FakeServer) -> None:
    first(there, "/fhir/Observation", 500, {}, b"")
    refusal("{}: the server answers {}{}; ask its operator", lambda: bring(there.base))
    refusal(
        "an interrupted run asked for something else; repeat it with its options, or delete {} there",
        lambda: bring(there.base, wish=Wish(("Patient",))),
    )
    bring(there.base)


def test_a_broken_answer_is_asked_for_again(there: FakeServer) -> None:
    packed = {"Content-Encoding": "gzip"}
    first(there, "/fhir/Patient", 200, packed, b"")
    refusal("{}: the server's packed answer is cut off; fetch again", lambda: bring(there.base))
    first(there, "/fhir/Patient", 200, packed, b"no gzip")
    refusal("{}: the server's packed answer is broken; fetch again", lambda: bring(there.base))
    bring(there.base)


def test_a_server_is_read_at_the_address_that_is_told(there: FakeServer) -> None:
    there.before = lambda asked: None if asked.path.startswith("/fhir") else (200, {}, b"{}")
    refusal(
        "{}: the server's answer is no Bundle; give the address of its FHIR R4 by --from",
        lambda: bring(there.address, "wrong"),
    )
    bring(there.base)
    by_name = there.base.replace("127.0.0.1", "localhost")
    refusal(
        "{}: the next page is at another address than --from; give the address by which the server",
        lambda: bring(by_name, "named"),
    )
    there.before = lambda asked: (
        (301, {"Location": there.base}, b"") if asked.path.startswith("/old") else None
    )
    refusal(
        "{}: the server redirects to elsewhere, where no token goes; give the address that it",
        lambda: bring(f"{there.address}/old", "moved"),
    )
    bring(there.base, "moved to")
    Path("token").write_text("s3cret")
    Path("token").chmod(0o600)
    refusal(
        "--from: give the address alone; a token belongs into a file, by --token or --smart",
        lambda: bring(f"{there.base}?token=s3cret", "x"),
    )
    refusal(
        "--smart, --token: give one of them",
        lambda: bring(there.base, "x", smart=Path(), token=Path("token")),
    )
    there.token = "s3cret"
    bring(there.base, "y", token=Path("token"))


def test_less_is_asked_for_as_told(there: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    there.page = 100
    for one in there.resources["Observation"]:
        one["text"] = {"div": "x" * 1000}
    monkeypatch.setattr(server_module, "PAGE_BYTES", 3000)
    refusal("{}: is larger than {} bytes; ask for less by --count or --type", lambda: bring(there.base))
    bring(there.base, "fewer", Wish(TYPES, count=1))
    there.before = lambda asked: (403, {}, b"") if asked.path == "/fhir/Observation" else None
    refusal(
        "check client, key and scope with its operator, or leave the type out by --type",
        lambda: bring(there.base, "all"),
    )
    bring(there.base, "patients", Wish(("Patient",)))


def test_an_export_is_brought_once_it_is_done_as_told(there: FakeServer) -> None:
    wish = Wish(TYPES, is_export=True)
    first(there, "/fhir/Patient/$export", 200, {}, b"{}")
    refusal(
        "export: the server answers {} and not 202; leave --export out, to search",
        lambda: bring(there.base, "a", wish),
    )
    bring(there.base, "b", Wish(TYPES))
    first(there, "/fhir/status/1", 410, {}, b"")
    refusal(
        "export: the server keeps it no longer; fetch again, which begins a new one",
        lambda: bring(there.base, "c", wish),
    )
    bring(there.base, "c", wish)
    first(there, "/files/Patient", 200, {}, b"{}\n")
    refusal(
        "{}: has not as many resources as the manifest says; fetch again",
        lambda: bring(there.base, "d", wish),
    )
    bring(there.base, "d", wish)


def test_a_page_that_is_gone_is_fetched_again_as_told(there: FakeServer) -> None:
    there.before = lambda asked: (500, {}, b"") if asked.path == "/fhir" else None
    refusal("{}: the server answers {}{}; ask its operator", lambda: bring(there.base))
    there.before = lambda asked: (410, {}, b"") if asked.path == "/fhir" else None
    refusal(
        "{}: the server keeps this page no longer; fetch again, from {}'s first page",
        lambda: bring(there.base),
    )
    there.before = lambda _asked: None
    bring(there.base)


def test_a_client_is_known_once_its_file_and_key_are_as_told(there: FakeServer, tmp_path: Path) -> None:
    path, public = private_key(tmp_path, "ec")
    pem = (tmp_path / "key.pem").read_bytes()
    weak = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    def with_file(text: str) -> None:
        path.write_text(text)
        read_smart(path)

    def with_key(content: bytes) -> None:
        (tmp_path / "key.pem").write_bytes(content)
        read_smart(path)

    refusal("{}: cannot be read as TOML; write client_id, key and kid there", lambda: with_file("="))
    refusal("{}: {}: missing; write it", lambda: with_file('client_id = "a"'))
    refusal("{}: {}: give a text", lambda: with_file("client_id = 1"))
    with_file(KEY)
    refusal("is no private key without a password; give it in PEM (PKCS 8)", lambda: with_key(b"x"))
    refusal(
        "{}: give an RSA key of at least 2,048 bits (RS384), or one of curve P-384", lambda: with_key(weak)
    )
    with_key(pem)
    there.expected, there.token = {"k1": public}, "none yet"
    with_file(KEY.replace("k1", "k2"))
    refusal(
        "{}: gives no token ({}); check client_id, kid, key and scope with the server's operator",
        lambda: bring(there.base, smart=path),
    )
    with_file(KEY)
    first(there, "/fhir/.well-known/smart-configuration", 404, {}, b"")
    refusal(
        "{}: says nowhere where tokens are; write token_url into the file of --smart",
        lambda: bring(there.base, smart=path),
    )
    with_file(f'{KEY}token_url = "{there.address}/token"\n')
    bring(there.base, smart=path)


def test_a_token_s_file_holds_it_alone(tmp_path: Path) -> None:
    def with_token(text: str) -> None:
        (tmp_path / "token").write_text(text)
        (tmp_path / "token").chmod(0o600)
        read_token(tmp_path / "token")

    refusal("{}: holds no token; let the file hold the token alone", lambda: with_token("Bearer abc"))
    with_token("abc\n")
