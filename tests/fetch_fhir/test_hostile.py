"""Whatever a server answers: a file of ours, one of our errors, and nothing outside the inbox."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.errors import DataError, FedcohortError
from fedcohort.fetch_fhir import search
from fedcohort.fetch_fhir.export import files_of
from fedcohort.fetch_fhir.server import (
    Answer,
    check_not_here,
    is_same_origin,
    joined,
    retry_after,
    without_secrets,
)
from fedcohort.fetch_fhir.smart import _token_of

BASE = "https://fhir.example/r4"
LINKS = st.sampled_from(
    ["//evil.example/x", "https://fhir.example/r4?p=1", "https://fhir.example@evil.example/", "http://fhir.example/",
     "https://FHIR.example:443/r4", "https://fhir.example:444/r4", "javascript:x", "..//..//", "https://[::1",
     "?a", ""]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=8) | LINKS
WORDS = st.sampled_from(
    [
        "output",
        "deleted",
        "error",
        "type",
        "url",
        "count",
        "resourceType",
        "link",
        "relation",
        "entry",
        "next",
        "Bundle",
    ]
)


def _within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5)


ANYTHING = st.recursive(LEAVES, _within, max_leaves=20)


@settings(max_examples=300)
@given(
    ANYTHING, st.lists(st.fixed_dictionaries({"url": LEAVES, "type": LEAVES, "count": LEAVES}), max_size=3)
)
def test_any_manifest_is_files_of_the_inbox_or_an_error(made: Any, output: Any) -> None:
    manifest = {**(made if isinstance(made, dict) else {}), "output": output}
    try:
        files = list(files_of(manifest, 1, f"{BASE}/status"))
    except DataError:
        return
    assert all("/" not in file.name and file.name.startswith("0001-") for file in files)
    assert len({file.name for file in files}) == len(files)


@settings(max_examples=300)
@given(ANYTHING, LEAVES)
def test_any_page_leads_to_the_same_server_or_to_an_error(made: Any, link: Any) -> None:
    page = {"resourceType": "Bundle", "entry": made, "link": [{"relation": "next", "url": link}]}

    class There:
        base = BASE

    answer = Answer(f"{BASE}/Patient", 200, {}, json.dumps(page).encode())
    try:
        following, _ = search._page(answer, There(), "Patient, page 1")  # type: ignore[arg-type]
    except FedcohortError:
        return
    assert following is not None
    assert is_same_origin(following, BASE)


@given(st.text(max_size=40))
def test_any_wait_is_bounded(text: str) -> None:
    assert 0.0 <= retry_after(text, 1.0) <= 600.0


@given(ANYTHING)
def test_any_token_s_answer_is_a_token_or_an_error(made: Any) -> None:
    try:
        token, seconds = _token_of({"access_token": made, "token_type": "Bearer", "expires_in": made})
    except DataError:
        return
    assert token.isprintable()
    assert 0 < seconds <= 3600


@pytest.mark.parametrize(
    "link",
    [
        "//evil.example",
        "https://fhir.example@evil.example/r4",
        "http://fhir.example/r4",
        "https://fhir.example:8443/r4",
    ],
)
def test_another_server_is_told_from_this_one_however_it_is_written(link: str) -> None:
    assert not is_same_origin(joined(BASE, link, "x"), BASE)
    assert is_same_origin(joined(BASE, "https://FHIR.EXAMPLE:443/r4?page=2", "x"), BASE)


def test_an_address_is_told_without_what_is_secret() -> None:
    assert without_secrets("https://user:s3cret@fhir.example/r4?token=s3cret") == "fhir.example/r4"


@pytest.mark.parametrize(
    "link",
    ["http://127.0.0.1:9200/", "http://localhost/", "https://[::1]/x", "http://[::ffff:127.0.0.1]/"],
)
def test_a_server_elsewhere_refers_to_nothing_on_this_machine(link: str) -> None:
    with pytest.raises(DataError, match="refers to this machine"):
        check_not_here(link, BASE, "x")
    check_not_here("https://files.example/1.ndjson", BASE, "x")
    check_not_here("http://127.0.0.1:9200/1.ndjson", "http://localhost:8080/r4", "x")
