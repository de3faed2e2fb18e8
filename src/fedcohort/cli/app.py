"""The command `fedcohort`; a command imports what it needs when it runs, so that help is fast."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import fedcohort
from fedcohort.cli.data.app import data_app
from fedcohort.cli.federation import approve, coordinator_app, node_app
from fedcohort.cli.ledger import ledger
from fedcohort.cli.pages import dashboard
from fedcohort.cli.people import people_app
from fedcohort.cli.predict import predict
from fedcohort.cli.release import release
from fedcohort.cli.report import report
from fedcohort.cli.roster import roster
from fedcohort.cli.support import (
    DEFAULT_URL,
    CaFile,
    Coordinator,
    StudyName,
    Token,
    console,
    error_console,
    never_fail_to_print,
    open_federation,
    run_command,
)
from fedcohort.errors import ConfigError, StudyFailedError
from fedcohort.refusals import in_words

if TYPE_CHECKING:
    from fedcohort.researcher.client import Handle
    from fedcohort.researcher.result import Result
    from fedcohort.study import Study

app = typer.Typer(
    help="Hospitals answer a question together while every patient's data stays in its hospital.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(coordinator_app, name="coordinator")
app.add_typer(node_app, name="node")
app.add_typer(people_app, name="people")
app.command()(approve)
app.command()(release)
app.command()(report)
app.command()(roster)
app.command()(ledger)
app.command()(predict)
app.command()(dashboard)

StudyFile = Annotated[Path, typer.Argument(help="A study in TOML or JSON, or a flat config.json.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Hospitals answer a question together while every patient's data stays in its hospital."""
    if show:
        console.print(fedcohort.__version__, highlight=False)
        raise typer.Exit


@app.command()
def run(
    study: StudyFile = Path("config.json"),
    coordinator: Coordinator = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
    wait: Annotated[bool, typer.Option(help="Wait for the end; --no-wait prints the study's hash.")] = True,
    save: Annotated[Path | None, typer.Option(help="Folder for report, metrics and model.")] = None,
    as_json: Json = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this study where it was cancelled.")
    ] = False,
) -> None:
    """Sign a study, send it to the coordinator and follow it to its end."""
    question = _read_question(study)
    handle = open_federation(coordinator, token, ca_file).submit(question, resume=resume)
    if not wait:
        console.print(handle.id, highlight=False)
        return
    result = handle.wait(progress=not as_json)
    if save:
        error_console.print(f"saved to {result.save(save)}", highlight=False)
    if as_json:
        print(json.dumps({"id": handle.id, "report": result.report, "metrics": result.rows}))
    else:
        _print_result(result)


def _read_question(path: Path) -> "Study":
    """The study of a file, or of a flat configuration."""
    from fedcohort.researcher.client import load_study

    if path.suffix == ".json":
        try:
            keys = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read as JSON ({error})") from error
        if isinstance(keys, dict) and "workers" in keys:
            from fedcohort.quickstart.config import read_config
            from fedcohort.quickstart.federation_files import flat_study

            return flat_study(read_config(path), path.stem)
    return load_study(path)


def _print_result(result: "Result") -> None:
    """The figures that can be said in words, and who took no part."""
    from rich.table import Table

    from fedcohort.figure_texts import TERMINAL, grid, said
    from fedcohort.figures import first_table
    from fedcohort.texts.look_up import page_texts

    texts, main = page_texts(), first_table(result.figures)
    for figure in result.figures:
        words = grid(figure, texts, TERMINAL)
        if words is None:
            continue
        for note in figure.notes:
            console.print(said(note, texts), markup=False, highlight=False)
        table = Table(title=None if figure is main else words.title)
        for name in words.head:
            table.add_column(name, overflow="fold")
        for row in words.rows:
            table.add_row(*row)
        console.print(table, soft_wrap=False)
    for site, code in result.report.get("refused", {}).items():
        console.print(f"without {site}: {in_words(code)}", markup=False, highlight=False)


