"""Start coordinators and nodes as real processes in temporary folders, disturb them, and clean up."""

import contextlib
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.disclosure.rules import OPEN
from fedcohort.errors import LinkClosedError
from fedcohort.node.keys import enrol
from fedcohort.researcher.client import Federation, Handle, connect, simulate
from fedcohort.researcher.result import Result
from fedcohort.study import Study
from fedcohort.wire.identity import new_identity
from fedcohort.wire.signing import study_signing_bytes
from tests.build import TABLE, explicit, frame_of, free_port, ward_rows, write_ward
from tests.patience import PATIENCE_SECONDS, until
from tests.processes import forks

SHOWS_ALL = "\n[disclosure]\n" + "".join(f"{name} = {value}\n" for name, value in OPEN.model_dump().items())
"""A ward has few patients: its rules hide nothing, and what the rules hide has tests of its own."""
OFFERS = f'{TABLE} = "*"'
ENDED = ("finished", "failed", "refused")
FEDCOHORT = ("-m", "fedcohort")


def healthy(url: str) -> bool:
    """Whether a coordinator answers there."""
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment, with another home folder, no proxy and wide output."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept = {name: value for name, value in kept.items() if not name.startswith("FEDCOHORT_")}
    return {**kept, "HOME": str(home), "USERPROFILE": str(home), **forks.COLUMNS, **more}


