"""What the imports of events share, whatever format they read."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from fedcohort.cli.data.deidentify import ImportOptions, explain_stand_ins, identifiers_kept, key_of
from fedcohort.cli.data.import_report import listing, print_report
from fedcohort.cli.support import console
from fedcohort.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Collection

    from fedcohort.sources.events.feed import EventFeed
    from fedcohort.sources.events.naming import EventDeidentification
    from fedcohort.sources.importer.report import Imported

_SOURCE = re.compile(r"[A-Za-z0-9._:/-]{1,64}")


def import_events_or_fail(
    feed: "EventFeed",
    into: str,
    import_options: ImportOptions,
    refused: Path | None,
    *,
    context: str = "",
    typed: "Collection[str]" = (),
) -> "Imported":
    """Import a feed of events, with a line of progress and a report; fail where that leaves nothing.

    Args:
        context: what else decides the outcome, beside the rules.
        typed: names of files that the engineer typed; a folder's were given by somebody else.
    Raises:
        ConfigError: the feed's source is no short name.
        DataError: something came, but no record of it is in the database, and none was before.
        StoreError: the database cannot be written.
    """
    from rich.text import Text

    from fedcohort.sources.events.pipeline import import_events

    if not _SOURCE.fullmatch(feed.source):
        raise ConfigError("--source: write a short name of letters, digits and signs, such as lab-2")

    deidentification = event_deidentification(import_options, typed)
    with listing(refused) as note, console.status("") as status:
        report = import_events(
            feed,
            into,
            deidentification,
            context=context,
            progress=lambda name, done: status.update(Text(f"{name}: {done} records")),
            on_refusal=note,
        )
    print_report(report, refused)
    explain_stand_ins((refusal.file for refusal in report.refusals), import_options.key)
    console.print(report.deidentification, markup=False, highlight=False)
    if report.empty and (report.read or report.refused or report.unchanged):
        raise DataError(
            f"{report.database}: no event was imported, and none was there before: correct what was refused, "
            "and import again"
        )
    return report


def event_deidentification(
    import_options: ImportOptions, typed: "Collection[str]"
) -> "EventDeidentification":
    """What was asked to be done about identifiers.

    Raises:
        ConfigError: the words exclude each other, or the rules cannot be read.
        KeyFileError: the key cannot be read or made.
    """
    from fedcohort.sources.deidentify.rule_set import RuleSet
    from fedcohort.sources.deidentify.rules import Rules, read_rules

    key = key_of(import_options)
    if key is None:
        return identifiers_kept()
    rules = Rules() if import_options.rules is None else read_rules(import_options.rules)
    return RuleSet(rules, key, named=typed)
