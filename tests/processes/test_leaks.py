"""Nothing leaks: a patient is planted at every site, and searched for wherever bytes could have gone."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedcohort.errors import FedcohortError, StudyFailedError
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows
from fedcohort.study import Categorical, Describe, Numeric, Study
from tests.build import COLUMNS, TABLE, cohort, describe_study, train_study, ward_rows
from tests.patience import until
from tests.processes.support import Group, random_name

pytestmark = pytest.mark.processes

SITES = ("a", "b")
AGE, BAD_BP = 61.73519, 4711.8642
DECLARED = {**COLUMNS, "bp": Declared(Numeric())}


def marks(site: str) -> list[str]:
    """What must be found nowhere: id, name, diagnosis and values of the planted patient."""
    return [f"planted-{site}-9d2f", f"zebraphilia {site}", str(AGE), str(BAD_BP)]


def plant(path: Path, site: str, index: int) -> Path:
    """The site's patients and the planted one, whose blood pressure is beyond what studies declare."""
    patient = f"planted-{site}-9d2f"
    rows = [*ward_rows(index), {"patient_id": patient, "age": AGE, "bp": BAD_BP, "sex": "f", "ill": 1}]
    path.parent.mkdir(exist_ok=True)
    write_rows(path, wide_table(TABLE, DECLARED), DECLARED, rows, MADE_UP)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE ward ADD COLUMN diagnosis TEXT")
        connection.execute("UPDATE ward SET diagnosis = 'I10'")
        connection.execute(
            "UPDATE ward SET diagnosis = ? WHERE patient_id = ?", (f"zebraphilia {site}", patient)
        )
    return path


def dull(**changes: object) -> dict[str, Any]:
    """A cohort that every site can answer: the planted patient is in it by age and sex."""
    columns = {"age": Numeric(18, 100), "sex": Categorical(("f", "m"))}
    return {"cohort": cohort(**{"columns": columns, **changes})}


FAILING: dict[str, dict[str, Any]] = {
    "out of range": {"cohort": cohort()},
    "one patient by text": dull(where="diagnosis LIKE 'zebra%'"),
    "where of another column": dull(where="weight > 3"),
    "missing column": dull(columns={"age": Numeric(18, 100), "weight": Numeric(0, 300)}),
    "text as number": dull(columns={"age": Numeric(18, 100), "diagnosis": Numeric(0, 1)}),
    "unknown level": dull(columns={"diagnosis": Categorical(("I10", "I20"))}),
    "one patient": dull(where=f"age BETWEEN {AGE - 0.0001:.4f} AND {AGE + 0.0001:.4f}"),
}
REFUSED: dict[str, dict[str, Any]] = {
    "bad where": dull(where="age > 'zebraphilia'"),
    "one patient by id": dull(where="patient_id LIKE 'planted%'"),
    "not a query": dull(where="age > 1); DROP TABLE ward; --"),
}
"""What the coordinator does not take."""


