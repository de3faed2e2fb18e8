"""`imports`: CSV into SQLite against sqlite3's own .import, in turns; and memory at more and more records.

The importer alone, as with `--keep-identifiers`, and with the de-identification that the command does.
"""

import argparse
import csv
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import at_least_times_faster, emit, median, reported, unavailable
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.pipeline import import_source

ROWS, NUMBERS, REPEATS = 500_000, 16, 5
MEMORY_ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
SEVERAL = 10_000
"""Different records of a file that is only long."""
SHARE = 0.7
PEAK = (
    "import sys; from fedcohort.sources.importer.csv.source import csv_source; "
    "from fedcohort.sources.importer.deidentification import MADE_UP; "
    "from fedcohort.sources.importer.pipeline import import_source; from pathlib import Path; "
    "import_source(csv_source(Path(sys.argv[1]), 'big', None), sys.argv[2], MADE_UP); "
    "print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) / 1024)"
)


def write(path: Path, rows: int) -> Path:
    """A file of 20 columns: the patient, numbers, two codes and a text with a comma."""
    draw = random.Random(1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient_id", *(f"c{index}" for index in range(NUMBERS)), "sex", "ward", "note"])
        for row in range(rows):
            numbers = [round(draw.uniform(0, 200), 2) for _ in range(NUMBERS)]
            writer.writerow(
                [f"p{row:07}", *numbers, draw.choice("fm"), draw.choice(("a1", "b2")), "stable, home"]
            )
    return path


def write_long(path: Path, rows: int, folder: Path) -> Path:
    """As `write`, the same records over and over, of other patients."""
    header, *lines = write(folder / "several.csv", SEVERAL).read_text(encoding="utf-8").splitlines()
    tails = [line.partition(",")[2] for line in lines]
    with path.open("w", encoding="utf-8") as file:
        file.write(header + "\n")
        for first in range(0, rows, SEVERAL):
            file.writelines(f"p{first + row:08},{tail}\n" for row, tail in enumerate(tails))
    return path


def ours(path: Path, folder: Path) -> float:
    """Seconds of one import into a new database, identifiers kept."""
    database = folder / "ours.db"
    database.unlink(missing_ok=True)
    began = time.perf_counter()
    import_source(csv_source(path, "big", None), database, MADE_UP)
    return time.perf_counter() - began


def ours_deidentified(path: Path, folder: Path) -> float:
    """Seconds of one import into a new database, as the command does it: pseudonyms, texts looked at."""
    database = folder / "deidentified.db"
    database.unlink(missing_ok=True)
    began = time.perf_counter()
    source = csv_source(path, "big", None)
    import_source(source, database, RuleSet(Rules(), b"k" * 32))
    return time.perf_counter() - began


def theirs(path: Path, folder: Path) -> float:
    """Seconds of sqlite3's .import: every column a text, no check, no resuming."""
    database = folder / "theirs.db"
    database.unlink(missing_ok=True)
    began = time.perf_counter()
    subprocess.run(["sqlite3", database, ".mode csv", f".import {path} big"], check=True)
    return time.perf_counter() - began


def peak(path: Path, folder: Path) -> float:
    """MiB that a process of its own had at most."""
    database = folder / "peak.db"
    database.unlink(missing_ok=True)
    command = [sys.executable, "-c", PEAK, str(path), str(database)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print all claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="Not used: the files are made.")
    parser.add_argument("--only", choices=["speed", "memory"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.only != "memory":
            speed(Path(name))
        if options.only != "speed":
            memory(Path(name))


def speed(folder: Path) -> None:
    """All three in turns."""
    path = write(folder / "big.csv", ROWS)
    claim = f"imports: CSV of {ROWS:,} x 20 into SQLite, against sqlite3's .import"
    ours(path, folder)  # imports pyarrow
    if shutil.which("sqlite3") is None:
        emit(unavailable(claim, median([ours(path, folder) for _ in range(REPEATS)]), "s", "no sqlite3"))
        return
    turns = [
        (ours(path, folder), theirs(path, folder), ours_deidentified(path, folder)) for _ in range(REPEATS)
    ]
    mine, peers, safe = (median(times) for times in zip(*turns, strict=True))
    emit(at_least_times_faster(f"{claim}, identifiers kept", mine, peers, "s", SHARE))
    emit(reported(f"{claim}, de-identified", safe, peers, "s"))


def memory(folder: Path) -> None:
    """Peaks, each of a process of its own."""
    for rows in MEMORY_ROWS:
        most = peak(write_long(folder / "memory.csv", rows, folder), folder)
        emit(reported(f"imports: peak memory of {rows:,} records", most, None, "MiB"))


if __name__ == "__main__":
    main()
