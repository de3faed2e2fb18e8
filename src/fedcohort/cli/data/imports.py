"""`fedcohort data import …`: files, databases and public data sets into a site's own database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.data.deidentify import (
    ImportOptions,
    KeepIdentifiers,
    KeyFile,
    RulesFile,
    deidentification_of,
    explain_stand_ins,
    identifiers_kept,
    key_of,
)
from fedcohort.cli.data.import_report import listing, print_report
from fedcohort.cli.support import console, error_console
from fedcohort.errors import ConfigError, DataError

if TYPE_CHECKING:
    from fedcohort.sources.importer.batch import Source
    from fedcohort.sources.importer.mapping import MappedTable
    from fedcohort.sources.importer.numbers import Writing
    from fedcohort.sources.importer.report import Imported

import_app = typer.Typer(help="Import files, databases and public data sets.", no_args_is_help=True)

From = Annotated[Path, typer.Option("--from", help="A file, or a folder of them.")]
Into = Annotated[str, typer.Option("--into", help="The site's database: a path, or an SQLAlchemy URL.")]
TableName = Annotated[str, typer.Option("--table", help="Table of the site's database.")]
MappingFile = Annotated[
    Path | None, typer.Option("--mapping", help="The site's names, units and codes (TOML).")
]
Folder = Annotated[Path, typer.Option("--into", help="Folder for the databases.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read and check everything, and change nothing; then import.")
]
NumberPatients = Annotated[
    bool, typer.Option("--number-patients", help="No column names patients: each record is one.")
]
RefusedFile = Annotated[
    Path | None, typer.Option("--refused", help="CSV file for every refused record's place and reason.")
]


@import_app.command("csv")
def import_csv(
    place: From,
    into: Into,
    table: TableName = "records",
    mapping: MappingFile = None,
    refused: RefusedFile = None,
    rules: RulesFile = None,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
    dry_run: DryRun = False,
    encoding: Annotated[
        str | None, typer.Option(help="Such as cp1252; UTF-8, or by its mark, without.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="One character; by the first line without.")] = None,
    decimal: Annotated[
        str | None, typer.Option(help="What stands before decimals, . or a comma; without a mapping only.")
    ] = None,
    thousands: Annotated[
        str | None,
        typer.Option(help="What stands between thousands: , . ' or a blank; without a mapping only."),
    ] = None,
    number_patients: NumberPatients = False,
) -> None:
    """Import CSV files, packed by gzip or not."""
    from fedcohort.sources.catalogue.schema import PATIENT_ID
    from fedcohort.sources.importer.csv.opening import Dialect
    from fedcohort.sources.importer.csv.source import csv_source
    from fedcohort.sources.importer.values import NUMBERED

    if delimiter is not None and len(delimiter) != 1:
        raise ConfigError("--delimiter: one character, such as ';'")
    patient = NUMBERED if number_patients else PATIENT_ID
    mapped = _mapped(mapping, table, number_patients)
    writing = _writing(decimal, thousands, mapping)
    source = csv_source(place, table, mapped, Dialect(encoding, delimiter), patient, writing=writing)
    import_options = ImportOptions(rules, key, keep_identifiers, dry_run)
    said = [*([decimal, thousands] if writing.is_said else []), *([NUMBERED] if number_patients else [])]
    reading = " ".join(map(str, (encoding, delimiter, *said)))
    named = Named(table, mapped, _typed(place), reading=reading)
    import_or_fail(source, into, named, import_options, refused)


@import_app.command("parquet")
def import_parquet(
    place: From,
    into: Into,
    table: TableName = "records",
    mapping: MappingFile = None,
    refused: RefusedFile = None,
    rules: RulesFile = None,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
    dry_run: DryRun = False,
    number_patients: NumberPatients = False,
) -> None:
    """Import Parquet files."""
    from fedcohort.sources.catalogue.schema import PATIENT_ID
    from fedcohort.sources.importer.parquet import parquet_source
    from fedcohort.sources.importer.values import NUMBERED

    patient, reading = (NUMBERED, NUMBERED) if number_patients else (PATIENT_ID, "")
    mapped = _mapped(mapping, table, number_patients)
    import_options = ImportOptions(rules, key, keep_identifiers, dry_run)
    named = Named(table, mapped, _typed(place), reading=reading)
    import_or_fail(parquet_source(place, table, mapped, patient), into, named, import_options, refused)


@import_app.command("sql")
def import_sql(
    database: Annotated[str, typer.Option("--from", help="The hospital's database, by SQLAlchemy URL.")],
    origin: Annotated[str, typer.Option("--origin", help="Table or view there: labs, or clinic.labs.")],
    into: Into,
    table: TableName = "records",
    mapping: MappingFile = None,
    refused: RefusedFile = None,
    rules: RulesFile = None,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
    dry_run: DryRun = False,
) -> None:
    """Import a table or view of a hospital's database, through an account that need only read."""
    from fedcohort.sources.importer.sql import key_of, sql_source

    mapped = _mapped(mapping, table)
    source = sql_source(database, origin, table, mapped)
    typed = [part.name for part in source.parts]
    named = Named(table, mapped, typed, key_of(database, origin, mapped))
    import_or_fail(source, into, named, ImportOptions(rules, key, keep_identifiers, dry_run), refused)


