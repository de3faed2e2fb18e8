"""What a hospital's engineer is told, obeyed: each row is a fault, its message, and the same deed done right.

Where a message says a command, the test runs that command line as it is written.
"""

import json
import re
import shlex
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fedcohort as fc
from fedcohort.cli.app import app
from fedcohort.cli.support import read_secret_files
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.dashboard.federation.app import build_app
from fedcohort.dashboard.shared.serve import Listen, open_server
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.errors import FedcohortError, PolicyError
from fedcohort.node.budgets import Budget
from fedcohort.node.check import check_node
from fedcohort.node.policy import SitePolicy, check_study, read_policy
from fedcohort.node.readiness import check_readiness
from fedcohort.researcher.client import load_study
from fedcohort.storage.database import reading
from fedcohort.study import Study
from fedcohort.wire.address import check_http, check_url, client_tls, server_tls
from fedcohort.wire.identity import load_or_create
from tests.build import ward_rows, write_ward

from .remedies import Said
from .test_named_remedies import commands
from .wire.support import certify

SITE = """id = "a"
data = "ward.db"
coordinator = "ws://localhost:1"
[tables]
ward = "*"
"""
WARD = "patient_id,age,glucose\np1,50,5\np2,60,6\n"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")


def write(name: str, text: str) -> Path:
    Path(name).write_text(text)
    return Path(name)


def run(line: str) -> str:
    """What a command prints; an error is raised as the command raises it."""
    done = CliRunner().invoke(app, shlex.split(line.removeprefix("fedcohort ")))
    if isinstance(done.exception, FedcohortError):
        raise done.exception
    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
    return str(done.output)


def told(line: str) -> str:
    """The message with which a command fails."""
    with pytest.raises(FedcohortError) as refused:
        run(line)
    return str(refused.value)


def told_commands(message: str) -> list[str]:
    return list(commands(Said("", message)))


IMPORT = "fedcohort data import csv --from ward.csv --into ward.db --keep-identifiers"
IMPORTS: list[tuple[str, str, str, str, str]] = [
    # What the file holds; the fault; what it is told; the file mended, and the command mended.
    (WARD, f"{IMPORT} --delimiter ;;", "--delimiter: one character, such as ';'", WARD.replace(",", ";"),
     f"{IMPORT} --delimiter ';'"),
    (WARD, f"{IMPORT} --encoding latin-eins", "write such as utf-8, cp1252 or utf-16", WARD,
     f"{IMPORT} --encoding cp1252"),
    (WARD, f"{IMPORT} --refused none/refused.csv", "make it first", WARD, "mkdir none; {}"),
    (WARD, f"{IMPORT} --refused ward.csv", "is no list of refusals; name a new file", WARD,
     f"{IMPORT} --refused new.csv"),
    (WARD, f"{IMPORT} --table sqlite_master", "such names are the database's own; choose another", WARD,
     f"{IMPORT} --table ward"),
    (WARD, f"{IMPORT} --table fedcohort_imports", "choose another", WARD, f"{IMPORT} --table ward"),
    (WARD, f"{IMPORT} --mapping none.toml", "give the mapping file by --mapping", WARD,
     f"{IMPORT} --table ward --mapping mapping.toml"),
    (WARD, f"{IMPORT} --table labs --mapping mapping.toml", "has no table labs; it has ward", WARD,
     f"{IMPORT} --table ward --mapping mapping.toml"),
    (WARD, f"{IMPORT} --table ward --mapping mapping.toml --decimal ,",
     "with a mapping file write them there", WARD, f"{IMPORT} --table ward --mapping comma.toml"),
    (WARD.replace("patient_id", "pid"), IMPORT, "--number-patients", WARD.replace("patient_id", "pid"),
     f"{IMPORT} --number-patients"),
    (WARD.replace("patient_id", "pid"), IMPORT, 'patient_id = "…" and others = true below its table',
     WARD.replace("patient_id", "pid"), f"{IMPORT} --table ward --mapping others.toml"),
    (WARD.replace("glucose", "age"), IMPORT, "must name each column once", WARD, IMPORT),
    (WARD, IMPORT.replace("ward.csv", "wrad.csv"), "no file, or a folder without any", WARD, IMPORT),
    (WARD, IMPORT.replace("ward.db", "none/ward.db"), "not a file in an existing folder; check the path",
     WARD, "mkdir none; {}"),
    (WARD, IMPORT.replace("--keep-identifiers", "--deidentify none.toml"),
     "give the rules' file by --deidentify", WARD,
     IMPORT.replace("--keep-identifiers", "--deidentify rules.toml --key deid.key")),
    (WARD, IMPORT.replace("--keep-identifiers", "--key none/deid.key"),
     "correct --key, or make the folder first", WARD, "mkdir none; {}"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "fault", "said", "better", "line"), IMPORTS, ids=lambda one: one[-40:])
