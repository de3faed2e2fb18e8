"""Which signatures vouch for a ledger, what a counter outside the folder knows, and what is relayed."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fedcohort.coordinator.members import Members
from fedcohort.coordinator.service import Service
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.engines.links import Links
from fedcohort.errors import ConfigError, LedgerBehindError, WireError
from fedcohort.node import heads
from fedcohort.node.budgets import Budget
from fedcohort.node.check import check_node
from fedcohort.node.consent import LocalSite
from fedcohort.node.heads import check_not_behind, sign_head, take_heads, write_off
from fedcohort.node.keys import confirm
from fedcohort.node.policy import read_policy
from fedcohort.node.running import open_node
from fedcohort.node.store import SqlNodeStore
from fedcohort.node.witness import Witnesses, countersign, is_countersigned, needed
from fedcohort.wire.codec import decode
from fedcohort.wire.handshake import COUNTERSIGNING, Peer
from fedcohort.wire.identity import Identity, new_identity
from fedcohort.wire.link import Channel, Link
from fedcohort.wire.messages import Countersignature, HeadCheck, Heads, Message
from fedcohort.wire.signing import countersigning_bytes, head_signing_bytes
from tests.build import ward_rows, write_ward
from tests.node.test_ledger import policy as ledger_policy

KEYS: dict[str, Identity] = {site: new_identity(site) for site in "abc"}


def key_of(site: str) -> bytes | None:
    return KEYS[site].public_key if site in KEYS else None


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[dict[str, SqlNodeStore]]:
    made = {site: SqlNodeStore(tmp_path / site / "node.db") for site in KEYS}
    yield made
    for store in made.values():
        store.close()


def older_copy(store: SqlNodeStore, folder: Path) -> SqlNodeStore:
    """A backup of a store as it is now."""
    folder.mkdir()
    source = store._database._url.database
    with closing(sqlite3.connect(str(source))) as connection:
        connection.execute(f"VACUUM INTO '{folder / 'node.db'}'")
    return SqlNodeStore(folder / "node.db")


@pytest.mark.parametrize(
    ("n_peers", "colluders", "least"),
    [(0, 0, 1), (1, 0, 1), (1, 1, 2), (2, 1, 2), (3, 1, 3), (4, 1, 3), (5, 1, 4), (9, 2, 6), (3, 5, 6)],
)
def test_more_than_colluders_sign_and_two_such_sets_share_one_that_tells_the_truth(
    n_peers: int, colluders: int, least: int
) -> None:
    assert needed(n_peers, colluders) == least
    assert least > colluders
    assert 2 * least - n_peers > colluders


def signed_by(site: str, stores: dict[str, SqlNodeStore], check: HeadCheck) -> Countersignature:
    told = countersign(KEYS[site], stores[site], key_of, check)
    assert told is not None
    return told


def counts(
    stores: dict[str, SqlNodeStore], check: HeadCheck, told: Countersignature, confirmed: str = "bc"
) -> bool:
    known = {site: KEYS[site].public_key for site in confirmed}
    return is_countersigned(KEYS["a"], stores["a"], known, check, told)


def test_only_a_fresh_signature_of_a_confirmed_site_about_this_head_counts(
    stores: dict[str, SqlNodeStore],
) -> None:
    stores["a"].note("first")
    check = Witnesses().ask(KEYS["a"], stores["a"], 2)
    told = signed_by("b", stores, check)
    assert counts(stores, check, told)
    assert not counts(stores, check, told, confirmed="c"), "the operator has not confirmed b"
    later = Witnesses().ask(KEYS["a"], stores["a"], 2)
    assert later.nonce != check.nonce
    assert not counts(stores, later, told), "an answer to another nonce"
    assert not counts(stores, check, replace(told, site="c")), "not signed by c"
    assert not counts(stores, check, replace(told, signature=bytes(64)))
    forged = replace(told, head=replace(told.head, sequence=9))
    forged = replace(forged, signature=KEYS["b"].sign(countersigning_bytes(forged)))
    assert not counts(stores, check, forged), "a head that this site has not signed stops nobody"
    by_itself = replace(told, site="a")
    by_itself = replace(by_itself, signature=KEYS["a"].sign(countersigning_bytes(by_itself)))
    assert not counts(stores, check, by_itself, confirmed="abc")


def test_a_site_that_has_seen_less_does_not_vouch_for_more(stores: dict[str, SqlNodeStore]) -> None:
    stores["a"].note("first")
    old = Witnesses().ask(KEYS["a"], stores["a"], 2)
    stores["a"].note("second")
    check = Witnesses().ask(KEYS["a"], stores["a"], 2)
    told = Countersignature("b", old.head, check.nonce)
    assert not counts(stores, check, replace(told, signature=KEYS["b"].sign(countersigning_bytes(told))))


def test_a_peer_keeps_what_it_signs_and_shows_it_to_an_older_copy(
    stores: dict[str, SqlNodeStore], tmp_path: Path
) -> None:
    stores["a"].note("before the backup")
    with closing(older_copy(stores["a"], tmp_path / "backup")) as older:
        stores["a"].note("spent")
        check = Witnesses().ask(KEYS["a"], stores["a"], 2)
        assert counts(stores, check, signed_by("b", stores, check))
        again = Witnesses().ask(KEYS["a"], older, 2)
        with pytest.raises(LedgerBehindError, match="lacks entry 2"):
            counts({**stores, "a": older}, again, signed_by("b", stores, again))
        with pytest.raises(LedgerBehindError, match="--write-off"):
            check_not_behind(older, "a")


def test_an_older_copy_that_has_gone_on_is_told_by_what_others_hold_whatever_it_shows(
    stores: dict[str, SqlNodeStore], tmp_path: Path
) -> None:
    """It asks before it shows; and heads of it that a coordinator relays replace nothing of an exchange."""
    stores["a"].note("before the backup")
    with closing(older_copy(stores["a"], tmp_path / "backup")) as older:
        stores["a"].note("spent")
        check = Witnesses().ask(KEYS["a"], stores["a"], 2)
        assert counts(stores, check, signed_by("b", stores, check))
        for _ in range(5):
            older.note("goes on by itself")
        newer = sign_head(KEYS["a"], older)
        for shown_to, site in ((older, "a"), (stores["b"], "b")):
            take_heads(KEYS[site], shown_to, key_of, Heads((newer,)))
        asked = Witnesses().recall(KEYS["a"], 2)
        told = signed_by("b", stores, asked)
        assert told.head == check.head
        with pytest.raises(LedgerBehindError, match="lacks entry 2"):
            counts({**stores, "a": older}, asked, told)
        with pytest.raises(LedgerBehindError, match="--write-off"):
            check_not_behind(older, "a")
        assert write_off(LocalSite(ledger_policy(tmp_path), KEYS["a"], older), older) == 2
        check_not_behind(older, "a")
        again = Witnesses().recall(KEYS["a"], 2)
        assert counts({**stores, "a": older}, again, signed_by("b", stores, again)), "a write-off goes on"


def test_who_holds_nothing_of_a_site_says_so_and_keeps_nothing(stores: dict[str, SqlNodeStore]) -> None:
    stores["a"].note("first")
    asked = Witnesses().recall(KEYS["a"], 2)
    assert counts(stores, asked, signed_by("b", stores, asked))
    assert stores["b"].heads.all() == stores["b"].countersigned.all() == {}


def test_a_site_with_a_new_key_is_not_held_to_what_the_old_one_signed(
    stores: dict[str, SqlNodeStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores["a"].note("first")
    signed_by("b", stores, Witnesses().ask(KEYS["a"], stores["a"], 2))
    monkeypatch.setitem(KEYS, "a", new_identity("a"))
    asked = Witnesses().recall(KEYS["a"], 2)
    assert signed_by("b", stores, asked).head == asked.head


def test_nobody_countersigns_for_a_stranger_or_for_itself(stores: dict[str, SqlNodeStore]) -> None:
    check = Witnesses().ask(KEYS["a"], stores["a"], 2)
    assert countersign(KEYS["b"], stores["b"], lambda _: None, check) is None
    assert countersign(KEYS["a"], stores["a"], key_of, check) is None
    unsigned = replace(check, head=replace(check.head, signature=bytes(64)))
    assert countersign(KEYS["b"], stores["b"], key_of, unsigned) is None


# --- a counter outside the folder


def test_a_counter_outside_the_folder_tells_an_older_copy(
    stores: dict[str, SqlNodeStore], tmp_path: Path
) -> None:
    place = tmp_path / "elsewhere.counter"
    store = stores["a"]
    assert heads.counter_matches(place, KEYS["a"], store), "it is made where the log begins"
    store.note("before the backup")
    with closing(older_copy(store, tmp_path / "backup")) as older:
        assert heads.counter_matches(place, KEYS["a"], older)
        store.note("spent")
        heads.advance_counter(place, KEYS["a"], store)
        assert heads.counter_matches(place, KEYS["a"], store)
        with pytest.raises(LedgerBehindError, match="lacks entry 2"):
            heads.counter_matches(place, KEYS["a"], older)
        here = LocalSite(ledger_policy(tmp_path), KEYS["a"], older)
        assert write_off(here, older) == 2
        assert heads.counter_matches(place, KEYS["a"], older), (
            "the write-off that the message names lets it go on"
        )


def test_a_counter_that_is_missing_beside_a_log_vouches_for_nothing(
    stores: dict[str, SqlNodeStore], tmp_path: Path
) -> None:
    stores["a"].note("first")
    assert not heads.counter_matches(tmp_path / "gone.counter", KEYS["a"], stores["a"])
    assert not (tmp_path / "gone.counter").exists()


@pytest.mark.parametrize("what", ["nonsense", "another site's", "forged", "a folder"])
def test_what_is_no_counter_of_this_site_is_refused_in_words(
    stores: dict[str, SqlNodeStore], tmp_path: Path, what: str
) -> None:
    place = tmp_path / "x.counter"
    stores["a"].note("first")
    if what == "nonsense":
        place.write_bytes(b"12")
    elif what == "a folder":
        place.mkdir()
    else:
        heads.advance_counter(
            place, KEYS["b"] if what == "another site's" else new_identity("a"), stores["a"]
        )
    with pytest.raises(ConfigError, match="counter "):
        heads.counter_matches(place, KEYS["a"], stores["a"])


def test_a_counter_that_cannot_be_written_is_told_and_leaves_nothing(
    stores: dict[str, SqlNodeStore], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="let the node's account write its folder"):
        heads.advance_counter(tmp_path / "no folder" / "a.counter", KEYS["a"], stores["a"])


def site_toml(folder: Path, place: str) -> Path:
    path = folder / "site.toml"
    write_ward(folder / "a.db", ward_rows(0, 3))
    path.write_text(
        f'id = "a"\ndata = "a.db"\ncoordinator = "ws://127.0.0.1:1"\ncounter = "{place}"\n'
        '[tables]\nward = ["age"]\n'
    )
    return path


def test_a_counter_in_the_folder_would_be_restored_with_it_and_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the folder state"):
        read_policy(site_toml(tmp_path, "state/a.counter"))
    assert read_policy(site_toml(tmp_path, "a.counter")).counter == tmp_path / "a.counter"


def test_a_node_does_not_start_on_an_older_copy_than_its_counter_and_takes_the_operator_s_word(
    tmp_path: Path,
) -> None:
    policy = read_policy(site_toml(tmp_path, "a.counter"))
    running = open_node(policy)
    assert running.witnesses.by_counter
    running.store.note("later")
    heads.advance_counter(tmp_path / "a.counter", running.site.identity, running.store)
    running.store.close()
    running.held.close()
    with closing(sqlite3.connect(tmp_path / "state" / "node.db")) as connection, connection:
        connection.execute("DELETE FROM events WHERE kind = 'later'")
    with pytest.raises(LedgerBehindError, match="lacks entry"):
        open_node(policy)


def test_the_operator_s_word_makes_a_counter_that_was_missing(tmp_path: Path) -> None:
    plain = read_policy(site_toml(tmp_path, "a.counter")).model_copy(update={"counter": None})
    running = open_node(plain)
    running.store.note("before there was a counter")
    running.store.close()
    running.held.close()
    policy = read_policy(site_toml(tmp_path, "a.counter"))
    running = open_node(policy)
    assert not running.witnesses.by_counter
    running.store.close()
    running.held.close()
    running = open_node(policy, newest_copy=True)
    assert running.witnesses.by_counter
    assert running.store.details("newest-copy") == [{}]
    running.store.close()
    running.held.close()


def test_node_check_tells_that_too_few_sites_can_countersign_and_its_remedies_help(tmp_path: Path) -> None:
    policy = read_policy(site_toml(tmp_path, "a.counter"))
    policy = policy.model_copy(update={"budget": {"all": Budget(epsilon=1.0)}})
    assert [one.ok for one in check_node(policy) if one.what == "countersigning"] == [True]
    bare = policy.model_copy(update={"counter": None})
    confirm(bare.roster, "b", KEYS["b"].public_key)
    (told,) = [one for one in check_node(bare) if one.what == "countersigning"]
    assert (told.ok, told.remedy.partition(";")[0]) == (
        False, "private studies need countersignatures of 2 other sites"
    )  # fmt: skip
    assert "set counter in site.toml" in told.remedy
    assert "start the node once with --newest-copy" in told.remedy
    confirm(bare.roster, "c", KEYS["c"].public_key)
    (told,) = [one for one in check_node(bare) if one.what == "countersigning"]
    assert told.ok


def test_node_check_tells_that_a_counter_that_was_set_later_vouches_for_nothing_yet(tmp_path: Path) -> None:
    policy = read_policy(site_toml(tmp_path, "a.counter"))
    policy = policy.model_copy(update={"budget": {"all": Budget(epsilon=1.0)}})
    running = open_node(policy.model_copy(update={"counter": None}))
    running.store.note("before there was a counter")
    running.store.close()
    running.held.close()
    (told,) = [one for one in check_node(policy) if one.what == "countersigning"]
    assert not told.ok
    assert "start the node once with --newest-copy" in told.remedy
    running = open_node(policy, newest_copy=True)
    running.store.close()
    running.held.close()
    assert [one.ok for one in check_node(policy) if one.what == "countersigning"] == [True]
    running = open_node(policy)
    assert running.witnesses.by_counter
    running.store.close()
    running.held.close()


# --- what a coordinator relays


class Wire:
    """The sites' ends of their links."""

    def __init__(self) -> None:
        self.heard: dict[str, list[Message]] = {}

    def link(self, site: str, version: int) -> Link:
        self.heard[site] = []

        async def send(data: bytes) -> None:
            self.heard[site].append(decode(data))

        async def receive() -> bytes:
            raise AssertionError

        async def close(reason: str) -> None:
            raise AssertionError

        return Link(Peer(site, KEYS[site].public_key, version), Channel(send, receive, close))


