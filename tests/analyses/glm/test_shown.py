"""What a regression shows and says: page, report, table, picture, and explain in both languages."""

import pytest

import fedcohort as fc
from fedcohort.analyses.glm.figures import figures
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.explain import explain
from fedcohort.figures import Intervals, Key, Table, from_json, to_json
from fedcohort.texts.look_up import page_texts
from tests.analyses.glm.test_robust import VISITS, people, study
from tests.analyses.together import report_of


def test_coefficients_a_forest_plot_and_the_fit() -> None:
    asked = study(se="robust")
    made = figures(report_of(asked, [people()]), asked.model_dump(mode="json"))
    table, forest, fit = made
    assert isinstance(table, Table)
    assert [column.name for column in table.columns] == [
        "coef",
        "exp(coef)",
        "se",
        "z",
        "p",
        "low",
        "high",
        "n",
    ]
    assert isinstance(forest, Intervals)
    assert [row.name for row in forest.rows] == ["age", "arm[T.b]"]
    assert isinstance(fit, Table)
    assert [row.name for row in fit.rows] == [
        "loglik", "null_loglik", "deviance", "null_deviance", "pearson_chi2", "aic", "bic", "model_degrees",
        "residual_degrees",
    ]  # fmt: skip
    assert from_json(to_json(made)) == made
    keys = {note.key for note in table.notes if isinstance(note, Key)}
    assert keys == {"glm.model", "glm.events", "glm.robust", "glm.likelihood_ratio"}
    assert all(key in page_texts() for key in keys)


def test_the_result_has_a_table_and_a_picture() -> None:
    frame = people()
    result = fc.simulate({"a": frame.iloc[:50], "b": frame.iloc[50:]}).run(study(), progress=False)
    assert result.table.loc["age", "coef"] == result.report["glm"]["coefficients"][1]["coef"]
    assert result.plot() is not None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_printed_report_has_coefficients_ratios_and_the_fit(language: str) -> None:
    asked = study()
    report = report_of(asked, [people()])
    found = Finished({"study": asked.model_dump(mode="json")}, dict(report), [], "0")
    texts = page_texts(language)
    (section,) = results(found, texts)
    table, forest, fit = section.parts
    assert table.grid is not None
    assert table.grid.head[:3] == [
        texts["coefficients.term"],
        texts["coefficients.coef"],
        texts["coefficients.odds_ratio"],
    ]
    assert [row[0] for row in table.grid.rows] == ["Intercept", "age", "arm[T.b]"]
    assert texts["coefficients.odds_ratio"] in str(forest.picture)
    assert fit.grid is not None
    assert fit.grid.rows[0][0] == texts["glm.loglik"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_approver_reads_what_is_asked_and_what_leaves(language: str) -> None:
    whole = study(
        "visits ~ age + C(arm)", VISITS, family="poisson", offset="log(dose)", weights="age", ridge=2.0
    )
    said = explain(whole, language=language)
    assert "visits ~ age + C(arm)" in said
    assert {"en": "log(dose)", "zh": "泊松"}[language] in said
    assert {"en": "Then at most 50 times", "zh": "最多 50 次"}[language] in said
    fixed = explain(study(site="fixed", se="robust"), language=language)
    assert {"en": "intercept of its own", "zh": "留在院内"}[language] in fixed


def test_the_formula_stands_in_the_hash_as_terms_and_defaults_do_not() -> None:
    asked = study("ill ~ age + arm")
    written = fc.Study.model_validate_json(asked.canonical)
    assert written == asked
    assert written.hash == asked.hash
    assert str(written.analysis.formula) == "ill ~ age + arm"  # type: ignore[attr-defined]
    assert b'"terms"' in asked.canonical