def test_an_import_succeeds_once_it_is_done_as_told(
    file: str, fault: str, said: str, better: str, line: str
) -> None:
    write("mapping.toml", "[tables.ward.columns.age]\nlow = 0\nhigh = 120\n")
    write("comma.toml", '[tables.ward]\ndecimal = ","\n[tables.ward.columns.age]\nlow = 0\nhigh = 120\n')
    write("others.toml", '[tables.ward]\npatient_id = "pid"\nothers = true\n')
    write("rules.toml", 'dates = "shift"\n')
    write("ward.csv", file)
    assert said in told(fault)
    write("ward.csv", better)
    if line.startswith("mkdir"):
        Path("none").mkdir()
        line = line.removeprefix("mkdir none; ").format(fault)
    assert "2 " in run(line)


def test_a_file_of_another_format_is_imported_by_the_command_that_is_told() -> None:
    with closing(sqlite3.connect("other.csv")) as connection:
        connection.execute("CREATE TABLE labs (patient_id TEXT, age REAL)")
        connection.execute("INSERT INTO labs VALUES ('p1', 50)")
        connection.commit()
    (line,) = told_commands(
        told("fedcohort data import csv --from other.csv --into ward.db --keep-identifiers")
    )
    line = line.replace("FILE", "other.csv").replace("TABLE", "labs").replace("DATABASE", "ward.db")
    assert "1 " in run(f"{line} --keep-identifiers")


def test_an_import_under_another_mapping_is_taken_back_by_the_command_that_is_told() -> None:
    write("ward.csv", WARD)
    run(IMPORT)
    message = told(f"{IMPORT} --decimal .")
    (line,) = told_commands(message)
    listed = run(line.replace("DATABASE", "ward.db"))
    assert "1" in listed
    run("fedcohort data undo --into ward.db --import 1")
    run(f"{IMPORT} --decimal .")


def test_a_database_that_is_not_there_is_made_by_an_import_and_help_says_how() -> None:
    with pytest.raises(FedcohortError) as refused, reading("ward.db"):
        pass
    (line,) = told_commands(str(refused.value))
    assert "csv" in run(line)
    write("ward.csv", WARD)
    run(IMPORT)
    with reading("ward.db") as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM records").scalar() == 2


ANONYMOUS = "fedcohort data k-anonymity --k 2 --site site.toml"
INVITE = "fedcohort coordinator invite --state state"


def joined(site: str) -> None:
    """As a node does that comes with its token."""
    run(f"{INVITE} --site {site}")
    with closing(CoordinatorStore(Path("state/coordinator.db"))) as store:
        Members(store).pin(site, bytes(32))


def test_who_has_joined_is_removed_or_invited_again_by_the_commands_that_are_told() -> None:
    joined("a")
    removal, again = told_commands(told(f"{INVITE} --site a"))
    run(f"{again} --state state")
    run(f"{removal} --state state")
    run(f"{INVITE} --site a")


