"""Weighted survival over hospitals is that of all patients together, with the errors of all equations."""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.duration.survfunc import SurvfuncRight

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, State
from fedcohort.analyses.weighting.curves import Curve, Windows
from fedcohort.analyses.weighting.hazard import TwoGroups
from fedcohort.analyses.weighting.weights import Treated
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.errors import DisclosureError, StudyError, WireError
from fedcohort.explain import explain
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import parse_study
from fedcohort.texts.look_up import page_texts
from tests.analyses import clinical
from tests.analyses.at_site import rows_of

NEAR = 1e-8
GRID = (30.0, 90.0, 180.0, 365.0, 730.0, 1460.0)
Floats = np.ndarray


class Pooled:
    """Everything estimated from rows that have weights of their own, which may be complex numbers."""

    def __init__(
        self, frame: pd.DataFrame, columns: list[str], treated: str, site: Floats, grid: Any
    ) -> None:
        self.x = np.column_stack([np.ones(len(frame)), frame[columns].to_numpy(float)])
        self.scale = np.append(1.0, self.x[:, 1:].std(0))
        self.a = frame[treated].to_numpy(float)
        self.time, self.died = frame["time"].to_numpy(float), frame["died"].to_numpy(float)
        self.site, self.grid = site, np.array(grid)

    def beta(self, omega: Floats) -> Floats:
        x, beta = self.x / self.scale, np.zeros(self.x.shape[1], omega.dtype)
        for _ in range(25):
            score = 1 / (1 + np.exp(-x @ beta))
            information = (x * (omega * score * (1 - score))[:, None]).T @ x
            beta = beta + np.linalg.solve(information, x.T @ (omega * (self.a - score)))
        found: Floats = beta / self.scale
        return found

    def weights(self, omega: Floats, estimand: str) -> Floats:
        score = 1 / (1 + np.exp(-self.x @ self.beta(omega)))
        one, other = {
            "ate": (1 / score, 1 / (1 - score)),
            "att": (np.ones_like(score), score / (1 - score)),
            "overlap": (1 - score, score),
        }[estimand]
        weights: Floats = omega * np.where(self.a == 1, one, other)
        return weights

    def curve(self, weight: Floats, arm: int) -> Floats:
        mine = np.where(self.a == arm, weight, 0)
        place = np.searchsorted(self.grid, self.time)
        steps = [
            1 - mine[(place == k) & (self.died == 1)].sum() / mine[place >= k].sum()
            for k in range(len(self.grid))
        ]
        return np.cumprod(steps)

    @cached_property
    def _risk_sets(self) -> list[tuple[int, Floats]]:
        """By event its row, and who of its hospital is at risk."""
        return [
            (int(row), (self.site == self.site[row]) & (self.time >= self.time[row]))
            for row in np.flatnonzero(self.died == 1)
        ]

    def log_ratio(self, weight: Floats) -> Any:
        rows = np.array([row for row, _ in self._risk_sets])
        sets = np.stack([there for _, there in self._risk_sets]).astype(float)
        y0, y1 = sets @ (weight * (self.a == 0)), sets @ (weight * (self.a == 1))
        at = np.zeros((), weight.dtype)
        for _ in range(25):
            share = y1 * np.exp(at) / (y0 + y1 * np.exp(at))
            slope = (weight[rows] * (self.a[rows] - share)).sum()
            at = at + slope / (weight[rows] * share * (1 - share)).sum()
        return at

    def estimates(self, omega: Floats, estimand: str) -> Floats:
        """Curves of both groups, their areas, and the hazard ratio's logarithm."""
        weight = self.weights(omega, estimand)
        curves = [self.curve(weight, arm) for arm in (0, 1)]
        width = np.diff(self.grid, prepend=0.0)
        areas = [width @ np.append(1.0, curve[:-1]) for curve in curves]
        return np.concatenate([*curves, areas, [self.log_ratio(weight)]])

    def covariance(self, estimand: str) -> Floats:
        """Of how estimates change with each row's weight, by a step off the real axis: to all digits."""
        n, step = len(self.a), 1e-30
        changes = []
        for row in range(n):
            omega = np.ones(n, np.complex128)
            omega[row] += step * 1j
            changes.append(self.estimates(omega, estimand).imag / step)
        each = np.array(changes)
        return each.T @ each


