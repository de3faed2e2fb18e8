"""What a hospital reads before it approves names everything that will leave."""

from typing import Any

import pytest

import fedcohort as fc
from fedcohort.explain import explain, protection_words
from fedcohort.study import Label, SavedModel

from .analyses.support import study

STAGES = fc.Classes("stage", [0, 1, 2])
DAYS = fc.Number(column="days", low=0, high=30)
SAVED = SavedModel(model="logistic", weights="", mean=(0.0, 0.0), deviation=(1.0, 1.0))


def leaves(asked: fc.Study) -> str:
    """The section on what leaves, as one line."""
    text = explain(asked).split("What leaves the hospital\n")[1].split("\n\n")[0]
    return " ".join(text.split())


def test_it_names_the_study_the_columns_and_the_patients() -> None:
    asked = study(fc.Describe(), where="age >= 18", split=fc.Holdout(0.2))
    text = explain(asked, "Dr. Ada", bytes(32))
    for words in ("Study: test", asked.hash, "Dr. Ada", "where age >= 18"):
        assert words in text
    for words in ("age: a number from 18 to 100", "smoker: one of no, yes", "Label: disease"):
        assert words in text
    assert "Protection: masks" in text
    assert "No differential privacy" in text
    assert "At least 2 hospitals" in text


def test_what_is_not_decided_yet_is_not_told_as_a_number_and_a_description_holds_nobody_out() -> None:
    short = fc.Study(
        name="s", cohort=fc.Cohort(columns=["age", "ward"], bounds={"age": (0, 90)}), analysis=fc.Describe()
    )
    words = explain(short)
    assert "age: a number from 0 to 90\n" in words
    assert "ward: what the hospitals declare of it, which the study takes when it is handed in\n" in words
    assert ": a number without declared bounds" not in words
    kinds: dict[str, Any] = {"ward": fc.Categorical(["a", "b"]), "age": fc.Numeric(0, 120)}
    here = explain(short, filled=fc.Cohort(columns=kinds))
    assert "ward: one of a, b\n" in here
    assert "age: a number from 0 to 90\n" in here
    assert "held out" not in words
    trained = short.model_copy(
        update={"analysis": fc.Train(), "cohort": short.cohort.model_copy(update={"label": "ill"})}
    )
    assert "20% of the patients are held out for testing." in explain(trained)


def test_it_tells_a_numbers_unit_where_the_hospital_declares_one() -> None:
    asked = study(fc.Describe(), columns={"chol": fc.Numeric(1, 16), "bmi": fc.Numeric()}, label=None)
    words = explain(asked, units={"chol": "mmol/L", "bmi": "kg/m^2", "other": "mg"})
    assert "chol: a number from 1 to 16 mmol/L\n" in words
    assert "bmi: a number without declared bounds, in kg/m^2 here\n" in words


def test_describe_tells_its_counts_and_sums() -> None:
    said = leaves(study(fc.Describe()))
    for words in ("how many rows and patients", "sum of squares", "a count for each level"):
        assert words in said
    assert "Then once" not in said
    without = leaves(study(fc.Describe(), columns={"age": fc.Numeric()}))
    assert "Then once: for each number how many lie" in without
    assert "the range lies about the mean of all hospitals" in without


def test_under_privacy_it_tells_that_the_declared_bounds_matter() -> None:
    bounded = study(fc.Describe()).model_copy(update={"privacy": fc.Privacy(epsilon=1.0)})
    assert "The noise on a number goes with its declared bounds" in leaves(bounded)
    trained = bounded.model_copy(update={"analysis": fc.Train.private()})
    assert "A number is scaled by its declared bounds, not by its deviation" in leaves(trained)


def test_train_tells_each_round_and_the_end() -> None:
    said = leaves(study(fc.Train(model="logistic", rounds=7)))
    for words in ("7 times: the change of the model's weights", "rows by split", "number of training rows"):
        assert words in said
    for words in ("rows by predicted and true class", "calibration bin", "after shuffling it"):
        assert words in said
    assert "shuffling" not in leaves(study(fc.Train(model="logistic", importance=False)))


