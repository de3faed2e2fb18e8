"""A study as one HTML file, without server or script: question, sites, results, protection, hashes.

It is what goes to an ethics board or into a paper's supplement, so it prints well and says on
what its promises rest. Everything in it is what the coordinator has released.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedcohort.dashboard.federation.figures import importance_bars
from fedcohort.dashboard.shared.svg import Axes, Line, Points, bar_chart, histogram_chart, line_chart
from fedcohort.dashboard.shared.texts import date
from fedcohort.explain import privacy_words, protection_words, sections
from fedcohort.known import METRICS, column_name, ends_of, is_known, metric_name
from fedcohort.sampling_intervals import mean_interval, sampling_interval
from fedcohort.study import Study, parse_study
from fedcohort.texts.look_up import translated

MAX_POINTS = 500
"""Of one curve: a study of thousands of rounds is thinned out, its ends stay."""
MOST_BARS = 40

Json = Mapping[str, Any]
Texts = Mapping[str, str]


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
        private=bool(found.study["study"].get("privacy")),
        curves=_curves(found.rows, texts),
        figures=_figures(report, texts),
        results=_results(report, texts, (found.study["study"]["cohort"].get("label") or {}).get("unit")),
        told_of_results=_told_of_results(report, texts),
        described=_described(report, texts),
        histograms=_histograms(report, texts),
        confusion=_measured(report).get("confusion"),
        classes=_classes(found.study["study"], _measured(report).get("confusion") or ()),
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


def _measured(report: Json) -> Json:
    """The split that figures are of: held-out patients where there are any."""
    for split in ("test", "train"):
        if isinstance(report.get(split), Mapping):
            return dict(report[split])
    return {}


def _results(
    report: Json, texts: Texts, unit: str | None
) -> list[tuple[str, str, str, tuple[float, float] | None]]:
    """(split, metric, value or that it is not known, interval) of the finished model.

    Args:
        unit: of a label that is a number, which absolute errors have, too.
    """
    found = []
    for split in ("train", "test", "valid"):
        row = report.get(split)
        for name in METRICS:
            if isinstance(row, Mapping) and isinstance(row.get(name), int | float):
                interval = ends_of(row, name) or sampling_interval(name, row)
                known = is_known(row, name, interval)
                value = f"{row[name]:.4f}" if known else texts["figure.unknown_word"]
                metric = metric_name(name, unit, texts[f"metric.{name}"])
                found.append((texts[f"split.{split}"], metric, value, interval))
    return found


def _told_of_results(report: Json, texts: Texts) -> list[str]:
    """Which level counts as yes, and how far the area under the curve may be off."""
    label, error = report.get("label"), _measured(report).get("auc_error")
    said = [texts["figures.positive"].format(**label)] if isinstance(label, Mapping) else []
    return said + ([texts["figures.auc_error"].format(error=f"{error:.2g}")] if error else [])


def _classes(study: Json, confusion: Sequence[object]) -> list[str]:
    """What the classes are called, in the order of the confusion matrix; a number names its column, too."""
    label = study.get("cohort", {}).get("label")
    label = label if isinstance(label, Mapping) else {}
    names = label.get("levels") or [label.get("negative"), label.get("positive")]
    known = len(names) == len(confusion) and None not in names
    levels, column = (names if known else range(len(confusion))), label.get("column")
    named = (
        f"{level}" if isinstance(level, str) or column is None else f"{column} = {level}" for level in levels
    )
    return [*named]


def _sizes(report: Json, texts: Texts) -> list[tuple[str, int]]:
    """(split, rows) of what was measured, as it was released."""
    splits = ("train", "test", "valid")
    rows = {split: report[split].get("rows") for split in splits if isinstance(report.get(split), Mapping)}
    return [(texts[f"split.{split}"], n) for split, n in rows.items() if isinstance(n, int)]


def _described(report: Json, texts: Texts) -> dict[str, dict[str, Any]]:
    """Each column with its deviation, and the interval of its mean: of the noise, or of other patients."""
    found = {}
    for name, row in dict(report.get("describe", {})).items():
        mean, deviation, interval = row.get("mean"), row.get("std"), ends_of(row, "mean")
        if interval is None and mean is not None and deviation is not None:
            interval = mean_interval(mean, deviation, row["n"])
        found[column_name(name, row)] = {
            **row,
            "average": _with_ends(row, "mean", interval, texts),
            "deviation": _deviation(row, texts),
        }
    return found


def _with_ends(row: Json, name: str, interval: tuple[float, float] | None, texts: Texts) -> str:
    """A figure and its interval, or the interval alone where it covers most of what is possible."""
    value = row.get(name)
    if interval is None:
        return "" if value is None else f"{value:.4g}"
    low, high = (f"{end:.4g}" for end in interval)
    if value is None or not is_known(row, name, interval):
        return texts["figure.unknown"].format(low=low, high=high)
    return f"{value:.4g} ({low} – {high})"


def _deviation(row: Json, texts: Texts) -> str:
    """With the interval of the noise; one that the noise hides is told by its interval alone."""
    ends = ends_of(row, "std")
    if ends is not None and row.get("std") is None:
        return texts["described.untold"].format(high=f"{ends[1]:.4g}")
    return _with_ends(row, "std", ends, texts)


def _histograms(report: Json, texts: Texts) -> list[tuple[str, Markup]]:
    columns = dict(report.get("describe", {})).items()
    told = {column_name(name, row): row["histogram"] for name, row in columns if row.get("histogram")}
    return [
        (name + _beyond(one, texts), histogram_chart(name, one["low"], one["high"], one["counts"]))
        for name, one in told.items()
        if one["counts"]
    ]


def _beyond(histogram: Json, texts: Texts) -> str:
    """How many lie outside of what is drawn, and how far noise may have moved each part."""
    ends = {end: histogram.get(end, 0) for end in ("below", "above")}
    said = [texts["described.beyond"].format(**ends)] if any(ends.values()) else []
    said += [texts["described.error"].format(n=f"{histogram['error']:g}")] if "error" in histogram else []
    return f" ({' '.join(said)})" if said else ""


def _curves(rows: Sequence[Json], texts: Texts) -> list[tuple[str, Markup]]:
    """Loss, accuracy and the like by round."""
    charts = []
    for metric in METRICS:
        lines = [
            line
            for split in ("test", "train")
            if (line := _line(rows, split, metric, texts[f"split.{split}"])) is not None
        ]
        if lines:
            edges = [edge for line in lines for edge in (line.points, *(line.band or ()))]
            x, y = zip(*(point for edge in edges for point in edge), strict=True)
            span = (
                (math.floor(10 * min(y)) / 10, 1.0)
                if metric in ("accuracy", "auc")
                else (min(0.0, *y), max(y))
            )
            axes = Axes(texts["chart.round"], texts[f"metric.{metric}"], (min(x), max(x)), span)
            charts.append((texts[f"metric.{metric}"], line_chart(texts[f"metric.{metric}"], axes, lines)))
    return charts


def _line(rows: Sequence[Json], split: str, metric: str, name: str) -> Line | None:
    mine = [row for row in rows if row.get("split") == split and isinstance(row.get(metric), int | float)]
    if len(mine) < 2:
        return None
    step = -(-len(mine) // MAX_POINTS)
    kept = [*mine[:-1][::step], mine[-1]]
    known = [row for row in kept if row.get(f"{metric}_low") is not None]
    band = (_points(known, f"{metric}_low"), _points(known, f"{metric}_high")) if known else None
    return Line(name, _points(kept, metric), band)


def _points(rows: Sequence[Json], metric: str) -> Points:
    return [(float(row["round"]), float(row[metric])) for row in rows]


def _figures(report: Json, texts: Texts) -> list[tuple[str, Markup]]:
    """ROC, calibration and importance of the finished model."""
    charts, measured = [], _measured(report)
    if "roc" in measured:
        roc = measured["roc"]
        points = list(zip(roc["false_positive"], roc["true_positive"], strict=True))
        axes = Axes(texts["document.false_positive"], texts["document.true_positive"], (0, 1), (0, 1))
        name = texts["document.roc"]
        charts.append((name, line_chart(name, axes, [Line(name, points)], diagonal=True)))
    if measured.get("calibration"):
        points = [(bin["predicted"], bin["observed"]) for bin in measured["calibration"]]
        axes = Axes(texts["document.predicted"], texts["document.observed"], (0, 1), (0, 1))
        name = texts["document.calibration"]
        charts.append((name, line_chart(name, axes, [Line(name, points)], diagonal=True)))
    bars = importance_bars(report)
    if bars:
        charts.append((texts["importance.axis"], bar_chart(texts["importance.axis"], bars[:MOST_BARS])))
    return charts
