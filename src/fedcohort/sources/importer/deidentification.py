"""What an import does about the identifiers of patients: whoever imports says it, and nothing is assumed.

A `Deidentification` is an argument of every import that has no default. The rules of a site are one
(`deidentify.rule_set`), and so are the stand-ins for MIMIC's numbers; the two others stand here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fedcohort.errors import ConfigError
from fedcohort.sources.importer.batch import Source

IDENTIFIERS_KEPT = "identifiers kept"
Keys = Mapping[str, Sequence[str]]
"""Table to the columns by which a record replaces the earlier one."""


@dataclass(frozen=True)
class DeidentifiedSource:
    """A source as it may be stored.

    Attributes:
        source: what is read, each batch de-identified.
        identity: how patients are known afterwards; a database keeps to one.
        report: what was done, in words, once the source is read.
        digest: of what else decides the outcome; under another, a part cannot be continued.
        permission: why identifiers are kept, and who allows it; None where they are not.
    """

    source: Source
    identity: str
    report: Callable[[], str]
    digest: str = ""
    permission: "IdentifiersKept | None" = None


class Deidentification(Protocol):
    """How the identifiers of a source are treated."""

    def apply(self, source: Source, keys: Keys, form: int) -> DeidentifiedSource:
        """De-identify a source.

        Args:
            keys: of its tables.
            form: of the database's identifiers (`identity.form_of`).
        Raises:
            ConfigError: what is asked does not fit the source.
        """
        ...


@dataclass(frozen=True)
class IdentifiersKept:
    """Patients are stored under the identifiers that the source has for them.

    Attributes:
        because: why, in words for the report and the database.
        allowed_by: the person or account that allows it.
    """

    because: str
    allowed_by: str

    def __post_init__(self) -> None:
        """Refuse a permission that says nothing."""
        if not (self.because.strip() and self.allowed_by.strip()):
            raise ConfigError("identifiers are kept: say why, and who allows it")

    def apply(self, source: Source, keys: Keys, form: int) -> DeidentifiedSource:
        """The source as it is."""
        return DeidentifiedSource(source, IDENTIFIERS_KEPT, lambda: str(self), permission=self)

    def __str__(self) -> str:
        """For the report."""
        return f"NOT de-identified: {self.because}"


@dataclass(frozen=True)
class NoIdentifiers:
    """Nothing has to be done: the rows name nobody, or nobody whom the database does not hold already.

    Attributes:
        because: why, such as made-up patients.
    """

    because: str

    def apply(self, source: Source, keys: Keys, form: int) -> DeidentifiedSource:
        """The source as it is."""
        return DeidentifiedSource(source, IDENTIFIERS_KEPT, lambda: str(self))

    def __str__(self) -> str:
        """For the report."""
        return f"not de-identified: {self.because}"


PUBLIC = NoIdentifiers("public data without identifiers, whose patients are numbered here")
MADE_UP = NoIdentifiers("made-up patients")
