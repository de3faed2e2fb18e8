"""The table of OMOP's fields: what the script makes of the official tables, and what a site lacks of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedcohort.sources.omop.specification import missing_fields

ROOT = Path(__file__).parents[3]
OFFICIAL = Path(os.environ.get("FEDCOHORT_DATA", "-")) / "official"


@pytest.mark.skipif(
    not (OFFICIAL / "omop_cdm").is_dir() or not (OFFICIAL / "circe").is_dir(),
    reason="FEDCOHORT_DATA has no official/omop_cdm, or no official/circe",
)
def test_the_table_of_omops_fields_is_what_the_script_makes(tmp_path: Path) -> None:
    package = ROOT / "src" / "fedcohort" / "sources" / "omop"
    script = tmp_path / "scripts" / "omop_fields.py"
    made = tmp_path / "src" / "fedcohort" / "sources" / "omop"
    script.parent.mkdir()
    made.mkdir(parents=True)
    script.write_bytes((ROOT / "scripts" / "omop_fields.py").read_bytes())
    licence = OFFICIAL / "circe" / "LICENSE"  # the Apache License, which stands beside circe's files
    command = [sys.executable, str(script), str(OFFICIAL / "omop_cdm"), str(licence), "f853f6e3"]
    subprocess.run(command, check=True)
    for name in ("cdm_fields.csv", "cdm_fields.LICENSE"):
        assert (made / name).read_bytes() == (package / name).read_bytes(), name


def test_a_table_lacks_the_fields_that_its_version_requires() -> None:
    lacks = missing_fields("person", frozenset({"person_id", "race_concept_id"}))
    needed = ["ethnicity_concept_id", "gender_concept_id", "year_of_birth"]
    assert lacks == {"5.3": needed, "5.4": needed}