def cli(
    *arguments: str | Path, cwd: Path, seconds: float = PATIENCE_SECONDS, typed: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `fedcohort ARGUMENTS` to its end; `typed` is what a person types."""
    words = [str(word) for word in arguments]
    with tempfile.TemporaryDirectory() as folder:
        files = (Path(folder) / "typed", Path(folder) / "output", Path(folder) / "errors")
        files[0].write_text(typed, encoding="utf-8")
        running = forks.start(words, cwd, environment(cwd, **more), files)
        if running is not None:
            try:
                code = running.wait(seconds)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait(PATIENCE_SECONDS)
                raise
            output, errors = (path.read_text(encoding="utf-8") for path in files[1:])
            return subprocess.CompletedProcess(words, code, output, errors)
    return subprocess.run(
        [sys.executable, "-m", "fedcohort", *words],
        cwd=cwd,
        env=environment(cwd, **more),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        input=typed,
    )


@dataclass
class Process:
    """`fedcohort ARGUMENTS` as a process; its output goes on in one log over restarts.

    Attributes:
        program: what Python runs in place of the command, and then calls it.
    """

    arguments: Sequence[str]
    folder: Path
    log: Path
    more: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = FEDCOHORT
    popen: subprocess.Popen[bytes] | forks.Forked | None = None

    def start(self) -> Self:
        variables = environment(self.folder, **self.more)
        self.log.touch()
        files = (Path(os.devnull), self.log, self.log)
        if self.program == FEDCOHORT:
            self.popen = forks.start(self.arguments, self.folder, variables, files)
            if self.popen is not None:
                return self
        with self.log.open("ab") as file:
            self.popen = subprocess.Popen(
                [sys.executable, *self.program, *self.arguments],
                cwd=self.folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        return self

    @property
    def text(self) -> str:
        """Everything that it has printed and logged."""
        return self.log.read_text(errors="replace")

    @property
    def lives(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number: int) -> None:
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(number)

    def kill(self) -> None:
        """As kill -9 does: no goodbye, no clean-up."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        assert self.popen is not None
        return self.popen.wait(seconds)


@dataclass
class Group:
    """A coordinator and its nodes, all of which end with the block.

    Attributes:
        far: where nodes dial, when it is not the coordinator's own port.
        database: of the coordinator, when it is not the file in its folder.
        program: of all its processes (`Process`).
    """

    folder: Path
    port: int = field(default_factory=free_port)
    options: Sequence[str] = ()
    coordinator: Process = field(init=False)
    nodes: dict[str, Process] = field(default_factory=dict)
    others: list[Process] = field(default_factory=list)
    given: str | None = None
    federation: Federation | None = None
    far: str | None = None
    database: str | None = None
    program: Sequence[str] = FEDCOHORT

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = ["coordinator", "--port", str(self.port), "--state", str(self.state), *self.options]
        more = {"FEDCOHORT_DATABASE": self.database} if self.database else {}
        log = self.folder / "coordinator.log"
        self.coordinator = Process(arguments, self.folder, log, more, self.program)

    @property
    def state(self) -> Path:
        return self.folder / "coordinator"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        every = [*self.nodes.values(), *self.others, self.coordinator]
        for process in every:
            process.signal(signal.SIGKILL)
        for process in every:
            if process.popen is not None:
                process.wait()
        if self.federation is not None:
            self.federation.rest.client.close()

    def members(self, work: Callable[[Members], str]) -> str:
        """Invite and the like, as the operator's command does beside the running process."""
        store = CoordinatorStore(self.database or self.state / "coordinator.db")
        try:
            return work(Members(store))
        finally:
            store.close()

    def site_file(
        self, site: str, database: Path | str, policy: str = "", tables: str = "", place: str = "."
    ) -> Path:
        """Write site.toml, with the site's state beside it; `policy` is added before [tables]."""
        path = self.folder / place / f"{site}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f'id = "{site}"\ndata = "{database}"\ncoordinator = "{self.far or f"ws://127.0.0.1:{self.port}"}"\n'
            f'state = "{site}"\n'
            + ("" if "approval" in policy else 'approval = "auto"\n')
            + f"{policy}\n[tables]\n{tables or OFFERS}\n"
            + ("" if "[disclosure]" in policy else SHOWS_ALL),
            encoding="utf-8",
        )
        return path

    def node(self, site_file: Path, token: str | None = None, *options: str) -> Process:
        """A node process that is not yet started."""
        more = {} if token is None else {"FEDCOHORT_JOIN_TOKEN": token}
        log = site_file.with_suffix(".log")
        return Process(["node", "--site", str(site_file), *options], self.folder, log, more, self.program)

    def stranger(self, site: str, place: str, token: str | None) -> Process:
        """Start a node that should not get in, with a key of its own; it ends with the block."""
        database = self.folder / "data" / "a.db"
        process = self.node(self.site_file(site, database, place=place), token).start()
        self.others.append(process)
        return process

    def add(
        self, site: str, database: Path | str, policy: str = "", tables: str = "", *options: str
    ) -> Process:
        """Invite a site and start its node."""
        token = self.members(lambda members: members.invite_site(site))
        enrol(self.folder / "roster", site, self.folder / site / "site.key")
        process = self.node(self.site_file(site, database, policy, tables), token, *options)
        self.nodes[site] = process.start()
        return process

    @property
    def token(self) -> str:
        """A researcher's token, as the operator gives it out."""
        if self.given is None:
            self.given = self.members(lambda members: members.issue_token("ada"))
        return self.given

    @property
    def bearer(self) -> dict[str, str]:
        """The token, as a request shows it."""
        return {"Authorization": f"Bearer {self.token}"}

    def cli(self, *arguments: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `fedcohort ARGUMENTS` as the researcher of this federation."""
        more = {"FEDCOHORT_COORDINATOR": self.url, "FEDCOHORT_TOKEN": self.token, **more}
        return cli(*arguments, cwd=cwd, seconds=PATIENCE_SECONDS, typed="", **more)

    def connect(self) -> Federation:
        """As the researcher, over one connection that ends with the block."""
        if self.federation is None:
            self.federation = connect(self.url, self.token, key_file=self.folder / "researcher.key")
        return self.federation

    def linked(self) -> set[str]:
        """The sites that are linked now; none while the coordinator is down."""
        try:
            sites = self.connect().rest.get("/api/federation")["sites"]
        except LinkClosedError:
            return set()
        return {site["id"] for site in sites if site["state"] == "connected"}

    def wait_linked(self, *sites: str) -> None:
        """Wait until these sites, or all, are linked and have told what they offer."""
        wanted = set(sites or self.nodes)

        def here() -> bool:
            return self.linked() >= wanted and set(self.connect().catalogue()) >= wanted

        until(here, f"{', '.join(sorted(wanted))} linked to the coordinator")

    def wait_state(self, handle: Handle, *states: str) -> dict[str, Any]:
        """Wait until a study is in one of these states, and return its status."""

        def there() -> bool:
            with contextlib.suppress(LinkClosedError):
                return handle.state in states
            return False

        until(there, f"study {handle.id[:12]} {' or '.join(states)}")
        return handle.status

    def wait_round(self, handle: Handle, number: int) -> int:
        """Wait until a study has done so many rounds."""
        until(lambda: int(handle.status["round"]) >= number, f"round {number}")
        status = handle.status
        assert status["state"] not in ENDED, f"ended before it could be disturbed: {status}"
        return int(status["round"])

    def submit_unchecked(self, study: Study) -> Handle:
        """Submit as a client might that does not look at the sites' catalogues."""
        identity = new_identity("eve")
        study = explicit(study)
        body = {
            "study": json.loads(study.canonical),
            "public_key": identity.public_key.hex(),
            "signature": identity.sign(study_signing_bytes(study.canonical)).hex(),
        }
        rest = self.connect().rest
        return Handle(rest.post("/api/studies", body)["id"], rest)

    def survivors(self, study_id: str) -> list[list[str]]:
        """The sites in the sum of each round, from the coordinator's event log."""
        with contextlib.closing(sqlite3.connect(self.state / "coordinator.db")) as connection:
            query = "SELECT detail FROM events WHERE kind = 'round' AND study_hash = ? ORDER BY sequence"
            rows = connection.execute(query, (study_id,)).fetchall()
        return [json.loads(detail)["sites"] for (detail,) in rows]

    def run(self, study: Study) -> Result:
        """Run a study to its end."""
        result = self.connect().run(study, progress=False)
        assert isinstance(result, Result)
        return result


@contextlib.contextmanager
def wards(
    folder: Path,
    n_sites: int = 3,
    options: Sequence[str] = (),
    preload: bool = False,
    policy: str = "",
    database: str | None = None,
    program: Sequence[str] = FEDCOHORT,
) -> Iterator[Group]:
    """A coordinator and sites a, b, c … with `ward_rows`, all linked."""
    flags = ["--preload"] if preload else []
    with Group(folder, options=[*options, *flags], database=database, program=program) as group:
        for index, site in enumerate("abcdefgh"[:n_sites]):
            ward = write_ward(folder / "data" / f"{site}.db", ward_rows(index))
            group.add(site, ward, policy, "", *flags)
        group.coordinator.start()
        until(lambda: healthy(group.url), "the coordinator listens")
        group.wait_linked()
        yield group


def simulate_wards(study: Study, n_sites: int = 3) -> Result:
    """The same study on the same patients in this process: the undisturbed result."""
    frames = {site: frame_of(ward_rows(index)) for index, site in enumerate("abcdefgh"[:n_sites])}
    return simulate(frames, disclosure=None if study.privacy else OPEN).run(study, progress=False)


def comparable(result: Result) -> dict[str, Any]:
    """Everything of a result that must be the same to the bit: no names, no times."""
    report = {key: value for key, value in result.report.items() if key not in ("study", "refused")}
    rows = [{key: value for key, value in row.items() if not key.endswith("seconds")} for row in result.rows]
    arrays = {name: array.tobytes() for name, array in result.arrays.items()}
    return {"report": report, "rows": rows, "arrays": arrays}


def random_name() -> str:
    """A study's name that no other test uses, so that it is another study."""
    return f"study {secrets.token_hex(6)}"