def made_up(n: int = 120, seed: int = 5) -> pd.DataFrame:
    """Older patients are treated more often, and die sooner; the treatment halves the hazard."""
    draw = np.random.default_rng(seed)
    age, sex = draw.normal(60, 10, n), draw.integers(0, 2, n)
    treated = draw.random(n) < 1 / (1 + np.exp(-(age - 60) / 12 - 0.4 * sex))
    life = draw.exponential(600 * np.exp(-(age - 60) / 15 + 0.7 * treated))
    lost = draw.exponential(1500, n)
    time = np.ceil(np.minimum(life, lost) / 10) * 10
    return pd.DataFrame({
        "age": age, "sex": sex, "treated": treated.astype(int), "time": time,
        "died": (life <= lost).astype(int), "patient_id": [f"p{row:04d}" for row in range(n)],
    })  # fmt: skip


COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(),
    "sex": fc.Categorical([0, 1]),
    "treated": fc.Categorical([0, 1]),
}
FORMULA = "treated ~ age + C(sex)"


def ask(
    frame: pd.DataFrame, formula: str = FORMULA, columns: Any = None, rules: Any = None, **words: Any
) -> fc.Result:
    label = fc.Survival("time", "died")
    cohort = fc.Cohort(columns=columns or COLUMNS, label=label)
    protection = words.pop("protection", "none")
    question = fc.Weighting(formula, words.pop("outcome", label), **{"grid": GRID, **words})
    study = fc.Study(name="w", cohort=cohort, analysis=question, protection=protection)
    return fc.simulate(clinical.uneven(frame), disclosure=rules).run(study, progress=False)


def sites_of(frame: pd.DataFrame) -> Floats:
    """By row of the frame, its hospital."""
    names = pd.concat([pd.Series(site, part["patient_id"]) for site, part in clinical.uneven(frame).items()])
    found: Floats = names.loc[frame["patient_id"]].to_numpy()
    return found


def compared(report: Any, pooled: Pooled, estimand: str) -> None:
    """Every figure against the pooled one."""
    n, t = len(pooled.a), len(pooled.grid)
    found, covariance = pooled.estimates(np.ones(n), estimand), pooled.covariance(estimand)
    errors = np.sqrt(np.diag(covariance))
    groups = report["survival"]["groups"]
    for arm in (0, 1):
        group, place = groups[str(arm)], slice(arm * t, (arm + 1) * t)
        curve = found[place]
        np.testing.assert_allclose(group["survival"], curve, rtol=NEAR)
        half = 1.959963984540054 * errors[place] / curve / np.abs(np.log(curve))
        np.testing.assert_allclose(group["low"], curve ** np.exp(half), rtol=NEAR)
        np.testing.assert_allclose(group["high"], curve ** np.exp(-half), rtol=NEAR)
        assert group["rmst"] == pytest.approx(found[2 * t + arm], rel=NEAR)
        width = group["rmst_high"] - group["rmst_low"]
        assert width == pytest.approx(2 * 1.959963984540054 * errors[2 * t + arm], rel=NEAR)
        risk = [((pooled.a == arm) & (pooled.time > before)).sum() for before in (-1, *pooled.grid[:-1])]
        assert group["at_risk"] == risk
    rows = {row["name"]: row for row in report["effect"]}
    assert rows["hazard_ratio"]["coef"] == pytest.approx(found[-1], rel=NEAR)
    assert rows["hazard_ratio"]["se"] == pytest.approx(errors[-1], rel=NEAR)
    for name, (one, other) in {
        "rmst_difference": (2 * t, 2 * t + 1),
        f"survival_difference_{pooled.grid[-1]:g}": (t - 1, 2 * t - 1),
        f"survival_difference_{pooled.grid[1]:g}": (1, t + 1),
    }.items():
        gradient = np.zeros(len(found))
        gradient[[one, other]] = -1, 1
        assert rows[name]["coef"] == pytest.approx(found[other] - found[one], rel=NEAR)
        assert rows[name]["se"] == pytest.approx(np.sqrt(gradient @ covariance @ gradient), rel=NEAR)


