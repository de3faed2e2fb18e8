"""Importing DICOM images into a site's database, against reading and decoding the same files with pydicom.

Both sides read every image of pydicom and pydicom-data that both can read, all its frames; ours
also checks, renders, resamples, encodes, de-identifies and writes it. They take turns.
"""

import argparse
import importlib
import shutil
import tempfile
import time
import warnings
from pathlib import Path

from benchmarks.harness import at_most, emit, median, reported, say

TIMES = 1.3


def files() -> list[Path]:
    """What comes with the packages; nothing is downloaded."""
    data_store = importlib.import_module("data_store")
    from pydicom.data import get_testdata_file

    first = get_testdata_file("CT_small.dcm", download=False)
    folders = [Path(str(first)).parent, Path(str(data_store.__file__)).parent / "data"]
    return sorted(path for folder in folders for path in folder.glob("*.dcm"))


def decode(path: Path) -> int:
    """What the claim compares with: pydicom.dcmread and all pixels."""
    from pydicom import dcmread

    return int(dcmread(path).pixel_array.size)


def usable() -> tuple[list[Path], list[Path]]:
    """The files that pydicom decodes and that say whose they are; and which are not compressed."""
    from pydicom import dcmread

    kept, native = [], []
    for path in files():
        try:
            dataset = dcmread(path)
            known = bool(dataset.get("PatientID")) and bool(dataset.get("SOPInstanceUID"))
            sound = known and dataset.pixel_array.size > 0
        except Exception as error:  # noqa: BLE001
            say(f"{path.name}: left out, {type(error).__name__}")
            continue
        if sound:
            kept.append(path)
            native += [] if dataset.file_meta.TransferSyntaxUID.is_compressed else [path]
    return kept, native


def copied(kept: list[Path], folder: Path, copies: int) -> list[Path]:
    """Copies under names of their own, all different: the same images in other files, that are read anew."""
    targets = []
    for number in range(copies):
        for path in kept:
            target = folder / f"{number:03d}" / f"{path.parent.parent.name}-{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            content = bytearray(path.read_bytes())
            content[:2] = number.to_bytes(2, "big")
            target.write_bytes(content)
            targets.append(target)
    return targets


def theirs(paths: list[Path]) -> float:
    """Seconds to read and decode."""
    began = time.perf_counter()
    for path in paths:
        decode(path)
    return time.perf_counter() - began


def ours(folder: Path, side: int) -> tuple[float, int, int]:
    """Seconds to import, images written, and those refused."""
    from fedcohort.sources.deidentify.rule_set import RuleSet
    from fedcohort.sources.deidentify.rules import Rules
    from fedcohort.sources.dicom.options import DicomOptions, columns_of
    from fedcohort.sources.dicom.pixels import Rendering
    from fedcohort.sources.dicom.source import IMAGE_ID, dicom_source
    from fedcohort.sources.importer.pipeline import import_source

    columns = columns_of(("Modality", "PatientSex", "BodyPartExamined", "Rows", "Columns"), {})
    rendering = Rendering(height=side, width=side, frames="every")
    options = DicomOptions(rendering=rendering, columns=columns, vouched=True)
    database = folder.parent / f"{time.time_ns()}.db"
    began = time.perf_counter()
    source = dicom_source(folder, options)
    keys = {"images": [IMAGE_ID]}
    report = import_source(source, database, RuleSet(Rules(), b"k" * 32), keys=keys)
    seconds = time.perf_counter() - began
    return seconds, report.written.total(), report.refused.total()


def compare(name: str, paths: list[Path], folder: Path, side: int, repeats: int) -> None:
    """Both sides in turn, and what came of it."""
    turns = [(ours(folder, side), theirs(paths)) for _ in range(repeats)]
    written, refused = turns[0][0][1:]
    say(f"{len(paths)} files, {written} pictures of {side} x {side}, {refused} refused")
    mine, peer = median([turn[0][0] for turn in turns]), median([turn[1] for turn in turns])
    what = f"dicom_import: {name} ({len(paths)} files) into SQLite, {side} x {side}"
    emit(at_most(f"{what}, against dcmread and pixel_array", mine, peer, "s", TIMES))
    emit(reported(f"{what}, pictures a second", written / mine, None, "1/s"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", help="Not used: the files come with packages.")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    with warnings.catch_warnings(action="ignore"):
        try:
            whole, native = usable()
            for name, kept, copies in (
                ("all", whole, arguments.copies),
                ("uncompressed", native, 3 * arguments.copies),
            ):
                paths = copied(kept, work / name, copies)
                for side in (64, 224):
                    compare(name, paths, work / name, side, arguments.repeats)
        finally:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
