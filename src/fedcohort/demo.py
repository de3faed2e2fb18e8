"""The demo: a coordinator, hospitals and the dashboard as processes of this machine, and one study.

Each hospital has its own database and answers through its own node. Everything
lives in a temporary folder and ends with this process.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rich.console import Console

from fedcohort.client import connect
from fedcohort.config import read_config
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import ConfigError, FedcohortError, LinkClosedError
from fedcohort.federation_files import flat_study, worker_data
from fedcohort.node.keys import enrol
from fedcohort.sources import breast_cancer, heart_disease
from fedcohort.sources.synthetic import synthesize
from fedcohort.study import Cohort, Study, Train

COORDINATOR_PORT, DASHBOARD_PORT = 8760, 5000
START_SECONDS, STOP_SECONDS = 60.0, 5.0
SYNTHETIC_PATIENTS = 1500

console = Console()


@dataclass(frozen=True)
class Plan:
    """Which hospitals, with which databases, answer which study."""

    databases: Mapping[str, str]
    table: str
    study: Study


@dataclass
class Processes:
    """Child processes, all of which end with the block.

    Attributes:
        busy: a process is being started or ended; a signal that comes now waits until that is done.
        told: such a signal has come.
    """

    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    busy: bool = False
    told: bool = False

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Take Ctrl-C and SIGTERM; never between a child's start and its entry in `running`."""
        self.told = True
        if not self.busy:
            raise KeyboardInterrupt

    def start(self, *arguments: str, log: str, environment: Mapping[str, str] | None = None) -> None:
        """Start `fedcohort ARGUMENTS`, its log in the demo's folder."""
        command = [sys.executable, "-m", "fedcohort", *arguments]
        self.busy = True
        with (self.folder / log).open("wb") as file:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **(environment or {})},
            )
        self.running.append(process)
        self.busy = False
        if self.told:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise when a process has ended.

        Raises:
            ConfigError: with the last lines of its log.
        """
        for process in self.running:
            if process.poll() is not None:
                logs = "\n".join(
                    path.read_text(errors="replace")[-500:] for path in sorted(self.folder.glob("*.log"))
                )
                raise ConfigError(f"a process of the demo ended with {process.returncode}:\n{logs}")

    def stop(self) -> None:
        """End all of them; a second Ctrl-C does not hinder it."""
        self.busy = True
        for process in reversed(self.running):
            with contextlib.suppress(OSError):
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def processes() -> Iterator[Processes]:
    """A temporary folder and the processes in it; SIGTERM ends them as Ctrl-C does."""
    folder = Path(tempfile.mkdtemp(prefix="fedcohort-demo-"))
    group = Processes(folder)
    before = {number: signal.signal(number, group.interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield group
    finally:
        group.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
        shutil.rmtree(folder, ignore_errors=True)


def free_port(wanted: int, what: str) -> int:
    """The wanted port, or another with a line that says so."""
    for port in (wanted, 0):
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
        if found != wanted:
            console.print(f"Port {wanted} is in use: the {what} takes {found}.")
        return found
    raise ConfigError("no port is free on this machine")


def breast_cancer_plan(folder: Path) -> Plan:
    """569 real patients over three hospitals, by the rule of `sources/breast_cancer.py`."""
    reports = breast_cancer.import_breast_cancer(folder)
    columns = tuple(name for name in breast_cancer.COLUMNS if name != "malignant")
    study = Study(
        name="Is the tumour malignant?",
        cohort=Cohort(table="breast_cancer", columns=columns, label="malignant"),
        analysis=Train(model="mlp_medical", rounds=30),
        min_sites=2,
    )
    return Plan({Path(report.database).stem: report.database for report in reports}, "breast_cancer", study)


def heart_disease_plan(folder: Path, source: Path) -> Plan:
    """The four hospitals of UCI Heart Disease, 740 patients after FLamby's cleaning."""
    reports = heart_disease.import_heart_disease(source, folder)
    names = [name for name in heart_disease.COLUMNS if name not in ("disease", "set")]
    split = "set" if (source / "split.csv").exists() else None
    cohort = Cohort(table="heart_disease", columns=tuple(names), label="disease")
    if split:
        cohort = cohort.model_copy(update={"split": split})
    study = Study(
        name="Has the patient heart disease?", cohort=cohort, analysis=Train(model="mlp_medical", rounds=30)
    )
    return Plan({Path(report.database).stem: report.database for report in reports}, "heart_disease", study)