def test_evaluate_tells_importance_too() -> None:
    said = leaves(study(fc.Evaluate(model=SAVED)))
    for words in ("sum of losses", "rows by predicted and true class", "calibration", "after shuffling it"):
        assert words in said
    assert "shuffling" not in leaves(study(fc.Evaluate(model=SAVED, importance=False)))


@pytest.mark.parametrize(
    ("label", "told", "untold"),
    [(STAGES, "true class", "calibration"), (DAYS, "absolute errors", "class")],
)
def test_only_what_this_label_makes_leave_is_told(label: Label, told: str, untold: str) -> None:
    said = leaves(study(fc.Train(model="logistic"), label=label))
    assert told in said
    assert untold not in said


@pytest.mark.parametrize(
    ("protection", "words"),
    [
        ("none", "The coordinator sees this hospital's vector"),
        ("masks", "no more than 1 of them tell the coordinator"),
        ("paillier", "rests on a coordinator that follows the protocol and on every hospital"),
        ("ckks", "rests on a coordinator that follows the protocol and on every hospital"),
    ],
)
def test_it_says_on_what_each_protection_rests(protection: Any, words: str) -> None:
    asked = study(fc.Describe()).model_copy(update={"protection": protection})
    assert words in explain(asked)
    assert ("each can subtract its own part" in explain(asked)) == (protection != "none")


def test_a_report_of_three_or_more_sites_names_the_quorum_and_leaves_out_what_holds_for_two() -> None:
    asked = study(fc.Describe())
    assert "opened once, by 3 of 4 hospitals" in " ".join(protection_words(asked, 4))
    assert "subtract" not in " ".join(protection_words(asked, 3))
    assert "subtract" in " ".join(protection_words(asked, 2))


def test_a_private_study_says_what_it_promises_and_on_whose_noise_that_rests() -> None:
    cohort = fc.Cohort(columns={"age": fc.Numeric(18, 90)}, label=fc.Binary("ill"))
    asked = fc.Study(
        name="x", cohort=cohort, analysis=fc.Train.private(), privacy=fc.Privacy(epsilon=1.5, delta=1e-3)
    )
    text = explain(asked)
    assert "epsilon 1.5, delta 0.001, for all that the study releases" in text
    assert "Any one patient's data, which count with one row, make an outcome at most 4.5 times" in text
    assert "Not hidden: that this hospital takes part, and how long it computes, unless" in text
    assert "200 times: a sum of the patients' gradients, with noise" in text
    assert "add the noise in shares" in text
    assert "the change of the model's weights" not in text
    alone = asked.model_copy(update={"privacy": fc.Privacy(epsilon=1.5, noise="site")})
    assert "need not trust anybody for it" in explain(alone)


def test_a_private_study_says_what_is_released_under_each_algorithm_and_without_held_out_patients() -> None:
    cohort = fc.Cohort(columns={"age": fc.Numeric(18, 90)}, label=fc.Binary("ill"), split=None)
    train = fc.Train.private(algorithm="fedavg", rounds=10)
    text = explain(fc.Study(name="x", cohort=cohort, analysis=train, privacy=fc.Privacy(epsilon=1.5)))
    assert "10 times: where the model's weights went in steps taken at this hospital" in text
    assert "a sum of the patients' gradients" not in text
    assert "No patient is held out, so that nothing is measured." in text
    assert "by outcome and score" not in text


@pytest.mark.parametrize(
    ("epsilon", "words"),
    [
        (1e-6, "at most 1.000 times"),
        (0.05, "at most 1.051 times"),
        (10, "at most 22026.5 times"),
        (1e4, "next to no promise"),
    ],
)
def test_every_epsilon_that_a_study_may_ask_for_is_put_into_words(epsilon: float, words: str) -> None:
    cohort = fc.Cohort(columns={"age": fc.Numeric(18, 90)}, label=fc.Binary("ill"))
    asked = fc.Study(
        name="x", cohort=cohort, analysis=fc.Train.private(), privacy=fc.Privacy(epsilon=epsilon)
    )
    assert words in explain(asked)


def test_training_without_privacy_says_that_records_can_be_read_out_of_a_sum() -> None:
    """As tests/privacy/test_inversion.py does."""
    assert "whole records of patients out of a sum" in explain(study(fc.Train()))
    assert "whole records" not in explain(study(fc.Describe()))
