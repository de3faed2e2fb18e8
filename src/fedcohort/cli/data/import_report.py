"""What an import tells: its report, and a list of every record that was refused."""

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedcohort.cli.support import console, error_console
from fedcohort.errors import ConfigError

if TYPE_CHECKING:
    from fedcohort.sources.importer.batch import Refusal
    from fedcohort.sources.importer.report import Imported

SHOWN = 10
REFUSED_HEADER = ("file", "position", "field", "reason")


@contextlib.contextmanager
def listing(path: Path | None) -> Iterator[Callable[["Refusal"], None]]:
    """Where every refused record is written down: in a file, where one is named.

    Raises:
        ConfigError: the file cannot be written, or is no list of refusals.
    """
    if path is None:
        yield lambda _: None
        return
    _check_refused(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(REFUSED_HEADER)
        yield lambda refusal: writer.writerows(
            [harmless(refusal.file), refusal.position, harmless(column), reason]
            for column, reason in ((refusal.field, refusal.reason), *refusal.also)
        )


def _check_refused(path: Path) -> None:
    """Never write over a file that is not a list of refusals: it may be what is imported."""
    try:
        with path.open("rb") as file:
            begin = file.read(256)
    except FileNotFoundError:
        begin = b""
    except OSError as error:
        raise ConfigError(
            f"--refused {path}: {error.strerror}; name a file in a folder that is there"
        ) from None
    if begin and not begin.startswith(",".join(REFUSED_HEADER).encode() + b"\r\n"):
        raise ConfigError(f"--refused {path}: stands there and is no list of refusals; name a new file")
    if not path.parent.is_dir():
        raise ConfigError(f"--refused {path}: there is no folder {path.parent}; make it first")


def harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def print_report(report: "Imported", refused: Path | None) -> None:
    """What an import did, and the first records that were refused.

    Args:
        refused: the file with all of them, where one is written.
    """
    console.print(str(report), markup=False, highlight=False)
    print_refusals(report.refusals, report.refused.total(), refused)


def print_refusals(refusals: Sequence["Refusal"], count: int, refused: Path | None) -> None:
    """The first records that were refused, and where all of them are.

    Args:
        count: how many there are, of which `refusals` need not be all.
        refused: the file with all of them, where one is written.
    """
    for refusal in refusals[:SHOWN]:
        where = " ".join(filter(None, (f"{refusal.file}:", refusal.position, refusal.field)))
        also = "".join(f"; also {column} {reason}" for column, reason in refusal.also)
        error_console.print(f"  {where}: {refusal.reason}{also}", markup=False, highlight=False)
    rest = count - min(len(refusals), SHOWN)
    if rest > 0:
        all_of_them = f"see {refused}" if refused else "name a file by --refused to see all"
        error_console.print(f"  and {rest} more; {all_of_them}", markup=False, highlight=False)
