"""`fedcohort data import dicom`, `deidentify-dicom` and `receive-dicom`: a hospital's own images."""

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.data.deidentify import (
    ImportOptions,
    KeepIdentifiers,
    KeyFile,
    RulesFile,
    explain_stand_ins,
    site_key,
)
from fedcohort.cli.data.imports import (
    DryRun,
    From,
    Into,
    Named,
    RefusedFile,
    import_and_report,
    import_or_fail,
)
from fedcohort.cli.support import console, error_console
from fedcohort.errors import ConfigError
from fedcohort.logs import LogFormat, log_to_stderr

if TYPE_CHECKING:
    from fedcohort.sources.dicom.guard import Limits
    from fedcohort.sources.dicom.options import DicomOptions
    from fedcohort.sources.dicom.pixels import Mask
    from fedcohort.storage.inbox_folder import InboxFolder

SECONDS_BETWEEN_IMPORTS = 2.0
Masks = Annotated[
    list[str] | None, typer.Option("--mask", help="Rectangle painted black: x,y,w,h in stored pixels.")
]
Vouched = Annotated[
    bool, typer.Option("--vouched", help="Somebody here answers that no texts are drawn into these images.")
]
OptionsFile = Annotated[
    Path | None, typer.Option("--options", help="Pictures and columns (TOML); the words here come first.")
]
Pixels = Annotated[int | None, typer.Option(min=1, max=4096, help="Of the pictures, in pixels; 224.")]


def import_dicom(
    place: From,
    into: Into,
    options: OptionsFile = None,
    table: Annotated[str | None, typer.Option(help="Table of the site's database; images.")] = None,
    height: Pixels = None,
    width: Pixels = None,
    channels: Annotated[int | None, typer.Option(help="1 for grey, 3 for colour; 1.")] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="An attribute, such as Modality or PatientAge.")
    ] = None,
    frames: Annotated[str | None, typer.Option(help="first, middle or every; first.")] = None,
    mask: Masks = None,
    vouched: Vouched = False,
    refused: RefusedFile = None,
    rules: RulesFile = None,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
    dry_run: DryRun = False,
) -> None:
    """Import DICOM images: a file, a folder and all below it, or a DICOMDIR."""
    _check_installed()
    from fedcohort.sources.dicom.options import read_options
    from fedcohort.sources.dicom.source import dicom_source

    shape = {"height": height, "width": width, "channels": channels, "frames": frames}
    words = {"table": table, "vouched": vouched, "rendering": _said({**shape, "masks": _masks(mask)})}
    made = read_options(options, _said(words), tuple(column or ()))
    named = _named(made, [place.name] if place.is_file() else [])
    import_options = ImportOptions(rules, key, keep_identifiers, dry_run)
    import_or_fail(dicom_source(place, made), into, named, import_options, refused)


def deidentify_dicom(
    place: From,
    into: Annotated[Path, typer.Option("--into", help="Folder for the copies.")],
    key: KeyFile = None,
    dates: Annotated[str, typer.Option(help="shift, or remove.")] = "shift",
    keep_characteristics: Annotated[
        bool, typer.Option("--keep-characteristics", help="Keep sex, age (over 89 as 90), size and weight.")
    ] = False,
    mask: Masks = None,
    vouched: Vouched = False,
) -> None:
    """Write copies of DICOM images without the patient, by the basic profile of PS3.15."""
    _check_installed()
    from fedcohort.sources.dicom.deidentify import DicomPrivacy
    from fedcohort.sources.dicom.write import Written, deidentify_files

    if dates not in ("shift", "remove"):
        raise ConfigError("--dates: shift or remove")
    privacy = DicomPrivacy(site_key(key), keep_characteristics=keep_characteristics)
    privacy = replace(privacy, dates="shift" if dates == "shift" else "remove")
    written, there, refused = 0, 0, []
    for outcome in deidentify_files(place, into, privacy, _masks(mask), vouched):
        if isinstance(outcome, Written):
            written, there = written + outcome.new, there + (not outcome.new)
        else:
            refused.append(outcome.file)
            where = " ".join(filter(None, (f"{outcome.file}:", outcome.position, outcome.field)))
            error_console.print(f"  {where}: {outcome.reason}", markup=False, highlight=False)
    line = f"{into}: {written} files written, {there} there already, {len(refused)} refused"
    console.print(line, markup=False, highlight=False)
    explain_stand_ins(refused, key)


