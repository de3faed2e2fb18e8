"""What a private study will find out is foreseen from the study alone, and comes out so."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fedcohort as fc
from fedcohort.cli.app import app
from fedcohort.expect import expected

COLUMNS: dict[str, Any] = {"a": fc.Numeric(0, 1), "s": fc.Categorical(("f", "m"))}


def study(analysis: Any, label: Any = None, **privacy: Any) -> fc.Study:
    cohort = fc.Cohort(columns=COLUMNS, label=label, split=None if label is None else fc.Holdout(0.2))
    return fc.Study(name="s", cohort=cohort, analysis=analysis, privacy=fc.Privacy(**privacy))


def widths(sentences: Sequence[str]) -> list[float]:
    return [float(re.findall(r"known to about ([\d.e-]+)", one)[0]) for one in sentences]


def test_a_small_study_is_told_that_its_auc_will_be_anything() -> None:
    (sentence,) = expected(study(fc.Train.private(), fc.Binary("ill"), epsilon=1.5), 3, [299])
    assert sentence == (
        "With 299 patients, 60 of them measured, the AUC will be known to about 0.5, as far as the noise "
        "goes."
    )


def test_more_patients_and_a_larger_epsilon_are_known_better() -> None:
    at = [expected(study(fc.Train.private(), fc.Binary("ill"), epsilon=e), 3) for e in (0.5, 2.0, 8.0)]
    assert all(widths(one) == sorted(widths(one), reverse=True) for one in at)
    assert widths(at[0])[1] > widths(at[1])[1] > widths(at[2])[1]


def frames(n: int) -> dict[str, pd.DataFrame]:
    draw = np.random.default_rng(3)
    made = {}
    for number, site in enumerate("xyz"):
        a = draw.random(n)
        ill = (draw.random(n) < 1 / (1 + np.exp(-3 * (a - 0.5)))).astype(int)
        rows = {"patient_id": np.arange(n) + n * number, "a": a, "s": draw.choice(["f", "m"], n), "ill": ill}
        made[site] = pd.DataFrame(rows)
    return made


@pytest.mark.training
@pytest.mark.parametrize("noise", ["shared", "site"])
def test_what_was_foreseen_is_what_the_report_tells(noise: str) -> None:
    train = fc.Train.private(rounds=20, importance=False)
    asked = study(train, fc.Binary("ill"), epsilon=4.0, noise=noise)
    told = fc.simulate(frames(1000)).run(asked, progress=False).report["test"]
    (width,) = widths(expected(asked, 3, [3000]))
    assert (told["auc_high"] - told["auc_low"]) / 2 == pytest.approx(width, rel=0.5)


def test_a_description_is_foreseen_by_counts_and_means() -> None:
    asked = study(fc.Describe(), epsilon=1.0)
    report = fc.simulate(frames(1000)).run(asked, progress=False).report
    (sentence,) = expected(asked, 3, [3000])
    count, mean = (float(one) for one in re.findall(r"about ([\d.]+)", sentence))
    assert count == pytest.approx(report["patients_error"], rel=0.1)
    described = report["describe"]["a"]
    assert (described["mean_high"] - described["mean_low"]) / 2 == pytest.approx(mean, rel=0.5)


def test_nothing_is_foreseen_without_privacy_or_without_patients_to_measure() -> None:
    exact = fc.Study(name="s", cohort=fc.Cohort(columns=COLUMNS), analysis=fc.Describe())
    assert expected(exact) == []
    unmeasured = study(fc.Train.private(), fc.Binary("ill"), epsilon=1.0)
    unmeasured = unmeasured.model_copy(
        update={"cohort": unmeasured.cohort.model_copy(update={"split": None})}
    )
    assert expected(unmeasured) == ["No patient is held out, so that nobody will know how good the model is."]


def test_explain_says_what_it_lacks_to_foresee_so_many_patients(
    tmp_path: Path,
) -> None:
    file = tmp_path / "study.toml"
    said = {}
    for label in ('"ill"', '{ column = "ill" }'):
        file.write_text(
            f'name = "a"\n[cohort]\nlabel = {label}\n[cohort.columns]\nage = {{ low = 18, high = 90 }}\n'
            '[analysis]\nkind = "train"\nmodel = "logistic"\nalgorithm = "fedsgd"\n[privacy]\nepsilon = 1.5\n'
        )
        said[label] = CliRunner().invoke(app, ["explain", str(file), "--patients", "500"]).output
    assert "write [cohort.columns] and label = {column = ...} in the study" in " ".join(said['"ill"'].split())
    assert "With 500 patients" in said['{ column = "ill" }']


def test_an_absolute_error_to_come_is_told_in_the_labels_unit() -> None:
    label = fc.Number(column="sbp", low=80, high=200, unit="mmHg")
    (sentence,) = expected(study(fc.Train.private(), label, epsilon=8.0), 3, [30_000])
    assert re.search(r"mean absolute error will be known to about [\d.]+ mmHg, as far", sentence)
