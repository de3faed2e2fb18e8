"""What de-identification did to each column, for the people of the site; never a value."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

_WORDS: Mapping[str, str] = {
    "pseudonym": "pseudonym",
    "code": "keyed code",
    "removed": "left out",
    "date": "dates",
    "age": "ages to 90",
    "zip": "ZIP to three digits",
    "kept": "kept",
    "unread": "kept unread",
}


@dataclass
class ColumnTally:
    """One column's account, which grows with every batch.

    Attributes:
        action: what is done, an `Action` of `plan`.
        why: in words.
        blanked: how many could not be read as what the column should hold, and are missing now; of this run,
            while the import's own report counts those of the whole import.
        any_left: whether at least one value is left; asked only where some could not be read.
    """

    table: str
    column: str
    action: str
    why: str
    blanked: int = 0
    any_left: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether all that the column ever held could not be read."""
        return bool(self.blanked) and not self.any_left

    def __str__(self) -> str:
        """A line."""
        return f"{self.table}.{self.column}: {_WORDS[self.action]} ({self.why})"


@dataclass(frozen=True)
class DeidentificationReport:
    """What was done, under which key.

    Attributes:
        identity: how patients are known afterwards, with the key's id.
        as_of: dates 90 years before it or earlier are given as that year.
        columns: every column that came.
    """

    identity: str
    as_of: datetime.date
    columns: tuple[ColumnTally, ...]

    def __str__(self) -> str:
        """A line for the whole, and one for every column."""
        return "\n  ".join([f"de-identified: {self.identity}", *map(str, self.columns)])