def receive_dicom(
    into: Annotated[str, typer.Option("--into", help="A folder; with --inbox, the site's database.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 11112,
    ae_title: Annotated[str, typer.Option("--ae-title", help="What the PACS calls us.")] = "FEDCOHORT",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow: Annotated[
        list[str] | None, typer.Option("--allow", help="Network that may connect, such as 10.1.0.0/16.")
    ] = None,
    calling: Annotated[
        list[str] | None, typer.Option("--calling", help="AE title that may call; any without.")
    ] = None,
    associations: Annotated[int, typer.Option(min=1, max=100, help="At the same time.")] = 8,
    max_image_mb: Annotated[int, typer.Option(min=1, max=512, help="Of one image.")] = 256,
    inbox: Annotated[
        Path | None,
        typer.Option("--inbox", help="Folder where images wait for their import into a database."),
    ] = None,
    inbox_gb: Annotated[
        int, typer.Option("--inbox-gb", min=1, max=10_000, help="Of the inbox, refused images included.")
    ] = 64,
    refused_days: Annotated[
        int, typer.Option("--refused-days", min=1, max=3650, help="How long refused images are kept.")
    ] = 30,
    options: OptionsFile = None,
    rules: RulesFile = None,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
) -> None:
    """Receive DICOM images from a PACS, into a folder or by way of an inbox into the site's database."""
    _check_installed()
    from fedcohort.sources.dicom.guard import Limits
    from fedcohort.sources.dicom.options import read_options
    from fedcohort.storage.inbox_folder import InboxFolder, InboxLimits

    if inbox is None and ("://" in into or Path(into).suffix in (".db", ".sqlite")):
        raise ConfigError("--into: a database needs --inbox FOLDER, where images wait for their import")
    if inbox is None and (options or rules or key or keep_identifiers):
        raise ConfigError("--options, --deidentify and --key are for a database: give --inbox FOLDER")
    limits = Limits(
        calling_titles=tuple(calling or ()), associations=associations, object_bytes=max_image_mb * 2**20
    )
    limits = replace(limits, addresses=tuple(allow)) if allow else limits
    made = read_options(options, {}, ())
    import_options = ImportOptions(rules, key, keep_identifiers)
    kept = InboxLimits(inbox_gb * 2**30, limits.free_bytes, refused_days)
    place = None if inbox is None else InboxFolder(inbox, kept)
    _serve(place, into, (host, port, ae_title), limits, made, import_options)


def _serve(
    place: "InboxFolder | None",
    into: str,
    listen: tuple[str, int, str],
    limits: "Limits",
    options: "DicomOptions",
    import_options: ImportOptions,
) -> None:
    """Receive until Ctrl-C, and import what has come every few seconds."""
    from fedcohort.sources.dicom.inbox import Inbox
    from fedcohort.sources.dicom.scp import Receiver

    log_to_stderr(LogFormat.text)
    host, port, title = listen
    folder = Path(into) if place is None else place.folder
    receiver = Receiver(folder, title, host, port, limits, inbox=place)
    line = f"{title} listens on {host}:{receiver.port} and writes into {into}"
    console.print(line, markup=False, highlight=False)
    inbox, named = None if place is None else Inbox(place, options), _named(options, [])
    try:
        while True:
            time.sleep(SECONDS_BETWEEN_IMPORTS)
            if inbox is not None:
                inbox.empty(lambda source: import_and_report(source, into, named, import_options, None))
    finally:
        receiver.close()


def _named(options: "DicomOptions", parts: list[str]) -> Named:
    from fedcohort.sources.dicom.columns import is_date
    from fedcohort.sources.dicom.source import IMAGE_ID, import_context

    dates = [name for name, column in options.columns.items() if is_date(column)]
    return Named(options.table, None, parts, (IMAGE_ID,), dates, import_context(options))


def _said(words: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in words.items() if value}


def _masks(texts: list[str] | None) -> tuple["Mask", ...]:
    from fedcohort.sources.dicom.pixels import Mask

    return tuple(Mask.parse(text) for text in texts or ())


def _check_installed() -> None:
    """Say at once what is missing.

    Raises:
        ConfigError: the extra is not installed.
    """
    if not all(importlib.util.find_spec(name) for name in ("pydicom", "pynetdicom", "PIL")):
        raise ConfigError(
            "DICOM is not installed here: pip install -c constraints.txt '.[dicom]' in fedcohort's folder"
        )