@pytest.mark.parametrize(
    ("fault", "said", "better"),
    [
        (INVITE, "give either --site or --researcher", f"{INVITE} --site a"),
        (f"{INVITE} --site a --researcher b", "give either --site or --res", f"{INVITE} --researcher b"),
        (f"{INVITE} --researcher b --again", "--again and --url are for a site", f"{INVITE} --researcher b"),
        (f"{INVITE} --site a --again", "invite it without --again", f"{INVITE} --site a"),
        (f"{INVITE} --site 'St. Mary'", "a name has 1 to 64 letters", f"{INVITE} --site St.Mary"),
        ("fedcohort coordinator remove --site b --state state", "no site 'b'; known are c",
         "fedcohort coordinator remove --site c --state state"),
        ("fedcohort coordinator revoke --researcher eva --state state", "check the name",
         "fedcohort coordinator revoke --researcher ada --state state"),
        ("fedcohort people add ada --role boss --people people.db", "give one of researcher, data-owner",
         "fedcohort people add ada --role researcher --people people.db"),
        ("fedcohort people add eve --role auditor --people people.db", "choose another name",
         "fedcohort people add ada --role auditor --people people.db"),
        ("fedcohort people reset mallory --people people.db", "`fedcohort people list` says who is",
         "fedcohort people list --people people.db"),
        ("fedcohort people reset olaf --people people.db", "enable the account first",
         "fedcohort people enable olaf --people people.db"),
        ("fedcohort node check", "give either --site site.toml, or --id of a worker", None),
        ("fedcohort node check --site none.toml", "give the site's file by --site", None),
        ("fedcohort roster --fingerprint 00", "say by --confirm whose it is", None),
        ("fedcohort demo --data heart-disease", "or --data heart-disease with --from FOLDER", None),
        ("fedcohort predict folder", "give either --value COLUMN=VALUE", None),
        (f"{ANONYMOUS} --table wrad --quasi age", "correct --table",
         f"{ANONYMOUS} --table ward --quasi age"),
        (f"{ANONYMOUS} --table ward --quasi agee", "correct --quasi",
         f"{ANONYMOUS} --table ward --quasi age"),
    ],
    ids=lambda one: str(one)[-40:],
)  # fmt: skip
def test_a_command_runs_once_it_is_typed_as_told(fault: str, said: str, better: str | None) -> None:
    write("site.toml", SITE)
    write_ward(Path("ward.db"), ward_rows(0, 40))
    if "--state state" in fault:
        run(f"{INVITE} --site c")
        run(f"{INVITE} --researcher ada")
    for line in ("add eve --role auditor", "add olaf --role auditor", "disable olaf"):
        if "people" in fault:
            run(f"fedcohort people {line} --people people.db")
    assert said in told(fault)
    if better is not None:
        run(better)
    if "reset olaf" in fault:
        run(fault)


def policy(text: str = SITE, **above: object) -> SitePolicy:
    """site.toml with settings above its tables; TOML and JSON write these alike."""
    return read_policy(
        write("site.toml", "".join(f"{k} = {json.dumps(v)}\n" for k, v in above.items()) + text)
    )


def asked(**changes: Any) -> Study:
    cohort = fc.Cohort(
        table="ward", columns={"age": fc.Numeric(18, 90)}, label=fc.Binary("ill"), **changes.pop("cohort", {})
    )
    return Study(**{"name": "x", "cohort": cohort, "analysis": fc.Describe(), **changes})


PRIVATE = fc.Privacy(epsilon=1.0)
TRAIN = fc.Train(model="logistic", rounds=5)
RULES: list[tuple[str, dict[str, Any], Study, dict[str, Any], Study | None]] = [
    # A line of readiness; site.toml; the study; site.toml changed as told, and the study changed as told.
    ("analysis", {"analyses": ["train"]}, asked(), {"analyses": ["train", "describe"]},
     asked(analysis=TRAIN)),
    ("protection", {"protections": ["masks"]}, asked(protection="paillier"),
     {"protections": ["masks", "paillier"]}, asked()),
    ("privacy", {"privacy_required": True}, asked(), {"privacy_required": False}, asked(privacy=PRIVATE)),
    # "let the study take a smaller one, or raise max_delta in site.toml"
    ("privacy", {"max_delta": 1e-6}, asked(privacy=PRIVATE), {"max_delta": 1e-5},
     asked(privacy=fc.Privacy(epsilon=1.0, delta=1e-7))),
    ("privacy", {"noisy_minimum": True}, asked(privacy=PRIVATE), {"noisy_minimum": False},
     asked(privacy=fc.Privacy(epsilon=1.0, cohort_test=0.05))),
    ("privacy", {"sites_per_patient": 2}, asked(privacy=PRIVATE), {"sites_per_patient": 1},
     asked(privacy=fc.Privacy(epsilon=1.0, sites_per_patient=2))),
    ("sites", {"min_sites": 3}, asked(), {"min_sites": 2}, asked(min_sites=3)),
    ("sites", {"min_colluders": 2}, asked(), {"min_colluders": 1}, asked(colluders=2)),
    ("model", {"models": ["mlp_medical"]}, asked(analysis=TRAIN), {"models": ["mlp_medical", "logistic"]},
     asked(analysis=fc.Train(model="mlp_medical", rounds=5))),
    ("model", {"private_models": ["mlp_medical"]}, asked(analysis=TRAIN, privacy=PRIVATE),
     {"private_models": ["logistic"]},
     asked(analysis=fc.Train(model="mlp_medical", rounds=5), privacy=PRIVATE)),
    ("rounds", {"max_rounds": 5}, asked(analysis=TRAIN), {"max_rounds": 8},
     asked(analysis=fc.Train(model="logistic", rounds=2))),
    ("patients", {}, asked(cohort={"patient_id": "mrn"}), {"patients": {"ward": "mrn"}}, asked()),
]  # fmt: skip