def config_plan(path: Path) -> Plan:
    """The federation of a config.json; databases that are missing are synthesised."""
    config = read_config(path)
    databases = {worker.id: worker_data(path, worker) for worker in config.workers}
    for index, database in enumerate(databases.values()):
        if "://" not in database and not Path(database).exists():
            synthesize(database, index, SYNTHETIC_PATIENTS, 0)
    return Plan(databases, "records", flat_study(config, path.stem))


def run_demo(make_plan: Callable[[Path], Plan], *, exit_when_done: bool) -> None:
    """Start everything, run the study, and keep serving until interrupted.

    Raises:
        FedcohortError: what could not be started, or why the study failed.
    """
    with processes() as group, contextlib.suppress(KeyboardInterrupt):
        plan = make_plan(group.folder)
        coordinator, dashboard = (
            free_port(COORDINATOR_PORT, "coordinator"),
            free_port(DASHBOARD_PORT, "dashboard"),
        )
        began = time.monotonic()
        url = f"http://127.0.0.1:{coordinator}"
        _start_coordinator(group, plan, coordinator)
        group.start("dashboard", "--port", str(dashboard), "--coordinator", url, log="dashboard.log")
        _start_nodes(group, plan, coordinator)
        _wait_for(group, url, len(plan.databases))
        page = f"http://127.0.0.1:{dashboard}"
        console.print(f"{len(plan.databases)} hospitals are linked. Watch them train: [bold]{page}[/bold]")
        with connect(url, key_file=group.folder / "researcher.key") as federation:
            result = federation.run(plan.study)
        console.print(f"{result!r} after {time.monotonic() - began:.0f} s")
        if not exit_when_done:
            console.print(f"Still serving {page} and {url}. Ctrl-C ends everything.")
            while True:
                group.check()
                time.sleep(0.5)


def _start_coordinator(group: Processes, plan: Plan, port: int) -> None:
    state = group.folder / "coordinator"
    store = CoordinatorStore(state / "coordinator.db")
    for site in plan.databases:
        token = Members(store).invite_site(site)
        (group.folder / f"{site}.token").write_text(token, encoding="ascii")
    store.close()
    group.start("coordinator", "--port", str(port), "--state", str(state), "--preload", log="coordinator.log")


def _start_nodes(group: Processes, plan: Plan, port: int) -> None:
    for site, database in plan.databases.items():
        policy = group.folder / f"{site}.toml"
        policy.write_text(
            '# Written by `fedcohort demo`, which approves by itself; a hospital writes approval = "ask".\n'
            f'id = "{site}"\ndata = "{_toml(database)}"\ncoordinator = "ws://127.0.0.1:{port}"\n'
            f'state = "{site}"\napproval = "auto"\nprotections = ["{plan.study.protection}"]\n\n'
            f'[tables]\n{plan.table} = "*"\n',
            encoding="utf-8",
        )
        enrol(group.folder / "roster", site, group.folder / site / "site.key")
        token = (group.folder / f"{site}.token").read_text(encoding="ascii")
        environment = {"FEDCOHORT_JOIN_TOKEN": token}
        group.start("node", "--site", str(policy), "--preload", log=f"{site}.log", environment=environment)


def _toml(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _wait_for(group: Processes, url: str, n_sites: int) -> None:
    key_file = group.folder / "researcher.key"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        group.check()
        try:
            with connect(url, key_file=key_file) as federation:
                if len(federation.catalogue()) == n_sites:
                    return
        except LinkClosedError:
            pass
        time.sleep(0.2)
    raise FedcohortError(
        f"the hospitals were not linked within {START_SECONDS:g} s; see the logs in {group.folder}"
    )
