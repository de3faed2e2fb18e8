"""An import of events that is killed at any of its statements goes on: nothing twice, nothing lost."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS

HOME = Path(__file__).parents[3]


@pytest.mark.processes
def test_an_import_that_is_killed_at_any_statement_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.sources.events.killed", str(tmp_path)]
    done = subprocess.run(
        command, cwd=HOME, capture_output=True, text=True, timeout=5 * PATIENCE_SECONDS, check=True
    )
    match = re.fullmatch(r"(\d+) statements\n", done.stdout)
    assert match, done.stdout + done.stderr
    assert int(match[1]) > 30
