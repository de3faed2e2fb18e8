"""Fetching the public files: checked, resumable, and clear when it cannot be done."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fedcohort.errors import ConfigError, DataError, StoreError
from fedcohort.sources.datasets import fetch
from fedcohort.sources.datasets.fetch import HEART_DISEASE, fetch_heart_disease

BODIES = {name: f"the bytes of {name}\n".encode() for name in HEART_DISEASE}


@dataclass
class Mirror:
    """A web server on this machine, what it serves, and what it was asked for."""

    url: str
    bodies: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    redirect: str | None = None


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in BODIES.items()}
    monkeypatch.setattr(fetch, "HEART_DISEASE", digests)
    mirror = Mirror("", dict(BODIES))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            mirror.asked.append(name)
            body = mirror.bodies.get(name)
            if mirror.redirect is not None:
                self.send_response(302)
                self.send_header("Location", mirror.redirect + name)
                self.end_headers()
            elif body is None:
                self.send_error(404)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_port}/heart-disease/"
    yield mirror
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_four_files_are_fetched_once(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "heart"
    assert fetch_heart_disease(folder, mirror.url) == dict.fromkeys(BODIES, True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == BODIES
    assert fetch_heart_disease(folder, mirror.url) == dict.fromkeys(BODIES, False)
    assert sorted(mirror.asked) == sorted(BODIES)


def test_a_broken_download_goes_on_with_the_next_file(mirror: Mirror, tmp_path: Path) -> None:
    missing = mirror.bodies.pop("processed.switzerland.data")
    with pytest.raises(DataError, match=r"processed\.switzerland\.data: the server answered 404"):
        fetch_heart_disease(tmp_path, mirror.url)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "processed.cleveland.data",
        "processed.hungarian.data",
    ]
    mirror.bodies["processed.switzerland.data"] = missing
    assert list(fetch_heart_disease(tmp_path, mirror.url).values()) == [False, False, True, True]


def test_other_bytes_are_refused_and_not_kept(mirror: Mirror, tmp_path: Path) -> None:
    mirror.bodies["processed.cleveland.data"] = b"other"
    with pytest.raises(
        DataError, match=r"processed\.cleveland\.data: the bytes are not those of the public original"
    ):
        fetch_heart_disease(tmp_path, mirror.url)
    assert list(tmp_path.iterdir()) == []
    mirror.bodies |= BODIES
    assert all(fetch_heart_disease(tmp_path, mirror.url).values())  # the remedy: try again later


def test_a_much_too_large_file_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    mirror.bodies["processed.cleveland.data"] = b"0" * (fetch.MAX_FILE_BYTES + 1)
    with pytest.raises(DataError, match="larger than 1 MiB"):
        fetch_heart_disease(tmp_path, mirror.url)


def test_a_different_file_of_that_name_is_left_alone(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "processed.cleveland.data").write_text("mine")
    with pytest.raises(StoreError, match="is not the public original; move it away"):
        fetch_heart_disease(tmp_path, mirror.url)
    assert (tmp_path / "processed.cleveland.data").read_text() == "mine"
    (tmp_path / "processed.cleveland.data").rename(tmp_path / "mine.data")  # the remedy
    assert all(fetch_heart_disease(tmp_path, mirror.url).values())


def test_a_redirect_to_plain_text_elsewhere_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    mirror.redirect = "http://mirror.example/"
    with pytest.raises(DataError, match="redirected to an address that is not https"):
        fetch_heart_disease(tmp_path, mirror.url)


def test_offline_is_said_with_the_remedy(mirror: Mirror, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9/"
    with pytest.raises(DataError, match=r"no download \(.*\); check network and proxy \(HTTPS_PROXY\)"):
        fetch_heart_disease(tmp_path, nobody, timeout_seconds=2)  # patience: nobody answers
    for name, body in BODIES.items():  # the remedy: files that are copied by hand are taken
        (tmp_path / name).write_bytes(body)
    found = fetch_heart_disease(tmp_path, nobody, timeout_seconds=2)  # patience: nobody is asked
    assert found == dict.fromkeys(BODIES, False)


@pytest.mark.parametrize("url", ["http://mirror.example/", "ftp://mirror.example/", "file:///etc/", "mirror"])
def test_only_https_addresses_are_used(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use an https address"):
        fetch_heart_disease(tmp_path, url)


def test_a_folder_that_cannot_be_made_is_named(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="check the folder's permissions"):
        fetch_heart_disease(tmp_path / "file" / "folder", mirror.url)
    (tmp_path / "file").unlink()  # the remedy: a folder that can be made
    assert all(fetch_heart_disease(tmp_path / "file" / "folder", mirror.url).values())


def test_the_checksums_are_those_of_the_shared_files(heart_folder: Path) -> None:
    found = {name: hashlib.sha256((heart_folder / name).read_bytes()).hexdigest() for name in HEART_DISEASE}
    assert found == dict(HEART_DISEASE)
