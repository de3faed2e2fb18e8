"""The demo: a coordinator, hospitals and the dashboard as processes of this machine, and one study.

Each hospital has its own database and answers through its own node. Everything
lives in a temporary folder and ends with this process.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fedcohort.columns import Categorical
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import ConfigError, FedcohortError, LinkClosedError
from fedcohort.local_token import read_token, token_file, write_token
from fedcohort.node.keys import enrol
from fedcohort.quickstart.config import read_config
from fedcohort.quickstart.demo_processes import Processes, console, processes
from fedcohort.quickstart.federation_files import flat_study, worker_data
from fedcohort.researcher.client import connect
from fedcohort.sources.catalogue.schema import PATIENT_ID, RECORDS, Declared, wide_table
from fedcohort.sources.datasets import breast_cancer, heart_disease
from fedcohort.sources.datasets.synthetic import FEATURES, simulated_rows, synthesize
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import declare_numeric, write_rows
from fedcohort.study import Cohort, Study, Train
from fedcohort.wire.identity import load_or_create

COORDINATOR_PORT, DASHBOARD_PORT = 8760, 5000
START_SECONDS = 60.0
SYNTHETIC_PATIENTS, RECORD_PATIENTS = 1500, 1000
RECORD_COLUMNS = {"age": "age", "sex": "sex", "bp": "systolic_bp", "chol": "cholesterol"}
"""Columns of the README's table, and which simulated measurement each is."""
RECORD_BOUNDS: Mapping[str, tuple[float, float, str | None]] = {
    "age": (18, 90, "years"),
    "sex": (0, 1, None),
    "bp": (80, 200, "mm Hg"),
    "chol": (0, 600, "mg/dl"),
}
PROTECTIONS = ("none", "masks", "paillier")
KEY = "researcher.key"


@dataclass(frozen=True)
class DemoPlan:
    """The demo's hospitals with their databases, and its study."""

    databases: Mapping[str, str]
    tables: tuple[str, ...]
    study: Study


def free_port(usual: int, what: str, wanted: int | None = None) -> int:
    """The wanted port; or the usual one, or another with a line that says so.

    Raises:
        ConfigError: the wanted port is in use.
    """
    for port in (wanted,) if wanted else (usual, 0):
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            taken = int(probe.getsockname()[1])
        if taken != (wanted or usual):
            console.print(f"Port {usual} is in use: the {what} takes {taken}.")
        return taken
    if wanted:
        raise ConfigError(f"port {wanted} for the {what} is in use; give another, or stop what listens there")
    raise ConfigError("no port is free on this machine")


def write_records(databases: Iterable[str | Path]) -> None:
    """The table `records` that the README asks about, with simulated patients.

    Raises:
        StoreError: a database cannot be written.
    """
    columns = {name: declare_numeric(*bounds) for name, bounds in RECORD_BOUNDS.items()}
    columns["disease"] = Declared(Categorical((0, 1)))
    for index, database in enumerate(databases):
        rows = [_record(row) for row in simulated_rows(index, RECORD_PATIENTS, 0)]
        write_rows(database, wide_table(RECORDS, columns), columns, rows, MADE_UP)


def _record(row: Mapping[str, Any]) -> dict[str, object]:
    measured = dict(zip(FEATURES, row["features"], strict=True))
    values = {name: _within(measured[of], *RECORD_BOUNDS[name][:2]) for name, of in RECORD_COLUMNS.items()}
    return {PATIENT_ID: row[PATIENT_ID], **values, "disease": int(row["label"])}


def _within(value: float | None, low: float, high: float) -> float | None:
    return None if value is None else min(max(value, low), high)


def breast_cancer_plan(folder: Path) -> DemoPlan:
    """569 real patients over three hospitals, by the rule of `sources/datasets/breast_cancer.py`."""
    reports = breast_cancer.import_breast_cancer(folder)
    columns = tuple(name for name in breast_cancer.COLUMNS if name != "malignant")
    study = Study(
        name="Is the tumour malignant?",
        cohort=Cohort(table="breast_cancer", columns=columns, label="malignant"),
        analysis=Train(model="mlp_medical", rounds=30),
        min_sites=2,
    )
    databases = {Path(report.database).stem: report.database for report in reports}
    write_records(databases.values())
    return DemoPlan(databases, ("breast_cancer", RECORDS), study)


def heart_disease_plan(folder: Path, source: Path) -> DemoPlan:
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
    databases = {Path(report.database).stem: report.database for report in reports}
    write_records(databases.values())
    return DemoPlan(databases, ("heart_disease", RECORDS), study)


def config_plan(path: Path) -> DemoPlan:
    """The federation of a config.json; databases that are missing are synthesised."""
    config = read_config(path)
    databases = {worker.id: worker_data(path, worker) for worker in config.workers}
    for index, database in enumerate(databases.values()):
        if "://" not in database and not Path(database).exists():
            synthesize(database, index, SYNTHETIC_PATIENTS, 0)
    return DemoPlan(databases, (RECORDS,), flat_study(config, path.stem))


