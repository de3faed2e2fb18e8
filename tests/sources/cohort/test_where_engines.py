"""A table of conditions: every engine and sort of data frame selects the rows that nullable types do.

The reference is written beside each condition, in pandas' own words over nullable columns, where unknown
(NA) counts as false; moments are microseconds there.
"""

import datetime
import decimal
import math
import re
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
)
from sqlalchemy.dialects import postgresql

from fedcohort.columns import Numeric as Number
from fedcohort.errors import CohortError, EmptyCohortError
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.storage.database import writing
from fedcohort.study import Cohort
from tests.postgres import Postgres

pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")

UUID = String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql", "duckdb")
WARD = Table(
    "ward",
    MetaData(),
    Column("patient_id", String(20)),
    Column("k", Integer),
    Column("n", Integer),
    Column("m", Integer),
    Column("x", Double),
    Column("d", Numeric(8, 2)),
    Column("big", BigInteger),
    Column("word", String(20)),
    Column("code", String(20)),
    Column("flag", Boolean),
    Column("day", Date),
    Column("seen", DateTime),
    Column("iso", String(40)),
    Column("uid", UUID),
)
OFFERED = {"ward": [column.name for column in WARD.columns]}
N = (None, -3, 0, 1, 2, 5, 18, 65, 70, 2_000_000_000)
X = (None, -2.5, 0.0, 0.1, 0.5, 1.5, 3.0, 7.25, math.nan, math.inf, -math.inf, 1e300)
BIG = (None, 7, 2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1, 2**62 + 1, 2**63 - 1)
WORD = (
    None,
    "",
    "a",
    "B",
    "ab",
    "a%",
    "a_b",
    "axb",
    "a\\b",
    "it's",
    "Z",
    "é",
    "É",
    "ß",
    "\U0001f600x",
    " a",
    "I20.1",
)
CODE = (None, "7", "07", "7.0", "abc", "A7")
SEEN = (
    None,
    datetime.datetime(2024, 2, 1),
    datetime.datetime(2024, 2, 1, 8, 30),
    datetime.datetime(2024, 2, 1, 23, 59, 59, 999999),
    datetime.datetime(2024, 2, 2),
    datetime.datetime(1950, 1, 1, 12),
)
DAY = (
    None,
    datetime.date(2024, 2, 1),
    datetime.date(2024, 2, 2),
    datetime.date(1950, 1, 1),
    datetime.date(2030, 12, 31),
)
ISO = (
    None,
    "",
    "2024-02-01",
    "2024-02-01 00:00:00",
    "2024-02-01T08:30:00",
    "2024-01-31T23:00:00-02:00",
    "unknown",
    "2024-02-30",
)
UID = (None, "0a000000-0000-4000-8000-00000000000f", "f0000000-0000-4000-8000-000000000000")
ROWS = 170


