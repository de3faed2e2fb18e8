"""A claim is one line of JSON, and says itself whether it holds."""

import json
import subprocess
from pathlib import Path

import pytest
from benchmarks.harness import (
    at_least,
    at_least_times_faster,
    at_most,
    data_folder,
    emit,
    reported,
    unavailable,
    under,
    within,
)

ROOT = Path(__file__).parents[2]


def test_a_claim_is_one_line_of_json_with_seven_keys(capsys: pytest.CaptureFixture[str]) -> None:
    emit(at_most("a round", 2.0, 0.8, "ms", 4.0))
    line = json.loads(capsys.readouterr().out)
    assert list(line) == ["claim", "ours", "peer", "unit", "ratio", "target", "holds"]
    assert (line["ratio"], line["holds"]) == (2.5, True)


def test_whether_a_claim_holds() -> None:
    assert not at_most("x", 5.0, 1.0, "ms", 4.0).holds
    assert at_least_times_faster("x", 2.0, 6000.0, "ms", 1000.0).holds
    assert not at_least_times_faster("x", 7.0, 6000.0, "ms", 1000.0).holds
    assert under("x", 19.9, "s", 20.0).holds
    assert not under("x", 20.0, "s", 20.0).holds
    assert at_least("x", 0.88, None, "", 0.88).holds
    assert within("x", 0.871, 0.88, "", 0.01).holds
    assert not within("x", 0.86, 0.88, "", 0.01).holds


def test_what_has_no_target_or_no_peer_claims_nothing() -> None:
    assert reported("x", 2.0, 4.0, "s").holds is None
    assert reported("x", 2.0, 4.0, "s").ratio == 2.0
    assert "does not start" in unavailable("x", 2.0, "s", "does not start").target


def test_a_missing_data_folder_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="FEDCOHORT_DATA"):
        data_folder(str(tmp_path / "none"))


def test_the_script_lists_its_benchmarks_and_refuses_others() -> None:
    listed = subprocess.run(
        [ROOT / "scripts" / "bench", "--list"], capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split():
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()
    wrong = subprocess.run([ROOT / "scripts" / "bench", "speed"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no benchmark speed" in wrong.stderr
