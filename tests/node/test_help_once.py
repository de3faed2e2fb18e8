"""A site helps to open one set of survivors a round, ever: its store remembers, also after kill -9."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedcohort.errors import StoreError
from fedcohort.node.answer import Node, answer
from fedcohort.node.records import StoredProposal
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import Study
from fedcohort.wire.messages import Contribution, Help, Message, OpenRequest, SiteId, Task
from tests.build import code_of, describe_study, explicit, protected_by
from tests.engines.support import Play, honest_nodes

pytestmark = pytest.mark.usefixtures("paillier_keys")

SITES = ("a", "b", "c", "d", "e")


def study(protection: str) -> Study:
    return explicit(describe_study("opened once", **protected_by(protection)))


@dataclass
class OnDisk:
    """A study whose site a keeps its store on disk."""

    folder: Path
    protection: str
    stores: list[SqlNodeStore] = field(default_factory=list)
    requests: dict[SiteId, OpenRequest] = field(default_factory=dict)
    helps: dict[SiteId, Message] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.study = study(self.protection)
        nodes = honest_nodes(self.study, SITES)
        self.keys = nodes["a"].keys
        self.template = nodes["a"]
        store = self.open()
        store.propose(StoredProposal(self.study.hash, self.study.canonical, "ada", bytes(32), bytes(64)))
        store.decide(self.study.hash, "approved", b"approved")
        nodes["a"] = replace(self.template, store=store)
        self.play = Play(self.study, SITES, nodes=nodes, disturb=self.note)

    def note(self, site: SiteId, question: Message, reply: Message) -> list[Message]:
        if isinstance(question, OpenRequest):
            self.requests[site], self.helps[site] = question, reply
        return [reply]

    def open(self) -> SqlNodeStore:
        self.stores.append(SqlNodeStore(self.folder / "node.db"))
        return self.stores[-1]

    def restarted(self) -> Node:
        """The node as after a kill: nothing but its files is kept."""
        return replace(self.template, store=self.open(), studies={}, study_keys={}, prepared={})

    def task(self) -> Task:
        return next(question for _, question, _ in self.play.seen if isinstance(question, Task))


Make = Callable[[str], OnDisk]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[OnDisk] = []

    def one(protection: str) -> OnDisk:
        made.append(OnDisk(tmp_path, protection))
        return made[-1]

    yield one
    for disk in made:
        for store in disk.stores:
            store.close()


@pytest.fixture(params=["masks", "paillier"])
def disk(request: pytest.FixtureRequest, make: Make) -> OnDisk:
    made = make(request.param)
    made.play.go()
    return made


def without_e(request: OpenRequest) -> OpenRequest:
    extras = {site: data for site, data in request.extras.items() if site != "e"}
    return replace(request, survivors=SITES[:4], extras=extras)


def test_after_a_restart_a_site_helps_with_the_same_request_and_with_no_other(disk: OnDisk) -> None:
    request, before = disk.requests["a"], disk.helps["a"]
    assert isinstance(before, Help)
    for _ in range(2):
        node = disk.restarted()
        assert code_of(answer(node, without_e(request))) == "message-invalid"
        assert code_of(answer(node, replace(request, attempt=1))) == "message-invalid"
        again = answer(node, request)
        assert isinstance(again, Help)
        assert (again.body, again.request) == (before.body, before.request)


def test_help_is_in_the_event_log_once(disk: OnDisk) -> None:
    for _ in range(2):
        answer(disk.restarted(), disk.requests["a"])
    store = disk.open()
    kinds = [event["kind"] for event in store.events()]
    assert kinds.count("help") == 1
    assert kinds.count("release") == 1
    assert store.verify() == len(kinds)


@pytest.mark.parametrize("protection", ["masks", "paillier"])
def test_help_that_cannot_be_remembered_does_not_leave(
    protection: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = make(protection)

    def full(*_: object) -> None:
        raise StoreError("node.db: has no space left; free disk space and try again")

    with monkeypatch.context() as patch:
        patch.setattr(SqlNodeStore, "keep_help", full)
        disk.play.go()
    assert code_of(disk.helps["a"]) == "store"
    assert disk.stores[0].help_given(disk.study.hash) is None
    assert isinstance(answer(disk.restarted(), disk.requests["a"]), Help)


def test_after_a_restart_the_same_integers_are_sealed_anew(disk: OnDisk) -> None:
    bodies = set()
    for _ in range(3):
        reply = answer(disk.restarted(), disk.task())
        assert isinstance(reply, Contribution)
        bodies.add(reply.body)
    assert len(bodies) == 3
    kept = [store.last(disk.study.hash) for store in disk.stores]
    assert len({stored.integers for stored in kept if stored}) == 1


def test_a_site_that_lost_its_agreement_key_says_so_and_reads_no_study_key(make: Make) -> None:
    disk = make("paillier")
    disk.play.go()
    node = disk.restarted()
    moved = replace(node, keys=replace(disk.keys, agreement=X25519PrivateKey.generate()))
    assert code_of(answer(moved, disk.task())) == "key-file"
    assert isinstance(answer(disk.restarted(), disk.task()), Contribution)


def test_a_study_key_lies_encrypted_on_disk(make: Make) -> None:
    disk = make("paillier")
    disk.play.go()
    stored = disk.stores[0].study_key(disk.study.hash)
    assert stored is not None
    secret = disk.keys.unlock(disk.study.hash, stored.locked)
    written = b"".join(path.read_bytes() for path in disk.folder.iterdir())
    assert stored.public[:200] in written
    assert secret[6 : 6 + 64] not in written
    assert secret[-64:] not in written
