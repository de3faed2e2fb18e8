"""A trained model at work on new patients: contributions add up, and bad values are named."""

import json
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fedcohort as fc
from fedcohort.cli.app import app
from fedcohort.errors import ConfigError, StudyError, ValueRangeError
from fedcohort.researcher.inference import Predictor, load_predictor
from fedcohort.researcher.result import Result
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.table import Table
from tests.build import cohort, frame_of, ward_rows, write_ward
from tests.processes.support import cli

pytestmark = pytest.mark.training

VALUES = {"age": 81, "bp": 150, "sex": "m"}


@pytest.fixture(scope="module")
def trained() -> Result:
    study = fc.Study(
        name="at work", cohort=cohort(), analysis=fc.Train(model="logistic", rounds=15, importance=False)
    )
    return fc.simulate({site: frame_of(ward_rows(index)) for index, site in enumerate("abc")}).run(
        study, progress=False
    )


@pytest.fixture(scope="module")
def folder(trained: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():  # of Keras, which converts its variables in an old way
        warnings.simplefilter("ignore", DeprecationWarning)
        return trained.save(tmp_path_factory.mktemp("saved") / "model")


def test_a_saved_model_predicts_what_the_result_predicts(trained: Result, folder: Path) -> None:
    found = load_predictor(folder).predict_one(VALUES)
    expected = trained.predict(pd.DataFrame([VALUES]))[0, 0]
    assert found.value == pytest.approx(float(expected), abs=1e-6)
    assert found.outcome == "1"


def test_contributions_add_up_to_the_difference_from_a_patient_without_values(trained: Result) -> None:
    found = trained.predictor.predict_one(VALUES)
    assert list(found.contributions) == ["age", "bp", "sex"]
    assert found.baseline + sum(found.contributions.values()) == pytest.approx(found.value, abs=1e-6)
    assert found.contributions["age"] > found.contributions["sex"]
    nobody = trained.predictor.predict_one({})
    assert (nobody.value, set(nobody.contributions.values())) == (nobody.baseline, {0.0})


def test_a_prediction_says_which_columns_had_no_value(trained: Result) -> None:
    assert trained.predictor.predict_one({"age": 60.0}).missing == ("bp", "sex")
    assert trained.predictor.predict_one({"age": 60.0, "bp": "", "sex": "f"}).missing == ("bp",)


def test_contributions_to_a_linear_model_go_with_weight_times_distance_from_the_mean(
    trained: Result,
) -> None:
    """Of one standard deviation more of each number the weights say how much it counts."""
    mean, deviation = trained.arrays["mean"], trained.arrays["deviation"]
    values = {"age": float(mean[0] + deviation[0]), "bp": float(mean[1] + deviation[1])}
    found = trained.predictor.predict_one(values).contributions
    kernel = trained.model.layers[-1].kernel.numpy()[:2, 0]
    assert found["age"] / found["bp"] == pytest.approx(kernel[0] / kernel[1], rel=1e-4)


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"age": 181}, ValueRangeError, "age: outside 18 to 100"),
        ({"age": "old"}, StudyError, "age: not a number"),
        ({"age": "nan"}, StudyError, "age: not a number"),
        ({"sex": "x"}, StudyError, "sex: none of its levels f, m"),
        ({"size": 1}, StudyError, "size: no column of this model; it has age, bp, sex"),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_never_shown(
    trained: Result, values: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        trained.predictor.predict_one(values)
    assert not any(str(value) in str(caught.value).split() for value in values.values())


def test_a_cohort_s_predictions_stand_in_the_site_s_database_once(trained: Result, tmp_path: Path) -> None:
    rows = ward_rows(5)
    database = write_ward(tmp_path / "site.db", rows)
    for _ in range(2):
        count = Predictor(trained.study, trained.saved_model).predict_cohort(_table(trained, rows), database)
    with closing(sqlite3.connect(database)) as connection:
        stored = connection.execute(
            "SELECT patient_id, value FROM fedcohort_predictions WHERE outcome = '1' ORDER BY patient_id"
        ).fetchall()
    expected = trained.predict(frame_of(rows))[:, 0]
    assert count == len(rows) == len(stored)
    assert [patient for patient, _ in stored] == [row["patient_id"] for row in rows]
    assert np.allclose([value for _, value in stored], expected, atol=1e-6)


def _table(trained: Result, rows: list[dict[str, object]]) -> Table:
    return table_from_frame(frame_of(rows), trained.predictor.cohort, 0)


def test_a_model_of_classes_or_numbers_predicts_in_the_label_s_own_words() -> None:
    frames = {site: frame_of(ward_rows(index)) for index, site in enumerate("ab")}
    for frame in frames.values():
        frame["stage"] = (frame["age"] // 34).astype(int)
    train = fc.Train(model="logistic", rounds=5, importance=False)
    classes = fc.Study(name="classes", cohort=cohort(label=fc.Classes("stage", (0, 1, 2))), analysis=train)
    found = fc.simulate(frames).run(classes, progress=False).predictor.predict_one(VALUES)
    assert found.outcome == "2"
    assert 1 / 3 < found.value <= 1
    columns: dict[str, fc.Numeric | fc.Categorical] = {"age": fc.Numeric(18, 100)}
    number = fc.Cohort(
        table="ward", columns=columns, label=fc.Number(column="bp", low=80, high=200, unit="mmHg")
    )
    known = {site: frame.dropna(subset=["bp"]) for site, frame in frames.items()}
    result = fc.simulate(known).run(fc.Study(name="number", cohort=number, analysis=train), progress=False)
    found = result.predictor.predict_one({"age": 60})
    assert (found.outcome, found.label, found.unit) == ("bp", "bp", "mmHg")
    assert "test mae (mmHg) " in repr(result)
    assert 80 <= found.value <= 200
    assert found.baseline + sum(found.contributions.values()) == pytest.approx(found.value, abs=1e-4)


def test_the_command_predicts_one_patient_and_a_cohort(folder: Path, tmp_path: Path) -> None:
    given = [part for name, value in VALUES.items() for part in ("--value", f"{name}={value}")]
    done = cli("predict", folder, *given, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["baseline"] + sum(found["contributions"].values()) == pytest.approx(found["value"], abs=1e-6)
    write_ward(tmp_path / "site.db", ward_rows(5))
    (tmp_path / "site.toml").write_text(
        'id = "a"\ndata = "site.db"\ncoordinator = "ws://127.0.0.1:1"\n[tables]\nward = "*"\n'
    )
    # The same command line in this process, which has TensorFlow already.
    here = CliRunner().invoke(app, ["predict", str(folder), "--site", str(tmp_path / "site.toml")])
    assert here.exit_code == 0, here.output
    assert here.stdout.startswith("60 rows predicted")


def test_the_command_says_of_what_the_number_is_a_probability(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fedcohort.cli.predict import predict

    predict(folder, [f"{name}={value}" for name, value in VALUES.items()])
    assert capsys.readouterr().out.startswith("ill = 1: probability 0.")


def test_a_folder_without_a_model_or_a_question_without_values_is_refused_in_words(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="give the folder that"):
        load_predictor(tmp_path)
    from fedcohort.cli.predict import predict

    with pytest.raises(ConfigError, match="give either --value"):
        predict(folder)
    with pytest.raises(ConfigError, match="write COLUMN=VALUE"):
        predict(folder, ["age"])