@pytest.mark.parametrize("estimand", ["ate", "att", "overlap"])
def test_curves_mean_times_hazard_ratio_and_errors_are_those_of_all_patients(estimand: str) -> None:
    frame = made_up()
    report = ask(frame, estimand=estimand, at=(GRID[1], GRID[-1])).report["weighting"]
    pooled = Pooled(frame, ["age", "sex"], "treated", sites_of(frame), GRID)
    compared(report, pooled, estimand)


@pytest.mark.parametrize("estimand", ["ate", "overlap"])
def test_of_heart_attacks_the_same(estimand: str) -> None:
    """Whose times are days: none of them is put together with another by the grid of the hazard ratio."""
    frame = clinical.whas500()
    frame = frame.assign(time=frame["lenfol"].astype(float), died=frame["fstat"].astype(int))
    frame = frame.assign(**{name: frame[name].astype(int) for name in ("chf", "gender")})
    columns = {
        **{name: fc.Numeric() for name in ("age", "hr")},
        **{name: fc.Categorical([0, 1]) for name in ("gender", "chf")},
    }
    grid = tuple(np.arange(61.0, 2360.0, 61.0))
    asked = ask(
        frame, "chf ~ age + hr + C(gender)", columns, grid=grid, at=(grid[1], grid[-1]), estimand=estimand
    )
    pooled = Pooled(frame, ["age", "hr", "gender"], "chf", sites_of(frame), grid)
    compared(asked.report["weighting"], pooled, estimand)


def test_curves_on_every_day_are_those_of_statsmodels() -> None:
    """With weights as frequencies, of which it knows no standard errors."""
    frame = made_up()
    days = tuple(sorted(frame["time"].unique()))
    groups = ask(frame, grid=days).report["weighting"]["survival"]["groups"]
    x = sm.add_constant(frame[["age", "sex"]].to_numpy(float))
    score = sm.Logit(frame["treated"], x).fit(disp=0, method="newton", tol=1e-14, maxiter=100).predict(x)
    for arm, weight in ((0, 1 / (1 - score)), (1, 1 / score)):
        mine = frame["treated"].to_numpy() == arm
        library = SurvfuncRight(frame["time"][mine], frame["died"][mine], freq_weights=weight[mine])
        places = np.searchsorted(days, library.surv_times)
        np.testing.assert_allclose(
            np.array(groups[str(arm)]["survival"])[places], library.surv_prob, rtol=NEAR, atol=1e-12
        )


def test_the_hazard_ratio_is_the_maximum_of_the_weighted_likelihood() -> None:
    """Found without a derivative, of the likelihood as it is written."""
    from scipy.optimize import minimize_scalar

    frame = made_up()
    pooled = Pooled(frame, ["age", "sex"], "treated", sites_of(frame), GRID)
    weight = pooled.weights(np.ones(len(frame)), "ate")

    def less_likely(at: float) -> float:
        risk = weight * np.exp(at * pooled.a)
        terms = (
            weight[row] * (at * pooled.a[row] - np.log(risk[there].sum())) for row, there in pooled._risk_sets
        )
        return -float(sum(terms))

    rows = ask(frame).report["weighting"]["effect"]
    found = minimize_scalar(less_likely, bracket=(-1, 1), tol=1e-12).x
    assert rows[0]["name"] == "hazard_ratio"
    assert rows[0]["coef"] == pytest.approx(found, abs=1e-6)