@app.command()
def studies(
    coordinator: Coordinator = DEFAULT_URL, token: Token = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """List the studies, the newest first."""
    rows = open_federation(coordinator, token, ca_file).rest.get("/api/studies")["studies"]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        head = f"{row['id'][:12]}  {row['state']:9} {row['round']:>5} exchanges"
        console.print(f"{head}  {row['researcher']}: {row['name']}", markup=False, highlight=False)


@app.command()
def show(
    study: StudyName,
    coordinator: Coordinator = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show one study: its state, what each site said, and its report once it is finished."""
    handle = open_federation(coordinator, token, ca_file).study(study)
    status = handle.status
    if as_json:
        report = handle.result().report if status["state"] == "finished" else None
        print(json.dumps({**status, "report": report}))
        return
    words = f"{status['name']}: {status['state']} after {status['round']} exchanges"
    console.print(words, markup=False, highlight=False)
    for site in status["sites"]:
        code = in_words(site["code"])
        console.print(f"  {site['id']}: {site['state']} {code}".rstrip(), markup=False, highlight=False)
    if status["error"]:
        console.print(
            f"  {status['error']['code']}: {status['error']['message']}", markup=False, highlight=False
        )
    if status["state"] == "finished":
        result = handle.result()
        _print_result(result)


@app.command()
def cancel(
    study: StudyName, coordinator: Coordinator = DEFAULT_URL, token: Token = None, ca_file: CaFile = None
) -> None:
    """End a study that is not finished."""
    handle = _unended(open_federation(coordinator, token, ca_file).study(study))
    handle.cancel()
    console.print(f"{handle.id[:12]}: {handle.state}", highlight=False)


def _unended(handle: "Handle") -> "Handle":
    from fedcohort.researcher.client import ENDED

    if (state := handle.state) in ENDED:
        raise StudyFailedError(f"study {handle.id[:12]} is {state} already")
    return handle


@app.command()
def start(
    study: StudyName, coordinator: Coordinator = DEFAULT_URL, token: Token = None, ca_file: CaFile = None
) -> None:
    """Start a study with the sites that have approved, without waiting for the others."""
    handle = _unended(open_federation(coordinator, token, ca_file).study(study))
    handle.start()
    console.print(f"{handle.id[:12]}: starts with the sites that have approved", highlight=False)


@app.command()
def explain(
    study: StudyFile = Path("config.json"),
    site: Annotated[
        Path | None, typer.Option("--site", help="Fill in what this site declares, units too.")
    ] = None,
    patients: Annotated[
        int | None, typer.Option(min=1, help="Of all hospitals: how well a private study would know them.")
    ] = None,
    sites: Annotated[int, typer.Option(min=1, help="How many hospitals that is for.")] = 3,
) -> None:
    """Say in plain language what a study asks, what leaves a hospital, when, and how it is protected."""
    from fedcohort.expect import PATIENTS
    from fedcohort.explain import explain as words
    from fedcohort.sources.cohort.where.parse import columns_asked, parse_where

    question, units, filled = _read_question(study), None, None
    cohort = question.cohort
    if cohort.where is not None:
        parse_where(cohort.where, cohort.table, columns_asked(cohort.where))
    if site is not None:
        from fedcohort.node.policy import read_policy
        from fedcohort.node.site_events import offered_catalogue
        from fedcohort.sources.catalogue.described import units_of
        from fedcohort.sources.cohort.resolve import resolve_cohort

        policy = read_policy(site)
        units = units_of(policy.data, cohort.table)
        filled = resolve_cohort(cohort, {policy.id: offered_catalogue(policy, None)})
    counted = PATIENTS if patients is None else (patients,)
    text = words(question, units=units, filled=filled, sites=sites, patients=counted)
    console.print(text, markup=False, highlight=False)
    if not cohort.is_explicit:
        if patients is not None and filled is None:
            console.print(
                "\nWhat to expect of so many patients is foreseen where columns and label have a kind each: "
                "write [cohort.columns] and label = {column = ...} in the study, or give --site.",
                markup=False,
                highlight=False,
            )
        console.print(
            "\nSome columns or the label have no kind here. They take what the hospitals declare when the "
            "study is run; the hospitals are shown and sign that study, under a hash of its own.",
            highlight=False,
        )


@app.command()
def demo(
    data: Annotated[str, typer.Option(help="breast-cancer or heart-disease.")] = "breast-cancer",
    folder: Annotated[Path | None, typer.Option("--from", help="Folder of the heart-disease files.")] = None,
    config: Annotated[Path | None, typer.Option(help="Run a flat config.json instead.")] = None,
    exit_when_done: Annotated[
        bool, typer.Option("--exit-when-done", help="Stop everything after the study.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the page; 5000, or a free one.")
    ] = None,
    coordinator_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the coordinator; 8760, or a free one.")
    ] = None,
) -> None:
    """Start a coordinator, hospitals and the dashboard on this machine, and watch them train a model."""
    from functools import partial

    from fedcohort.quickstart import demo as demos

    make: Callable[[Path], demos.DemoPlan]
    if config is not None:
        make = partial(_config_plan, config)
    elif data == "breast-cancer":
        make = demos.breast_cancer_plan
    elif data == "heart-disease" and folder is not None:
        make = partial(demos.heart_disease_plan, source=folder)
    else:
        raise ConfigError("give --data breast-cancer, or --data heart-disease with --from FOLDER")
    demos.run_demo(make, exit_when_done=exit_when_done, port=port, coordinator_port=coordinator_port)


def _config_plan(path: Path, _folder: Path) -> Any:  # noqa: ANN401
    from fedcohort.quickstart.demo import config_plan

    return config_plan(path)


def main() -> None:
    """Entry point of the command line."""
    never_fail_to_print()
    run_command(lambda: app(standalone_mode=True))