def test_a_coordinator_relays_to_sites_that_know_the_message_and_back_to_the_one_that_asks(
    stores: dict[str, SqlNodeStore], tmp_path: Path
) -> None:
    stores["a"].note("first")
    check = Witnesses().ask(KEYS["a"], stores["a"], 2)
    told = signed_by("b", stores, check)

    async def relayed(service: Service, links: Links, wire: Wire) -> None:
        for site in KEYS:
            version = COUNTERSIGNING if site != "c" else COUNTERSIGNING - 1
            links.links[site], links.present[site] = wire.link(site, version), version
        await service.inbound.take("a", check)
        await service.inbound.take("b", told)
        for sender, message in (("b", check), ("a", told)):
            with pytest.raises(WireError, match="under another site's name"):
                await service.inbound.take(sender, message)

    with closing(CoordinatorStore(tmp_path / "coordinator.db")) as store:
        members, wire = Members(store), Wire()
        for site, identity in KEYS.items():
            members.invite_site(site)
            members.pin(site, identity.public_key)
        links = Links()
        service = Service(store, members, links)
        asyncio.run(relayed(service, links, wire))
        assert wire.heard == {"a": [told], "b": [check], "c": []}
        assert members.heads.all().keys() == {"a"}, "the coordinator keeps the head, too"


def test_what_a_site_signs_reads_like_nothing_else_that_it_signs(stores: dict[str, SqlNodeStore]) -> None:
    stores["a"].note("first")
    head = sign_head(KEYS["a"], stores["a"])
    one = Countersignature("b", head, bytes(32))
    assert countersigning_bytes(one) != head_signing_bytes(head)
    others = {
        countersigning_bytes(replace(one, site="c")),
        countersigning_bytes(replace(one, nonce=bytes([1]) * 32)),
        countersigning_bytes(replace(one, head=replace(head, sequence=2))),
        countersigning_bytes(one),
    }
    assert len(others) == 4
    take_heads(KEYS["b"], stores["b"], key_of, Heads((head,)))
