"""No kind of question skips the rules: each says what it may show, and none shows a small count."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.kinds import KINDS
from fedcohort.dashboard.shared.svg import svg
from fedcohort.disclosure.shown import COUNTED
from fedcohort.errors import DisclosureError
from fedcohort.figure_texts import PAPER, grid
from fedcohort.figures import to_json
from fedcohort.researcher.picture import drawable
from fedcohort.texts.look_up import languages, page_texts

from .small_cells import CASES, HOSPITALS, Case

MIN_CELL = 10
NO_COUNTS = {
    "rounds",
    "round",
    "exchange",
    "degrees",
    "model_degrees",
    "disclosure",
    "versions",
    "protection",
    "privacy",
    "study",
    "label",
    "grid",
    "imputations",
    "cycles",
}


def kinds(name: str) -> Any:
    """Each kind; those that import TensorFlow are marked."""
    return pytest.param(name, marks=pytest.mark.training) if name == "train" else name


EACH = [kinds(name) for name in {**KINDS, **CASES}]


def case_of(kind: str) -> Case:
    assert kind in CASES, f"give {kind} a case in tests/disclosure/small_cells.py"
    return CASES[kind]


def run(case: Case, rules: fc.Disclosure | None) -> fc.Result:
    return fc.simulate(HOSPITALS, disclosure=rules).run(case.study, progress=False)


def counts(part: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Every whole number of JSON that may be a count, with its place."""
    if isinstance(part, dict):
        for name, inner in part.items():
            if name not in NO_COUNTS:
                yield from counts(inner, f"{path}.{name}")
    elif isinstance(part, list):
        for place, inner in enumerate(part):
            yield from counts(inner, f"{path}[{place}]")
    elif isinstance(part, int) and not isinstance(part, bool):
        yield path, part


def counted_only(figure: dict[str, Any]) -> dict[str, Any]:
    """A table without its column of degrees of freedom."""
    names = [column["name"] for column in figure["columns"]] if figure["type"] == "table" else []
    if "degrees" not in names:
        return figure
    place = names.index("degrees")
    rows = [{**row, "cells": row["cells"][:place] + row["cells"][place + 1 :]} for row in figure["rows"]]
    return {**figure, "rows": rows}


@pytest.mark.parametrize("kind", EACH)
def test_every_analysis_says_what_it_may_show(kind: str) -> None:
    analysis = build_analysis(case_of(kind).study)
    assert "disclosed" in vars(type(analysis)), (
        f"{type(analysis).__name__}: say what may be shown (contract.py)"
    )


@pytest.mark.parametrize("kind", EACH)
def test_no_small_count_is_shown_nor_follows_by_subtraction(kind: str) -> None:
    case = case_of(kind)
    result = run(case, fc.Disclosure())
    small = [(path, n) for path, n in counts(result.report) if 0 < n < MIN_CELL]
    assert small == []
    figures = [counted_only(one) for one in to_json(result.figures) if one["name"] != "hidden-by-rules"]
    assert [(path, n) for path, n in counts(figures) if 0 < n < MIN_CELL and "values" not in path] == []
    for total, parts in case.lines(result.report):
        if total is None or None not in parts:
            assert not any(0 < part < MIN_CELL for part in parts if part is not None)
            continue
        left = total - sum(part for part in parts if part is not None)
        assert left == 0 or (left >= MIN_CELL and parts.count(None) > 1), (total, parts)
    assert json.dumps(result.report, allow_nan=False)


@pytest.mark.parametrize("kind", EACH)
def test_what_is_left_is_drawn_everywhere_in_every_language(kind: str) -> None:
    result = run(case_of(kind), fc.Disclosure())
    for language in languages():
        texts = page_texts(language)
        for figure in result.figures:
            words = grid(figure, texts, PAPER)
            drawn = svg(figure, texts)
            assert words is not None or drawn is not None
            told = f"{[] if words is None else [words.title, *words.head, *words.rows]} {drawn or ''}"
            assert "None" not in told
            assert "nan" not in told.lower().replace("finance", "")
    assert "None" not in result._repr_html_()
    assert not drawable(result.figures) or result.plot()
    assert "hidden-by-rules" in {figure["name"] for figure in to_json(result.figures)}


@pytest.mark.parametrize("kind", EACH)
def test_without_rules_nothing_is_hidden_and_the_report_says_what_would_be(kind: str) -> None:
    open_, ruled = run(case_of(kind), None), run(case_of(kind), fc.Disclosure())
    assert open_.report["disclosure"]["applied"] is False
    assert open_.report["disclosure"]["suppressed"] == ruled.report["disclosure"]["suppressed"]
    assert open_.report["disclosure"]["suppressed"], "the case has no small cell, and tests nothing"
    assert "hidden-by-rules" not in {figure.name for figure in open_.figures}
    assert "hidden-by-rules" in {figure.name for figure in ruled.figures}


@pytest.mark.parametrize("kind", EACH)
def test_rules_that_hide_nothing_change_nothing(kind: str) -> None:
    from fedcohort.disclosure.rules import OPEN

    open_, ruled = run(case_of(kind), None), run(case_of(kind), OPEN)
    both = [{**one.report, "disclosure": None} for one in (open_, ruled)]
    assert both[0] == both[1]
    assert [{**row, **dict.fromkeys(TIMES)} for row in open_.rows] == [
        {**row, **dict.fromkeys(TIMES)} for row in ruled.rows
    ]


TIMES = ("seconds", "network_seconds", "compute_seconds", "seal_seconds", "open_seconds")


@pytest.mark.parametrize("kind", EACH)
def test_counts_are_rounded_where_the_rules_say_so(kind: str) -> None:
    report = run(case_of(kind), fc.Disclosure(rounding=5)).report
    words = {path: n for path, n in counts(report) if COUNTED & set(re.findall(r"\.(\w+)", path))}
    assert {path: n for path, n in words.items() if n % 5} == {}


@pytest.mark.parametrize("kind", EACH)
def test_a_cohort_of_few_shows_nothing(kind: str) -> None:
    frames = {site: frame.iloc[:3] for site, frame in list(HOSPITALS.items())[:2]}
    hospitals = fc.simulate(frames, disclosure=fc.Disclosure())
    if case_of(kind).analysis.kind in ENDED:
        with pytest.raises(DisclosureError):
            hospitals.run(case_of(kind).study, progress=False)
    else:
        report = hospitals.run(case_of(kind).study, progress=False).report
        assert [(path, n) for path, n in counts(report) if 0 < n < MIN_CELL] == []


ENDED = {"train", "glm", "impute", "cox", "correlation", "weighting"}
"""Kinds that end with the first sum where there are few patients: the next ones would tell of them."""
