"""An engine of one's own carries messages through folders: same report, and what is forged there is refused.

Coordinator and nodes are the real ones, from hand-in to report; only the network is another.
"""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fedcohort.columns import Categorical, Numeric
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.service import Service
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.disclosure.rules import OPEN
from fedcohort.engines.carrier import Carrier
from fedcohort.errors import AuthenticationError, MessageTooLargeError, WireError
from fedcohort.node.keys import enrol, signed
from fedcohort.node.policy import SitePolicy
from fedcohort.node.process import serve_link
from fedcohort.node.running import Running, open_node
from fedcohort.study import ProtectionName, Study
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.handshake import Peer
from fedcohort.wire.identity import new_identity
from fedcohort.wire.link import Channel, Link
from fedcohort.wire.messages import Contribution, Task
from fedcohort.wire.signing import state_digest, study_signing_bytes
from tests.build import TABLE, cohort, describe_study, explicit, ward_rows, with_units, write_ward
from tests.patience import PATIENCE_SECONDS
from tests.processes.support import ENDED, simulate_wards

from .folders import FolderCarrier, put, site_channel

SITES = ("a", "b", "c")
COLUMNS = {"age": Numeric(), "bp": Numeric(), "sex": Categorical(("f", "m"))}
"""Without bounds, so that histograms take a second round."""
Forge = Callable[[Contribution], Sequence[bytes]]
"""What is put into a site's mailbox just before its own contribution."""


def two_rounds(protection: ProtectionName) -> Study:
    study = describe_study("carried by folders", protection=protection, cohort=cohort(columns=COLUMNS))
    return explicit(with_units(study))


@dataclass
class Ward:
    """Three hospitals and a coordinator in this process, whose messages travel through folders."""

    folder: Path
    service: Service
    carrier: FolderCarrier
    nodes: dict[str, Running]

    async def run(self, study: Study, forge: Forge) -> dict[str, Any]:
        """Run a study to its end and return its report."""
        tasks = [asyncio.create_task(self.carrier.serve(site)) for site in SITES]
        for site, node in self.nodes.items():
            tasks.append(asyncio.create_task(serve_link(node, self._link(site, forge))))
        researcher = new_identity("ada")
        signature = researcher.sign(study_signing_bytes(study.canonical))
        await self.service.lifecycle.submit(study, "ada", researcher.public_key, signature)
        while (row := self.service.store.study(study.hash)) is None or row["state"] not in ENDED:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.service.stop()
        assert row["state"] == "finished", row["error_message"]
        report: dict[str, Any] = json.loads(row["report"])
        return report

    def _link(self, site: str, forge: Forge) -> Link:
        channel = site_channel(self.folder / site)

        async def send(data: bytes) -> None:
            message = decode(data)
            if site == "a" and isinstance(message, Contribution):
                for forged in forge(message):
                    put(self.folder / site / "from", forged)
            await channel.send(data)

        own = Channel(send, channel.receive, channel.close)
        return Link(Peer("coordinator", bytes(32)), own, heartbeat_seconds=PATIENCE_SECONDS)


@contextmanager
def wards(folder: Path, protection: ProtectionName) -> Iterator[Ward]:
    store, nodes = CoordinatorStore(folder / "coordinator.db"), {}
    members, carrier = Members(store), FolderCarrier(folder / "mail")
    for index, site in enumerate(SITES):
        for box in ("to", "from"):
            (folder / "mail" / site / box).mkdir(parents=True)
        enrol(folder / "roster", site, folder / site / "site.key")
        policy = SitePolicy(
            id=site, data=str(write_ward(folder / f"{site}.db", ward_rows(index))), tables={TABLE: "*"},
            coordinator="ws://127.0.0.1:1", state=folder / site, roster=folder / "roster",
            protections=(protection,), approval="auto", disclosure=OPEN,
        )  # fmt: skip
        nodes[site] = open_node(policy)
        members.invite_site(site)
        members.pin(site, nodes[site].site.identity.public_key)
    try:
        yield Ward(folder / "mail", Service(store, members, carrier), carrier, nodes)
    finally:
        for node in nodes.values():
            node.worker.thread.shutdown()
            node.store.close()
            node.held.close()
        store.close()


