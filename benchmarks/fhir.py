"""`fhir`: FHIR R4 flattened by SQL-on-FHIR views, against sqlonfhir in an environment of its own; and events.

Both sides parse the same NDJSON and apply the same views, in turns, in processor seconds: Synthea's bundles
of 100 patients (FEDCOHORT_DATA), one resource a line, of the types that the views read, as a Bulk Data export
has them. The views are those that the peer can apply: on the built-in ones it fails where a reference is
missing. An import is what the command does, into SQLite and de-identified.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from benchmarks.harness import (
    PEERS,
    at_least_times_faster,
    at_most,
    data_folder,
    emit,
    median,
    peer_python,
    reported,
    unavailable,
)
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.events.pipeline import import_events
from fedcohort.sources.fhir.files import FhirOptions
from fedcohort.sources.fhir.source import fhir_feed
from fedcohort.sources.fhir.view import compile_view
from fedcohort.sources.fhir.views import read_views

REPEATS, PEER_LINES = 5, 3000
FASTER, IMPORT_TIMES, MEMORY_TIMES = 10, 8, 1.1
MEMORY_COUNTS = (10_000, 100_000, 1_000_000)
PEAK = (
    "import sys; from pathlib import Path; "
    "from fedcohort.sources.deidentify.rule_set import RuleSet; "
    "from fedcohort.sources.deidentify.rules import Rules; "
    "from fedcohort.sources.events.pipeline import import_events; "
    "from fedcohort.sources.fhir.files import FhirOptions; "
    "from fedcohort.sources.fhir.source import fhir_feed; "
    "from fedcohort.sources.fhir.views import read_views; "
    "feed = fhir_feed(Path(sys.argv[1]), FhirOptions(read_views()), 'fhir').feed; "
    "import_events(feed, sys.argv[2], RuleSet(Rules(), b'k' * 32)); "
    "print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) / 1024)"
)


def view(resource: str, coded: str, **paths: str) -> dict[str, Any]:
    """A view of one type: columns, and a row a coding."""
    columns = [{"name": name, "path": path} for name, path in paths.items()]
    coding = [{"name": name, "path": name} for name in ("system", "code")]
    select = [{"column": columns}, {"forEachOrNull": f"{coded}.coding", "column": coding}]
    return {"resource": resource, "name": resource.lower(), "status": "active", "select": select}


VIEWS = [
    view("Patient", "maritalStatus", id="id", birth_date="birthDate", sex="gender"),
    view(
        "Encounter",
        "type.first()",
        id="id",
        patient="subject.reference",
        start="period.start",
        end="period.end",
    ),
    view("Condition", "code", id="id", patient="subject.reference", time="onset.ofType(dateTime)"),
    view(
        "Observation",
        "code",
        id="id",
        patient="subject.reference",
        status="status",
        time="effective.ofType(dateTime)",
        value="value.ofType(Quantity).value",
        unit="value.ofType(Quantity).code",
    ),
    view("Procedure", "code", id="id", patient="subject.reference", start="performed.ofType(Period).start"),
    view(
        "Immunization",
        "vaccineCode",
        id="id",
        patient="patient.reference",
        time="occurrence.ofType(dateTime)",
    ),
]


def lines_of(data: Path, path: Path) -> int:
    """Synthea's resources of the types that the views read, as NDJSON.

    Returns:
        how many.
    """
    count, types = 0, {definition["resource"] for definition in VIEWS}
    with (
        tarfile.open(data / "fhir_r4" / "synthea_r4_100_patients.tar.gz") as archive,
        path.open("wb") as file,
    ):
        for member in sorted(archive.getmembers(), key=lambda one: one.name):
            stream = archive.extractfile(member)
            resources = (
                [entry["resource"] for entry in orjson.loads(stream.read())["entry"]] if stream else []
            )
            wanted = [resource for resource in resources if resource["resourceType"] in types]
            file.writelines(orjson.dumps(resource) + b"\n" for resource in wanted)
            count += len(wanted)
    return count


def ours(path: Path) -> tuple[float, list[int]]:
    """Processor seconds of parsing and flattening line by line, and rows by view."""
    began = time.process_time()
    compiled = [compile_view(definition) for definition in VIEWS]
    rows = [0] * len(compiled)
    place = {one.resource: index for index, one in enumerate(compiled)}
    with path.open("rb") as file:
        for line in file:
            resource = orjson.loads(line)
            index = place[resource["resourceType"]]
            rows[index] += len(compiled[index].rows(resource))
    return time.process_time() - began, rows


def theirs(python: str, path: Path, views: Path) -> tuple[float, list[int]]:
    """The same by the peer."""
    command = [python, str(PEERS / "sqlonfhir_views.py"), str(path), str(views)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    said = json.loads(ran.stdout.splitlines()[-1])
    return float(said["seconds"]), list(said["rows"])


def flattening(path: Path) -> float:
    """Processor seconds of parsing each line and applying the built-in views to it."""
    views = read_views()
    began = time.process_time()
    with path.open("rb") as file:
        for line in file:
            resource = orjson.loads(line)
            for kind in views.get(resource["resourceType"], ()):
                for one in kind.views:
                    one.rows(resource)
    return time.process_time() - began


def importing(path: Path, folder: Path) -> float:
    """Processor seconds of one import into a new database, de-identified."""
    database = folder / "events.db"
    database.unlink(missing_ok=True)
    began = time.process_time()
    feed = fhir_feed(path, FhirOptions(read_views()), "fhir").feed
    import_events(feed, database, RuleSet(Rules(), b"k" * 32))
    return time.process_time() - began


def write_long(few: Path, path: Path, count: int) -> Path:
    """The same resources over and over, each time of other patients under other ids."""
    lines = few.read_text("utf-8").splitlines()
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, count, len(lines)):
            for line in lines[: count - first]:
                file.write(
                    line.replace("urn:uuid:", f"urn:uuid:{first}-").replace('"id":"', f'"id":"{first}-')
                )
                file.write("\n")
    return path


def peak(path: Path, folder: Path) -> float:
    """MiB that a process of its own had at most while it imported a file."""
    database = folder / "peak.db"
    database.unlink(missing_ok=True)
    command = [sys.executable, "-c", PEAK, str(path), str(database)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print all claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--only", choices=["speed", "memory"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, views = folder / "few.ndjson", folder / "views.json"
        count = lines_of(data_folder(options.data), folder / "all.ndjson")
        few.write_bytes(b"".join((folder / "all.ndjson").read_bytes().splitlines(keepends=True)[:PEER_LINES]))
        views.write_text(json.dumps(VIEWS), "utf-8")
        if options.only != "memory":
            flattened(few, views)
            imported(folder / "all.ndjson", folder, count)
        if options.only != "speed":
            memory(few, folder)


def imported(path: Path, folder: Path, count: int) -> None:
    """An import beside parsing and flattening the same lines."""
    turns = [(importing(path, folder), flattening(path)) for _ in range(REPEATS)]
    whole, flat = (median([turn[side] for turn in turns]) for side in (0, 1))
    claim = f"fhir: {count:,} resources into SQLite, de-identified, against parsing and flattening them"
    emit(at_most(claim, whole, flat, "CPU s", IMPORT_TIMES))


def memory(few: Path, folder: Path) -> None:
    """Peaks, each of a process of its own; the last beside the first."""
    peaks = []
    for count in MEMORY_COUNTS:
        peaks.append(peak(write_long(few, folder / "memory.ndjson", count), folder))
        emit(reported(f"fhir: peak memory of {count:,} resources", peaks[-1], None, "MiB"))
    claim = f"fhir: peak memory of {MEMORY_COUNTS[-1]:,} resources against {MEMORY_COUNTS[0]:,}"
    emit(at_most(claim, peaks[-1], peaks[0], "MiB", MEMORY_TIMES))


def flattened(few: Path, views: Path) -> None:
    """Both flatten the same lines."""
    claim = f"fhir: {PEER_LINES:,} resources of NDJSON flattened by {len(VIEWS)} views, against sqlonfhir"
    try:
        python = peer_python("sqlonfhir")
        turns = [(ours(few), theirs(python, few, views)) for _ in range(REPEATS)]
    except (OSError, subprocess.CalledProcessError) as error:
        emit(unavailable(claim, ours(few)[0], "CPU s", type(error).__name__))
        return
    if any(mine[1] != peer[1] for mine, peer in turns):
        sys.exit(f"{claim}: other rows, {turns[0][0][1]} and {turns[0][1][1]}")
    mine, peer = (median([turn[side][0] for turn in turns]) for side in (0, 1))
    emit(at_least_times_faster(claim, mine, peer, "CPU s", FASTER))


if __name__ == "__main__":
    main()
