"""The token of a federation on one machine: kept from others, found by client and page."""

import contextlib
import os
import stat
from pathlib import Path

import httpx
import pytest

from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import KeyFileError
from fedcohort.local_token import RESEARCHER, read_token, token_file, token_of_machine, write_token


def test_the_file_is_for_its_owner_alone_whatever_was_there(tmp_path: Path) -> None:
    path = tmp_path / "tokens" / "8760.token"
    write_token(path, "first")
    if os.name == "posix":
        path.chmod(0o644)
        with pytest.raises(KeyFileError, match="others can read"):
            read_token(path)
    write_token(path, "second")
    assert read_token(path) == "second"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_good_token_is_kept_and_one_of_another_coordinator_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with contextlib.closing(CoordinatorStore(tmp_path / "a.db")) as store:
        members = Members(store)
        members.keep_token(path)
        first = read_token(path)
        members.keep_token(path)
        assert read_token(path) == first
        assert members.researcher_of(str(first)) == RESEARCHER
        assert members.researchers() == {RESEARCHER}
    with contextlib.closing(CoordinatorStore(tmp_path / "b.db")) as store:
        Members(store).keep_token(path)
        assert read_token(path) != first
        assert Members(store).researcher_of(str(read_token(path))) == RESEARCHER


def test_requests_to_this_machine_bear_it_and_none_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert token_of_machine("https://coordinator.example:8760") is None
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization"))
        return httpx.Response(200)

    auth = token_of_machine("http://127.0.0.1:8760")
    with httpx.Client(transport=httpx.MockTransport(answer), auth=auth) as client:
        client.get("http://127.0.0.1:8760/")
        write_token(token_file(8760), "abc")
        client.get("http://127.0.0.1:8760/")
    assert seen == [None, "Bearer abc"]
