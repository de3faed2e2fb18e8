"""The page of one study: figures, times, bytes, promises and files, and the list that leads to it."""

import httpx
import pytest
from playwright.sync_api import Browser

from .browser import Watched, watched
from .finished import full_store
from .standin import FIRST_STUDY, StandIn

pytestmark = pytest.mark.browser

READY = "!document.querySelector('#study-whole').hidden && !document.querySelector('#files').hidden"


@pytest.fixture
def store() -> StandIn:
    return full_store()


def _series(selector: str, index: int = 0) -> str:
    chart = f"echarts.getInstanceByDom(document.querySelector('{selector}'))"
    return f"{chart}?.getOption()?.series?.[{index}]?.data"


def test_a_finished_training_shows_all_its_figures(dashboard: str, watch: Watched) -> None:
    watch.page.goto(dashboard)
    watch.wait(READY)
    watch.wait(f"{_series('#figure-roc')}?.length === 33")
    watch.wait(f"{_series('#figure-calibration')}?.length === 10")
    cells = watch.page.locator("#figure-confusion tbody td strong").all_inner_texts()
    assert cells == ["62", "18", "16", "88"]
    assert watch.text("#figure-confusion tbody tr:first-child td.wrong span") == "22.5%"
    assert watch.text("#figure-confusion thead th") == "predicted disease = 0"
    assert watch.page.get_attribute("#figure-roc", "aria-label") == "ROC curve; the area under it is 0.884."
    watch.wait(f"{_series('#times', 3)}?.length === 60")
    spoken = "Exchange 60: compute 12 ms, seal 2 ms, network 4 ms, open 2 ms."
    assert watch.page.get_attribute("#times", "aria-label") == spoken
    assert watch.complaints == []


