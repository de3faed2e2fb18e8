"""`fedcohort coordinator …`, `node …` and `approve`: the commands of the processes that run long."""

import asyncio
import contextlib
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.data.hl7 import receive_hl7
from fedcohort.cli.members import DEFAULT_STATE, Database, State, audit, invite, remove, revoke
from fedcohort.cli.operate import backup_coordinator, backup_node, forget
from fedcohort.cli.pages import page
from fedcohort.cli.support import (
    DEFAULT_CONFIG,
    CaFile,
    Config,
    LogForm,
    SiteFile,
    announce,
    console,
    existing,
    say_whole,
)
from fedcohort.errors import ConfigError
from fedcohort.logs import LogFormat, log_to_stderr

if TYPE_CHECKING:
    from fedcohort.node.policy import SitePolicy

coordinator_app = typer.Typer(help="Run the coordinator, or invite sites and researchers.")
node_app = typer.Typer(help="Run a hospital's node, or check that it can.")

Preload = Annotated[
    bool, typer.Option(help="Import TensorFlow at the start instead of at the first training.")
]


@coordinator_app.callback(invoke_without_command=True)
def coordinator(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="A config.json whose workers are dialled.")] = None,
    state: State = DEFAULT_STATE,
    host: Annotated[
        str, typer.Option(help="Address to listen on; off this machine TLS is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for links, REST and health.")] = 8760,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate chain, in PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="TLS private key, in PEM.")] = None,
    database: Database = None,
    require_token: Annotated[
        bool, typer.Option("--require-token", hidden=True, help="Always so; units of before may say it.")
    ] = False,
    ca_file: CaFile = None,
    preload: Preload = False,
    log_format: LogForm = LogFormat.text,
) -> None:
    """Run the coordinator until Ctrl-C."""
    if context.invoked_subcommand:
        return
    from fedcohort.engines.websocket import CoordinatorSettings, serve_coordinator

    log_to_stderr(log_format)
    if config is not None or (state == DEFAULT_STATE and DEFAULT_CONFIG.exists()):
        state = _join_workers(config or DEFAULT_CONFIG, database, port)
    _preload(preload)
    settings = CoordinatorSettings(state, host, port, database, certificate, key, ca_file)
    words = f"The coordinator listens on {host}:{port}. Ctrl-C ends it."
    if require_token:
        announce(log_format, "--require-token: every call needs a token now; leave the option out.")
    serve_coordinator(settings, partial(announce, log_format, words))


def _join_workers(config_path: Path, database: str | None, port: int) -> Path:
    """Invite every worker of a config.json, and this machine's user; returns the coordinator's folder."""
    from fedcohort.coordinator.members import Members
    from fedcohort.coordinator.store import CoordinatorStore
    from fedcohort.local_token import token_file
    from fedcohort.quickstart.config import read_config
    from fedcohort.quickstart.federation_files import join_token, state_folder, worker_url
    from fedcohort.storage.durable import lock_folder

    folder = state_folder(config_path)
    held = lock_folder(folder / "coordinator")
    store = CoordinatorStore(database or folder / "coordinator" / "coordinator.db", exclusive=True)
    members = Members(store)
    sites = members.sites()
    for worker in read_config(config_path).workers:
        if worker.id not in sites or sites[worker.id]["public_key"] is None:
            members.invite_site(worker.id, join_token(folder, worker.id), worker_url(worker))
    members.keep_token(token_file(port))
    store.close()
    held.close()
    return folder / "coordinator"


def _preload(wanted: bool) -> None:
    if wanted:
        from fedcohort.models.start import start_tensorflow

        threading.Thread(target=start_tensorflow, daemon=True).start()


for command in (invite, revoke, remove, audit):
    coordinator_app.command()(command)
coordinator_app.command("backup")(backup_coordinator)
node_app.command("backup")(backup_node)
node_app.command("hl7")(receive_hl7)
for own in (forget, page):
    node_app.command()(own)


@node_app.callback(invoke_without_command=True)
def node(
    context: typer.Context,
    site: Annotated[Path | None, typer.Option("--site", help="site.toml of this hospital.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Which worker of the configuration this is.")] = None,
    port: Annotated[int | None, typer.Option(help="The worker's port, as the configuration has it.")] = None,
    config: Config = DEFAULT_CONFIG,
    token: Annotated[
        str | None, typer.Option(envvar="FEDCOHORT_JOIN_TOKEN", help="One-time token to join.")
    ] = None,
    ca_file: CaFile = None,
    newest_copy: Annotated[
        bool,
        typer.Option(
            "--newest-copy",
            help="Your word, for this start, that node.db is its newest copy and no older one was restored.",
        ),
    ] = False,
    preload: Preload = False,
    log_format: LogForm = LogFormat.text,
) -> None:
    """Run this hospital's node until Ctrl-C."""
    if context.invoked_subcommand:
        return
    from fedcohort.engines.websocket import serve_node
    from fedcohort.node.running import open_node

    log_to_stderr(log_format)
    policy, token = _policy_of(site, id, port, config, token)
    if ca_file:
        policy = policy.model_copy(update={"ca_file": ca_file})
    _preload(preload)
    running = open_node(policy, newest_copy=newest_copy)
    announce(log_format, _where(policy))
    if policy.approval == "auto" and policy.release == "auto":
        words = 'approval = "auto": this node answers every study that its policy allows, without asking.'
        announce(log_format, words)
    if policy.release == "person":
        words = 'release = "person": each answer waits for `fedcohort release`, or for the hospital\'s page.'
        announce(log_format, words)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(serve_node(running, token))