CODES = ("value-out-of-range", "cohort-too-small", "cohort-refused", "schema-mismatch")
"""What sites refuse them with, among others."""


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Studies that succeed and studies that fail in every way, over sites with a planted patient."""
    with Group(tmp_path_factory.mktemp("leaks"), options=["--preload", "--log-format", "json"]) as running:
        offers = f'{TABLE} = ["age", "bp", "sex", "ill", "diagnosis"]'
        for index, site in enumerate(SITES):
            database = plant(running.folder / "data" / f"{site}.db", site, index)
            form = "json" if site == "b" else "text"
            running.add(site, database, "", offers, "--preload", "--log-format", form)
        running.coordinator.start()
        running.wait_linked()
        result = running.run(describe_study(random_name(), **dull()))
        assert result.report["patients"] == 122
        running.run(train_study(random_name(), 3, **dull()))
        for name, changes in FAILING.items():
            handle = running.submit_unchecked(Study(name=name, analysis=Describe(), **changes))
            with pytest.raises(StudyFailedError):
                handle.wait(progress=False)
        for name, changes in REFUSED.items():
            with pytest.raises(FedcohortError, match=r"cohort\.where: "):
                running.submit_unchecked(Study(name=name, analysis=Describe(), **changes))
        yield running


def found(data: bytes, site: str) -> list[str]:
    return [mark for mark in marks(site) if mark.encode() in data]


def test_the_failures_were_told_as_codes(group: Group) -> None:
    rest = group.connect().rest
    told = {}
    for row in rest.get("/api/studies")["studies"]:
        status = rest.get(f"/api/studies/{row['id']}")
        told[row["name"]] = {site["code"] for site in status["sites"]} - {""}
    assert told["out of range"] == {"value-out-of-range"}
    assert told["one patient"] == told["one patient by text"] == {"cohort-too-small"}
    assert told["where of another column"] == {"cohort-refused"}
    assert told["unknown level"] == {"schema-mismatch"}
    for name in FAILING:
        assert len(told[name]) == 1, (name, told[name])
        assert told[name] < {
            "value-out-of-range", "cohort-too-small", "cohort-refused", "schema-mismatch",
            "policy-refused", "data-invalid", "study-invalid",
        }, (name, told[name])  # fmt: skip


def test_no_file_of_the_coordinator_holds_a_trace(group: Group) -> None:
    files = [path for path in group.state.rglob("*") if path.is_file()]
    assert any(path.name == "coordinator.db" for path in files)
    for path in (*files, group.coordinator.log):
        for site in SITES:
            assert found(path.read_bytes(), site) == [], path


def keys_of(folder: Path) -> list[bytes]:
    """Every private key in a folder, as its file holds it, raw and in hex."""
    shapes = []
    for path in folder.glob("*.key"):
        key = load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey | X25519PrivateKey)
        raw = key.private_bytes_raw()
        shapes += [path.read_bytes().splitlines()[1], raw, raw.hex().encode()]
    return shapes


def test_no_private_key_is_anywhere_but_in_its_file(group: Group) -> None:
    folders = [group.state, *(group.folder / site for site in SITES)]
    keys = [key for folder in folders for key in keys_of(folder)]
    assert len(keys) == 3 * (1 + 2 * len(SITES))
    logs = [group.coordinator.log, *(group.nodes[site].log for site in SITES)]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix != ".key"]
    for path in (*logs, *files):
        assert path.is_dir() or not any(key in path.read_bytes() for key in keys), path


def until_the_end(stream: httpx.Response) -> bytes:
    body = b""
    for part in stream.iter_bytes():
        body += part
        if b'"finished"' in body or b'"failed"' in body:
            break
    return body


def test_no_answer_over_rest_holds_a_trace(group: Group) -> None:
    paths = ["/healthz", "/readyz", "/metrics", "/api/federation", "/api/catalogue", "/api/studies"]
    for study in group.connect().studies()["id"]:
        paths += [f"/api/studies/{study}{end}" for end in ("", "/metrics", "/report", "/model")]
    with httpx.Client(base_url=group.url, headers=group.bearer, trust_env=False) as client:
        bodies = {path: client.get(path).content for path in paths}
        for study in group.connect().studies()["id"]:
            with client.stream("GET", f"/api/studies/{study}/events") as stream:
                bodies[study] = until_the_end(stream)
    for path, body in bodies.items():
        for site in SITES:
            assert found(body, site) == [], path


def test_no_nodes_own_log_or_store_holds_a_patients_value(group: Group) -> None:
    for site in SITES:
        store = group.folder / site
        for path in (group.nodes[site].log, *store.rglob("*")):
            for other in SITES:
                assert path.is_dir() or found(path.read_bytes(), other) == [], path
    until(lambda: "value" in group.nodes["a"].text, "a word for the hospital's own engineer")


def test_every_line_that_machines_read_is_an_object_of_known_fields(group: Group) -> None:
    fields = {"time", "level", "logger", "message", "site", "study", "code", "error", "where"}
    for process in (group.coordinator, group.nodes["b"]):
        lines = [json.loads(line) for line in process.text.splitlines() if line.startswith("{")]
        assert len(lines) > len(FAILING)
        assert set().union(*lines) <= fields
        assert {line["code"] for line in lines if "code" in line} >= set(CODES)
    studies = set(group.connect().studies()["id"])
    named = [
        json.loads(line).get("study", "") for line in group.coordinator.text.splitlines() if line[:1] == "{"
    ]
    assert set(named) - {""} == studies


def test_metrics_tell_refusals_by_code_and_no_count_of_patients(group: Group) -> None:
    text = httpx.get(f"{group.url}/metrics", headers=group.bearer, trust_env=False).text
    for code in CODES:
        assert f'fedcohort_refusals_total{{by="site",code="{code}"}}' in text
    assert "122" not in [line.rpartition(" ")[2] for line in text.splitlines()]
    assert "patient" not in text


def test_the_search_would_have_found_the_patient(group: Group) -> None:
    data = (group.folder / "data" / "b.db").read_bytes()
    assert found(data, "b")[:2] == marks("b")[:2]
    with closing(sqlite3.connect(group.folder / "data" / "b.db")) as connection:
        assert connection.execute("SELECT count(*) FROM ward WHERE age = ?", (AGE,)).fetchone() == (1,)


def test_the_data_were_only_read(group: Group, tmp_path: Path) -> None:
    for index, site in enumerate(SITES):
        fresh = plant(tmp_path / f"{site}.db", site, index)
        with (
            closing(sqlite3.connect(fresh)) as mine,
            closing(sqlite3.connect(group.folder / "data" / f"{site}.db")) as theirs,
        ):
            assert list(mine.iterdump()) == list(theirs.iterdump())
