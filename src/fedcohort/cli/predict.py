"""`fedcohort predict`: a trained model applied to one patient, or to a cohort of this site."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedcohort.cli.support import console
from fedcohort.errors import ConfigError

if TYPE_CHECKING:
    from fedcohort.researcher.inference import Prediction, Predictor


def predict(
    model: Annotated[Path, typer.Argument(help="The folder that `fedcohort run --save FOLDER` wrote.")],
    value: Annotated[
        list[str] | None,
        typer.Option(help="A column and its value: age=63, scan=file.png. One left out is missing."),
    ] = None,
    site: Annotated[
        Path | None, typer.Option("--site", help="site.toml: predict the study's cohort at this site.")
    ] = None,
    into: Annotated[
        str | None, typer.Option("--into", help="Database for the predictions; the site's own without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Predict one patient (--value) or this site's whole cohort (--site), on this machine only."""
    from fedcohort.researcher.inference import load_predictor

    if (site is None) == (not value):
        raise ConfigError("give either --value COLUMN=VALUE, once a column, or --site site.toml")
    predictor = load_predictor(model)
    if site is not None:
        _predict_cohort(predictor, site, into)
    elif value:
        given = dict(_pair(text) for text in value)
        read = {name: _read(predictor, name, text) for name, text in given.items()}
        _print(predictor.predict_one(read), as_json)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--value {text}: write COLUMN=VALUE")
    return name.strip(), value.strip()


def _read(predictor: "Predictor", name: str, text: str) -> object:
    """The value of a column; for an image, the content of the PNG file."""
    from fedcohort.columns import Image

    kind = predictor.cohort.schema_.get(name)
    if not isinstance(kind, Image):
        return text
    try:
        with Path(text).open("rb") as file:
            return file.read(kind.most_bytes + 1)
    except OSError as error:
        raise ConfigError(f"--value {name}: {error.strerror}; name a PNG file") from error


def _predict_cohort(predictor: "Predictor", site: Path, into: str | None) -> None:
    from fedcohort.node.policy import read_policy
    from fedcohort.node.running import offered_columns
    from fedcohort.node.site_events import site_events
    from fedcohort.sources.cohort.select import load_cohort

    policy = read_policy(site)
    cohort = predictor.cohort.model_copy(update={"where": predictor.study.cohort.where})
    table = load_cohort(
        policy.data,
        cohort,
        predictor.study.seed,
        offered_columns(policy),
        policy.state,
        events=site_events(policy),
    )
    count = predictor.predict_cohort(table, into or policy.data)
    console.print(f"{count} rows predicted, in table fedcohort_predictions of {into or policy.data}")


def _print(prediction: "Prediction", as_json: bool) -> None:
    if as_json:
        console.print_json(json.dumps(vars(prediction)))
        return
    from rich.table import Table

    text = f"{prediction.value:.4g} {prediction.unit or ''}".rstrip()
    number = prediction.outcome == prediction.label
    console.print(
        f"{prediction.outcome}: {text}"
        if number
        else f"{prediction.label} = {prediction.outcome}: probability {text}",
        markup=False,
        highlight=False,
    )
    if prediction.missing:
        text = f"Not given, and counted as missing: {', '.join(prediction.missing)}"
        console.print(text, markup=False, highlight=False)
    unit = (prediction.unit or "unit of the label") if number else "probability"
    table = Table("column", f"contribution ({unit})", *(["in log-odds"] if prediction.log_odds else []))
    table.add_row("without any value", f"{prediction.baseline:.4g}")
    for name, part in sorted(prediction.contributions.items(), key=lambda item: -abs(item[1])):
        table.add_row(
            name, f"{part:+.4g}", *([f"{prediction.log_odds[name]:+.4g}"] if prediction.log_odds else [])
        )
    console.print(table)
