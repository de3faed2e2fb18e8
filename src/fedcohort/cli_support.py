"""What the commands share: options, messages, and errors in one line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedcohort.errors import FedcohortError, StoreError

if TYPE_CHECKING:
    from fedcohort.client import Federation

DEFAULT_URL = "http://127.0.0.1:8760"

console = Console(soft_wrap=True)
error_console = Console(stderr=True, soft_wrap=True)
"""Lines are not broken: in a file or a pipe one message is one line."""

Coordinator = Annotated[
    str,
    typer.Option(
        envvar="FEDCOHORT_COORDINATOR", help="Address of the coordinator, such as https://host:8760."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(envvar="FEDCOHORT_TOKEN", help="Your token; not needed on the coordinator's own machine."),
]
CaFile = Annotated[
    Path | None, typer.Option(envvar="FEDCOHORT_CA_FILE", help="The hospital's own CA, in PEM.")
]
Config = Annotated[Path, typer.Option(help="A whole federation in one flat file.")]
SiteFile = Annotated[
    Path, typer.Option("--site", help="The site's file: data, tables on offer, limits, approval.")
]
StudyName = Annotated[str, typer.Argument(help="The study's hash, or its first six characters or more.")]


def run_command(command: Callable[[], None]) -> None:
    """Run a command line; our errors are one message and exit code 1, Ctrl-C is 130."""
    try:
        command()
    except FedcohortError as error:
        error_console.print(f"[red]error[/red] ({error.code}):", end=" ")
        error_console.print(str(error), markup=False, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def existing(path: Path, remedy: str) -> Path:
    """A database that must be there: a command that only reads must not make an empty one.

    Raises:
        StoreError: it is not.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such database; {remedy}")
    return path


def open_federation(coordinator: str, token: str | None, ca_file: Path | None) -> "Federation":
    """Connect as a researcher."""
    from fedcohort.client import connect

    return connect(coordinator, token, ca_file=ca_file)
