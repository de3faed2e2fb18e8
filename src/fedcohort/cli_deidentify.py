"""`fedcohort data k-anonymity` and `file-names`: what a site's people may look up about their data."""

from pathlib import Path
from typing import Annotated

import typer

from fedcohort.cli_support import SiteFile, console


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
    from fedcohort.sources.k_anonymity import k_anonymity as count

    columns = [name.strip() for name in quasi.split(",") if name.strip()]
    console.print(
        str(count(read_policy(site).data, table, columns, k, sensitive)), markup=False, highlight=False
    )


def file_names(
    folder: Annotated[Path, typer.Argument(help="The folder that was imported.")],
    key: Annotated[Path, typer.Option("--key", help="The site's de-identification key.")],
) -> None:
    """Say which file of an imported folder stands behind each masked name of a report."""
    from fedcohort.sources.pseudonym import load_key, masked_file_name

    secret = load_key(key)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        console.print(f"{masked_file_name(secret, name)}  {name}", markup=False, highlight=False)
