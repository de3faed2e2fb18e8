"""What an import did, in numbers and in words."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from fedcohort.sources.importer.batch import Batch, Refusal

SHOWN_REFUSALS = 1000
"""So many are kept for the report; all of them are handed to `on_refusal` as they come."""


@dataclass
class Imported:
    """What an import did, for the data engineer at the site.

    Attributes:
        database: where the rows stand now.
        keyed: tables in which a record replaces the earlier one of its key.
        written: by table, replaced rows included.
        parts, unchanged: how many parts were read, and how many had been imported before.
        read: records, refused ones included.
        refused: by column and reason.
        refusals: the first of them, each with its place.
        made_missing: by column and reason, values that became missing because the mapping says so, or
            because de-identification cannot read them; of unchanged parts and of what an interrupted run had
            imported, too.
        replaced: by table, records that took the place of another of their key.
        older: changes of events that came after later ones, and so changed nothing.
        merged: pairs of patients that became one.
        number: the import's, by which it can be undone; 0 where nothing of it is noted.
        empty: nothing was written, and no table of the source has a row from before.
        is_trial: nothing was written at all; `written` counts what would have been.
        deidentification: what was done about identifiers, in words.
    """

    database: str
    keyed: Collection[str] = ()
    written: Counter[str] = field(default_factory=Counter)
    parts: int = 0
    unchanged: int = 0
    read: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refusals: list[Refusal] = field(default_factory=list)
    made_missing: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    older: int = 0
    merged: int = 0
    number: int = 0
    empty: bool = False
    is_trial: bool = False
    deidentification: str = ""

    def __str__(self) -> str:
        """A line for people, and one more for every reason of refusal."""
        tables = ", ".join(
            f"{count} into {table}{self._by_key(table)}" for table, count in sorted(self.written.items())
        )
        tried = "tried, and nothing changed: " if self.is_trial else ""
        line = f"{self.database}: {tried}{self.read} records read, {tables or 'nothing written'}"
        if self.unchanged:
            line += f"; {self.unchanged} of {self.unchanged + self.parts} files unchanged"
        if self.older:
            line += f"; {self.older} older than what stands there, and left out"
        if self.merged:
            line += f"; {self.merged} patients merged"
        reasons = (f"\n  {count} refused: {reason}" for reason, count in sorted(self.refused.items()))
        missing = (f"\n  {count} made missing: {why}" for why, count in sorted(self.made_missing.items()))
        return line + "".join((*reasons, *missing))

    def _by_key(self, table: str) -> str:
        if table not in self.keyed:
            return ""
        replaced = self.replaced[table]
        return f" (each key once{f', {replaced} in place of others' if replaced else ''})"

    def note(self, batch: Batch, written: int, read: int) -> None:
        """Count the records of a batch.

        Args:
            written: records of it that were written.
            read: all of its records.
        """
        self.read += min(read, written + len(batch.refusals))  # a header that is refused is no record
        self.written[batch.table] += written
        self.made_missing.update(batch.made_missing)
        for refusal in batch.refusals:
            self.refused[" ".join(filter(None, (refusal.field, refusal.reason)))] += 1
            if len(self.refusals) < SHOWN_REFUSALS:
                self.refusals.append(refusal)