def carried(ward: Ward, study: Study, forge: Forge = lambda _: ()) -> dict[str, Any]:
    report = asyncio.run(asyncio.wait_for(ward.run(study, forge), PATIENCE_SECONDS))
    return {key: value for key, value in report.items() if key not in ("study", "refused")}


def simulated(study: Study) -> dict[str, Any]:
    return {key: value for key, value in simulate_wards(study).report.items() if key != "study"}


def test_the_engine_of_folders_is_a_carrier(tmp_path: Path) -> None:
    carrier: Carrier = FolderCarrier(tmp_path)
    assert dict(carrier.present) == {}
    text = (Path(__file__).parent / "folders.py").read_text(encoding="utf-8")
    body = text[text.index("@dataclass") : text.index("def site_channel")]
    assert len([line for line in body.splitlines() if line.strip()]) <= 50


@pytest.mark.parametrize("protection", ["none", "masks"])
def test_a_study_over_folders_gives_the_report_of_a_simulation(
    tmp_path: Path, protection: ProtectionName
) -> None:
    study = two_rounds(protection)
    with wards(tmp_path, protection) as ward:
        assert carried(ward, study) == simulated(study)
        assert ward.carrier.refused == []


@pytest.mark.parametrize("protection", ["none", "masks"])
def test_forged_messages_in_a_mailbox_are_refused_with_a_code_and_the_study_goes_on(
    tmp_path: Path,
    protection: ProtectionName,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("fedcohort.wire.codec.MAX_MESSAGE_BYTES", 2**20)
    caplog.set_level(logging.INFO, "fedcohort.coordinator")
    study, digest = two_rounds(protection), state_digest("moments", 0, {})
    rounds: list[Contribution] = []

    with wards(tmp_path, protection) as ward:
        b = ward.nodes["b"].site.identity

        def forge(true: Contribution) -> Sequence[bytes]:
            replayed = [encode(past) for past in rounds if past.round < true.round]
            rounds.append(true)
            return [
                encode(replace(true, body=true.body[::-1])),  # a changed vector under a's signature
                encode(signed(b, replace(true, site="b"))),  # another site's name, and its true signature
                encode(Task(study.hash, true.round, 0, "moments", {}, digest, SITES)),  # not a site's to ask
                bytes(2**20 + 1),
                *replayed,
            ]

        assert carried(ward, study, forge) == simulated(study)
        each = [AuthenticationError, AuthenticationError, WireError, MessageTooLargeError]
        assert ward.carrier.refused == [("a", error.code) for error in each] * 2
    passed_over = [record for record in caplog.records if "another question" in record.getMessage()]
    assert [(vars(one)["site"], vars(one)["code"]) for one in passed_over] == [("a", WireError.code)]


def test_a_site_that_signs_another_s_name_is_left_out_of_that_round_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = two_rounds("none")
    with wards(tmp_path, "none") as ward:
        a = ward.nodes["a"].site.identity

        def forge(true: Contribution) -> Sequence[bytes]:
            return [encode(signed(a, replace(true, site="b")))] if true.round == 0 else []

        carried(ward, study, forge)
    with closing(sqlite3.connect(tmp_path / "coordinator.db")) as connection:
        rows = connection.execute("SELECT detail FROM events WHERE kind = 'round' ORDER BY sequence")
        rounds = [json.loads(detail)["sites"] for (detail,) in rows]
    assert rounds == [["b", "c"], ["a", "b", "c"]]
    codes = {vars(one).get("code") for one in caplog.records if "another site" in one.getMessage()}
    assert codes == {WireError.code}
