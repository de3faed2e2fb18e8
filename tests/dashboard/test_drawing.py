"""How the page draws: axes, names of classes, and the room that everything has on a phone."""

import pytest
from playwright.sync_api import Browser

from .browser import PHONE, Watched, watched
from .standin import FIRST_STUDY, StandIn

pytestmark = pytest.mark.browser


END = "{chart}.getModel().getComponent('yAxis').axis.scale.getExtent()[1]"


def test_one_slow_exchange_does_not_flatten_the_others_and_is_told(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.add_study(rounds=60)
    for number in range(1, 61):
        store.add_round(number)
    slow = {"exchange": 61, "compute_seconds": 9.0, "seal_seconds": 0.002, "network_seconds": 0.004}
    store.updates[FIRST_STUDY].append(("time", slow))
    watch.page.goto(dashboard)
    watch.wait("document.querySelectorAll('#times canvas').length === 1")
    watch.wait(
        "document.querySelector('#times-note').textContent.startsWith('Beyond the scale: 1, of which')"
    )
    assert "exchange 61 took 9" in watch.text("#times-note")
    chart = "echarts.getInstanceByDom(document.querySelector('#times'))"
    assert 0.02 < watch.page.evaluate(END.replace("{chart}", chart)) < 0.1
    assert watch.complaints == []


def test_no_axis_of_a_share_goes_beyond_one(store: StandIn, dashboard: str, watch: Watched) -> None:
    store.add_study(rounds=3)
    for number, accuracy in ((1, 0.4), (2, 0.9), (3, 1.0)):
        row = {
            "round": number,
            "split": "test",
            "loss": 1.5,
            "accuracy": accuracy,
            "auc": accuracy,
            "seconds": 0.1,
        }
        store.updates[FIRST_STUDY].append(("metrics", row))
    store.studies[FIRST_STUDY]["round"] = 3
    watch.page.goto(dashboard)
    watch.wait("document.querySelectorAll('#charts canvas').length === 3")
    ends = "[...document.querySelectorAll('#charts .chart')].map((box) => {chart})".replace("{chart}", END)
    ends = ends.replace("{chart}", "echarts.getInstanceByDom(box)")
    loss, *shares = watch.page.evaluate(ends)
    assert loss >= 1.5
    assert shares == [1, 1]


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ({"column": "outcome", "positive": "died", "negative": "alive"}, ["alive", "died"]),
        ({"column": "outcome", "levels": ["alive", "died"]}, ["alive", "died"]),
        ({"column": "disease", "positive": 1, "negative": 0}, ["disease = 0", "disease = 1"]),
    ],
)
def test_the_matrix_names_the_classes(
    store: StandIn, dashboard: str, watch: Watched, label: dict[str, object], names: list[str]
) -> None:
    asked = {"name": "who dies", "protection": "masks", "privacy": None, "cohort": {"label": label},
             "analysis": {"kind": "train", "model": "logistic", "rounds": 1}}  # fmt: skip
    store.add_study(rounds=1, study=asked)
    store.add_round(1)
    store.finish({"age": 0.1})
    store.reports[FIRST_STUDY] |= {"test": {"auc": 0.9, "confusion": [[5, 1], [2, 7]]}}
    watch.page.goto(dashboard)
    watch.wait("document.querySelectorAll('#figure-confusion tbody th').length === 2")
    shown = "[...document.querySelectorAll('#figure-confusion thead th')].map((cell) => cell.textContent)"
    assert watch.page.evaluate(shown) == [f"predicted {name}" for name in names]
    assert watch.page.evaluate(shown.replace("thead", "tbody")) == [f"true {name}" for name in names]


def test_nothing_runs_into_its_neighbour_on_a_phone(store: StandIn, dashboard: str, browser: Browser) -> None:
    names = ("university_hospital_heidelberg", "zhongshan_hospital", "st_thomas_london", "charite", "mayo")
    store.sites = {name: "lost" if index % 2 else "connected" for index, name in enumerate(names)}
    levels = ["discharged home", "moved", "died in hospital"]
    asked = {"name": "three ways", "protection": "masks", "privacy": None,
             "cohort": {"label": {"column": "outcome", "levels": levels}},
             "analysis": {"kind": "train", "model": "logistic", "rounds": 1}}  # fmt: skip
    store.add_study(rounds=1, study=asked)
    store.add_round(1)
    store.finish({"age": 0.1})
    store.reports[FIRST_STUDY] |= {"test": {"auc": 0.9, "confusion": [[5, 1, 0], [2, 7, 0], [0, 0, 4]]}}
    with watched(browser, viewport=PHONE) as phone:
        phone.page.goto(dashboard)
        phone.wait("document.querySelectorAll('#figure-confusion tbody th').length === 3")
        phone.wait("document.querySelectorAll('#sites tbody tr').length === 5")
        assert phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert phone.page.evaluate(CROWDED) == []


CROWDED = """[...document.querySelectorAll('table:not([hidden]) tr')].flatMap((row) => {
  const boxes = [...row.cells].filter((cell) => cell.textContent.trim()).map((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return { text: cell.textContent, box: range.getBoundingClientRect() };
  }).filter(({ box }) => box.width > 0);
  const touching = boxes.slice(1).filter(({ box }, index) => box.left < boxes[index].box.right + 4);
  const upright = boxes.filter(({ text, box }) => text.length > 4 && box.width < 20);
  return [...touching, ...upright].map(({ text }) => text);
})"""
"""Cells whose text comes nearer than four pixels to the one before, or stands letter under letter."""


def test_before_the_first_round_the_page_says_what_happens(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    watch.page.goto(dashboard)
    watch.wait("!document.querySelector('#study-none').hidden")
    assert watch.text("#study-none") == "The newest study appears here as soon as there is one."
    store.add_study(rounds=3)
    store.studies[FIRST_STUDY]["state"] = "checking"
    watch.page.reload()
    watch.wait("!document.querySelector('#study-whole').hidden")
    assert watch.text("#study-state") == "Being checked"
    assert "has it load TensorFlow" in watch.text("#study-sentence")


def test_a_description_on_a_phone_names_each_figure_beside_it_and_scrolls_nowhere(
    store: StandIn, dashboard: str, browser: Browser
) -> None:
    noisy = {"n": 1_204, "n_error": 31, "missing": 88, "missing_error": 30, "mean": 131.25, "unit": "mm[Hg]"}
    noisy |= {"mean_low": 129.5, "mean_high": 133.0, "std": 17.5, "std_low": 15.0, "std_high": 20.25}
    store.add_study(rounds=1, study={"name": "who", "analysis": {"kind": "describe"}})
    store.finish({})
    store.reports[FIRST_STUDY] |= {"patients": 1_300, "describe": {"systolic_blood_pressure": noisy}}
    with watched(browser, viewport=PHONE) as phone:
        phone.page.goto(dashboard)
        phone.wait("document.querySelectorAll('#figure-described tbody td').length === 4")
        box = "document.querySelector('#figure-described').parentElement"
        assert phone.page.evaluate(f"{box}.scrollWidth <= {box}.clientWidth")
        cells = "[...document.querySelectorAll('#figure-described td')]"
        names = f"{cells}.map((cell) => getComputedStyle(cell, '::before').content)"
        assert phone.page.evaluate(names) == ['"n"', '"Missing"', '"Mean"', '"Standard deviation"']
