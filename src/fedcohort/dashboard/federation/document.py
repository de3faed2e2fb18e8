"""A study as one HTML file, without server or script: question, sites, results, protection, hashes.

It is what goes to an ethics board or into a paper's supplement, so it prints well and says on
what its promises rest. Everything in it is what the coordinator has released.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedcohort.analyses.figures import figures_by_round, figures_of
from fedcohort.dashboard.shared.svg import svg
from fedcohort.dashboard.shared.texts import date
from fedcohort.explain import privacy_words, protection_words, sections
from fedcohort.figure_texts import PAPER, Grid, grid, said
from fedcohort.figures import Bars, Curve, Figure, Table, Value
from fedcohort.study import Study, parse_study
from fedcohort.texts.look_up import translated

Json = Mapping[str, Any]
Texts = Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """One figure as the file shows it: a picture, a table, or a picture over a table."""

    title: str
    notes: list[str]
    picture: Markup | None
    grid: Grid | None


@dataclass(frozen=True)
class Section:
    """Figures below one heading, and what is said of all."""

    heading: str
    parts: list[Part]
    notes: list[str]


@dataclass(frozen=True)
class Finished:
    """What the coordinator's REST says of a study that has ended.

    Attributes:
        study: GET /api/studies/ID.
        report: GET /api/studies/ID/report.
        rows: of GET /api/studies/ID/metrics.
        version: the coordinator's, for a report from before reports told their own.
        fingerprint: of the coordinator's key; `fingerprints` of the hospitals'.
    """

    study: Json
    report: Json
    rows: Sequence[Json]
    version: str
    fingerprint: str = ""
    fingerprints: Mapping[str, str] = field(default_factory=dict)


def finished(study_id: str, get: Callable[[str], Json]) -> Finished:
    """Ask the coordinator.

    Args:
        get: GETs a path of its REST, and raises what is wrong.
    """
    study = get(f"/api/studies/{study_id}")
    path = f"/api/studies/{study['id']}"
    federation = get("/api/federation")
    coordinator = federation["coordinator"]
    keys = {site["id"]: site["fingerprint"] or "" for site in federation["sites"]}
    rows = get(f"{path}/metrics")["rows"]
    report = get(f"{path}/report")
    return Finished(study, report, rows, coordinator["version"], coordinator["fingerprint"] or "", keys)


def document(found: Finished, texts: Texts) -> str:
    """The file's text.

    Args:
        texts: of the language, by name (`texts.look_up.page_texts`).
    """
    environment = Environment(
        loader=PackageLoader("fedcohort.dashboard"), autoescape=True, undefined=StrictUndefined
    )
    report = found.report
    return environment.get_template("document.html").render(
        t=texts,
        study=found.study,
        asked_on=date(str(found.study["created_at"]), texts, "date.day"),
        report=report,
        versions=report.get("versions", {"fedcohort": found.version}),
        fingerprint=found.fingerprint,
        results_hash=hashlib.sha256(json.dumps(report, indent=2).encode()).hexdigest(),
        **_told(found, texts),
        sections=results(found, texts),
    )


def _told(found: Finished, texts: Texts) -> dict[str, Any]:
    """What is said in words: the question, who took part, with how many, and what is protected."""
    report, language = found.report, texts["language"]
    # A printed report tells what came out; what was to be expected would be computed for nothing.
    study = parse_study(dict(found.study["study"]))
    question = sections(study, patients=())[:3]
    sites = [
        (one["id"], texts.get(f"answer.{one['state']}", one["state"]), one["code"])
        for one in found.study["sites"]
    ]
    return {
        "question": [
            [translated(line, language) for line in (part.heading, *part.lines)] for part in question
        ],
        "sites": [(*one, found.fingerprints.get(one[0], "")) for one in sites],
        "sizes": _sizes(report, texts),
        "promises": _promises(study, report, language),
    }


def _promises(study: Study, report: Json, language: str) -> list[str]:
    """What the report says of protection and privacy; words of an earlier version stay as they are."""
    n_sites = len(report["sites"])
    today = {str(one): one for one in (*protection_words(study, n_sites), *privacy_words(study, n_sites))}
    words = [*report["protection"]["words"], *report["privacy"]["words"]]
    return [translated(today.get(one, one), language) for one in words]


def _sizes(report: Json, texts: Texts) -> list[tuple[str, int]]:
    """(split, rows) of what was measured, as it was released."""
    splits = ("train", "test", "valid")
    rows = {split: report[split].get("rows") for split in splits if isinstance(report.get(split), Mapping)}
    return [(texts[f"split.{split}"], n) for split, n in rows.items() if isinstance(n, int)]


def results(found: Finished, texts: Texts) -> list[Section]:
    """What came out, section by section: tables and matrices, then what is drawn."""
    study = found.study["study"]
    figures = (*figures_by_round(found.rows), *figures_of(study, found.report))
    names = dict.fromkeys(figure.section for figure in figures)
    made = []
    for name in names:
        mine = [figure for figure in figures if figure.section == name]
        note = _interval_note(mine, is_private=bool(study.get("privacy")))
        parts = [_part(figure, texts) for figure in mine if not (isinstance(figure, Bars) and figure.tabled)]
        notes = [texts[note]] if note else []
        made.append(Section(texts.get(f"{name}.heading", name), parts, notes))
    return made


def _interval_note(figures: Sequence[Figure], *, is_private: bool) -> str | None:
    """The text that says what the intervals in tables are of: the noise, or other patients."""
    tables = [figure for figure in figures if isinstance(figure, Table)]
    values = [cell for table in tables for row in table.rows for cell in row.cells if isinstance(cell, Value)]
    if is_private:
        return "document.interval_note" if any(value.low is not None for value in values) else None
    return "document.sampling_note" if any(value.of_patients for value in values) else None


def _part(figure: Figure, texts: Texts) -> Part:
    notes = [said(note, texts) for note in figure.notes]
    error = figure.bars[0].value.error if isinstance(figure, Bars) and figure.bars else None
    notes += [] if error is None else [texts["described.error"].format(n=f"{error:g}")]
    picture = svg(figure, texts)
    below = grid(figure, texts, PAPER) if picture is None or isinstance(figure, Curve) else None
    return Part(said(figure.title, texts), notes, picture, below)