def test_a_finished_studys_report_that_could_not_be_had_is_asked_for_again(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    report = store.reports.pop(FIRST_STUDY)
    watch.page.goto(dashboard)
    watch.wait(READY)
    with watch.page.expect_response(lambda answer: answer.url.endswith("/report") and answer.status == 409):
        pass
    store.reports[FIRST_STUDY] = report
    watch.wait(f"{_series('#figure-roc')}?.length === 33")


def test_times_of_exchanges_without_metrics_arrive_live_and_what_is_not_told_is_not_shown(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    private = store.add_study("ef" * 32)
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#study-state').textContent === 'Running'")
    for number in (1, 2):
        spent = {"exchange": number, "network_seconds": 0.25, "open_seconds": 0.002}
        store.updates[private].append(("time", spent))
    watch.wait(f"{_series('#times')}?.length === 2")
    assert watch.text("#times-newest") == "Exchange 2: network 250 ms, open 2 ms."
    assert "does not tell how long it computes" in watch.text("#times-note")
    assert watch.page.evaluate(_series("#times", 2)) is None
    watch.page.reload()
    watch.wait("document.querySelector('#times-newest')?.textContent.startsWith('Exchange 2')")
    assert watch.complaints == []


def test_what_is_protected_from_whom_is_one_sentence_and_the_budget_is_beside_it(
    dashboard: str, watch: Watched
) -> None:
    watch.page.goto(dashboard)
    watch.wait(READY)
    assert watch.text("#study-protection") == (
        "Each hospital's sums are hidden from the coordinator by masks: it sees only the total over the "
        "hospitals; each patient is hidden from whoever reads the results by noise (epsilon 1.5, "
        "delta 0.001)."
    )
    assert watch.text("#federation-protection").endswith("masks (secure aggregation)")
    watch.wait("!document.querySelector('#budget-meter').hidden")
    assert watch.text("#budget-spent") == "Spent by all its releases: epsilon 1.5."
    assert watch.page.evaluate("document.querySelector('#budget-meter').value") == pytest.approx(1.4997)
    assert watch.text("#budget-alone").endswith("epsilon 2.61.")


def test_a_running_private_study_does_not_guess_what_it_has_spent(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.studies[FIRST_STUDY]["state"] = "running"
    watch.page.goto(dashboard)
    watch.wait("!document.querySelector('#budget-card').hidden")
    assert "reckoned when it ends" in watch.text("#budget-spent")
    assert watch.page.is_hidden("#budget-meter")


def test_bytes_stand_by_site_and_a_refusal_says_why(dashboard: str, watch: Watched) -> None:
    watch.page.goto(dashboard)
    watch.wait(READY)
    rows = watch.page.locator("#traffic tbody tr")
    assert [text.strip() for text in rows.first.locator("th, td").all_inner_texts()] == [
        "st_thomas", "1.27 MB", "884 kB"
    ]  # fmt: skip
    assert rows.count() == 4
    assert "st_thomas · refused · too few patients" in watch.text("#study-sites")


def test_a_description_is_a_table_and_histograms(dashboard: str, watch: Watched) -> None:
    watch.page.goto(f"{dashboard}?study=cdcdcd")
    watch.wait("document.querySelectorAll('#described-card canvas').length === 4")
    rows = [row.split() for row in watch.page.locator("#figure-described tbody tr").all_inner_texts()]
    assert rows[0] == ["age", "918", "2", "53.51", "9.43"]
    assert " ".join(rows[1]) == "cholesterol 716 ± 13 204 246.8 (243.2 – 250.1) 58.53 (55.1 – 61.9)"
    assert [row[0] for row in rows] == ["age", "cholesterol", "sex", "chest_pain_type"], "as in the study"
    panels = watch.page.locator("#described-card .charts [role=img]")
    assert panels.nth(2).get_attribute("aria-label") == "sex: female 194, male 726"
    ages = "age: 20 – 30 3, 30 – 40 61, 40 – 50 210, 50 – 60 362, 60 – 70 241, 70 – 80 41"
    assert panels.nth(0).get_attribute("aria-label") == ages
    steps = [[20, 3], [30, 61], [40, 210], [50, 362], [60, 241], [70, 41], [80, 41]]
    assert watch.page.evaluate(_series("#figure-histogram-0")) == steps
    panel = "#described-card .charts > div:nth-child({}) p"
    assert watch.text(panel.format(1)) == "0 lie below what is drawn, 3 above."
    assert watch.text(panel.format(4)) == "Each part within ± 10, as 95 % of the noise is."
    assert watch.text(panel.format(2)) == "Each part within ± 15, as 95 % of the noise is."
    assert watch.page.is_hidden("#charts-card")
    assert watch.text("#files-all") == "Results (ZIP)"
    assert watch.page.locator("#figures > .card").count() == 1
    assert watch.page.is_hidden("#budget-card")
    assert watch.complaints == []


def test_the_list_is_narrowed_by_words_and_state(store: StandIn, dashboard: str, watch: Watched) -> None:
    store.add_study("ef" * 32, name="stroke", state="running", researcher="li-wei")
    watch.page.goto(dashboard)
    watch.wait("document.querySelectorAll('#studies li').length === 3")
    watch.page.fill("#studies-words", "LI-WEI")
    assert watch.page.locator("#studies .title").all_inner_texts() == ["stroke", "who-they-are"]
    watch.page.select_option("#studies-state", "running")
    assert watch.page.locator("#studies .title").all_inner_texts() == ["stroke"]
    assert watch.text("#studies-count") == "1 of 3"


def test_the_files_of_a_study_are_links(dashboard: str, watch: Watched, client: httpx.Client) -> None:
    watch.page.goto(dashboard)
    watch.wait(READY)
    links = {link: str(watch.page.get_attribute(f"#files-{link}", "href")) for link in ("all", "report")}
    assert links["all"] == f"/api/studies/{FIRST_STUDY}/files"
    assert client.get(links["report"]).json()["patients"] == 920


def test_files_of_a_study_that_is_not_finished_are_not_there(store: StandIn, client: httpx.Client) -> None:
    store.add_study("ef" * 32)
    answer = client.get(f"/api/studies/{'ef' * 32}/files")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    ("locale", "auc", "mean"),
    [
        ("en-GB", "not known: 0.000 to 1.000", "not known: 5 to 95"),
        ("zh-CN", "未知：0.000 至 1.000", "未知：5 至 95"),
    ],
)
def test_what_is_not_known_is_an_interval_in_small_type_and_numbers_have_their_unit(
    browser: Browser, store: StandIn, dashboard: str, locale: str, auc: str, mean: str
) -> None:
    row = {
        "round": 61,
        "split": "test",
        "loss": 0.3,
        "accuracy": 0.9,
        "accuracy_low": 0.8,
        "accuracy_high": 1.0,
    }
    store.updates[FIRST_STUDY].append(("metrics", row | {"auc": 1.0, "auc_low": 0.0, "auc_high": 1.0}))
    weight = {"unit": "kg", "n": 3, "n_error": 12.3, "missing": 4, "missing_error": 17.1, "mean": 50.0,
              "mean_low": 5.0, "mean_high": 95.0, "std": None, "std_low": 0.0, "std_high": 45.0,
              "histogram": {"low": 0.0, "high": 100.0, "counts": [1, 2], "error": 14.2}}  # fmt: skip
    store.reports["cd" * 32]["describe"]["weight"] = weight
    size = "parseFloat(getComputedStyle(document.querySelector('[data-metric={}]')).fontSize)"
    with watched(browser, locale=locale) as watch:
        watch.page.goto(dashboard)
        watch.wait(READY)
        watch.wait("document.querySelector('[data-metric=auc]').className === 'unknown'")
        assert watch.text("[data-metric=auc]") == auc
        assert watch.text("[data-metric=accuracy]") == "0.900"
        assert watch.page.evaluate(f"{size.format('auc')} * 1.5 < {size.format('accuracy')}")
        watch.page.goto(f"{dashboard}?study=cdcdcd")
        watch.wait("document.querySelectorAll('#figure-described tbody tr').length === 5")
        # A row's text has its tabs once the row is laid out.
        last = "#figure-described tbody tr:last-child"
        watch.wait(f"document.querySelector('{last}').innerText.includes('\\t')")
        cells = watch.page.locator(last).inner_text().split("\t")
        assert cells[0] == "weight (kg)"
        assert cells[1:4] == ["3 ± 13", "4 ± 18", mean]
        assert watch.complaints == []
