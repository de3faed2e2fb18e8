"""`fedcohort data …`: make or import a site's database."""

from pathlib import Path
from typing import Annotated

import typer

from fedcohort.cli.data.check import check, mock
from fedcohort.cli.data.deidentify import file_names, k_anonymity
from fedcohort.cli.data.dicom import deidentify_dicom, import_dicom, receive_dicom
from fedcohort.cli.data.fhir import fetch_fhir, import_fhir
from fedcohort.cli.data.hl7 import import_hl7
from fedcohort.cli.data.imports import RefusedFile, import_app
from fedcohort.cli.support import DEFAULT_CONFIG, Config, SiteFile, console

data_app = typer.Typer(help="Make or import a site's database.", no_args_is_help=True)
fetch_app = typer.Typer(help="Download a public data set and check its checksums.", no_args_is_help=True)
data_app.add_typer(import_app, name="import")
data_app.add_typer(fetch_app, name="fetch")
data_app.command("check")(check)
data_app.command("mock")(mock)
data_app.command("k-anonymity")(k_anonymity)
data_app.command("file-names")(file_names)
data_app.command("deidentify-dicom")(deidentify_dicom)
data_app.command("receive-dicom")(receive_dicom)
data_app.command("fetch-fhir")(fetch_fhir)
import_app.command("dicom")(import_dicom)
import_app.command("fhir")(import_fhir)
import_app.command("hl7")(import_hl7)

Out = Annotated[Path, typer.Option("--into", help="Folder for the databases.")]


@data_app.command()
def synthesize(
    sites: Annotated[int | None, typer.Option(min=1, max=1000, help="Hospitals to simulate.")] = None,
    patients: Annotated[int, typer.Option(min=1, max=10_000_000, help="Patients a hospital.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same patients.")] = 0,
    into: Out = Path(),
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Simulate cardiology cohorts: correlated, with missing values, differing between hospitals.

    With --sites it writes hospital_1.db, hospital_2.db and so on; without, the databases that
    the configuration file names.
    """
    from fedcohort.sources.datasets.synthetic import synthesize as make

    for index, database in enumerate(_databases(sites, into, config)):
        console.print(str(make(database, index, patients, seed)), markup=False, highlight=False)


@data_app.command()
def perturb(
    table: Annotated[str, typer.Option(help="Table of the site's database.")],
    epsilon: Annotated[float, typer.Option(help="Of each patient's row, divided over the columns.")],
    into: Annotated[Path, typer.Option("--into", help="Database for the noisy copy.")],
    site: SiteFile = Path("site.toml"),
) -> None:
    """Copy a table's numbers with Laplace noise, and charge the site's ledger for it."""
    from fedcohort.node.perturb import perturb as make
    from fedcohort.node.policy import read_policy
    from fedcohort.node.store import SqlNodeStore

    policy = read_policy(site)
    store = SqlNodeStore(policy.state / "node.db")
    try:
        console.print(str(make(policy, store, table, epsilon, into)), markup=False, highlight=False)
    finally:
        store.close()


@data_app.command()
def undo(
    into: Annotated[str, typer.Option("--into", help="The site's database that was imported into.")],
    number: Annotated[
        int | None,
        typer.Option("--import", min=1, help="Which one to take back; without, they are listed."),
    ] = None,
) -> None:
    """Take an import back: its rows, and what is remembered of its files; budgets stay spent."""
    from fedcohort.sources.importer.undo import imports_of
    from fedcohort.sources.importer.undo import undo as take_back

    if number is None:
        past = imports_of(into)
        lines = [str(past_import) for past_import in past] or ["no import that noted which rows it wrote"]
    else:
        lines = [f"taken back: {past_import}" for past_import in take_back(into, number)]
    for line in lines:
        console.print(line, markup=False, highlight=False)


@data_app.command()
def derive(
    into: Annotated[str, typer.Option("--into", help="The site's database that was imported into.")],
    tables: Annotated[
        Path | None,
        typer.Option("--tables", help="Derived tables (TOML); without, those that are there are listed."),
    ] = None,
    refused: RefusedFile = None,
) -> None:
    """Derive wide tables, a row a patient or visit, each by a declared SELECT over imported tables."""
    from fedcohort.cli.data.import_report import listing, print_refusals
    from fedcohort.sources.importer.derive import derive as make
    from fedcohort.sources.importer.derive import list_derived, read_derivations

    if tables is None:
        for line in list_derived(into) or ["no derived table"]:
            console.print(line, markup=False, highlight=False)
        return
    with listing(refused) as note:
        for derivation in read_derivations(tables):
            derived = make(into, derivation)
            console.print(str(derived), markup=False, highlight=False)
            print_refusals(derived.refusals, len(derived.refusals), refused)
            for refusal in derived.refusals:
                note(refusal)


def _databases(sites: int | None, into: Path, config: Path) -> list[str]:
    if sites is not None:
        into.mkdir(parents=True, exist_ok=True)
        return [str(into / f"hospital_{number}.db") for number in range(1, sites + 1)]
    from fedcohort.quickstart.config import read_config
    from fedcohort.quickstart.federation_files import worker_data

    return [worker_data(config, worker) for worker in read_config(config).workers]


@fetch_app.command("heart-disease")
def fetch_heart_disease(into: Out = Path("heart_disease")) -> None:
    """Download UCI Heart Disease; then `fedcohort data import heart-disease --from FOLDER`."""
    from fedcohort.sources.datasets.fetch import fetch_heart_disease as fetch

    into.mkdir(parents=True, exist_ok=True)
    for name, new in fetch(into).items():
        console.print(f"{name}: {'downloaded' if new else 'already there'}", highlight=False)
