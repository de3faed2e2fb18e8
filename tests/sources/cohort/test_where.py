"""A researcher's `where`: what passes, and what is refused."""

import numpy as np
import pytest
from sqlglot import exp

from fedcohort.columns import Binary, Categorical, Numeric
from fedcohort.errors import CohortError, StoreError
from fedcohort.sources.cohort.dialects import select_sql
from fedcohort.sources.cohort.where.kinds import Kinds, check_kinds, kinds_of_study
from fedcohort.sources.cohort.where.operands import operand_of
from fedcohort.sources.cohort.where.parse import ALLOWED, MAX_NESTING, MAX_TOKENS, parse_where
from fedcohort.sources.cohort.where.rows import rows_where
from fedcohort.study import Cohort

COLUMNS = ("age", "sex", "ward name", "Group")


@pytest.mark.parametrize(
    ("where", "columns"),
    [
        ("age >= 18", {"age"}),
        ("AGE >= 18 and group = 'x'", {"age", "Group"}),
        ("records.age > 1", {"age"}),
        ('"ward name" = 2', {"ward name"}),
        ("sex in ('f', 'm')", {"sex"}),
        ("age between 18 and 90", {"age"}),
        ("not (sex is null)", {"sex"}),
        ("sex = 'it''s'", {"sex"}),
        ("sex like 'a!%' escape '!'", {"sex"}),
        ("sex not like 'a!%' escape '!'", {"sex"}),
        ("case when age > 1 then sex else 'f' end = 'f'", {"age", "sex"}),
        ("coalesce(age, 0) + 1 > abs(-2)", {"age"}),
        ("round(age, 15) = 1 and (age > 1) is not true", {"age"}),
        ("age = 1 -- a comment", {"age"}),
        ("age = /* a comment */ 1", {"age"}),
        ("age = 1 /* ) or 1 = 1 */", {"age"}),
        ("true", set()),
    ],
)
def test_a_boolean_expression_over_offered_columns_is_allowed(where: str, columns: set[str]) -> None:
    tree = parse_where(where, "records", COLUMNS)
    assert {column.name for column in tree.find_all(exp.Column)} == columns


HOSTILE = [
    "age in (select age from secrets)",
    "exists (select 1 from secrets)",
    "age > (select max(age) from records)",
    "age > any (select 1)",
    "age = 1 union select patient_id from records",
    "age = 1; drop table records",
    "age = 1; select 1",
    "; ",
    "select 1",
    "drop table records",
    "pragma table_info(records)",
    "attach 'other.db' as other",
    "vacuum into 'copy.db'",
    "load_extension('evil.so')",
    "readfile('/etc/passwd') = ''",
    "randomblob(1000000000) is null",
    "zeroblob(9) = age",
    "pg_sleep(10) is null",
    "current_user = 'x'",
    "current_date > age",
    "secrets.age = 1",
    "main.records.age = 1",
    "records.features = ''",
    "age in secrets",
    "age in (age, *)",
    "records.*",
    "count(*) > 1",
    "max(age) > 1",
    "row_number() over (order by age) = 1",
    "salary = 1",
    "rowid = 1",
    "patient_id = 'p1'",
    "PATIENT_ID = 'p1'",
    "\"patient_id\" = 'p1'",
    "features is null",
    "features -> '$[0]' = 1",
    "features ->> 0 = 1",
    "age -> '$.x' = 1",
    "json_extract(features, '$[0]') = 1",
    "age::text = '1'",
    "cast(age as text) = '1'",
    "sex = 'a' || 'b'",
    "sex glob '*'",
    "sex regexp '(a+)+'",
    "sex similar to 'x'",
    "sex = 'x' collate nocase",
    "age = ?",
    "age = :value",
    "age = @value",
    "age = $1",
    "age = {age}",
    "(age, sex) = (1, 2)",
    "age = 1 order by age",
    "age = 1 limit 1",
    "age = 1 group by age",
    "`age` = 1",
    "[age] = 1",
    '"AGE" = 1',
    "age is 5",
    "18 <= age <= 65",
    "(age > 1) = true",
    "coalesce(age > 1, true) is true",
    "case when age > 1 then age = 2 else true end is true",
    "sex like age",
    "sex like 'a' escape 'xx'",
    "sex like 'a' escape ''",
    "sex like 'a!' escape '!'",
    "sex ilike 'a!!!' escape '!'",
    "age like any ('x')",
    "round(age, 16) = 1",
    "round(age, age) = 1",
    "round(age, 0.5) = 1",
    "round(age, -1) = 1",
    "age between symmetric 2 and 1",
    "age in ()",
    "age",
    "age and sex",
    "not age",
    "1",
    "'x'",
    "null",
    "",
    "   ",
    "-- only a comment",
    "age = 1 and",
    "age = 'x",
    "age = 1)",
    "a" * 20_000 + " = 1",
    "age = '\x00'",
    "age = 1 \x1b[2J",
    "interval '1' day > age",
    "array[1] = age",
    "age = (1, 2)[0]",
    "struct(1) = age",
    "lambda x: x",
    "x -> x + 1",
]


@pytest.mark.parametrize("where", HOSTILE, ids=range(len(HOSTILE)))
def test_anything_else_is_refused_with_a_word_about_what_is_allowed(where: str) -> None:
    with pytest.raises(CohortError, match=r"^where: ") as caught:
        parse_where(where, "records", COLUMNS)
    assert len(str(caught.value)) < 500
    assert "\x1b" not in str(caught.value)


