"""`fedcohort report`: a finished study as one HTML file for an ethics board, a paper, or a printer."""

from pathlib import Path
from typing import Annotated

import typer

from fedcohort.cli.support import DEFAULT_URL, CaFile, Coordinator, StudyName, Token, console, open_federation
from fedcohort.errors import ConfigError


def report(
    study: StudyName,
    into: Annotated[Path, typer.Option("--into", help="The HTML file to write.")] = Path("report.html"),
    coordinator: Coordinator = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Write a finished study's question, results and promises as one HTML file that prints well."""
    try:
        from fedcohort.dashboard.federation.document import document, finished
        from fedcohort.texts.look_up import page_texts
    except ModuleNotFoundError:
        raise ConfigError(
            "a report needs the dashboard's parts: "
            "pip install -c constraints.txt '.[dashboard]' in fedcohort's folder"
        ) from None

    rest = open_federation(coordinator, token, ca_file).rest
    text = document(finished(study, rest.get), page_texts())
    into.write_text(text, encoding="utf-8")
    console.print(f"written to {into}", markup=False, highlight=False)
