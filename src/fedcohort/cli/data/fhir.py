"""`fedcohort data fetch-fhir` and `data import fhir`: a hospital's FHIR server, or its files."""

import datetime
import zoneinfo
from pathlib import Path
from typing import Annotated

import typer

from fedcohort.cli.data.deidentify import ImportOptions, KeepIdentifiers, KeyFile, RulesFile
from fedcohort.cli.data.events import import_events_or_fail
from fedcohort.cli.data.imports import From, Into, RefusedFile
from fedcohort.cli.support import console
from fedcohort.errors import ConfigError, StoreError

CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="The CA that signed the server's certificate.")
]


def import_fhir(
    place: From,
    into: Into,
    view: Annotated[
        list[Path] | None, typer.Option("--view", help="A ViewDefinition of your own (SQL-on-FHIR v2).")
    ] = None,
    time_zone: Annotated[str, typer.Option(help="Of times without one, such as Europe/Berlin.")] = "UTC",
    source: Annotated[
        str, typer.Option(help="Which system it is from; ids of two are never the same.")
    ] = "fhir",
    delete_imported: Annotated[
        bool, typer.Option("--delete-imported", help="Delete each file that was read to its end.")
    ] = False,
    refused: RefusedFile = None,
    rules: RulesFile = None,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
) -> None:
    """Import FHIR R4 as events: Bundles, NDJSON and single resources, packed by gzip or not."""
    from fedcohort.sources.fhir.files import FhirOptions
    from fedcohort.sources.fhir.source import context_of, fhir_feed
    from fedcohort.sources.fhir.views import read_views

    own = view or []
    made = fhir_feed(place, FhirOptions(read_views(own), _zone(time_zone)), source)
    import_options = ImportOptions(rules, key, keep_identifiers)
    typed = [place.name] if place.is_file() else []
    context = context_of(own, time_zone)
    import_events_or_fail(made.feed, into, import_options, refused, context=context, typed=typed)
    if delete_imported:
        _delete([path for path in made.paths if path not in made.broken])


def _zone(name: str) -> datetime.tzinfo:
    try:
        return datetime.UTC if name == "UTC" else zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"--time-zone {name[:80]}: unknown; write such as Europe/Berlin, or UTC") from None


def _delete(paths: list[Path]) -> None:
    """Take files out, but for a fetch's Medications, which name nobody and to which later ones refer.

    Raises:
        StoreError: one cannot be deleted.
    """
    for path in paths:
        if "-Medication-" not in path.name:
            try:
                path.unlink()
            except OSError as error:
                raise StoreError(f"{path}: {error.strerror}; make its folder writable") from error


def fetch_fhir(
    base: Annotated[str, typer.Option("--from", help="Address of the server's FHIR R4, https.")],
    into: Annotated[
        Path, typer.Option("--into", help="Folder for what comes: identified patients, mode 700.")
    ],
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="A type, such as Observation; all that is read, without."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="What was written since: a time, or last, the run before.")
    ] = None,
    is_export: Annotated[
        bool, typer.Option("--export", help="By Bulk Data ($export), not by search.")
    ] = False,
    group: Annotated[
        str | None, typer.Option(help="With --export: id of a Group, its members alone.")
    ] = None,
    smart: Annotated[
        Path | None, typer.Option(help="SMART Backend Services (TOML): client_id, key and kid.")
    ] = None,
    token: Annotated[Path | None, typer.Option(help="File with a token, mode 600.")] = None,
    ca_file: CaFile = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Resources a page that are asked for.")] = 500,
    most_gib: Annotated[int, typer.Option("--most-gib", min=1, help="That the folder may hold.")] = 50,
) -> None:
    """Read a FHIR server into a folder, to be imported from there; repeat it where it ended early."""
    from fedcohort.fetch_fhir.fetch import Wish, connect, default_types, fetch
    from fedcohort.fetch_fhir.inbox import open_inbox
    from fedcohort.sources.fhir.views import read_views

    wish = Wish(tuple(types or default_types(list(read_views()))), since, is_export, group, count)
    with (
        connect(base, ca_file, smart, token) as server,
        open_inbox(into, most_gib * 2**30) as inbox,
    ):
        fetched = fetch(server, inbox, wish)
    console.print(str(fetched), markup=False, highlight=False)
