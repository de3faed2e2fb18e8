"""`fedcohort data check` and `data mock` as they are typed, and as docs/readiness.md shows them."""

import json
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fedcohort.cli.app import app
from fedcohort.columns import Categorical, Numeric
from fedcohort.node.ledger import reserve
from fedcohort.node.policy import read_policy
from fedcohort.node.records import StoredProposal
from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.client import explicit, load_study
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows

GUIDE = (Path(__file__).parents[3] / "docs" / "readiness.md").read_text(encoding="utf-8")
(STUDY,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
SITE = 'id = "a"\ndata = "ward.db"\ncoordinator = "wss://c"\n[tables]\nward = "*"\n'
COLUMNS = {
    "age": Declared(Numeric(0, 120), "years"),
    "weight": Declared(Numeric(), "kg"),
    "sex": Declared(Categorical(("f", "m"))),
    "ill": Declared(Categorical((0, 1))),
}
MARKERS = ("MARKER-PATIENT", "87.4321")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site whose every patient bears a marker, and a study."""
    rows: list[dict[str, object]] = [
        {
            "patient_id": f"MARKER-PATIENT-{n}",
            "age": 87.4321,
            "weight": 70.0,
            "sex": "fm"[n % 2],
            "ill": n % 2,
        }
        for n in range(20)
    ]
    write_rows(tmp_path / "ward.db", wide_table("ward", COLUMNS), COLUMNS, rows, MADE_UP)
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "study.toml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str) -> Result:
    return CliRunner().invoke(app, shlex.split(command)[1:])


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.usefixtures("folder")
def test_every_command_of_the_guide_runs_and_so_does_its_study() -> None:
    for command in "".join(blocks("sh")).splitlines():
        done = run(command)
        assert done.exit_code == 0, done.output
    (script,) = blocks("python")
    exec(compile(script, "readiness.md", "exec"), {})


@pytest.mark.usefixtures("folder")
def test_the_guide_runs_for_who_has_no_site() -> None:
    Path("ward.db").unlink()
    Path("site.toml").unlink()
    for command in "".join(blocks("sh")).splitlines():
        if "data mock" in command:
            assert run(command).exit_code == 0
    (script,) = blocks("python")
    exec(compile(script, "readiness.md", "exec"), {})


@pytest.mark.usefixtures("folder")
def test_units_of_a_site_are_told_by_check_and_explain() -> None:
    assert "FLOAT, 0 to 120 years" in run("fedcohort data check study.toml --site site.toml --json").output
    assert "age: a number from 0 to 90 years\n" in run("fedcohort explain study.toml --site site.toml").output
    assert "age: a number from 0 to 90\n" in run("fedcohort explain study.toml").output


@pytest.mark.usefixtures("folder")
def test_a_study_without_kinds_is_told_what_to_write() -> None:
    short = STUDY.replace('{ column = "ill" }', '"ill"')
    Path("study.toml").write_text(short)
    done = run("fedcohort data mock study.toml --patients 20 --into none.db")
    words = " ".join(f"{done.output} {done.exception}".split())
    assert done.exit_code == 1
    assert (
        'label ill: write such as label = {column = "ill"}; or take what a site declares (by --site' in words
    )
    assert "columns age" not in words
    done = run("fedcohort data mock study.toml --patients 20 --into some.db --site site.toml")
    assert done.exit_code == 0, done.exception


PRIVATE = """name = "short"
[cohort]
table = "ward"
columns = ["age", "sex"]
label = "ill"
[analysis]
kind = "train"
algorithm = "fedsgd"
[privacy]
epsilon = 1.5
"""


@pytest.mark.usefixtures("folder")
def test_what_is_set_aside_for_the_very_study_is_not_counted_as_another_s() -> None:
    Path("site.toml").write_text(SITE + "[budget.ward]\nepsilon = 2.0\n")
    Path("study.toml").write_text(PRIVATE)
    policy = read_policy(Path("site.toml"))
    written = load_study("study.toml")
    signed = explicit(written, {"a": catalogue(policy.data, None)})
    assert signed.hash != written.hash
    policy.state.mkdir()
    with closing(SqlNodeStore(policy.state / "node.db")) as store:
        store.propose(StoredProposal(signed.hash, signed.canonical, "ada", b"", b""))
        reserve(policy, store, signed)
    check = "fedcohort data check study.toml --site site.toml --json"
    assert found(check)["budget left"]["found"] == "set aside for this study already"
    Path("study.toml").write_text(PRIVATE.replace("short", "other"))
    assert "0.5 (delta" in found(check)["budget left"]["found"]


def found(command: str) -> dict[str, dict[str, str]]:
    """Lines of a check by what they are about."""
    return {line["what"]: line for line in json.loads(run(command).output)["lines"]}


@pytest.mark.usefixtures("folder")
def test_explain_fills_in_what_a_site_declares_and_foresees_what_will_be_known() -> None:
    Path("study.toml").write_text(PRIVATE)
    alone = run("fedcohort explain study.toml --patients 300").output
    assert "Counts as yes" not in alone
    assert "so many patients is foreseen where columns and label have a kind each" in " ".join(alone.split())
    here = " ".join(run("fedcohort explain study.toml --site site.toml --patients 300").output.split())
    assert "age: a number from 0 to 120 years" in here
    assert "Label: ill Counts as yes: 1; as no: 0" in here
    assert "With 300 patients, 60 of them measured, the AUC will" in here
    assert "is foreseen where" not in here
    Path("study.toml").write_text(PRIVATE.replace('"sex"', '"weight"'))
    lacking = " ".join(run("fedcohort explain study.toml --site site.toml").output.split())
    assert "Nothing can be released yet: cohort.bounds: privacy needs declared bounds for weight" in lacking


@pytest.mark.usefixtures("folder")
def test_the_table_has_a_verdict_and_a_remedy_and_the_exit_code_says_no() -> None:
    Path("site.toml").write_text("min_patients = 50\n" + SITE)
    done = run("fedcohort data check study.toml --site site.toml")
    assert done.exit_code == 1
    words = " ".join(done.output.replace("│", " ").split())
    assert "requirement" in words
    assert "verdict: not ready" in words
    found = json.loads(run("fedcohort data check study.toml --site site.toml --json").output)
    assert found["verdict"] == "not ready"
    (size,) = [line for line in found["lines"] if line["what"] == "cohort size"]
    assert size["found"] == "fewer than min_patients = 50 patients"
    assert "import more patients" in size["remedy"]


@pytest.mark.usefixtures("folder")
def test_no_output_of_a_check_names_a_patient_or_a_value() -> None:
    for option in ("", " --json"):
        output = run("fedcohort data check study.toml --site site.toml" + option).output
        assert not [marker for marker in MARKERS if marker in output]


def test_a_check_changes_nothing_at_the_site(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run("fedcohort data check study.toml --site site.toml")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_twin_of_a_site_holds_nothing_of_its_patients(folder: Path) -> None:
    (folder / "short.toml").write_text(
        'name = "s"\n[cohort]\ntable = "ward"\ncolumns = ["age", "sex"]\nlabel = "ill"\n'
        '[analysis]\nkind = "describe"\n'
    )
    refused = run("fedcohort data mock short.toml --patients 100 --into twin.db")
    assert refused.exit_code == 1
    done = run("fedcohort data mock short.toml --patients 100 --into twin.db --site site.toml")
    assert done.exit_code == 0, done.output
    content = (folder / "twin.db").read_bytes()
    assert not [marker for marker in MARKERS if marker.encode() in content]
    connection = sqlite3.connect(folder / "twin.db")
    ages = {age for (age,) in connection.execute("SELECT age FROM ward")}
    connection.close()
    assert len(ages) > 20
    assert 87.4321 not in ages