def verdict(of: SitePolicy, study: Study, what: str) -> tuple[str, str]:
    (line,) = [one for one in check_readiness(of, study).lines if one.what == what]
    return line.verdict, line.remedy


@pytest.mark.parametrize(("what", "settings", "study", "changed", "better"), RULES)
def test_what_site_toml_forbids_is_allowed_once_either_side_does_as_told(
    what: str, settings: dict[str, Any], study: Study, changed: dict[str, Any], better: Study
) -> None:
    strict = SitePolicy.model_validate({**policy().model_dump(exclude_none=True), **settings})
    loose = SitePolicy.model_validate({**strict.model_dump(exclude_none=True), **changed})
    with pytest.raises(PolicyError, match=r"^site\.toml: "):
        check_study(strict, study)
    found, remedy = verdict(strict, study, what)
    assert (found, bool(remedy)) == ("not ready", True)
    assert verdict(loose, study, what)[0] == "ready"
    assert verdict(strict, better, what)[0] == "ready"
    check_study(loose, study)


BUDGETS: list[tuple[Budget, fc.Privacy | None, str, Budget, fc.Privacy]] = [
    (Budget(epsilon=3.0), None, "let it have [privacy]", Budget(epsilon=float("inf")), PRIVATE),
    (Budget(epsilon=0.5), PRIVATE, "the study asks for 1 and", Budget(epsilon=2.0), fc.Privacy(epsilon=0.4)),
    (Budget(epsilon=3.0, delta=1e-6), PRIVATE, "the study asks for 1 and", Budget(epsilon=3.0),
     fc.Privacy(epsilon=1.0, delta=1e-7)),
    (Budget(epsilon=9.0, least_epsilon=2.0), PRIVATE, "ask for as much or more", Budget(epsilon=9.0),
     fc.Privacy(epsilon=2.0)),
]  # fmt: skip


@pytest.mark.parametrize(("budget", "privacy", "said", "raised", "better"), BUDGETS)
def test_a_study_fits_its_budget_once_either_side_does_as_told(
    budget: Budget, privacy: fc.Privacy | None, said: str, raised: Budget, better: fc.Privacy
) -> None:
    tight = policy().model_copy(update={"budget": {"ward": budget}})
    with pytest.raises(PolicyError) as refused:
        check_study(tight, asked(privacy=privacy))
    assert said in str(refused.value)
    check_study(tight, asked(privacy=better))
    check_study(policy().model_copy(update={"budget": {"ward": raised}}), asked(privacy=privacy))