def run_demo(
    make_plan: Callable[[Path], DemoPlan],
    *,
    exit_when_done: bool,
    port: int | None = None,
    coordinator_port: int | None = None,
) -> None:
    """Start everything, run the study, and keep serving until interrupted.

    Args:
        port, coordinator_port: of the page and of the coordinator; None takes the usual ones, or free ones.
    Raises:
        FedcohortError: what could not be started, or why the study failed.
    """
    with processes() as group, contextlib.suppress(KeyboardInterrupt):
        began = time.monotonic()
        ports = Ports(
            free_port(COORDINATOR_PORT, "coordinator", coordinator_port),
            free_port(DASHBOARD_PORT, "dashboard", port),
        )
        console.print("Writing the hospitals' databases.")
        plan = make_plan(group.folder)
        n_sites = len(plan.databases)
        console.print(f"Starting a coordinator, {n_sites} hospitals and their page.")
        _start_coordinator(group, plan, ports.coordinator)
        _start_page(group, ports)
        _start_nodes(group, plan, ports.coordinator)
        _wait_for_page(group, ports)
        console.print(
            f"The hospitals come within seconds to the page, which is open: [bold]{ports.page}[/bold]"
        )
        _wait_for_hospitals(group, ports, n_sites)
        console.print(f"{n_sites} hospitals are linked. Watch them train: [bold]{ports.page}[/bold]")
        with connect(ports.url, key_file=group.folder / KEY) as federation:
            result = federation.run(plan.study)
        console.print(f"{result!r} after {time.monotonic() - began:.0f} s")
        if not exit_when_done:
            console.print(f"Still serving {ports.page} and {ports.url}. Ctrl-C ends everything.")
            console.print(_how_to_ask(plan, ports.url))
            while True:
                group.check()
                time.sleep(0.5)


@dataclass(frozen=True)
class Ports:
    """Where coordinator and page are, on this machine."""

    coordinator: int
    dashboard: int

    @property
    def url(self) -> str:
        """Of the coordinator."""
        return f"http://127.0.0.1:{self.coordinator}"

    @property
    def page(self) -> str:
        """Of the dashboard."""
        return f"http://127.0.0.1:{self.dashboard}"


def _how_to_ask(plan: DemoPlan, url: str) -> str:
    tables = " and ".join(f"`{table}`" for table in plan.tables)
    return (
        f'Ask them something yourself: on the page, or by fc.connect("{url}") in Python. The hospitals '
        f"offer {tables}."
    )


def _start_coordinator(group: Processes, plan: DemoPlan, port: int) -> None:
    state = group.folder / "coordinator"
    group.remove_later(token_file(port))
    with contextlib.closing(CoordinatorStore(state / "coordinator.db")) as store:
        members = Members(store)
        members.keep_token(token_file(port))
        for site in plan.databases:
            write_token(group.folder / f"{site}.token", members.invite_site(site))
    group.start("coordinator", "--port", str(port), "--state", str(state), "--preload", log="coordinator.log")


def _start_page(group: Processes, ports: Ports) -> None:
    key = group.folder / KEY
    load_or_create(key, "researcher")
    words = ["--port", str(ports.dashboard), "--coordinator", ports.url, "--researcher-key", str(key)]
    group.start("dashboard", *words, log="dashboard.log")


def _start_nodes(group: Processes, plan: DemoPlan, port: int) -> None:
    protections = sorted({*PROTECTIONS, plan.study.protection})
    offers = "".join(f'{table} = "*"\n' for table in plan.tables)
    for site, database in plan.databases.items():
        policy = group.folder / f"{site}.toml"
        policy.write_text(
            '# Written by `fedcohort demo`, which approves by itself; a hospital writes approval = "ask".\n'
            f'id = "{site}"\ndata = "{_toml(database)}"\ncoordinator = "ws://127.0.0.1:{port}"\n'
            f'state = "{site}"\ncounter = "{site}.counter"\n'
            f'approval = "auto"\nprotections = {json.dumps(protections)}\n\n'
            f"[tables]\n{offers}",
            encoding="utf-8",
        )
        enrol(group.folder / "roster", site, group.folder / site / "site.key")
        environment = {"FEDCOHORT_JOIN_TOKEN": read_token(group.folder / f"{site}.token") or ""}
        group.start("node", "--site", str(policy), "--preload", log=f"{site}.log", environment=environment)


def _toml(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _wait_for_page(group: Processes, ports: Ports) -> None:
    def serves() -> bool:
        try:
            return httpx.get(f"{ports.page}/readyz", trust_env=False, timeout=5.0).is_success
        except httpx.HTTPError:
            return False

    _wait_until(group, serves, "the page was not served")


def _wait_for_hospitals(group: Processes, ports: Ports, n_sites: int) -> None:
    def linked() -> bool:
        try:
            with connect(ports.url, key_file=group.folder / KEY) as federation:
                return len(federation.catalogue()) == n_sites
        except LinkClosedError:
            return False

    _wait_until(group, linked, "the hospitals were not linked")


def _wait_until(group: Processes, is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        group.check()
        if is_so():
            return
        time.sleep(0.2)
    raise FedcohortError(f"{otherwise} within {START_SECONDS:g} s; start the demo again on a quieter machine")
