"""A site's rules and its key, as an import takes them."""

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fedcohort.sources.deidentify.events import event_names
from fedcohort.sources.deidentify.rules import Rule, Rules
from fedcohort.sources.deidentify.source import Deidentifier, deidentified
from fedcohort.sources.events.naming import EventNames
from fedcohort.sources.importer.batch import Source
from fedcohort.sources.importer.deidentification import DeidentifiedSource, Keys


@dataclass(frozen=True)
class RuleSet:
    """De-identification by rules: pseudonyms under a key, dates moved, identifiers left out.

    Attributes:
        rules: the site's; the empty ones let names and declarations decide.
        key: the site's, as `load_or_create_key` reads it; in no representation.
        origins: table to columns to the names that the source has for them, which may tell more.
        named: parts that the engineer named one by one, and so may be called by their names.
        dates: columns that the source knows to be dates; a rule of the site's comes first.
        today: the day of the import, unless the rules say another.
    """

    rules: Rules
    key: bytes = field(repr=False)
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    named: Collection[str] = ()
    dates: Collection[str] = ()
    today: datetime.date | None = None

    def apply(self, source: Source, keys: Keys, form: int) -> DeidentifiedSource:
        """De-identify a source.

        Raises:
            ConfigError: a rule does not fit what is declared, or a key would no longer tell records apart.
        """
        by_source = {name: Rule(role="date") for name in self.dates}
        rules = self.rules.model_copy(update={"columns": {**by_source, **self.rules.columns}})
        made = Deidentifier(
            rules,
            self.key,
            source.tables,
            keys=keys,
            origins=self.origins,
            named=self.named,
            today=self.today,
            form=form,
        )
        return DeidentifiedSource(
            deidentified(source, made), made.identity, lambda: str(made.report()), made.digest
        )

    def event_names(self, form: int) -> EventNames:
        """How events are de-identified.

        Raises:
            ConfigError: the rules are not of event tables.
        """
        return event_names(self.rules, self.key, frozenset(self.named), form)
