"""A study as one HTML file: complete, harmless, and without anything that a browser would fetch or run."""

import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

import fedcohort as fc
from fedcohort.analyses.figures import figures_of
from fedcohort.dashboard.federation.document import Finished, document, finished, results
from fedcohort.dashboard.federation.figures import figure_png
from fedcohort.dashboard.shared.svg import MAX_POINTS, svg
from fedcohort.figures import Axis, Bars, Curve, Line, Named, Point, Value, to_json
from fedcohort.researcher.result import Result
from fedcohort.sampling_intervals import accuracy_interval, auc_interval, mean_interval
from fedcohort.study import Study
from fedcohort.texts.look_up import page_texts
from tests.build import cohort, describe_study, frame_of, ward_rows
from tests.figures import EVERY_TYPE
from tests.processes.support import Group, simulate_wards, wards

from .browser import watched

HOSTILE = "<script>alert(1)</script>\"&'"
ALLOWED = {"html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "section", "div"}
ALLOWED |= {"table", "tr", "th", "td", "svg", "path", "text", "rect", "figure", "figcaption", "span"}


class Reader(HTMLParser):
    """Tags, attributes and visible words of a file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def ended(result: Result, **changes: Any) -> Finished:
    about = {"id": result.study.hash, "name": result.study.name, "researcher": "ada"}
    dated = {"study": result.study.model_dump(), "created_at": "2026-11-23T10:00:00+00:00"}
    study = {**about, **dated, "sites": [{"id": "a", "state": "approved", "code": ""}]}
    return Finished(
        {**study, **changes}, result.report, result.rows, "0.1.0", "c0de c0de", {"a": "7be1 04a9"}
    )


@pytest.fixture(scope="module")
def trained() -> Result:
    train = fc.Train(model="logistic", rounds=4)
    study = Study(name="written down", cohort=cohort(split=fc.Holdout(0.3)), analysis=train)
    frames = {site: frame_of(ward_rows(index)) for index, site in enumerate("abc")}
    return fc.simulate(frames).run(study, progress=False)


@pytest.mark.training
def test_it_holds_question_results_figures_promises_and_hash(trained: Result) -> None:
    reader = Reader(document(ended(trained), page_texts()))
    words = " ".join(reader.words)
    assert trained.study.hash in words
    assert "Train a model (logistic) in 4 rounds by fedavg." in words
    assert f"{trained.report['test']['auc']:.4f}" in words
    assert "The coordinator sees only the sum over the hospitals" in words
    assert "No differential privacy" in words
    assert "Held-out patients: " + str(trained.report["test"]["rows"]) + " rows, as released." in words
    report = hashlib.sha256(json.dumps(trained.report, indent=2).encode()).hexdigest()
    assert {report, "7be1 04a9", "c0de c0de"} <= set(reader.words)
    # loss, accuracy and AUC by round, ROC, calibration, importance
    assert document(ended(trained), page_texts()).count("<svg") == 6


@pytest.mark.training
def test_a_chinese_report_says_everything_but_names_in_chinese(trained: Result) -> None:
    reader = Reader(document(ended(trained), page_texts("zh")))
    shown = [word for word in reader.words if re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", word)]
    assert [word for word in shown if "font" not in word and word != trained.study.name] == []
    assert "协调方只能看到各医院的总和，绝不会看到本院的向量。" in reader.words


@pytest.mark.training
def test_exact_results_have_the_intervals_of_these_patients_and_private_ones_of_the_noise(
    trained: Result,
) -> None:
    words = " ".join(Reader(document(ended(trained), page_texts())).words)
    test = trained.report["test"]
    low, high = accuracy_interval(test["accuracy"], test["rows"]) or (0, 0)
    assert f"{low:.4f} – {high:.4f}" in words
    assert "Wilson" in words
    study = trained.study.model_copy(update={"privacy": fc.Privacy(epsilon=1.0)})
    noisy = {**trained.report, "test": {"auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "rows": 54}}
    words = " ".join(Reader(document(ended(Result(study, noisy, [])), page_texts())).words)
    assert "0.7000 – 0.9000" in words
    assert "95 % of other draws of the same noise" in words
    assert "Wilson" not in words


@pytest.mark.training
def test_a_private_description_shows_deviations_with_intervals_and_the_error_of_counts(
    trained: Result,
) -> None:
    study = trained.study.model_copy(update={"privacy": fc.Privacy(epsilon=1.0), "analysis": fc.Describe()})
    age = {"n": 60, "n_error": 9.5, "missing": 0, "mean": 54.0, "mean_low": 50.0, "mean_high": 58.0}
    spread = {**age, "std": 12.5, "std_low": 9.25, "std_high": 15.0}
    hidden = {**age, "std": None, "std_low": 0.0, "std_high": 6.5}
    sex = {"n": 60, "missing": 1, "levels": {"f": 31, "m": 29}, "levels_error": 7.5}
    beyond = {"n": 9, "missing": 0, "mean": 1.0, "std": 0.0,
              "histogram": {"low": 0.0, "high": 2.0, "counts": [4, 5], "below": 2, "above": 1,
                            "error": 3.5}}  # fmt: skip
    described = {"spread": spread, "hidden": hidden, "sex": sex, "beyond": beyond}
    report = {**trained.report, "describe": described}
    for language, words in (("en", "hidden by the noise: at most 6.5"), ("zh", "被噪声掩盖：至多 6.5")):
        shown = " ".join(Reader(document(ended(Result(study, report, [])), page_texts(language))).words)
        for expected in ("12.5 (9.25 – 15)", "60 ± 9.5", "f: 31 ± 7.5, m: 29 ± 7.5", words):
            assert expected in shown
    shown = " ".join(Reader(document(ended(Result(study, report, [])), page_texts())).words)
    assert "2 lie below what is drawn, 1 above." in shown
    assert "Each part within ± 3.5, as 95 % of" in shown


@pytest.mark.training
def test_it_says_which_level_counts_as_yes_and_how_far_the_area_may_be_off(trained: Result) -> None:
    named = {"column": "outcome", "positive": "case", "negative": "control"}
    test = {**trained.report["test"], "auc_error": 0.00042}
    asked = trained.study.model_dump()
    about = {**asked, "cohort": {**asked["cohort"], "label": named}}
    report = {**trained.report, "label": named, "test": test}
    shown = " ".join(
        Reader(document(ended(Result(trained.study, report, []), study=about), page_texts())).words
    )
    assert "case counts as yes, control as no (outcome)." in shown
    assert "may be off by 0.00042 for it" in shown
    assert "true control" in shown
    assert "true case" in shown


def test_intervals_are_those_of_the_literature() -> None:
    # Newcombe 1998, table I: 81 of 263.
    assert accuracy_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert mean_interval(10.0, 2.0, 100) == pytest.approx((9.608, 10.392), abs=5e-4)
    assert (accuracy_interval(0.5, 0), auc_interval(0.9, 0, 5), mean_interval(1.0, 1.0, 1)) == (None,) * 3


def test_an_area_s_interval_is_as_wide_as_areas_of_other_patients_differ() -> None:
    # Hanley and McNeil's formula is exact where scores are exponential.
    draw = np.random.default_rng(0)
    positive, negative = draw.exponential(4.0, (4000, 40, 1)), draw.exponential(1.0, (4000, 1, 60))
    areas = (positive > negative).mean((1, 2))
    low, high = auc_interval(0.8, 40, 60) or (0, 0)
    assert (high - low) / (2 * 1.96) == pytest.approx(areas.std(), rel=0.05)


@pytest.mark.browser
@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_prints_on_few_pages_and_nothing_is_cut_off(
    trained: Result, browser: Browser, tmp_path: Path, language: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(document(ended(trained), page_texts(language)), encoding="utf-8")
    with watched(browser, viewport={"width": 658, "height": 1000}) as watch:  # A4 less its margins
        watch.page.goto(file.as_uri())
        watch.page.emulate_media(media="print")
        assert watch.page.evaluate("document.documentElement.scrollWidth") <= 658
        assert watch.page.evaluate(CUT) == []
        printed = watch.page.pdf(format="A4", prefer_css_page_size=True)
        assert 1 <= len(re.findall(rb"/Type /Page\b", printed)) <= 3
        assert watch.complaints == []


CUT = """() => [...document.querySelectorAll('svg text')].filter((each) => {
  const [box, whole] = [each.getBoundingClientRect(), each.closest('svg').getBoundingClientRect()];
  return box.left < whole.left - 1 || box.right > whole.right + 1 || box.bottom > whole.bottom + 1;
}).map((each) => each.textContent)"""


@pytest.mark.training
def test_nothing_in_it_is_fetched_or_run(trained: Result) -> None:
    text = document(ended(trained), page_texts())
    reader = Reader(text)
    assert reader.tags <= ALLOWED
    assert not {name for name in reader.attributes if name.startswith("on")}
    assert not reader.attributes & {"src", "href", "srcset", "action"}
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.training
def test_whatever_a_researcher_or_a_site_writes_stays_text(trained: Result) -> None:
    study = trained.study.model_copy(update={"name": HOSTILE})
    report = {**trained.report, "importance": {HOSTILE: {"loss_increase": 1.0}}}
    hostile = Result(study, report, trained.rows)
    sites = [{"id": HOSTILE, "state": HOSTILE, "code": HOSTILE}]
    found = ended(hostile, researcher=HOSTILE, sites=sites)
    reader = Reader(document(found, page_texts()))
    assert reader.tags <= ALLOWED
    assert HOSTILE in "".join(reader.words)


def test_a_description_is_a_table_with_its_intervals() -> None:
    study = describe_study("in private", privacy=fc.Privacy(epsilon=2.0))
    result = simulate_wards(study)
    words = " ".join(Reader(document(ended(result), page_texts())).words)
    assert document(ended(result), page_texts()).count("<svg") == 2
    row = result.report["describe"]["age"]
    assert f"{row['mean']:.4g} ({row['mean_low']:.4g} – {row['mean_high']:.4g})" in words
    assert "Epsilon if all other hospitals told their share of the noise" in words


@pytest.mark.training
def test_thousands_of_rounds_are_thinned_out_to_their_ends(trained: Result) -> None:
    rows = [{"round": number, "split": "test", "loss": 1 / number} for number in range(1, 5001)]
    text = document(ended(Result(trained.study, trained.report, rows)), page_texts())
    assert len(text) < 200_000
    (curve,) = re.findall(r'<path d="(M[^"]*)" fill="none" stroke="#0072B2"', text)[:1]
    assert curve.count("L") <= MAX_POINTS


def test_a_curve_s_ends_are_where_its_numbers_say() -> None:
    points = (Point(0, 0, 0, 0.2), Point(10, 1, 0.5, 1))
    curve = Curve(name="c", section="s", x=Axis("x"), y=Axis("y"), lines=(Line("a", points),))
    chart = str(svg(curve, page_texts()))
    assert "M46.0 170.0 L310.0 10.0" in chart
    assert "M46.0 170.0 L310.0 90.0 L310.0 10.0 L46.0 138.0 Z" in chart
    steps = str(svg(replace(curve, steps=True), page_texts()))
    assert "M46.0 170.0 L310.0 170.0 L310.0 10.0" in steps
    assert "M46.0 170.0 L310.0 170.0 L310.0 90.0 L310.0 10.0 L310.0 138.0 L46.0 138.0 Z" in steps


def test_a_bar_ends_at_its_value_and_its_line_at_its_interval() -> None:
    assert str(svg(Bars(name="none", section="s", bars=()), page_texts())).startswith("<svg")
    values = {"a": Value(1.0, 0.5, 2.0), "b": Value(-0.5), "c": Value(0.0, -1.0, 1.0)}
    bars = tuple(Named(name, value) for name, value in values.items())
    chart = str(svg(Bars(name="t", section="s", bars=bars), page_texts()))
    assert '<rect x="180.0" y="6" width="40.0"' in chart
    assert "M200.0 12 H260.0" in chart
    assert '<rect x="165.0" y="24" width="15.0"' in chart
    assert "M150.0 48 H220.0" in chart
    assert chart.count("<path") == 2


def test_a_kind_that_nothing_here_knows_is_drawn_by_the_types_of_its_figures() -> None:
    asked = {"analysis": {"kind": "of_another_version"}, "cohort": {}}
    found = Finished({"study": asked}, {"figures": to_json(EVERY_TYPE)}, [], "0")
    (section,) = results(found, page_texts())
    pictures = [part.title for part in section.parts if part.picture]
    assert pictures == ["Survival", "Weights", "Spread", "Odds ratios"]
    assert [part.grid.rows[0] for part in section.parts if part.grid] == [
        ["age (years)", "0.031", "0.004", "< 0.001", "0.023", "0.039"],
        ["drug", "40", "31"],
        ["true a", "5", "1"],
    ]
    survival = str(section.parts[1].picture)
    assert survival.count("fill-opacity") == 1
    assert "placebo" in survival


@pytest.mark.training
def test_what_noise_leaves_open_of_an_importance_is_drawn(trained: Result) -> None:
    entry = {"loss_increase": 0.2, "loss_increase_low": 0.1, "loss_increase_high": 0.3}
    exact, noisy = ({**trained.report, "importance": {"age": one}} for one in ({"loss_increase": 0.2}, entry))
    both = (Result(trained.study, report, trained.rows) for report in (exact, noisy))
    drawn = [document(ended(one), page_texts()) for one in both]
    assert drawn[1].count("<path") == drawn[0].count("<path") + 1
    asked = trained.study.model_dump()
    shown = [figures_of(asked, one)[-1] for one in (exact, noisy)]
    pictures = [figure_png(figure, "s", page_texts()) for figure in shown]
    assert pictures[0] != pictures[1]


@pytest.mark.training
def test_it_says_what_it_was_computed_with(trained: Result) -> None:
    words = " ".join(Reader(document(ended(trained), page_texts())).words)
    assert {"fedcohort", "python", "numpy", "keras"} <= trained.report["versions"].keys()
    assert any(name.startswith("tensorflow") for name in trained.report["versions"])
    for name, version in trained.report["versions"].items():
        assert f"{name} {version}" in words
    older = {name: value for name, value in trained.report.items() if name != "versions"}
    found = replace(ended(Result(trained.study, older, trained.rows)), version="0.0.9")
    assert "fedcohort 0.0.9" in " ".join(Reader(document(found, page_texts())).words)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with wards(tmp_path_factory.mktemp("document")) as running:
        yield running


@pytest.mark.processes
def test_the_command_writes_the_file(group: Group, tmp_path: Path) -> None:
    handle = group.connect().submit(describe_study("by command"))
    handle.wait(progress=False)
    file = tmp_path / "r.html"
    done = group.cli("report", handle.id[:8], "--into", file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rest = group.connect().rest
    assert file.read_text(encoding="utf-8") == document(finished(handle.id, rest.get), page_texts())