@import_app.command("mimic-iv")
def import_mimic_iv(
    folder: Annotated[Path, typer.Option("--from", help="Folder of MIMIC-IV's CSV files, packed or not.")],
    into: Folder = Path(),
    sites: Annotated[int, typer.Option(min=1, max=26, help="Sites to divide the patients among.")] = 2,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
) -> None:
    """MIMIC-IV's tables, and one row an admission: mimic_a.db, mimic_b.db and so on."""
    from fedcohort.sources.datasets.mimic_iv import StandIns
    from fedcohort.sources.datasets.mimic_iv import import_mimic as make

    secret = key_of(ImportOptions(None, key, keep_identifiers))
    deidentification = identifiers_kept() if secret is None else StandIns(secret)
    into.mkdir(parents=True, exist_ok=True)
    reports = make(folder, into, sites, deidentification)
    for report in reports:
        print_report(report, None)
    console.print(reports[0].deidentification, markup=False, highlight=False)


@import_app.command("heart-disease")
def import_heart_disease(
    folder: Annotated[Path, typer.Option("--from", help="Folder of the processed.*.data files.")],
    into: Folder = Path(),
) -> None:
    """The four hospitals of UCI Heart Disease: 740 patients after cleaning."""
    from fedcohort.sources.datasets.heart_disease import import_heart_disease as make
    from fedcohort.sources.importer.deidentification import PUBLIC

    into.mkdir(parents=True, exist_ok=True)
    for report in make(folder, into):
        console.print(str(report), markup=False, highlight=False)
    console.print(str(PUBLIC), highlight=False)


@import_app.command("breast-cancer")
def import_breast_cancer(into: Folder = Path()) -> None:
    """The 569 patients that come with scikit-learn, split over three hospitals."""
    from fedcohort.sources.datasets.breast_cancer import import_breast_cancer as make
    from fedcohort.sources.importer.deidentification import PUBLIC

    for report in make(into):
        console.print(str(report), markup=False, highlight=False)
    console.print(str(PUBLIC), highlight=False)


def _mapped(path: Path | None, table: str, number_patients: bool = False) -> "MappedTable | None":
    if path is None:
        return None
    from fedcohort.sources.importer.mapping import read_mapping
    from fedcohort.sources.importer.values import NUMBERED

    tables = read_mapping(path)
    if table not in tables:
        raise ConfigError(f"{path}: has no table {table}; it has {', '.join(tables)}")
    return tables[table].model_copy(update={"patient_id": NUMBERED}) if number_patients else tables[table]


def _writing(decimal: str | None, thousands: str | None, mapping: Path | None) -> "Writing":
    """How numbers are written, where nobody declares columns."""
    from fedcohort.sources.importer.mapping import writing_of
    from fedcohort.sources.importer.numbers import decimal_mark, thousands_mark

    if mapping is not None and (decimal or thousands):
        raise ConfigError(
            "--decimal, --thousands: with a mapping file write them there, below the table or at a column"
        )
    try:
        return writing_of(decimal_mark(decimal), thousands_mark(thousands))
    except ValueError as error:
        raise ConfigError(f"--{error}") from None


def _typed(place: Path) -> list[str]:
    """Names of files that the engineer typed; a folder's files were named by somebody else."""
    return [place.name] if place.is_file() else []


@dataclass(frozen=True)
class Named:
    """What an import's table, keys and columns are called, which parts by name, and what are dates."""

    table: str
    mapped: "MappedTable | None"
    parts: Sequence[str]
    key: Sequence[str] = ()
    dates: Sequence[str] = ()
    reading: str = ""

    @property
    def context(self) -> str:
        """What decides how values are read: with another, the same file is not the same import."""
        return f"\n{self.reading}\n{self.mapped.context if self.mapped else ''}"

    @property
    def keys(self) -> Mapping[str, Sequence[str]]:
        """Table to columns by which a record replaces the earlier one."""
        return {self.table: self.key or (self.mapped.key if self.mapped else ())}

    @property
    def origins(self) -> Mapping[str, Mapping[str, str]]:
        """Table to columns to the source's names of them."""
        columns = self.mapped.columns if self.mapped else {}
        return {self.table: {name: column.source or name for name, column in columns.items()}}


def import_or_fail(
    source: "Source", into: str, named: Named, import_options: ImportOptions, refused: Path | None
) -> None:
    """Import a source, and fail where that leaves nothing: nobody reads a report that says success.

    Raises:
        DataError: something came, but no record of it is in the database, and none was before.
        StoreError: as of `import_and_report`.
    """
    report = import_and_report(source, into, named, import_options, refused)
    if report.empty and (report.read or report.refused or report.unchanged):
        raise DataError(
            f"{report.database}: nothing {'would be' if report.is_trial else 'was'} imported into "
            f"{named.table}, and nothing was there before: correct what was refused (a name in the mapping, "
            "the delimiter, the file), and import again"
        )


def import_and_report(
    source: "Source", into: str, named: Named, import_options: ImportOptions, refused: Path | None
) -> "Imported":
    """Import a source, with a line of progress and a report.

    Raises:
        StoreError: the database cannot be written, or a file was changed since it was imported.
    """
    from rich.text import Text

    from fedcohort.sources.importer.dry_run import try_source
    from fedcohort.sources.importer.pipeline import import_source

    for line in source.notes:
        error_console.print(f"  {line}", markup=False, highlight=False)
    deidentification = deidentification_of(import_options, source, named)
    with listing(refused) as note, console.status("") as status:
        report = (try_source if import_options.is_trial else import_source)(
            source,
            into,
            deidentification,
            keys=named.keys,
            context=named.context,
            progress=lambda name, done: status.update(Text(f"{name}: {done} records")),
            on_refusal=note,
        )
    print_report(report, refused)
    explain_stand_ins((refusal.file for refusal in report.refusals), import_options.key)
    console.print(report.deidentification, markup=False, highlight=False)
    if report.number and report.written.total():
        words = f"fedcohort data undo --into {into} --import {report.number}"
        console.print(f"import {report.number}; to take it back: {words}", markup=False, highlight=False)
    return report
