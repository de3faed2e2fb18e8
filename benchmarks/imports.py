"""`imports`: CSV into SQLite against sqlite3's own .import, in turns; and memory at more and more records."""

import csv
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import at_least_times_faster, emit, median, reported, unavailable
from fedcohort.sources.csv_files import csv_source
from fedcohort.sources.road import import_source

ROWS, NUMBERS, REPEATS = 500_000, 16, 5
MEMORY_ROWS = (10_000, 100_000, 1_000_000)
SHARE = 0.7
PEAK = (
    "import sys; from fedcohort.sources.csv_files import csv_source; "
    "from fedcohort.sources.road import import_source; from pathlib import Path; "
    "import_source(csv_source(Path(sys.argv[1]), 'big', None), sys.argv[2]); "
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


def ours(path: Path, folder: Path) -> float:
    """Seconds of one import into a new database."""
    database = folder / "ours.db"
    database.unlink(missing_ok=True)
    began = time.perf_counter()
    import_source(csv_source(path, "big", None), database)
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder / "big.csv", ROWS)
        claim = f"imports: CSV of {ROWS:,} x 20 into SQLite, against sqlite3's .import"
        ours(path, folder)  # imports pyarrow
        if shutil.which("sqlite3") is None:
            emit(unavailable(claim, median([ours(path, folder) for _ in range(REPEATS)]), "s", "no sqlite3"))
        else:
            pairs = [(ours(path, folder), theirs(path, folder)) for _ in range(REPEATS)]
            mine, peers = median([one for one, _ in pairs]), median([other for _, other in pairs])
            emit(at_least_times_faster(claim, mine, peers, "s", SHARE))
        for rows in MEMORY_ROWS:
            most = peak(write(folder / "memory.csv", rows), folder)
            emit(reported(f"imports: peak memory of {rows:,} records", most, None, "MiB"))


if __name__ == "__main__":
    main()