def _where(policy: "SitePolicy") -> str:
    if policy.listen:
        return f"{policy.id} listens on {policy.listen.host}:{policy.listen.port}. Ctrl-C ends it."
    return f"{policy.id} dials {policy.coordinator}. Ctrl-C ends it."


def _policy_of(
    site: Path | None, name: str | None, port: int | None, config_path: Path, token: str | None
) -> tuple["SitePolicy", str | None]:
    """The policy of a site.toml, or of a worker of config.json with its join token."""
    from fedcohort.node.policy import read_policy

    if (site is None) == (name is None):
        raise ConfigError("give either --site site.toml, or --id of a worker of the configuration")
    if site is not None:
        return read_policy(site), token
    from fedcohort.quickstart.config import read_config, worker_of
    from fedcohort.quickstart.federation_files import confirm_own_key, join_token, state_folder, worker_policy

    worker = worker_of(read_config(config_path), str(name), config_path)
    if port is not None and port != worker.port:
        raise ConfigError(
            f"--port {port}: {config_path} gives {worker.id} the port {worker.port}; change one of them"
        )
    policy = worker_policy(config_path, worker)
    confirm_own_key(policy)
    return policy, token or join_token(state_folder(config_path), worker.id)


@node_app.command()
def check(
    site: Annotated[Path | None, typer.Option("--site", help="site.toml of this hospital.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Which worker of the configuration this is.")] = None,
    config: Config = DEFAULT_CONFIG,
    ca_file: CaFile = None,
) -> None:
    """Test name resolution, proxy, TLS, clock, database and disk: a verdict and a remedy a line."""
    from fedcohort.node.check import check_node

    policy, _ = _policy_of(site, id, None, config, None)
    if ca_file:
        policy = policy.model_copy(update={"ca_file": ca_file})
    failed = False
    for verdict in check_node(policy):
        mark = "[green]ok[/green]  " if verdict.ok else "[red]FAIL[/red]"
        console.print(f"{mark} {verdict.what}: ", end="", highlight=False)
        console.print(verdict.remedy, markup=False, highlight=False)
        failed |= not verdict.ok
    raise typer.Exit(1 if failed else 0)


@node_app.command("audit")
def audit_node(site: SiteFile = Path("site.toml")) -> None:
    """Verify that nobody has changed this node's event log, which names every release, or cut it off."""
    from fedcohort.node.heads import check_not_behind
    from fedcohort.node.policy import read_policy
    from fedcohort.node.store import SqlNodeStore

    policy = read_policy(site)
    database = existing(policy.state / "node.db", "start the node once")
    with contextlib.closing(SqlNodeStore(database)) as store:
        newest, length = store.newest(), store.verify()
        check_not_behind(store, policy.id)
    say_whole(newest, length)


def approve(
    study: Annotated[
        str | None, typer.Argument(help="The study's hash, or its beginning; none: list them.")
    ] = None,
    site: SiteFile = Path("site.toml"),
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking again.")] = False,
    refuse: Annotated[bool, typer.Option("--refuse", help="Sign no instead of yes.")] = False,
) -> None:
    """Read in plain words what a study would take from this hospital, and sign yes or no."""
    from fedcohort.explain import explain
    from fedcohort.node import consent
    from fedcohort.node.differencing import differencing_lines
    from fedcohort.node.policy import read_policy
    from fedcohort.node.readiness_trust import countersigning_lines
    from fedcohort.node.store import SqlNodeStore
    from fedcohort.sources.catalogue.described import units_of
    from fedcohort.study import parse_study
    from fedcohort.wire.identity import load_or_create

    policy = read_policy(site)
    database = existing(policy.state / "node.db", "start the node once")
    key = load_or_create(policy.state / "site.key", policy.id)
    here = consent.LocalSite(policy, key, SqlNodeStore(database))
    if study is None:
        proposals = here.store.proposals()
        if not proposals:
            console.print("no study has asked yet", highlight=False)
        for listed in proposals:
            name = parse_study(listed.study).name
            console.print(f"{listed.study_hash[:12]}  {listed.state:9} {name}", markup=False, highlight=False)
        return
    proposal = consent.find_proposal(here, study)
    asked = parse_study(proposal.study)
    units = units_of(policy.data, asked.cohort.table)
    rules, seconds = policy.disclosure, policy.release_seconds
    who = (proposal.researcher, proposal.researcher_key)
    by_site = policy.by_site
    text = explain(asked, *who, units, rules=rules, release_seconds=seconds, by_site=by_site)
    console.print(text, markup=False, highlight=False)
    for line in () if refuse else (*countersigning_lines(policy, asked), *differencing_lines(policy, asked)):
        if line.verdict != "ready":
            text = f"WARNING: {line.what}: {line.found}; {line.remedy}".removesuffix("; ")
            console.print(text, markup=False, highlight=False)
    question = "Refuse this study?" if refuse else f"Sign for {policy.approval_days} days?"
    if not yes and not typer.confirm(question):
        no = "" if refuse else "; --refuse tells the coordinator that this hospital says no"
        console.print(f"nothing was signed{no}", highlight=False)
        raise typer.Exit(1)
    (consent.refuse if refuse else consent.approve)(here, proposal.study_hash)
    console.print("refused" if refuse else "approved; the running node sends it on", highlight=False)
