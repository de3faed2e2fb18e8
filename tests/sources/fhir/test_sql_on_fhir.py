"""The official cases of SQL-on-FHIR v2, all of them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fedcohort.errors import FedcohortError
from fedcohort.sources.fhir.view import compile_view

SUITE = Path(os.environ.get("FEDCOHORT_DATA", "/nowhere")) / "official" / "sql_on_fhir"
wanted = pytest.mark.skipif(not SUITE.is_dir(), reason="FEDCOHORT_DATA names no official/sql_on_fhir")


def flattened(view: object, resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    compiled = compile_view(view)
    return [dict(zip(compiled.columns, row, strict=True)) for one in resources for row in compiled.rows(one)]


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def passes(case: dict[str, Any], resources: list[dict[str, Any]]) -> bool:
    if case.get("expectError"):
        with pytest.raises(FedcohortError):
            flattened(case["view"], resources)
        return True
    rows = flattened(case["view"], resources)
    assert in_order(rows) == in_order(case.get("expect", rows))
    assert len(rows) == case.get("expectCount", len(rows))
    if rows and "expectColumns" in case:
        assert list(rows[0]) == case["expectColumns"]
    return "expect" in case or "expectCount" in case


@wanted
def test_every_official_case_passes() -> None:
    files = [path for path in sorted(SUITE.glob("*.json")) if not path.name.endswith("schema.json")]
    suites = [json.loads(path.read_bytes()) for path in files]
    cases = [(case, suite["resources"]) for suite in suites for case in suite["tests"]]
    assert len(files) == 22
    assert sum(passes(case, resources) for case, resources in cases) == 134
