"""LIKE against a table of all prefixes, and patterns that no backtracking would ever end."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedcohort.sources.cohort.where.like import lowered, matcher, pattern_of
from fedcohort.sources.cohort.where.operands import MAX_TEXT, operand_of


def by_table(text: str, pattern: str, escape: str | None) -> bool:
    """Whether each prefix of the text is like each prefix of the pattern: slow, and plainly right."""
    wanted: list[tuple[str, bool]] = []
    signs = iter(pattern)
    for sign in signs:
        wanted.append((next(signs), True) if sign == escape else (sign, False))
    row = [True, *[False] * len(text)]
    for sign, literal in wanted:
        many, any_one = sign == "%" and not literal, sign == "_" and not literal
        new = [many and row[0]]
        for place, letter in enumerate(text):
            if many:
                new.append(row[place + 1] or new[place])
            else:
                new.append(row[place] and (any_one or sign == letter))
        row = new
    return row[-1]


texts = st.text(st.sampled_from("ab%_!\nÉ"), max_size=12)


@example("abab", "%ab%b", None)
@example("aab", "%_ab", None)
@example("a", "%a%a%", None)
@example("ab", "a%b%b", None)
@example("a%b", "a!%b", "!")
@given(text=texts, pattern=texts, escape=st.sampled_from([None, "!", "a"]))
def test_like_is_what_a_table_of_all_prefixes_says(text: str, pattern: str, escape: str | None) -> None:
    found = pattern_of(pattern, escape)
    if found is None:
        with pytest.raises((StopIteration, RuntimeError)):
            by_table(text, pattern, escape)
        return
    assert matcher(found)(text) == by_table(text, pattern, escape)


@pytest.mark.parametrize(
    ("pattern", "like"),
    [
        ("%a" * 2_000 + "%b", False),
        ("%a" * 2_000 + "%", True),
        ("%_a" * 1_500 + "%b", False),
        ("%_" + "a" * 2_000 + "_b%", False),
        ("%" + "_a" * 1_000 + "%", True),
        ("%" + "_" * 3_000, True),
    ],
)
def test_patterns_that_backtracking_would_never_end_are_answered(pattern: str, like: bool) -> None:
    found = pattern_of(pattern, None)
    assert found is not None
    assert matcher(found)("a" * MAX_TEXT) is like


def test_of_a_long_text_the_beginning_counts() -> None:
    operand = operand_of(["x" * MAX_TEXT + "y", "x" * 10**6])
    assert operand.texts is not None
    assert {len(word) for word in operand.texts.words} == {MAX_TEXT}


def test_a_pattern_in_lower_case_keeps_its_wildcards() -> None:
    found = pattern_of("A!%_%É", "!")
    assert found is not None
    assert lowered(found).pieces == (("a", "%", None), ("é",))
