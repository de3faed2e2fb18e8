"""HL7 v2: reading against python-hl7, importing against reading, MLLP against a receive, sync, answer floor.

Both sides read the samples of the data folder, and take from each message PID-3, PV1-19 and of every OBX
fields 3, 5, 6 and 11; their answers are compared. The floor of MLLP has the same marks, the same shared
fdatasync and one fixed answer, and reads nothing. Times are processor seconds but for MLLP, where the
disk is what is waited for.
"""

import argparse
import asyncio
import importlib
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.harness import (
    ROOT,
    at_least,
    at_least_times_faster,
    at_most,
    data_folder,
    emit,
    median,
    reported,
    say,
)
from fedcohort.sources.hl7v2.framing import messages
from fedcohort.sources.hl7v2.inbox import END, START, Inbox
from fedcohort.sources.hl7v2.message import Message
from fedcohort.sources.hl7v2.mllp import MllpLimits, MllpServer
from fedcohort.storage.inbox_folder import InboxLimits

TIMES_PEER, TIMES_PARSE, SHARE_OF_FLOOR, MEMORY = 30, 8, 0.7, 1.1
FIELDS = {"PID": (3,), "PV1": (19,), "OBX": (3, 5, 6, 11)}
Told = list[tuple[str, ...]]


def samples(folder: Path) -> list[bytes]:
    """Every message of the samples."""
    found = []
    for path in sorted((folder / "hl7v2").glob("*.hl7")):
        with path.open("rb") as file:
            found += [one.data for one in messages(file) if not one.fault]
    return found


def ours(data: bytes) -> Told:
    """A message's fields, by this program."""
    message = Message(data)
    get = message.get
    return [
        (segment[0], *(get(segment, number) for number in FIELDS[segment[0]]))
        for segment in message.segments
        if segment[0] in FIELDS
    ]


def theirs(text: str) -> Told:
    """The same by python-hl7."""
    message = importlib.import_module("hl7").parse(text)
    told: Told = []
    for segment in message:
        name = str(segment[0])
        if name in FIELDS:
            told.append((name, *(_first(message, segment, number) for number in FIELDS[name])))
    return told


def _first(message: object, segment: Sequence[object], number: int) -> str:
    if number >= len(segment):
        return ""
    value = segment[number]
    while not isinstance(value, str):
        if not len(value):  # type: ignore[arg-type]
            return ""
        value = value[0]  # type: ignore[index]
    return str(message.unescape(value))  # type: ignore[attr-defined]


def cpu_seconds(action: Callable[[], object]) -> float:
    """Processor seconds of one run."""
    began = time.process_time()
    action()
    return time.process_time() - began


def compare_reading(found: list[bytes], repeats: int) -> float:
    """Both sides in turn; returns our processor seconds a message."""
    texts = [data.decode().replace("\r\n", "\r").replace("\n", "\r") for data in found]
    same = sum(ours(data) == theirs(text) for data, text in zip(found, texts, strict=True))
    say(f"{len(found)} messages, {same} read the same by both")

    def mine() -> None:
        for _ in range(20):
            for data in found:
                ours(data)

    def peers() -> None:
        for text in texts:
            theirs(text)

    turns = [(cpu_seconds(mine) / 20, cpu_seconds(peers)) for _ in range(repeats)]
    ours_each = median([turn[0] for turn in turns]) / len(found)
    theirs_each = median([turn[1] for turn in turns]) / len(found)
    claim = "hl7: reading a message, against python-hl7"
    emit(at_least_times_faster(claim, 1e6 * ours_each, 1e6 * theirs_each, "us", TIMES_PEER))
    emit(reported("hl7: messages a processor second, read", 1 / ours_each, 1 / theirs_each, "1/s"))
    return ours_each


def made(number: int, results: int = 10) -> bytes:
    """A laboratory's message of one of many patients, with ten results."""
    patient, order = number % 20_000, number
    lines = [
        f"MSH|^~\\&|LAB|HOSP|FED|HOSP|20260110{number % 86400:06d}||ORU^R01^ORU_R01|{number}|P|2.5.1",
        f"PID|1||{patient}^^^HOSP^MR||DOE^JANE||19630306|F",
        f"PV1|1|I|WARD|||||||||||||||||V{patient}",
        f"OBR|1|A{order}|F{order}|24331-1^Lipids^LN|||202601090800",
    ]
    lines += [
        f"OBX|{index}|NM|{2000 + index}-3^Test^LN||{number % 97 / 10 + index:.1f}|mmol/L||N|||F"
        for index in range(1, results + 1)
    ]
    return b"".join(line.encode() + b"\r" for line in lines)


def written(folder: Path, count: int) -> Path:
    """A file of so many messages."""
    path = folder / f"{count}.hl7"
    with path.open("wb") as file:
        for number in range(count):
            file.write(made(number))
    return path


def import_file(path: Path) -> int:
    """Import a file into a new SQLite database beside it; returns how many rows were written."""
    from fedcohort.sources.deidentify.rule_set import RuleSet
    from fedcohort.sources.deidentify.rules import Rules
    from fedcohort.sources.events.pipeline import import_events
    from fedcohort.sources.hl7v2.reading import Hl7Options
    from fedcohort.sources.hl7v2.source import hl7_feed

    database = path.with_suffix(f".{time.time_ns()}.db")
    report = import_events(hl7_feed(path, Hl7Options()), database, RuleSet(Rules(), b"k" * 32))
    return report.written.total()


KEYS = {
    "PID": (2, 3, 18),
    "PV1": (19,),
    "ORC": (2, 3),
    "OBR": (2, 3),
    "DG1": (20,),
    "PR1": (19,),
    "TXA": (12,),
}


