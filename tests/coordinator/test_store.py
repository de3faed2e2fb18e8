"""The coordinator's memory, on SQLite and PostgreSQL: stored once, kept, read on after a break."""

import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from fedcohort.analyses.contract import State, Sums
from fedcohort.coordinator import store as store_module
from fedcohort.coordinator import tables
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore, Submission
from fedcohort.errors import ConfigError, StoreError, TooManyStudiesError
from fedcohort.storage.durable import MOST_EQUAL_ENTRIES
from tests.postgres import Postgres, postgres

STUDY = "ab" * 32
SUBMISSION = Submission(STUDY, "ages", b"{}", "r", b"k" * 32, b"s" * 64, 3)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "coordinator.db")
    server: Postgres = request.getfixturevalue("server")
    return server.create(f"test{secrets.token_hex(4)}")


@pytest.fixture
def store(place: str) -> Iterator[CoordinatorStore]:
    store = CoordinatorStore(place)
    yield store
    store.close()


def test_the_same_study_is_taken_in_once(store: CoordinatorStore) -> None:
    assert store.submit(SUBMISSION)
    assert not store.submit(SUBMISSION)
    assert [row["name"] for row in store.studies()] == ["ages"]


def test_a_study_is_found_by_a_prefix_that_only_it_has(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    assert store.study("abab") is not None
    assert store.study("%") is None
    store.submit(Submission("ab" * 31 + "cd", "other", b"{}", "r", b"k" * 32, b"s" * 64, 3))
    assert store.study("abab") is None


def test_a_state_survives_the_process(store: CoordinatorStore, place: str) -> None:
    store.submit(SUBMISSION)
    state = State("train", 2, {"weights": np.arange(3, dtype=np.float32)}, {"momentum": np.ones(3)})
    store.save_round(STUDY, State("moments", 1), ("a", "b"), [], {"exchange": 1, "seconds": 0.2})
    store.save_round(STUDY, state, ("a", "b"), [{"round": 1, "split": "test", "loss": 0.5}], {})
    store.close()
    again = CoordinatorStore(place)
    found = again.load_state(STUDY)
    assert found is not None
    assert (found.phase, found.round, found.finished) == ("train", 2, False)
    np.testing.assert_array_equal(found.arrays["weights"], [0, 1, 2])
    np.testing.assert_array_equal(found.kept["momentum"], [1, 1, 1])
    assert [update.data["loss"] for update in again.updates(STUDY, kinds=("metrics",))] == [0.5]
    (time,) = again.updates(STUDY, kinds=("time",))
    assert time.data == {"exchange": 1, "seconds": 0.2}, "a round without metrics tells its time alone"
    assert again.open_studies() == [STUDY]
    again.close()


def test_the_sums_of_a_study_are_deleted_at_its_end(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    sums = Sums({"levels/group": np.array([197.0, 3.0])})
    weights = {"weights": np.arange(3.0), "rows": np.array([200.0])}
    state = State("done", 2, weights, {"n": np.array([200.0])}, finished=True, sums=sums)
    store.save_round(STUDY, state, ("a", "b"), [], {})
    store.keep(STUDY, "opening", b"a sum that is asked to be opened")
    running = store.load_state(STUDY)
    assert running is not None
    assert running.sums is not None
    assert "levels/group" in running.sums, "a restart needs it"
    store.finish(STUDY, {}, {"weights": weights["weights"]})
    ended = store.load_state(STUDY)
    assert ended is not None
    assert (set(ended.arrays), dict(ended.kept)) == ({"weights"}, {})
    assert store.load_kept(STUDY, "opening") is None


def test_sums_that_an_earlier_version_has_kept_are_deleted(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    store.finish(STUDY, {})
    state = State("done", 1, {}, {}, finished=True, sums=Sums({"levels/group": np.array([197.0, 3.0])}))
    store.save_round(STUDY, state, ("a",), [], {})
    store.set_state(STUDY, "finished", "", "")
    store.delete_sums_of_finished()
    found = store.load_state(STUDY)
    assert found is not None
    assert dict(found.kept) == {}


def test_of_a_round_that_cannot_be_stored_nothing_is(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    before = State("train", 1, {"weights": np.zeros(2)})
    store.save_round(STUDY, before, ("a",), [], {})
    log, updates = store.verify(), store.updates(STUDY)
    row: Any = {"round": 2, "split": {"train"}}
    with pytest.raises(TypeError):
        store.save_round(STUDY, State("train", 2, {"weights": np.ones(2)}), ("a",), [row], {})
    stored = store.load_state(STUDY)
    assert stored is not None
    assert (stored.round, stored.arrays["weights"].tolist()) == (1, [0.0, 0.0])
    assert (store.verify(), store.updates(STUDY)) == (log, updates)
    store.save_round(STUDY, State("train", 2, {"weights": np.ones(2)}), ("a",), [], {})
    assert store.verify() == log + 1


def test_a_locked_database_is_told_in_words_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedcohort.storage.timeouts.LOCK_SECONDS", 0.1)
    path = tmp_path / "coordinator.db"
    with closing(CoordinatorStore(path)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"coordinator\.db: is locked by another program"):
            store.keep(STUDY, "opening", b"1")
        assert store.database.n_failures == 1
        other.execute("ROLLBACK")
        store.keep(STUDY, "opening", b"2")
        assert store.load_kept(STUDY, "opening") == b"2"


def n_pending(store: CoordinatorStore) -> int:
    """Updates that the redo log has and SQLite has not."""
    query = store.database.prepare(tables.UPDATES_AFTER)
    return len(store.database.read_with_pending(query, {"key": STUDY, "after": 0}, tables.updates)[1])


def test_pages_see_a_round_before_sqlite_has_it_and_in_its_place_afterwards(tmp_path: Path) -> None:
    with closing(CoordinatorStore(tmp_path / "coordinator.db", exclusive=True)) as store:
        store.submit(SUBMISSION)
        store.set_state(STUDY, "running")
        for number in (1, 2):
            state = State("steps", number, {"weights": np.full(3, number)})
            store.save_round(STUDY, state, ("a",), [{"loss": float(number)}], {})
        before = store.updates(STUDY)
        assert [update.data.get("loss") for update in before] == [None, 1.0, 2.0]
        assert store.updates(STUDY, before[1].sequence) == before[2:]
        assert n_pending(store) == 2
        row = store.study(STUDY)
        assert row is not None
        assert row["round"] == 2
        assert n_pending(store) == 0
        assert store.updates(STUDY) == before
        store.set_state(STUDY, "waiting")
        assert store.updates(STUDY)[-1].sequence > before[-1].sequence
        assert store.verify() == 5


def test_pages_read_on_after_the_last_update_they_saw(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    store.set_state(STUDY, "running")
    first = store.updates(STUDY)
    store.set_state(STUDY, "waiting", "too-few-sites")
    assert [update.data["state"] for update in store.updates(STUDY, first[-1].sequence)] == ["waiting"]


def test_a_failed_study_may_be_sent_again_and_asks_the_sites_anew(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    store.record_answer(STUDY, "a", "refused", "policy-refused")
    assert not store.retry(STUDY, "r"), "it has not failed"
    store.set_state(STUDY, "failed", "too-few-sites", "one site")
    assert store.retry(STUDY, "r")
    row = store.study(STUDY)
    assert row is not None
    assert (row["state"], row["error_code"]) == ("proposed", "")
    assert store.answers(STUDY) == {}


def test_a_study_that_failed_midway_goes_on_with_the_sites_it_had(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    store.record_answer(STUDY, "a", "approved", approval=b"yes")
    store.set_roster(STUDY, ("a",))
    store.record_answer(STUDY, "a", "refused", "saturation", b"yes")
    store.set_state(STUDY, "failed", "too-few-sites", "")
    assert store.retry(STUDY, "r")
    assert {site: row["state"] for site, row in store.answers(STUDY).items()} == {"a": "approved"}


def test_every_step_stands_in_the_event_log_and_a_change_is_found(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    store.save_round(STUDY, State("done", 1, finished=True), ("a",), [], {})
    store.finish(STUDY, {})
    assert store.verify() == 3
    with store.database.transaction() as connection:
        connection.execute(text("UPDATE events SET kind = 'nothing' WHERE sequence = 2"))
    with pytest.raises(StoreError, match="entry 2"):
        store.verify()


def test_a_site_joins_once_and_its_token_is_forgotten_when_both_have_pinned(store: CoordinatorStore) -> None:
    members = Members(store)
    token = members.invite_site("a")
    assert members.token_of("a") == token.encode()
    members.pin("a", b"k" * 32)
    assert members.key_of("a") == b"k" * 32
    with pytest.raises(ConfigError, match="already joined"):
        members.invite_site("a")
    members.settled("a")
    assert members.token_of("a") is None
    assert members.remove_site("a")
    assert not members.remove_site("a")


def test_a_researchers_token_ends_when_it_is_revoked(store: CoordinatorStore) -> None:
    members = Members(store)
    token = members.issue_token("ada")
    assert members.researcher_of(token) == "ada"
    assert members.researcher_of("guess") is None
    assert members.revoke_tokens("ada") == 1
    assert members.researcher_of(token) is None


def test_revoking_what_nobody_has_leaves_no_entry_in_the_log(store: CoordinatorStore) -> None:
    members = Members(store)
    before = store.verify()
    assert members.revoke_tokens("adda") == 0
    assert store.verify() == before


def test_two_processes_append_to_one_event_log_in_turns(place: str) -> None:
    def note(database: str) -> None:
        with closing(CoordinatorStore(database)) as store:
            for _ in range(20):
                store.note("test")

    threads = [threading.Thread(target=note, args=(place,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(CoordinatorStore(place)) as store:
        assert store.verify() == 60


def test_every_table_holds_what_the_codec_lets_through(store: CoordinatorStore) -> None:
    """PostgreSQL counts the characters of a column, SQLite does not."""
    store.submit(SUBMISSION)
    store.record_answer(STUDY, "s" * 64, "refused", "c" * 64)
    store.set_state(STUDY, "failed", "c" * 64, "m" * 10_000)
    assert store.answers(STUDY)["s" * 64]["code"] == "c" * 64


def test_a_store_says_whether_it_can_be_written(store: CoordinatorStore, place: str) -> None:
    store.database.check_writable()
    with closing(CoordinatorStore(place)) as other:
        other.database.check_writable()
    assert store.database.n_failures == 0


@pytest.mark.processes
def test_a_second_coordinator_on_one_server_is_turned_away(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedcohort.storage.timeouts.LOCK_SECONDS", 0.2)
    url = server.create("alone")
    with closing(CoordinatorStore(url, exclusive=True)) as first:
        with pytest.raises(StoreError, match="is locked by another program"):
            CoordinatorStore(url, exclusive=True)
        with closing(CoordinatorStore(url)) as command:
            command.note("an operator's command")
        assert first.verify() == 1
    CoordinatorStore(url, exclusive=True).close()


@pytest.mark.processes
def test_a_servers_end_is_told_in_words_and_the_store_goes_on_when_it_is_back(server: Postgres) -> None:
    with closing(CoordinatorStore(server.create("back"), exclusive=True)) as store:
        store.submit(SUBMISSION)
        server.kill()
        with pytest.raises(StoreError, match=r"postgresql\+psycopg://postgres:\*\*\*@127"):
            store.note("lost")
        with pytest.raises(StoreError, match="cannot be reached"):
            store.database.check_writable()
        assert store.database.n_failures == 2
        server.start()
        store.note("kept")
        assert store.verify() == 2


@pytest.mark.processes
def test_a_database_that_must_not_sync_commits_is_told_to(server: Postgres) -> None:
    url = server.create("hasty")
    server.run("psql", "-d", "hasty", "-c", "ALTER DATABASE hasty SET synchronous_commit = off")
    with closing(CoordinatorStore(url)) as store, store.database.transaction() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


@pytest.mark.processes
def test_an_older_database_on_postgresql_comes_up_to_date(server: Postgres) -> None:
    url = server.create("older")
    with closing(CoordinatorStore(url)) as store:
        store.submit(SUBMISSION)
        with store.database.transaction() as connection:
            connection.execute(text("DROP TABLE heads"))
            connection.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(StoreError, match="earlier fedcohort"):
        CoordinatorStore(url)
    with closing(CoordinatorStore(url, exclusive=True)) as store:
        assert Members(store).heads.all() == {}
        assert [row["name"] for row in store.studies()] == ["ages"]
    with closing(CoordinatorStore(url)) as store:
        assert store.verify() == 1


def test_another_kind_of_server_is_refused_by_name() -> None:
    with pytest.raises(StoreError, match="mysql cannot be used here; use SQLite or PostgreSQL"):
        CoordinatorStore("mysql://somebody@db/coordinator")


@pytest.mark.parametrize("name", ["", "x" * 65, "a\x00b", "hospital a", "ada bob/../x", "-a", "a\n"])
def test_a_name_that_site_toml_would_refuse_gets_no_token(store: CoordinatorStore, name: str) -> None:
    for work in (Members(store).issue_token, Members(store).invite_site):
        with pytest.raises(ConfigError, match="a name has 1 to 64 letters"):
            work(name)


def kinds_of(store: CoordinatorStore) -> Counter[str]:
    """How many entries of each kind the event log has."""
    with store.database.transaction() as connection:
        return Counter(connection.execute(text("SELECT kind FROM events")).scalars())


def test_a_site_that_answers_without_end_fills_no_event_log(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    for number in range(2 * MOST_EQUAL_ENTRIES):
        store.record_answer(STUDY, "a", "asked")
        for approval in (b"yes", b"yes again"):
            store.record_answer(STUDY, "a", "approved", approval=approval)
        store.record_answer(STUDY, "a", "refused", f"word-{number}")
    store.record_answer(STUDY, "A", "approved", approval=b"yes")
    assert kinds_of(store) == {
        "proposed": 1,
        "site-asked": MOST_EQUAL_ENTRIES,
        "site-approved": MOST_EQUAL_ENTRIES + 1,
        "site-refused": MOST_EQUAL_ENTRIES,
    }
    assert [one.data["site"] for one in store.updates(STUDY)] == ["a", "A"]
    assert store.answers(STUDY)["a"]["code"] == f"word-{2 * MOST_EQUAL_ENTRIES - 1}", "the newest one counts"
    assert store.verify() == 3 * MOST_EQUAL_ENTRIES + 2


def test_a_site_that_sends_new_cards_without_end_fills_no_event_log(store: CoordinatorStore) -> None:
    members = Members(store)
    for number in range(2 * MOST_EQUAL_ENTRIES):
        assert members.keep_card("a", bytes([number]))
    assert kinds_of(store) == {"card": MOST_EQUAL_ENTRIES}
    assert members.cards() == [bytes([2 * MOST_EQUAL_ENTRIES - 1])]


def test_sites_that_come_and_go_without_end_fill_no_event_log(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    for number in range(2 * MOST_EQUAL_ENTRIES):
        store.set_state(STUDY, "waiting", "too-few-sites", f"reason {number}")
        store.set_state(STUDY, "running")
    assert kinds_of(store) == {"proposed": 1, "waiting": MOST_EQUAL_ENTRIES, "running": MOST_EQUAL_ENTRIES}
    assert [one.data["state"] for one in store.updates(STUDY)] == ["waiting", "running"]


def test_a_researcher_who_hands_in_without_end_fills_no_event_log(
    store: CoordinatorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_A_DAY", 4)
    store.submit(SUBMISSION)
    store.submit(replace(SUBMISSION, id="cd" * 32))
    for _ in range(2):
        store.set_state(STUDY, "cancelled", "cancelled", "the researcher cancelled it")
        assert store.retry(STUDY, "r")
    store.set_state(STUDY, "cancelled", "cancelled", "the researcher cancelled it")
    with pytest.raises(TooManyStudiesError, match="r has handed in 4 studies within 24 hours"):
        store.retry(STUDY, "r")
    with pytest.raises(TooManyStudiesError):
        store.submit(replace(SUBMISSION, id="ef" * 32))
    assert not store.submit(SUBMISSION), "what is here already costs nothing"
    assert kinds_of(store) == {"proposed": 2, "proposed-again": 2, "cancelled": 3}
    assert store.retry(STUDY, "another")
    monkeypatch.setattr(store_module, "SECONDS_PER_DAY", -60)
    assert store.submit(replace(SUBMISSION, id="ef" * 32)), "what is older than a day does not count"


def test_the_studies_of_one_researcher_and_day_have_a_size(
    store: CoordinatorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_BYTES_A_DAY", 5)
    store.submit(SUBMISSION)
    store.submit(replace(SUBMISSION, id="cd" * 32))
    with pytest.raises(TooManyStudiesError):
        store.submit(replace(SUBMISSION, id="ef" * 32))
    assert store.submit(replace(SUBMISSION, id="ef" * 32, researcher="another"))
