"""The committed Protobuf code is what the .proto gives."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import fedcohort.wire
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.processes

WIRE = Path(fedcohort.wire.__file__).parent


def test_the_generated_code_is_that_of_the_proto(tmp_path: Path) -> None:
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed")
    source = WIRE.parent.parent
    where = [f"-I{source}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    # In a process of its own: beside TensorFlow, the compiler's own copy of Protobuf crashes.
    command = [sys.executable, "-m", "grpc_tools.protoc", *where, str(WIRE / "fedcohort.proto")]
    subprocess.run(command, check=True, timeout=PATIENCE_SECONDS)
    for name in ("fedcohort_pb2.py", "fedcohort_pb2.pyi"):
        fresh = (tmp_path / "fedcohort" / "wire" / name).read_text(encoding="utf-8")
        committed = (WIRE / name).read_text(encoding="utf-8")
        assert _without_version(fresh) == _without_version(committed)


def _without_version(text: str) -> list[str]:
    """Another release of the generator may write its own number; what it generates must be the same."""
    start = text.find("DESCRIPTOR =") if "DESCRIPTOR = _descriptor_pool" in text else 0
    return text[start:].splitlines()
