"""What a node, its commands and its links say of a fault, obeyed once each."""

import asyncio
import logging
import math
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from typer.testing import CliRunner

import fedcohort as fc
from fedcohort.cli import federation
from fedcohort.cli.app import app
from fedcohort.cli.support import read_secret_files
from fedcohort.engines.websocket import CoordinatorSettings, serve_coordinator
from fedcohort.errors import FedcohortError, LinkClosedError
from fedcohort.node import heads
from fedcohort.node.answer import answer
from fedcohort.node.budgets import Budget
from fedcohort.node.consent import LocalSite, approve, find_proposal
from fedcohort.node.heads import WRITTEN_OFF
from fedcohort.node.keys import RosterFolder, confirm, make_card
from fedcohort.node.ledger import accounts
from fedcohort.node.perturb import perturb
from fedcohort.node.policy import check_study, read_policy
from fedcohort.node.refund import refund
from fedcohort.node.settle import settle
from fedcohort.node.store import SqlNodeStore
from fedcohort.protection import ckks_worker
from fedcohort.protection.ckks_process import TensealProcess
from fedcohort.wire.codec import encode
from fedcohort.wire.identity import new_identity
from fedcohort.wire.messages import Contribution
from fedcohort.wire.transport import listen
from tests.build import TABLE, free_port, ward_rows, write_ward
from tests.cli.data.test_cli_import import MAPPING
from tests.cli.test_cli_roster import Ward, command, spoken, ward

from .node.test_answer import NOW, Bench, task
from .node.test_budgets import Hospital, exact_before
from .node.test_keys import Federation
from .node.test_ledger import policy as ledger_policy
from .node.test_ledger import propose, study
from .node.test_perturb import policy as perturb_policy
from .patience import PATIENCE_SECONDS
from .remedies_obeyed_work import Lacks, install, write
from .remedy_rows import Row, obey, pattern, refusal
from .test_remedies_of_sites import IMPORT, SITE, WARD, policy, run
from .wire.support import certify, dial_node, node_side, running_coordinator, tcp_server
from .wire.test_proxy import IN_URL, exchange_one, running_proxy

