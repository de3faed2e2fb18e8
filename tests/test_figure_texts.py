"""Numbers of figures in words, for terminals and for paper."""

import pytest

from fedcohort.figure_texts import PAPER, TERMINAL, Style, cell_text, grid, heading, said, shown, written
from fedcohort.figures import Format, Key, Named, Value
from fedcohort.texts.look_up import page_texts
from tests.figures import COEFFICIENTS, EVERY_TYPE

TEXTS = page_texts()


@pytest.mark.parametrize(
    ("value", "format", "style", "text"),
    [
        (Value(60, error=9.5), "count", TERMINAL, "60 ± 9.5"),
        (Value(53.514, 51.0, 56.25), "number", TERMINAL, "53.51 (51 to 56.25)"),
        (Value(53.514, 51.0, 56.25), "number", PAPER, "53.51 (51 – 56.25)"),
        (Value(0.88, 0.0, 1.0, known=False), "metric", TERMINAL, "not known: 0 to 1"),
        (Value(0.88, 0.0, 1.0, known=False), "metric", PAPER, "not known: 0.0000 to 1.0000"),
        (Value(None, 0.0, 6.5, known=False), "number", TERMINAL, "hidden by the noise: at most 6.5"),
        (Value(None, 9.0), "number", TERMINAL, "– (9 to ∞)"),
        (Value(12.5, 9.0), "number", PAPER, "12.5 (9 – ∞)"),
        (Value(None), "number", TERMINAL, ""),
        (Value(0.88, error=0.0004), "metric", TERMINAL, "0.88 ± 0.0004"),
        (Value(0.88, error=0.00004), "metric", TERMINAL, "0.88"),
        (Value(0.8, of_patients=Value(0.8, 0.7, 0.9)), "metric", TERMINAL, "0.8"),
        (Value(0.8, of_patients=Value(0.8, 0.7, 0.9)), "metric", PAPER, "0.8000 (0.7000 – 0.9000)"),
        (Value(0.0004), "p", TERMINAL, "< 0.001"),
        (Value(0.0444), "p", TERMINAL, "0.044"),
        (Value(0.254), "share", TERMINAL, "25.4%"),
    ],
)
def test_a_number_is_shown_with_what_is_uncertain_of_it(
    value: Value, format: Format, style: Style, text: str
) -> None:
    assert shown(value, format, TEXTS, style) == text


def test_a_text_is_translated_with_its_values() -> None:
    note = Key("figures.note", {"split": Key("split.short.test")})
    assert said(note, TEXTS) == "Measured on: held-out."
    assert said(note, page_texts("zh")) == "测量对象：留出集。"
    assert said(Key("figures.rows", {"n": 1234}), TEXTS) == "1234 patients"
    assert said(Key("figures.auc_error", {"error": 0.00042}), TEXTS).endswith("off by 0.00042 for it.")


def test_levels_stand_in_one_cell_with_their_counts() -> None:
    levels = (Named("f", Value(31, error=7.5)), Named("m", Value(29, error=7.5)))
    assert cell_text(levels, "count", TEXTS, TERMINAL) == "f: 31 ± 7.5, m: 29 ± 7.5"
    assert cell_text(None, "count", TEXTS, TERMINAL) == ""
    assert cell_text(Key("figure.unknown_word"), "count", TEXTS, TERMINAL) == "not known"


def test_a_grid_has_short_names_on_a_terminal_and_titles_on_paper() -> None:
    table = EVERY_TYPE[0]
    words = grid(table, TEXTS, TERMINAL)
    assert words is not None
    assert words.head == ["term", "coef", "se", "p", "low", "high"]
    assert words.rows[1] == ["bmi", "0.1 (0.05 to 0.15)", "", "", "not known", "reference"]
    assert heading(COEFFICIENTS, TEXTS) == "made"
    assert [grid(figure, TEXTS, PAPER) is not None for figure in EVERY_TYPE] == [
        True,
        True,
        True,
        False,
        True,
        True,
    ]
    assert written(3, "count", PAPER) == "3"
