"""Table one, a crosstab and a comparison on the page, in the report and in a notebook, in both languages."""

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

import fedcohort as fc
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.texts.look_up import page_texts
from tests.analyses.clinical import uneven
from tests.analyses.table_one.test_table_one import COLUMNS, GRID, ILL, made_up

from .browser import watched
from .standin import FIRST_STUDY, StandIn

pytestmark = pytest.mark.browser
QUESTIONS: dict[str, Any] = {
    "table_one": fc.TableOne(by="arm", nonnormal=["crp"], grid=GRID),
    "crosstab": fc.Crosstab("sex", "ill", strata="arm"),
    "compare": fc.Compare("bmi", "arm"),
}
PLOTS = {"table_one": "balance", "crosstab": "odds-ratios", "compare": "mean-differences"}
SEEN = {"table_one": "stage 3", "crosstab": "sex m", "compare": "arm b"}


@pytest.fixture(scope="module", params=list(QUESTIONS))
def result(request: pytest.FixtureRequest) -> fc.Result:
    asked = fc.Study(
        name="compared", cohort=fc.Cohort(columns=COLUMNS, label=ILL), analysis=QUESTIONS[request.param]
    )
    return fc.simulate(uneven(made_up(300, 1))).run(asked, progress=False)


@pytest.fixture
def store(store: StandIn, result: fc.Result) -> StandIn:
    store.add_study(rounds=1, name="compared", study=result.study.model_dump(mode="json"))
    store.reports[FIRST_STUDY] = dict(result.report)
    store.set_state("finished")
    return store


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_has_the_table_and_draws_the_intervals(
    dashboard: str, browser: Browser, result: fc.Result, language: str, tmp_path: Path
) -> None:
    kind = result.study.analysis.kind
    with watched(browser, locale={"en": "en-GB", "zh": "zh-CN"}[language]) as watch:
        watch.page.goto(dashboard)
        watch.wait(f"document.querySelectorAll('#figure-{PLOTS[kind]} canvas').length === 1")
        text = watch.page.locator("#figures").inner_text()
        assert page_texts(language)[f"{kind}.heading"] in text
        assert SEEN[kind] in text
        assert watch.complaints == []
        shots = Path(os.environ.get("FEDCOHORT_SHOTS", tmp_path))
        watch.page.screenshot(path=shots / f"{kind}-{language}.png", full_page=True)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_has_the_table_and_the_plot(result: fc.Result, language: str) -> None:
    kind, said = result.study.analysis.kind, page_texts(language)
    ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
    text = repr(results(ended, said))
    assert said[f"{kind}.heading"] in text
    assert SEEN[kind] in text
    assert "<svg" in text


def test_a_notebook_shows_the_table_and_draws_the_plot(result: fc.Result) -> None:
    assert SEEN[result.study.analysis.kind] in result._repr_html_()
    assert len(result.plot().axes) == 1
