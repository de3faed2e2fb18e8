"""Two revisions in turn: ratios of what both claim, and an interval that says how sure they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.against import LEAST_PAIRS, checked_out, compared, figures_of, interval, read_figures

ROOT = Path(__file__).parents[2]


def test_the_interval_is_that_of_the_order_statistics() -> None:
    """Of 10, the second and the ninth: below the one or above the other with 2 x 11 / 1024 = 2.1 %."""
    assert interval([float(n) for n in range(10, 0, -1)]) == (2.0, 9.0)
    assert interval([float(n) for n in range(1, 7)]) == (1.0, 6.0)
    with pytest.raises(ValueError, match="6 or more"):
        interval([1.0] * (LEAST_PAIRS - 1))


def claim(name: str, ours: float | None, unit: str = "ms") -> str:
    return json.dumps({"claim": name, "ours": ours, "peer": None, "unit": unit, "ratio": None})


def test_a_claim_that_both_print_is_a_ratio_with_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    there = read_figures("\n".join(["noise", claim("round", 100.0), claim("old", 1.0), claim("none", None)]))
    pairs = [
        (read_figures(claim("round", 100.0 * ratio)), there) for ratio in (1.2, 1.3, 1.25, 1.2, 1.4, 1.2)
    ]
    (line,) = compared(pairs, times=1.1)
    assert (line["ratio"], line["low"], line["high"], line["holds"]) == (1.225, 1.2, 1.4, False)
    assert compared(pairs, times=1.2)[0]["holds"] is True
    assert "old (ms): not claimed by both" in capsys.readouterr().err


@pytest.mark.processes
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone of git")
def test_another_revision_runs_its_own_code_and_leaves_nothing_behind(tmp_path: Path) -> None:
    worktrees = ["git", "-C", str(ROOT), "worktree", "list"]
    before = subprocess.run(worktrees, capture_output=True, check=True).stdout
    with checked_out("HEAD") as tree:
        (tree / "benchmarks" / "probe.py").write_text(
            "import json, benchmarks, fedcohort\n"
            "place = [fedcohort.__file__, benchmarks.__file__]\n"
            "print(json.dumps({'claim': json.dumps(place), 'ours': 1.0, 'unit': 's'}))\n"
        )
        ((place, _),) = figures_of(tree, "probe", [])
        assert all(Path(file).is_relative_to(tree) for file in json.loads(place))
    assert not tree.exists()
    assert subprocess.run(worktrees, capture_output=True, check=True).stdout == before


@pytest.mark.processes
def test_an_unknown_revision_is_told_in_words() -> None:
    command = [sys.executable, "-m", "benchmarks.against", "local_engine", "no-such-revision"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--against no-such-revision: git knows no such revision" in done.stderr
    assert "Traceback" not in done.stderr
