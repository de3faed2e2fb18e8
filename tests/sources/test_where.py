"""A researcher's `where`: what passes, what is refused, and what SQL is written."""

import pytest

from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import CohortError, StoreError
from fedcohort.sources.dialects import select_sql
from fedcohort.sources.schema import Declared
from fedcohort.sources.where import ALLOWED, MAX_NESTING, MAX_TOKENS, parse_where

COLUMNS = ("age", "sex", "ward name", "Group")
VECTOR = {
    "age": Declared(Numeric(0, 120), None, 3),
    "sex": Declared(Categorical(("f", "m")), None, 4),
    "ward name": Declared(Categorical((1, 2)), None, 5),
}


def written(where: str, engine: str = "sqlite") -> str:
    sql = select_sql(engine, "records", ["patient_id"], parse_where(where, "records", COLUMNS), {})
    return sql.removeprefix('SELECT "patient_id" FROM "records" WHERE ')


@pytest.mark.parametrize(
    ("where", "sql"),
    [
        ("age >= 18", '"age" >= 18'),
        ("AGE >= 18 and group = 'x'", '"age" >= 18 AND "Group" = \'x\''),
        ("records.age > 1", '"age" > 1'),
        ('"ward name" = 2', '"ward name" = 2'),
        ("sex in ('f', 'm')", "\"sex\" IN ('f', 'm')"),
        ("age between 18 and 90", '"age" BETWEEN 18 AND 90'),
        ("not (sex is null)", 'NOT ("sex" IS NULL)'),
        ("sex = 'it''s'", "\"sex\" = 'it''s'"),
        ("sex like 'a!%' escape '!'", "\"sex\" LIKE 'a!%' ESCAPE '!'"),
        (
            "case when age > 1 then sex else 'f' end = 'f'",
            "CASE WHEN \"age\" > 1 THEN \"sex\" ELSE 'f' END = 'f'",
        ),
        ("coalesce(age, 0) + 1 > abs(-2)", 'COALESCE("age", 0) + 1 > ABS(-2)'),
        ("age = 1 -- a comment", '"age" = 1'),
        ("age = /* a comment */ 1", '"age" = 1'),
        ("age = 1 /* ) or 1 = 1 */", '"age" = 1'),
        ("true", "TRUE"),
    ],
)
def test_a_boolean_expression_over_offered_columns_is_written_anew(where: str, sql: str) -> None:
    assert written(where) == sql


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
    assert written(chain).count(" OR ") == 199
    assert len(chain.split()) < MAX_TOKENS
    nested = "(not " * MAX_NESTING + "age = 1" + ")" * MAX_NESTING
    assert written(nested).count("NOT") == MAX_NESTING


def test_division_is_of_real_numbers_on_every_engine() -> None:
    assert written("age / 2 > 8.5") == 'CAST("age" AS REAL) / 2 > 8.5'
    assert written("age / 2 > 8.5", "postgresql") == 'CAST("age" AS DOUBLE PRECISION) / 2 > 8.5'


def test_like_and_rounding_are_translated_for_the_engine() -> None:
    assert written("sex ilike 'F%'") == "LOWER(\"sex\") LIKE LOWER('F%')"
    assert written("sex ilike 'F%'", "postgresql") == "\"sex\" ILIKE 'F%' ESCAPE ''"
    assert written("round(age, 1) = 2") == 'ROUND("age", 1) = 2'
    assert written("round(age, 1) = 2", "postgresql") == 'ROUND(CAST("age" AS DECIMAL), 1) = 2'


def test_elements_of_the_vector_become_json_extraction_for_sqlite_and_postgresql() -> None:
    where = parse_where("age > 1 and sex = 'f' and \"ward name\" = 2", "records", COLUMNS)
    assert select_sql("sqlite", "records", ["patient_id", "features"], where, VECTOR) == (
        'SELECT "patient_id", "features" FROM "records" WHERE '
        "CAST(JSON_EXTRACT(\"features\", '$[3]') AS REAL) > 1 AND "
        "CAST(JSON_EXTRACT(\"features\", '$[4]') AS TEXT) = 'f' AND "
        "CAST(JSON_EXTRACT(\"features\", '$[5]') AS REAL) = 2"
    )
    assert select_sql("postgresql", "records", ["patient_id", "features"], where, VECTOR) == (
        'SELECT "patient_id", "features" FROM "records" WHERE '
        "CAST(JSON_EXTRACT_PATH_TEXT(\"features\", '3') AS DOUBLE PRECISION) > 1 AND "
        "CAST(JSON_EXTRACT_PATH_TEXT(\"features\", '4') AS TEXT) COLLATE \"C\" = 'f' AND "
        "CAST(JSON_EXTRACT_PATH_TEXT(\"features\", '5') AS DOUBLE PRECISION) = 2"
    )


def test_identifiers_are_quoted_so_that_a_name_cannot_become_sql() -> None:
    sql = select_sql("sqlite", 'a"; DROP TABLE b; --', ['x" FROM secrets; --'], None, {})
    assert sql == 'SELECT "x"" FROM secrets; --" FROM "a""; DROP TABLE b; --"'


def test_an_engine_without_a_translation_is_refused() -> None:
    with pytest.raises(StoreError, match="no SQL can be written for access; use one of sqlite"):
        select_sql("access", "records", ["age"], None, {})
