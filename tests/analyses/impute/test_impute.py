"""Imputation over hospitals is that of all rows together, and its intervals hold the truth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import State
from fedcohort.analyses.rows import Rows
from fedcohort.errors import WireError
from fedcohort.sources.cohort.frame import table_from_frame
from tests.analyses.at_site import contributed, rows_of
from tests.analyses.glm.data import flchain
from tests.analyses.together import finished, report_of, sums_of

TRUTH = np.array([-0.5, 0.6, 0.8, 0.5])
COHORT = fc.Cohort(
    columns={"x": fc.Numeric(), "w": fc.Numeric(), "b": fc.Categorical([0, 1])}, label=fc.Binary("y")
)
FORMULA = "y ~ x + w + b"


def people(seed: int = 0, n: int = 300) -> pd.DataFrame:
    """Patients with an outcome by known coefficients."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 1, n)
    w = 0.6 * x + draw.normal(0, 0.8, n)
    b = (draw.random(n) < 1 / (1 + np.exp(-x))).astype(float)
    eta = np.column_stack([np.ones(n), x, w, b]) @ TRUTH
    y = (draw.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    return pd.DataFrame({"patient_id": [f"{seed}-{i}" for i in range(n)], "x": x, "w": w, "b": b, "y": y})


def lacking(seed: int = 0, n: int = 300) -> pd.DataFrame:
    """The same without some of w, by what else is known of the patient, and without some of b."""
    frame, draw = people(seed, n), np.random.default_rng([seed, 1])
    gone = draw.random(n) < 1 / (1 + np.exp(1 - 1.5 * frame["x"] - 1.5 * frame["y"]))
    frame.loc[gone, "w"] = np.nan
    frame.loc[draw.random(n) < 0.2, "b"] = np.nan
    return frame


def lacking_at_a_site(seed: int = 0, n: int = 300) -> pd.DataFrame:
    """The first hospital has no w at all."""
    frame = lacking(seed, n)
    frame["w"] = people(seed, n)["w"]
    frame.loc[frame.index[: n // 3], "w"] = np.nan
    return frame


def sites(frame: pd.DataFrame) -> list[pd.DataFrame]:
    n = len(frame)
    return [frame.iloc[: n // 3], frame.iloc[n // 3 : n // 2], frame.iloc[n // 2 :]]


def study(seed: int = 0, protection: Any = "none", **words: Any) -> fc.Study:
    asked = fc.Impute(**{"formula": FORMULA, "columns": ["w", "b"], "m": 5, "cycles": 3, **words})
    return fc.Study(name="i", cohort=COHORT, analysis=asked, seed=seed, protection=protection)


def table(report: dict[str, Any], kind: str = "impute") -> pd.DataFrame:
    return pd.DataFrame(report[kind]["coefficients"]).set_index("name").astype(np.float64)


def number(found: pd.DataFrame, row: str, column: str) -> float:
    return float(found[column].to_numpy()[list(found.index).index(row)])


@pytest.mark.parametrize("made", [lacking, lacking_at_a_site])
def test_hospitals_together_are_all_rows_in_one(made: Any) -> None:
    whole, parted = report_of(study(), [made()]), report_of(study(), sites(made()))
    np.testing.assert_allclose(table(whole), table(parted), rtol=1e-9)
    assert {**whole["impute"], "coefficients": None} == {**parted["impute"], "coefficients": None}
    shuffled = report_of(study(), sites(made().sample(frac=1, random_state=3)))
    np.testing.assert_allclose(table(whole), table(shuffled), rtol=1e-9)


def test_nothing_missing_is_the_regression_itself() -> None:
    ours, plain = report_of(study(), sites(people())), report_of(regression(), sites(people()))
    np.testing.assert_allclose(table(ours)["coef"], table(plain, "glm")["coef"], rtol=1e-9)
    np.testing.assert_allclose(table(ours)["se"], table(plain, "glm")["se"], rtol=1e-7)
    assert (table(ours)["fmi"] < 1e-9).all()


def regression(**words: Any) -> fc.Study:
    return fc.Study(name="g", cohort=COHORT, analysis=fc.GLM(FORMULA), **words)


def test_missing_values_are_counted_by_column_and_rows_that_lack_others_left_out() -> None:
    frame = lacking()
    frame.loc[frame.index[:7], "x"] = np.nan
    report, rest = report_of(study(), sites(frame)), frame.iloc[7:]
    assert (report["patients"], report["missing"], report["impute"]["n"]) == (293, 7, 293)
    for name in ("w", "b"):
        gone = int(rest[name].isna().sum())
        assert report["impute"]["columns"][name] == {"missing": gone, "n": 293 - gone}
        row = "b[T.1]" if name == "b" else name
        assert number(table(report), row, "n") == 293 - gone
    assert report["impute"]["events"] == rest["y"].sum()


@pytest.mark.slow
def test_intervals_hold_the_truth_and_complete_rows_are_farther_from_it() -> None:
    held: list[Any] = []
    errors: dict[str, list[Any]] = {"impute": [], "glm": []}
    for seed in range(60):
        frame = lacking(seed)
        found = table(report_of(study(seed), sites(frame)))
        held.append((found["low"] <= TRUTH) & (found["high"] >= TRUTH))
        complete = table(report_of(regression(), sites(frame)), "glm")
        for name, one in (("impute", found), ("glm", complete)):
            errors[name].append(one["coef"] - TRUTH)
    # Of 60 intervals 57 are to hold it; fewer than 52 would happen once in 250.
    assert (np.sum(held, 0) >= 52).all()
    assert np.sum(held) >= 0.92 * 240
    spread = {name: np.sqrt(np.mean(np.square(one), 0)) for name, one in errors.items()}
    assert (spread["impute"] < 1.05 * spread["glm"]).all()
    assert (spread["impute"][:2] < 0.8 * spread["glm"][:2]).all()


def test_a_site_without_the_column_takes_part() -> None:
    """The other rows of a hospital that never measured w say what they can."""
    held = 0
    for seed in range(20):
        frame = lacking_at_a_site(seed)
        found = table(report_of(study(seed), sites(frame)))
        held += int(((found["low"] <= TRUTH) & (found["high"] >= TRUTH)).sum())
        complete = table(report_of(regression(), sites(frame)), "glm")
        assert number(found, "x", "se") < number(complete, "x", "se")
    assert held >= 70


def test_a_site_whose_column_is_empty_takes_part_in_a_federation() -> None:
    frames = dict(zip("abc", sites(lacking_at_a_site()), strict=True))
    assert frames["a"]["w"].isna().all()
    report = fc.simulate(frames).run(study(), progress=False).report
    assert report["impute"]["columns"]["w"]["missing"] == len(frames["a"])


def test_none_and_masks_give_the_same_bits_and_another_seed_others() -> None:
    frames = dict(zip("abc", sites(lacking()), strict=True))
    reports = [
        fc.simulate(frames).run(study(seed, protection), progress=False).report["impute"]
        for seed, protection in ((0, "none"), (0, "masks"), (1, "none"))
    ]
    assert reports[0] == reports[1] == report_of(study(), list(frames.values()))["impute"]
    assert reports[0] != reports[2]


def test_a_process_that_begins_again_in_any_round_sends_the_same_bits() -> None:
    analysis = build_analysis(study())
    tables = [table_from_frame(frame, COHORT, 0, False) for frame in sites(lacking())]
    kept, state = [rows_of(analysis, one) for one in tables], analysis.start()
    n_rounds = 0
    while not state.finished:
        for rows, one in zip(kept, tables, strict=True):
            ours, fresh = (contributed(analysis, each, state) for each in (rows, rows_of(analysis, one)))
            assert all(np.array_equal(ours[name], fresh[name]) for name in ours)
        # A coordinator that begins again has the state alone, and makes the same of the sum.
        sums = sums_of(analysis, kept, state, None, np.random.default_rng(0))
        after, again = analysis.update(state, sums), build_analysis(study()).update(state, sums)
        for arrays, others in ((after.arrays, again.arrays), (after.kept, again.kept)):
            assert {name: one.tobytes() for name, one in arrays.items()} == {
                name: one.tobytes() for name, one in others.items()
            }
        state, n_rounds = after, n_rounds + 1
    assert n_rounds > 10


def test_a_logarithm_is_imputed_as_such_and_a_helper_column_is_not_in_the_model() -> None:
    frame = lacking()
    frame["w"] = np.exp(frame["w"])
    found = table(report_of(study(formula="y ~ x + log(w)"), sites(frame)))
    assert list(found.index) == ["Intercept", "x", "log(w)"]
    plain = table(report_of(study(formula="y ~ x + w"), sites(lacking())))
    np.testing.assert_allclose(found["coef"], plain["coef"], rtol=1e-8)
    assert report_of(study(formula="y ~ x + log(w)"), sites(frame))["missing"] == 0


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_other_families(family: str) -> None:
    frame, draw = people(), np.random.default_rng(5)
    frame.loc[draw.random(300) < 1 / (1 + np.exp(1 - 2 * frame["x"])), ["w", "b"]] = np.nan
    mean = np.exp(0.3 * people()["x"] + 0.2 * people()["w"])
    frame["y"] = draw.poisson(mean) if family == "poisson" else np.log(mean) + draw.normal(0, 0.3, 300)
    label = fc.Number(column="y", low=0 if family == "poisson" else -9, high=99)
    cohort = COHORT.model_copy(update={"label": label})
    asked = fc.Impute(FORMULA, family=family, columns=["w", "b"], m=10)
    report = report_of(fc.Study(name="i", cohort=cohort, analysis=asked), sites(frame))
    found = table(report)
    assert report["impute"]["family"] == family
    assert number(found, "x", "low") < 0.3 < number(found, "x", "high")
    assert number(found, "w", "low") < 0.2 < number(found, "w", "high")


def test_a_site_of_no_rows_or_of_none_that_count_adds_zeros() -> None:
    frame = lacking()
    nobody = frame.iloc[:20].assign(x=np.nan)
    with_them = report_of(study(), [*sites(frame.iloc[20:]), nobody])
    without = report_of(study(), sites(frame.iloc[20:]))
    assert table(with_them).equals(table(without))
    analysis = build_analysis(study())
    whole = table_from_frame(frame, COHORT, 0, False)
    none = replace(
        whole,
        patient_ids=whole.patient_ids[:0],
        columns={name: values[:0] for name, values in whole.columns.items()},
        split=whole.split[:0],
        label=None if whole.label is None else whole.label[:0],
    )
    kept, empty, state = [rows_of(analysis, whole)], Rows(none), analysis.start()
    while not state.finished:
        assert not any(np.any(values) for values in contributed(analysis, empty, state).values())
        state = analysis.update(state, sums_of(analysis, kept, state, None, np.random.default_rng(0)))


def test_a_coordinator_that_sends_other_parameters_is_refused() -> None:
    analysis = build_analysis(study())
    rows = rows_of(analysis, table_from_frame(lacking(), COHORT, 0, False))
    state = analysis.start()
    for _ in range(2):
        state = analysis.update(state, sums_of(analysis, [rows], state, None, np.random.default_rng(0)))
    for name, value in (
        ("parameters", state.arrays["parameters"][:, :, 1:]),
        ("parameters", state.arrays["parameters"] * np.nan),
        ("scale", np.zeros_like(state.arrays["scale"])),
        ("mode/3", np.zeros(3)),
    ):
        forged = State(state.phase, state.round, {**state.arrays, name: value})
        with pytest.raises(WireError):
            contributed(analysis, rows, forged)


def test_creatinine_of_flchain() -> None:
    """A sixth of the patients have none; the bits of hospitals are those of one, to rounding."""
    data = flchain()
    asked = fc.Impute("death ~ age + sex + creatinine", columns=["creatinine"], m=10)
    made = fc.Study(name="f", cohort=data.cohort, analysis=asked)
    parted, whole = report_of(made, data.sites), report_of(made, [data.frame])
    np.testing.assert_allclose(table(parted), table(whole), rtol=1e-8)
    gone = int(data.frame["creatinine"].isna().sum())
    assert parted["impute"]["columns"]["creatinine"]["missing"] == gone > 1000
    plain = fc.Study(name="f", cohort=data.cohort, analysis=fc.GLM("death ~ age + sex + creatinine"))
    complete = table(report_of(plain, data.sites), "glm")
    found = table(parted)
    assert number(found, "age", "se") < number(complete, "age", "se")
    assert abs(found["coef"] - complete["coef"])["creatinine"] < 0.1


def test_values_taken_from_flchain_are_made_up_for() -> None:
    """Creatinine is taken from those who died old: complete rows are then far from all rows."""
    data = flchain()
    whole = data.frame.dropna(subset=["creatinine"])
    formula = "death ~ age + sex + log(creatinine)"
    draw = np.random.default_rng(0)
    odds = np.exp(-2 + 0.06 * (whole["age"] - 65) + 1.5 * whole["death"])
    frame = whole.assign(creatinine=whole["creatinine"].where(draw.random(len(whole)) > odds / (1 + odds)))

    def found(analysis: Any, rows: pd.DataFrame) -> pd.DataFrame:
        made = fc.Study(name="f", cohort=data.cohort, analysis=analysis)
        return table(report_of(made, [rows.iloc[:999], rows.iloc[999:]]), analysis.kind)

    truth = found(fc.GLM(formula), whole)["coef"]
    complete = found(fc.GLM(formula), frame)["coef"]
    imputed = found(fc.Impute(formula, columns=["creatinine"], m=10), frame)
    off = np.abs(complete - truth), np.abs(imputed["coef"] - truth)
    for name in ("Intercept", "age"):
        assert off[1][name] < 0.5 * off[0][name]
    assert ((imputed["low"] < truth) & (truth < imputed["high"])).all()


def test_the_state_after_all_steps_carries_one_row_of_parameters_a_step() -> None:
    analysis = build_analysis(study())
    state = finished(study(), analysis, sites(lacking()))
    assert state.arrays["parameters"].shape == (6, 5, 5)
