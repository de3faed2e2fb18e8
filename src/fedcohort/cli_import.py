"""`fedcohort data import …`: files, databases and public data sets into a site's own database."""

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli_deidentify import (
    NOT_DEIDENTIFIED,
    How,
    KeepIdentifiers,
    KeyFile,
    RulesFile,
    key_of,
    passage,
    tell_of_stand_ins,
)
from fedcohort.cli_support import console, error_console
from fedcohort.errors import ConfigError, DataError

if TYPE_CHECKING:
    from fedcohort.sources.batch import Refusal, Source
    from fedcohort.sources.mapping import MappedTable
    from fedcohort.sources.road import Imported

import_app = typer.Typer(help="Import files, databases and public data sets.", no_args_is_help=True)

SHOWN = 10
_PUBLIC = "not de-identified: public data without identifiers, whose patients are numbered here"
REFUSED_HEADER = ("file", "position", "field", "reason")
From = Annotated[Path, typer.Option("--from", help="A file, or a folder of them.")]
Into = Annotated[str, typer.Option("--into", help="The site's database: a path, or an SQLAlchemy URL.")]
TableName = Annotated[str, typer.Option("--table", help="Table of the site's database.")]
MappingFile = Annotated[
    Path | None, typer.Option("--mapping", help="The site's names, units and codes (TOML).")
]
Folder = Annotated[Path, typer.Option("--into", help="Folder for the databases.")]
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
    encoding: Annotated[
        str | None, typer.Option(help="Such as cp1252; UTF-8, or by its mark, without.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="One character; by the first line without.")] = None,
) -> None:
    """Import CSV files, packed by gzip or not."""
    from fedcohort.sources.csv_files import Dialect, csv_source

    if delimiter is not None and len(delimiter) != 1:
        raise ConfigError("--delimiter: one character, such as ';'")
    mapped = _mapped(mapping, table)
    source = csv_source(place, table, mapped, Dialect(encoding, delimiter))
    how = How(rules, key, keep_identifiers)
    named = Named(table, mapped, _typed(place), reading=f"{encoding} {delimiter}")
    bring_in_some(source, into, named, how, refused)


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
) -> None:
    """Import Parquet files."""
    from fedcohort.sources.parquet_files import parquet_source

    mapped = _mapped(mapping, table)
    how = How(rules, key, keep_identifiers)
    named = Named(table, mapped, _typed(place))
    bring_in_some(parquet_source(place, table, mapped), into, named, how, refused)


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
) -> None:
    """Import a table or view of a hospital's database, through an account that need only read."""
    from fedcohort.sources.sql_tables import key_of, sql_source

    mapped = _mapped(mapping, table)
    source = sql_source(database, origin, table, mapped)
    typed = [part.name for part in source.parts]
    named = Named(table, mapped, typed, key_of(database, origin, mapped))
    bring_in_some(source, into, named, How(rules, key, keep_identifiers), refused)


@import_app.command("mimic-iv")
def import_mimic_iv(
    folder: Annotated[Path, typer.Option("--from", help="Folder of MIMIC-IV's CSV files, packed or not.")],
    into: Folder = Path(),
    sites: Annotated[int, typer.Option(min=1, max=26, help="Sites to divide the patients among.")] = 2,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
) -> None:
    """MIMIC-IV's tables, and one row an admission: mimic_a.db, mimic_b.db and so on."""
    from fedcohort.sources.mimic_iv import identity
    from fedcohort.sources.mimic_iv import import_mimic as make

    secret = key_of(How(None, key, keep_identifiers))
    into.mkdir(parents=True, exist_ok=True)
    for report in make(folder, into, sites, secret):
        _print(report, None)
    told = f"de-identified: {identity(secret)}" if secret else NOT_DEIDENTIFIED
    console.print(told, markup=False, highlight=False)


@import_app.command("heart-disease")
def import_heart_disease(
    folder: Annotated[Path, typer.Option("--from", help="Folder of the processed.*.data files.")],
    into: Folder = Path(),
) -> None:
    """The four hospitals of UCI Heart Disease: 740 patients after cleaning."""
    from fedcohort.sources.heart_disease import import_heart_disease as make

    into.mkdir(parents=True, exist_ok=True)
    for report in make(folder, into):
        console.print(str(report), markup=False, highlight=False)
    console.print(_PUBLIC, highlight=False)


