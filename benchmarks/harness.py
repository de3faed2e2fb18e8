"""What the benchmarks share: claims as lines of JSON, medians, and the peers' own interpreter."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"
DATA_VARIABLE = "FEDCOHORT_DATA"
UNITS_OF_TIME = frozenset({"h", "min", "s", "ms", "us", "ns"})


@dataclass(frozen=True)
class Claim:
    """One figure beside its peer's.

    Attributes:
        ratio: peer / ours where smaller is better ("x faster"), else ours / peer; see `target`.
        target: in words; `holds` says whether it is reached, None where there is nothing to compare.
    """

    claim: str
    ours: float | None
    peer: float | None
    unit: str
    ratio: float | None
    target: str
    holds: bool | None


def at_most(claim: str, ours: float, peer: float, unit: str, times: float) -> Claim:
    """Ours may cost at most so many times the peer's; `ratio` is ours / peer."""
    ratio = ours / peer
    return Claim(claim, ours, peer, unit, ratio, f"at most {times:g}x", ratio <= times)


def at_least_times_faster(claim: str, ours: float, peer: float, unit: str, times: float) -> Claim:
    """The peer must cost at least so many times ours; `ratio` is peer / ours."""
    ratio = peer / ours
    return Claim(claim, ours, peer, unit, ratio, f"at least {times:g}x faster", ratio >= times)


def under(claim: str, ours: float, unit: str, limit: float) -> Claim:
    """Ours must be below a limit, which no machine moves: a share, a size.

    Raises:
        ValueError: the unit is one of time, whose figures depend on the machine and on what else runs on it.
    """
    if unit.split(" ", maxsplit=1)[0] in UNITS_OF_TIME:
        raise ValueError(f"{claim}: a bound in {unit} is one of the machine's; take at_most and a floor")
    return Claim(claim, ours, None, unit, None, f"under {limit:g} {unit}", ours < limit)


def at_least(claim: str, ours: float, peer: float | None, unit: str, limit: float) -> Claim:
    """Ours must reach a limit; the peer's figure stands beside it."""
    ratio = ours / peer if peer else None
    return Claim(claim, ours, peer, unit, ratio, f"at least {limit:g}", ours >= limit)


def within(claim: str, ours: float, peer: float, unit: str, distance: float) -> Claim:
    """Ours must be no more than so far below the peer's."""
    target = f"no more than {distance:g} below"
    return Claim(claim, ours, peer, unit, ours / peer, target, ours >= peer - distance)


def reported(claim: str, ours: float | None, peer: float | None, unit: str) -> Claim:
    """Two figures without a target."""
    ratio = peer / ours if ours and peer else None
    return Claim(claim, ours, peer, unit, ratio, "reported", None)


def unavailable(claim: str, ours: float | None, unit: str, why: str) -> Claim:
    """A peer that does not run here; the reason stands in the target."""
    return Claim(claim, ours, None, unit, None, f"peer unavailable: {why}", None)


def emit(claim: Claim) -> None:
    """Print a claim as one line of JSON, figures to four digits."""
    rounded = {name: _short(value) for name, value in asdict(claim).items()}
    print(json.dumps(rounded), flush=True)


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def say(text: str) -> None:
    """Tell the person who waits; claims alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def median(values: Sequence[float]) -> float:
    """The middle of several repetitions."""
    return statistics.median(values)


def named_folder(argument: str | None = None) -> Path:
    """Where real data are looked for: --data, else FEDCOHORT_DATA, else beside the project."""
    named = argument or os.environ.get(DATA_VARIABLE)
    return Path(named) if named else ROOT.parent / "shared" / "data"


def seconds_of(action: Callable[[], object]) -> float:
    """How long it takes, once."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_turns(repeats: int, *actions: Callable[[], float]) -> list[float]:
    """The median of what each gives, taken in turn so that all meet the same load."""
    turns = [[action() for action in actions] for _ in range(repeats)]
    return [median(found) for found in zip(*turns, strict=True)]


def data_folder(argument: str | None) -> Path:
    """The folder of real data.

    Raises:
        SystemExit: there is none; says how to name it.
    """
    folder = named_folder(argument)
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no data folder; give one by --data or {DATA_VARIABLE}")
    return folder


def peer_python(peer: str) -> str:
    """The interpreter of a peer's own environment, made on first use.

    Raises:
        subprocess.CalledProcessError: the peer cannot be installed.
    """
    folder, requirements = ROOT / f".venv-{peer}", PEERS / f"{peer}-requirements.txt"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = folder / "installed.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        say(f"installing {peer} into an environment of its own; takes minutes")
        venv.create(folder, with_pip=True, clear=True, symlinks=os.name != "nt")
        command = [str(python), "-m", "pip", "install", "-q", "-r", str(requirements)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def run_peer(peer: str, script: str, *arguments: str, timeout: float) -> dict[str, Any]:
    """Run a script of benchmarks/peers by the peer's interpreter; its last line is JSON.

    Returns:
        that object, or {"unavailable": why}.
    """
    try:
        command = [peer_python(peer), str(PEERS / script), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"unavailable": f"no answer in {timeout:g} s"}
    except subprocess.CalledProcessError as error:
        say(str(error.stderr)[-2000:])
        return {"unavailable": f"exit code {error.returncode}"}
    except (ValueError, IndexError):
        return {"unavailable": "printed no JSON"}
    return found


def machine() -> str:
    """What the figures were measured on."""
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {python}"
