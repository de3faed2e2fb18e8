"""A hospital's own page as a person meets it: with accounts, data, studies that asked, and a model."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.dashboard import Settings
from fedcohort.dashboard.hospital.app import build_hospital_page
from fedcohort.dashboard.login.passwords import Passwords
from fedcohort.dashboard.login.people import People
from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.serve import Listen, address_of, open_server
from fedcohort.node.consent import LocalSite
from fedcohort.node.ledger import added_cost
from fedcohort.node.records import HelpGiven, Reservation, Stored
from fedcohort.node.store import SqlNodeStore
from fedcohort.privacy.events import GaussianRelease
from fedcohort.protection.fixed_point import shape_of, to_ring
from fedcohort.wire.identity import load_or_create
from tests.build import cohort, frame_of, ward_rows

from .accounts import NAMES, PASSWORD, session_for
from .browser import Watched
from .hospital_site import ask, asking_policy, ward_study

PRIVATE, EXACT, WAITS = "who-is-ill", "how-old", "not-looked-at"


@dataclass(frozen=True)
class ServedWard:
    """Its address, file of people, event log, and the pages that it has."""

    url: str
    people: Path
    store: SqlNodeStore
    pages: tuple[str, ...]

    def enter(self, watch: Watched, role: str) -> None:
        """Give the browser a session."""
        token = session_for(self.people, role)
        watch.page.context.add_cookies([{"name": "fedcohort-session", "value": token, "url": self.url}])


def write_passwords(path: Path) -> Path:
    """A file of people all of whom have PASSWORD."""
    people, hash_ = People(path), Passwords().hash(PASSWORD)
    assert hash_ is not None
    for role, name in NAMES.items():
        assert people.take_link(people.add(name, role), name, hash_)
    people.close()
    return path


def fill(site: LocalSite, store: SqlNodeStore) -> list[str]:
    """Two studies that ask; something of both has left."""
    hashes = [ask(site, PRIVATE, epsilon=1.0), ask(site, EXACT)]
    release = GaussianRelease("sums", 1.0, 6.0, dimension=3)
    cost = added_cost(ward_study(PRIVATE, 1.0), None, [release])
    store.keep(Stored(hashes[0], 1, bytes(32), bytes(12_345), "", "a"), cost)
    store.keep(Stored(hashes[1], 1, bytes(32), bytes(8), "", "a"))
    store.settle(Reservation(hashes[1], "ward", 0.0, 0.0), "nobody but the test's patients")
    store.keep_help(HelpGiven(hashes[1], 1, bytes(32), b"help"), 3)
    return hashes


def hold(site: LocalSite, store: SqlNodeStore) -> str:
    """One more study, whose answer waits for a person until long after the test."""
    asked, analysis = ask(site, WAITS), build_analysis(ward_study(WAITS))
    layout = analysis.layout(analysis.start())
    ring = to_ring(layout, {block.name: np.full(block.shape, 3.0) for block in layout}, 3)
    held = Stored(asked, 0, bytes(32), ring.to_bytes(), shape_of(layout, 3).text, "a\nb\nc")
    store.held.hold(held, until_ms=4_000_000_000_000)
    return asked


@contextmanager
def served_ward(folder: Path) -> Iterator[ServedWard]:
    """Serve it for the length of a with block."""
    policy, people = asking_policy(folder, 3.0), write_passwords(folder / "people.db")
    store = SqlNodeStore(folder / "node.db")
    site = LocalSite(policy, load_or_create(folder / "site.key", "a"), store)
    hashes, waits = fill(site, store), hold(site, store)
    train = fc.Train(model="logistic", rounds=1, importance=False)
    study = fc.Study(name="ward-model", cohort=cohort(), analysis=train)
    frames = {name: frame_of(ward_rows(index)) for index, name in enumerate("ab")}
    predictor = fc.simulate(frames).run(study, progress=False).predictor
    settings, listen = Settings(people=people), Listen("127.0.0.1", 0)
    app = build_hospital_page(policy, store, [predictor], settings)
    server = open_server(app, settings, listen)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    pages = ("", f"studies/{hashes[0]}", f"held/{waits}", "data/ward", f"models/{predictor.study.hash[:12]}")
    try:
        yield ServedWard(address_of(listen, server.port), people, store, pages)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        close_app(app)