@import_app.command("breast-cancer")
def import_breast_cancer(into: Folder = Path()) -> None:
    """The 569 patients that come with scikit-learn, split over three hospitals."""
    from fedcohort.sources.breast_cancer import import_breast_cancer as make

    into.mkdir(parents=True, exist_ok=True)
    try:
        reports = make(into)
    except ModuleNotFoundError as error:
        raise ConfigError("this data set comes with scikit-learn: pip install 'fedcohort[demo]'") from error
    for report in reports:
        console.print(str(report), markup=False, highlight=False)
    console.print(_PUBLIC, highlight=False)


def _mapped(path: Path | None, table: str) -> "MappedTable | None":
    if path is None:
        return None
    from fedcohort.sources.mapping import read_mapping

    tables = read_mapping(path)
    if table not in tables:
        raise ConfigError(f"{path}: has no table {table}; it has {', '.join(tables)}")
    return tables[table]


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
        return f"{self.reading}\n{self.mapped.context if self.mapped else ''}"

    @property
    def keys(self) -> Mapping[str, Sequence[str]]:
        """Table to columns by which a record replaces the earlier one."""
        return {self.table: self.key or (self.mapped.key if self.mapped else ())}

    @property
    def origins(self) -> Mapping[str, Mapping[str, str]]:
        """Table to columns to the source's names of them."""
        columns = self.mapped.columns if self.mapped else {}
        return {self.table: {name: column.source or name for name, column in columns.items()}}


def bring_in_some(source: "Source", into: str, named: Named, how: How, refused: Path | None) -> None:
    """Bring a source in, and fail where that leaves nothing: nobody reads a report that says success.

    Raises:
        DataError: something came, but no record of it is in the database, and none was before.
        StoreError: as of `bring_in`.
    """
    report = bring_in(source, into, named, how, refused)
    if report.empty and (report.read or report.refused or report.unchanged):
        raise DataError(
            f"{report.database}: nothing was imported into {named.table}, and nothing was there before: "
            "correct what was refused (a name in the mapping, the delimiter, the file), and import again"
        )


def bring_in(source: "Source", into: str, named: Named, how: How, refused: Path | None) -> "Imported":
    """Bring a source in, with a line of progress and a report.

    Raises:
        StoreError: the database cannot be written, or a file was changed since it was imported.
    """
    from rich.text import Text

    from fedcohort.sources.road import import_source

    way = passage(source, how, named.keys, named.origins, named.parts, named.dates)
    with _refusals(refused) as note, console.status("") as status:
        report = import_source(
            way.source,
            into,
            keys=named.keys,
            context=f"{way.context}\n{named.context}",
            identity=way.identity,
            progress=lambda name, done: status.update(Text(f"{name}: {done} records")),
            on_refusal=note,
        )
    _print(report, refused)
    tell_of_stand_ins((one.file for one in report.refusals), how.key)
    console.print(way.told(), markup=False, highlight=False)
    return report


@contextlib.contextmanager
def _refusals(path: Path | None) -> Iterator[Callable[["Refusal"], None]]:
    """What is told of every refused record; into a file where one is named."""
    if path is None:
        yield lambda _: None
        return
    _check_refused(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(REFUSED_HEADER)
        yield lambda one: writer.writerow([harmless(one.file), one.position, harmless(one.field), one.reason])


def _check_refused(path: Path) -> None:
    """Never write over a file that is not a list of refusals: it may be what is imported."""
    try:
        with path.open("rb") as file:
            begin = file.read(256)
    except FileNotFoundError:
        begin = b""
    except OSError as error:
        raise ConfigError(
            f"--refused {path}: {error.strerror}; name a file in a folder that is there"
        ) from None
    if begin and not begin.startswith(",".join(REFUSED_HEADER).encode() + b"\r\n"):
        raise ConfigError(f"--refused {path}: stands there and is no list of refusals; name a new file")
    if not path.parent.is_dir():
        raise ConfigError(f"--refused {path}: there is no folder {path.parent}; make it first")


def harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _print(report: "Imported", refused: Path | None) -> None:
    console.print(str(report), markup=False, highlight=False)
    for one in report.refusals[:SHOWN]:
        where = " ".join(filter(None, (f"{one.file}:", one.position, one.field)))
        error_console.print(f"  {where}: {one.reason}", markup=False, highlight=False)
    rest = report.refused.total() - min(len(report.refusals), SHOWN)
    if rest > 0:
        told = f"see {refused}" if refused else "name a file by --refused to see all"
        error_console.print(f"  and {rest} more; {told}", markup=False, highlight=False)