def test_the_offending_piece_and_the_allowed_ones_are_named() -> None:
    with pytest.raises(CohortError) as caught:
        parse_where("age > 1 and load_extension('evil.so')", "records", COLUMNS)
    assert str(caught.value) == f"where: \"LOAD_EXTENSION('evil.so')\" is not allowed; allowed are {ALLOWED}"


@pytest.mark.parametrize(
    "where",
    [
        "(" * 17 + "age = 1" + ")" * 17,
        "(" * 400 + "age = 1" + ")" * 400,
        "not " * 200 + "age = 1",
        "not " * 900 + "age = 1",
        "age = " + "1 + " * 400 + "1",
        "age = " + "- " * 900 + "1",
        "age = " + "abs(" * 300 + "1" + ")" * 300,
        "case when " * 100 + "age = 1" + " then true end" * 100,
        "age = 1 or " * 400 + "age = 1",
        "age in (" + "1, " * 2000 + "1)",
        "[" * 600 + "]" * 600,
        "{" * 600 + "}" * 600,
    ],
    ids=range(12),
)
def test_very_long_and_very_deep_expressions_are_refused(where: str) -> None:
    with pytest.raises(CohortError, match=r"deep|words|not one boolean"):
        parse_where(where, "records", COLUMNS)


def test_a_long_flat_chain_and_moderate_nesting_are_fine() -> None:
    chain = " or ".join(f"age = {number}" for number in range(200))
    assert len(chain.split()) < MAX_TOKENS
    ages = {"age": operand_of(np.array([5.0, 199.0, 200.0]))}
    assert rows_where(parse_where(chain, "records", COLUMNS), ages, 3).tolist() == [True, True, False]
    nested = "(not " * MAX_NESTING + "age = 5" + ")" * MAX_NESTING
    assert rows_where(parse_where(nested, "records", COLUMNS), ages, 3).tolist() == [True, False, False]


def test_a_comparison_of_a_comparison_is_told_how_to_be_written() -> None:
    with pytest.raises(CohortError, match=r"write such as 18 <= age AND age <= 65, or age BETWEEN 18 AND 65"):
        parse_where("18 <= age <= 65", "records", COLUMNS)
    for remedy in ("18 <= age AND age <= 65", "age BETWEEN 18 AND 65"):
        parse_where(remedy, "records", COLUMNS)


KINDS: Kinds = {"age": "number", "sex": "text", "Group": "moment"}


@pytest.mark.parametrize(
    "where",
    [
        "sex = 7",
        "7 < sex",
        "age = '7'",
        "age in (1, '2')",
        "age between '1' and '2'",
        "sex = age",
        "sex is not distinct from 1",
        "(case when age > 1 then sex else '1' end) = 1",
        "coalesce(age, 'none') = 'none'",
        "nullif(sex, 1) is null",
        "case sex when 1 then 2 end = 2",
        "case when age = 1 then 1 else 'a' end is null",
        "if(age > 1, 1, 'a') = 1",
        "sex + 1 = 2",
        "-sex = 2",
        "round(sex) = 2",
        "length(age) = 2",
        "lower(age) = 'x'",
        "age like '1%'",
        "group like '2024%'",
        "group ilike '2024%'",
        "group < 20240201",
        "group < 'last year'",
        "group < '2024-02-30'",
        "group < '1.2.2024'",
        "group = sex",
        "sex is true",
        "group + 1 > '2024-02-01'",
        "length(sex) = '2'",
        "not (age > 1 or (sex = 'a' and age <> 'x'))",
    ],
)
def test_two_kinds_beside_each_other_are_refused_where_they_are_known(where: str) -> None:
    tree = parse_where(where, "records", COLUMNS)
    with pytest.raises(CohortError, match=r"puts .* beside|needs .* and has"):
        check_kinds(tree, KINDS)


@pytest.mark.parametrize(
    "where",
    [
        "sex = '7' and age = 7 and age = -7.5",
        "group >= '2024-02-01' and group < '2024-02-01T08:30:00Z' and group <> '2024-02-01 08:30'",
        "sex = '2024-02-01' and sex in ('a', '2024-02-01', null)",
        "coalesce(age, null, 0) = 0 and nullif(age, 1) is null",
        "case when age > 1 then sex else '2024-02-01' end = 'a'",
        "case when age > 1 then group else '2024-02-01' end < '2025-01-01'",
        "age is true and age = true and age in (true, 0)",
        "length(lower(sex)) + 1 = age",
        '"ward name" = 1 and "ward name" = \'a\'',
    ],
)
def test_one_kind_is_compared(where: str) -> None:
    check_kinds(parse_where(where, "records", COLUMNS), KINDS)


def test_a_study_tells_what_its_own_columns_hold() -> None:
    cohort = Cohort(
        columns={
            "age": Numeric(0, 120),
            "sex": Categorical(("f", "m")),
            "stage": Categorical(("1", "2")),
            "day": Categorical(("2024-02-01", "2024-02-02")),
        },
        label=Binary("ill", positive="yes", negative="no"),
    )
    assert kinds_of_study(cohort) == {"age": "number", "sex": "text", "ill": "text"}


def test_identifiers_are_quoted_so_that_a_name_cannot_become_sql() -> None:
    sql = select_sql("sqlite", 'a"; DROP TABLE b; --', ['x" FROM secrets; --'])
    assert sql == 'SELECT "x"" FROM secrets; --" FROM "a""; DROP TABLE b; --"'


def test_an_engine_without_a_translation_is_refused() -> None:
    with pytest.raises(StoreError, match="no SQL can be written for access; use one of sqlite"):
        select_sql("access", "records", ["age"])
