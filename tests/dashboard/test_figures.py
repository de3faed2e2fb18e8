"""A finished study of a kind that nothing here knows is drawn by the types of its figures."""

import httpx
import pytest
from playwright.sync_api import Browser

from fedcohort.figures import Bars, Named, Value, to_json
from tests.figures import EVERY_TYPE

from .browser import PHONE, Watched, watched
from .standin import FIRST_STUDY, StandIn

pytestmark = pytest.mark.browser


@pytest.fixture
def store(store: StandIn) -> StandIn:
    asked = {"name": "who lives longer", "protection": "masks", "privacy": None, "cohort": {},
             "analysis": {"kind": "of_another_version"}}  # fmt: skip
    store.add_study(rounds=1, study=asked)
    store.reports[FIRST_STUDY] = {"patients": 81, "figures": to_json(EVERY_TYPE)}
    store.set_state("finished")
    return store


def series(name: str) -> str:
    return f"echarts.getInstanceByDom(document.querySelector('#figure-{name}')).getOption().series"


DRAWN = "document.querySelectorAll('#figures canvas').length === 4"


def test_every_type_is_drawn_and_said(dashboard: str, watch: Watched) -> None:
    watch.page.goto(dashboard)
    watch.wait(DRAWN)
    head = watch.page.locator("#figure-coefficients thead th").all_inner_texts()
    assert head == ["term", "coef", "se", "p", "low", "high"]
    rows = [row.split("\t") for row in watch.page.locator("#figure-coefficients tbody tr").all_inner_texts()]
    assert rows[0] == ["age (years)", "0.031", "0.004", "< 0.001", "0.023", "0.039"]
    assert rows[1] == ["bmi", "0.1 (0.05 – 0.15)", "–", "", "not known", "reference"]
    at_risk = watch.page.locator("#figure-at-risk tbody tr").all_inner_texts()
    assert [row.split("\t") for row in at_risk] == [["drug", "40", "31"], ["placebo", "41", "25"]]
    assert watch.page.locator("#figures .quiet").all_inner_texts()[0] == "Numbers at risk"
    assert watch.page.locator("#figure-matrix td strong").all_inner_texts() == ["5", "1", "2", "7"]
    said = {name: watch.page.get_attribute(f"#figure-{name}", "aria-label")
            for name in ("survival", "weights", "spread", "forest")}  # fmt: skip
    assert said == {
        "survival": "Survival: drug 24 70%, placebo 24 50%",
        "weights": "Weights: age 0.5 (0.4 – 0.6), bmi -0.2",
        "spread": "Spread: 0 – 10 3, 10 – 20 5",
        "forest": "Odds ratios: age 1.2 (1.1 – 1.3), bmi 0.9 (0.7 – 1.2)",
    }
    assert watch.page.is_hidden("#pending-card")
    assert watch.page.is_hidden("#charts-card")
    assert watch.complaints == []


def test_a_survival_curve_has_steps_bands_and_names(dashboard: str, watch: Watched) -> None:
    watch.page.goto(dashboard)
    watch.wait(DRAWN)
    drug, placebo, low, band = watch.page.evaluate(series("survival"))
    assert [line["step"] for line in (drug, placebo, low, band)] == ["end"] * 4
    assert drug["data"] == [[0, 1], [6, 0.9], [24, 0.7]]
    assert low["data"] == [[0, 1], [6, 0.8], [24, 0.55]]
    assert [height for _, height in band["data"]] == pytest.approx([0, 0.16, 0.25])
    assert watch.page.locator("#figures .legend li").all_inner_texts() == ["drug", "placebo"]


def test_a_forest_plot_has_its_reference_and_its_intervals(dashboard: str, watch: Watched) -> None:
    watch.page.goto(dashboard)
    watch.wait(DRAWN)
    marks, lines = watch.page.evaluate(series("forest"))
    assert [mark["xAxis"] for mark in marks["markLine"]["data"]] == [1]
    assert marks["data"] == [[1.2, 0], [0.9, 1]]
    assert lines["data"] == [[1.1, 0], [1.3, 0], ["-", 0], [0.7, 1], [1.2, 1], ["-", 1]]


def test_it_fits_on_a_phone(dashboard: str, browser: Browser) -> None:
    with watched(browser, viewport=PHONE) as phone:
        phone.page.goto(dashboard)
        phone.wait(DRAWN)
        assert phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert phone.complaints == []


def test_each_picture_is_a_png_and_a_table_is_none(client: httpx.Client, store: StandIn) -> None:
    pictures = set()
    for name in ("survival", "weights", "spread", "matrix", "forest"):
        answer = client.get(f"/api/studies/{FIRST_STUDY}/figures/{name}.png")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), name
        pictures.add(answer.content)
    assert len(pictures) == 5
    for name in ("coefficients", "nothing"):
        assert client.get(f"/api/studies/{FIRST_STUDY}/figures/{name}.png").status_code == 404
    del store.reports[FIRST_STUDY]
    assert client.get(f"/api/studies/{FIRST_STUDY}/figures").json()["code"] == "not-found"


def test_what_is_too_much_to_draw_is_left_out_and_said(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    bars = tuple(Named(f"column {index}", Value(1 / (index + 1))) for index in range(40))
    many = [Bars(name=f"bars-{index}", section="made", title="b", bars=bars) for index in range(26)]
    store.reports[FIRST_STUDY]["figures"] = to_json(many)
    watch.page.goto(dashboard)
    watch.wait("document.querySelectorAll('#figures canvas').length === 24")
    quiet = watch.page.locator("#figures .quiet").all_inner_texts()
    assert quiet[:2] == ["The first 24 of 26 are drawn.", "The first 30 of 40 are drawn."]