@pytest.mark.parametrize(
    ("text", "said", "better"),
    [
        (SITE + "[listen]\nport = 8766\n", "give either coordinator (the node dials out) or [listen]", SITE),
        (SITE.replace("coordinator", "# coordinator"), "give either coordinator", SITE),
        (SITE + '[patients]\nwrad = "mrn"\n', "patients.wrad: no such table in [tables]",
         SITE + '[patients]\nward = "mrn"\n'),
        (SITE + '[budget.w]\nepsilon = 1.0\ntables = ["wrad"]\n',
         "budget.w.tables: no table wrad in [tables]",
         SITE + '[budget.w]\nepsilon = 1.0\ntables = ["ward"]\n'),
        (SITE + 'labs = "*"\n[budget.w]\nepsilon = 1.0\ntables = ["ward"]\n',
         "name it in the tables of a group, or leave tables out of one",
         SITE + 'labs = "*"\n[budget.w]\nepsilon = 1.0\ntables = ["ward", "labs"]\n'),
        (SITE + 'labs = "*"\n[budget.w]\nepsilon = 1.0\ntables = ["ward"]\n',
         "name it in the tables of a group, or leave tables out of one",
         SITE + 'labs = "*"\n[budget.w]\nepsilon = 1.0\n'),
        ('counter = "state/counter"\n' + SITE, "counter: lies in the folder state",
         'counter = "a.counter"\n' + SITE),
    ],
)  # fmt: skip
def test_site_toml_is_read_once_it_is_written_as_told(text: str, said: str, better: str) -> None:
    with pytest.raises(FedcohortError) as refused:
        policy(text)
    assert str(refused.value).count("\n") == 0
    assert said in str(refused.value)
    policy(better)


def bad(what: str, of: SitePolicy) -> str:
    """What `fedcohort node check` tells to do about a thing; nothing where it is well."""
    return "; ".join(one.remedy for one in check_node(of) if one.what == what and not one.ok)


def test_a_node_s_database_is_mended_as_its_check_tells() -> None:
    assert "make it by an import: `fedcohort data import --help`" in bad("database", policy())
    write_ward(Path("ward.db"), ward_rows(0, 20))
    assert bad("database", policy()) == ""
    assert "no table labs; correct [tables]" in bad("database", policy(SITE + 'labs = "*"\n'))
    assert "ward has no column agee; correct site.toml" in bad(
        "database", policy(SITE.replace('"*"', '["agee"]'))
    )
    assert bad("database", policy(SITE.replace('"*"', '["age"]'))) == ""


def test_a_listening_node_gets_its_certificate_and_a_free_port_as_its_check_tells(tmp_path: Path) -> None:
    write_ward(Path("ward.db"), ward_rows(0, 20))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listening = SITE.replace('coordinator = "ws://localhost:1"\n', "") + f"[listen]\nport = {port}\n"
        assert "stop what uses it, or choose another" in bad(
            "port", policy(listening + 'host = "127.0.0.1"\n')
        )
        open_to_all = policy(listening + 'host = "0.0.0.0"\n')
        assert bad("TLS", open_to_all) == "give certificate and key in site.toml"
    certificate = certify(tmp_path).certificate
    files = f'certificate = "{certificate}"\nkey = "{certificate}"\n'
    mended = policy(listening + 'host = "0.0.0.0"\n' + files)
    assert (bad("TLS", mended), bad("port", mended)) == ("", "")


def test_certificates_are_given_as_told(tmp_path: Path) -> None:
    tls = certify(tmp_path)
    text = write("text.pem", "no certificate")
    for fault in (Path("none.pem"), text):
        with pytest.raises(FedcohortError, match=r"in PEM$"):
            server_tls(fault, fault)
    server_tls(tls.certificate, tls.certificate)
    for wrong in (text, Path("none.pem")):
        with pytest.raises(FedcohortError, match=r"give it in PEM$"):
            client_tls(wrong)
    client_tls(tls.ca_file)


@pytest.mark.parametrize(
    ("check", "fault", "said"),
    [
        (check_url, "coordinator.example", r"give an address such as (\S+)$"),
        (check_url, "http://coordinator.example", r"give an address such as (\S+)$"),
        (check_url, "ws://192.0.2.1:1", r"on this machine itself; use (wss://)$"),
        (lambda url: check_http(url, "url"), "coordinator.example", r"an address such as (\S+)$"),
        (lambda url: check_http(url, "url"), "http://coordinator.example", r"itself; use (https://)$"),
    ],
)
def test_an_address_is_written_as_told(check: Callable[[str], object], fault: str, said: str) -> None:
    with pytest.raises(FedcohortError, match=said) as refused:
        check(fault)
    found = re.search(said, str(refused.value))
    assert found is not None
    check(found[1] if found[1][-1] != "/" else found[1] + fault.partition("://")[2])


