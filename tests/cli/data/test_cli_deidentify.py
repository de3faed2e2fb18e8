"""The commands of de-identification, as a site's engineer types them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedcohort.cli.app import app
from fedcohort.columns import Categorical, Numeric
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.deidentify.pseudonym import load_or_create_key, masked_file_name
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows

SITE = 'id = "hospital_a"\ndata = "ward.db"\ncoordinator = "ws://localhost:8760"\n[tables]\nward = "*"\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    columns = {"age": Declared(Numeric(0, 90)), "sex": Declared(Categorical(("f", "m")))}
    rows: list[dict[str, object]] = [
        {"patient_id": "a", "age": 40.0, "sex": "f"},
        {"patient_id": "b", "age": 40.0, "sex": "f"},
        {"patient_id": "c", "age": 41.0, "sex": "m"},
    ]
    write_rows(tmp_path / "ward.db", wide_table("ward", columns), columns, rows, MADE_UP)
    (tmp_path / "site.toml").write_text(SITE)
    return tmp_path / "site.toml"


def test_an_engineer_asks_for_k_anonymity(site: Path) -> None:
    args = ["data", "k-anonymity", "--site", str(site), "--table", "ward", "--quasi", "age, sex", "--k", "2"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert (
        "ward by age, sex: NOT 2-anonymous; the smallest of 2 classes has 1 patients; 33.3% of rows" in words
    )
    assert "age: in bands of 5: 33.3% of rows below" in words


def test_an_engineer_finds_the_file_behind_a_masked_name(tmp_path: Path) -> None:
    (tmp_path / "in" / "ward_1").mkdir(parents=True)
    (tmp_path / "in" / "ward_1" / "DOE_JANE.csv").write_text("")
    key = load_or_create_key(tmp_path / "deid.key")
    done = CliRunner().invoke(
        app, ["data", "file-names", str(tmp_path / "in"), "--key", str(tmp_path / "deid.key")]
    )
    assert done.exit_code == 0, done.output
    assert done.output.split() == [masked_file_name(key, "ward_1/DOE_JANE.csv"), "ward_1/DOE_JANE.csv"]


def test_a_missing_key_is_not_made_anew_to_look_something_up(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "file-names", str(tmp_path), "--key", str(tmp_path / "none.key")])
    assert done.exit_code != 0
    assert not (tmp_path / "none.key").exists()


@pytest.mark.parametrize(("table", "told"), [("wrad", True), ("ward", False)])
def test_rules_for_a_table_that_is_not_imported_are_pointed_out(
    tmp_path: Path, table: str, told: bool
) -> None:
    (tmp_path / "ward.csv").write_text("patient_id,age,note\np1,40,calm\n")
    (tmp_path / "rules.toml").write_text(f'[tables.{table}]\nnote = "remove"\n')
    args = ["data", "import", "csv", "--from", str(tmp_path / "ward.csv"), "--table", "ward"]
    args += ["--into", str(tmp_path / "site.db"), "--deidentify", str(tmp_path / "rules.toml")]
    done = CliRunner().invoke(app, [*args, "--key", str(tmp_path / "deid.key")])
    assert done.exit_code == 0, done.output
    assert ("[tables.wrad] is of no table of this import, which writes ward" in done.output) == told
