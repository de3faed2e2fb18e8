"""`fedcohort data import hl7` and `node hl7`: messages of a hospital's interface engine."""

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.data.deidentify import ImportOptions, KeepIdentifiers, KeyFile, RulesFile
from fedcohort.cli.data.events import event_deidentification, import_events_or_fail
from fedcohort.cli.data.imports import From, Into, RefusedFile
from fedcohort.cli.support import LogForm, SiteFile, announce
from fedcohort.errors import ConfigError
from fedcohort.logs import LogFormat, log_to_stderr

if TYPE_CHECKING:
    from fedcohort.sources.hl7v2.settings import Hl7Settings


def import_hl7(
    place: From,
    into: Into,
    time_zone: Annotated[
        str, typer.Option(help="Of times without one, where MSH-7 has none either; such as Europe/Berlin.")
    ] = "UTC",
    charset: Annotated[
        str, typer.Option(help="Of messages without MSH-18, by HL7 table 0211; such as 8859/1.")
    ] = "UNICODE UTF-8",
    authority: Annotated[
        str | None, typer.Option(help="PID-3.4 of the hospital's own identifiers; others are passed over.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="PID-3.5 of the identifier to take; MR, PI, PT without."),
    ] = None,
    source: Annotated[
        str, typer.Option(help="Which system it is from; keys of two are never the same.")
    ] = "hl7v2",
    refused: RefusedFile = None,
    rules: RulesFile = None,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
) -> None:
    """Import HL7 v2 messages as events: files of them, batches, packed by gzip or not."""
    from fedcohort.sources.hl7v2.reading import Hl7Options
    from fedcohort.sources.hl7v2.source import context_of, hl7_feed, hl7_options

    options = hl7_options(time_zone, charset, authority, types or Hl7Options.types)
    import_options = ImportOptions(rules, key, keep_identifiers)
    typed = [place.name] if place.is_file() else []
    feed, context = hl7_feed(place, options, source), context_of(options)
    import_events_or_fail(feed, into, import_options, refused, context=context, typed=typed)


def receive_hl7(
    site: SiteFile = Path("site.toml"),
    rules: RulesFile = None,
    key: KeyFile = None,
    keep_identifiers: KeepIdentifiers = False,
    log_format: LogForm = LogFormat.text,
) -> None:
    """Receive HL7 v2 by MLLP, as [hl7] of site.toml says, into the site's database."""
    from fedcohort.node.hl7 import options_of, serve_hl7
    from fedcohort.node.policy import read_policy
    from fedcohort.sources.events.pipeline import import_events
    from fedcohort.sources.hl7v2.source import context_of

    log_to_stderr(log_format)
    policy = read_policy(site)
    if policy.hl7 is None:
        raise ConfigError(f"{site}: has no [hl7]; write one, even an empty one, to receive HL7 v2")
    deidentification = event_deidentification(ImportOptions(rules, key, keep_identifiers), ())
    context = context_of(options_of(policy.hl7))
    database = policy.hl7.into or policy.data
    import_all = partial(import_events, database=database, deidentification=deidentification, context=context)
    listening = partial(_say_where, policy.hl7, log_format)
    asyncio.run(serve_hl7(policy.hl7, import_all, listening))


def _say_where(settings: "Hl7Settings", log_format: LogFormat, port: int) -> None:
    announce(log_format, f"HL7 v2 is received on {settings.host}:{port}. Ctrl-C ends it.")
