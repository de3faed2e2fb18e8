"""The time of survival data is a number of days, and no date; what may be a date is asked about."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.errors import SchemaError
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rule, Rules
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.pipeline import import_source


def brought(folder: Path, name: str, times: list[float], rules: Rules) -> list[float]:
    rows = "".join(f"p{n},{time},{n % 2}\n" for n, time in enumerate(times))
    (folder / "records.csv").write_text(f"patient_id,{name},status\n{rows}")
    source = csv_source(folder / "records.csv", "records", None)
    import_source(source, folder / "s.db", RuleSet(rules, bytes(range(32))))
    with closing(sqlite3.connect(folder / "s.db")) as connection:
        return [row[0] for row in connection.execute(f'SELECT "{name}" FROM records ORDER BY id')]


@pytest.mark.parametrize("name", ["time", "Time", "os_time", "pfs time"])
def test_survival_data_keep_their_time(tmp_path: Path, name: str) -> None:
    assert brought(tmp_path, name, [306, 455, 1010.5, 5], Rules()) == [306, 455, 1010.5, 5]


@pytest.mark.parametrize("times", [[46_000, 46_010], [2019, 2021.5], [1.7e9, 1.8e9]])
def test_what_may_be_dates_is_asked_about_and_the_remedy_works(tmp_path: Path, times: list[float]) -> None:
    with pytest.raises(SchemaError, match="numbers that may be dates in a column called like a time"):
        brought(tmp_path, "time", times, Rules())
    assert brought(tmp_path, "time", times, Rules(columns={"time": Rule(role="keep")})) == times
