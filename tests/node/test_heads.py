"""An older copy of a site's database is told from the newest by what others hold of it."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedcohort.cli.app import app
from fedcohort.errors import ConfigError, LedgerBehindError
from fedcohort.node.consent import LocalSite
from fedcohort.node.heads import MOST_FORKS, check_not_behind, held_heads, sign_head, take_heads, write_off
from fedcohort.node.ledger import accounts
from fedcohort.node.store import SqlNodeStore
from fedcohort.storage.durable import MOST_EQUAL_ENTRIES
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.identity import Identity, new_identity, verify
from fedcohort.wire.messages import Heads, LedgerHead
from fedcohort.wire.signing import head_signing_bytes

from .test_ledger import policy, propose, study

KEYS: dict[str, Identity] = {site: new_identity(site) for site in ("a", "b")}


def key_of(site: str) -> bytes | None:
    return KEYS[site].public_key if site in KEYS else None


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    store = SqlNodeStore(tmp_path / "node.db")
    yield LocalSite(policy(tmp_path), KEYS["a"], store)
    store.close()


def store_of(site: LocalSite) -> SqlNodeStore:
    assert isinstance(site.store, SqlNodeStore)
    return site.store


def signed(head: LedgerHead) -> LedgerHead:
    return replace(head, signature=KEYS[head.site].sign(head_signing_bytes(head)))


def show(store: SqlNodeStore, *heads: LedgerHead) -> None:
    take_heads(KEYS["a"], store, key_of, Heads(heads))


@pytest.fixture
def older(tmp_path: Path, site: LocalSite) -> Iterator[tuple[SqlNodeStore, LedgerHead]]:
    """A copy from before a study was approved, and the head that was signed after it."""
    propose(site, study("first"))
    copy = tmp_path / "backup"
    copy.mkdir()
    for path in tmp_path.glob("node.db*"):
        shutil.copy(path, copy)
    propose(site, study("second"))
    store = SqlNodeStore(copy / "node.db")
    yield store, sign_head(KEYS["a"], store_of(site))
    store.close()


def test_a_head_is_the_newest_entry_and_bears_the_site_s_signature(site: LocalSite) -> None:
    store = store_of(site)
    propose(site, study("first"))
    head = sign_head(KEYS["a"], store)
    assert (head.sequence, head.hash) == store.newest() == (store.verify(), store.hash_at(head.sequence))
    assert verify(KEYS["a"].public_key, head.signature, head_signing_bytes(head))
    assert decode(encode(Heads((head,)))) == Heads((head,))


def test_a_log_that_goes_on_holds_every_head_that_was_signed(site: LocalSite) -> None:
    store = store_of(site)
    for name in ("first", "second"):
        head = sign_head(KEYS["a"], store)
        propose(site, study(name))
        show(store, head)
    check_not_behind(store, "a")


def test_an_older_copy_stops_when_it_is_shown_what_it_has_forgotten(
    older: tuple[SqlNodeStore, LedgerHead],
) -> None:
    store, newest = older
    with pytest.raises(LedgerBehindError, match=f"lacks entry {newest.sequence}"):
        show(store, newest)
    with pytest.raises(LedgerBehindError, match="--write-off"):
        check_not_behind(store, "a")


def test_an_older_copy_that_has_gone_on_as_far_is_told_by_its_hash(
    older: tuple[SqlNodeStore, LedgerHead],
) -> None:
    store, newest = older
    while store.newest()[0] <= newest.sequence:
        store.note("refused")
    with pytest.raises(LedgerBehindError):
        show(store, newest)


def test_an_older_copy_that_others_have_shown_a_newer_head_of_its_own_is_told_all_the_same(
    older: tuple[SqlNodeStore, LedgerHead],
) -> None:
    store, newest = older
    while store.newest()[0] <= newest.sequence:
        store.note("refused")
    show(store, sign_head(KEYS["a"], store))
    with pytest.raises(LedgerBehindError):
        show(store, newest)
    with pytest.raises(LedgerBehindError, match="--write-off"):
        check_not_behind(store, "a")


def test_an_audit_finds_a_log_that_was_cut_off_and_names_its_newest_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    (tmp_path / "site.toml").write_text(
        'id = "a"\ndata = "a.db"\ncoordinator = "ws://127.0.0.1:9"\nstate = "."\n[tables]\nrecords = "*"\n'
    )
    audit = ["node", "audit", "--site", str(tmp_path / "site.toml")]
    with closing(SqlNodeStore(tmp_path / "node.db")) as store:
        here = LocalSite(policy(tmp_path), KEYS["a"], store)
        for name in ("first", "second"):
            propose(here, study(name))
        head = sign_head(KEYS["a"], store)
        show(store, head)
    whole = CliRunner().invoke(app, audit)
    assert whole.output == f"entry 6: {head.hash.hex()}\n6 entries, the chain is whole\n"
    with closing(sqlite3.connect(tmp_path / "node.db")) as connection, connection:
        connection.execute("DELETE FROM events WHERE sequence > 4")
    behind = CliRunner().invoke(app, audit)
    assert isinstance(behind.exception, LedgerBehindError)
    assert "ends at entry 4 and lacks entry 6" in str(behind.exception)
    assert "entries were taken away" in str(behind.exception)


def test_a_head_of_a_site_whose_key_is_not_known_yet_is_no_alarm(
    site: LocalSite, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stranger, forged = (
        LedgerHead("stranger", 0, 9, bytes(32), bytes(64)),
        LedgerHead("b", 0, 9, bytes(32), bytes(64)),
    )
    show(store_of(site), stranger, forged)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "INFO",
            "a: a ledger head of stranger is not kept yet: its key is neither announced nor confirmed here",
        ),
        ("WARNING", "a: a ledger head of b that its key has not signed"),
    ]


def test_nobody_else_can_make_a_node_stop(older: tuple[SqlNodeStore, LedgerHead]) -> None:
    store, newest = older
    by_b = replace(newest, signature=KEYS["b"].sign(head_signing_bytes(newest)))
    show(store, by_b, replace(newest, sequence=newest.sequence + 5))
    check_not_behind(store, "a")


def test_others_heads_are_kept_when_newer_and_signed(site: LocalSite) -> None:
    store, old = store_of(site), signed(LedgerHead("b", 0, 5, bytes(32)))
    new = signed(LedgerHead("b", 0, 6, bytes(32)))
    show(store, new)
    show(store, old)
    show(store, replace(old, sequence=8), LedgerHead("stranger", 0, 9, bytes(32), bytes(64)))
    assert held_heads(store) == (new,)
    written_off = signed(LedgerHead("b", 1, 2, bytes(32)))
    show(store, written_off)
    assert held_heads(store) == (written_off,)


def test_two_ledgers_under_one_signature_are_noted(site: LocalSite) -> None:
    store, one = store_of(site), signed(LedgerHead("b", 0, 5, bytes(32)))
    show(store, one)
    show(store, one)
    assert store.details("forked-ledger") == []
    show(store, signed(replace(one, hash=bytes(31) + b"1")))
    assert store.details("forked-ledger") == [{"site": "b", "sequence": 5}]


def test_a_site_that_signs_many_forks_fills_nobody_s_event_log(site: LocalSite) -> None:
    store = store_of(site)
    for sequence in range(1, 2 * MOST_FORKS):
        for end in (b"1", b"2", b"2", b"3"):
            show(store, signed(LedgerHead("b", 0, sequence, bytes(31) + end)))
    told = [detail["sequence"] for detail in store.details("forked-ledger")]
    assert told == list(range(1, MOST_FORKS + 1)), "once for each length, and a few times a site"


def test_a_site_that_sends_new_cards_without_end_fills_nobody_s_event_log(site: LocalSite) -> None:
    store = store_of(site)
    for number in range(2 * MOST_EQUAL_ENTRIES):
        store.keep_card("b", bytes([number]))
    assert store.cards() == {"b": bytes([2 * MOST_EQUAL_ENTRIES - 1])}, "the newest one counts"
    assert store.details("card") == [{"site": "b"}] * MOST_EQUAL_ENTRIES


def test_a_site_with_a_new_key_begins_anew(site: LocalSite, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(site)
    show(store, signed(LedgerHead("b", 0, 50, bytes(32))))
    monkeypatch.setitem(KEYS, "b", new_identity("b"))
    fresh = signed(LedgerHead("b", 0, 1, bytes(32)))
    show(store, fresh)
    assert held_heads(store) == (fresh,)


def test_writing_off_leaves_no_budget_and_no_approval_and_lets_the_node_start(
    tmp_path: Path, older: tuple[SqlNodeStore, LedgerHead]
) -> None:
    store, newest = older
    here = LocalSite(policy(tmp_path), KEYS["a"], store)
    with pytest.raises(LedgerBehindError):
        show(store, newest)
    assert write_off(here, store) == newest.sequence
    check_not_behind(store, "a")
    (account,) = accounts(here.policy, store.reservations(), store.costs())
    assert account.left == (0.0, 0.0)
    assert {found.state for found in store.proposals()} == {"refused"}
    assert propose(here, study("third", 0.1)).code == "budget-exhausted"
    again = sign_head(KEYS["a"], store)
    assert again.age > newest.age
    show(store, newest, again)


def test_nothing_is_written_off_that_is_not_lost(site: LocalSite) -> None:
    propose(site, study("first"))
    with pytest.raises(ConfigError, match="nothing is lost"):
        write_off(site, store_of(site))
    show(store_of(site), sign_head(KEYS["a"], store_of(site)))
    with pytest.raises(ConfigError, match="nothing is lost"):
        write_off(site, store_of(site))
