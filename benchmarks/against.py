"""`scripts/bench NAME --against REV`: this working tree and another revision in turn, in one run.

The other revision is checked out beside (a git worktree, removed at the end) and runs its own benchmark by
the same interpreter and packages. Pairs alternate which comes first, so that a machine that grows slower
favours neither. A claim that both print is a ratio, ours here / ours there: the median over the pairs, and
an interval that holds it with at least 95 % whatever the distribution (order statistics; Conover 1999, 3.2).
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import DATA_VARIABLE, ROOT, median, named_folder, say

PAIRS, LEAST_PAIRS, MOST_TIMES = 10, 6, 1.1
Figures = Mapping[tuple[str, str], float]
"""By claim and unit: ours."""


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """The order statistics between which the median lies with a probability of 95 % or more.

    Raises:
        ValueError: fewer than 6 ratios; not even their extremes say so much.
    """
    n = len(ratios)
    if n < LEAST_PAIRS:
        raise ValueError(f"{n} pairs: an interval of 95 % takes {LEAST_PAIRS} or more")
    outside, left_out = 0.0, -1
    while outside + 2 * math.comb(n, left_out + 1) / 2**n <= 0.05:
        left_out += 1
        outside += 2 * math.comb(n, left_out) / 2**n
    ordered = sorted(ratios)
    return ordered[left_out], ordered[n - 1 - left_out]


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A worktree of a revision, with what git does not hold taken from here.

    Raises:
        SystemExit: git knows no such revision.
    """
    git = ["git", "-C", str(ROOT)]
    known = [*git, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    if subprocess.run(known, stdout=subprocess.DEVNULL, check=False).returncode:
        raise SystemExit(f"--against {revision}: git knows no such revision; `git log --oneline` lists them")
    with tempfile.TemporaryDirectory(prefix="fedcohort-bench-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(tree), revision], check=True)
        try:
            _complete(tree)
            yield tree
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)


def _complete(tree: Path) -> None:
    """The page's built scripts, and the peers' own environments."""
    vendor = Path("src/fedcohort/dashboard/static/vendor")
    if (ROOT / vendor).is_dir():
        shutil.copytree(ROOT / vendor, tree / vendor, dirs_exist_ok=True)
    for peer in ROOT.glob(".venv-*"):
        (tree / peer.name).symlink_to(peer, target_is_directory=True)


def figures_of(tree: Path, name: str, options: Sequence[str]) -> Figures:
    """Run a benchmark of a tree, by this interpreter.

    Raises:
        SystemExit: it failed; its last words are shown.
    """
    path = os.pathsep.join((str(tree / "src"), str(tree)))
    environment = {**os.environ, DATA_VARIABLE: str(named_folder()), "PYTHONPATH": path}
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{tree}: benchmark {name} failed:\n{done.stderr[-2000:]}")
    return read_figures(done.stdout)


def read_figures(printed: str) -> Figures:
    """The claims among what a benchmark has printed; a figure that is missing or 0 has no ratio."""
    claims = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return {(claim["claim"], claim["unit"]): claim["ours"] for claim in claims if claim["ours"]}


def compared(pairs: Sequence[tuple[Figures, Figures]], times: float) -> list[dict[str, object]]:
    """A line a claim: medians here and there, ratio, interval, and whether it may be `times` at most.

    It holds unless the whole interval lies above; what only one revision claims has no ratio.
    """
    lines = []
    for claim, unit in dict.fromkeys(key for pair in pairs for figures in pair for key in figures):
        keys = [(here.get((claim, unit)), there.get((claim, unit))) for here, there in pairs]
        both = [(here, there) for here, there in keys if here is not None and there is not None]
        if len(both) < len(pairs):
            say(f"{claim} ({unit}): not claimed by both revisions, left out")
            continue
        ratios = [here / there for here, there in both]
        low, high = interval(ratios)
        figures = {"here": median([here for here, _ in both]), "there": median([there for _, there in both])}
        spread = {"ratio": median(ratios), "low": low, "high": high}
        rounded = {name: float(f"{value:.4g}") for name, value in (figures | spread).items()}
        lines.append({"claim": claim, "unit": unit, **rounded, "pairs": len(both), "holds": low <= times})
    return lines


def main() -> None:
    """Print a line of JSON a claim; exit code 1 where a ratio lies above --at-most, with its interval."""
    parser = argparse.ArgumentParser(prog="scripts/bench NAME --against REV")
    parser.add_argument("name")
    parser.add_argument("revision")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--at-most", type=float, default=MOST_TIMES)
    asked, options = parser.parse_known_args()
    if asked.pairs < LEAST_PAIRS:
        parser.error(f"--pairs {asked.pairs}: an interval of 95 % takes {LEAST_PAIRS} or more")
    pairs = []
    with checked_out(asked.revision) as there:
        for number in range(asked.pairs):
            order = (ROOT, there) if number % 2 else (there, ROOT)
            found = {tree: figures_of(tree, asked.name, options) for tree in order}
            pairs.append((found[ROOT], found[there]))
            say(f"pair {number + 1} of {asked.pairs}")
    lines = compared(pairs, asked.at_most)
    for line in lines:
        print(json.dumps(line), flush=True)
    if not lines or not all(line["holds"] for line in lines):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
