"""What each analysis shows of its report, found by the kind's folder; reports of earlier versions, too."""

import sys
from pathlib import Path

import pytest

import fedcohort.analyses
from fedcohort.analyses.figures import figures_of
from fedcohort.figures import Bars, Curve, Figure, Key, Matrix, Named, Table, Value, to_json
from tests.dashboard.finished import DESCRIBED, IMPORTANCE, TRAIN, measured
from tests.figures import EVERY_TYPE

DESCRIBE = {"analysis": {"kind": "describe"}, "cohort": {}}


def by_name(figures: tuple[Figure, ...]) -> dict[str, Figure]:
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure for figure in figures}


def test_a_description_is_a_table_histograms_and_levels() -> None:
    figures = by_name(figures_of(DESCRIBE, {"patients": 920, "describe": DESCRIBED}))
    table, ages, sex = figures["described"], figures["histogram-0"], figures["levels-2"]
    assert isinstance(table, Table)
    assert table.notes == (Key("described.patients", {"n": 920}),)
    age, cholesterol, levels = table.rows[0], table.rows[1], table.rows[2]
    assert age.cells[:2] == (Value(918), Value(2))
    mean = age.cells[2]
    assert isinstance(mean, Value)
    assert mean.low is None, "there is no noise"
    assert mean.of_patients is not None
    assert mean.of_patients.low == pytest.approx(53.51 - 1.96 * 9.43 / 918**0.5, abs=1e-3)
    assert cholesterol.cells[0] == Value(716, error=12.3)
    assert cholesterol.cells[2] == Value(246.83, 243.2, 250.1)
    assert levels.cells[2:] == (None, None, (Named("female", Value(194)), Named("male", Value(726))))
    assert isinstance(ages, Bars)
    assert list(ages.edges) == [20, 30, 40, 50, 60, 70, 80]
    assert ages.notes == (Key("described.beyond", {"below": 0, "above": 3}),)
    assert isinstance(sex, Bars)
    assert sex.bars == levels.cells[4]
    assert sex.tabled


def test_a_deviation_that_noise_hides_has_its_interval_and_no_number() -> None:
    weight = {"unit": "kg", "n": 3, "missing": 4, "mean": 50.0, "mean_low": 5.0, "mean_high": 95.0,
              "std": None, "std_low": 0.0, "std_high": 45.0,
              "histogram": {"low": 0.0, "high": 100.0, "counts": [1, 2], "error": 14.2}}  # fmt: skip
    table, histogram = figures_of(DESCRIBE, {"describe": {"weight": weight}})
    assert isinstance(table, Table)
    assert table.rows[0].unit == "kg"
    assert table.rows[0].cells[2] == Value(50.0, 5.0, 95.0, known=False)
    assert table.rows[0].cells[3] == Value(None, 0.0, 45.0, known=False)
    assert histogram.title == "weight (kg)"


def test_a_trained_model_is_metrics_curves_a_matrix_and_importance() -> None:
    entries = {name: {"loss_increase": value, "auc_drop": value / 2} for name, value in IMPORTANCE.items()}
    label = {"column": "disease", "positive": 1, "negative": 0}
    figures = by_name(figures_of(TRAIN, {"label": label, "test": measured(), "importance": entries}))
    assert list(figures) == ["metrics", "roc", "calibration", "confusion", "importance"]
    metrics, roc, calibration, confusion, importance = figures.values()
    assert isinstance(metrics, Table)
    assert [row.name for row in metrics.rows] == ["loss", "accuracy", "auc"]
    auc = metrics.rows[2].cells[0]
    assert isinstance(auc, Value)
    assert (auc.number, auc.error) == (0.884, 0.0004)
    assert auc.of_patients is not None, "the matrix says how many patients of each class there were"
    positive, error = metrics.notes
    assert positive == Key("figures.positive", {"column": "disease", "positive": "1", "negative": "0"})
    assert error == Key("figures.auc_error", {"error": 0.0004})
    assert isinstance(roc, Curve)
    assert (len(roc.lines[0].points), roc.diagonal) == (33, True)
    assert roc.notes == (Key("figures.note", {"split": Key("split.short.test")}),)
    assert isinstance(calibration, Curve)
    assert calibration.lines[0].points[0].n == 18
    assert isinstance(confusion, Matrix)
    assert confusion.rows[0] == Key("figures.true", {"level": "disease = 0"})
    assert isinstance(importance, Bars)
    assert [bar.name for bar in importance.bars][:2] == ["chest_pain_type", "vessels_coloured"]
    assert importance.bars[0].more == (Named(Key("importance.auc"), Value(0.0405)),)


def test_an_evaluation_shows_what_a_training_shows() -> None:
    asked = {**TRAIN, "analysis": {"kind": "evaluate"}}
    assert figures_of(asked, {"test": measured()}) == figures_of(TRAIN, {"test": measured()})


def test_a_report_that_has_nothing_shows_nothing() -> None:
    assert figures_of(TRAIN, {"protection": {}, "privacy": {}}) == ()


@pytest.mark.parametrize("kind", ["hazards", "encode", "../describe", "figures"])
def test_a_kind_without_a_folder_shows_what_its_report_brings(kind: str) -> None:
    asked = {"analysis": {"kind": kind}}
    assert figures_of(asked, {}) == ()
    assert figures_of(asked, {"figures": to_json(EVERY_TYPE)}) == EVERY_TYPE


def test_a_new_analysis_adds_a_folder_and_no_line_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "made_up"
    folder.mkdir()
    (folder / "figures.py").write_text(
        "from fedcohort.figures import Matrix\n"
        "def figures(report, study):\n"
        "    return (Matrix(name='m', section='m', rows=('a',), columns=('b',), counts=report['counts']),)\n"
    )
    monkeypatch.setattr(fedcohort.analyses, "__path__", [*fedcohort.analyses.__path__, str(tmp_path)])
    try:
        (figure,) = figures_of({"analysis": {"kind": "made_up"}}, {"counts": ((3,),)})
        assert figure == Matrix(name="m", section="m", rows=("a",), columns=("b",), counts=((3,),))
    finally:
        sys.modules.pop("fedcohort.analyses.made_up.figures", None)
        sys.modules.pop("fedcohort.analyses.made_up", None)
