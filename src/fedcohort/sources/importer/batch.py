"""What every source yields to the importer: columns of values, and what was refused.

A source reads a standard (CSV, Parquet, SQL, DICOM, ...) and knows nothing of the
database; the importer (`pipeline.py`) writes batches, keeps a checkpoint of each part,
and reports. A bad record becomes a `Refusal` and never stops an import.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from fedcohort.sources.catalogue.schema import Declared


@dataclass(frozen=True)
class Refusal:
    """A record, or one file of many, that was left out.

    Attributes:
        file: as the engineer named it, relative to what was imported.
        position: line, record number or tag path: where in the file to look.
        field: the column or element at fault; empty when it is the whole record.
        reason: what is wrong and what to do, in words; never a patient's value.
        also: what else is wrong with the record: columns and reasons.
    """

    file: str
    position: str
    field: str
    reason: str
    also: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Batch:
    """Records of one table, column by column.

    Attributes:
        table: where they go.
        columns: column to values, all of one length; None where missing. `patient_id` is among them, as the
            source has it: the importer, or de-identification, makes one text of it (`normal_form`).
        read: records of the part read up to the end of this batch, refused ones included; an
            interrupted import goes on from there.
        refusals: those since the batch before.
        broken: the part cannot be read any further, and another copy of it may be whole.
        made_missing: by column and reason, values that became missing because the mapping says so, or because
            de-identification cannot read them.
    """

    table: str
    columns: Mapping[str, Sequence[object]]
    read: int
    refusals: Sequence[Refusal] = field(default_factory=tuple)
    broken: bool = False
    made_missing: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What is imported once: a file, or a table of another database.

    Attributes:
        name: as the engineer named it, relative to what was imported.
        table: where its records go.
        digest: SHA-256 of its content; a part whose digest was imported before is not read again.
        batches: the part's batches after the first `n` records.
        size: bytes of the content, where more may be appended to it.
        prefix: SHA-256 of its first so many bytes, or nothing where they end within a record; None where
            nothing is appended.
    """

    name: str
    table: str
    digest: Callable[[], str]
    batches: Callable[[int], Iterator[Batch]]
    size: Callable[[], int] = lambda: 0
    prefix: Callable[[int], str] | None = None


@dataclass(frozen=True)
class Source:
    """Everything that one import reads.

    Attributes:
        tables: for every table that the parts fill, its columns other than patient_id, as declared.
        parts: in the order of reading; may be found while reading (a folder of images).
        notes: how columns are read that nobody declared, for the engineer; a line each, and never a value.
        form: of the identifiers that its pseudonyms were made of; None where patients come as they are.
    """

    tables: Mapping[str, Mapping[str, Declared]]
    parts: Iterable[Part]
    notes: Sequence[str] = ()
    form: int | None = None


@contextmanager
def closed_after(batches: Iterator[Batch]) -> Iterator[Iterator[Batch]]:
    """Batches whose source gives its file back however reading them ends."""
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()