def test_a_curve_and_its_area_change_with_each_weight_as_is_said_where_times_are_put_together() -> None:
    """Against differences; weights of two windows of several times, in which the lost count for half."""
    windows = Windows(np.array([10.0, 20.0, 30.0, 50.0, 60.0]), np.array([1, 2, 4]))
    exits = np.array([[2.0, 3.0], [1.5, 0.5], [0.0, 2.5], [4.0, 0.0]])
    assert windows.halved.tolist() == [True, False, True]
    curve, step = Curve(windows, exits), 1e-6
    for place in np.ndindex(exits.shape):
        ends = []
        for sign in (1, -1):
            moved = exits.copy()
            moved[place] += sign * step
            other = Curve(windows, moved)
            ends.append(np.append(np.log(other.survival), other.mean_time))
        differences = (ends[0] - ends[1]) / (2 * step)
        one = np.zeros(exits.shape)
        one[place] = 1.0
        if place == (3, 1):  # nobody beyond the grid has the event
            continue
        np.testing.assert_allclose(curve.log_changes(one), differences[:-1], atol=1e-7)
        np.testing.assert_allclose(curve.log_changes(one, power=2), differences[:-1] ** 2, atol=1e-7)
        assert curve.mean_changes[place] == pytest.approx(differences[-1], abs=1e-6)
    # Of 14 in weight, of which 2 are lost, 3 of 13 go by 20; then of 9.5 0.5, and 2.5 of 6.5 by 60.
    expected = np.cumprod([1 - 3 / 12.5, 1 - 0.5 / 8.5, 1 - 2.5 / 6.5])
    np.testing.assert_allclose(curve.survival, expected, rtol=1e-12)


