"""A published score over hospitals: what is computed by hand, by NumPy alone, exactly and under privacy."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import fedcohort as fc
from fedcohort.analyses.metrics import SMALLEST_PROBABILITY
from fedcohort.analyses.trained.at_work import at_work
from fedcohort.cli.app import app
from fedcohort.errors import StudyError
from fedcohort.explain import explain
from fedcohort.models.inputs import RECORD, Inputs
from fedcohort.node.policy import SitePolicy, rules
from fedcohort.researcher.inference import load_predictor
from fedcohort.study import SavedModel, Study, parse_study, read_saved_model
from fedcohort.texts.look_up import translated
from tests.build import protected_by, simulated
from tests.patience import PATIENCE_SECONDS

AGE, MALE, UNKNOWN, INTERCEPT, USUAL = 0.03, 0.4, -0.2, -1.9, 60.0
SCORE = fc.Coefficients(
    {"age": AGE, "sex=m": MALE, "sex=": UNKNOWN}, intercept=INTERCEPT, missing={"age": USUAL}
)
LENGTH = fc.Coefficients({"age": 0.1, "sex=m": 2.0}, intercept=-1.0, missing={"age": 50}, link="identity")
COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(18, 90),
    "bp": fc.Numeric(80, 200),
    "sex": fc.Categorical(("f", "m")),
}
ILL, DAYS = fc.Binary("ill"), fc.Number(column="days", low=0, high=10, unit="d")


def rows(seed: int, n: int = 400) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    age = np.where(draw.random(n) < 0.1, np.nan, draw.uniform(18, 90, n))
    sex = np.array(["f", "m", None])[draw.choice(3, n, p=[0.45, 0.45, 0.1])]
    frame = pd.DataFrame({"age": age, "bp": draw.uniform(80, 200, n), "sex": sex})
    ill = (draw.random(n) < by_hand(frame)).astype(int)
    ids = [f"p{seed}-{index:04}" for index in range(n)]
    return frame.assign(patient_id=ids, ill=ill, days=draw.uniform(0, 10, n), set="test")


def by_hand(frame: pd.DataFrame) -> NDArray[np.float64]:
    """The score, written out."""
    sums = [
        INTERCEPT + AGE * (USUAL if np.isnan(age) else age) + {"f": 0.0, "m": MALE}.get(sex, UNKNOWN)
        for age, sex in zip(frame["age"], frame["sex"], strict=True)
    ]
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-np.array(sums)))
    return probabilities


def study(model: Any = SCORE, label: Any = ILL, columns: Any = None, **changes: Any) -> Study:
    cohort = fc.Cohort(columns=columns or COLUMNS, label=label, split="set")
    return fc.Study(**{"name": "score", "cohort": cohort, "analysis": fc.Evaluate(model=model), **changes})


FRAMES = {site: rows(index) for index, site in enumerate("abc")}
POOLED = pd.concat(list(FRAMES.values()), ignore_index=True)


def report(asked: Study) -> dict[str, Any]:
    return simulated(asked, FRAMES).report


@pytest.fixture(scope="module")
def exact() -> fc.Result:
    return fc.simulate(FRAMES).run(study(protection="none"), progress=False)


def test_a_score_predicts_what_is_computed_by_hand(exact: fc.Result) -> None:
    np.testing.assert_allclose(exact.predict(POOLED)[:, 0], by_hand(POOLED), rtol=1e-12, atol=1e-12)


def test_its_measures_over_hospitals_are_those_of_all_patients_together(exact: fc.Result) -> None:
    found, scores, ill = exact.report["test"], by_hand(POOLED), POOLED["ill"].to_numpy()
    pairs = scores[ill == 1][:, None] - scores[ill == 0]
    assert found["rows"] == len(POOLED)
    assert found["accuracy"] == np.mean((scores >= 0.5) == ill)
    assert found["auc"] == pytest.approx(
        ((pairs > 0) + (pairs == 0) / 2).mean(), abs=found["auc_error"] + 1e-12
    )
    likely = np.clip(np.where(ill, scores, 1 - scores), SMALLEST_PROBABILITY, 1)
    assert found["loss"] == pytest.approx(-np.log(likely).mean(), abs=2**-16)
    assert np.sum(found["confusion"]) == len(POOLED)
    bins = np.bincount((scores * 10).astype(int), minlength=10)
    assert [one["rows"] for one in found["calibration"]] == [n for n in bins if n]
    drops = {name: row["auc_drop"] for name, row in exact.report["importance"].items()}
    assert drops["age"] > drops["sex"] > drops["bp"] == 0.0


def test_a_number_is_measured_to_the_last_digits() -> None:
    found = report(study(LENGTH, DAYS, protection="none"))["test"]
    male = (POOLED["sex"] == "m").to_numpy()
    predicted = -1.0 + 0.1 * POOLED["age"].fillna(50).to_numpy() + 2.0 * male
    assert found["mae"] == pytest.approx(np.abs(predicted - POOLED["days"]).mean(), rel=1e-12)


@pytest.mark.usefixtures("paillier_keys")
@pytest.mark.parametrize("protection", ["masks", pytest.param("paillier", marks=pytest.mark.slow)])
def test_every_protection_gives_the_same_bits(exact: fc.Result, protection: str) -> None:
    found = report(study(**protected_by(protection)))
    for part in ("test", "importance"):
        assert found[part] == exact.report[part]


def test_a_private_measure_is_near_the_exact_one_with_its_noise(exact: fc.Result) -> None:
    found = report(study(privacy=fc.Privacy(epsilon=50.0)))
    assert found["test"]["accuracy"] == pytest.approx(exact.report["test"]["accuracy"], abs=0.05)
    assert found["test"]["auc_low"] < exact.report["test"]["auc"] < found["test"]["auc_high"] + 0.02


def test_under_privacy_a_row_has_the_same_bits_in_whatever_company(exact: fc.Result) -> None:
    draw = np.random.default_rng(1)
    model = at_work(exact.study, SCORE)
    record = draw.normal(0, 30, (101, 5))
    together = model.predict_apart(Inputs({RECORD: record}))
    for one in range(len(record)):
        alone = model.predict_apart(Inputs({RECORD: record[one : one + 1]}))
        assert alone.tobytes() == together[one : one + 1].tobytes()
    assert model.predict_apart(Inputs({RECORD: record[:0]})).shape == (0, 1)
    np.testing.assert_allclose(together, model.predict(Inputs({RECORD: record})), rtol=1e-14)


def test_contributions_are_coefficient_times_distance_and_add_up_in_both_units(exact: fc.Result) -> None:
    found = exact.predictor.predict_one({"age": 81, "sex": "m"})
    assert found.log_odds == pytest.approx({"age": AGE * (81 - USUAL), "bp": 0, "sex": MALE - UNKNOWN})
    assert found.baseline == pytest.approx(1 / (1 + np.exp(-(INTERCEPT + AGE * USUAL + UNKNOWN))), rel=1e-12)
    assert found.baseline + sum(found.contributions.values()) == pytest.approx(found.value, abs=1e-12)
    assert found.contributions["age"] / found.contributions["sex"] == pytest.approx(0.63 / 0.6)
    nobody = exact.predictor.predict_one({})
    assert (nobody.value, set(nobody.contributions.values())) == (nobody.baseline, {0.0})


def test_columns_that_cancel_keep_their_contributions() -> None:
    balanced = fc.Coefficients({"age": 0.5, "bp": -0.5}, missing={"age": 60, "bp": 120})
    predictor = fc.Result(study(balanced), {}, []).predictor
    found = predictor.predict_one({"age": 62, "bp": 122})
    slope = found.value * (1 - found.value)
    assert found.contributions == pytest.approx({"age": slope, "bp": -slope, "sex": 0.0}, rel=1e-12)


@pytest.mark.parametrize(
    ("model", "label", "said"),
    [
        ({"coefficients": {"weight": 1.0}}, ILL, "weight is no column of the cohort; it has age, bp, sex"),
        ({"coefficients": {"sex=x": 1.0}}, ILL, "x is no level of sex; it has f, m"),
        ({"coefficients": {"sex": 1.0}}, ILL, "sex has levels; write sex=f"),
        ({"coefficients": {"age=60": 1.0}}, ILL, "age is a number; write age without a level"),
        ({"coefficients": {"age": 1.0}}, ILL, "say as which value a missing number counts, for age"),
        ({"coefficients": {"sex=m": 1.0}, "missing": {"age": 1.0}}, ILL, "age has no coefficient of a num"),
        ({"coefficients": {"sex=m": 1.0}}, DAYS, 'label: link = "logit" gives a probability'),
        ({"coefficients": {"sex=m": 1.0}, "link": "identity"}, ILL, 'label: link = "identity"'),
        ({"coefficients": {"sex=m": 1.0}}, fc.Classes("days", (1, 2, 3)), "cohort.label: link"),
    ],
)  # fmt: skip
def test_words_that_do_not_fit_are_refused_by_name_at_hand_in(model: Any, label: Any, said: str) -> None:
    asked = study(fc.Coefficients(**model), label)
    assert parse_study(asked.canonical) == asked, "a stored study stays readable"
    with pytest.raises(StudyError, match=said):
        fc.simulate(FRAMES).run(asked, progress=False)


def test_an_image_has_no_coefficient() -> None:
    asked = study(fc.Coefficients({"sex=m": 1.0}), columns={**COLUMNS, "scan": fc.Image(4, 4)})
    with pytest.raises(StudyError, match=r"cohort.columns: scan is an image"):
        at_work(asked, fc.Coefficients({"sex=m": 1.0}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "much"])
def test_a_coefficient_that_is_no_finite_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(StudyError, match=r"coefficients\.age: write a"):
        fc.Coefficients({"age": value}, missing={"age": 60})
    with pytest.raises(StudyError, match=r"coefficients"):
        fc.Coefficients({})


def test_what_is_no_model_is_refused_in_words() -> None:
    with pytest.raises(StudyError, match=r"model: give a result, the folder that result.save wrote, or fc"):
        fc.Evaluate(model=5)
    with pytest.raises(StudyError, match=r"model\.intercept: write a number"):
        fc.Evaluate(model={"coefficients": {"age": 1.0}, "intercept": "x"})


@pytest.mark.parametrize("kind", ["evaluate", "validate"])
def test_a_study_from_anybody_opens_no_folder_and_ones_own_does(
    exact: fc.Result, kind: str, tmp_path: Path
) -> None:
    folder = exact.save(tmp_path / "score")
    asked = json.loads(exact.study.canonical)
    asked["analysis"] = {"kind": kind, "model": str(folder)}
    for given in (json.dumps(asked).encode(), asked):
        with pytest.raises(StudyError, match="a study holds its model, and names no folder"):
            parse_study(given)
    own = tmp_path / "study.toml"
    own.write_text(
        f"""name = "own"
        [cohort]
        columns = {{age = {{low = 18, high = 90}}, sex = {{levels = ["f", "m"]}}}}
        label = {{column = "ill"}}
        [analysis]
        kind = "{kind}"
        model = {json.dumps(str(folder))}
        """,
        encoding="utf-8",
    )
    read = fc.load_study(own).analysis
    assert isinstance(read, fc.Evaluate | fc.Validate)
    assert read.model == SCORE == fc.Validate(folder).model
    with pytest.raises(StudyError, match=r"give the folder that result\.save wrote"):
        fc.Validate(tmp_path / "nowhere")


def test_a_hospital_allows_scores_by_name() -> None:
    def objection(**words: Any) -> str | None:
        policy = SitePolicy(id="a", data="a.db", tables={"records": "*"}, coordinator="wss://hub", **words)
        found = dict(rules(policy, study(privacy=fc.Privacy(epsilon=1.0))))["model"]
        return None if found is None else str(found)

    assert objection() is None
    assert "models does not allow 'coefficients'" in str(objection(models=["logistic"]))
    assert "private_models does not allow 'coefficients'" in str(objection(private_models=["logistic"]))


def test_explain_says_how_many_coefficients_a_reader_will_find() -> None:
    said = SCORE.said
    assert said == (
        "Measure a score with 3 coefficients, which stand in the study, on the hospital's patients."
    )
    assert said in str(explain(study()))
    assert "3 个系数" in translated(said, "zh")


def test_a_saved_evaluation_of_a_score_is_a_folder_to_predict_with(exact: fc.Result, tmp_path: Path) -> None:
    folder = exact.save(tmp_path / "score")
    assert {path.name for path in folder.iterdir()} == {
        "study.json", "report.json", "metrics.csv", "model.json"
    }  # fmt: skip
    assert read_saved_model(folder) == SCORE
    assert fc.Evaluate(model=folder) == exact.study.analysis
    assert fc.load_result(folder).predictor.predict_one({"age": 70}) == exact.predictor.predict_one(
        {"age": 70}
    )
    printed = CliRunner().invoke(app, ["predict", str(folder), "--value", "age=81", "--value", "sex=m"])
    assert printed.exit_code == 0
    assert "contribution (probability)" in printed.output
    assert "+0.63" in printed.output
    with pytest.raises(StudyError, match="not of Keras"):
        exact.features(POOLED)
    with pytest.raises(StudyError, match="trains no model"):
        exact.model  # noqa: B018


BEFORE = """{"model":"logistic","weights":"AACAPwAAAMAAAAAA","mean":[54.0],"deviation":[9.0]}"""


def test_a_study_and_a_folder_of_before_are_what_they_were(tmp_path: Path) -> None:
    """Hash and file as the version before wrote them."""
    (tmp_path / "model.json").write_text(BEFORE, encoding="utf-8")
    saved = read_saved_model(tmp_path)
    assert isinstance(saved, SavedModel)
    assert json.loads(saved.model_dump_json()) == json.loads(BEFORE)
    cohort = fc.Cohort(columns={"age": COLUMNS["age"], "sex": COLUMNS["sex"]}, label=ILL)
    asked = fc.Study(name="a model of before", cohort=cohort, analysis=fc.Evaluate(model=saved))
    assert asked.hash == "e79f46305b1acb0d1858eff2a1363d38b19e300887f0e52de3dce84b7d2f11e0"
    (tmp_path / "study.json").write_bytes(asked.canonical)
    assert load_predictor(tmp_path).saved == saved


PROGRAM = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
from tests.analyses.test_coefficients import FRAMES, study
import fedcohort as fc
for privacy in (None, fc.Privacy(epsilon=1.0)):
    result = fc.simulate(FRAMES).run(study(privacy=privacy), progress=False)
print(result.predictor.predict_one({"age": 60}).value)
"""


@pytest.mark.processes
def test_a_hospital_without_tensorflow_measures_and_predicts() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 1


def test_what_is_refused_of_a_saved_score_is_done_as_told(exact: fc.Result, tmp_path: Path) -> None:
    folder = exact.save(tmp_path / "score")
    (folder / "model.json").write_text("{", encoding="utf-8")
    with pytest.raises(StudyError, match=r"not JSON.*save the result again"):
        read_saved_model(folder)
    assert read_saved_model(exact.save(folder)) == SCORE
    with pytest.raises(StudyError, match=r"not of Keras; take result\.predict"):
        exact.features(POOLED)
    assert exact.predict(POOLED)[:, 0] == pytest.approx(by_hand(POOLED), abs=1e-6)
