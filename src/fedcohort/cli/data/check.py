"""`fedcohort data check` and `fedcohort data mock`: try a study before anybody is asked."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fedcohort.cli.support import SiteFile, console

if TYPE_CHECKING:
    from fedcohort.node.policy import SitePolicy
    from fedcohort.node.readiness import Readiness
    from fedcohort.node.records import Reservation
    from fedcohort.study import Study

StudyFile = Annotated[Path, typer.Argument(help="The study, in TOML or JSON.")]
COLOURS = {"ready": "green", "warning": "yellow", "not ready": "red"}


def check(
    study: StudyFile,
    site: SiteFile = Path("site.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Tell whether a study can run on this site's data: a verdict and a remedy a line, no patient's value.

    Exit code 1 where it is not ready.
    """
    from fedcohort.node.policy import read_policy
    from fedcohort.node.readiness import check_readiness
    from fedcohort.researcher.client import load_study

    policy, asked = read_policy(site), load_study(study)
    readiness = check_readiness(policy, asked, *_set_aside(policy, asked))
    if as_json:
        typer.echo(json.dumps(readiness.document(), indent=2, ensure_ascii=False))
    else:
        _print(readiness)
    raise typer.Exit(1 if readiness.verdict == "not ready" else 0)


def _set_aside(policy: "SitePolicy", study: "Study") -> "tuple[list[Reservation], set[str]]":
    """What the node has set aside already, and by which hashes it knows the study; nothing before it ran."""
    from fedcohort.node.readiness import proposed_as
    from fedcohort.node.store import SqlNodeStore

    path = policy.state / "node.db"
    if not policy.budget or not path.exists():
        return [], set()
    store = SqlNodeStore(path)
    try:
        reserved = store.reservations()
        hashes = {record.study_hash for record in reserved}
        proposed = [record.study for record in store.proposals() if record.study_hash in hashes]
        return reserved, proposed_as(study, proposed)
    finally:
        store.close()


def _print(readiness: "Readiness") -> None:
    from rich.text import Text

    table = Table(
        "requirement", "verdict", "found", "remedy", title=Text(f"{readiness.study} at {readiness.site}")
    )
    for line in readiness.lines:
        mark = Text(line.verdict, style=COLOURS[line.verdict])
        table.add_row(Text(line.what), mark, Text(line.found), Text(line.remedy))
    console.print(table, soft_wrap=False)
    console.print(Text.assemble("verdict: ", (readiness.verdict, COLOURS[readiness.verdict])))


def mock(
    study: StudyFile,
    patients: Annotated[int, typer.Option(min=1, max=1_000_000, help="Patients to make up.")],
    into: Annotated[Path, typer.Option("--into", help="A new SQLite file.")],
    missing: Annotated[float, typer.Option(min=0, max=0.95, help="Share of values left out.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same patients.")] = 0,
    site: Annotated[
        Path | None, typer.Option("--site", help="Take the kinds that a study leaves out from this site.")
    ] = None,
) -> None:
    """Make up patients of nobody from what a study or a site declares, to try the study on.

    No patient is read: kinds, ranges and levels are the study's, or the site's declarations.
    """
    from fedcohort.researcher.client import explicit, load_study
    from fedcohort.sources.datasets.mock import make_mock
    from fedcohort.sources.datasets.mock_events import make_mock_events

    asked = load_study(study)
    if site is not None:
        from fedcohort.node.policy import read_policy
        from fedcohort.node.running import offered_columns
        from fedcohort.node.site_events import offered_catalogue

        policy = read_policy(site)
        asked = explicit(asked, {policy.id: offered_catalogue(policy, offered_columns(policy))})
    make = make_mock if asked.cohort.index is None else make_mock_events
    report = make(into, asked.cohort, patients, missing, seed)
    console.print(str(report), markup=False, highlight=False)
