"""Options, messages and error reports that the commands share."""

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedcohort.errors import ConfigError, FedcohortError, StoreError
from fedcohort.logs import LogFormat

if TYPE_CHECKING:
    from fedcohort.researcher.client import Federation

log = logging.getLogger("fedcohort")

SECRETS = (
    "FEDCOHORT_TOKEN",
    "FEDCOHORT_DASHBOARD_TOKEN",
    "FEDCOHORT_OIDC_SECRET",
    "FEDCOHORT_JOIN_TOKEN",
    "FEDCOHORT_DATABASE",
)
"""Secrets, which must not be in a command line, and may come from a file: NAME_FILE."""
MAX_SECRET = 4096
DEFAULT_URL = "http://127.0.0.1:8760"
DEFAULT_CONFIG = Path("config.json")

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
    typer.Option(
        envvar="FEDCOHORT_TOKEN",
        help="Your token; a demo, or a federation of one config.json, keeps one for you on its machine.",
    ),
]
CaFile = Annotated[
    Path | None, typer.Option(envvar="FEDCOHORT_CA_FILE", help="The hospital's own CA, in PEM.")
]
Config = Annotated[Path, typer.Option(help="A whole federation in one flat file.")]
SiteFile = Annotated[
    Path, typer.Option("--site", help="The site's file: data, tables on offer, limits, approval.")
]
LogForm = Annotated[
    LogFormat,
    typer.Option(
        "--log-format", envvar="FEDCOHORT_LOG_FORMAT", help="Lines for people, or JSON for machines."
    ),
]
StudyName = Annotated[str, typer.Argument(help="The study's hash, or its first six characters or more.")]


def never_fail_to_print() -> None:
    """Escape what a console of an older code page, such as cp1252, cannot show: no output is an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_command(command: Callable[[], None]) -> None:
    """Run a command line; our errors are one message and exit code 1, Ctrl-C is 130."""
    try:
        read_secret_files(os.environ)
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


def say_whole(newest: tuple[int, bytes], length: int) -> None:
    """Print that a log's chain is whole, and its newest hash, for its operator to write down elsewhere."""
    sequence, digest = newest
    console.print(f"entry {sequence}: {digest.hex()}", highlight=False, soft_wrap=True)
    console.print(f"{length} entries, the chain is whole", highlight=False)


def announce(form: LogFormat, words: str) -> None:
    """Print that a process runs: on the screen, or in a log for machines."""
    if form is LogFormat.json:
        log.info("%s", words)
    else:
        console.print(words, highlight=False)


def read_secret_files(environment: MutableMapping[str, str]) -> None:
    """Take each secret from the file that NAME_FILE names, as systemd and Docker pass secrets.

    Raises:
        ConfigError: the file cannot be read, or the secret is given twice.
    """
    for name in SECRETS:
        path = environment.get(f"{name}_FILE")
        if not path:
            continue
        if environment.get(name):
            raise ConfigError(f"{name} and {name}_FILE are both set; leave one of them out")
        try:
            with Path(path).open(encoding="utf-8-sig") as file:
                secret = file.read(MAX_SECRET + 1).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{name}_FILE: {path} cannot be read "
                f"({type(error).__name__}); let the account that runs fedcohort read it, as UTF-8"
            ) from error
        if len(secret) > MAX_SECRET:
            raise ConfigError(f"{name}_FILE: {path} is too long to be a secret; let it hold the secret alone")
        if secret:
            environment[name] = secret


def open_federation(coordinator: str, token: str | None, ca_file: Path | None) -> "Federation":
    """Connect as a researcher."""
    from fedcohort.researcher.client import connect

    return connect(coordinator, token, ca_file=ca_file)
