"""The command line as each of its users meets it: real commands, real federation, errors in one line."""

import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import fedcohort
import fedcohort as fc
from fedcohort.cli.app import _print_result, app
from fedcohort.figures import to_json
from fedcohort.logs import DiscreetFormatter
from fedcohort.storage.backup import copy_database
from tests.build import COLUMNS, free_port, ward_rows, write_ward
from tests.figures import EVERY_TYPE, of_another_version
from tests.processes.support import Group, cli, random_name, wards

pytestmark = pytest.mark.processes

DESCRIBE = """
name = "{name}"
[cohort]
table = "ward"
columns = ["age", "bp", "sex"]
where = "age >= 18"
[analysis]
kind = "describe"
"""


def every_command() -> list[list[str]]:
    """The words of every command and group of commands."""
    found: list[list[str]] = [[]]
    groups: list[tuple[list[str], object]] = [([], typer.main.get_command(app))]
    while groups:
        words, group = groups.pop()
        for name, command in getattr(group, "commands", {}).items():
            found.append([*words, name])
            groups.append(([*words, name], command))
    return found


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with wards(tmp_path_factory.mktemp("cli"), n_sites=2) as running:
        yield running


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(DESCRIBE.format(name=random_name()))
    return path


def one_error(text: str, code: str) -> str:
    """The one line of an error."""
    assert text.count("\n") == 1, text
    assert text.startswith(f"error ({code}): "), text
    return text


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_help_of_every_command_speaks_in_sentences(words: list[str], tmp_path: Path) -> None:
    done = cli(*words, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"fedcohort {' '.join(words)}".strip() in " ".join(done.stdout.split())
    assert "Usage" in done.stdout


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_help_in_a_narrow_terminal_cuts_no_name(words: list[str]) -> None:
    command = [*words, "--help"]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert done.exit_code == 0
    assert "Usage" in done.output
    assert "…" not in done.output


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert cli("--version", cwd=tmp_path).stdout == f"{fedcohort.__version__}\n"


def test_run_prints_a_table_for_people(group: Group, study: Path) -> None:
    done = group.cli("run", study, cwd=study.parent)
    assert done.returncode == 0, done.stderr
    assert re.search(r"bp .* 102 .* 18 ", done.stdout)
    assert "f: 60, m: 60" in done.stdout


def test_run_prints_json_for_programs_and_saves(group: Group, study: Path, tmp_path: Path) -> None:
    done = group.cli("run", study, "--json", "--save", tmp_path / "out", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["report"]["describe"]["age"]["n"] == 120
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == answer["report"]
    assert (tmp_path / "out" / "study.json").exists()
    assert "saved to" in done.stderr


def test_a_study_can_be_left_alone_listed_and_shown(group: Group, study: Path, tmp_path: Path) -> None:
    left = group.cli("run", study, "--no-wait", cwd=tmp_path).stdout.strip()
    assert re.fullmatch("[0-9a-f]{64}", left)
    report = json.loads(group.cli("run", study, "--json", cwd=tmp_path).stdout)
    assert report["id"] == left
    listed = group.cli("studies", cwd=tmp_path).stdout
    assert re.search(rf"^{left[:12]}  finished .* ada: study ", listed, re.MULTILINE)
    rows = json.loads(group.cli("studies", "--json", cwd=tmp_path).stdout)
    assert left in {row["id"] for row in rows}
    shown = group.cli("show", left[:8], cwd=tmp_path).stdout
    assert "a: approved" in shown
    whole = json.loads(group.cli("show", left, "--json", cwd=tmp_path).stdout)
    assert whole["report"] == report["report"]
    assert whole["state"] == "finished"


def test_explain_says_what_leaves_before_anything_is_sent(study: Path) -> None:
    done = cli("explain", study, cwd=study.parent)
    assert done.returncode == 0, done.stderr
    for words in ("Study: study", "What leaves the hospital", "How it is protected", "age >= 18"):
        assert words in done.stdout
    assert "sign that study, under a hash of its own" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "absent.toml"], "study-invalid", "absent.toml"),
        (["run", "absent.json"], "config-invalid", "absent.json"),
        (["explain", "absent.toml"], "study-invalid", "absent.toml"),
        (["run", "bad.toml"], "study-invalid", "bad.toml"),
        (["studies", "--coordinator", "http://127.0.0.1:9"], "link-closed", "check the address"),
        (["studies", "--coordinator", "ftp://x"], "config-invalid", "https://coordinator.example:8760"),
        (["studies", "--ca-file", "absent.pem"], "config-invalid", "absent.pem"),
        (["data", "synthesize"], "config-invalid", "config.json"),
        (["node"], "config-invalid", "--site"),
        (["node", "--site", "absent.toml"], "config-invalid", "absent.toml"),
        (["node", "check", "--site", "absent.toml"], "config-invalid", "absent.toml"),
        (["approve"], "config-invalid", "site.toml"),
        (["coordinator", "invite"], "config-invalid", "--researcher"),
        (["coordinator", "remove", "--site", "nobody"], "store", "check --state"),
        (["coordinator", "--config", "absent.json"], "config-invalid", "absent.json"),
        (["coordinator", "--host", "0.0.0.0"], "config-invalid", "--certificate"),
        (
            ["coordinator", "--host", "0.0.0.0", "--certificate", "no.pem", "--key", "no.key"],
            "config-invalid",
            "no.pem",
        ),
        (["explain", "odd.toml"], "cohort-refused", "not one boolean expression"),
        (["demo", "--data", "horses"], "config-invalid", "--data breast-cancer"),
        (["demo", "--data", "heart-disease"], "config-invalid", "--from FOLDER"),
        (["demo", "--config", "absent.json"], "config-invalid", "absent.json"),
        (["demo", "--data", "heart-disease", "--from", "absent"], "schema-mismatch", "absent"),
        (["data", "import", "heart-disease", "--from", "absent"], "schema-mismatch", "absent"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_with_a_code_and_exit_code_one(
    tmp_path: Path, words: list[str], code: str, says: str
) -> None:
    (tmp_path / "bad.toml").write_text("name = ")
    odd = DESCRIBE.format(name="odd").replace("age >= 18", "age >> 18; DROP TABLE x")
    (tmp_path / "odd.toml").write_text(odd)
    done = cli(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert says in one_error(done.stderr, code)


def test_a_port_that_is_taken_is_named_before_anything_is_said(group: Group, tmp_path: Path) -> None:
    done = cli("coordinator", "--port", group.url.rpartition(":")[2], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "choose another --host or --port" in one_error(done.stderr, "config-invalid")


def test_an_error_of_the_coordinator_comes_back_in_one_line(
    group: Group, tmp_path: Path, study: Path
) -> None:
    study.write_text(study.read_text().replace('"bp"', '"weight"'))
    done = group.cli("run", study, cwd=tmp_path)
    assert "does not offer column weight" in one_error(done.stderr, "schema-mismatch")
    missing = group.cli("show", "abcdefgh", cwd=tmp_path)
    assert "no study 'abcdefgh'" in one_error(missing.stderr, "not-found")
    assert missing.stderr.count("not-found") == 1


def test_a_failed_study_says_why(group: Group, tmp_path: Path, study: Path) -> None:
    study.write_text(study.read_text().replace("age >= 18", "age > 100"))
    done = group.cli("run", study, "--json", cwd=tmp_path)
    assert "too-few-sites" in one_error(done.stderr, "study-failed")
    assert done.stdout == ""


def test_synthesize_writes_the_same_patients_once(tmp_path: Path) -> None:
    words = ("data", "synthesize", "--sites", "2", "--patients", "30", "--into", tmp_path / "data")
    assert cli(*words, cwd=tmp_path).stdout.count("30 written") == 2
    assert cli(*words, cwd=tmp_path).stdout.count("already there, nothing changed") == 2
    other = cli(*words, "--seed", "1", cwd=tmp_path)
    one_error(other.stderr, "store")
    with closing(sqlite3.connect(tmp_path / "data" / "hospital_2.db")) as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (30,)


def test_breast_cancer_becomes_three_hospitals(tmp_path: Path) -> None:
    done = cli("data", "import", "breast-cancer", "--into", tmp_path / "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "data").glob("*.db"))) == 3


WHOLE = r"entry \d+: [0-9a-f]{64}\n\d+ entries, the chain is whole\n"


def test_the_event_logs_verify_and_a_changed_entry_is_named(group: Group, tmp_path: Path) -> None:
    whole = cli("coordinator", "audit", "--state", group.state, cwd=tmp_path)
    assert re.fullmatch(WHOLE, whole.stdout)
    node = cli("node", "audit", "--site", group.folder / "a.toml", cwd=tmp_path)
    assert re.fullmatch(WHOLE, node.stdout)
    copy = tmp_path / "copy"
    copy.mkdir()
    copied = copy_database(group.state / "coordinator.db", copy / "coordinator.db")
    with closing(sqlite3.connect(copied)) as target:
        target.execute("UPDATE events SET detail = '{}' WHERE sequence = 2")
        target.commit()
    broken = cli("coordinator", "audit", "--state", copy, cwd=tmp_path)
    assert "altered at entry 2" in one_error(broken.stderr, "store")


def test_audit_of_a_folder_without_a_log_is_an_error_and_makes_nothing(tmp_path: Path) -> None:
    for words in (["audit"], ["revoke", "--researcher", "ada"]):
        done = cli("coordinator", *words, "--state", "typo", cwd=tmp_path)
        assert "no such database; check --state" in one_error(done.stderr, "store")
    assert not (tmp_path / "typo").exists()


def test_node_check_gives_a_verdict_a_line(group: Group, tmp_path: Path) -> None:
    database = write_ward(group.folder / "data" / "fresh.db", [
        {"patient_id": "p", "age": 50.0, "bp": None, "sex": "f", "ill": 0}
    ])  # fmt: skip
    path = group.site_file("fresh", database, place="fresh-site")
    done = cli("node", "check", "--site", path, cwd=tmp_path)
    verdicts = dict(re.findall(r"^ok   (\w+): (.+)$", done.stdout, re.MULTILINE))
    assert done.returncode == 0, done.stdout
    assert set(verdicts) == {"proxy", "name", "coordinator", "clock", "database", "disk", "roster"}
    assert verdicts["database"] == "opens read-only, with ward"


def test_node_check_names_each_fault_with_its_remedy(group: Group, tmp_path: Path) -> None:
    text = group.site_file("a", tmp_path / "gone.db", place="check-site").read_text()
    cases = {
        "database: .*no such database": text,
        "database: .*no table pharmacy; correct": text.replace("gone.db", "a.db").replace(
            "\nward", "\npharmacy"
        ),
        "database: ward has no column weight; correct site.toml": text.replace("gone.db", "a.db").replace(
            '"*"', '["weight"]'
        ),
        "coordinator: cannot be reached": text.replace(f":{group.port}", f":{free_port()}"),
        "name: .*cannot be resolved": text.replace("127.0.0.1", "no-such-host.invalid"),
        "address: .*plain text is only allowed": text.replace("127.0.0.1", "192.0.2.1"),
        "coordinator: does not speak TLS there": text.replace("ws://", "wss://"),
        "address: '127.0.0.1:.*give an address such as": text.replace("ws://", ""),
        "disk: .*make the folder writable": text.replace('state = "a"', 'state = "a.db"'),
    }
    write_ward(tmp_path / "a.db", ward_rows(0, 3))
    for number, (line, policy) in enumerate(cases.items()):
        path = tmp_path / f"site{number}.toml"
        path.write_text(policy)
        done = cli("node", "check", "--site", path, cwd=tmp_path)
        assert done.returncode == 1
        assert re.search(rf"^FAIL {line}", done.stdout, re.MULTILINE), (line, done.stdout)
        assert set(COLUMNS).isdisjoint(done.stdout.split())


def test_a_researchers_token_is_printed_once_and_can_be_revoked(tmp_path: Path) -> None:
    words = ("coordinator", "invite", "--state", "c")
    for name in (("--site", "hospital a"), ("--researcher", "ada bob/../x")):
        assert "a name has 1 to 64" in one_error(cli(*words, *name, cwd=tmp_path).stderr, "config-invalid")
    assert not (tmp_path / "c").exists()
    first = cli(*words, "--researcher", "ada", cwd=tmp_path)
    token = first.stdout
    assert first.stderr == "made a new coordinator in c\n"
    assert re.fullmatch(r"[\w-]{43}\n", token)
    assert token.strip().encode() not in (tmp_path / "c" / "coordinator.db").read_bytes()
    site = cli(*words, "--site", "hospital_a", cwd=tmp_path)
    assert re.fullmatch(r"[\w-]{43}\n", site.stdout)
    assert site.stderr == ""
    typo = cli("coordinator", "revoke", "--researcher", "adda", "--state", "c", cwd=tmp_path)
    assert "nobody called 'adda' has a token" in one_error(typo.stderr, "not-found")
    revoked = cli("coordinator", "revoke", "--researcher", "ada", "--state", "c", cwd=tmp_path)
    assert revoked.stdout == "1 tokens of ada revoked\n"
    nobody = cli("coordinator", "remove", "--site", "nobody", "--state", "c", cwd=tmp_path)
    one_error(nobody.stderr, "not-found")
    removed = cli("coordinator", "remove", "--site", "hospital_a", "--state", "c", cwd=tmp_path)
    assert removed.stdout == "hospital_a removed\n"


def test_a_traceback_in_the_log_says_where_and_never_what(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(DiscreetFormatter("%(levelname)s %(message)s"))
    log = logging.Logger("fedcohort.node")
    log.addHandler(handler)
    value = "zebra" + "philia"
    try:
        try:
            float(value)
        except ValueError as error:
            raise RuntimeError(value) from error
    except RuntimeError:
        log.exception("a: an unexpected error")
    said = capsys.readouterr().err
    assert "ERROR a: an unexpected error" in said
    assert "cli/test_cli.py" in said
    assert "RuntimeError (its words are left out of the log)" in said
    assert value not in said


def measured(report: dict[str, Any], label: fc.Number | str = "ill") -> fc.Result:
    cohort = fc.Cohort(columns={"age": fc.Numeric(0, 100)}, label=label)
    return fc.Result(fc.Study(name="measured", cohort=cohort, analysis=fc.Train()), report, [])


def test_a_private_result_fits_into_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedcohort.cli.app.console", Console(width=80))
    noisy = {"rows": 100, "loss": 0.4712, "loss_low": 0.45, "loss_high": 0.5, "auc": 0.88, "auc_low": 0.81}
    _print_result(measured({"train": {"loss": 0.4, "auc": 0.9}, "test": {**noisy, "auc_high": 0.93}}))
    lines = [re.sub(r"[│┃\s]+", " ", line).strip() for line in capsys.readouterr().out.splitlines()]
    assert {"metric train test", "loss 0.4 0.4712 (0.45 to 0.5)", "auc 0.9 0.88 (0.81 to 0.93)"} <= set(lines)


def test_an_error_in_the_labels_unit_is_printed_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    label = fc.Number("bp", 80, 200, unit="mmHg")
    _print_result(measured({"train": {"loss": 0.4, "mae": 4.25}, "test": {"loss": 0.5, "mae": 4.5}}, label))
    lines = [re.sub(r"[│┃\s]+", " ", line).strip() for line in capsys.readouterr().out.splitlines()]
    assert {"loss 0.4 0.5", "mae (mmHg) 4.25 4.5"} <= set(lines)


def test_a_kind_that_nothing_here_knows_is_printed_by_the_types_of_its_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _print_result(of_another_version({"figures": to_json(EVERY_TYPE), "refused": {"c": "cohort-too-small"}}))
    out = capsys.readouterr().out
    lines = [re.sub(r"[│┃\s]+", " ", line).strip() for line in out.splitlines()]
    shown = {"term coef se p low high", "age (years) 0.031 0.004 < 0.001 0.023 0.039", "drug 40 31",
             "age 0.5 (0.4 to 0.6) 0.1", "true a 5 1", "bmi 0.9 (0.7 to 1.2)"}  # fmt: skip
    assert shown <= set(lines)
    assert lines[-1].startswith("without c: cohort-too-small (the study selects too few patients")
    assert "Spread" not in out, "a histogram is a picture"
