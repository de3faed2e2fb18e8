"""A regression under privacy: near the exact one, with intervals that hold noise and patients."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Gram, State, Tally
from fedcohort.analyses.glm.figures import figures
from fedcohort.analyses.glm.private import SizesStage
from fedcohort.analyses.rows import Rows
from fedcohort.columns import Column
from fedcohort.errors import CohortTooSmallError, StudyError, WireError
from fedcohort.explain import explain
from fedcohort.sources.cohort.frame import table_from_frame
from tests.analyses.at_site import DRAW, contributed, rows_of
from tests.analyses.glm.data import flchain
from tests.analyses.together import finished, report_of

COLUMNS: dict[str, Column] = {
    "age": fc.Numeric(20, 100),
    "dose": fc.Numeric(0, 10),
    "arm": fc.Categorical(["a", "b"]),
}
LABELS: dict[str, Any] = {
    "binomial": fc.Binary("y"),
    "gaussian": fc.Number(column="y", low=0, high=40),
    "poisson": fc.Number(column="y", low=0, high=20),
}
TRUTH = {"Intercept": -0.5, "age": 0.02, "dose": 0.1, "arm[T.b]": -0.4}
"""On the scale of the linear predictor, age from 60."""


def people(family: str, n: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": draw.normal(60, 12, n).clip(20, 100),
            "dose": draw.uniform(0, 10, n),
            "arm": draw.choice(["a", "b"], n),
        }
    )
    eta = -0.5 + 0.02 * (frame["age"] - 60) + 0.1 * frame["dose"] - 0.4 * (frame["arm"] == "b")
    if family == "binomial":
        frame["y"] = (draw.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    else:
        frame["y"] = (
            draw.poisson(np.exp(eta)).clip(0, 20) if family == "poisson" else 20 + eta + draw.normal(0, 3, n)
        )
    return frame.assign(patient_id=[f"p{row:05d}" for row in range(n)])


def study(family: str, formula: str = "y ~ age + dose + arm", epsilon: float = 2.0, **words: Any) -> fc.Study:
    cohort = fc.Cohort(columns=COLUMNS, label=LABELS[family])
    privacy = fc.Privacy(epsilon=epsilon, rows_per_patient=words.pop("rows_per_patient", 1))
    return fc.Study(
        name="glm", cohort=cohort, analysis=fc.GLM(formula, family=family, **words), privacy=privacy
    )


def four(frame: pd.DataFrame) -> list[pd.DataFrame]:
    return [frame.iloc[place::4] for place in range(4)]


def coefficients(asked: fc.Study, frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    analysis = build_analysis(asked)
    report: dict[str, Any] = dict(analysis.report(finished(asked, analysis, four(frame), seed)))
    return pd.DataFrame(report["glm"]["coefficients"]).set_index("name")


@pytest.mark.slow
@pytest.mark.parametrize("family", LABELS)
def test_intervals_hold_what_patients_were_drawn_from(family: str) -> None:
    """15 studies of 3,000 others each, 60 intervals at 95 %: fewer than 50 is less likely than 1 in 10^5."""
    asked, truth = (
        study(family),
        {**TRUTH, "Intercept": -0.5 - 0.02 * 60 + (20 if family == "gaussian" else 0)},
    )
    inside, widths = [], []
    for seed in range(15):
        found = coefficients(asked, people(family, 3000, seed), seed)
        inside += [row.low <= truth[str(name)] <= row.high for name, row in found.iterrows()]
        widths.append((found["high"] - found["low"]).to_numpy())
    assert sum(inside) >= 50
    exact = report_of(asked.model_copy(update={"privacy": None}), four(people(family, 3000, 0)))["glm"]
    alone = np.array([row["high"] - row["low"] for row in exact["coefficients"]])
    assert np.all(np.median(widths, axis=0) > 0.7 * alone)
    assert np.all(np.median(widths, axis=0) < 3 * alone)


def test_flchain_at_epsilon_one_is_near_the_exact_fit() -> None:
    data = flchain()
    columns: dict[str, Column] = {
        "age": fc.Numeric(50, 100), "kappa": fc.Numeric(0.08, 12), "sex": fc.Categorical(["F", "M"]),
    }  # fmt: skip
    cohort = fc.Cohort(columns=columns, label=fc.Binary("death"))
    asked = fc.Study(
        name="f",
        cohort=cohort,
        analysis=fc.GLM("death ~ age + log(kappa) + sex"),
        privacy=fc.Privacy(epsilon=1.0),
    )
    held = data.frame.assign(kappa=data.frame["kappa"].clip(0.08, 12))
    exact = smf.logit("death ~ age + np.log(kappa) + sex", held).fit(disp=0)
    order = ["Intercept", "age", "np.log(kappa)", "sex[T.M]"]
    off = [
        (coefficients(asked, held, seed)["coef"].to_numpy() - exact.params[order]) / exact.bse[order]
        for seed in range(12)
    ]
    assert np.median(np.abs(off)) <= 0.8


def test_a_private_report_its_figures_and_its_sentences() -> None:
    asked, frame = study("binomial"), people("binomial", 3000, 1)
    frame.loc[:299, "dose"] = np.nan
    frames = {str(place): part for place, part in enumerate(four(frame))}
    result = fc.simulate(frames).run(asked, progress=False)
    assert result.report["patients"] == pytest.approx(2700, abs=400)
    assert result.report["missing"] == pytest.approx(300, abs=400)
    assert list(result.table.columns) == ["coef", "exp(coef)", "se", "z", "p", "low", "high"]
    assert len(figures(result.report, asked.model_dump(mode="json"))) == 2
    for language, words in (("en", "noise makes the intervals"), ("zh", "噪声使系数区间")):
        said = explain(asked, language=language)
        assert words in said
        assert {"en": "Then 9 times, with noise", "zh": "随后 9 次"}[language] in said


def test_a_rows_bits_do_not_depend_on_the_rows_beside_it() -> None:
    asked = study("poisson", "y ~ age*arm + ns(dose, knots=[3, 6])")
    analysis = build_analysis(asked)
    frame = people("poisson", 300, 2)
    d = analysis.regression.p  # type: ignore[attr-defined]
    whiten = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    arrays = {"whiten": whiten, "gamma": np.linspace(-0.3, 0.3, d), "scales": np.array([2.0, 3.0])}

    def values(part: pd.DataFrame) -> list[np.ndarray]:
        rows = Rows(table_from_frame(part, asked.cohort, 0, private=True), 1, {})
        made = []
        for stage in analysis.stages:
            for block in stage.contribute(State(stage.name, 0, arrays), rows, DRAW).values():
                assert isinstance(block, Tally | Gram)
                made.append(np.asarray(block.values))
                if isinstance(block, Gram) and block.weights is not None:
                    made.append(np.asarray(block.weights)[:, None])
        return made

    whole = values(frame)
    for begin in (0, 1, 7, 299):
        for all_rows, few in zip(whole, values(frame.iloc[begin : begin + 3]), strict=True):
            np.testing.assert_array_equal(few, all_rows[begin : begin + 3])


@pytest.mark.parametrize("words", [
    {"se": "robust"}, {"site": "fixed"}, {"offset": "dose"}, {"weights": "dose"}, {"ridge": 1.0},
    {"firth": True}, {"rounds": 3},
])  # fmt: skip
def test_what_a_private_regression_would_not_heed_is_refused(words: dict[str, Any]) -> None:
    (name,) = words
    with pytest.raises(StudyError, match=rf"analysis\.{name}: a private regression does not heed it"):
        study("binomial", **words)


def test_bounds_are_needed_and_a_small_cohort_ends_in_words() -> None:
    with pytest.raises(StudyError, match="privacy needs declared bounds"):
        fc.Study(
            name="g",
            cohort=fc.Cohort(columns={"age": fc.Numeric()}, label=fc.Binary("y")),
            analysis=fc.GLM("y ~ age"),
            privacy=fc.Privacy(epsilon=1.0),
        )
    asked = study("binomial", epsilon=1000.0)
    analysis, few = build_analysis(asked), [people("binomial", 3, 0), people("binomial", 2, 1)]
    with pytest.raises(CohortTooSmallError):
        finished(asked, analysis, few)


def test_a_state_that_is_none_is_refused() -> None:
    asked = study("binomial")
    analysis = build_analysis(asked)
    rows = rows_of(analysis, table_from_frame(people("binomial", 20, 0), asked.cohort, 0, private=True))
    good = {"whiten": np.eye(4), "gamma": np.zeros(4), "scales": np.ones(2)}
    wrong: list[dict[str, Any]] = [
        {}, {"whiten": np.eye(3)}, {"gamma": np.zeros((4, 20))}, {"gamma": np.full(4, np.nan)},
        {"scales": np.zeros(2)},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(WireError):
            contributed(analysis, rows, State("early", 1, {**good, **change} if change else {}))
    assert isinstance(analysis.stages[0], SizesStage)
    assert analysis.n_rounds == 11