def test_a_curve_at_its_end_has_no_interval_and_one_that_has_not_begun_none_either() -> None:
    windows = Windows(np.array([1.0, 2.0]), np.array([0, 1]))
    curve = Curve(windows, np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    assert curve.survival.tolist() == [1.0, 0.0]
    assert np.isfinite(curve.log_changes(np.ones((3, 2)))).all()
    assert np.isfinite(curve.mean_changes).all()
    assert Curve(Windows(windows.grid, np.array([], int)), np.array([[3.0, 0.0]])).survival.size == 0


def test_the_same_bits_under_masks_and_one_row_a_patient() -> None:
    frame = made_up()
    holes = frame.assign(time=frame["time"].where(np.arange(len(frame)) != 4))
    holes.loc[9, "age"] = np.nan
    reports = [ask(holes, protection=name).report for name in ("none", "masks")]
    assert reports[0]["weighting"] == reports[1]["weighting"]
    assert (reports[0]["patients"], reports[0]["missing"]) == (len(frame) - 2, 1)
    later = frame.iloc[:20].assign(time=frame["time"].iloc[:20] + 5, age=99.0)
    twice = {"a": pd.concat([frame.iloc[:60], later]), "b": frame.iloc[60:]}
    once = {"a": frame.iloc[:60], "b": frame.iloc[60:]}
    label = fc.Survival("time", "died")
    question = fc.Weighting(FORMULA, label, grid=GRID)
    study = fc.Study(name="w", cohort=fc.Cohort(columns=COLUMNS, label=label), analysis=question)
    found = [fc.simulate(frames).run(study, progress=False).report for frames in (once, twice)]
    assert (found[0]["patients"], found[0]["missing"]) == (found[1]["patients"], found[1]["missing"])
    first = [report["weighting"]["survival"]["groups"]["1"]["at_risk"] for report in found]
    assert first[0] == first[1]


def test_of_competing_causes_each_is_the_event() -> None:
    frame = made_up()
    causes = frame.assign(died=frame["died"] * (1 + np.arange(len(frame)) % 2))
    label = fc.Survival("time", "died", causes=(1, 2))
    study = fc.Study(
        name="w",
        cohort=fc.Cohort(columns=COLUMNS, label=label),
        analysis=fc.Weighting(FORMULA, label, grid=GRID),
        protection="none",
    )
    report = fc.simulate(clinical.uneven(causes)).run(study, progress=False).report
    assert report["weighting"] == ask(frame).report["weighting"]


def test_hospitals_of_one_group_each_have_curves_and_no_hazard_ratio() -> None:
    frame = made_up()
    apart = {"yes": frame[frame["treated"] == 1], "no": frame[frame["treated"] == 0]}
    label = fc.Survival("time", "died")
    study = fc.Study(
        name="w",
        cohort=fc.Cohort(columns=COLUMNS, label=label),
        analysis=fc.Weighting(FORMULA, label, grid=GRID),
    )
    result = fc.simulate(apart).run(study, progress=False)
    mine, all_together = result.report["weighting"], ask(frame).report["weighting"]
    assert [row["name"] for row in mine["effect"]] == ["rmst_difference", "survival_difference_1460"]
    for one, other in zip(mine["effect"], all_together["effect"][1:], strict=True):
        assert one["coef"] == pytest.approx(other["coef"], rel=1e-9)
        assert one["se"] == pytest.approx(other["se"], rel=1e-9)
    assert "There is no hazard ratio" in result._repr_html_()


def test_a_hazard_ratio_without_end_is_none() -> None:
    frame = made_up()
    frame["died"] = np.where(frame["treated"] == 1, 0, frame["died"])
    names = [row["name"] for row in ask(frame).report["weighting"]["effect"]]
    assert "hazard_ratio" not in names


def test_under_rules_times_are_put_together_before_weights_are_summed() -> None:
    frame = made_up(400)
    days = tuple(float(time) for time in range(10, 1500, 10))
    result = ask(frame, grid=days, rules=fc.Disclosure())
    told = result.report["weighting"]
    place = np.searchsorted(days, frame["time"])
    for arm, group in told["survival"]["groups"].items():
        ends = [at for at, value in enumerate(group["survival"]) if value is not None]
        assert 3 < len(ends) < len(days) / 2
        mine = frame["treated"] == int(arm)
        window = np.searchsorted(ends, place[mine])
        inside = window < len(ends)
        died = frame["died"][mine].to_numpy() == 1
        for kind in (died & inside, ~died & inside):
            held = np.bincount(window[kind])
            assert not ((held > 0) & (held < 10)).any()
    exact = ask(frame, grid=days).report["weighting"]
    rows, all_days = ({row["name"]: row for row in one["effect"]} for one in (told, exact))
    assert rows["hazard_ratio"] == all_days["hazard_ratio"], "its sums are of all patients of a hospital"
    if "rmst_difference" in rows:
        near = all_days["rmst_difference"]
        assert rows["rmst_difference"]["coef"] == pytest.approx(near["coef"], abs=near["se"] / 2)


def test_few_events_of_a_group_end_the_study_under_rules() -> None:
    frame = made_up(200)
    treated = np.flatnonzero(frame["treated"] == 1)
    frame.loc[treated[5:], "died"] = 0
    with pytest.raises(DisclosureError, match="died: fewer than min_cell"):
        ask(frame, rules=fc.Disclosure())


@pytest.mark.parametrize("n", [0, 20])
def test_a_coordinator_s_nonsense_is_refused_alike_with_patients_and_without(n: int) -> None:
    label = fc.Survival("time", "died")
    cohort = fc.Cohort(columns=COLUMNS, label=label)
    study = fc.Study(name="w", cohort=cohort, analysis=fc.Weighting(FORMULA, label, grid=GRID))
    analysis = build_analysis(study)
    rows = rows_of(analysis, table_from_frame(made_up().iloc[:n], study.cohort, 0, private=n == 0))
    right = {
        "beta": np.zeros(3), "centre": np.zeros(3), "scale": np.ones(3), "ends": np.ones((2, len(GRID))),
        "weighted": np.ones((2, len(GRID) + 1, 2)), "hazard": np.zeros(1),
    }  # fmt: skip
    wrong: dict[str, dict[str, Any]] = {
        "curves": {"ends": np.full((2, len(GRID)), 0.5)},
        "hazard": {"hazard": np.full(1, np.nan)},
        "errors": {"weighted": np.ones(4), "hazard": np.array([0.1, 0.0])},
    }
    for stage in analysis.stages[2:]:
        state = {**right, "hazard": np.array([0.1, 2.0])} if stage.name == "errors" else right
        stage.contribute(State(stage.name, 0, state), rows, Draw(0, "a", 0))
        for name, array in wrong.get(stage.name, {}).items():
            with pytest.raises(WireError):
                stage.contribute(State(stage.name, 0, {**state, name: array}), rows, Draw(0, "a", 0))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"grid": None}, "survival is shown at times of a grid"),
        ({"grid": (90.0, 30.0)}, "write times in order"),
        ({"at": (99_999.0,)}, "a time beyond 1460"),
        ({"outcome": fc.Survival("time", "died", horizon=9)}, "write the same"),
        ({"formula": "treated ~ time"}, "time is in the formula of the treatment, too"),
        ({"outcome": "died"}, "it is of an outcome over time"),
        ({"outcome": 5}, "outcome"),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        ask(made_up(), **words)