__all__ = ["command", "ward"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def a_file(name: str) -> Path:
    """Something that stands where a folder should be."""
    path = Path(name)
    if not path.exists():
        path.write_text("no folder")
    return path


def kept_counter(place: str, *, mended: bool = False) -> Callable[[], object]:
    """Whether a counter agrees with a log that it has counted; mended, nothing is in its way any more."""

    def agree() -> object:
        owner, path = new_identity("a"), Path(place)
        with closing(SqlNodeStore(Path("state") / "node.db")) as store:
            if mended:
                shutil.rmtree(path, ignore_errors=True)
                path.unlink(missing_ok=True)
                heads.advance_counter(path, owner, store)
            return heads.counter_matches(path, owner, store)

    return agree


def advanced(place: str) -> Callable[[], object]:
    def advance() -> object:
        a_file("file")
        Path("folder").mkdir(exist_ok=True)
        with closing(SqlNodeStore(Path("state") / "node.db")) as store:
            return heads.advance_counter(Path(place), new_identity("a"), store)  # type: ignore[func-returns-value]

    return advance


def folder_at(place: str) -> Path:
    Path(place).mkdir(exist_ok=True)
    return Path(place)


def nonsense_at(place: str) -> int:
    return Path(place).write_bytes(b"12")


COUNTERS = [
    Row("counter {}: {}; let the node's account read it",
        lambda: (folder_at("x.counter"), kept_counter("x.counter")()),
        kept_counter("x.counter", mended=True)),
    Row("counter {}: not a counter that {} has written; name another file, or restore it",
        lambda: (nonsense_at("x.counter"), kept_counter("x.counter")()),
        lambda: (kept_counter("y.counter", mended=True)(), kept_counter("x.counter", mended=True)())),
    Row("counter {}: {}; let the node's account write its folder",
        advanced("file/a.counter"), advanced("folder/a.counter")),
]  # fmt: skip


def copied(into: str, columns: Any = "*", epsilon: float = 1.0, budget: float = 2.0) -> Callable[[], object]:
    """Write a noisy copy of a ward."""

    def copy() -> object:
        here = Path.cwd()
        site = perturb_policy(here, tables={TABLE: columns}, budget={TABLE: Budget(epsilon=budget)})
        with closing(SqlNodeStore(here / "node.db")) as store:
            return perturb(site, store, TABLE, epsilon, here / into)

    return copy


def with_rows_twice(times: int) -> Callable[[], object]:
    def copy() -> object:
        write_ward(Path(f"{times}.db"), ward_rows(0, 5) * times)
        site = perturb_policy(Path.cwd(), data=f"{times}.db")
        with closing(SqlNodeStore(Path("node.db"))) as store:
            return perturb(site, store, TABLE, 1.0, Path("noisy.db"))

    return copy


COPIES = [
    Row("{}: exists already; name a new file, before the ledger is charged", copied("a.db"), copied("b.db")),
    Row("{}: a patient has several rows; make a table of one row a patient first",
        with_rows_twice(2), with_rows_twice(1)),
    Row("{}: no number with declared bounds; declare them when you import",
        copied("n.db", columns=["sex"]), copied("n.db", columns=["sex", "age"])),
    Row("of {} is left; ask for less, or raise the budget",
        lambda: (copied("1.db", epsilon=1.5)(), copied("2.db", epsilon=1.0)()),
        lambda: (copied("3.db", epsilon=0.4)(), copied("4.db", epsilon=1.0, budget=9.0)())),
]  # fmt: skip


def secret_in(content: bytes | None) -> Callable[[], object]:
    def read() -> object:
        Path("token").unlink(missing_ok=True)
        if content is not None:
            Path("token").write_bytes(content)
        return read_secret_files({"FEDCOHORT_TOKEN_FILE": "token"})  # type: ignore[func-returns-value]

    return read


def confirmed(folder: str) -> Callable[[], object]:
    def write_down() -> object:
        a_file("file")
        confirm(Path(folder), "b", bytes(32))
        return RosterFolder(Path(folder))()["b"]

    return write_down


def coordinator_on(host: str, port: int = 0) -> Callable[[], object]:
    """Start a coordinator there, and end it as soon as it would be served."""

    class Served(BaseException):
        pass

    def stop() -> None:
        raise Served

    def serve() -> object:
        with pytest.raises(Served):
            serve_coordinator(CoordinatorSettings(Path("state"), host, port), stop)
        return None

    return serve


def listened(host: str, *, tls: bool = False, port: int = 0) -> Callable[[], object]:
    async def wait() -> None:
        certificate = certify(Path.cwd()).certificate if tls else None
        from fedcohort.wire.address import server_tls

        context = server_tls(certificate, certificate) if certificate else None
        server = await listen(host, port, lambda _: asyncio.sleep(0), context)
        server.close()
        await server.wait_closed()

    return lambda: asyncio.run(wait())


def column_kinds(columns: Any) -> Callable[[], object]:
    cohort = fc.Cohort(table="ward", columns=columns)
    exact = fc.Study(name="x", cohort=cohort, analysis=fc.Describe())
    return lambda: check_study(policy(), exact)


def offered(tables: str, columns: tuple[str, ...] = ("age",), table: str = "ward") -> Callable[[], object]:
    kinds = {name: fc.Numeric(18, 90) for name in columns}
    exact = fc.Study(name="x", cohort=fc.Cohort(table=table, columns=kinds), analysis=fc.Describe())
    return lambda: check_study(policy(SITE.replace('ward = "*"', tables)), exact)


def copied_from(tables: dict[str, Any]) -> Callable[[], object]:
    def copy() -> object:
        site = perturb_policy(Path.cwd(), tables=tables, budget={})
        with closing(SqlNodeStore(Path("node.db"))) as store:
            return perturb(site, store, TABLE, 1.0, Path("noisy.db"))

    return copy


def worker(port: int | None) -> Callable[[], object]:
    def read() -> object:
        example = Path(__file__).parents[1] / "examples" / "flat_config" / "config.json"
        shutil.copy(example, "config.json")
        from fedcohort.quickstart.config import read_config, worker_of

        given = worker_of(read_config(Path("config.json")), "hospital_a", Path("config.json")).port
        chosen = given if port is None else port
        return federation._policy_of(None, "hospital_a", chosen, Path("config.json"), "token")

    return read


def node_check(words: str) -> Callable[[], object]:
    """`fedcohort node check` with these words; its verdicts where it gives any."""

    def check() -> object:
        write("site.toml", SITE)
        done = CliRunner().invoke(app, ["node", "check", *words.split()])
        if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert "database: " in done.output
        return None

    return check


def imported(text: str) -> Callable[[], object]:
    def bring_in() -> object:
        write("mapping.toml", MAPPING), write("in.csv", text)
        return run(
            "fedcohort data import csv --from in.csv --into h.db --mapping mapping.toml --keep-identifiers"
        )

    return bring_in


NODES = [
    Row("{}_FILE: {} cannot be read ({}); let the account that runs fedcohort read it, as UTF-8",
        secret_in(None), secret_in(b"secret")),
    Row("{}_FILE: {} is too long to be a secret; let it hold the secret alone",
        secret_in(b"x" * 5000), secret_in(b"secret")),
    Row("{}: {}; make the roster's folder writable", confirmed("file"), confirmed("roster")),
    Row("give --certificate and --key, or listen on 127.0.0.1 behind nginx",
        coordinator_on("0.0.0.0"), coordinator_on("127.0.0.1")),
    Row("{}: plain text is only allowed on this machine itself; give certificate and key",
        listened("0.0.0.0"), listened("0.0.0.0", tls=True)),
    Row("cohort.columns: name each column's kind, as fed.run does before it sends a study",
        column_kinds(["age"]), column_kinds({"age": fc.Numeric(18, 90)})),
    Row("{}: {}; give the site's file by --site",
        lambda: read_policy(Path("none.toml")), lambda: read_policy(write("site.toml", SITE))),
    Row("--port {}: {} gives {} the port {}; change one of them", worker(1), worker(None)),
    Row("give either --site site.toml, or --id of a worker of the configuration",
        node_check(""), node_check("--site site.toml")),
    Row("correct what was refused (a name in the mapping, the delimiter, the file), and import again",
        imported("name,bp\n1,120\n"), imported("mrn,bp\n1,120\n")),
    Row("--refused {}: {}; name a file in a folder that is there",
        lambda: (folder_at("folder"), write("ward.csv", WARD), run(f"{IMPORT} --refused folder")),
        lambda: run(f"{IMPORT} --refused folder/refused.csv")),
]  # fmt: skip


OFFERS = [
    Row("add it to [tables] in site.toml, or let the study take one of {}",
        offered('labs = "*"'),
        lambda: (offered('labs = "*"\nward = "*"')(), offered('labs = "*"', table="labs")())),
    Row("site.toml: tables.{} does not offer {}; add what may be studied to tables.{} in site.toml",
        offered('ward = ["age"]', ("age", "bp")),
        lambda: (offered('ward = ["age", "bp"]', ("age", "bp"))(), offered('ward = ["age"]')())),
    Row("site.toml: tables does not offer {}; add it to [tables] in site.toml",
        copied_from({"other": "*"}), copied_from({"other": "*", TABLE: "*"})),
]  # fmt: skip


@pytest.mark.parametrize("row", [*COUNTERS, *COPIES, *NODES, *OFFERS], ids=lambda row: row.said[:60])
def test_a_deed_succeeds_once_it_is_done_as_told(row: Row) -> None:
    obey(row)


def report() -> None:
    """As far as a report comes without a coordinator."""
    with pytest.raises(LinkClosedError):
        run("fedcohort report abcdef --coordinator http://127.0.0.1:9")


def copies_without_the_patient() -> object:
    folder_at("in")
    write("in/notes.txt", "no image")
    return run("fedcohort data deidentify-dicom --from in --into out")


INSTALLED = [
    Lacks("DICOM is not installed here: pip install", "pydicom", copies_without_the_patient),
    Lacks("a report needs the dashboard's parts: pip install", "fedcohort.dashboard.federation.document",
          report),
]  # fmt: skip


@pytest.mark.parametrize("one", INSTALLED, ids=lambda one: one.module)
def test_what_lacks_a_package_works_once_it_is_there(one: Lacks, monkeypatch: pytest.MonkeyPatch) -> None:
    install(one, monkeypatch)


@pytest.mark.processes
def test_ckks_encrypts_once_tenseal_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported by a process of its own, which finds it on its path."""
    folder_at("absent")
    write("absent/tenseal.py", "raise ModuleNotFoundError('tenseal')\n")
    worker = TensealProcess()
    monkeypatch.setenv("PYTHONPATH", str(Path("absent").resolve()))
    refusal("protection ckks needs TenSEAL: pip install", lambda: worker.ask(ckks_worker.make))
    worker.close()
    monkeypatch.delenv("PYTHONPATH")
    assert len(worker.ask(ckks_worker.make)) == 2
    worker.close()


def test_a_port_that_is_taken_is_left_to_what_listens_there() -> None:
    taken = free_port()

    async def both() -> None:
        server = await listen("127.0.0.1", taken, lambda _: asyncio.sleep(0))
        await asyncio.to_thread(lambda: refusal(
            "{}:{}: cannot be listened on ({}); stop what listens there, or choose another --host or --port",
            coordinator_on("127.0.0.1", taken)))  # fmt: skip
        await asyncio.to_thread(lambda: refusal(
            "{}:{}: cannot listen ({}); choose another port", listened("127.0.0.1", port=taken)
        ))  # fmt: skip
        await asyncio.to_thread(coordinator_on("127.0.0.1", free_port()))
        await asyncio.to_thread(listened("127.0.0.1", port=free_port()))
        server.close()
        await server.wait_closed()

    asyncio.run(both())
    coordinator_on("127.0.0.1", taken)()


def test_a_roster_is_kept_as_its_command_tells(ward: Ward) -> None:
    """What is said of each wrong line, and then the line as it was told."""
    b = spoken(ward.others["b"])
    for words, said in (
        (("--fingerprint", b), "--fingerprint: say by --confirm whose it is"),
        (("--confirm", "z", "--fingerprint", b), "no site 'z' has been announced; those that have: b, c"),
        (("--confirm", "b"), "--fingerprint: give what the other site's operator has read to you"),
        (("--confirm", "b", "--fingerprint", "66"), "give all that the other site's operator reads to you"),
    ):
        assert said in ward.roster(*words).stderr
        assert ward.confirmed() == {}
    assert ward.roster("--confirm", "b", "--fingerprint", b).returncode == 0
    assert ward.confirmed() == {"b": ward.others["b"].public_key}
    broken = ward.folder / "roster" / "b.pub"
    broken.write_text("half a key")
    told = ward.roster().stderr
    line = re.search(r"remove it, and confirm the site again: `fedcohort (roster --confirm b)`", told)
    assert line is not None
    broken.unlink()
    assert ward.roster(*line[1].split()[1:], "--fingerprint", b).returncode == 0
    assert ward.confirmed() == {"b": ward.others["b"].public_key}


def test_a_key_that_somebody_else_announced_is_confirmed_once_the_coordinator_has_the_right_one(
    ward: Ward,
) -> None:
    true = ward.others["b"]
    with closing(SqlNodeStore(ward.folder / "state" / "node.db")) as store:
        store.keep_card("b", encode(make_card(new_identity("b"), X25519PrivateKey.generate())))
    assert "do not go on, and ask the coordinator's operator why" in ward.confirm("b", spoken(true)).stderr
    assert ward.confirmed() == {}
    with closing(SqlNodeStore(ward.folder / "state" / "node.db")) as store:
        store.keep_card("b", encode(make_card(true, X25519PrivateKey.generate())))
    assert ward.confirm("b", spoken(true)).returncode == 0


def test_a_command_that_needs_the_node_s_database_runs_after_the_node_has_run_once(ward: Ward) -> None:
    database = ward.folder / "state" / "node.db"
    database.unlink()
    assert "node.db: no such database; start the node once" in ward.roster().stderr
    SqlNodeStore(database).close()  # as its first start does
    assert ward.roster().returncode == 0


def test_a_peer_is_confirmed_and_shows_its_card_as_it_is_told() -> None:
    sites = Federation()
    a, b = sites.join("a"), sites.join("b")
    key = sites.confirmed.pop("b")
    refusal("{}: compare its fingerprint with that site; then `fedcohort roster --confirm {}`",
            lambda: a.peer("b"))  # fmt: skip
    sites.confirmed["b"] = key  # as that command writes it down
    card = sites.cards.pop("b")
    refusal("{}: has not shown a card under its confirmed key; see `fedcohort roster`", lambda: a.peer("b"))
    sites.cards["b"] = card  # once the site is linked, whose fingerprint that command shows
    assert a.peer("b") == b.card


def test_a_study_s_key_is_read_with_the_agreement_key_of_the_backup() -> None:
    site = Federation().join("a")
    locked = site.lock("study", b"secret")
    other = replace(site, agreement=X25519PrivateKey.generate())
    refusal("agreement.key is not the one that the study's key was stored under; restore it from a backup",
            lambda: other.unlock("study", locked))  # fmt: skip
    assert replace(other, agreement=site.agreement).unlock("study", locked) == b"secret"


def test_a_study_is_answered_once_it_is_approved_as_the_log_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    with caplog.at_level(logging.WARNING):
        answer(bench.node(), task())
        assert "nobody has approved study" in caplog.text
        assert "see `fedcohort approve`" in caplog.text
        answer(bench.approved(expires_at=int(NOW) - 60), task())
        assert "the approval has expired; approve the study again" in caplog.text
    assert isinstance(answer(bench.approved(), task()), Contribution)
    for store in bench.stores:
        store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    store = SqlNodeStore(tmp_path / "state" / "node.db")
    yield LocalSite(ledger_policy(tmp_path), new_identity("a"), store)
    store.close()


def test_a_study_is_found_by_what_the_list_of_studies_says(site: LocalSite) -> None:
    for name in ("first", "second"):
        propose(site, study(name))
    refusal("{} studies begin with {}; `fedcohort approve` lists them", lambda: find_proposal(site, ""))
    write("site.toml", SITE)
    listed = run("fedcohort approve").splitlines()
    assert sorted(line.split()[-1] for line in listed) == ["first", "second"]
    found = next(line.split()[0] for line in listed if line.endswith("first"))
    assert find_proposal(site, found).study_hash == study("first").hash


def test_a_researcher_s_next_study_is_approved_once_the_limit_is_raised(site: LocalSite) -> None:
    limited = replace(site, policy=site.policy.model_copy(update={"studies_a_day": 1, "approval": "ask"}))
    raised = replace(limited, policy=limited.policy.model_copy(update={"studies_a_day": 2}))
    ada = new_identity("ada")
    propose(site, study("first", 0.1), ada)
    with pytest.raises(AssertionError):  # an event says that somebody is asked
        propose(limited, study("second", 0.1), ada)
    second = study("second", 0.1).hash
    refusal("approve it later, or raise studies_a_day", lambda: approve(limited, second))
    assert approve(raised, second).approved


def test_after_a_write_off_a_larger_budget_gives_more_as_it_is_told(site: LocalSite) -> None:
    propose(site, study("first"))
    site.store.note(WRITTEN_OFF, detail={"epoch": 1, "sequence": 9})
    store = site.store
    assert isinstance(store, SqlNodeStore)
    refusal("nothing is given back, and only a larger budget in site.toml gives more",
            lambda: refund(site, store, study("first").hash))  # fmt: skip
    larger = site.policy.model_copy(update={"budget": {"records": Budget(epsilon=30.0, delta=1e-3)}})
    before, after = (accounts(one, store.reservations(), store.costs())[0].left
                     for one in (site.policy, larger))  # fmt: skip
    assert before is not None
    assert after is not None
    assert after[0] > before[0]


def test_exact_answers_are_settled_as_it_is_told(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path)
    asked_exactly = exact_before(hospital)
    number = asked_exactly.hash[:8]
    words = re.search(r'such as "(.+)"', refusal(
        '--because: say in {} words or more why these answers do not count as infinite, such as',
        lambda: settle(hospital.store, number, "", 0.0)))  # fmt: skip
    assert words is not None
    refusal("--as-epsilon: give a number that is 0 or more",
            lambda: settle(hospital.store, number, words[1], math.inf))  # fmt: skip
    refusal("{} studies that count as infinite begin with {}; `fedcohort ledger` lists them",
            lambda: settle(hospital.store, "ffff", words[1], 0.0))  # fmt: skip
    settle(hospital.store, number, words[1], 0.0)
    assert hospital.store.details("settled")[0]["because"] == words[1]
    hospital.store.close()


async def linked(url: str, ca_file: Path | None = None) -> None:
    link = await dial_node(url, node_side(), ca_file)
    await link.close("test-ended")


async def told(said: str, url: str, ca_file: Path | None = None) -> None:
    """That a link is refused in these words."""
    with pytest.raises(FedcohortError, match=pattern(said)):
        await linked(url, ca_file)


def test_a_link_stands_once_its_address_and_authority_are_given_as_told(tmp_path: Path) -> None:
    tls = certify(tmp_path)

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), running_coordinator(tls=tls) as coordinator:
            url = f"wss://localhost:{coordinator.port}"
            async with tcp_server(web) as port:
                await told("{}: answered HTTP {}; give the address of a coordinator or node",
                           f"ws://localhost:{port}")  # fmt: skip
            await told("{}: cannot be reached ({}); check address, network, HTTPS_PROXY and NO_PROXY",
                       f"wss://localhost:{free_port()}", tls.ca_file)  # fmt: skip
            await told("{}: the certificate is not trusted ({}); give its CA by --ca-file", url)
            await linked(url, tls.ca_file)

    asyncio.run(main())


def test_a_proxy_lets_a_link_through_once_it_is_set_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certify(tmp_path)

    async def no_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 this is another protocol\r\n")
        await writer.drain()

    async def refused(said: str, proxy: Any, password: str = IN_URL) -> None:
        with pytest.raises(FedcohortError, match=pattern(said)):
            await exchange_one(tls, proxy, monkeypatch, password)

    async def main() -> None:
        async with running_proxy() as proxy:
            await refused("{}: the proxy refused user name or password (HTTP {}); set HTTPS_PROXY=",
                          proxy, "x")  # fmt: skip
            await exchange_one(tls, proxy, monkeypatch, IN_URL)  # percent-encoded
            proxy.forbids = True
            await refused("the proxy cannot or may not connect there (HTTP {}); ask for this host and port",
                          proxy)  # fmt: skip
            proxy.forbids = False  # as who runs the proxy does
            async with tcp_server(no_proxy) as port:
                await refused("{}: the proxy did not answer as one; check HTTPS_PROXY",
                              SimpleNamespace(port=port))  # fmt: skip
            await exchange_one(tls, proxy, monkeypatch, IN_URL)

    asyncio.run(main())