def row(k: int) -> dict[str, Any]:
    def of(values: tuple[Any, ...], step: int = 1) -> Any:
        return values[k // step % len(values)]

    return {
        "patient_id": f"p{k:03}",
        "k": k,
        "n": of(N),
        "m": of(N, 7),
        "x": of(X),
        "d": None if k % 7 == 0 else decimal.Decimal(k % 20) / 4,
        "big": of(BIG),
        "word": of(WORD),
        "code": of(CODE),
        "flag": of((None, True, False)),
        "day": of(DAY),
        "seen": of(SEEN),
        "iso": of(ISO),
        "uid": of(UID),
    }


ALL = [row(k) for k in range(ROWS)]


def us(value: Any) -> Any:
    """Microseconds since 1970."""
    if value is None:
        return None
    moment = (
        value
        if isinstance(value, datetime.datetime)
        else datetime.datetime(value.year, value.month, value.day)
    )
    return (moment - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)


DAY_1, DAY_2 = us(datetime.date(2024, 2, 1)), us(datetime.date(2024, 2, 2))
AT_830 = us(datetime.datetime(2024, 2, 1, 8, 30))
ISO_US = {
    "2024-02-01": DAY_1,
    "2024-02-01 00:00:00": DAY_1,
    "2024-02-01T08:30:00": AT_830,
    "2024-01-31T23:00:00-02:00": us(datetime.datetime(2024, 2, 1, 1)),
}


def reference() -> pd.DataFrame:
    """The rows in nullable types; a boolean is 1 or 0."""
    columns: dict[str, list[Any]] = {name: [one[name] for one in ALL] for name in ALL[0]}
    kinds = {
        "k": "Int64",
        "n": "Int64",
        "m": "Int64",
        "big": "Int64",
        "flag": "Int64",
        "day": "Int64",
        "seen": "Int64",
    }
    made: dict[str, Any] = {}
    for name, given in columns.items():
        values: list[Any] = [us(value) for value in given] if name in ("day", "seen") else given
        if name in ("x", "d"):
            numbers = [None if value is None or math.isnan(value) else float(value) for value in values]
            made[name] = pd.array(numbers, dtype="Float64")
        else:
            made[name] = pd.Series(values, dtype=kinds.get(name, "string[python]")).array
    return pd.DataFrame(made)


F = reference()
Reference = Callable[[pd.DataFrame], Any]


def is_iso(f: pd.DataFrame) -> Any:
    """Which texts are dates, and which moments they are."""
    return f.iso.map(ISO_US, na_action="ignore").astype("Int64")


def like(series: Any, pattern: str) -> Any:
    return series.str.fullmatch(pattern, flags=re.DOTALL).astype("boolean")


def ratio(left: Any, right: Any) -> Any:
    """NA where it is divided by zero."""
    divisor = right.astype("Float64")
    return left.astype("Float64") / divisor.mask((divisor == 0).fillna(False))


def remainder(left: Any, right: int) -> Any:
    return left.map(lambda value: math.fmod(value, right), na_action="ignore").astype("Float64")


def constant(value: bool) -> Any:
    return pd.Series([value] * ROWS, dtype="boolean")


NA = pd.Series([pd.NA] * ROWS, dtype="boolean")
CONDITIONS: Mapping[str, Reference] = {
    # numbers
    "n >= 18": lambda f: f.n >= 18,
    "n > 17.5": lambda f: f.n > 17.5,
    "n < -2.5": lambda f: f.n < -2.5,
    "n = 5": lambda f: f.n == 5,
    "n = 5.0": lambda f: f.n == 5,
    "n = 5.5": lambda f: f.n == 5.5,
    "n <> 5": lambda f: f.n != 5,
    "n != 5.5": lambda f: f.n != 5.5,
    "18 <= n AND n <= 65": lambda f: (f.n >= 18) & (f.n <= 65),
    "n BETWEEN 18 AND 65": lambda f: (f.n >= 18) & (f.n <= 65),
    "n NOT BETWEEN 18 AND 65": lambda f: ~((f.n >= 18) & (f.n <= 65)),
    "n BETWEEN 65 AND 18": lambda f: (f.n >= 65) & (f.n <= 18),
    "n BETWEEN m AND 65": lambda f: (f.n >= f.m) & (f.n <= 65),
    "n BETWEEN NULL AND 0": lambda f: NA & (f.n <= 0),
    "NOT n BETWEEN NULL AND 0": lambda f: ~(NA & (f.n <= 0)),
    "n = m": lambda f: f.n == f.m,
    "n < m": lambda f: f.n < f.m,
    "NOT n < m": lambda f: ~(f.n < f.m),
    "n IN (1, 2, 18)": lambda f: (f.n == 1) | (f.n == 2) | (f.n == 18),
    "n NOT IN (1, 2, 18)": lambda f: ~((f.n == 1) | (f.n == 2) | (f.n == 18)),
    "n IN (1, NULL)": lambda f: (f.n == 1) | NA,
    "n NOT IN (1, NULL)": lambda f: ~((f.n == 1) | NA),
    "n IN (m, 5)": lambda f: (f.n == f.m) | (f.n == 5),
    "n = NULL": lambda f: NA,
    "n IS NULL": lambda f: f.n.isna(),
    "n IS NOT NULL": lambda f: f.n.notna(),
    "n IS DISTINCT FROM m": lambda f: ~((f.n == f.m).fillna(False) | (f.n.isna() & f.m.isna())),
    "n IS NOT DISTINCT FROM m": lambda f: (f.n == f.m).fillna(False) | (f.n.isna() & f.m.isna()),
    "n IS NOT DISTINCT FROM NULL": lambda f: f.n.isna(),
    "x > 0": lambda f: f.x > 0,
    "x >= 0.1": lambda f: f.x >= 0.1,
    "x = 0.1": lambda f: f.x == 0.1,
    "x <= 0.1": lambda f: f.x <= 0.1,
    "x <> 0.1": lambda f: f.x != 0.1,
    "x > 1e299": lambda f: f.x > 1e299,
    "x < 1e400": lambda f: f.x < math.inf,
    "x = 1e400": lambda f: f.x == math.inf,
    "x = -1e400": lambda f: f.x == -math.inf,
    "x < 1e9999999999999999999": lambda f: f.x < math.inf,
    "x <= 1e-9999999999999999999": lambda f: f.x <= 0,
    "x IS NULL": lambda f: f.x.isna(),
    "x IS NOT NULL": lambda f: f.x.notna(),
    "NOT x > 0": lambda f: ~(f.x > 0),
    "x IN (0.5, 1.5, 7.25)": lambda f: f.x.isin([0.5, 1.5, 7.25]) & (f.x == f.x),
    "x = n": lambda f: f.x == f.n,
    "x < n": lambda f: f.x < f.n,
    "x = -0.0": lambda f: f.x == 0,
    "d = 0.25": lambda f: f.d == 0.25,
    "d > 2.4": lambda f: f.d > 2.4,
    "d <= n": lambda f: f.d <= f.n,
    "d IN (1, 1.25)": lambda f: (f.d == 1) | (f.d == 1.25),
    "d IS NULL": lambda f: f.d.isna(),
    "d = x": lambda f: f.d == f.x,
    "big = 9007199254740993": lambda f: f.big == 2**53 + 1,
    "big > 9007199254740992": lambda f: f.big > 2**53,
    "big >= 9007199254740993": lambda f: f.big >= 2**53 + 1,
    "big <> 9007199254740992": lambda f: f.big != 2**53,
    "big < -9007199254740992": lambda f: f.big < -(2**53),
    "big = -9007199254740993": lambda f: f.big == -(2**53) - 1,
    "-big = 9007199254740993": lambda f: f.big == -(2**53) - 1,
    "abs(big) = 9007199254740993": lambda f: (f.big == -(2**53) - 1) | (f.big == 2**53 + 1),
    "big = 9223372036854775807": lambda f: f.big == 2**63 - 1,
    "big < 9223372036854775807": lambda f: f.big < 2**63 - 1,
    "big < 1e30": lambda f: f.big.notna() & (f.big == f.big),
    "big IN (7, 9007199254740993)": lambda f: (f.big == 7) | (f.big == 2**53 + 1),
    "coalesce(big, 0) = 9007199254740993": lambda f: f.big == 2**53 + 1,
    "CASE WHEN n > 0 THEN big END = 9007199254740993": lambda f: (
        (f.n > 0).fillna(False) & (f.big == 2**53 + 1)
    ),
    # reckoning
    "n + 1 = 19": lambda f: f.n + 1 == 19,
    "n - m > 0": lambda f: f.n - f.m > 0,
    "n * 2 = 10": lambda f: f.n * 2 == 10,
    "n / 2 = 2.5": lambda f: f.n / 2 == 2.5,
    "n / m > 1": lambda f: ratio(f.n, f.m) > 1,
    "NOT n / m > 1": lambda f: ~(ratio(f.n, f.m) > 1),
    "n / m IS NULL": lambda f: ratio(f.n, f.m).isna(),
    "n % 2 = 1": lambda f: remainder(f.n, 2) == 1,
    "n % 2 = -1": lambda f: remainder(f.n, 2) == -1,
    "n % 0 IS NULL": lambda f: constant(True),
    "d % 0.5 = 0.25": lambda f: (
        f.d.map(lambda one: math.fmod(one, 0.5), na_action="ignore").astype("Float64") == 0.25
    ),
    "0.3 % 0.1 = 0": lambda f: constant(True),
    "x * 1e300 > 1e308": lambda f: f.x * 1e300 > 1e308,
    "x - x = 0": lambda f: (f.x == f.x) & ~(f.x.abs() == math.inf),
    "abs(n) = 3": lambda f: f.n.abs() == 3,
    "abs(x) > 2": lambda f: f.x.abs() > 2,
    "-n > 0": lambda f: -f.n > 0,
    "round(d) = 1": lambda f: (f.d >= 0.5) & (f.d < 1.5),
    "round(d, 1) = 0.3": lambda f: f.d == 0.25,
    "round(x) = 2": lambda f: f.x == 1.5,
    "round(2.675, 2) = 2.68": lambda f: constant(True),
    "round(-x) = 3": lambda f: (f.x == -2.5) | NA.mask(f.x.notna(), False),
    # texts
    "word = 'a'": lambda f: f.word == "a",
    "word = ''": lambda f: f.word == "",
    "word <> ''": lambda f: f.word != "",
    "word <> 'a'": lambda f: f.word != "a",
    "NOT word = 'a'": lambda f: ~(f.word == "a"),
    "word = 'A'": lambda f: f.word == "A",
    "word < 'Z'": lambda f: f.word < "Z",
    "word <= 'a'": lambda f: f.word <= "a",
    "word > 'Z'": lambda f: f.word > "Z",
    "word >= 'é'": lambda f: f.word >= "é",
    "word > '\uffff'": lambda f: f.word > "\uffff",
    "word BETWEEN 'A' AND 'Z'": lambda f: (f.word >= "A") & (f.word <= "Z"),
    "word IN ('a', 'B', 'it''s')": lambda f: (f.word == "a") | (f.word == "B") | (f.word == "it's"),
    "word NOT IN ('a', 'B')": lambda f: ~((f.word == "a") | (f.word == "B")),
    "word = 'a\\b'": lambda f: f.word == "a\\b",
    "word IS NULL": lambda f: f.word.isna(),
    "word IS NOT NULL AND n > 0": lambda f: f.word.notna() & (f.n > 0),
    "word = code": lambda f: f.word == f.code,
    "word < code": lambda f: f.word < f.code,
    "word LIKE 'a%'": lambda f: like(f.word, "a.*"),
    "word NOT LIKE 'a%'": lambda f: ~like(f.word, "a.*"),
    "NOT word LIKE 'a%'": lambda f: ~like(f.word, "a.*"),
    "word LIKE 'A%'": lambda f: like(f.word, "A.*"),
    "word ILIKE 'A%'": lambda f: like(f.word, "[aA].*"),
    "word ILIKE 'É'": lambda f: (f.word == "é") | (f.word == "É"),
    "word NOT ILIKE 'É'": lambda f: ~((f.word == "é") | (f.word == "É")),
    "word LIKE '%b'": lambda f: like(f.word, ".*b"),
    "word LIKE 'a_b'": lambda f: like(f.word, "a.b"),
    "word LIKE '_'": lambda f: like(f.word, "."),
    "word LIKE '_x'": lambda f: like(f.word, ".x"),
    "word LIKE ''": lambda f: f.word == "",
    "word LIKE '%'": lambda f: f.word == f.word,
    "word LIKE '%_%'": lambda f: f.word != "",
    "word LIKE 'a!_b' ESCAPE '!'": lambda f: f.word == "a_b",
    "word NOT LIKE 'a!_b' ESCAPE '!'": lambda f: f.word != "a_b",
    "word LIKE 'a!%' ESCAPE '!'": lambda f: f.word == "a%",
    "word LIKE 'a\\%'": lambda f: like(f.word, r"a\\.*"),
    "word LIKE 'I2%.%'": lambda f: like(f.word, r"I2.*\..*"),
    "word LIKE '%0.%'": lambda f: like(f.word, r".*0\..*"),
    "word LIKE 'a%b'": lambda f: like(f.word, "a.*b"),
    "word LIKE '%''%'": lambda f: like(f.word, ".*'.*"),
    "word LIKE '%2_.%'": lambda f: like(f.word, r".*2.\..*"),
    "lower(word) = 'b'": lambda f: f.word.str.lower() == "b",
    "upper(word) = 'É'": lambda f: f.word.str.upper() == "É",
    "upper(word) = 'SS'": lambda f: f.word == "ß",
    "length(word) = 1": lambda f: f.word.str.len() == 1,
    "length(word) > 1": lambda f: f.word.str.len() > 1,
    "length(word) = 0": lambda f: f.word == "",
    "coalesce(word, 'none') = 'none'": lambda f: f.word.isna(),
    "nullif(word, 'a') IS NULL": lambda f: f.word.isna() | (f.word == "a"),
    "code = '7'": lambda f: f.code == "7",
    "code < '7'": lambda f: f.code < "7",
    "code >= '07' AND code < '1'": lambda f: (f.code >= "07") & (f.code < "1"),
    "uid = '0a000000-0000-4000-8000-00000000000f'": lambda f: f.uid == UID[1],
    "uid = '0A000000-0000-4000-8000-00000000000F'": lambda f: constant(False),
    "uid LIKE 'f%'": lambda f: f.uid.str.startswith("f"),
    "uid <> 'x'": lambda f: f.uid != "x",
    # true and false
    "flag = 1": lambda f: f.flag == 1,
    "flag = true": lambda f: f.flag == 1,
    "flag = false": lambda f: f.flag == 0,
    "NOT flag = true": lambda f: f.flag == 0,
    "flag IS TRUE": lambda f: (f.flag == 1).fillna(False),
    "flag IS NOT TRUE": lambda f: ~(f.flag == 1).fillna(False),
    "flag IS FALSE": lambda f: (f.flag == 0).fillna(False),
    "flag IS NULL": lambda f: f.flag.isna(),
    "flag + 1 = 2": lambda f: f.flag == 1,
    "n IS TRUE": lambda f: (f.n == 1).fillna(False),
    "(n > 1) IS TRUE": lambda f: (f.n > 1).fillna(False),
    "(n > 1) IS NOT TRUE": lambda f: ~(f.n > 1).fillna(False),
    "(n > 1) IS NULL": lambda f: f.n.isna(),
    "(n > 1 AND m > 1) IS FALSE": lambda f: (~((f.n > 1) & (f.m > 1))).fillna(False),
    "true": lambda f: constant(True),
    "false": lambda f: constant(False),
    "n > 1 OR true": lambda f: constant(True),
    "n = 1 AND NULL = 1": lambda f: (f.n == 1) & NA,
    "NOT (n = 1 AND NULL = 1)": lambda f: ~((f.n == 1) & NA),
    "n > 1 AND (x > 1 OR word = 'a')": lambda f: (f.n > 1) & ((f.x > 1) | (f.word == "a")),
    "NOT (n > 1 OR x > 1)": lambda f: ~((f.n > 1) | (f.x > 1)),
    "NOT (n > 1 AND NOT word LIKE 'a%')": lambda f: ~((f.n > 1) & ~like(f.word, "a.*")),
    "CASE WHEN n > 1 THEN x ELSE m END > 1": lambda f: (
        f.x.where((f.n > 1).fillna(False), f.m.astype("Float64")) > 1
    ),
    "CASE n WHEN 1 THEN 'one' WHEN 2 THEN 'two' END = 'two'": lambda f: (f.n == 2).fillna(False),
    "CASE WHEN word = 'a' THEN word ELSE code END IN ('a', '7')": lambda f: f.code.mask(
        (f.word == "a").fillna(False), "a"
    ).isin(["a", "7"]),
    "coalesce(n, m, -1) = -1": lambda f: f.n.isna() & f.m.isna(),
    "nullif(n, 1) > 0": lambda f: (f.n > 0) & (f.n != 1),
    # dates
    "day = '2024-02-01'": lambda f: f.day == DAY_1,
    "day <= '2024-02-01'": lambda f: f.day <= DAY_1,
    "day < '2024-02-01'": lambda f: f.day < DAY_1,
    "day <> '2024-02-01'": lambda f: f.day != DAY_1,
    "day <= '2024-02-01 00:00:00'": lambda f: f.day <= DAY_1,
    "day < '2024-02-01 08:30:00'": lambda f: f.day <= DAY_1,
    "day = '2024-02-01T08:30:00'": lambda f: (f.day == DAY_1) & False,
    "day BETWEEN '2024-02-01' AND '2024-02-02'": lambda f: (f.day >= DAY_1) & (f.day <= DAY_2),
    "day NOT BETWEEN '2024-02-01' AND '2024-02-02'": lambda f: ~((f.day >= DAY_1) & (f.day <= DAY_2)),
    "day IN ('2024-02-01', '1950-01-01')": lambda f: (f.day == DAY_1) | (f.day < 0),
    "day IS NULL": lambda f: f.day.isna(),
    "day = seen": lambda f: f.day == f.seen,
    "day < seen": lambda f: f.day < f.seen,
    "seen <= '2024-02-01'": lambda f: f.seen <= DAY_1,
    "seen > '2024-02-01'": lambda f: f.seen > DAY_1,
    "seen = '2024-02-01'": lambda f: f.seen == DAY_1,
    "seen = '2024-02-01 08:30'": lambda f: f.seen == AT_830,
    "seen = '2024-02-01T08:30:00Z'": lambda f: f.seen == AT_830,
    "seen = '2024-02-01T10:30:00+02:00'": lambda f: f.seen == AT_830,
    "seen < '2024-02-01 23:59:59.999999'": lambda f: f.seen < DAY_2 - 1,
    "seen >= '2024-02-01' AND seen < '2024-02-02'": lambda f: (f.seen >= DAY_1) & (f.seen < DAY_2),
    "NOT seen < '2024-02-02'": lambda f: ~(f.seen < DAY_2),
    "coalesce(day, '2024-02-01') = '2024-02-01'": lambda f: f.day.isna() | (f.day == DAY_1),
    "CASE WHEN n > 1 THEN day ELSE '2024-02-01' END < '2024-02-02'": lambda f: (
        f.day.where((f.n > 1).fillna(False), DAY_1) < DAY_2
    ),
    "iso = '2024-02-01'": lambda f: (is_iso(f) == DAY_1) | (f.iso == "2024-02-01"),
    "iso <> '2024-02-01'": lambda f: f.iso.notna() & ~(is_iso(f) == DAY_1).fillna(False),
    "iso <= '2024-02-01'": lambda f: is_iso(f) <= DAY_1,
    "iso > '2024-02-01'": lambda f: is_iso(f) > DAY_1,
    "NOT iso > '2024-02-01'": lambda f: ~(is_iso(f) > DAY_1),
    "iso = 'unknown' OR iso = ''": lambda f: (f.iso == "unknown") | (f.iso == ""),
    "iso LIKE '2024-02%'": lambda f: f.iso.str.startswith("2024-02"),
    "iso = '2024-02-30'": lambda f: f.iso == "2024-02-30",
}


def frame(kind: str) -> pd.DataFrame:
    """The rows as somebody may have them: as pandas makes them, as objects, or in nullable types."""
    if kind == "objects":
        made = pd.DataFrame(ALL, dtype=object)
        ids = [None if one["uid"] is None else uuid.UUID(one["uid"]) for one in ALL]
        return made.assign(uid=pd.Series(ids, dtype=object))
    made = pd.DataFrame(ALL).assign(big=pd.array([one["big"] for one in ALL], dtype="Int64"))
    made["seen"] = pd.to_datetime(made["seen"])
    if kind == "nullable":
        made = made.astype({"n": "Int64", "m": "Int64", "x": "Float64", "flag": "boolean", "word": "string"})
        made["day"] = pd.to_datetime(made["day"]).dt.tz_localize("UTC")
        made["code"] = made["code"].astype("category")
    return made


Select = Callable[..., Any]


@pytest.fixture(scope="module")
def sources(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Select]:
    """The same rows everywhere."""
    folder = tmp_path_factory.mktemp("engines")
    addresses = {
        "sqlite": str(folder / "ward.db"),
        "postgresql": postgres_server.create("engines"),
        "duckdb": f"duckdb:///{folder / 'ward.duckdb'}",
    }
    found: dict[str, Select] = {}
    for name, address in addresses.items():
        with writing(address) as connection:
            WARD.create(connection)
            connection.execute(WARD.insert(), ALL)
        found[name] = partial(load_cohort, address, seed=0, offered=OFFERED)
    for rows, kind in ((frame(kind), kind) for kind in ("default", "objects", "nullable")):
        found[f"{kind} frame"] = partial(table_from_frame, rows, seed=0)
    return found


def selected(select: Select, where: str) -> list[str]:
    try:
        table = select(cohort=Cohort(table="ward", columns={"k": Number()}, where=where, split=None))
    except EmptyCohortError:
        return []
    return [*map(str, table.patient_ids)]


@pytest.mark.parametrize("where", CONDITIONS)
def test_every_source_selects_the_rows_of_the_reference(sources: Mapping[str, Select], where: str) -> None:
    chosen = pd.Series(CONDITIONS[where](F)).astype("boolean").fillna(False).to_numpy(dtype=bool)
    wanted = F.patient_id[chosen].tolist()
    assert {name: selected(select, where) for name, select in sources.items()} == dict.fromkeys(
        sources, wanted
    )


def test_the_table_is_large_and_most_conditions_divide_the_rows() -> None:
    sizes = [int(pd.Series(one(F)).astype("boolean").fillna(False).sum()) for one in CONDITIONS.values()]
    assert len(sizes) >= 150
    assert sum(0 < size < ROWS for size in sizes) >= 140


@pytest.mark.parametrize(
    "where",
    [
        "code = 7",
        "7 = code",
        "code IN (7)",
        "code BETWEEN 1 AND 9",
        "big = '7'",
        "n >= '18'",
        "n LIKE '1%'",
        "word + 1 = 2",
        "18 <= n <= 65",
        "word LIKE 'a' ESCAPE 'xx'",
        "coalesce(word, 0) = 0",
        "n = word",
    ],
)
def test_what_is_of_two_kinds_is_refused_alike_where_types_are_known(
    sources: Mapping[str, Select], where: str
) -> None:
    messages = set()
    for name, select in sources.items():
        if name != "objects frame":
            with pytest.raises(CohortError, match=r"^where: ") as caught:
                selected(select, where)
            messages.add(str(caught.value))
    assert len(messages) == 1
    if not any(piece in where for piece in ("<=", "ESCAPE", "coalesce")):
        assert not selected(sources["objects frame"], where)


@pytest.mark.parametrize(
    "where", ["day < 20240201", "day < 'last year'", "day LIKE '2024%'", "seen = '1.2.2024'", "flag = 'yes'"]
)
def test_dates_and_booleans_beside_another_kind_are_refused_or_select_nobody(
    sources: Mapping[str, Select], where: str
) -> None:
    for name in ("postgresql", "duckdb", "nullable frame"):
        with pytest.raises(CohortError, match=r"^where: "):
            selected(sources[name], where)
    for name in ("sqlite", "objects frame"):
        assert not selected(sources[name], where)