def varied(data: bytes, number: int) -> bytes:
    """A sample as of another patient and order: its identifiers are followed by a number."""
    lines = []
    for line in data.replace(b"\n", b"\r").split(b"\r"):
        fields = line.split(b"|")
        for index in KEYS.get(fields[0].decode("ascii", "replace"), ()):
            if index < len(fields) and fields[index]:
                first, mark, rest = fields[index].partition(b"^")
                fields[index] = first + b"-%d" % number + mark + rest
        lines.append(b"|".join(fields))
    return b"\r".join(lines) + b"\r"


def compare_import(folder: Path, found: list[bytes], count: int, repeats: int) -> None:
    """An import against reading the same file: the samples over and over, each time of other patients."""
    path = folder / "samples.hl7"
    with path.open("wb") as file:
        for number in range(count):
            file.write(varied(found[number % len(found)], number // len(found)))

    def read_all() -> None:
        with path.open("rb") as file:
            for one in messages(file):
                ours(one.data)

    rows = import_file(path)
    turns = [(cpu_seconds(lambda: import_file(path)), cpu_seconds(read_all)) for _ in range(repeats)]
    mine, floor = (median([turn[side] for turn in turns]) / count for side in (0, 1))
    claim = f"hl7: {count} messages ({rows} rows) de-identified into SQLite, against reading them"
    emit(at_most(claim, 1e6 * mine, 1e6 * floor, "us a message", TIMES_PARSE))
    emit(reported("hl7: messages a processor second, de-identified into SQLite", 1 / mine, None, "1/s"))


def compare_memory(folder: Path, few: int, many: int) -> None:
    """The most memory of an import of few and of many results, each in a process of its own."""
    peaks = []
    for count in (few, many):
        path = written(folder, count // 10)
        command = [sys.executable, "-m", "benchmarks.hl7", "--import-only", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout.strip().splitlines()[-1]))
        path.unlink()
    claim = f"hl7: memory of an import of {many:,} results, against {few:,}"
    emit(at_most(claim, peaks[1], peaks[0], "MiB", MEMORY))


class Floor:
    """Receive, fdatasync, answer: no message is read."""

    answer = START + b"MSH|^~\\&|F|F|S|S|20260110||ACK|1|P|2.5\rMSA|AA|1\r" + END

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    def _write(self, blocks: list[bytes]) -> None:
        os.write(self._file, b"".join(blocks))
        os.fdatasync(self._file)

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await loop.run_in_executor(None, self._write, [data for data, _ in batch])
            for _, future in batch:
                future.set_result(None)
        self._task = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                data = await reader.readuntil(END)
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append((data, future))
                if self._task is None:
                    self._task = asyncio.create_task(self._write_all())
                await future
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def engines(port: int, blocks: list[bytes], connections: int, seconds: float) -> float:
    """Messages a second that are answered, by so many connections."""
    done = 0
    end = time.perf_counter() + seconds

    async def engine(first: int) -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for block in itertools.cycle(blocks[first:] + blocks[:first]):
            if time.perf_counter() > end:
                break
            writer.write(block)
            answer = await reader.readuntil(END)
            if b"MSA|AA" not in answer:
                raise SystemExit(f"not accepted: {answer!r}")
            done += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(engine(number) for number in range(connections)))
    return done / (time.perf_counter() - began)


async def mllp_rates(
    folder: Path, blocks: list[bytes], connections: int, seconds: float, turns: int
) -> Iterator[tuple[float, float]]:
    """Ours and the floor's messages a second, in turns."""
    inbox = Inbox(folder / f"inbox-{connections}", InboxLimits(total_bytes=2**34, free_bytes=0))
    server = MllpServer(inbox, MllpLimits())
    port = await server.start("127.0.0.1", 0)
    floor = await asyncio.start_server(
        Floor(folder / f"floor-{connections}").serve, "127.0.0.1", 0, limit=2**24
    )
    floor_port = floor.sockets[0].getsockname()[1]
    rates = []
    for _ in range(turns):
        mine = await engines(port, blocks, connections, seconds)
        rates.append((mine, await engines(floor_port, blocks, connections, seconds)))
    floor.close()
    await server.close()
    inbox.close()
    return iter(rates)


def compare_mllp(folder: Path, seconds: float, turns: int) -> None:
    """Messages a second against the floor's, on 1 and 8 connections."""
    blocks = [START + made(number) + END for number in range(100)]
    for connections in (1, 8):
        rates = list(asyncio.run(mllp_rates(folder, blocks, connections, seconds, turns)))
        mine, floor = (median([turn[side] for turn in rates]) for side in (0, 1))
        claim = f"hl7: MLLP, messages a second on {connections} connection{'s' * (connections > 1)}"
        emit(reported(f"{claim}, on the disk before the answer", mine, floor, "1/s"))
        share = median([turn[0] / turn[1] for turn in rates])
        emit(at_least(f"{claim}, share of the floor", share, None, "of the floor", SHARE_OF_FLOOR))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="Folder of real data, with hl7v2 in it.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--import-only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.import_only:
        import_file(arguments.import_only)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    found = samples(data_folder(arguments.data))
    compare_reading(found, arguments.repeats)
    with tempfile.TemporaryDirectory() as folder:
        compare_mllp(Path(folder), arguments.seconds, arguments.repeats)
        compare_import(Path(folder), found, arguments.messages, arguments.repeats)
        compare_memory(Path(folder), arguments.few, arguments.many)


if __name__ == "__main__":
    main()
