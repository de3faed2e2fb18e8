"""A wrong key of a file: who wrote it reads which one, what to write instead, and after that it is right."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import fedcohort as fc
from fedcohort.dashboard.login.provider import read_provider
from fedcohort.errors import FedcohortError
from fedcohort.node.policy import read_policy
from fedcohort.quickstart.config import read_config
from fedcohort.sources.deidentify.rules import read_rules
from fedcohort.sources.dicom.options import read_options
from fedcohort.sources.importer.mapping import read_mapping
from fedcohort.study import parse_study

STUDY = """name = "x"
protection = "masks"
min_sites = 2
[cohort]
table = "ward"
columns = {age = {low = 18, high = 90}, dx = {levels = ["I10", "I21"]}}
label = {column = "ill", positive = 1}
split = {fraction = 0.2}
[analysis]
kind = "train"
rounds = 3
learning_rate = 0.1
[privacy]
epsilon = 1.5
evaluate_every = 50
"""
SITE = """id = "a"
data = "a.db"
coordinator = "wss://coordinator.example:8760"
min_patients = 20
approval = "ask"
answer_slot = 5.0
privacy_required = true
protections = ["masks"]
[tables]
ward = ["age", "ill"]
[budget.ward]
epsilon = 3.0
delta = 1e-3
"""
LISTENING = """id = "a"
data = "a.db"
[listen]
port = 8766
[tables]
ward = "*"
"""
WORKER = {"id": "a", "host": "localhost", "port": 8766, "data": "a.db"}
FLAT = json.dumps({"workers": [WORKER], "model": "logistic", "epochs": 3, "batch_size": 32})
MAPPING = """[tables.labs]
patient_id = "pid"
[tables.labs.columns.glucose]
from = "glu"
low = 0
high = 500
"""
RULES = """dates = "shift"
[columns]
visit = "code"
seen = {role = "date", format = "%d.%m.%Y"}
"""
DICOM = """table = "images"
[rendering]
height = 64
width = 64
[columns.age]
keyword = "PatientAge"
low = 0
high = 120
"""
PROVIDER = """issuer = "https://id.example"
client_id = "fedcohort"
[roles]
staff = "auditor"
"""


def read_study(path: Path) -> object:
    return parse_study(tomllib.loads(path.read_text()), str(path))


Read = Callable[[Path], object]
FILES: dict[str, tuple[str, Read]] = {
    "study.toml": (STUDY, read_study),
    "site.toml": (SITE, read_policy),
    "listening/site.toml": (LISTENING, read_policy),
    "config.json": (FLAT, read_config),
    "mapping.toml": (MAPPING, read_mapping),
    "rules.toml": (RULES, read_rules),
    "dicom.toml": (DICOM, lambda path: read_options(path, {}, ())),
    "provider.toml": (PROVIDER, lambda path: read_provider(path, None)),
}
TYPOS = [
    *[("study.toml", good, bad) for good, bad in (
        ("name", "nam"), ("protection", "protecton"), ("min_sites", "minsites"), ("[cohort]", "[cohrt]"),
        ("columns", "colums"), ("low = 18", "lo = 18"), ("levels", "level"), ("positive", "postive"),
        ("fraction", "fracton"), ("rounds", "rouns"), ("learning_rate", "learning-rate"),
        ("[analysis]", "[anaylsis]"), ("[privacy]", "[privcy]"), ("epsilon", "epsilom"),
        ("evaluate_every", "evaluate_evry"),
    )],
    *[("site.toml", good, bad) for good, bad in (
        ("coordinator", "cordinator"), ("min_patients", "min_patient"), ("approval", "aproval"),
        ("answer_slot", "answer_slots"), ("privacy_required", "private_required"), ("[tables]", "[table]"),
        ("[budget.ward]", "[budgets.ward]"), ("epsilon", "epsilonn"), ("delta", "detla"),
    )],
    ("listening/site.toml", "[listen]", "[listening]"),
    ("listening/site.toml", "port", "prot"),
    *[("config.json", good, bad) for good, bad in (
        ('"workers"', '"worker"'), ('"host"', '"hst"'), ('"model"', '"modle"'), ('"epochs"', '"epoch"'),
        ('"batch_size"', '"batchsize"'),
    )],
    *[("mapping.toml", good, bad) for good, bad in (
        ("patient_id", "patientid"), ("from", "form"), ("low", "lo"), ("columns", "colums"),
    )],
    ("rules.toml", "dates", "date"),
    ("rules.toml", "role", "rol"),
    ("rules.toml", "format", "fromat"),
    ("dicom.toml", "table", "tabel"),
    ("dicom.toml", "[rendering]", "[rendring]"),
    ("dicom.toml", "keyword", "keywrod"),
    ("provider.toml", "client_id", "clientid"),
    ("provider.toml", "issuer", "isuer"),
]  # fmt: skip
NEAR = re.compile(r"(?:.*\.)?([\w-]+): there is no such key; write (\w+)$")


def written(folder: Path, name: str, text: str) -> tuple[Path, Read]:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path, FILES[name][1]


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_as_it_stands_here(tmp_path: Path, name: str) -> None:
    path, read = written(tmp_path, name, FILES[name][0])
    read(path)


@pytest.mark.parametrize(("name", "good", "bad"), TYPOS)
def test_a_mistyped_key_is_told_with_the_one_to_write(tmp_path: Path, name: str, good: str, bad: str) -> None:
    text = FILES[name][0].replace(good, bad, 1)
    path, read = written(tmp_path, name, text)
    with pytest.raises(FedcohortError) as refused:
        read(path)
    lines = [line for line in str(refused.value).splitlines() if (found := NEAR.search(line))]
    assert len(lines) == 1, refused.value
    assert lines[0].startswith(f"{path}: ")
    found = NEAR.search(lines[0].removeprefix(f"{path}: "))
    assert found is not None
    assert f"{found[2]}: is missing" not in str(refused.value)
    path.write_text(text.replace(found[1], found[2], 1))
    read(path)


@pytest.mark.parametrize(
    ("name", "text", "said", "line"),
    [
        ("study.toml", STUDY, "privacy.min_sites", "min_sites = 2\n"),
        ("site.toml", SITE, "budget.ward.min_patients", "min_patients = 20\n"),
        ("listening/site.toml", LISTENING, "tables.min_patients", "min_patients = 20\n"),
        ("listening/site.toml", LISTENING, "tables.approval", 'approval = "ask"\n'),
        ("listening/site.toml", LISTENING + "[patients]\n", "patients.min_sites", "min_sites = 2\n"),
    ],
)
def test_a_setting_below_a_table_is_told_where_it_belongs(
    tmp_path: Path, name: str, text: str, said: str, line: str
) -> None:
    above = text.replace(line, "")
    path, read = written(tmp_path, name, above + line)
    with pytest.raises(FedcohortError, match=rf"{said}: .*it belongs to the top, before any \[table\]$"):
        read(path)
    path.write_text(line + above)
    read(path)


@pytest.mark.parametrize(
    ("name", "text", "said", "line", "table"),
    [
        ("study.toml", STUDY, "epsilon", "epsilon = 1.5\n", "[privacy]"),
        ("study.toml", STUDY, "rounds", "rounds = 3\n", "[analysis]"),
        ("study.toml", STUDY, "table", 'table = "ward"\n', "[cohort]"),
        ("listening/site.toml", LISTENING, "port", "port = 8766\n", "[listen] or [hl7]"),
    ],
)
def test_a_setting_above_its_table_is_told_which_one(
    tmp_path: Path, name: str, text: str, said: str, line: str, table: str
) -> None:
    without = text.replace(line, "")
    path, read = written(tmp_path, name, line + without)
    with pytest.raises(FedcohortError) as refused:
        read(path)
    assert f"{path}: {said}: there is no such key here; it belongs to {table}" in str(refused.value).split(
        "\n"
    )
    own = table.partition(" or ")[0]
    path.write_text(without.replace(f"{own}\n", f"{own}\n{line}"))
    read(path)


@pytest.mark.parametrize(
    ("name", "good", "bad", "said"),
    [
        ("study.toml", "rounds = 3", 'rounds = "3"', "analysis.rounds: write a whole number, without quotes"),
        ("study.toml", "rounds = 3", "rounds = 3.5", "analysis.rounds: write a whole number, without quotes"),
        ("study.toml", "rounds = 3", "rounds = 0", "analysis.rounds: write 1 or more"),
        ("study.toml", "learning_rate = 0.1", "learning_rate = 0", "learning_rate: write a number above 0"),
        ("study.toml", '"masks"', '"mask"', 'protection: write "none", "masks", "paillier" or "ckks"'),
        ("study.toml", '"train"', '"trian"', 'in TOML [analysis] with its kind, such as kind = "describe"'),
        ("study.toml", 'table = "ward"', "table = 3", "cohort.table: write a text in quotes"),
        ("study.toml", '["I10", "I21"]', '["I10"]', "cohort.columns.dx.levels: name 2 or more"),
        (
            "site.toml",
            "min_patients = 20",
            'min_patients = "20"',
            "min_patients: write a whole number, without",
        ),
        (
            "site.toml",
            "required = true",
            'required = "yes"',
            "privacy_required: write true or false, without",
        ),
        ("site.toml", '"ask"', '"aks"', 'approval: write "ask" or "auto"'),
        ("site.toml", '["masks"]', '"masks"', "protections: write a list"),
        ("site.toml", "answer_slot = 5.0", "answer_slot = 0", "answer_slot: write a number above 0"),
        ("site.toml", '"a"', '"St. Mary"', "id: write 1 to 64 letters (a to z, A to Z), digits"),
        ("site.toml", '["age", "ill"]', '"age"', 'tables.ward: write "*" for every column that an import'),
        ("site.toml", '["age", "ill"]', "3", 'tables.ward: write "*" for every column that an import'),
        ("config.json", "8766", "70000", "workers.0.port: write 65535 or less"),
        ("config.json", '"logistic"', '"gpt"', 'model: write "logistic", "mlp_medical" or "cnn_medical"'),
        ("config.json", '"localhost"', '""', "workers.0.host: is empty; write a text"),
        ("config.json", json.dumps([WORKER]), "[]", "workers: name 1 or more"),
    ],
)
def test_a_wrong_value_is_told_what_may_stand_there(
    tmp_path: Path, name: str, good: str, bad: str, said: str
) -> None:
    text = FILES[name][0]
    assert good in text
    path, read = written(tmp_path, name, text.replace(good, bad, 1))
    with pytest.raises(FedcohortError) as refused:
        read(path)
    assert said in str(refused.value)
    assert str(refused.value).count("\n") == 0, "one fault, one line"
    path.write_text(text)
    read(path)


def test_no_word_of_pydantic_s_and_no_value_is_told(tmp_path: Path) -> None:
    path, read = written(tmp_path, "site.toml", SITE.replace('"a.db"', "41").replace("20", '"geheim"'))
    with pytest.raises(FedcohortError) as refused:
        read(path)
    said = str(refused.value).replace(str(tmp_path), "")
    assert not re.search(r"Input|Extra|Field|valid|geheim|41|constrained|tuple", said)


def test_a_mistyped_argument_is_told_as_one() -> None:
    with pytest.raises(fc.StudyError, match=r"^train: rouns: there is no such key; write rounds$"):
        fc.Train(rouns=3)  # type: ignore[call-arg]
    fc.Train(rounds=3)
    with pytest.raises(fc.StudyError, match=r"^survival: evnt: there is no such key; write event$"):
        fc.Survival(time="days", evnt="died")
    fc.Survival(time="days", event="died")
