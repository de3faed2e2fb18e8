"""Kaplan-Meier curves of a real study on the page, in the report and in a notebook, in both languages."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import fedcohort as fc
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.texts.look_up import page_texts
from tests.analyses.survival.test_kaplan_meier import COHORT, WEEKS, freireich

from .browser import Watched, watched
from .standin import FIRST_STUDY, StandIn

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", params=["exact", "private"])
def result(request: pytest.FixtureRequest) -> fc.Result:
    grid, privacy = WEEKS, None
    if request.param == "private":
        grid, privacy = [5.0 * n for n in range(1, 8)], fc.Privacy(epsilon=3.0)
    question = fc.KaplanMeier(grid=grid, by="arm", at=[10.0, 20.0])
    asked = fc.Study(name="remission", cohort=COHORT, analysis=question, privacy=privacy)
    frames = {f"s{index}": freireich().iloc[index::3] for index in range(3)}
    return fc.simulate(frames).run(asked, progress=False)


@pytest.fixture
def store(store: StandIn, result: fc.Result) -> StandIn:
    store.add_study(rounds=1, name="remission", study=result.study.model_dump(mode="json"))
    store.reports[FIRST_STUDY] = dict(result.report)
    store.set_state("finished")
    return store


def p_value(result: fc.Result) -> str:
    return f"{result.report['survival']['logrank']['p']:.2g}"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_draws_the_curves_and_tells_the_groups_and_the_test(
    dashboard: str, browser: Browser, result: fc.Result, language: str, tmp_path: Path
) -> None:
    with watched(browser, locale={"en": "en-GB", "zh": "zh-CN"}[language]) as watch:
        watch.page.goto(dashboard)
        watch.wait("document.querySelectorAll('#figure-survival canvas').length === 1")
        _check(watch, result, language)
        picture = f"survival-{language}-{'exact' if result.study.privacy is None else 'private'}.png"
        watch.page.screenshot(
            path=Path(os.environ.get("FEDCOHORT_SHOTS", tmp_path)) / picture, full_page=True
        )


def _check(watch: Watched, result: fc.Result, language: str) -> None:
    text, said = watch.page.locator("#figures").inner_text(), page_texts(language)
    for name in ("survival.heading", "survival.at_risk", "survival.median"):
        assert said[name] in text
    assert "arm drug" in text
    assert said["survival.logrank"].format(p=p_value(result)) in text
    drawn = "echarts.getInstanceByDom(document.querySelector('#figure-survival')).getOption().series"
    lines = {line["name"]: line["data"] for line in watch.page.evaluate(drawn)}
    curve = result.report["survival"]["groups"]["drug"]["survival"]
    assert [point[1] for point in lines["arm drug"]] == pytest.approx([1.0, *curve], abs=1e-6)
    assert watch.complaints == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_has_the_curves_the_groups_and_the_test(result: fc.Result, language: str) -> None:
    said = page_texts(language)
    ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
    text = repr(results(ended, said))
    assert said["survival.heading"] in text
    assert said["survival.logrank"].format(p=p_value(result)) in text
    assert "<svg" in text
    assert "arm placebo" in text


def test_a_notebook_shows_a_table_and_draws_the_curves(result: fc.Result) -> None:
    assert list(result.table.index) == ["drug", "placebo"]
    assert {"n", "events", "median", "rmst"} <= set(result.table.columns)
    assert "placebo" in result._repr_html_()
    lines = [line for axes in result.plot().axes for line in axes.get_lines()]
    assert {"arm drug", "arm placebo"} <= {str(line.get_label()) for line in lines}
