"""What is refused when a study is handed in or approved, and read none the less where it is stored."""

import pytest

import fedcohort as fc
from fedcohort.errors import StudyError
from fedcohort.handed_in import check_handed_in
from fedcohort.study import Study, parse_study


def asked(where: str, *, private: bool = False) -> Study:
    cohort = fc.Cohort(
        columns={"age": fc.Numeric(18, 90), "sex": fc.Categorical(("f", "m"))}, where=where, split=None
    )
    privacy = fc.Privacy(epsilon=1.0) if private else None
    return fc.Study(name="asks", cohort=cohort, analysis=fc.Describe(), privacy=privacy)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("18 <= age <= 65", "write such as 18 <= age AND age <= 65"),
        ("age >= '18'", "puts a number beside a text"),
        ("sex = 1", "puts a text beside a number"),
        ("dx LIKE 'h%' ESCAPE 'xx'", "ESCAPE takes one character"),
        ("dx LIKE 'hi!' ESCAPE '!'", "ends with its escape character"),
        ("dx LIKE sex", "takes a pattern in quotes"),
        ("age", "is not true or false"),
    ],
)
def test_a_where_that_means_nothing_is_refused_before_any_site_is_asked(where: str, said: str) -> None:
    study = asked(where)
    with pytest.raises(StudyError, match=rf"^cohort\.where: .*{said}"):
        check_handed_in(study)
    assert parse_study(study.canonical).cohort.where == where


def test_what_the_message_tells_to_write_is_taken() -> None:
    for where in (
        "18 <= age AND age <= 65",
        "age BETWEEN 18 AND 65",
        "age >= 18",
        "sex = 'f'",
        "dx LIKE 'I2%'",
    ):
        check_handed_in(asked(where))


def test_a_private_study_compares_and_does_not_reckon() -> None:
    check_handed_in(asked("age % 2 = 0"))
    with pytest.raises(StudyError, match=r"^cohort\.where: .*not allowed in a study with \[privacy\]"):
        check_handed_in(asked("age % 2 = 0", private=True))
    check_handed_in(asked("age >= 18 AND lower(dx) LIKE '%flu%'", private=True))


@pytest.mark.parametrize("bounds", [(0.0, 5e-324), (-1.7e308, 1.7e308), (1e308, 1.7e308)], ids=str)
@pytest.mark.parametrize("at", ["column", "label"])
def test_bounds_that_no_value_can_be_scaled_by_are_refused(bounds: tuple[float, float], at: str) -> None:
    columns: dict[str, fc.Numeric] = (
        {"x": fc.Numeric(*bounds)} if at == "column" else {"x": fc.Numeric(18, 90)}
    )
    label = fc.Number("y", *bounds) if at == "label" else None
    cohort = fc.Cohort(columns=columns, label=label, split=None)
    with pytest.raises(StudyError, match=r"^cohort\.bounds: [xy]: .* write the bounds of the measurement"):
        check_handed_in(fc.Study(name="wide", cohort=cohort, analysis=fc.Describe()))
