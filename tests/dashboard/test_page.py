"""The page as a person sees it, in headless Chromium: it grows, breaks, recovers, runs nobody's markup."""

import pytest
from playwright.sync_api import Browser

from fedcohort.dashboard import Settings
from fedcohort.dashboard.federation.curves import MOST_POINTS

from .browser import PHONE, Theme, Watched, watched
from .conftest import Serve
from .standin import FIRST_STUDY, Running, StandIn, rest

pytestmark = pytest.mark.browser

MARKUP = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>{name|x}"
LIVE = "document.querySelector('#link').dataset.state === 'live'"


DRAWN = "echarts.getInstanceByDom(document.querySelector('#charts .chart')).getOption()"


def _has_points(count: int) -> str:
    line = "echarts.getInstanceByDom(document.querySelector('#charts .chart'))?.getOption()?.series?.[0]"
    return f"window.echarts && document.querySelector('#charts .chart') && {line}?.data.length === {count}"


def test_the_curves_grow_while_rounds_arrive(store: StandIn, dashboard: str, watch: Watched) -> None:
    store.add_study()
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#study-name').textContent === 'heart-disease'")
    assert watch.text("#charts-note") == "The curves appear with the first round."
    for number in range(3):
        store.add_round(number)
        watch.wait(_has_points(number + 1))
    assert [watch.n_points(chart) for chart in range(3)] == [[3, 3], [3, 3], [3, 3]]
    assert watch.text("[data-metric=loss]") == "0.664"
    assert watch.text("#study-sentence") == "Running: round 2 of 30."
    assert watch.complaints == []