def test_a_secret_is_given_once_and_in_a_file_that_can_be_read() -> None:
    write("token", "abc\n")
    environment = {"FEDCOHORT_TOKEN": "abc", "FEDCOHORT_TOKEN_FILE": "token"}
    with pytest.raises(FedcohortError, match="both set; leave one of them out"):
        read_secret_files(environment)
    del environment["FEDCOHORT_TOKEN"]
    read_secret_files(environment)
    for fault, said in (
        ("none", "let the account that runs fedcohort read it"),
        ("long", "hold the secret alone"),
    ):
        write("long", "x" * 100_000)
        with pytest.raises(FedcohortError, match=said):
            read_secret_files({"FEDCOHORT_TOKEN_FILE": fault})


SECRET = "x" * 64


@pytest.mark.parametrize(
    ("fault", "said", "better"),
    [
        ({"coordinator": "coordinator"}, "such as https://coordinator.example:8760",
         "https://coordinator.example:8760"),
        ({"coordinator": "https://u@c.example"}, "give scheme, host and port only", "https://c.example"),
        ({"ca_file": Path("none.pem")}, "there is no file none.pem", Path("ca.pem")),
        ({"dashboard_token": SECRET}, "set FEDCOHORT_PEOPLE (--people)", {"people": Path("people.db")}),
        ({"dashboard_token": "x", "people": Path("people.db")}, "characters or more",
         {"dashboard_token": SECRET}),
        ({"address": "page"}, "is not an address such as https://host", "https://host"),
        ({"oidc": Path("provider.toml")}, "set FEDCOHORT_PEOPLE (--people) for those",
         {"people": Path("people.db"), "address": "https://host"}),
    ],
)  # fmt: skip
def test_a_page_s_settings_are_given_as_told(fault: dict[str, Any], said: str, better: Any) -> None:
    write("ca.pem", "x")
    with pytest.raises(FedcohortError) as refused:
        Settings(**fault)
    assert said in str(refused.value)
    Settings(**fault | (better if isinstance(better, dict) else dict.fromkeys(fault, better)))


def test_a_page_is_served_to_others_once_people_and_a_certificate_are_given(tmp_path: Path) -> None:
    tls = certify(tmp_path)
    with_people = Settings(people=Path("people.db"))
    everywhere = Listen(host="0.0.0.0", port=0)
    whole = Listen(host="0.0.0.0", port=0, certificate=tls.certificate, key=tls.certificate)
    text = write("text.pem", "no certificate")
    wrong = Listen(host="127.0.0.1", port=0, certificate=text, key=text)
    half = Listen(host="127.0.0.1", port=0, certificate=tls.certificate)
    app = build_app(with_people)
    for settings, listen, said in (
        (Settings(), everywhere, "set FEDCOHORT_PEOPLE (--people) to the file"),
        (with_people, everywhere, "give a certificate and a key, or listen on 127.0.0.1"),
        (with_people, half, "give --certificate and --key"),
        (with_people, wrong, "give a certificate and its key in PEM"),
    ):
        with pytest.raises(FedcohortError) as refused:
            open_server(app, settings, listen)
        assert said in str(refused.value)
    for listen in (whole, Listen(host="127.0.0.1", port=0)):
        open_server(app, with_people, listen).server_close()


def test_a_key_that_others_can_read_is_closed_by_the_command_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    load_or_create(path, "a")
    path.chmod(0o644)
    with pytest.raises(FedcohortError, match=r"run chmod 600 on it, or make a new one") as refused:
        load_or_create(path, "a")
    mode = re.search(r"chmod (\d+)", str(refused.value))
    assert mode is not None
    path.chmod(int(mode[1], 8))
    load_or_create(path, "a")


def test_a_study_s_file_is_given_as_told() -> None:
    with pytest.raises(FedcohortError, match="give the study's file"):
        load_study("none.toml")
    write("study.toml", 'name = "x"\n[cohort]\ncolumns = ["age"]\n[analysis]\nkind = "describe"\n')
    assert load_study("study.toml").name == "x"
