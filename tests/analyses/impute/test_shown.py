"""What an imputation shows and says: page, report, table, picture, refusals, and both languages."""

from typing import Any

import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.impute.figures import figures
from fedcohort.columns import Column
from fedcohort.errors import DisclosureError, StudyError
from fedcohort.explain import explain
from fedcohort.figures import Intervals, Key, Table, from_json, to_json
from fedcohort.texts.look_up import page_texts
from tests.analyses.together import report_of

from .test_impute import COHORT, lacking, sites, study


def test_coefficients_a_forest_plot_and_what_is_missing() -> None:
    made = figures(report_of(study(), sites(lacking())), study().model_dump(mode="json"))
    table, forest, missing = made
    assert isinstance(table, Table)
    names = [column.name for column in table.columns]
    assert names == ["coef", "exp(coef)", "se", "t", "df", "p", "low", "high", "fmi", "n"]
    assert isinstance(forest, Intervals)
    assert [row.name for row in forest.rows] == ["x", "w", "b[T.1]"]
    assert isinstance(missing, Table)
    assert [row.name for row in missing.rows] == ["w", "b"]
    assert from_json(to_json(made)) == made
    keys = {note.key for note in table.notes if isinstance(note, Key)}
    assert keys == {f"impute.{name}" for name in ("model", "chains", "rows", "events", "left_out")}
    assert all(key in page_texts() for key in keys)


def test_the_result_has_a_table_and_a_picture() -> None:
    result = fc.simulate(dict(zip("abc", sites(lacking()), strict=True))).run(study(), progress=False)
    rows = result.report["impute"]["coefficients"]
    assert result.table.loc["w", "df"] == rows[2]["df"]
    assert result.plot() is not None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_approver_reads_what_is_asked_and_what_leaves(language: str) -> None:
    said = explain(study(), language=language)
    assert {"en": "Missing values of w, b are filled in 5 times", "zh": "填补 5 次"}[language] in said
    assert {"en": "Then in 3 cycles", "zh": "随后在 3 个循环中"}[language] in said


def test_a_small_number_of_missing_values_is_hidden() -> None:
    frame = lacking()
    frame["w"] = frame["w"].fillna(0.0)
    frame.loc[frame.index[:4], "w"] = pd.NA
    hospitals = dict(zip("abc", sites(frame), strict=True))
    report = fc.simulate(hospitals, disclosure=fc.Disclosure()).run(study(), progress=False).report
    found = report["impute"]
    assert found["columns"]["w"] == {"missing": None, "n": None}
    assert found["columns"]["b"]["missing"] == int(frame["b"].isna().sum())
    assert [row["n"] for row in found["coefficients"]][:3] == [300, 300, None]


def test_a_column_that_few_patients_make_up_ends_the_study() -> None:
    """Else its coefficient would be of those few."""
    frame = lacking()
    frame["x"] = 0.0
    frame.loc[frame.index[:3], "x"] = 1.0
    hospitals = fc.simulate(dict(zip("abc", sites(frame), strict=True)), disclosure=fc.Disclosure())
    with pytest.raises(DisclosureError, match="x"):
        hospitals.run(study(), progress=False)


def test_the_study_is_read_again_and_keeps_its_hash() -> None:
    written = fc.Study.model_validate_json(study().canonical)
    assert (written, written.hash) == (study(), study().hash)


def bad(**words: Any) -> Any:
    return lambda: fc.Study(
        name="i",
        cohort=words.pop("cohort", COHORT),
        privacy=words.pop("privacy", None),
        analysis=fc.Impute(**{"formula": "y ~ x + w", "columns": ["w"], **words}),
    )


COLUMNS: dict[str, Column] = {
    "x": fc.Numeric(0, 1),
    "w": fc.Numeric(0, 1),
    "three": fc.Categorical([1, 2, 3]),
}
SCAN = fc.Cohort(columns={**COLUMNS, "scan": fc.Image(8, 8)}, label=fc.Binary("y"))
THREE = fc.Cohort(columns=COLUMNS, label=fc.Binary("y"))


@pytest.mark.parametrize(("words", "said"), [
    ({"formula": "x + w"}, "nothing is explained"),
    ({"formula": "x + w", "family": "binomial"}, "Cox regression, which has none"),
    ({"formula": "~ 1"}, "name what the hazard depends on"),
    ({"columns": []}, "columns"),
    ({"columns": ["w", "w"]}, "named twice"),
    ({"columns": ["y"]}, "leave the outcome out"),
    ({"columns": ["other"]}, "not among the cohort's columns"),
    ({"cohort": SCAN, "columns": ["scan"]}, "neither a number nor of levels"),
    ({"m": 1}, "m"),
    ({"cycles": 0}, "cycles"),
    ({"m": 100, "cycles": 50}, "2,000 imputation models"),
    ({"cohort": THREE, "privacy": fc.Privacy(epsilon=1.0)}, "noise would hide them"),
])  # fmt: skip
def test_bad_input_is_refused_in_words(words: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        bad(**words)()


def test_a_study_with_privacy_cannot_be_built() -> None:
    private = study().model_copy(update={"privacy": fc.Privacy(epsilon=1.0)})
    with pytest.raises(StudyError, match="privately"):
        build_analysis(private)
