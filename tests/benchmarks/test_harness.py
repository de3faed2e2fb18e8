"""A claim is one line of JSON, and says itself whether it holds."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from benchmarks.harness import (
    at_least,
    at_least_times_faster,
    at_most,
    data_folder,
    emit,
    in_turns,
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
    assert under("x", 9.9, "% of a core", 10.0).holds
    assert not under("x", 10.0, "%", 10.0).holds
    assert at_least("x", 0.88, None, "", 0.88).holds
    assert within("x", 0.871, 0.88, "", 0.01).holds
    assert not within("x", 0.86, 0.88, "", 0.01).holds


@pytest.mark.parametrize("unit", ["s", "ms", "ms a site", "us"])
def test_a_bound_in_a_unit_of_time_is_refused(unit: str) -> None:
    with pytest.raises(ValueError, match="take at_most and a floor"):
        under("a round", 9.9, unit, 10.0)


def test_no_target_that_is_written_down_is_one_of_the_machine_s() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    targets = [cells[5] for cells in rows if len(cells) == 7 and cells[0] != "claim"]
    assert "at most 4x" in targets
    assert [target for target in targets if re.search(r"\d (s|ms|us)\b", target)] == []


def test_what_takes_turns_comes_to_its_own_median() -> None:
    called, given = list[str](), iter([1.0, 9.0, 2.0, 20.0, 3.0, 10.0])

    def take(name: str) -> float:
        called.append(name)
        return next(given)

    assert in_turns(3, lambda: take("ours"), lambda: take("floor")) == [2.0, 10.0]
    assert called == ["ours", "floor"] * 3


def test_what_has_no_target_or_no_peer_claims_nothing() -> None:
    assert reported("x", 2.0, 4.0, "s").holds is None
    assert reported("x", 2.0, 4.0, "s").ratio == 2.0
    assert "does not start" in unavailable("x", 2.0, "s", "does not start").target


def test_a_missing_data_folder_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="FEDCOHORT_DATA"):
        data_folder(str(tmp_path / "none"))


@pytest.mark.processes
def test_the_script_lists_its_benchmarks_and_refuses_others() -> None:
    listed = subprocess.run(
        [ROOT / "scripts" / "bench", "--list"], capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split():
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()
    wrong = subprocess.run([ROOT / "scripts" / "bench", "speed"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no benchmark speed" in wrong.stderr
