"""The floor of the dashboard's page weighs what it is asked to, and its events come within a look."""

import gzip
import itertools
import json
import time

from benchmarks.plain_page import events, library, make_app

from fedcohort.coordinator.streams import PAUSE_SECONDS


def test_page_library_and_padding_weigh_what_was_asked() -> None:
    client = make_app().test_client()
    page = client.get("/?bytes=400000").get_data(as_text=True)
    packed = client.get("/library.js").get_data()
    address = next(part for part in page.split("'") if part.startswith("/padding"))
    padding = client.get(address).get_data()
    assert abs(len(page) + len(packed) + len(padding) - 400_000) < 10
    assert b"echarts" in gzip.decompress(packed)
    assert packed == library()


def test_an_event_says_when_it_happened_and_waits_for_the_next_look() -> None:
    began = time.time()
    first, second = (json.loads(text.removeprefix("data: "))["at"] for text in itertools.islice(events(), 2))
    assert began < first < second < time.time()
    assert PAUSE_SECONDS > 0
