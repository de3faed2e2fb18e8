"""A figure whose interval covers most of what is possible is told as not known, wherever it is shown."""

import json

import pytest

import fedcohort as fc
from fedcohort.dashboard.federation.document import Finished, document
from fedcohort.known import is_known
from fedcohort.researcher.result import Result
from fedcohort.texts.look_up import page_texts

SMALL = {
    "accuracy": 1.0,
    "accuracy_low": 0.4,
    "accuracy_high": 1.0,
    "auc": 1.0,
    "auc_low": 0.0,
    "auc_high": 1.0,
}
"""Of five patients under noise."""
AGE = {"low": 0.0, "high": 100.0, "counts": [1], "error": 9.0}
"""A private histogram says what range was declared."""


@pytest.mark.parametrize(
    ("name", "low", "high", "known"),
    [
        ("auc", 0.0, 1.0, False),
        ("auc", 0.49, 1.0, False),
        ("auc", 0.5, 1.0, True),
        ("accuracy", 0.3, 0.81, False),
        ("accuracy", 0.3, 0.8, True),
        ("loss", 0.2, 0.8, True),
        ("loss", 0.1, 0.8, False),
        ("mae", 0.0, 5.0, False),
        ("mean", 20.0, 70.0, True),
        ("mean", 20.0, 71.0, False),
        ("std", 5.0, 30.0, True),
        ("std", 5.0, 31.0, False),
    ],
)
def test_an_interval_over_more_than_half_of_what_is_possible_leaves_a_figure_unknown(
    name: str, low: float, high: float, known: bool
) -> None:
    row = {name: high, f"{name}_low": low, f"{name}_high": high, "histogram": AGE}
    assert is_known(row, name) is known
    assert is_known({name: high}, name)


def small() -> Result:
    cohort = fc.Cohort(columns={"age": fc.Numeric(0, 100)}, label=fc.Binary("ill"))
    study = fc.Study(
        name="five", cohort=cohort, analysis=fc.Train(), privacy=fc.Privacy(epsilon=1.0, delta=1e-3)
    )
    report = {
        "test": SMALL,
        "privacy": {"words": []},
        "protection": {"words": []},
        "versions": {},
        "sites": ["a", "b"],
    }
    return Result(study, report, [])


def test_a_notebook_shows_the_interval_in_words() -> None:
    assert "test accuracy not known: 0.4 to 1, test auc not known: 0 to 1" in repr(small())
    html = small()._repr_html_()
    assert "not known: 0 to 1" in html
    assert "auc_low" not in html


@pytest.mark.parametrize(("language", "word"), [("en", "not known: {} to {}"), ("zh", "未知：{} 至 {}")])
def test_the_report_shows_no_number_that_is_not_known(language: str, word: str) -> None:
    found = small()
    about = {"id": "ab" * 32, "name": "five", "researcher": "r", "created_at": "2026-01-01T00:00:00+00:00",
             "study": json.loads(found.study.canonical), "sites": []}  # fmt: skip
    text = document(Finished(about, found.report, [], "0"), page_texts(language))
    for low in ("0.4000", "0.0000"):
        assert f'<td class="number">{word.format(low, "1.0000")}</td>' in text
    assert ">1.0000<" not in text