def test_a_study_of_an_earlier_version_keeps_its_hash_and_a_new_one_is_read_back() -> None:
    label = fc.Survival("time", "died", horizon=2000)
    cohort = fc.Cohort(columns=COLUMNS, label=label)
    old = fc.Study(name="w", cohort=cohort, analysis=fc.Weighting(FORMULA, "died"))
    assert b'"grid"' not in old.canonical
    assert b'"at"' not in old.canonical
    new = fc.Study(name="w", cohort=cohort, analysis=fc.Weighting(FORMULA, label, grid=GRID, at=[90]))
    assert parse_study(new.canonical) == new


@pytest.mark.parametrize(
    ("language", "said"), [("en", "the time until died, over all hospitals"), ("zh", "加权生存曲线")]
)
def test_it_is_explained(language: str, said: str) -> None:
    label = fc.Survival("time", "died")
    cohort = fc.Cohort(columns=COLUMNS, label=label)
    study = fc.Study(name="w", cohort=cohort, analysis=fc.Weighting(FORMULA, label, grid=GRID))
    text = explain(study, language=language)
    assert said in text
    assert "{" not in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_report_and_plot_show_the_effect_and_the_curves(language: str) -> None:
    result = ask(made_up(), at=(365.0,))
    assert list(result.table.index) == ["hazard_ratio", "rmst_difference", "survival_difference_365"]
    names = [figure.name for figure in result.figures]
    assert names[:4] == ["effect", "forest", "survival", "groups"]
    said = page_texts(language)
    ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
    text = repr(results(ended, said))
    for name in ("hazard_ratio", "survival", "within", "median"):
        assert said[f"weighting.{name}"] in text
    assert said["weighting.survival_difference"].format(time="365") in text
    result.plot()


def test_whole_weights_count_as_so_many_patients_do_in_statsmodels() -> None:
    """In its Cox regression, whose ties are after Breslow; and score residuals are its own of single ones."""
    frame = made_up()
    x, weight = frame[["treated"]].to_numpy(float), np.resize([1.0, 2.0, 3.0], len(frame))
    rows = Treated(np.ones((len(frame), 1)), x[:, 0], frame["died"].to_numpy(float), frame["time"].to_numpy())
    again = np.repeat(np.arange(len(frame)), weight.astype(int))
    time, died = frame["time"].to_numpy(), frame["died"].to_numpy()
    model = PHReg(time[again], x[again], status=died[again], ties="breslow")
    for at in (-0.4, 0.0, 0.7):
        value, slope, information = TwoGroups.of(rows, weight).likelihood(at)
        # Each of so many patients brings a constant, the logarithm of one weight, that has no slope.
        zero = TwoGroups.of(rows, weight).likelihood(0.0)[0]
        differences = model.loglike(np.array([at])) - model.loglike(np.zeros(1))
        assert value - zero == pytest.approx(differences, rel=1e-10, abs=1e-10)
        assert slope == pytest.approx(model.score(np.array([at]))[0], rel=1e-10)
        assert information == pytest.approx(-model.hessian(np.array([at]))[0, 0], rel=1e-10)
    single = PHReg(time, x, status=died, ties="breslow").fit(disp=0)
    at = float(single.params[0])
    changes = TwoGroups.of(rows, np.ones(len(frame))).changes(rows, at)
    np.testing.assert_allclose(changes, single.score_residuals[:, 0], atol=1e-7)
