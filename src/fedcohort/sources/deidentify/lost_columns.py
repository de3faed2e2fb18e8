"""A column of which nothing can be read was described wrongly: the import stops and says so."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from fedcohort.errors import SchemaError
from fedcohort.sources.deidentify.report import ColumnTally
from fedcohort.sources.importer.batch import Batch

AHEAD_ROWS = 20_000
"""So many records are looked at before the first of them is written."""
MANY = 20
"""So many values of one column that cannot be read are no accident."""
CHANGED = ("date", "age", "zip")
"""What is done to columns whose values must be read for it."""

_REMEDIES = {
    "date": (
        "dates, which may be written in another form: in the rules file ({}) say how, such as "
        '{} = {{ role = "date", format = "%d.%m.%Y" }}, or keep or remove where they are none'
    ),
    "age": (
        'ages: in the rules file ({}) say {} = "keep" where it is none, or remove; or give the mapping codes '
        "that make numbers of it"
    ),
    "zip": 'ZIP codes: in the rules file ({}) say {} = "keep" where it is none, or remove',
}


def none_lost(
    batches: Iterable[Batch], tallies: Callable[[], Iterable[ColumnTally]], *, is_file: bool
) -> Iterator[Batch]:
    """The batches of a part, the first of them looked at before any is handed on.

    Args:
        batches: de-identified; `tallies` counts along.
        is_file: the part is a file of records, all of which were seen when it ends; else a record or few.
    Raises:
        SchemaError: all that a column held could not be read; names it, the rule, and what to say.
    """
    rest = iter(batches)
    ahead: list[Batch] = []
    rows, ended = 0, True
    for batch in rest:
        ahead.append(batch)
        rows += len(next(iter(batch.columns.values()), ()))
        if rows >= AHEAD_ROWS:
            ended = False
            break
    _check(tallies(), 1 if ended and is_file else MANY, "nothing of this file was written")
    yield from chain(ahead, rest)
    if not ended:
        _check(
            tallies(), 1, "what was written stays until `fedcohort data undo --into DATABASE` takes it back"
        )


def _check(tallies: Iterable[ColumnTally], least: int, written: str) -> None:
    lost = [
        tally for tally in tallies if tally.action in CHANGED and tally.is_lost and tally.blanked >= least
    ]
    if lost:
        reasons = "; ".join(_reason(tally) for tally in lost)
        raise SchemaError(f"{reasons}. {written[0].upper()}{written[1:]}")


def _reason(tally: ColumnTally) -> str:
    remedy = _REMEDIES[tally.action].format("--deidentify", tally.column)
    column = f"{tally.table}.{tally.column} ({tally.why})"
    return f"{column}: none of {tally.blanked:,} values could be read as {remedy}"