def test_a_finished_study_shows_its_feature_importance(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.add_study(rounds=1)
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#study-state').textContent === 'Running'")
    assert watch.text("#pending-note") == "The results are drawn here at the end of the study."
    store.add_round(0)
    store.add_round(1)
    store.finish({"age": 0.05, "bp": 0.125})
    watch.wait("document.querySelector('#figure-importance canvas')")
    label = watch.page.get_attribute("#figure-importance", "aria-label")
    assert label == "Most important first: bp 0.125, age 0.050."
    picture = watch.page.get_attribute("#figure-importance-png", "href")
    assert picture == f"/api/studies/{FIRST_STUDY}/figures/importance.png"
    assert watch.text("#study-sentence") == "Finished."
    assert watch.complaints == []


def test_importance_under_privacy_shows_what_noise_leaves_uncertain(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.add_study(rounds=1)
    store.add_round(1)
    store.finish({"age": 0.05, "bp": 0.125}, noise=0.1)
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#figure-importance canvas')")
    label = watch.page.get_attribute("#figure-importance", "aria-label")
    assert label == (
        "Most important first: bp 0.125 (0.025 to 0.225 under other noise), "
        "age 0.050 (-0.050 to 0.150 under other noise)."
    )
    series = (
        "window.echarts.getInstanceByDom(document.querySelector('#figure-importance')).getOption().series"
    )
    watch.wait(f"{series}.length === 2")
    drawn = watch.page.evaluate(f"{series}[1].data")
    ends = [point for point in drawn if point[0] != "-"]
    assert [place for _, place in ends] == [0, 0, 1, 1]
    assert [end for end, _ in ends] == pytest.approx([0.025, 0.225, -0.05, 0.15])
    assert [point[1] for point in drawn if point[0] == "-"] == [0, 1], "broken between two bars"
    assert watch.complaints == []


def test_a_coordinator_that_dies_is_named_and_the_page_goes_on_when_it_returns(
    store: StandIn, serve: Serve, watch: Watched
) -> None:
    store.add_study()
    store.add_round(0)
    coordinator = Running(rest(store))
    watch.page.goto(serve(Settings(coordinator.url)))
    watch.wait(_has_points(1))
    coordinator.stop()
    watch.wait("!document.querySelector('#notice').hidden")
    assert "The coordinator is not answering" in watch.text("#notice")
    assert watch.text("#link") == "Not connected"
    assert watch.n_points() == [1, 1]
    store.add_round(1)
    returned = Running(rest(store), coordinator.port)
    watch.wait(_has_points(2))
    watch.wait(LIVE)
    assert watch.page.is_hidden("#notice")
    assert store.resumed_after == [2, 2], "two rows were seen before the break, none came twice"
    assert [text for text in watch.complaints if "503" not in text and "INCOMPLETE" not in text] == []
    returned.stop()


def test_markup_in_names_is_shown_as_text(store: StandIn, dashboard: str, watch: Watched) -> None:
    store.sites = {MARKUP: "connected"}
    answers = [{"id": MARKUP, "state": "refused", "code": MARKUP}]
    error = {"code": MARKUP, "message": MARKUP}
    store.add_study(name=MARKUP, researcher=MARKUP, sites=answers, error=error)
    store.add_round(1)
    store.finish({MARKUP: 0.5, "age": 0.1})
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#figure-importance canvas')")
    watch.page.hover("#federation-graph")
    watch.page.hover("#figure-importance")
    assert watch.text("#study-name") == MARKUP
    assert MARKUP in watch.text("#studies")
    assert MARKUP in watch.text("#sites")
    assert MARKUP in watch.text("#study-error")
    assert watch.page.evaluate("document.querySelectorAll('main img, main script, aside img').length") == 0
    assert watch.page.title() != "hacked"
    assert watch.complaints == []


def test_sites_are_coloured_and_named_by_their_state_as_it_changes(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    watch.page.goto(dashboard)
    watch.wait("document.querySelectorAll('#sites tbody tr').length === 3")
    assert watch.text("#federation-count") == "2 of 3 sites connected"
    store.sites["hospital_c"] = "connected"
    watch.wait("document.querySelector('#federation-count').textContent === '3 of 3 sites connected'")
    assert watch.page.locator("[data-state=lost]").count() == 0
    assert "hospital_c: Connected" in str(watch.page.get_attribute("#federation-graph", "aria-label"))
    assert watch.text("#study-none") == "The newest study appears here as soon as there is one."
    assert watch.complaints == []


def test_the_newest_study_is_followed_until_a_reader_chooses_another(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.add_study(name="first")
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#study-name').textContent === 'first'")
    store.add_study("cd" * 32, name="second")
    watch.wait("document.querySelector('#study-name').textContent === 'second'")
    watch.page.click("#studies button:has-text('first')")
    watch.wait("document.querySelector('#study-name').textContent === 'first'")
    store.add_study("ef" * 32, name="third")
    watch.wait("document.querySelectorAll('#studies li').length === 3")
    assert watch.text("#study-name") == "first"
    watch.page.go_back()
    watch.wait("document.querySelector('#study-name').textContent === 'third'")
    assert watch.complaints == []


def test_a_missing_study_is_said_to_be_missing(store: StandIn, dashboard: str, watch: Watched) -> None:
    store.add_study()
    watch.page.goto(f"{dashboard}?study={'ee' * 32}")
    watch.wait("document.querySelector('#study-none').textContent.includes('no such study')")
    assert all("404" in text for text in watch.complaints)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_follows_the_readers_theme_and_fits_a_phone(
    store: StandIn, dashboard: str, browser: Browser, theme: Theme
) -> None:
    store.add_study(name="a-study-whose-name-is-much-too-long-for-the-width-of-a-telephone")
    store.add_round(0)
    with watched(browser, theme=theme, viewport=PHONE) as watch:
        watch.page.goto(dashboard)
        watch.wait(_has_points(1))
        background = watch.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(243, 246, 248)", "dark": "rgb(14, 21, 26)"}[theme]
        assert watch.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert watch.complaints == []


def test_a_study_of_regression_shows_its_own_metrics(store: StandIn, dashboard: str, watch: Watched) -> None:
    store.add_study()
    row = {"round": 1, "split": "test", "loss": 0.2, "accuracy": None, "auc": None, "mae": 4.5, "r2": 0.6}
    store.updates[FIRST_STUDY] = [("metrics", row)]
    watch.page.goto(dashboard)
    watch.wait(_has_points(1))
    assert watch.page.locator("#charts h3").all_inner_texts() == ["Loss", "Mean absolute error", "R²"]
    assert watch.complaints == []


def test_a_private_study_shows_what_its_noise_leaves_uncertain(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.add_study()
    store.updates[FIRST_STUDY] = [
        ("metrics", {"round": number, "split": "test", "loss": 0.6, "auc": 0.7 + number / 100,
                     "auc_low": 0.6 + number / 100, "auc_high": 0.75 + number / 100})
        for number in (10, 20)
    ]  # fmt: skip
    watch.page.goto(dashboard)
    watch.wait(_has_points(2))
    assert watch.text("[data-metric=auc]") == "0.900"
    assert watch.text("[data-interval=auc]") == "0.800 to 0.950 under other noise"
    assert watch.page.locator("[data-interval=loss]").count() == 0
    assert watch.n_points(0) == [2]
    assert watch.n_points(1) == [2, 2, 2], "the line, and the two edges of its band"
    assert watch.complaints == []


def test_five_thousand_rounds_of_a_hundred_sites_are_few_points_with_their_outlier(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.sites = {f"hospital_{number:03}": "connected" for number in range(100)}
    answers = [{"id": site, "state": "approved", "code": ""} for site in store.sites]
    store.add_study(rounds=5100, sites=[{**one, "bytes_to": 2000, "bytes_from": 900} for one in answers])
    for number in range(5000):
        store.add_round(number)
    store.updates[FIRST_STUDY][2 * 3141 + 1][1]["loss"] = 7.5
    watch.page.goto(dashboard)
    watch.wait("document.querySelector('#study-sentence').textContent === 'Running: round 4999 of 5100.'")
    drawn = [n for chart in range(3) for n in watch.n_points(chart)]
    assert max(drawn) <= MOST_POINTS
    assert watch.n_points(selector="#times")[0] <= MOST_POINTS
    highest = watch.page.evaluate(
        f"{DRAWN}.series[0].data.reduce((most, point) => Math.max(most, point[1]), 0)"
    )
    assert highest == 7.5
    assert watch.page.locator("#sites tbody tr").count() == 100
    for number in range(5000, 5010):
        store.add_round(number)
    watch.wait("document.querySelector('#study-sentence').textContent === 'Running: round 5009 of 5100.'")
    assert watch.page.evaluate(f"{DRAWN}.series[0].data.at(-1)[0]") == 5009
    assert watch.complaints == []


def test_points_that_pile_up_while_somebody_watches_are_thinned_out(
    store: StandIn, dashboard: str, watch: Watched
) -> None:
    store.add_study(rounds=2000)
    store.add_round(0)
    watch.page.goto(dashboard)
    watch.wait(_has_points(1))
    for number in range(1, 1200):
        store.add_round(number)
    watch.wait("document.querySelector('#study-sentence').textContent === 'Running: round 1199 of 2000.'")
    watch.wait(f"{DRAWN}.series[0].data.length <= 700")
    assert watch.page.evaluate(f"{DRAWN}.series[0].data.at(-1)[0]") == 1199
    assert watch.complaints == []


def test_what_the_policy_forbids_is_noticed_by_these_tests(dashboard: str, watch: Watched) -> None:
    watch.page.goto(dashboard)
    watch.wait(LIVE)
    watch.page.evaluate("document.body.setAttribute('style', 'color: red')")
    watch.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))")
    assert len([text for text in watch.complaints if "Content Security Policy" in text]) == 2
