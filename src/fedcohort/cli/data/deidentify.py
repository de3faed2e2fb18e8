"""De-identification on the command line: what an import is asked to do, and what people may look up later."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.support import SiteFile, console, error_console
from fedcohort.errors import ConfigError

if TYPE_CHECKING:
    from fedcohort.cli.data.imports import Named
    from fedcohort.sources.importer.batch import Source
    from fedcohort.sources.importer.deidentification import Deidentification, IdentifiersKept

RulesFile = Annotated[
    Path | None,
    typer.Option("--deidentify", help="The site's rules (TOML); without, names decide."),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key", help="The site's de-identification key; deid.key, made when missing.")
]
KeepIdentifiers = Annotated[
    bool, typer.Option("--keep-identifiers", help="Import patients as they are; the report says so.")
]


DEFAULT_KEY = Path("deid.key")
KEY_BYTES = 32
SAID = "--keep-identifiers was said, and patients stand there as they came"


@dataclass(frozen=True)
class ImportOptions:
    """How an import treats identifiers, as it was asked; and whether it is only tried."""

    rules: Path | None
    key: Path | None
    keep: bool
    is_trial: bool = False


def deidentification_of(
    import_options: ImportOptions, source: "Source", named: "Named"
) -> "Deidentification":
    """What an import was asked to do about identifiers.

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
    if absent := sorted(rules.tables.keys() - source.tables.keys()):
        # One file of rules may serve several imports; a mistyped name would protect nothing.
        error_console.print(
            f"{import_options.rules}: [tables.{absent[0]}] is of no table of this import, which writes "
            f"{', '.join(sorted(source.tables))}",
            markup=False,
            highlight=False,
        )
    return RuleSet(rules, key, named.origins, named.parts, named.dates)


def identifiers_kept() -> "IdentifiersKept":
    """That the identifiers of patients are kept, as the account that runs this command allows it."""
    import getpass

    from fedcohort.sources.importer.deidentification import IdentifiersKept

    try:
        account = getpass.getuser()
    except (ImportError, KeyError, OSError):  # as in some containers
        account = "an account without a name"
    return IdentifiersKept(SAID, account)


def key_of(import_options: ImportOptions) -> bytes | None:
    """The key of an import that is de-identified; None where identifiers are kept.

    Raises:
        ConfigError: the words exclude each other.
        KeyFileError: the key cannot be read or made.
    """
    if (
        import_options.is_trial
        and not import_options.keep
        and not (import_options.key or DEFAULT_KEY).exists()
    ):
        note = "a dry run makes no key: the import makes one, and its id will be another than the one below"
        error_console.print(note, markup=False, highlight=False)
        return secrets.token_bytes(KEY_BYTES)  # nothing of it stays
    if not import_options.keep:
        return site_key(import_options.key)
    if import_options.rules or import_options.key:
        raise ConfigError("--keep-identifiers: goes without --deidentify and --key")
    return None


def site_key(path: Path | None) -> bytes:
    """The site's key, and a word where it is made: a wrong path would be a new key, too.

    Raises:
        KeyFileError: the key cannot be read or made.
    """
    from fedcohort.sources.deidentify.pseudonym import key_id, load_or_create_key

    path = path or DEFAULT_KEY
    is_new = not path.exists()
    key = load_or_create_key(path)
    if is_new:
        note = f"made a new key {path} (id {key_id(key)}): pseudonyms will not link to those of another key"
        error_console.print(f"{note}; back it up", markup=False, highlight=False)
    return key


def explain_stand_ins(files: Iterable[str], key: Path | None) -> None:
    """Say once, where one of these names of files is a stand-in, how the file behind it is found."""
    from fedcohort.sources.deidentify.pseudonym import STAND_IN

    if any(file.startswith(STAND_IN) for file in files):
        command = f"fedcohort data file-names FOLDER --key {key or 'deid.key'}"
        error_console.print(f"  {STAND_IN}... stands for a file: {command}", markup=False, highlight=False)


def k_anonymity(
    table: Annotated[str, typer.Option(help="Table of the site's database.")],
    quasi: Annotated[str, typer.Option(help="Columns that an outsider may know, such as age,sex,zip.")],
    k: Annotated[int, typer.Option("--k", min=2, help="Patients that no class should fall below.")] = 5,
    sensitive: Annotated[str | None, typer.Option(help="Column that should differ in a class.")] = None,
    site: SiteFile = Path("site.toml"),
) -> None:
    """How many patients share each combination of quasi-identifiers, and what would help.

    Counts only, for the site's own engineer: they are facts about patients, and not for researchers.
    """
    from fedcohort.node.policy import read_policy
    from fedcohort.sources.deidentify.k_anonymity import k_anonymity as count

    columns = [name.strip() for name in quasi.split(",") if name.strip()]
    console.print(
        str(count(read_policy(site).data, table, columns, k, sensitive)), markup=False, highlight=False
    )


def file_names(
    folder: Annotated[Path, typer.Argument(help="The folder that was imported.")],
    key: Annotated[Path, typer.Option("--key", help="The site's de-identification key.")],
) -> None:
    """Say which file of an imported folder stands behind each masked name of a report."""
    from fedcohort.sources.deidentify.pseudonym import load_key, masked_file_name

    secret = load_key(key)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        console.print(f"{masked_file_name(secret, name)}  {name}", markup=False, highlight=False)
